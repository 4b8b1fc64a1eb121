//! The built executables on real kernels: every node is a namespace, every packet is real. Each claim
//! is asked in a sandbox of its own, with bridged frames passing the node's netfilter and without.

mod address;
mod bandwidth;
#[allow(
    dead_code,
    unreachable_pub,
    clippy::struct_excessive_bools,
    clippy::unused_self,
    reason = "it is the planner's own test module"
)]
#[path = "../../../plugins/plan/tests/cases/mod.rs"]
mod case;
mod check;
mod churn;
mod collect;
mod crash;
mod detach;
mod filter;
mod foreign;
mod forwarding;
mod guarded;
mod host_ports;
mod layer3;
mod masquerade;
mod model;
mod mtu;
mod node;
mod port;
mod reach;
mod repairs;
mod segmentation;
mod several;

/// Makes two tests of each claim, a function over a `BridgeNetfilter`.
macro_rules! claims {
    ($($claim:ident),* $(,)?) => {
        mod bridge_nf_call_0 {
            $(#[test] fn $claim() { super::$claim(netns_fixtures::BridgeNetfilter::Off); })*
        }
        mod bridge_nf_call_1 {
            $(#[test] fn $claim() {
                netns_fixtures::skip_without!(netns_fixtures::Feature::BrNetfilter);
                super::$claim(netns_fixtures::BridgeNetfilter::On);
            })*
        }
    };
}
pub(crate) use claims;
