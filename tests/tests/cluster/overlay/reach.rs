//! Who reaches whom, with what, and what leaves a node on the way.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bulkhead_tests::nodes::{LIMIT, NETWORK, Node, Nodes, addresses};
use netns_fixtures::{
    Capture, Container, EchoServer, Outside, Ping, Snapshot, Transport, Verb, tcp_echo, udp_echo,
    wait_for,
};
use serde_json::{Value, json};

/// An underlay of 1500 bytes over IPv4 leaves so many.
const MTU: usize = 1450;

fn reaches(from: &Container, to: IpAddr) {
    wait_for(&format!("{} to reach {to}", from.name()), LIMIT, || {
        let ping = Ping::new(to).limit(Duration::from_secs(1));
        ping.from(from).expect("ping runs").then_some(())
    });
}

/// What the container is known by to somebody of that family.
fn seen_by(all: &[(Container, Vec<IpAddr>)], from: &Container, by: IpAddr) -> IpAddr {
    let (_, own) = all.iter().find(|(it, _)| it.name() == from.name()).unwrap();
    *own.iter()
        .find(|own| own.is_ipv4() == by.is_ipv4())
        .unwrap()
}

#[test]
fn every_pair_speaks_every_protocol_of_both_families() {
    let nodes = Nodes::start(3);
    let containers: Vec<_> = (0..3).map(|nth| nodes.container(nth, "c")).collect();
    for (to, addresses) in &containers {
        for address in addresses {
            let at = SocketAddr::new(*address, 7777);
            let _tcp = EchoServer::start(to, Transport::Tcp, at).unwrap();
            let _udp = EchoServer::start(to, Transport::Udp, at).unwrap();
            for (from, _) in containers
                .iter()
                .filter(|(from, _)| from.name() != to.name())
            {
                reaches(from, *address);
                // The other sees the container's own address, in both.
                let own = seen_by(&containers, from, *address);
                assert_eq!(tcp_echo(from, at, b"over tcp", LIMIT).unwrap(), own);
                assert_eq!(udp_echo(from, at, b"over udp", LIMIT).unwrap(), own);
            }
        }
    }
}

#[test]
fn a_node_reaches_containers_of_others_and_is_reached() {
    let nodes = Nodes::start(2);
    let (first, of_first) = nodes.container(0, "first");
    let (second, of_second) = nodes.container(1, "second");
    for node in &nodes.all {
        let _ = node.must_say(&["doctor", "overlay"]);
    }
    let own = |nth: usize| -> Vec<IpAddr> {
        let said = nodes.all[nth].must_say(&["overlay", "ls", "--output", "json"]);
        let all: Value = serde_json::from_str(&said).unwrap();
        let own = all.pointer("/0/here/addresses").and_then(Value::as_array);
        let texts = own.unwrap_or_else(|| panic!("{all}")).iter();
        texts
            .map(|text| text.as_str().unwrap().parse().unwrap())
            .collect()
    };
    // Each node's own address, in both families, is what is seen of it, and answers.
    for (nth, there, at) in [(0, &second, &of_second), (1, &first, &of_first)] {
        let host = &nodes.all[nth].host;
        let node = own(nth);
        assert_eq!(node.len(), 2, "{node:?}");
        for address in at {
            wait_for(&format!("the node to reach {address}"), LIMIT, || {
                let ping = Ping::new(*address).limit(Duration::from_secs(1));
                ping.from(host).expect("ping runs").then_some(())
            });
            let socket = SocketAddr::new(*address, 7777);
            let _tcp = EchoServer::start(there, Transport::Tcp, socket).unwrap();
            let seen = tcp_echo(host, socket, b"from a node", LIMIT).unwrap();
            assert!(node.contains(&seen), "{seen} is none of {node:?}");
        }
        for address in node {
            reaches(there, address);
        }
    }
}

#[test]
fn a_packet_of_the_mtu_passes_whole_and_one_byte_more_is_told() {
    let nodes = Nodes::start(2);
    let (from, _) = nodes.container(0, "from");
    let (to, at) = nodes.container(1, "to");
    for address in &at {
        reaches(&from, *address);
        assert!(Ping::new(*address).unfragmented(MTU).from(&from).unwrap());
        let limit = Duration::from_secs(2);
        let longer = Ping::new(*address).unfragmented(MTU + 1).limit(limit);
        assert!(!longer.from(&from).unwrap());
        // What may be fragmented passes.
        let large = Ping::new(*address).packet_size(4000).limit(LIMIT);
        assert!(large.from(&from).unwrap());
    }
    let told = nodes.all[0].call(Verb::Add, &nodes.bare(0, "told"), &nodes.all[0].network());
    let result = told.result();
    let interfaces = result["interfaces"].as_array().unwrap().iter();
    let mtus: Vec<_> = interfaces
        .map(|interface| interface["mtu"].clone())
        .collect();
    assert_eq!(mtus, [json!(MTU), json!(MTU)]);
    drop(to);
}

#[test]
fn nothing_that_everybody_gets_leaves_a_node() {
    let nodes = Nodes::start(2);
    let (from, own) = nodes.container(0, "from");
    let (_to, at) = nodes.container(1, "to");
    let capture = Capture::start(&nodes.all[0].host, Outside::UPLINK).unwrap();
    for address in &at {
        reaches(&from, *address);
    }
    // What nobody has is looked for nowhere: neither by asking everybody nor by the default route.
    for dead in ["10.4.200.9", "fd00:4::c809"] {
        let limit = Duration::from_millis(600);
        let ping = Ping::new(dead.parse::<IpAddr>().unwrap()).limit(limit);
        assert!(!ping.from(&from).unwrap());
    }
    let inner = |bytes: &[u8]| -> Option<[u8; 6]> {
        // Outer Ethernet, IPv4, UDP and VXLAN headers.
        let is_vxlan = bytes.get(12..14)? == [8, 0]
            && bytes.get(23)? == &17
            && bytes.get(36..38)? == 4789_u16.to_be_bytes();
        is_vxlan
            .then(|| bytes.get(50..56)?.try_into().ok())
            .flatten()
    };
    let what = "a frame to a group, or a container's packet as it is";
    capture
        .none_within(what, Duration::from_millis(300), |seen| {
            let bytes = seen.bytes.as_slice();
            let group = inner(bytes).is_some_and(|mac| mac[0] & 1 == 1);
            let text = |address: &IpAddr| match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            // A container's packet that is not encapsulated.
            let naked = inner(bytes).is_none()
                && own
                    .iter()
                    .any(|own| bytes.windows(16).any(|it| it.starts_with(&text(own))));
            group || naked
        })
        .unwrap();
}

#[test]
fn nothing_is_left_of_a_network_that_is_gone() {
    let nodes = Nodes::start(2);
    let node = &nodes.all[0];
    let before = Snapshot::take(&node.host).unwrap();
    let (one, _) = nodes.container(0, "one");
    let (other, at) = nodes.container(1, "other");
    reaches(&one, at[0]);
    let device = node.device();
    for (nth, container) in [(0, &one), (1, &other)] {
        let node = &nodes.all[nth];
        let _ = node.call(Verb::Del, container, &node.network()).result();
    }
    wait_for("the device to go", LIMIT, || {
        (!node.host.has_link(&device).unwrap()).then_some(())
    });
    wait_for("the nodes to tell nobody of it", LIMIT, || {
        let told = node.must_say(&["-o", "json", "overlay", "ls"]);
        (serde_json::from_str::<Value>(&told).unwrap() == json!([])).then_some(())
    });
    let left = before.left_in(&node.host, LIMIT).unwrap();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_network_that_contradicts_another_is_refused_and_both_are_named() {
    let nodes = Nodes::start(2);
    let (_one, _) = nodes.container(0, "one");
    let node: &Node = &nodes.all[1];
    let refused = |keys: Value| {
        let mut network = node.network();
        for (key, value) in keys.as_object().unwrap() {
            network[key] = value.clone();
        }
        let answer = node.call(Verb::Add, &nodes.bare(1, &nth().to_string()), &network);
        let error = answer.json.clone().unwrap_or_default();
        (
            answer.error_code(),
            error["msg"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let told = node.must_say(&["-o", "json", "overlay", "show", NETWORK]);
    let told: Value = serde_json::from_str(&told).unwrap();
    let vni = &told["vni"];
    for (keys, expected) in [
        (
            json!({"name": "blue", "vni": vni}),
            format!("network blue: VNI {vni} is that of network pods"),
        ),
        (
            json!({"name": "blue"}),
            "network blue: pool default is that of network pods".to_owned(),
        ),
        (
            json!({"vni": 77}),
            format!("network pods: \"vni\" is 77 here and {vni} on node n1"),
        ),
        (
            json!({"port": 8472}),
            "network pods: \"port\" is 8472 here and 4789 on node n1".to_owned(),
        ),
        (
            json!({"mtu": 1451}),
            "network pods: mtu: 1451 is more than the 1450 bytes that link uplink0".to_owned(),
        ),
        (
            json!({"underlay": "192.0.2.99"}),
            "network pods: underlay: 192.0.2.99 is no address of this node".to_owned(),
        ),
        (
            json!({"underlay": "eth7"}),
            "network pods: underlay: link eth7 is not there".to_owned(),
        ),
    ] {
        let (code, text) = refused(keys);
        assert_eq!(code, Some(7), "{text}");
        assert!(text.starts_with(&expected), "{text}");
    }
    let (_fine, at) = nodes.container(1, "fine");
    assert_eq!(at.len(), 2);
}

/// A number that no other call has had.
fn nth() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn both_families_go_over_an_underlay_of_ipv6() {
    let nodes = Nodes::start(2);
    let added = |nth: usize| {
        let (node, container) = (&nodes.all[nth], nodes.bare(nth, "c"));
        let mut network = node.network();
        network["underlay"] = json!(node.pair.node_v6);
        let result = node.call(Verb::Add, &container, &network).result();
        (container, addresses(&result))
    };
    let ((from, _), (_to, at)) = (added(0), added(1));
    let left = 1430;
    for address in at {
        reaches(&from, address);
        assert!(Ping::new(address).unfragmented(left).from(&from).unwrap());
        let limit = Duration::from_secs(2);
        let longer = Ping::new(address).unfragmented(left + 1).limit(limit);
        assert!(!longer.from(&from).unwrap());
    }
}
