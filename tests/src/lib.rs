//! What the tests of the whole and the benchmark share. The tests drive what a person installs (the
//! executables, the workspace's manifests) from the outside and use none of the product's crates.

pub mod bench;
pub mod licence;
pub mod podman;
mod scratch;
mod suite;
pub mod workspace;

pub use scratch::Scratch;
pub use suite::Suite;
