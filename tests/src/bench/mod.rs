//! The benchmark: the reference plugins, ours, and the kernel's floor under both, in one run, taking
//! turns, on networks of one shape. Every contestant has a node of its own.

mod contestant;
mod field;
mod floor;
mod netlink;
mod plugins;
mod report;
mod rounds;
mod sample;
mod usage;

pub use contestant::Contestant;
pub use field::{Field, Slot};
pub use floor::{Deletion, Floor};
pub use plugins::Plugins;
pub use report::Report;
pub use rounds::{Effort, Figures, run};
pub use sample::Sample;
pub use usage::smallest_peak_kib;
