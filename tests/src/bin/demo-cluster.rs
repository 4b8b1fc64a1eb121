//! The demo of many nodes: three of them with a routed underlay between them, a daemon each and an etcd, all
//! in namespaces of this machine. Containers of one network on each reach each other; the cluster is
//! drawn; a node and the store die, and what goes on is shown. Exits with 1 if a claim does not hold.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use bulkhead_tests::nodes::{LIMIT, NETWORK, Nodes};
use netns_fixtures::tell::{Teller, command, show};
use netns_fixtures::{Container, Ping, Verb, wait_until};

/// A container, and its addresses.
type Guest = (Container, Vec<IpAddr>);

fn main() -> ExitCode {
    let teller = Teller::default();
    teller.step("Three nodes, each on a network of its own behind a router, and an etcd");
    let mut nodes = Nodes::start(3);
    for node in &nodes.all {
        let pair = &node.pair;
        show(format!(
            "{}  {} and {}",
            node.name, pair.node_v4, pair.node_v6
        ));
    }
    command(
        "bulkhead pool add default --v4 10.4.0.0/16 --v6 fd00:4::/64 --block-size 16 --node-addresses",
    );

    teller.step("A container on each, by a network that the nodes have together");
    show(format!("{:#}", nodes.all[0].network()));
    let guests: Vec<Guest> = (0..3).map(|nth| nodes.container(nth, "first")).collect();
    for (node, (_, at)) in nodes.all.iter().zip(&guests) {
        let at: Vec<String> = at.iter().map(ToString::to_string).collect();
        teller.claim(
            at.len() == 2,
            format!("{} has a container", node.name),
            at.join(" and "),
        );
    }

    teller.step("Every one reaches every other, IPv4 and IPv6");
    for pair in [(0, 1), (1, 2), (2, 0)] {
        let ((from, _), (_, to)) = (&guests[pair.0], &guests[pair.1]);
        let names = (&nodes.all[pair.0].name, &nodes.all[pair.1].name);
        claim_reached(&teller, from, to, &format!("{} to {}", names.0, names.1));
    }
    let (from, to) = (&guests[0].0, guests[1].1[0]);
    let whole = Ping::new(to).unfragmented(1450).from(from);
    let longer = Ping::new(to)
        .unfragmented(1451)
        .limit(Duration::from_secs(1));
    let exact = whole.unwrap_or_default() && !longer.from(from).unwrap_or(true);
    teller.claim(
        exact,
        "a packet of 1450 bytes passes whole, one of 1451 not",
        "",
    );

    teller.step("What the nodes know of each other");
    said(&nodes, 0, &["overlay", "peers", NETWORK]);
    said(&nodes, 0, &["topology"]);
    said(&nodes, 0, &["doctor", "overlay", "--all"]);

    teller.step("The third node dies, and so does etcd");
    nodes.all[2].kill();
    drop(nodes.all[2].set_uplink(false));
    nodes.etcd.kill(0);
    claim_reached(&teller, &guests[0].0, &guests[1].1, "n1 to n2, as before");
    let (newer, at) = nodes.container(1, "newer");
    teller.claim(
        at.len() == 2,
        "n2 has another container, from its own block",
        "",
    );
    claim_reached(&teller, &guests[0].0, &at, "n1 to it");
    let output = nodes.all[0].say(&["doctor", "overlay"]);
    let told = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let told = told.unwrap_or_default();
    command("bulkhead doctor overlay");
    show(&told);
    teller.claim(
        told.contains("n3 at 192.0.3.2 answers nothing"),
        "doctor tells who is dead",
        "",
    );
    said(&nodes, 0, &["topology"]);

    teller.step("Everything goes: nothing is left on a node without a container");
    let device = nodes.all[1].device();
    for container in [&guests[1].0, &newer] {
        let node = &nodes.all[1];
        let answer = node.call(Verb::Del, container, &node.network());
        teller.claim(
            answer.succeeded(),
            format!("DEL of {}", container.name()),
            "",
        );
    }
    let gone = wait_until(LIMIT, || {
        let has = nodes.all[1].host.has_link(&device).unwrap_or(true);
        (!has).then_some(())
    });
    teller.claim(gone.is_some(), format!("device {device} is gone"), "");
    teller.verdict()
}

/// What an operator is told, as the operator would ask.
fn said(nodes: &Nodes, nth: usize, words: &[&str]) {
    command(format!("bulkhead {}", words.join(" ")));
    show(nodes.all[nth].must_say(words));
}

fn claim_reached(teller: &Teller, from: &Container, to: &[IpAddr], what: &str) {
    let reached = |at: &IpAddr| {
        let ping = || Ping::new(*at).limit(Duration::from_secs(1)).from(from);
        wait_until(LIMIT, || ping().unwrap_or_default().then_some(())).is_some()
    };
    let (all, at): (bool, Vec<String>) = (
        to.iter().all(reached),
        to.iter().map(ToString::to_string).collect(),
    );
    teller.claim(all && !to.is_empty(), what, at.join(" and "));
}
