//! The benchmark: the reference plugins, ours, and the kernel's floor under both, in one run, taking
//! turns, on networks of one shape. Every contestant has a node of its own.

mod asked;
mod contestant;
mod durable;
mod field;
mod first_packet;
mod floor;
mod guard;
mod leases;
mod managed;
mod netlink;
mod overlay;
mod per_address;
mod plugins;
mod policy;
mod proof;
mod report;
mod rounds;
mod sample;
mod usage;

pub use asked::two_ports_and_limits;
pub use contestant::Contestant;
pub use durable::Durable;
pub use field::{Field, Slot};
pub use first_packet::{Beside, Packets, measure};
pub use floor::{Deletion, Floor};
pub use guard::{Guarded, Guarding, guard};
pub use leases::{Leases, Leasing, Rate, Replay, leases};
pub use managed::{Managed, Resident, resident};
pub use overlay::{AtPeers, Converged, Converging, Path, Paths, converge, paths};
pub use plugins::Plugins;
pub use policy::{Policed, Policing, Size, policies};
pub use proof::{Proven, prove_ports_and_limits};
pub use report::{Chain, Report};
pub use rounds::{Effort, Figures, Race};
pub use sample::Sample;
pub use usage::{adopt_orphans, smallest_peak_kib};
