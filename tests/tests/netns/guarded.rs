//! `bulkhead-guard` behind plugins of others: the reference bridge and ptp.

use std::net::{IpAddr, Ipv6Addr};

use bulkhead_attach::recorded_binding;
use bulkhead_ipam::{AttachmentRecord, Guards};
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_plan::{Filter, Hook, Plan, Unguarded, Want, plan, scope};
use bulkhead_tests::Suite;
use netns_fixtures::packet::{Frame, Icmpv6, Ipv6, MacOctets, RouterAdvertisement};
use netns_fixtures::{
    BridgeNetfilter, Capture, CaptureError, CniAnswer, CniCall, Container, End, PacketSocket, Ping,
    Verb, veth, wait_for,
};
use serde_json::{Value, json};

use crate::claims;
use crate::filter::{SPOOFED, datagram, to_port};
use crate::node::{LIMIT, Node, assert_reaches, refusal, with};

claims! {
    a_port_of_the_reference_bridge_is_guarded_from_add_to_del,
    a_port_of_ptp_is_guarded,
    check_tells_a_guard_that_was_damaged,
    gc_ends_what_is_not_listed,
    a_crash_after_any_operation_is_mended_by_add_and_by_del,
    a_table_that_ours_load_again_has_the_guarded_ports,
    a_name_that_another_container_s_port_has_by_now_is_left_to_it,
    what_has_no_port_is_refused_by_name,
    what_contradicts_the_result_is_refused,
}

const NET: &str = "theirs";
const BRIDGE: &str = "br-theirs";
const GATEWAYS: [&str; 2] = ["10.1.0.1", "fd01::1"];

/// A network of reference plugins with the guard behind them.
struct Chain {
    node: Node,
    main: Value,
    guard: Value,
}

/// A container on it.
struct Seat {
    container: Container,
    result: Value,
}

impl Chain {
    fn new(setting: BridgeNetfilter) -> Self {
        Self::of(
            setting,
            "bridge",
            json!({"bridge": BRIDGE, "isDefaultGateway": true}),
        )
    }

    fn of(setting: BridgeNetfilter, plugin: &str, keys: Value) -> Self {
        let node = Node::new(setting);
        let ipam = json!({
            "type": "host-local",
            "dataDir": node.state().join("host-local"),
            "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]],
        });
        let head = json!({"cniVersion": "1.0.0", "name": NET});
        let main = with(head.clone(), json!({"type": plugin, "ipam": ipam}));
        let guard = json!({"type": "bulkhead-guard", "stateDir": node.state()});
        Self {
            main: with(main, keys),
            guard: with(head, guard),
            node,
        }
    }

    fn call(&self, verb: Verb, config: &Value, container: &Container) -> CniAnswer {
        let plugin = config["type"].as_str().unwrap();
        let ours = plugin.starts_with("bulkhead-");
        let suite = if ours {
            Suite::ours()
        } else {
            Suite::reference()
        };
        let call = CniCall::new(suite.dir().join(plugin), verb)
            .cni_path(&Suite::ours().cni_path())
            .container_id(container.name())
            .netns(container.path())
            .ifname("eth0")
            .stdin(config);
        self.node.run(&call)
    }

    /// The main plugin's part alone.
    #[track_caller]
    fn plug(&self, name: &str) -> Seat {
        let container = self.node.sandbox.container(name).unwrap();
        let result = self.call(Verb::Add, &self.main, &container).result();
        Seat { container, result }
    }

    fn behind(&self, seat: &Seat) -> Value {
        with(self.guard.clone(), json!({"prevResult": seat.result}))
    }

    /// The guard's part: it hands on what it was given.
    #[track_caller]
    fn guard(&self, seat: &Seat) {
        let answer = self.call(Verb::Add, &self.behind(seat), &seat.container);
        // An empty object says what none does.
        let whole = |result: &Value| with(result.clone(), json!({"dns": {}}));
        assert_eq!(whole(&answer.result()), whole(&seat.result));
    }

    #[track_caller]
    fn attach(&self, name: &str) -> Seat {
        let seat = self.plug(name);
        self.guard(&seat);
        seat
    }

    #[track_caller]
    fn silent(&self, verb: Verb, config: &Value, container: &Container) {
        let answer = self.call(verb, config, container);
        assert!(
            answer.succeeded() && answer.stdout.is_empty(),
            "{answer:#?}"
        );
    }

    fn records(&self) -> Vec<AttachmentRecord> {
        Guards::of(&self.node.state()).all().unwrap()
    }

    fn tables(&self) -> String {
        self.node.host.sh("nft list tables netdev").unwrap()
    }

    #[track_caller]
    fn assert_no_guard_left(&self) {
        assert_eq!(self.tables(), "");
        assert_eq!(self.records(), []);
    }
}

impl Seat {
    fn mac(&self) -> MacOctets {
        self.container.mac("eth0").unwrap()
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let ips = self.result["ips"].as_array().unwrap().iter();
        let texts = ips.map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap());
        texts.map(|text| text.parse().unwrap()).collect()
    }

    fn port(&self) -> String {
        let interfaces = self.result["interfaces"].as_array().unwrap().iter();
        let mut ports = interfaces
            .filter(|one| one["sandbox"].as_str().unwrap_or_default().is_empty())
            .map(|one| one["name"].as_str().unwrap());
        ports.find(|name| *name != BRIDGE).unwrap().to_owned()
    }
}

/// A router's advertisement from its own MAC and address.
fn advertisement(from: MacOctets) -> Frame {
    let message = RouterAdvertisement {
        hop_limit: 64,
        flags: 0,
        lifetime_secs: 1800,
        reachable_ms: 0,
        retrans_ms: 0,
        options: Vec::new(),
    };
    Icmpv6::router_advertisement(from, link_local(from), message)
}

fn link_local(mac: MacOctets) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..11].copy_from_slice(&mac[..3]);
    octets[8] ^= 2;
    octets[11..13].copy_from_slice(&[0xff, 0xfe]);
    octets[13..].copy_from_slice(&mac[3..]);
    octets.into()
}

/// `a` sends what it may not, and then what it may: from `fence` on it has all passed or been dropped.
fn attack(a: &Seat, b: &Seat) -> [Result<(), CaptureError>; 2] {
    let sender = PacketSocket::open(&a.container, "eth0").unwrap();
    let (from, to) = (a.mac(), b.mac());
    let own: Vec<_> = a.addresses();
    let theirs = b.addresses();
    let fence = |port| {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (own[1], theirs[1]) else {
            panic!("the second is of IPv6");
        };
        let udp = netns_fixtures::packet::Udp {
            src_port: 9,
            dst_port: port,
            data: Vec::new(),
        };
        Frame::new(from, to, Ipv6::new(source, destination, udp))
    };
    let spoofed = Capture::start(&b.container, "eth0").unwrap();
    sender.send(&datagram(SPOOFED, 4001)).unwrap();
    sender.send(&fence(4002)).unwrap();
    let spoofed = spoofed.none_before("a spoofed frame", LIMIT, to_port(4001), to_port(4002));
    let rogue = Capture::start(&b.container, "eth0").unwrap();
    sender.send(&advertisement(from)).unwrap();
    sender.send(&fence(4003)).unwrap();
    let is_advertisement = |frame: &netns_fixtures::Captured| {
        let icmp = frame.ok().and_then(Frame::icmpv6);
        matches!(icmp, Some(Icmpv6::RouterAdvertisement(_)))
    };
    let rogue = rogue.none_before("an advertisement", LIMIT, is_advertisement, to_port(4003));
    [spoofed, rogue]
}

fn a_port_of_the_reference_bridge_is_guarded_from_add_to_del(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let [a, b] = ["a", "b"].map(|name| chain.plug(name));
    for passed in attack(&a, &b) {
        let worked = matches!(passed, Err(CaptureError::Unwanted { .. }));
        assert!(worked, "unguarded: {passed:?}");
    }
    for seat in [&a, &b] {
        chain.guard(seat);
        chain.guard(seat);
        let call = chain.behind(seat);
        chain.silent(Verb::Check, &call, &seat.container);
    }
    for stopped in attack(&a, &b) {
        stopped.unwrap();
    }
    for gateway in GATEWAYS {
        let ping = Ping::new(gateway.parse::<IpAddr>().unwrap()).limit(LIMIT);
        assert!(ping.from(&a.container).unwrap(), "{gateway}");
    }
    for (to, from) in b.addresses().into_iter().zip(a.addresses()) {
        assert_reaches(&a.container, &b.container, to, from);
    }
    // Without prevResult, twice, and before the main plugin's.
    for _ in 0..2 {
        chain.silent(Verb::Del, &chain.guard, &a.container);
    }
    let port = chain
        .node
        .host
        .ip_json(&format!("link show {}", a.port()))
        .unwrap();
    assert_eq!(port[0]["operstate"], "DOWN");
    assert!(chain.tables().contains("bulkhead"));
    chain.silent(
        Verb::Del,
        &with(chain.main.clone(), json!({"prevResult": a.result})),
        &a.container,
    );
    // After the main plugin's, when the port is gone.
    chain.silent(
        Verb::Del,
        &with(chain.main.clone(), json!({"prevResult": b.result})),
        &b.container,
    );
    chain.silent(Verb::Del, &chain.behind(&b), &b.container);
    chain.assert_no_guard_left();
}

fn a_port_of_ptp_is_guarded(setting: BridgeNetfilter) {
    let chain = Chain::of(setting, "ptp", json!({}));
    let a = chain.attach("a");
    for gateway in GATEWAYS {
        let ping = Ping::new(gateway.parse::<IpAddr>().unwrap()).limit(LIMIT);
        assert!(ping.from(&a.container).unwrap(), "{gateway}");
    }
    let sender = PacketSocket::open(&a.container, "eth0").unwrap();
    let [claimed, gateway] = ["10.1.0.77", GATEWAYS[0]].map(|text| text.parse().unwrap());
    let asked = netns_fixtures::packet::Arp::request(a.mac(), claimed, gateway);
    sender.send(&asked).unwrap();
    let dropped = || {
        let set = chain
            .node
            .host
            .sh("nft list set netdev bulkhead drops-arp")
            .unwrap();
        set.contains(&a.port()).then_some(())
    };
    wait_for("the spoofed question to be dropped", LIMIT, dropped);
    let known = chain.node.host.ip("neigh show").unwrap();
    assert!(!known.contains("10.1.0.77"), "{known}");
    chain.silent(Verb::Del, &chain.guard, &a.container);
    chain.assert_no_guard_left();
}

fn check_tells_a_guard_that_was_damaged(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let a = chain.attach("a");
    let call = chain.behind(&a);
    chain.silent(Verb::Check, &call, &a.container);
    let mut moved = call.clone();
    moved["prevResult"]["ips"][0]["address"] = json!("10.1.0.99/24");
    let (code, said) = refusal(&chain.call(Verb::Check, &moved, &a.container));
    assert!(code == 103 && said.contains("10.1.0.99/24"), "{said}");
    let chain_of_port = format!("port-{}", a.port());
    for damage in [
        "flush set netdev bulkhead id4",
        &format!("delete chain netdev bulkhead {chain_of_port}"),
        "delete table netdev bulkhead",
    ] {
        chain.node.host.sh(&format!("nft {damage}")).unwrap();
        let (code, said) = refusal(&chain.call(Verb::Check, &call, &a.container));
        assert!(code == 103 && said.contains("nft"), "{damage}: {said}");
        chain.guard(&a);
        chain.silent(Verb::Check, &call, &a.container);
    }
    chain.silent(Verb::Del, &chain.guard, &a.container);
    let (code, said) = refusal(&chain.call(Verb::Check, &call, &a.container));
    assert!(code == 103 && said.contains("not recorded"), "{said}");
}

fn gc_ends_what_is_not_listed(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let [a, b] = ["a", "b"].map(|name| chain.attach(name));
    let listed = |list: Value| {
        with(
            chain.guard.clone(),
            json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": list}),
        )
    };
    let stays = json!([{"containerID": a.container.name(), "ifname": "eth0"}]);
    let mut elsewhere = listed(json!([]));
    elsewhere["name"] = json!("another");
    chain.silent(Verb::Gc, &elsewhere, &a.container);
    assert_eq!(chain.records().len(), 2);
    chain.silent(Verb::Gc, &listed(stays), &a.container);
    let left: Vec<_> = chain
        .records()
        .into_iter()
        .map(|record| record.key.container.to_string())
        .collect();
    assert_eq!(left, [a.container.name()]);
    let elements = chain
        .node
        .host
        .sh("nft list table netdev bulkhead")
        .unwrap();
    assert!(
        elements.contains(&a.port()) && !elements.contains(&b.port()),
        "{elements}"
    );
    chain.silent(Verb::Gc, &listed(json!([])), &a.container);
    chain.assert_no_guard_left();
}

/// The first operations of a plan, as a process that is killed after them leaves it.
fn begun(chain: &Chain, want: &Want, count: usize) -> Option<()> {
    chain
        .node
        .host
        .enter(|| {
            let mut kernel = Kernel::new(Deletion::Blocking);
            let world = kernel.observe(&scope(want)).unwrap();
            let whole = plan(&world, want).unwrap();
            let first = whole.ops().get(..count)?;
            kernel.apply(&Plan::new(first.to_vec())).unwrap();
            Some(())
        })
        .unwrap()
}

fn a_crash_after_any_operation_is_mended_by_add_and_by_del(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let a = chain.attach("a");
    let record = chain.records().remove(0);
    let binding = recorded_binding(&record).unwrap();
    let end = || chain.silent(Verb::Del, &chain.guard, &a.container);
    let restore = || {
        Guards::of(&chain.node.state())
            .lock()
            .unwrap()
            .put(&record)
            .unwrap()
    };
    let up = || {
        chain
            .node
            .host
            .ip(&format!("link set {} up", a.port()))
            .unwrap()
    };
    let stand = Want::Guarded(Box::new(Filter {
        binding: binding.clone(),
        others: Vec::new(),
        hook: Hook::Auto,
    }));
    let gone = Want::Unguarded(Box::new(Unguarded {
        port: binding.port,
        mac: record.names.port_mac,
        binding: Some(binding.clone()),
        node_is_empty: true,
    }));
    let mut counts = [0, 0];
    for (nth, want) in [&stand, &gone].into_iter().enumerate() {
        for count in 0.. {
            end();
            up();
            if nth == 1 {
                chain.guard(&a);
            }
            restore();
            if begun(&chain, want, count).is_none() {
                break;
            }
            counts[nth] += 1;
            end();
            chain.assert_no_guard_left();
            up();
            if nth == 1 {
                chain.guard(&a);
            }
            restore();
            begun(&chain, want, count).unwrap();
            up();
            chain.guard(&a);
            chain.silent(Verb::Check, &chain.behind(&a), &a.container);
        }
        end();
    }
    assert!(counts[0] > 1 && counts[1] > 2, "{counts:?}");
    chain.assert_no_guard_left();
}

fn a_table_that_ours_load_again_has_the_guarded_ports(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let [a, b] = ["a", "b"].map(|name| chain.attach(name));
    chain
        .node
        .host
        .sh("nft delete table netdev bulkhead")
        .unwrap();
    let ours = chain.node.attach(
        &chain
            .node
            .network("blue", "br-blue", "10.2.0.0/24", "fd02::/64"),
        "c",
    );
    for stopped in attack(&a, &b) {
        stopped.unwrap();
    }
    // And the other way round.
    chain
        .node
        .host
        .sh("nft delete table netdev bulkhead")
        .unwrap();
    chain.guard(&a);
    let gateway: IpAddr = "10.2.0.1".parse().unwrap();
    assert!(
        Ping::new(gateway)
            .limit(LIMIT)
            .from(&ours.container)
            .unwrap()
    );
    let held = chain
        .node
        .host
        .sh("nft list set netdev bulkhead id4")
        .unwrap();
    assert!(
        held.contains(&ours.port()) && held.contains(&b.port()),
        "{held}"
    );
    for seat in [&a, &b] {
        chain.silent(Verb::Check, &chain.behind(seat), &seat.container);
        chain.silent(Verb::Del, &chain.guard, &seat.container);
    }
    assert!(
        Ping::new(gateway)
            .limit(LIMIT)
            .from(&ours.container)
            .unwrap()
    );
    chain.node.detach(&ours);
    chain.assert_no_guard_left();
}

fn a_name_that_another_container_s_port_has_by_now_is_left_to_it(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let a = chain.attach("a");
    let port = a.port();
    chain.node.host.ip(&format!("link del {port}")).unwrap();
    let container = chain.node.sandbox.container("b").unwrap();
    veth(
        &End::new(&chain.node.host, &port),
        &End::new(&container, "eth0").address("10.1.0.9/24"),
    )
    .unwrap();
    let mac = |ns: &netns_fixtures::Ns, name: &str| {
        netns_fixtures::packet::mac_text(ns.mac(name).unwrap())
    };
    let result = json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": port, "mac": mac(&chain.node.host, &port)},
            {"name": "eth0", "mac": mac(&container, "eth0"), "sandbox": container.path()},
        ],
        "ips": [{"address": "10.1.0.9/24", "interface": 1}],
        "dns": {},
    });
    let b = Seat { container, result };
    chain.guard(&b);
    let held = chain
        .node
        .host
        .sh("nft list set netdev bulkhead id4")
        .unwrap();
    let earlier = a.addresses()[0].to_string();
    assert!(
        held.contains("10.1.0.9") && !held.contains(&format!("{earlier} ")),
        "{held}"
    );
    chain.silent(Verb::Del, &chain.behind(&a), &a.container);
    chain.silent(Verb::Check, &chain.behind(&b), &b.container);
    chain.silent(Verb::Del, &chain.guard, &b.container);
    chain.assert_no_guard_left();
}

fn what_has_no_port_is_refused_by_name(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let container = chain.node.sandbox.container("a").unwrap();
    let (code, said) = refusal(&chain.call(Verb::Add, &chain.guard, &container));
    assert!(code == 7 && said.contains("prevResult: missing"), "{said}");
    container
        .ip_batch(&[
            "link add p0 type veth peer p1",
            "link add eth0 link p0 type macvlan mode bridge",
        ])
        .unwrap();
    let result = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "sandbox": container.path()}],
    });
    let seat = Seat { container, result };
    let (code, said) = refusal(&chain.call(Verb::Add, &chain.behind(&seat), &seat.container));
    assert!(code == 7 && said.contains("eth0 is a macvlan"), "{said}");
    let unnamed = chain.plug("b");
    let mut result = unnamed.result.clone();
    result["interfaces"]
        .as_array_mut()
        .unwrap()
        .retain(|one| one["name"] != unnamed.port());
    let config = with(chain.guard.clone(), json!({"prevResult": result}));
    let (code, said) = refusal(&chain.call(Verb::Add, &config, &unnamed.container));
    assert!(code == 7 && said.contains(BRIDGE), "{said}");
    let ours = chain.node.attach(
        &chain
            .node
            .network("blue", "br-blue", "10.2.0.0/24", "fd02::/64"),
        "c",
    );
    let config = with(
        chain.guard.clone(),
        json!({"cniVersion": "1.1.0", "prevResult": ours.result}),
    );
    let (code, said) = refusal(&chain.call(Verb::Add, &config, &ours.container));
    assert!(code == 7 && said.contains(&ours.port()), "{said}");
    assert_eq!(chain.records(), []);
    chain.node.detach(&ours);
    chain.assert_no_guard_left();
}

fn what_contradicts_the_result_is_refused(setting: BridgeNetfilter) {
    let chain = Chain::new(setting);
    let a = chain.plug("a");
    let refused = |keys: Value, words: &[&str]| {
        let config = with(chain.behind(&a), keys);
        let (code, said) = refusal(&chain.call(Verb::Add, &config, &a.container));
        assert_eq!(code, 7, "{said}");
        for word in words {
            assert!(said.contains(word), "{said}");
        }
    };
    let asked = |cni: Value| json!({"args": {"cni": cni}});
    refused(
        asked(json!({"mac": "02:00:00:00:00:77"})),
        &["02:00:00:00:00:77", "MAC"],
    );
    refused(
        asked(json!({"ips": ["10.1.0.200"]})),
        &["10.1.0.200", "asked for"],
    );
    refused(
        json!({"guard": {"allowedAddresses": ["192.0.2.9"]}}),
        &["192.0.2.9", "10.1.0.0/24"],
    );
    refused(json!({"guard": {"role": "router"}}), &["prefixes"]);
    let mut moved = a.result.clone();
    for interface in moved["interfaces"].as_array_mut().unwrap() {
        interface["mac"] = json!("02:00:00:00:00:78");
    }
    refused(
        json!({"prevResult": moved}),
        &["02:00:00:00:00:78", "prevResult"],
    );
    assert_eq!(chain.records(), []);
    assert_eq!(chain.tables(), "");
}
