//! The filter on ports, bound by device prefix and port by port.

use std::collections::BTreeSet;

use netns_fixtures::packet::{Arp, BROADCAST, Body, Frame, Ipv4, MacOctets, Udp};
use netns_fixtures::{
    BridgeNetfilter, Capture, CaptureError, Captured, Container, End, Feature, PacketSocket,
    Section, Snapshot, skip_without, veth, wait_for,
};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{Attachment, BRIDGE, LIMIT, Node, WINDOW, assert_reaches, with};

claims! {
    by_prefix_a_spoofed_source_mac_is_dropped,
    per_port_a_spoofed_source_mac_is_dropped,
    unchecked_any_source_mac_passes,
    by_prefix_a_port_is_mute_until_it_is_bound,
    a_port_is_mute_once_its_binding_is_gone,
    a_network_that_checks_and_one_that_does_not_live_side_by_side,
    the_filter_goes_with_the_last_attachment,
    a_flushed_filter_is_loaded_with_every_live_port,
    a_damaged_filter_is_loaded_with_every_live_port,
    another_hook_is_loaded_with_every_live_port,
    a_flushed_filter_is_loaded_with_what_other_networks_have,
    a_network_has_budgets_of_its_own,
    an_address_of_two_ports_lives_until_both_are_gone,
}

/// A hand-made port, of a name that ours have.
const STRANGER: &str = "bhpaaaaaaaaaaaa";
pub(crate) const SPOOFED: MacOctets = [2, 0xba, 0xd0, 0, 0, 1];

pub(crate) fn datagram(src: MacOctets, port: u16) -> Frame {
    let udp = Udp {
        src_port: 9,
        dst_port: port,
        data: Vec::new(),
    };
    let [from, to] = ["10.1.0.200", "10.1.0.255"].map(|text| text.parse().unwrap());
    Frame::new(src, BROADCAST, Ipv4::new(from, to, udp))
}

pub(crate) fn to_port(port: u16) -> impl Fn(&Captured) -> bool {
    move |frame| {
        let udp = frame.ok().and_then(Frame::udp);
        udp.is_some_and(|udp| udp.dst_port == port)
    }
}

/// `a` sends a frame with a MAC that is not its own, then one with its own.
fn spoof(a: &Attachment, b: &Attachment) -> Result<(), CaptureError> {
    let capture = Capture::start(&b.container, "eth0").unwrap();
    let sender = PacketSocket::open(&a.container, "eth0").unwrap();
    sender.send(&datagram(SPOOFED, 4001)).unwrap();
    sender.send(&datagram(a.mac(), 4002)).unwrap();
    capture.none_before("a spoofed frame", LIMIT, to_port(4001), to_port(4002))
}

fn spoofing_is_stopped(setting: BridgeNetfilter, hook: &str) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"guard": false, "macspoofchk": true, "portFilter": hook}));
    let [a, b] = node.attach_two(&config);
    spoof(&a, &b).unwrap();
    for (to, from) in b.addresses().into_iter().zip(a.addresses()) {
        assert_reaches(&a.container, &b.container, to, from);
    }
    // A changed MAC is as spoofed as an invented one.
    a.container
        .ip("link set eth0 address 02:ba:d0:00:00:02")
        .unwrap();
    let capture = Capture::start(&b.container, "eth0").unwrap();
    let sender = PacketSocket::open(&a.container, "eth0").unwrap();
    sender.send(&datagram(a.mac(), 4003)).unwrap();
    capture
        .none_within("a frame of a changed MAC", WINDOW, to_port(4003))
        .unwrap();
    node.detach(&a);
    node.detach(&b);
    node.assert_nothing_left();
}

fn by_prefix_a_spoofed_source_mac_is_dropped(setting: BridgeNetfilter) {
    skip_without!(Feature::PrefixChains);
    spoofing_is_stopped(setting, "prefix");
}

fn per_port_a_spoofed_source_mac_is_dropped(setting: BridgeNetfilter) {
    spoofing_is_stopped(setting, "perPort");
}

fn unchecked_any_source_mac_passes(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, b] = node.attach_two(&node.config_with(json!({"guard": false})));
    let passed = spoof(&a, &b);
    assert!(
        matches!(passed, Err(CaptureError::Unwanted { .. })),
        "{passed:?}"
    );
}

/// A container behind a port that was made by hand.
fn stranger(node: &Node) -> Container {
    let container = node.sandbox.container("stranger").unwrap();
    let near = End::new(&node.host, STRANGER);
    veth(&near, &End::new(&container, "eth0")).unwrap();
    node.host
        .ip(&format!("link set {STRANGER} master {BRIDGE}"))
        .unwrap();
    container
}

fn by_prefix_a_port_is_mute_until_it_is_bound(setting: BridgeNetfilter) {
    skip_without!(Feature::PrefixChains);
    let node = Node::new(setting);
    let a = node.attach(
        &node.config_with(json!({"portFilter": "prefix", "guard": false})),
        "a",
    );
    let container = stranger(&node);
    let capture = Capture::start(&a.container, "eth0").unwrap();
    let sender = PacketSocket::open(&container, "eth0").unwrap();
    let frame = |port| datagram(container.mac("eth0").unwrap(), port);
    sender.send(&frame(4001)).unwrap();
    capture
        .none_within("a frame of an unbound port", WINDOW, to_port(4001))
        .unwrap();
    // The path carries frames, once the port is bound.
    for set in ["loose", "open"] {
        node.host
            .nft(&format!(
                "add element netdev bulkhead {set} {{ \"{STRANGER}\" }}"
            ))
            .unwrap();
    }
    sender.send(&frame(4002)).unwrap();
    capture
        .expect("a frame of a bound port", LIMIT, to_port(4002))
        .unwrap();
}

fn a_port_is_mute_once_its_binding_is_gone(setting: BridgeNetfilter) {
    for hook in ["auto", "perPort"] {
        let node = Node::new(setting);
        let config = node.config_with(json!({"portFilter": hook, "guard": false}));
        let [a, b] = node.attach_two(&config);
        let port = a.port();
        node.host
            .nft(&format!(
                "delete element netdev bulkhead open {{ \"{port}\" }}"
            ))
            .unwrap();
        let capture = Capture::start(&b.container, "eth0").unwrap();
        let sender = PacketSocket::open(&a.container, "eth0").unwrap();
        sender.send(&datagram(a.mac(), 4001)).unwrap();
        capture
            .none_within("a frame of an unbound port", WINDOW, to_port(4001))
            .unwrap();
    }
}

fn a_network_that_checks_and_one_that_does_not_live_side_by_side(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let checked = node.config_with(json!({"guard": false, "macspoofchk": true}));
    let [a, b] = node.attach_two(&checked);
    let open = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    let open = with(open, json!({"guard": false}));
    let [c, d] = ["c", "d"].map(|name| node.attach(&open, name));
    spoof(&a, &b).unwrap();
    assert!(spoof(&c, &d).is_err());
    node.detach(&c);
    node.detach(&d);
    spoof(&a, &b).unwrap();
}

fn the_filter_goes_with_the_last_attachment(setting: BridgeNetfilter) {
    for hook in ["auto", "perPort"] {
        let node = Node::new(setting);
        let config =
            node.config_with(json!({"portFilter": hook, "guard": false, "macspoofchk": true}));
        let [a, b] = node.attach_two(&config);
        node.detach(&a);
        let standing = Snapshot::take(&node.host).unwrap();
        assert!(standing.value(Section::Nft, "netdev bulkhead").is_some());
        node.detach(&b);
        node.assert_nothing_left();
    }
}

/// Two checked containers, a change to the filter, an ADD by another configuration: both live ports
/// still speak, and only with their own MACs.
fn live_ports_survive(setting: BridgeNetfilter, damage: impl FnOnce(&Node), keys: Value) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"guard": false, "macspoofchk": true}));
    let [a, b] = node.attach_two(&config);
    damage(&node);
    let c = node.attach(&with(config, keys), "c");
    for (to, from) in b.addresses().into_iter().zip(a.addresses()) {
        assert_reaches(&a.container, &b.container, to, from);
    }
    for (to, from) in c.addresses().into_iter().zip(a.addresses()) {
        assert_reaches(&a.container, &c.container, to, from);
    }
    spoof(&a, &b).unwrap();
    for attachment in [&a, &b, &c] {
        node.detach(attachment);
    }
    node.assert_nothing_left();
}

fn a_flushed_filter_is_loaded_with_every_live_port(setting: BridgeNetfilter) {
    let flush = |node: &Node| drop(node.host.nft("delete table netdev bulkhead").unwrap());
    live_ports_survive(setting, flush, json!({}));
}

fn a_damaged_filter_is_loaded_with_every_live_port(setting: BridgeNetfilter) {
    let empty = |node: &Node| drop(node.host.nft("flush chain netdev bulkhead pod").unwrap());
    live_ports_survive(setting, empty, json!({}));
}

fn another_hook_is_loaded_with_every_live_port(setting: BridgeNetfilter) {
    skip_without!(Feature::PrefixChains);
    live_ports_survive(setting, |_| {}, json!({"portFilter": "prefix"}));
}

/// Gateways and blocks are a network's, and another one's ADD that loads the table brings them too.
fn a_flushed_filter_is_loaded_with_what_other_networks_have(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config(), "a");
    let sets = ["blocks4", "blocks6", "gates4", "gates6", "live4", "live6"];
    let listed = |set: &str| {
        let listed = node.host.nft(&format!("list set netdev bulkhead {set}"));
        listed.unwrap()
    };
    let of_blue = |set: &str| {
        let text = listed(set);
        let words = text.split(|at: char| !at.is_ascii_hexdigit() && !".:/x".contains(at));
        let ours = words.filter(|word| word.starts_with("10.1.") || word.contains("fd01"));
        ours.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let before = sets.map(of_blue);
    assert!(before.iter().all(|of_set| !of_set.is_empty()), "{before:?}");
    node.host.nft("delete table netdev bulkhead").unwrap();
    let green = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    let b = node.attach(&green, "b");
    assert_eq!(sets.map(of_blue), before);
    node.detach(&b);
    node.detach(&a);
    node.assert_nothing_left();
}

/// Of many broadcasts at once a port sends what its network allows, whatever others are allowed, and
/// goes on so when another network's ADD loads the table.
fn a_network_has_budgets_of_its_own(setting: BridgeNetfilter) {
    const SENT: usize = 90;
    let node = Node::new(setting);
    let few = json!({"guard": {"budgets": {"broadcast": {"rate": 1, "burst": 5}}}});
    let few = node.attach(&node.config_with(few), "few");
    let usual = node.attach(&node.config(), "usual");
    let dropped = |of: &Attachment, reason: &str| -> usize {
        let listed = node
            .host
            .nft(&format!("list set netdev bulkhead drops-{reason}"));
        let listed = listed.unwrap();
        let rest = listed.split_once(&format!("\"{}\"", of.port()));
        let Some((_, rest)) = rest else { return 0 };
        let mut words = rest.split(' ').skip_while(|word| *word != "packets");
        words.nth(1).unwrap().parse().unwrap()
    };
    let flood = |from: &Attachment| {
        let before = dropped(from, "budget");
        let last = dropped(from, "ethertype");
        let sender = PacketSocket::open(&from.container, "eth0").unwrap();
        for _ in 0..SENT {
            let frame = Arp::announcement(from.mac(), from.v4());
            sender.send(&frame).unwrap();
        }
        // What is dropped for another reason comes last.
        let body = Body::Other {
            ethertype: 0x88b5,
            bytes: vec![0; 46],
        };
        sender
            .send(&Frame::new(from.mac(), BROADCAST, body))
            .unwrap();
        wait_for("the last frame to be judged", LIMIT, || {
            (dropped(from, "ethertype") > last).then_some(())
        });
        dropped(from, "budget") - before
    };
    // In the time that this takes some more pass than the burst, and the container says a few things of
    // itself.
    let most = SENT / 2;
    let [of_few, of_usual] = [flood(&few), flood(&usual)];
    assert!(of_few > most && of_usual == 0, "{of_few}, {of_usual}");
    node.host.nft("delete table netdev bulkhead").unwrap();
    let green = node.network("green", "br-green", "10.2.0.0/24", "fd02::/64");
    node.attach(&green, "green");
    let [of_few, of_usual] = [flood(&few), flood(&usual)];
    assert!(of_few > most && of_usual == 0, "{of_few}, {of_usual}");
}

/// A virtual router's address: the one that stays has it alone now, and is not dead.
fn an_address_of_two_ports_lives_until_both_are_gone(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let virtual_address = json!({"guard": {"allowedAddresses": ["10.1.0.100"]}});
    let [a, b] = node.attach_two(&node.config_with(virtual_address));
    let live = || {
        let listed = node.host.nft("list set netdev bulkhead live4").unwrap();
        let words = listed.split([' ', ',', '\n']);
        words.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let own = a.v4().to_string();
    assert!(live().contains("10.1.0.100") && live().contains(&own));
    node.detach(&a);
    assert!(live().contains("10.1.0.100") && !live().contains(&own));
    node.detach(&b);
    node.assert_nothing_left();
}
