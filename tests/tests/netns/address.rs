//! Addresses: usable at once, announced, probed where that is asked for, and nobody else's.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netns_fixtures::packet::{
    Advertised, Frame, Icmpv6, MacOctets, NdOption, RouterAdvertisement, mac_text,
};
use netns_fixtures::{
    BridgeNetfilter, Capture, Captured, Container, End, Ns, PacketSocket, Ping, Verb, veth,
    wait_for,
};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{
    Attachment, BRIDGE, GATEWAYS, LIMIT, NETWORK, NOTHING, Node, refusal, standing, with,
};

claims! {
    no_address_is_tentative_when_add_returns,
    a_rogue_router_gives_a_container_nothing,
    with_enabledad_addresses_are_probed_and_not_tentative,
    with_enabledad_a_duplicate_is_refused_and_nothing_is_left,
    new_addresses_are_announced,
    an_address_that_changes_hands_is_reached_at_once,
    a_runtime_chooses_addresses_and_mac,
    cni_args_choose_address_and_mac,
    a_held_address_is_refused_by_its_holder_s_name,
    a_held_mac_is_refused_by_its_holder_s_name,
    an_address_outside_the_pool_is_refused,
    one_family_alone_is_a_network,
    point_to_point_subnets_are_networks,
}

fn addresses_of(ns: &Ns, link: &str) -> Vec<Value> {
    let links = ns.ip_json(&format!("addr show dev {link}")).unwrap();
    links[0]["addr_info"].as_array().unwrap().clone()
}

#[track_caller]
fn assert_settled(ns: &Ns, link: &str) {
    for address in addresses_of(ns, link) {
        for state in ["tentative", "dadfailed"] {
            assert!(address.get(state).is_none(), "{address}");
        }
    }
}

fn no_address_is_tentative_when_add_returns(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    for name in ["a", "b", "c"] {
        let attachment = node.attach(&node.config(), name);
        assert_settled(&attachment.container, "eth0");
        assert_settled(&node.host, BRIDGE);
        // Usable means usable: bound and heard without a wait.
        for own in attachment.addresses() {
            let bound = attachment
                .container
                .enter(|| std::net::UdpSocket::bind((own, 0)).map(drop));
            assert!(bound.unwrap().is_ok(), "{own}");
        }
        for gateway in GATEWAYS {
            let ping = Ping::new(gateway).limit(LIMIT).single();
            assert!(ping.from(&attachment.container).unwrap(), "{gateway}");
        }
    }
}

/// The address that the kernel forms from a MAC (RFC 4291, appendix A).
fn link_local(mac: MacOctets) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..11].copy_from_slice(&mac[..3]);
    octets[8] ^= 2;
    octets[11..13].copy_from_slice(&[0xff, 0xfe]);
    octets[13..].copy_from_slice(&mac[3..]);
    octets.into()
}

/// An advertisement that makes every listener a host of `fd66::/64` with a default route.
fn rogue(ns: &Ns) -> Frame {
    let mac = ns.mac("eth0").unwrap();
    let local = link_local(mac);
    let advertisement = RouterAdvertisement {
        hop_limit: 64,
        flags: 0,
        lifetime_secs: 1800,
        reachable_ms: 0,
        retrans_ms: 0,
        options: vec![
            NdOption::SourceMac(mac),
            NdOption::Prefix {
                prefix: "fd66::".parse().unwrap(),
                len: 64,
                flags: 0xc0,
                valid_secs: 3600,
                preferred_secs: 3600,
            },
        ],
    };
    Icmpv6::router_advertisement(mac, local, advertisement)
}

fn is_taken_in(ns: &Ns, link: &str) -> bool {
    let addresses = addresses_of(ns, link);
    let routes = ns.ip_json(&format!("-6 route show dev {link}")).unwrap();
    let autoconfigured = addresses.iter().any(|a| a.to_string().contains("fd66:"));
    let advertised = |route: &Value| route["protocol"] == "ra";
    autoconfigured || routes.as_array().unwrap().iter().any(advertised)
}

fn a_rogue_router_gives_a_container_nothing(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let mut config = node.config_with(json!({"isDefaultGateway": false, "guard": false}));
    let router = node.attach(&config, "router");
    // An ordinary host on the segment, which listens as hosts do.
    let listener = node.sandbox.container("listener").unwrap();
    let near = End::new(&node.host, "listener");
    veth(&near, &End::new(&listener, "eth0")).unwrap();
    node.host
        .ip(&format!("link set listener master {BRIDGE}"))
        .unwrap();
    let frame = rogue(&router.container);
    let socket = PacketSocket::open(&router.container, "eth0").unwrap();
    let over = AtomicBool::new(false);
    let attached = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                socket.send(&frame).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        // Whatever fails in here, the sender ends.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let attached = ["a", "b", "c"].map(|name| node.attach(&config, name));
            config = node.segment();
            let bare = node.attach(&config, "bare");
            wait_for("the listener to take the prefix in", LIMIT, || {
                is_taken_in(&listener, "eth0").then_some(())
            });
            (attached, bare)
        }));
        over.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let (attached, bare) = attached;
    for attachment in attached.iter().chain([&bare, &router]) {
        assert!(!is_taken_in(&attachment.container, "eth0"));
    }
    assert!(!is_taken_in(&node.host, BRIDGE));
}

fn with_enabledad_addresses_are_probed_and_not_tentative(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"enabledad": true}));
    let a = node.attach(&config, "a");
    let capture = Capture::start(&a.container, "eth0").unwrap();
    let b = node.attach(&config, "b");
    assert_settled(&b.container, "eth0");
    let own = b.v6();
    let probe = |frame: &Captured| {
        let from = frame.ok().and_then(Frame::addresses).map(|(src, _)| src);
        matches!(
            frame.ok().and_then(Frame::icmpv6),
            Some(Icmpv6::NeighborSolicitation { target, .. }) if *target == own
        ) && from == Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    };
    capture.expect("a probe", LIMIT, probe).unwrap();
    assert!(Ping::new(own).limit(LIMIT).from(&a.container).unwrap());
}

fn with_enabledad_a_duplicate_is_refused_and_nothing_is_left(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = node.config_with(json!({"enabledad": true, "guard": false}));
    let a = node.attach(&config, "a");
    a.container
        .ip("addr add fd01::77/64 dev eth0 nodad")
        .unwrap();
    let asking = with(config, json!({"runtimeConfig": {"ips": ["fd01::77"]}}));
    let (_, said) = node.refused(&asking, "b");
    assert!(said.contains("fd01::77"), "{said}");
    node.detach(&a);
    node.assert_nothing_left();
}

fn new_addresses_are_announced(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config(), "a");
    let capture = || Capture::start(&a.container, "eth0").unwrap();
    let (arps, advertisements) = (capture(), capture());
    let b = node.attach(&node.config(), "b");
    let gratuitous = |frame: &Captured| {
        let arp = frame.ok().and_then(Frame::arp);
        arp.is_some_and(|arp| {
            arp.is_gratuitous() && arp.sender_ip == b.v4() && arp.sender_mac == b.mac()
        })
    };
    arps.expect("a gratuitous ARP", LIMIT, gratuitous).unwrap();
    let unsolicited = |frame: &Captured| {
        let told = frame.ok().and_then(Frame::icmpv6);
        matches!(told, Some(Icmpv6::NeighborAdvertisement { target, flags, options })
            if *target == b.v6()
                && flags.has(Advertised::OVERRIDE)
                && !flags.has(Advertised::SOLICITED)
                && options.contains(&NdOption::TargetMac(b.mac())))
    };
    advertisements
        .expect("an unsolicited advertisement", LIMIT, unsolicited)
        .unwrap();
}

fn an_address_that_changes_hands_is_reached_at_once(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let ips = ["10.1.0.77", "fd01::77"];
    let config = node.config_with(json!({"runtimeConfig": {"ips": ips}}));
    let neighbour = node.attach(&node.config(), "neighbour");
    let reach = |from: &Ns, asked: fn(Ping) -> Ping| {
        for to in ips.map(|text| text.parse::<IpAddr>().unwrap()) {
            let ping = asked(Ping::new(to).limit(LIMIT));
            assert!(ping.from(from).unwrap(), "{to}");
        }
    };
    let first = node.attach(&config, "first");
    reach(&node.host, |ping| ping);
    reach(&neighbour.container, |ping| ping);
    node.detach(&first);
    let second = node.attach(&config, "second");
    assert_ne!(first_mac(&first), second.mac());
    // One request each: what the host and the neighbour knew is corrected, not aged out.
    reach(&node.host, Ping::single);
    reach(&neighbour.container, Ping::single);
}

fn first_mac(attachment: &Attachment) -> [u8; 6] {
    let text = attachment.result["interfaces"][2]["mac"].as_str().unwrap();
    netns_fixtures::packet::parse_mac(text).unwrap()
}

#[track_caller]
fn assert_chosen(a: &Attachment) {
    assert_eq!(a.mac(), [2, 0, 0, 0, 0, 0x2a]);
    let expected = ["10.1.0.42", "fd01::42"].map(|text| text.parse::<IpAddr>().unwrap());
    assert_eq!(a.addresses(), expected);
    for own in expected {
        let standing = addresses_of(&a.container, "eth0");
        let own = own.to_string();
        assert!(standing.iter().any(|a| a["local"] == own), "{own}");
    }
}

fn a_runtime_chooses_addresses_and_mac(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let runtime = json!({"mac": "02:00:00:00:00:2a", "ips": ["10.1.0.42", "fd01::42"]});
    let a = node.attach(&node.config_with(json!({"runtimeConfig": runtime})), "a");
    assert_chosen(&a);
    node.detach(&a);
    node.assert_nothing_left();
}

fn cni_args_choose_address_and_mac(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let container = node.sandbox.container("a").unwrap();
    let config = node.config();
    let call = |verb| {
        let call = node.call(verb, &config, &container, "eth0");
        call.args("IgnoreUnknown=1;MAC=02:00:00:00:00:2a;IP=10.1.0.42")
    };
    let result = node.run(&call(Verb::Add)).result();
    assert_eq!(container.mac("eth0").unwrap(), [2, 0, 0, 0, 0, 0x2a]);
    assert_eq!(result["ips"][0]["address"], "10.1.0.42/24");
    node.silent(&call(Verb::Del));
    node.assert_nothing_left();
}

fn a_held_address_is_refused_by_its_holder_s_name(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let a = node.attach(&node.config(), "a");
    let held = a.v4().to_string();
    let asking = node.config_with(json!({"runtimeConfig": {"ips": [held]}}));
    let (_, said) = node.refused(&asking, "b");
    assert!(
        said.contains(&held) && said.contains(a.container.name()),
        "{said}"
    );
}

fn a_held_mac_is_refused_by_its_holder_s_name(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let asking = |mac: &str| node.config_with(json!({"runtimeConfig": {"mac": mac}}));
    let asked = "02:00:00:00:00:2a";
    let a = node.attach(&asking(asked), "a");
    let b = node.attach(&node.config(), "b");
    let derived = mac_text(b.mac());
    for (nth, (mac, holder)) in [(asked, &a), (&derived, &b)].into_iter().enumerate() {
        let said = node.refused(&asking(mac), &format!("c{nth}"));
        let holder = format!("{NETWORK} {} eth0", holder.container.name());
        let text = format!("MAC {mac} is taken by attachment {holder}; choose another ");
        assert_eq!(said, (101, text));
    }
    node.detach(&a);
    let d = node.attach(&asking(asked), "d");
    node.detach(&d);
    node.detach(&b);
    node.assert_nothing_left();
}

fn an_address_outside_the_pool_is_refused(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    for (nth, outside) in ["10.9.0.9", "fd09::9"].into_iter().enumerate() {
        let asking = node.config_with(json!({"runtimeConfig": {"ips": [outside]}}));
        let (code, said) = node.refused(&asking, &format!("a{nth}"));
        let ranges = "10.1.0.1-10.1.0.254, fd01::1-fd01::ffff:ffff:ffff:ffff";
        let text = format!(
            "network blue: address {outside} is in no range of the network ({ranges}); ask for one that is "
        );
        assert_eq!((code, said), (7, text));
    }
    node.assert_nothing_left();
}

fn one_family_alone_is_a_network(setting: BridgeNetfilter) {
    for subnet in ["10.1.0.0/24", "fd01::/64"] {
        let node = Node::new(setting);
        let mut config = node.config();
        config["ipam"]["ranges"] = json!([[{"subnet": subnet}]]);
        let [a, b] = node.attach_two(&config);
        assert_eq!(a.addresses().len(), 1);
        for to in b.addresses() {
            assert!(
                Ping::new(to).limit(LIMIT).from(&a.container).unwrap(),
                "{to}"
            );
        }
        node.detach(&a);
        node.detach(&b);
        node.assert_nothing_left();
    }
}

fn point_to_point_subnets_are_networks(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let mut config = node.config();
    config["ipam"]["ranges"] = json!([
        [{"subnet": "10.1.0.0/31", "gateway": "10.1.0.0"}],
        [{"subnet": "fd01::/127", "gateway": "fd01::"}],
    ]);
    let a = node.attach(&config, "a");
    for to in ["10.1.0.0", "fd01::"] {
        let to: IpAddr = to.parse().unwrap();
        assert!(
            Ping::new(to).limit(LIMIT).from(&a.container).unwrap(),
            "{to}"
        );
    }
    let standing = standing(&node.host);
    let container: Container = node.sandbox.container("full").unwrap();
    let answer = node.run(&node.call(Verb::Add, &config, &container, "eth0"));
    refusal(&answer);
    assert_eq!(standing.left_in(&node.host, LIMIT).unwrap(), NOTHING);
}
