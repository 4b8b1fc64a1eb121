//! What the tests of the whole and the benchmark share. The tests drive what a person installs (the
//! executables, the workspace's manifests) from the outside. Only the crash and model tests use the
//! product's crates, to stop a plan half way.

pub mod bench;
pub mod containerd;
mod daemon;
mod enclosure;
pub mod hammer;
mod image;
pub mod licence;
pub mod nodes;
pub mod podman;
mod scratch;
mod suite;
pub mod truth;
pub mod workspace;

pub use daemon::Daemon;
pub use image::IMAGE;
pub use scratch::Scratch;
pub use suite::Suite;
