//! `bulkhead-ipv6`: a link for each container, and nothing but routes between them.

mod bird;
mod drift;
mod nobody;
mod prefix;
mod reach;

use netns_fixtures::Ns;
use serde_json::Value;

use crate::node::Node;

/// Every neighbour entry of a namespace, of both families, as `ip -j` shows them.
fn neighbours(ns: &Ns) -> Vec<Value> {
    let of = |family| ns.ip_json(&format!("{family} neigh show")).unwrap();
    ["-4", "-6"]
        .map(of)
        .iter()
        .flat_map(|list| list.as_array().cloned().unwrap_or_default())
        .collect()
}

/// The addresses of those that are not permanent, on links whose names begin so.
fn learned(ns: &Ns, link: &str) -> Vec<String> {
    let is_learned = |entry: &Value| {
        let states = entry["state"].as_array().cloned().unwrap_or_default();
        let on_link = entry["dev"]
            .as_str()
            .is_some_and(|dev| dev.starts_with(link));
        on_link && !states.iter().any(|state| state == "PERMANENT")
    };
    let all = neighbours(ns);
    let learned = all.iter().filter(|entry| is_learned(entry));
    learned.map(ToString::to_string).collect()
}

/// How many packets the node has sent to the outside that match.
fn count(node: &Node, rule: &str) {
    let script = format!(
        "table inet theirs {{
            chain out {{
                type filter hook postrouting priority 200;
                oifname \"uplink0\" {rule} counter
            }}
        }}"
    );
    node.host.nft(&script).unwrap();
}

fn counted(node: &Node) -> u64 {
    let listed = node.host.sh("nft -j list chain inet theirs out").unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let rules = listed["nftables"].as_array().unwrap().iter();
    let mut counters = rules.flat_map(|object| {
        let expressions = object["rule"]["expr"].as_array().cloned();
        expressions.unwrap_or_default()
    });
    let counter = counters.find_map(|expression| expression["counter"]["packets"].as_u64());
    counter.expect("a counter")
}
