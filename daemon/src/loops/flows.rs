//! Addresses of pools that cool down may be given out again once the node's connection tracking does not
//! know them any more, and once no node that enforces policies lets anything through because of who had
//! them: a flow of the old holder, or what was allowed to it, would otherwise reach the new one.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::node::Node;
use crate::workers::{Worker, Workers};

/// Looks once at all of them. The kernel walks its whole table: nothing is asked while nothing cools.
pub(super) fn look(node: &Arc<Node>, workers: &Arc<Workers>) {
    let cooling = node
        .cluster
        .look(bulkhead_ipam::cluster::ledger::Ledger::unconfirmed);
    let all: BTreeSet<IpAddr> = cooling.iter().flat_map(|(_, _, all)| all.clone()).collect();
    // Of what does not cool down nobody ever asks.
    node.identities.forget_all_but(&all);
    if cooling.is_empty() {
        return;
    }
    let looked_for = all.clone();
    let tracked = workers.run(move |worker: &mut Worker| worker.kernel.tracked(&looked_for));
    let tracked = match tracked {
        Some(Ok(tracked)) => tracked,
        Some(Err(error)) => {
            let why = crate::told::chain(&error);
            return node.failed(
                "flows of addresses that cool down cannot be looked at",
                &why,
            );
        }
        None => return,
    };
    let known =
        |address: &IpAddr| tracked.contains(address) || !node.identities.is_forgotten(*address);
    let confirmed: Vec<_> = cooling
        .iter()
        .filter(|(_, _, addresses)| !addresses.iter().any(known))
        .collect();
    node.cluster.tell(|ledger, _| {
        for (pool, ordinal, _) in confirmed {
            ledger.confirm_cooled(pool, *ordinal);
        }
    });
}
