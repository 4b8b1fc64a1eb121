//! `bulkhead policy explain` between two nodes: what one of them knows of the way to the other, and what it
//! does not.

use bulkhead_tests::nodes::{LIMIT, Nodes, addresses};
use netns_fixtures::{Verb, wait_until};
use serde_json::{Value, json};

const FENCE: &str = "{apiVersion: bulkhead/v1, kind: Policy, metadata: {name: fence}, spec: {tier: admin, priority: 1, subject: [{network: pods}], ingress: [{ports: [80/tcp]}, {action: deny}]}}";

#[test]
fn the_way_to_another_node_is_told_and_what_is_that_nodes_to_tell() {
    let nodes = Nodes::start(2);
    let mut endpoints = Vec::new();
    for (nth, name) in ["one", "other"].into_iter().enumerate() {
        let node = &nodes.all[nth];
        let container = nodes.bare(nth, name);
        let mut network = node.network();
        network["policy"] = json!(true);
        let result = node.call(Verb::Add, &container, &network).result();
        endpoints.push((container, addresses(&result)));
    }
    let [one, other] = [0, 1].map(|nth: usize| &nodes.all[nth]);
    let file = one.state().join("fence.yaml");
    std::fs::write(&file, FENCE).expect("it is written");
    let _ = one.must_say(&["policy", "apply", "-f", &file.display().to_string()]);
    let known = one.must_say(&["-o", "json", "policy", "endpoints"]);
    let known: Value = serde_json::from_str(&known).expect("JSON");
    let named = |nth: usize| {
        let at = endpoints[nth].1[0].to_string();
        let all = known.as_array().expect("a list").iter();
        let mut meant = all.filter(|row| {
            let addresses = row["addresses"].as_array().expect("a list");
            addresses.iter().any(|address| *address == at)
        });
        let row = meant.next()?;
        let text = |key: &str| row[key].as_str().expect("text").to_owned();
        Some(format!("{}/{}", text("namespace"), text("name")))
    };
    let (from, to) = (named(0).expect("its own"), endpoints[1].1[0].to_string());
    let question = format!("{from} -> {to}:22/tcp");
    let ask = |node: &bulkhead_tests::nodes::Node| {
        let output = node.say(&["policy", "explain", &question]);
        String::from_utf8(output.expect("the CLI runs").stdout).expect("text")
    };
    // Each node enforces, and tells that it does, a moment after somebody has written.
    let is_told = |node, lines: &[&str]| {
        let mut told = String::new();
        let whole = wait_until(LIMIT, || {
            told = ask(node);
            lines.iter().all(|line| told.contains(line)).then_some(())
        });
        assert!(whole.is_some(), "{lines:#?}:\n{told}");
        println!("{told}");
    };
    is_told(
        one,
        &[
            ": denied at ingress\n",
            "enforced by node n2 at revision 1, the latest, as it says itself",
            "guard        passes: MAC ",
            "enforced by node n1 at revision 1, the latest; the kernel's table, read back, is exactly that and says: egress allow: no policy\n",
            "way          overlay pods: out of bhx",
            "encapsulated (VXLAN, VNI ",
            " to node n2 at 192.0.2.2, MTU 1450\n",
            "not known: whether it arrives at node n2 is the underlay's to tell",
            "by rule 2 of Policy fence (",
            "not known: its port is node n2's, which is to be asked for it\n",
        ],
    );
    // The other one knows of its end, and not of this one's.
    is_told(
        other,
        &[
            "not known: the guard of ",
            "enforced by node n2 at revision 1, the latest; the kernel's table, read back, is exactly that and says: ingress deny: rule 2 of Policy fence\n",
            "which way ",
        ],
    );
}
