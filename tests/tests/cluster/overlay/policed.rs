//! Two tenants of one range beside each other, one routed and fenced by policies, one a segment without: what is
//! enforced of the one never touches the other, though their addresses are the same.

use std::net::SocketAddr;

use bulkhead_tests::nodes::{LIMIT, Node};
use netns_fixtures::{EchoServer, Transport, Verb, tcp_echo, wait_for};
use serde_json::{Value, json};

use super::bridged::{Bed, segment};
use super::{answers, reaches};

const FENCE: &str = "{apiVersion: bulkhead/v1, kind: Policy, metadata: {name: fence}, spec: {tier: admin, priority: 1, subject: [{network: pods}], ingress: [{ports: [7777/tcp]}, {action: deny}]}}";

/// The network of the nodes' own pool, which routes lead to.
fn fenced(node: &Node) -> Value {
    let mut network = node.network();
    network["policy"] = json!(true);
    network
}

#[test]
fn a_fenced_tenant_and_a_segment_of_the_same_range_keep_to_themselves() {
    let bed = Bed::start(2, "10.4.0.0/16", "16");
    // A segment with policies is refused by name, with what to do, and nothing is left of it.
    let mut network = segment(&bed.all[0], "blue");
    network["policy"] = json!(true);
    let container = bed.bare(0, "blue-policed");
    let refused = bed.all[0].call(Verb::Add, &container, &network);
    assert_eq!(refused.error_code(), Some(2), "{refused:#?}");
    let said = refused.stdout.clone();
    for part in [
        "policy: true is not supported: ",
        "network blue's segment",
        r#"remove the key, or use \"mode\": \"routed\""#,
    ] {
        assert!(said.contains(part), "{part:?}: {said}");
    }
    let links = container.sh("ip -o link").expect("ip runs");
    assert_eq!(links.lines().count(), 1, "{links}");

    let file = bed.all[0].state().join("fence.yaml");
    std::fs::write(&file, FENCE).expect("it is written");
    let _ = bed.all[0].must_say(&["policy", "apply", "-f", &file.display().to_string()]);
    let pods = [0, 1].map(|nth| bed.attached(nth, "c", &fenced(&bed.all[nth])));
    // Each on the segment has the address of a fenced one on its node.
    let blue = [0, 1].map(|nth| {
        let [v4, v6] = pods[nth].1[..] else {
            panic!("{pods:?}");
        };
        let v6 = v6.to_string().replace("fd00:4:", "fd00:9:");
        let mut network = segment(&bed.all[nth], "blue");
        network["args"] = json!({"cni": {"ips": [v4.to_string(), v6]}});
        let attached = bed.attached(nth, "c", &network);
        assert_eq!(attached.1[0], v4);
        attached
    });
    let [(from, _), (to, at)] = &pods;
    for address in at {
        let socket = SocketAddr::new(*address, 7777);
        let _server = EchoServer::start(to, Transport::Tcp, socket).unwrap();
        wait_for("what is allowed to pass", LIMIT, || {
            tcp_echo(from, socket, b"allowed", LIMIT).ok()
        });
        wait_for("what is not to end", LIMIT, || {
            (!answers(from, *address)).then_some(())
        });
    }
    // All of the segment is open, by the same addresses.
    for (nth, (from, _)) in blue.iter().enumerate() {
        reaches(from, &blue[1 - nth].1);
    }
    let verified = bed.all[1].must_say(&["-o", "json", "policy", "verify"]);
    let verified: Value = serde_json::from_str(&verified).expect("JSON");
    assert_eq!(verified["endpoints"], 1, "{verified}");
}
