//! What somebody else does to host ports is named by CHECK and mended by ADD, and DEL takes whatever
//! is left.

use netns_fixtures::{BridgeNetfilter, Section, Snapshot, Verb};
use serde_json::json;

use super::{INSIDE, PORT, mapped, published, publishing, seen_at, serve, to, uplink};
use crate::claims;
use crate::node::{Attachment, BRIDGE, LIMIT, NOTHING, Node, refusal, standing};

claims! {
    check_names_what_is_missing_and_add_mends_it,
    a_flushed_ruleset_is_loaded_with_every_live_port,
    del_takes_what_is_left,
    del_without_a_record_finds_the_entries_by_their_comment,
    the_table_goes_with_the_node_s_last_attachment,
    a_table_of_that_name_is_refused_and_untouched,
}

const TABLE: &str = "inet bulkhead-ports";

/// A change, and the words by which CHECK names it.
const DAMAGES: &[(&str, &[&str])] = &[
    (
        "nft delete element inet bulkhead-ports every4 { tcp . 8080 }",
        &["every4", "tcp . 8080", "10.1.0.2 . 80"],
    ),
    (
        "nft delete element inet bulkhead-ports every6 { udp . 8080 }",
        &["every6", "udp . 8080", "fd01::2 . 80"],
    ),
    (
        "nft delete element inet bulkhead-ports every4 { tcp . 8080 }; \
         add element inet bulkhead-ports every4 { tcp . 8080 : 10.1.0.99 . 80 }",
        &["every4", "tcp . 8080", "10.1.0.2 . 80"],
    ),
    (
        "nft delete element inet bulkhead-ports every4 { tcp . 8080 }; \
         add element inet bulkhead-ports every4 { tcp . 8080 comment \"theirs\" : 10.1.0.2 . 80 }",
        &["every4", "tcp . 8080"],
    ),
    ("nft delete table inet bulkhead-ports", &[TABLE]),
    ("nft flush chain inet bulkhead-ports martians", &[TABLE]),
    ("nft flush chain inet bulkhead-ports host", &[TABLE]),
    ("nft flush ruleset", &[TABLE, "netdev bulkhead"]),
    (
        "sysctl -qw net.ipv4.conf.br-blue.route_localnet=0",
        &["route_localnet"],
    ),
];

fn damaged(node: &Node, damage: &str) {
    match damage.strip_prefix("nft ") {
        Some(script) => node.host.nft(script).unwrap(),
        None => node.host.sh(damage).unwrap(),
    };
}

fn check_names_what_is_missing_and_add_mends_it(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&published(&node), "a");
    let _service = serve(&a.container, INSIDE);
    let before = standing(&node.host);
    for (damage, words) in DAMAGES {
        damaged(&node, damage);
        let (code, said) = refusal(&node.check(&a));
        assert!(code >= 100, "{code}: {said}");
        for word in *words {
            assert!(said.contains(word), "{damage}: {word} is not named: {said}");
        }
        let again = node.attach_to(a.config(), &a.container, "eth0");
        assert_eq!(again.result, a.result, "{damage}");
        let answer = node.check(&a);
        assert!(answer.succeeded(), "{damage}: {answer:#?}");
        assert_eq!(
            before.left_in(&node.host, LIMIT).unwrap(),
            NOTHING,
            "{damage}"
        );
        seen_at(to(node.uplink.node_v4, PORT), &node.outside);
        seen_at("127.0.0.1:8080".parse().unwrap(), &node.host);
    }
    node.detach(&a);
    node.assert_nothing_left();
}

/// Three attachments of two networks, one of them without host ports.
fn three(node: &Node) -> [Attachment; 3] {
    let green = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    [
        node.attach(&published(node), "a"),
        node.attach(&publishing(&green, mapped(PORT + 1, INSIDE)), "b"),
        node.attach(&node.config(), "plain"),
    ]
}

fn a_flushed_ruleset_is_loaded_with_every_live_port(setting: BridgeNetfilter) {
    for damage in ["nft flush ruleset", "nft delete table inet bulkhead-ports"] {
        let node = Node::new(setting);
        let live = three(&node);
        let _services = live.each_ref().map(|one| serve(&one.container, INSIDE));
        node.host.sh(damage).unwrap();
        let c = node.attach(&publishing(&node.config(), mapped(PORT + 2, INSIDE)), "c");
        let _service = serve(&c.container, INSIDE);
        for port in [PORT, PORT + 1, PORT + 2] {
            for address in uplink(&node) {
                seen_at(to(address, port), &node.outside);
            }
        }
        for one in live.iter().chain([&c]) {
            node.detach(one);
        }
        node.assert_nothing_left();
    }
}

fn del_takes_what_is_left(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let keeper = node.attach(
        &publishing(&node.config(), mapped(PORT + 1, INSIDE)),
        "keeper",
    );
    let before = standing(&node.host);
    // An entry that is not marked as ours stays.
    let ours = DAMAGES
        .iter()
        .filter(|(damage, _)| !damage.contains("add element"));
    for (nth, (damage, _)) in ours.enumerate() {
        let a = node.attach(&published(&node), &format!("a{nth}"));
        damaged(&node, damage);
        for _ in 0..2 {
            node.detach(&a);
        }
        node.attach_to(keeper.config(), &keeper.container, "eth0");
        assert_eq!(
            before.left_in(&node.host, LIMIT).unwrap(),
            NOTHING,
            "{damage}"
        );
    }
    let a = node.attach(&published(&node), "dies");
    node.sandbox.remove(&a.container).unwrap();
    node.detach(&a);
    assert_eq!(before.left_in(&node.host, LIMIT).unwrap(), NOTHING);
    node.detach(&keeper);
    node.assert_nothing_left();
}

fn entries(node: &Node, of: &Attachment) -> usize {
    let listed = node.host.sh("nft list table inet bulkhead-ports").unwrap();
    listed
        .matches(&format!("comment \"{}\"", of.port()))
        .count()
}

fn del_without_a_record_finds_the_entries_by_their_comment(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&published(&node), "a");
    let b = node.attach(&publishing(&node.config(), mapped(PORT + 1, INSIDE)), "b");
    std::fs::remove_dir_all(node.state()).unwrap();
    assert_eq!((entries(&node, &a), entries(&node, &b)), (4, 4));
    node.detach(&a);
    assert_eq!((entries(&node, &a), entries(&node, &b)), (0, 4));
    let _service = serve(&b.container, INSIDE);
    seen_at(to(node.uplink.node_v4, PORT + 1), &node.outside);
    node.detach(&b);
    assert_eq!(entries(&node, &b), 0);
}

fn the_table_goes_with_the_node_s_last_attachment(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, b, plain] = three(&node);
    let stands = || {
        let now = Snapshot::take(&node.host).unwrap();
        now.value(Section::Nft, TABLE).is_some()
    };
    node.detach(&a);
    node.detach(&b);
    // The bridge of what is left still routes 127.0.0.0/8, and nothing else keeps it from there.
    let switch = format!("net/ipv4/conf/{BRIDGE}/route_localnet");
    assert_eq!(node.host.sysctl(&switch).unwrap(), "1");
    assert!(stands());
    node.detach(&plain);
    node.assert_nothing_left();
}

fn a_table_of_that_name_is_refused_and_untouched(setting: BridgeNetfilter) {
    let mut node = Node::new(setting);
    node.host
        .nft("add table inet bulkhead-ports\nadd map inet bulkhead-ports every4 { type inet_service : ipv4_addr; }")
        .unwrap();
    node.before = standing(&node.host);
    let (code, said) = node.refused(&published(&node), "a");
    let text = "nftables table inet bulkhead-ports was not made by bulkhead: rename or delete it ";
    assert_eq!((code, said.as_str()), (102, text));
    // Who asks for no host port does not need it.
    let b = node.attach(&node.config(), "b");
    node.detach(&b);
    let container = node.sandbox.container("c").unwrap();
    node.silent(&node.call(Verb::Del, &published(&node), &container, "eth0"));
    let config = publishing(&node.config(), [json!({"hostPort": 1, "containerPort": 1})]);
    node.silent(&node.call(Verb::Del, &config, &container, "eth0"));
    node.assert_nothing_left();
}
