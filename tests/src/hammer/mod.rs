//! The hammer: several nodes over one etcd, workers that attach and detach at random, and everything
//! going wrong meanwhile; then a checker over what the workers saw and over what is left.

mod fault;
pub mod history;
mod node;
mod plan;
mod run;
mod worker;

pub use plan::Plan;
pub use run::{Verdict, run};
