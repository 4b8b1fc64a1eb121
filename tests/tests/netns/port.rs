//! What a port's attributes do to the frames that pass it.

use netns_fixtures::packet::{Arp, ArpOp, Frame, Ipv4, Udp};
use netns_fixtures::{BridgeNetfilter, Capture, CaptureError, Captured, Direction, Ping};
use serde_json::json;

use crate::claims;
use crate::node::{Attachment, BRIDGE, GATEWAYS, LIMIT, Node};

claims! {
    in_hairpin_mode_a_frame_returns_by_its_port,
    without_hairpin_mode_no_frame_returns_by_its_port,
    isolated_ports_reach_the_gateway_and_not_each_other,
    a_promiscuous_bridge_hears_what_passes_between_containers,
    a_bridge_hears_nothing_of_what_passes_between_containers,
}

/// Sends a broadcast from `a` and demands that no copy of it comes back before the gateway's answer.
fn own_broadcast_returns(a: &Attachment) -> Result<(), CaptureError> {
    let capture = Capture::start(&a.container, "eth0").unwrap();
    let mac = a.mac();
    let asks = Arp::request(mac, a.v4(), "10.1.0.1".parse().unwrap());
    capture.socket().send(&asks).unwrap();
    let own = |frame: &Captured| {
        frame.direction == Direction::In && frame.ok().is_some_and(|frame| frame.src == mac)
    };
    let answer = |frame: &Captured| {
        let arp = frame.ok().and_then(Frame::arp);
        arp.is_some_and(|arp| arp.op == ArpOp::Reply)
    };
    capture.none_before("the own broadcast", LIMIT, own, answer)
}

fn in_hairpin_mode_a_frame_returns_by_its_port(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"hairpinMode": true}));
    let [a, b] = node.attach_two(&config);
    let returned = own_broadcast_returns(&a);
    assert!(
        matches!(returned, Err(CaptureError::Unwanted { .. })),
        "{returned:?}"
    );
    for to in b.addresses() {
        assert!(Ping::new(to).limit(LIMIT).from(&a.container).unwrap());
    }
}

fn without_hairpin_mode_no_frame_returns_by_its_port(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let [a, _b] = node.attach_two(&node.config());
    own_broadcast_returns(&a).unwrap();
}

fn isolated_ports_reach_the_gateway_and_not_each_other(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"portIsolation": true}));
    let [a, b] = node.attach_two(&config);
    for gateway in GATEWAYS {
        for from in [&a, &b] {
            let ping = Ping::new(gateway).limit(LIMIT);
            assert!(ping.from(&from.container).unwrap(), "{gateway}");
        }
    }
    for to in b.addresses() {
        let ping = Ping::new(to).limit(std::time::Duration::from_secs(1));
        assert!(!ping.from(&a.container).unwrap(), "{to}");
    }
}

/// Demands that the bridge itself hears no datagram that passes from `a` to `b`.
fn bridge_hears(node: &Node, [a, b]: &[Attachment; 2]) -> Result<(), CaptureError> {
    // The bridge knows by now behind which port each of them is, and does not flood.
    for (from, to) in [(a, b), (b, a)] {
        let ping = Ping::new(to.v4()).limit(LIMIT);
        assert!(ping.from(&from.container).unwrap());
    }
    let capture = Capture::start(&node.host, BRIDGE).unwrap();
    let sender = Capture::start(&a.container, "eth0").unwrap();
    let datagram = |port, dst_mac, dst| {
        let udp = Udp {
            src_port: 9,
            dst_port: port,
            data: Vec::new(),
        };
        Frame::new(a.mac(), dst_mac, Ipv4::new(a.v4(), dst, udp))
    };
    let to_port = |port| {
        move |frame: &Captured| {
            let udp = frame.ok().and_then(Frame::udp);
            udp.is_some_and(|udp| udp.dst_port == port)
        }
    };
    let gateway = "10.1.0.1".parse().unwrap();
    let bridge_mac = node.host.mac(BRIDGE).unwrap();
    let socket = sender.socket();
    socket.send(&datagram(4001, b.mac(), b.v4())).unwrap();
    socket.send(&datagram(4002, bridge_mac, gateway)).unwrap();
    capture.none_before("a datagram to b", LIMIT, to_port(4001), to_port(4002))
}

fn a_promiscuous_bridge_hears_what_passes_between_containers(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let both = node.attach_two(&node.config_with(json!({"promiscMode": true})));
    let heard = bridge_hears(&node, &both);
    assert!(
        matches!(heard, Err(CaptureError::Unwanted { .. })),
        "{heard:?}"
    );
}

fn a_bridge_hears_nothing_of_what_passes_between_containers(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let both = node.attach_two(&node.config());
    bridge_hears(&node, &both).unwrap();
}
