//! What `blocks` of `bulkhead-guard` leaves in the kernel, and until when.

use netns_fixtures::{BridgeNetfilter, Verb};
use serde_json::json;

use super::chain::{BRIDGE, Chain, GATEWAYS, Seat};
use crate::node::with;

const TABLE: &str = "inet bulkhead-segments";

/// The table, if it is there.
fn segments(chain: &Chain) -> Option<String> {
    chain.node.host.sh(&format!("nft list table {TABLE}")).ok()
}

/// Whether an address of either family is held on the bridge.
fn holds(chain: &Chain, address: &str) -> bool {
    let listed = segments(chain).unwrap_or_default();
    let element = format!("\"{BRIDGE}\" . {address}");
    let ends = |rest: &str| !rest.starts_with(|at: char| at.is_ascii_hexdigit() || at == ':');
    listed
        .match_indices(&element)
        .any(|(at, _)| ends(&listed[at + element.len()..]))
}

fn ends(chain: &Chain, seat: &Seat) {
    chain.silent(Verb::Del, &chain.behind(seat), &seat.container);
    let main = with(chain.main.clone(), json!({"prevResult": seat.result}));
    chain.silent(Verb::Del, &main, &seat.container);
}

pub(super) fn blocks_are_known_until_the_last_port_that_named_them(setting: BridgeNetfilter) {
    let mut chain = Chain::new(setting);
    let plain = chain.attach("plain");
    assert_eq!(segments(&chain), None, "nobody has said what is whose");
    ends(&chain, &plain);
    let blocks = json!({"blocks": ["10.1.0.0/24", "fd01::/64"]});
    chain.guard = with(chain.guard.clone(), blocks);
    let [a, b] = ["a", "b"].map(|name| chain.attach(name));
    let all = |seat: &Seat| {
        seat.addresses()
            .iter()
            .all(|it| holds(&chain, &it.to_string()))
    };
    let held = || all(&a) && all(&b) && GATEWAYS.iter().all(|it| holds(&chain, it));
    assert!(held(), "{:?}", segments(&chain));
    chain.silent(Verb::Check, &chain.behind(&a), &a.container);
    // Whoever puts it back brings the others too.
    chain
        .node
        .host
        .nft(&format!("delete table {TABLE}"))
        .unwrap();
    let checked = chain.call(Verb::Check, &chain.behind(&a), &a.container);
    assert!(!checked.succeeded(), "{checked:#?}");
    chain.guard(&a);
    assert!(held(), "{:?}", segments(&chain));
    chain.silent(Verb::Check, &chain.behind(&b), &b.container);
    ends(&chain, &a);
    assert!(
        a.addresses()
            .iter()
            .all(|it| !holds(&chain, &it.to_string()))
    );
    assert!(all(&b) && segments(&chain).unwrap().contains("10.1.0.0/24"));
    ends(&chain, &b);
    assert_eq!(segments(&chain), None);
    chain.assert_no_guard_left();
}
