//! The CNI specification, asked of the built executables from the outside. Where the reference
//! plugins keep a claim too, it is asked of them as well: a claim that fails there is a wrong claim.

mod collect;
mod config;
mod delegation;
mod detach;
mod environment;
mod ipam;
mod node;
mod result;

/// Makes a test of each claim, a function over a `Suite`: `both` for ours and the reference, `ours`
/// for what only ours promises. Of ours each is asked twice: of the plugin alone, and of one whose node
/// has a daemon.
macro_rules! claims {
    (both: $($both:ident),* $(,)?; ours: $($ours:ident),* $(,)?) => {
        mod reference {
            $(#[test] fn $both() { super::$both(&bulkhead_tests::Suite::reference()); })*
        }
        mod ours {
            $(#[test] fn $both() { super::$both(&bulkhead_tests::Suite::ours()); })*
            $(#[test] fn $ours() { super::$ours(&bulkhead_tests::Suite::ours()); })*
        }
        mod served {
            $(#[test] fn $both() { super::$both(&bulkhead_tests::Suite::ours().served()); })*
            $(#[test] fn $ours() { super::$ours(&bulkhead_tests::Suite::ours().served()); })*
        }
    };
}
pub(crate) use claims;
