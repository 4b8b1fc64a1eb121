//! `bulkhead-vxlan` over several nodes whose underlay is routed.

mod boot;
mod bridged;
mod check;
mod crossing;
mod direct;
mod doctor;
mod encrypted;
mod explain;
mod flannel;
mod guarded;
mod heal;
mod narrow;
mod options;
mod outage;
mod policed;
mod port;
mod reach;
mod strangers;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bulkhead_tests::nodes::{LIMIT, NETWORK, Node};
use netns_fixtures::{Ns, NsError, Ping, wait_for};
use serde_json::Value;

/// After so long damage that is mended and was not counted is done again.
const AGAIN: Duration = Duration::from_secs(10);

/// Whether the address answers at once.
fn answers(from: &Ns, to: IpAddr) -> bool {
    let ping = Ping::new(to).limit(Duration::from_millis(700));
    ping.from(from).expect("ping runs")
}

/// Waits until every address answers.
fn reaches(from: &Ns, to: &[IpAddr]) {
    for at in to {
        let what = format!("{} to reach {at}", from.name());
        wait_for(&what, LIMIT, || answers(from, *at).then_some(()));
    }
}

/// How often the node has mended what is of the network.
fn mended(node: &Node) -> u64 {
    let told = node.must_say(&["-o", "json", "overlay", "show", NETWORK]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    told["here"]["mended"].as_u64().expect("a count")
}

/// Does damage, and waits until it is `mended`, by the node's count. What comes back while the node follows what
/// another one has told is that change's, and not counted: then it is done again, once everything is `whole`.
fn is_mended(
    what: &str,
    damage: impl Fn() -> Result<String, NsError>,
    mended: impl Fn() -> u64,
    whole: impl Fn() -> bool,
) {
    let before = mended();
    let _ = damage().unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut done = Instant::now();
    wait_for(&format!("{what} to be mended"), LIMIT * 2, || {
        if mended() > before {
            return Some(());
        }
        if done.elapsed() > AGAIN && whole() {
            // What is not there again yet is refused.
            drop(damage());
            done = Instant::now();
        }
        None
    });
}
