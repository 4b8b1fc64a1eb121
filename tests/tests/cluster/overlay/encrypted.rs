//! Networks whose packets leave a node encrypted, or not at all. Where the kernel has no ESP, that is refused.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bulkhead_tests::nodes::{LIMIT, NETWORK, Node, Nodes, addresses};
use netns_fixtures::{
    Capture, Captured, Container, Direction, EchoServer, Feature, Outside, Ping, Snapshot,
    Transport, Verb, skip_without, wait_for,
};
use serde_json::{Value, json};

/// The UDP port of VXLAN.
const PORT: u16 = 4789;

/// Which family the underlay has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outer {
    V4,
    V6,
}

fn network(node: &Node, outer: Outer) -> Value {
    let mut network = node.network();
    network["encryption"] = json!("ipsec");
    network["underlay"] = match outer {
        Outer::V4 => json!(node.pair.node_v4),
        Outer::V6 => json!(node.pair.node_v6),
    };
    network
}

fn added(nodes: &Nodes, nth: usize, outer: Outer) -> (Container, Vec<IpAddr>) {
    let (node, container) = (&nodes.all[nth], nodes.bare(nth, "c"));
    let result = node
        .call(Verb::Add, &container, &network(node, outer))
        .result();
    (container, addresses(&result))
}

fn reaches(from: &Container, to: IpAddr) {
    wait_for(&format!("{} to reach {to}", from.name()), LIMIT, || {
        let ping = Ping::new(to).limit(Duration::from_secs(1));
        ping.from(from).expect("ping runs").then_some(())
    });
}

/// Protocol of an IP packet in a frame, and the UDP port that it is for.
fn outside(frame: &[u8]) -> Option<(u8, Option<u16>)> {
    let (protocol, payload) = match frame.get(12..14)? {
        [8, 0] => (*frame.get(23)?, 34),
        [0x86, 0xdd] => (*frame.get(20)?, 54),
        _ => return None,
    };
    let port = frame.get(payload + 2..payload + 4);
    let port = port.filter(|_| protocol == 17);
    Some((
        protocol,
        port.map(|port| u16::from_be_bytes([port[0], port[1]])),
    ))
}

/// VXLAN as it is, or something of a container without any.
fn is_plaintext(seen: &Captured, inside: &[IpAddr]) -> bool {
    let bytes = seen.bytes.as_slice();
    let holds = |address: &IpAddr| match address {
        IpAddr::V4(v4) => bytes.windows(4).any(|it| it == v4.octets()),
        IpAddr::V6(v6) => bytes.windows(16).any(|it| it == v6.octets()),
    };
    seen.direction == Direction::Out
        && (outside(bytes) == Some((17, Some(PORT))) || inside.iter().any(holds))
}

fn told(node: &Node) -> Value {
    let told = node.must_say(&["-o", "json", "overlay", "show", NETWORK]);
    serde_json::from_str(&told).expect("JSON")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_kernel_that_cannot_encrypt_is_told_at_add_and_at_status() {
    if Feature::Esp.is_present().expect("a scratch namespace") {
        return;
    }
    let nodes = Nodes::start(1);
    let (node, container) = (&nodes.all[0], nodes.bare(0, "c"));
    let config = network(node, Outer::V4);
    let before = Snapshot::take(&node.host).unwrap();
    // STATUS is code 50, whatever the reason is.
    for (verb, code) in [(Verb::Add, 2), (Verb::Status, 50)] {
        let answer = node.call(verb, &container, &config);
        assert_eq!(answer.error_code(), Some(code), "{answer:?}");
        let error = answer.json.clone().unwrap_or_default();
        let said = error["msg"].as_str().unwrap_or_default();
        let expected =
            "network pods: encryption: \"ipsec\" is not possible with this kernel: it has no ";
        assert!(said.starts_with(expected), "{said}");
        assert!(said.contains("(CONFIG_"), "{said}");
    }
    let left = before.left_in(&node.host, LIMIT).unwrap();
    assert_eq!(left, Vec::<String>::new());
    // Nothing was agreed on: the same network as it is can be had.
    let plain = node.call(Verb::Add, &container, &node.network());
    assert_eq!(addresses(&plain.result()).len(), 2);
}

#[test]
fn what_leaves_is_esp_over_either_family_up_to_exactly_the_mtu() {
    skip_without!(Feature::Esp);
    for (outer, mtu) in [(Outer::V4, 1416), (Outer::V6, 1396)] {
        let nodes = Nodes::start(2);
        let (from, own) = added(&nodes, 0, outer);
        let capture = Capture::start(&nodes.all[0].host, Outside::UPLINK).unwrap();
        let (_to, at) = added(&nodes, 1, outer);
        for address in &at {
            reaches(&from, *address);
            assert!(Ping::new(*address).unfragmented(mtu).from(&from).unwrap());
            let limit = Duration::from_secs(2);
            let longer = Ping::new(*address).unfragmented(mtu + 1).limit(limit);
            assert!(!longer.from(&from).unwrap(), "{address} over {outer:?}");
        }
        let is_esp = |seen: &Captured| outside(&seen.bytes).is_some_and(|(it, _)| it == 50);
        capture.expect("ESP", LIMIT, is_esp).unwrap();
        let inside = [own, at].concat();
        let window = Duration::from_millis(300);
        let plain = |seen: &Captured| is_plaintext(seen, &inside);
        capture.none_within("plaintext", window, plain).unwrap();
        let said = nodes.all[0].must_say(&["overlay", "show", NETWORK]);
        assert!(
            said.contains("ipsec, epoch 1, which 2 of 2 nodes receive by"),
            "{said}"
        );
        let found = nodes.all[0].must_say(&["doctor", "overlay", "--all"]);
        assert!(found.contains("ok  overlay-reach"), "{found}");
    }
}

#[test]
fn what_somebody_flushes_heals_and_meanwhile_nothing_leaves_in_plaintext() {
    skip_without!(Feature::Esp);
    let mut nodes = Nodes::start(2);
    let (from, own) = added(&nodes, 0, Outer::V4);
    let (_to, at) = added(&nodes, 1, Outer::V4);
    reaches(&from, at[0]);
    let node = &nodes.all[0];
    let capture = Capture::start(&node.host, Outside::UPLINK).unwrap();
    let mended = || told(node)["here"]["mended"].as_u64().expect("a count");
    for damage in ["xfrm state flush", "xfrm policy flush"] {
        let before = mended();
        node.host.ip(damage).unwrap();
        wait_for(&format!("{damage} to be mended"), LIMIT, || {
            (mended() > before).then_some(())
        });
        for address in &at {
            reaches(&from, *address);
        }
    }
    // Of one state too, and by another salt than before.
    let spis = || node.host.ip("xfrm state").unwrap();
    let before = spis();
    let first = before.lines().find(|line| line.contains("spi 0x"));
    let spi = first.and_then(|line| line.split_whitespace().find(|word| word.starts_with("0x")));
    let spi = spi.expect("a state").to_owned();
    let to = before.lines().next().expect("a state").to_owned();
    let to = to.split_whitespace().nth(3).expect("an address");
    node.host
        .ip(&format!("xfrm state delete dst {to} proto esp spi {spi}"))
        .unwrap();
    wait_for("another state", LIMIT, || {
        let now = spis();
        (!now.contains(&spi) && now.matches("spi 0x").count() >= 2).then_some(())
    });
    for address in &at {
        reaches(&from, *address);
    }
    // What a peer sends as it is, and a stranger, is dropped and counted.
    let inside = [own, at].concat();
    let window = Duration::from_millis(200);
    let plain = |seen: &Captured| is_plaintext(seen, &inside);
    capture.none_within("plaintext", window, plain).unwrap();
    let target = SocketAddr::new(node.pair.node_v4.into(), PORT);
    let forged = [8, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0];
    let strange = || UdpSocket::bind("0.0.0.0:0").unwrap();
    let outside = nodes.outside.enter(strange).unwrap();
    assert_eq!(dropped(node), 0);
    outside.send_to(&forged, target).unwrap();
    wait_for("a stranger's packet to be counted", LIMIT, || {
        (dropped(node) == 1).then_some(())
    });
    // A peer that nobody keeps from it.
    nodes.all[1].kill();
    let other = &nodes.all[1].host;
    other.ip("xfrm policy flush").unwrap();
    other.nft("delete table inet bulkhead-overlay").unwrap();
    let peer = other.enter(strange).unwrap();
    peer.send_to(&forged, target).unwrap();
    wait_for("a peer's packet to be counted", LIMIT, || {
        (dropped(&nodes.all[0]) == 2).then_some(())
    });
}

/// Packets to the node that were dropped because they had not been encrypted.
fn dropped(node: &Node) -> u64 {
    let set = node
        .host
        .nft("list set inet bulkhead-overlay drops-plaintext")
        .unwrap();
    let counted = set.split("packets ").nth(1);
    let number = counted.and_then(|rest| rest.split_whitespace().next());
    number.map_or(0, |number| number.parse().unwrap())
}

/// Asks again and again until told to end; how many answers came, and how many did not.
fn stream(from: &Container, to: SocketAddr, ends: &AtomicBool) -> (u32, u32) {
    let asks = || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(to).unwrap();
        // An answer of a machine without time is late, not lost.
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let (mut answered, mut lost) = (0_u32, 0);
        while !ends.load(Ordering::Relaxed) {
            let sent = answered.to_be_bytes();
            let mut found = [0; 64];
            let came = socket.send(&sent).and_then(|_| socket.recv(&mut found));
            if came.is_ok() {
                answered += 1;
            } else {
                lost += 1;
            }
            thread::sleep(Duration::from_millis(2));
        }
        (answered, lost)
    };
    from.enter(asks).unwrap()
}

#[test]
fn another_key_costs_no_packet_and_a_daemon_that_starts_again_none() {
    skip_without!(Feature::Esp);
    let mut nodes = Nodes::start(3);
    let all: Vec<_> = (0..3).map(|nth| added(&nodes, nth, Outer::V4)).collect();
    let at = SocketAddr::new(all[1].1[0], 7777);
    let _echo = EchoServer::start(&all[1].0, Transport::Udp, at).unwrap();
    for address in all[1..].iter().flat_map(|(_, at)| at) {
        reaches(&all[0].0, *address);
    }
    let ends = AtomicBool::new(false);
    let (answered, lost) = thread::scope(|scope| {
        let stream = scope.spawn(|| stream(&all[0].0, at, &ends));
        let said = nodes.all[2].must_say(&["overlay", "rekey", NETWORK]);
        assert!(said.contains("epoch 2 of its keys"), "{said}");
        for node in &nodes.all {
            wait_for("every node to be sent to by the new key", LIMIT, || {
                let told = told(node);
                let peers = told["here"]["seal"]["peers"].as_array()?;
                let by = |epoch: &Value| epoch["sentByEpoch"] == 2 && epoch["inbound"] == 1;
                (peers.len() == 2 && peers.iter().all(by)).then_some(())
            });
        }
        let soon = nodes.all[0].say(&["overlay", "rekey", NETWORK]).unwrap();
        assert!(text(&soon).contains("(all have it)"), "{}", text(&soon));
        nodes.all[1].kill();
        nodes.all[1].start();
        wait_for("the daemon to be back", LIMIT, || {
            (told(&nodes.all[1])["here"]["seal"]["epoch"] == 2).then_some(())
        });
        // Longer than what was sent by before is kept.
        thread::sleep(Duration::from_secs(17));
        ends.store(true, Ordering::Relaxed);
        stream.join().expect("it ends")
    });
    assert!(answered > 100, "{answered}");
    assert_eq!(lost, 0, "of {answered}");
    let states = nodes.all[0].host.ip("xfrm state").unwrap();
    // One each way for each of two others.
    assert_eq!(states.matches("spi 0x").count(), 4, "{states}");
}

#[test]
fn a_node_that_would_speak_in_the_clear_is_refused_and_nothing_is_left_in_the_end() {
    skip_without!(Feature::Esp);
    let nodes = Nodes::start(2);
    let node = &nodes.all[0];
    let before = Snapshot::take(&node.host).unwrap();
    let (one, _) = added(&nodes, 0, Outer::V4);
    let other = &nodes.all[1];
    let refused = |config: &Value| {
        let answer = other.call(Verb::Add, &nodes.bare(1, "refused"), config);
        let error = answer.json.clone().unwrap_or_default();
        assert_eq!(answer.error_code(), Some(7), "{error}");
        error["msg"].as_str().unwrap_or_default().to_owned()
    };
    let said = refused(&other.network());
    assert!(
        said.starts_with("network pods: \"encryption\" is none here and ipsec on node n1"),
        "{said}"
    );
    let answer = node.call(Verb::Del, &one, &network(node, Outer::V4));
    let _ = answer.result();
    wait_for("the nodes to tell nobody of it", LIMIT, || {
        let told = node.must_say(&["-o", "json", "overlay", "ls"]);
        (serde_json::from_str::<Value>(&told).unwrap() == json!([])).then_some(())
    });
    let left = before.left_in(&node.host, LIMIT).unwrap();
    assert_eq!(left, Vec::<String>::new());
    for what in ["state", "policy"] {
        wait_for(&format!("every {what} to go"), LIMIT, || {
            let left = node.host.ip(&format!("xfrm {what}")).unwrap();
            (!left.contains("1650982913")).then_some(())
        });
    }
}
