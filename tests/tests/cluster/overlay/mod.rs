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
use std::time::Duration;

use bulkhead_tests::nodes::LIMIT;
use netns_fixtures::{Container, Ping, wait_for};

/// Whether the address answers at once.
fn answers(from: &Container, to: IpAddr) -> bool {
    let ping = Ping::new(to).limit(Duration::from_millis(700));
    ping.from(from).expect("ping runs")
}

/// Waits until every address answers.
fn reaches(from: &Container, to: &[IpAddr]) {
    for at in to {
        let what = format!("{} to reach {at}", from.name());
        wait_for(&what, LIMIT, || answers(from, *at).then_some(()));
    }
}
