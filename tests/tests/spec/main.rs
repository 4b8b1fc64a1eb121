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
/// for what only ours promises; `bridges` and `our_bridges` likewise, of networks that have one. Of ours
/// each is asked again of a node with a daemon.
macro_rules! claims {
    (
        both: $($both:ident),* $(,)?;
        ours: $($ours:ident),* $(,)?
        $(; bridges: $($bridges:ident),* $(,)?)?
        $(; our_bridges: $($our_bridges:ident),* $(,)?)?
    ) => {
        mod reference {
            $(#[test] fn $both() { super::$both(&bulkhead_tests::Suite::reference()); })*
            $($(
                #[test] fn $bridges() { super::$bridges(&bulkhead_tests::Suite::reference()); }
            )*)?
        }
        mod ours {
            $(#[test] fn $both() { super::$both(&bulkhead_tests::Suite::ours()); })*
            $(#[test] fn $ours() { super::$ours(&bulkhead_tests::Suite::ours()); })*
            $($(
                #[test] fn $bridges() { super::$bridges(&bulkhead_tests::Suite::ours()); }
            )*)?
            $($(
                #[test] fn $our_bridges() { super::$our_bridges(&bulkhead_tests::Suite::ours()); }
            )*)?
        }
        mod layer3 {
            $(#[test] fn $both() { super::$both(&bulkhead_tests::Suite::layer3()); })*
            $(#[test] fn $ours() { super::$ours(&bulkhead_tests::Suite::layer3()); })*
        }
        mod served {
            $(#[test] fn $both() { super::$both(&bulkhead_tests::Suite::ours().served()); })*
            $(#[test] fn $ours() { super::$ours(&bulkhead_tests::Suite::ours().served()); })*
            $($(
                #[test] fn $bridges() { super::$bridges(&bulkhead_tests::Suite::ours().served()); }
            )*)?
            $($(
                #[test]
                fn $our_bridges() { super::$our_bridges(&bulkhead_tests::Suite::ours().served()); }
            )*)?
        }
    };
}
pub(crate) use claims;
