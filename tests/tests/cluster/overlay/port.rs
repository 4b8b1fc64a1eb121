//! Another UDP port than the usual one.

use std::net::IpAddr;
use std::time::Duration;

use bulkhead_tests::nodes::{LIMIT, Nodes, addresses};
use netns_fixtures::{Capture, Container, Outside, Ping, Verb, wait_for};
use serde_json::{Value, json};

use super::reaches;

/// Linux' own before there was an assignment, and flannel's.
const PORT: u16 = 8472;

fn container(nodes: &Nodes, nth: usize) -> (Container, Vec<IpAddr>) {
    let (node, container) = (&nodes.all[nth], nodes.bare(nth, "c"));
    let mut network = node.network();
    network["port"] = json!(PORT);
    let result = node.call(Verb::Add, &container, &network).result();
    (container, addresses(&result))
}

/// Sends a datagram to a VTEP from outside the nodes.
fn send(nodes: &Nodes, port: u16) {
    let line = format!("printf xxxxxxxxxxxxxxxx > /dev/udp/192.0.1.2/{port}");
    let mut bash = nodes.outside.command("bash");
    assert!(
        bash.args(["-c", &line])
            .status()
            .expect("bash runs")
            .success()
    );
}

fn dropped(nodes: &Nodes) -> String {
    let listed = "nft list set inet bulkhead-overlay drops-unknown-source";
    nodes.all[0].host.sh(listed).expect("nft runs")
}

#[test]
fn another_port_is_the_one_that_is_used_judged_and_asked_about() {
    let nodes = Nodes::start(2);
    let ((from, _), (_to, at)) = (container(&nodes, 0), container(&nodes, 1));
    let capture = Capture::start(&nodes.all[0].host, Outside::UPLINK).unwrap();
    reaches(&from, &at);
    assert!(Ping::new(at[0]).unfragmented(1450).from(&from).unwrap());
    let port = |bytes: &[u8]| -> Option<u16> {
        let is_udp = bytes.get(12..14)? == [8, 0] && bytes.get(23)? == &17;
        let port = bytes.get(36..38)?.try_into().ok()?;
        is_udp.then(|| u16::from_be_bytes(port))
    };
    capture
        .expect("an encapsulated packet", LIMIT, |seen| {
            port(&seen.bytes) == Some(PORT)
        })
        .unwrap();
    capture
        .none_within(
            "one to the usual port",
            Duration::from_millis(100),
            |seen| port(&seen.bytes) == Some(4789),
        )
        .unwrap();
    // A stranger's is dropped and counted at this port; at the usual one, where nobody listens, it is none
    // of the filter's.
    send(&nodes, 4789);
    send(&nodes, PORT);
    wait_for("the stranger to be counted", LIMIT, || {
        dropped(&nodes)
            .contains("8472 counter packets 1")
            .then_some(())
    });
    assert!(!dropped(&nodes).contains("4789"), "{}", dropped(&nodes));
    // A container reaches no VTEP at it.
    let capture = Capture::start(&nodes.all[1].host, Outside::UPLINK).unwrap();
    let line = format!("printf xxxxxxxxxxxxxxxx > /dev/udp/192.0.2.2/{PORT}");
    let mut bash = from.command("bash");
    assert!(
        bash.args(["-c", &line])
            .status()
            .expect("bash runs")
            .success()
    );
    capture
        .none_within(
            "a container's datagram",
            Duration::from_millis(200),
            |seen| seen.bytes.ends_with(b"xxxxxxxxxxxxxxxx"),
        )
        .unwrap();
    reaches(&from, &at[..1]);
    let words = ["-o", "json", "doctor", "overlay", "--all"];
    let found = nodes.all[0].say(&words).expect("the CLI runs");
    let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    assert_eq!(found[0]["id"], "overlay-reach", "{found}");
}
