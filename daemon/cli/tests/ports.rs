//! `bulkhead ports ls`.

mod common;

use common::golden;
use common::ours::{Node, dual, ports};
use serde_json::json;

#[test]
fn host_ports_are_listed_with_where_they_lead() {
    let Some(node) = Node::new("host_ports_are_listed_with_where_they_lead", &[]) else {
        return;
    };
    let empty = "PROTOCOL  HOST  TO  ATTACHMENT  NOTE\n";
    assert_eq!(node.run("ports ls").ok(), empty);
    assert_eq!(node.json("ports ls"), json!([]));
    node.network("blue", dual(1), &[]);
    node.network("green", dual(2), &[]);
    node.host.ip("addr add 2001:db8::1/128 dev lo").unwrap();
    let map = |address: &str, protocol: &str, from: u16, to: u16| json!({"hostIP": address, "protocol": protocol, "hostPort": from, "containerPort": to});
    node.attach(
        "blue",
        "c1",
        &ports(&json!([
            map("", "udp", 53, 5353),
            map("", "tcp", 8080, 80),
            map("127.0.0.1", "tcp", 9000, 90),
        ])),
    );
    let c2 = node.attach(
        "green",
        "c2",
        &ports(&json!([
            map("0.0.0.0", "tcp", 443, 443),
            map("::", "sctp", 443, 443),
            map("2001:db8::1", "tcp", 9000, 90),
        ])),
    );
    golden("ports-ls.txt", &node.run("ports ls").ok());
    golden(
        "ports-ls-green.json",
        &node.run("ports ls green -o json").ok(),
    );
    node.sandbox.remove(&c2).unwrap();
    let dead = &node.json("ports ls green")[0]["dead"];
    assert_eq!(dead, "its network namespace is gone");
    let ran = node.run("ports ls grey").refused();
    assert_eq!(ran.0, 3);
}
