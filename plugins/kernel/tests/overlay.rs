//! Routed overlays on the kernel: two nodes with an underlay between them, each a namespace.

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bulkhead_kernel::{Changes, Deletion, Heard, Kernel};
use bulkhead_model::{Mac, Mtu, Prefix, VXLAN_PORT, Vni};
use bulkhead_plan::{
    LinkSetting, Ns, Op, Overlay, OverlayGone, Peer, Plan, Switch, TunnelDrop, Tunnels, Vtep, Want,
    World, overlay_table, plan, scope,
};
use common::{address, name};
use netns_fixtures::{Capture, End, Ping, Sandbox, veth, wait_for};

const DEVICE: &str = "bhx-net";
const LIMIT: Duration = Duration::from_secs(40);

/// Two nodes, one link.
struct Nodes {
    sandbox: Sandbox,
    all: [netns_fixtures::Ns; 2],
}

/// Which family the underlay has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outer {
    V4,
    V6,
}

impl Nodes {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let all = ["one", "two"].map(|node| sandbox.ns(node).unwrap());
        let end = |nth: usize| {
            End::new(&all[nth], "eth0")
                .address(&format!("{}/24", outer(Outer::V4, nth)))
                .address(&format!("{}/64", outer(Outer::V6, nth)))
        };
        veth(&end(0), &end(1)).unwrap();
        for (nth, node) in all.iter().enumerate() {
            node.ip("link set lo up").unwrap();
            for container in containers(nth) {
                node.ip(&format!("addr add {container} dev lo")).unwrap();
            }
        }
        Self { sandbox, all }
    }

    fn on<T: Send>(&self, nth: usize, work: impl FnOnce(&mut Kernel) -> T + Send) -> T {
        let work = || work(&mut Kernel::new(Deletion::Blocking));
        self.all[nth].enter(work).unwrap()
    }

    /// What was done.
    fn ensure(&self, nth: usize, want: &Want) -> Plan {
        self.on(nth, |kernel| ensure(kernel, want))
    }

    fn overlay(outer: Outer) -> [Want; 2] {
        [0, 1].map(|nth| Want::Overlay(Box::new(overlay(outer, nth))))
    }

    /// Both stand, and nothing is left to do.
    fn with_overlay(outer: Outer) -> (Self, [Want; 2]) {
        let (nodes, wants) = (Self::new(), Self::overlay(outer));
        for (nth, want) in wants.iter().enumerate() {
            assert!(!nodes.ensure(nth, want).is_empty());
            assert_eq!(nodes.ensure(nth, want), Plan::default());
        }
        (nodes, wants)
    }

    fn reaches_all(&self) -> bool {
        let mut all = containers(1).into_iter();
        all.all(|to| Ping::new(to).limit(LIMIT).from(&self.all[0]).unwrap())
    }
}

fn ensure(kernel: &mut Kernel, want: &Want) -> Plan {
    let world = kernel.observe(&scope(want)).unwrap();
    let plan = plan(&world, want).unwrap();
    kernel.apply(&plan).unwrap();
    plan
}

fn outer(family: Outer, nth: usize) -> IpAddr {
    let last = u8::try_from(nth + 1).unwrap();
    match family {
        Outer::V4 => Ipv4Addr::new(192, 0, 2, last).into(),
        Outer::V6 => Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

fn mac(nth: usize) -> Mac {
    common::mac(u8::try_from(nth + 1).unwrap())
}

/// Addresses of containers, which the loopback interface has in their stead.
fn containers(nth: usize) -> [IpAddr; 2] {
    let node = nth + 1;
    [
        format!("10.1.{node}.5").parse().unwrap(),
        format!("fd01:0:0:{node}::5").parse().unwrap(),
    ]
}

fn blocks(nth: usize) -> BTreeSet<Prefix> {
    let node = nth + 1;
    let texts = [format!("10.1.{node}.0/24"), format!("fd01:0:0:{node}::/64")];
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn pools() -> BTreeSet<Prefix> {
    ["10.1.0.0/16", "fd01::/48"]
        .map(|text| text.parse().unwrap())
        .into()
}

fn overlay(family: Outer, nth: usize) -> Overlay {
    let node = nth + 1;
    Overlay {
        vtep: Vtep {
            device: name(DEVICE),
            mac: mac(nth),
            vni: Vni::new(7).unwrap(),
            port: VXLAN_PORT,
            local: outer(family, nth),
            mtu: Mtu::new(1430).unwrap(),
            addresses: vec![
                address(&format!("10.1.{node}.0/32")),
                address(&format!("fd01:0:0:{node}::/128")),
            ],
            tx_checksum: Switch::On,
        },
        peers: vec![peer(family, 1 - nth)],
        pools: pools(),
    }
}

fn peer(family: Outer, nth: usize) -> Peer {
    Peer {
        mac: mac(nth),
        underlay: outer(family, nth),
        prefixes: blocks(nth),
        direct: false,
        link_mac: None,
    }
}

fn tunnels(family: Outer, from: usize) -> Want {
    Want::Tunnels(Box::new(Tunnels {
        known: [(VXLAN_PORT, Vni::new(7).unwrap(), outer(family, from))].into(),
        ports: [VXLAN_PORT].into(),
        pools: pools(),
        ..Tunnels::default()
    }))
}

fn tallied(nodes: &Nodes, nth: usize, reason: TunnelDrop) -> u64 {
    let counted = nodes.on(nth, |kernel| {
        let (table, set) = (overlay_table(), reason.tally());
        kernel.tallies(&Ns::Host, &table, &set).unwrap()
    });
    counted.iter().map(|(_, count)| count.packets).sum()
}

#[test]
fn either_family_passes_over_either_underlay() {
    for outer in [Outer::V4, Outer::V6] {
        let (nodes, wants) = Nodes::with_overlay(outer);
        assert!(nodes.reaches_all(), "over {outer:?}");
        for nth in [0, 1] {
            nodes.ensure(nth, &tunnels(outer, 1 - nth));
            assert!(nodes.ensure(nth, &tunnels(outer, 1 - nth)).is_empty());
        }
        assert!(nodes.reaches_all(), "over {outer:?} through the filter");
        for (nth, want) in wants.iter().enumerate() {
            assert_eq!(nodes.ensure(nth, want), Plan::default(), "over {outer:?}");
        }
    }
}

/// Of both worlds what the device has.
fn of_device(world: &World) -> impl PartialEq + std::fmt::Debug + use<> {
    let space = world.space(&Ns::Host);
    let device = name(DEVICE);
    let addresses = space.addresses.iter();
    let addresses = addresses.filter(|((on, _), _)| *on == device);
    let sysctls = space.sysctls.iter();
    let sysctls = sysctls.filter(|(sysctl, _)| sysctl.link() == Some(device));
    let asked = scope(&Nodes::overlay(Outer::V4)[0]);
    let asked = &asked.spaces[&Ns::Host].sysctls;
    (
        space.links.get(&device).cloned(),
        addresses
            .map(|(key, state)| (*key, *state))
            .collect::<Vec<_>>(),
        space.own_routes.clone(),
        space.neighbours.clone(),
        space.fdb.clone(),
        sysctls
            .filter(|(sysctl, _)| asked.contains(sysctl))
            .map(|(sysctl, value)| (sysctl.clone(), value.clone()))
            .collect::<Vec<_>>(),
    )
}

#[test]
fn the_kernel_does_what_the_model_says_after_every_operation() {
    let nodes = Nodes::new();
    let want = &Nodes::overlay(Outer::V4)[0];
    nodes.on(0, |kernel| {
        let asked = scope(want);
        let mut model = kernel.observe(&asked).unwrap();
        let plan = plan(&model, want).unwrap();
        for op in plan.ops() {
            kernel.apply(&Plan::new(vec![op.clone()])).unwrap();
            model.run(op).unwrap();
            let seen = kernel.observe(&asked).unwrap();
            assert_eq!(of_device(&seen), of_device(&model), "{op}");
        }
    });
}

#[test]
fn each_line_does_what_its_operation_does() {
    let (by_op, by_line) = (Nodes::new(), Nodes::new());
    let Want::Overlay(mut want) = Nodes::overlay(Outer::V4)[0].clone() else {
        unreachable!()
    };
    let look = |nodes: &Nodes, want: &Want| {
        let mut world = nodes.on(0, |kernel| kernel.observe(&scope(want)).unwrap());
        let space = world.spaces.get_mut(&Ns::Host).unwrap();
        for link in space.links.values_mut() {
            link.group = bulkhead_model::LinkGroup::OWNED;
        }
        world
    };
    // A peer comes, its block moves to another, and that goes.
    let came = Want::Overlay(want.clone());
    want.peers[0].mac = mac(4);
    want.peers[0].underlay = outer(Outer::V4, 4);
    let moved = Want::Overlay(want.clone());
    want.peers.clear();
    let left = Want::Overlay(want);
    let mut seen = 0;
    for want in [came, moved, left] {
        let plan = plan(&look(&by_op, &want), &want).unwrap();
        for op in plan.ops() {
            by_op.on(0, |kernel| {
                kernel.apply(&Plan::new(vec![op.clone()])).unwrap();
            });
            by_line.all[0].sh(&op.to_string()).unwrap();
            assert_eq!(
                of_device(&look(&by_op, &want)),
                of_device(&look(&by_line, &want)),
                "{op}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn what_somebody_does_to_it_is_mended() {
    let (nodes, wants) = Nodes::with_overlay(Outer::V4);
    let peer = mac(1);
    let next_hop = peer.link_local();
    let damages = [
        format!("bridge fdb del {peer} dev {DEVICE} dst 192.0.2.2 self"),
        format!("bridge fdb replace {peer} dev {DEVICE} dst 192.0.2.77 self permanent"),
        format!("bridge fdb replace {peer} dev {DEVICE} dst 192.0.2.2 port 4444 self permanent"),
        format!("bridge fdb append 00:00:00:00:00:00 dev {DEVICE} dst 192.0.2.77 self permanent"),
        format!("bridge fdb add 02:00:00:00:00:77 dev {DEVICE} dst 192.0.2.77 self permanent"),
        format!("ip neigh flush dev {DEVICE} nud permanent"),
        format!("ip neigh replace {next_hop} lladdr 02:00:00:00:00:77 dev {DEVICE} nud permanent"),
        format!("ip neigh add fe80::77 lladdr 02:00:00:00:00:77 dev {DEVICE} nud permanent"),
        format!("ip route del 10.1.2.0/24 dev {DEVICE}"),
        format!("ip -6 route del fd01:0:0:2::/64 dev {DEVICE}"),
        format!("ip -6 route append fd01:0:0:2::/64 via fe80::77 dev {DEVICE} proto 98"),
        format!("ip route replace 10.1.2.0/24 via inet6 fe80::77 dev {DEVICE} proto 98"),
        format!("ip route add 10.1.9.0/24 via inet6 fe80::77 dev {DEVICE} proto 98"),
        format!("ip link set {DEVICE} down"),
        format!("ip link set {DEVICE} mtu 1300"),
        format!("ip link set {DEVICE} address 02:00:00:00:00:99"),
        format!("ip link set {DEVICE} type vxlan learning"),
        format!("ip addr flush dev {DEVICE}"),
        format!("ip addr add 10.1.2.9/32 dev {DEVICE}"),
        format!("sysctl -q -w net.ipv6.conf.{DEVICE}.disable_ipv6=1"),
        format!("sysctl -q -w net.ipv4.conf.{DEVICE}.rp_filter=1"),
        format!("ip link del {DEVICE}"),
    ];
    for damage in damages {
        nodes.all[0].sh(&damage).unwrap();
        let mended = nodes.ensure(0, &wants[0]);
        assert!(!mended.is_empty(), "{damage}");
        assert_eq!(nodes.ensure(0, &wants[0]), Plan::default(), "{damage}");
        assert!(nodes.reaches_all(), "{damage}: {mended}");
    }
    // Of another protocol, or on another device: somebody else's.
    nodes.all[0]
        .ip(&format!("route add 10.99.0.0/16 dev {DEVICE}"))
        .unwrap();
    nodes.all[0]
        .ip("route add 10.98.0.0/16 via 192.0.2.2 proto 98")
        .unwrap();
    assert_eq!(nodes.ensure(0, &wants[0]), Plan::default());
}

#[test]
fn a_peer_on_the_link_is_sent_to_plainly_until_it_is_not() {
    let nodes = Nodes::new();
    let direct = |nth| {
        let mut want = overlay(Outer::V4, nth);
        want.peers[0].direct = true;
        Want::Overlay(Box::new(want))
    };
    for nth in [0, 1] {
        nodes.all[nth]
            .set_sysctl("net/ipv4/ip_forward", "1")
            .unwrap();
        nodes.ensure(nth, &direct(nth));
        assert_eq!(nodes.ensure(nth, &direct(nth)), Plan::default());
    }
    let way = |to: &str| nodes.all[0].ip(&format!("route get {to}")).unwrap();
    assert!(way("10.1.2.5").contains("via 192.0.2.2 dev eth0"));
    assert!(way("fd01:0:0:2::5").contains(DEVICE));
    // Now through a router.
    nodes.all[0].ip("addr add 192.0.2.1/32 dev eth0").unwrap();
    nodes.all[0].ip("addr del 192.0.2.1/24 dev eth0").unwrap();
    nodes.all[0].ip("route add 192.0.2.9 dev eth0").unwrap();
    nodes.all[0]
        .ip("route add 192.0.2.2 via 192.0.2.9")
        .unwrap();
    nodes.ensure(0, &direct(0));
    assert!(way("10.1.2.5").contains(DEVICE));
    assert_eq!(nodes.ensure(0, &direct(0)), Plan::default());
    nodes.all[0].ip("route replace 192.0.2.2 dev eth0").unwrap();
    nodes.ensure(0, &direct(0));
    assert!(way("10.1.2.5").contains("via 192.0.2.2 dev eth0"));
    let gone = Want::NoOverlay(Box::new(OverlayGone {
        device: name(DEVICE),
        pools: pools(),
    }));
    nodes.ensure(0, &gone);
    assert_eq!(nodes.ensure(0, &gone), Plan::default());
    assert!(!nodes.all[0].has_link(DEVICE).unwrap());
    for family in ["-4", "-6"] {
        let left = nodes.all[0]
            .ip(&format!("{family} route show proto 98"))
            .unwrap();
        assert_eq!(left, "");
    }
}

#[test]
fn another_device_with_the_identifier_is_named() {
    let nodes = Nodes::new();
    nodes.all[0]
        .ip("link add other type vxlan id 7 dstport 4789 local 192.0.2.1")
        .unwrap();
    let want = &Nodes::overlay(Outer::V4)[0];
    let refused = nodes.on(0, |kernel| {
        plan(&kernel.observe(&scope(want)).unwrap(), want).unwrap_err()
    });
    let text = refused.to_string();
    assert!(
        text.contains("link other on the host has VXLAN network identifier 7"),
        "{text}"
    );
    // Over IPv6 the kernel has another socket.
    nodes.ensure(0, &Nodes::overlay(Outer::V6)[0]);
}

#[test]
fn a_port_that_another_program_has_is_told_and_taken_once_it_is_free() {
    let nodes = Nodes::new();
    let want = &Nodes::overlay(Outer::V4)[0];
    let any = (Ipv4Addr::UNSPECIFIED, VXLAN_PORT);
    let other = nodes.all[0]
        .enter(|| UdpSocket::bind(any).unwrap())
        .unwrap();
    nodes.on(0, |kernel| {
        let world = kernel.observe(&scope(want)).unwrap();
        let refused = kernel.apply(&plan(&world, want).unwrap()).unwrap_err();
        let text = refused.source.to_string();
        assert!(text.contains("UDP port of bhx-net is taken"), "{text}");
        assert!(!refused.is_stale());
    });
    drop(other);
    nodes.ensure(0, want);
    assert_eq!(nodes.ensure(0, want), Plan::default());
}

#[test]
fn routes_of_others_cost_little() {
    let nodes = Nodes::new();
    let want = &Nodes::overlay(Outer::V4)[0];
    nodes.ensure(0, want);
    let foreign = (0..20_000_u32).map(|nth| {
        let to = Ipv4Addr::from_bits(0x1400_0000 + (nth << 8));
        format!("route add {to}/24 via 192.0.2.2")
    });
    nodes.all[0].ip_batch(&foreign.collect::<Vec<_>>()).unwrap();
    nodes.on(0, |kernel| {
        let began = Instant::now();
        assert_eq!(ensure(kernel, want), Plan::default());
        let elapsed = began.elapsed();
        println!("looked at beside 20000 routes of others in {elapsed:?}");
    });
}

fn vxlan_packet(vni: u32) -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0];
    packet.extend((vni << 8).to_be_bytes());
    packet.extend([0; 14]);
    packet
}

#[test]
fn tunnel_packets_of_strangers_and_of_other_networks_are_dropped_and_counted() {
    for family in [Outer::V4, Outer::V6] {
        let (nodes, _) = Nodes::with_overlay(family);
        nodes.ensure(1, &tunnels(family, 0));
        let to = SocketAddr::new(outer(family, 1), VXLAN_PORT);
        let send = |from: IpAddr, packet: Vec<u8>| {
            nodes.all[0]
                .enter(|| {
                    let socket = UdpSocket::bind((from, 0)).unwrap();
                    socket.send_to(&packet, to).unwrap();
                })
                .unwrap();
        };
        let came = |reason, count| {
            wait_for(&format!("{reason} over {family:?}"), LIMIT, || {
                (tallied(&nodes, 1, reason) == count).then_some(())
            });
        };
        send(outer(family, 0), vxlan_packet(8));
        came(TunnelDrop::WrongVni, 1);
        // Too short for a header.
        send(outer(family, 0), vec![8, 0, 0, 0]);
        came(TunnelDrop::WrongVni, 2);
        let (stranger, bits) = match family {
            Outer::V4 => ("192.0.2.66", 24),
            Outer::V6 => ("fd99::66", 64),
        };
        let nodad = if bits == 64 { " nodad" } else { "" };
        nodes.all[0]
            .ip(&format!("addr add {stranger}/{bits} dev eth0{nodad}"))
            .unwrap();
        send(stranger.parse().unwrap(), vxlan_packet(7));
        came(TunnelDrop::UnknownSource, 1);
        assert!(nodes.reaches_all());
        assert_eq!(tallied(&nodes, 1, TunnelDrop::UnknownSource), 1);
    }
}

#[test]
fn an_address_of_a_pool_comes_from_where_it_is_routed_to_alone() {
    let (nodes, _) = Nodes::with_overlay(Outer::V4);
    for nth in [0, 1] {
        nodes.ensure(nth, &tunnels(Outer::V4, 1 - nth));
    }
    assert!(nodes.reaches_all());
    // Straight over the underlay, as if it were the container.
    let [four, six] = containers(0);
    let to = [outer(Outer::V4, 1), outer(Outer::V6, 1)];
    for (from, to) in [four, six].into_iter().zip(to) {
        nodes.all[0]
            .enter(|| {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                socket.send_to(b"x", (to, 9)).unwrap();
            })
            .unwrap();
    }
    wait_for("two drops", LIMIT, || {
        (tallied(&nodes, 1, TunnelDrop::Misrouted) == 2).then_some(())
    });
}

#[test]
fn nothing_forged_comes_by_the_tunnel() {
    let (nodes, _) = Nodes::with_overlay(Outer::V4);
    for nth in [0, 1] {
        nodes.ensure(nth, &tunnels(Outer::V4, 1 - nth));
    }
    assert!(nodes.reaches_all());
    let [inside, _] = containers(1);
    nodes.all[0].ip("addr add 198.51.100.1/32 dev lo").unwrap();
    let send = |from: IpAddr, to: SocketAddr| {
        nodes.all[0]
            .enter(|| {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                socket.send_to(&vxlan_packet(7), to).unwrap();
            })
            .unwrap();
    };
    // Of nobody in the pools; and a frame of the tunnel, as from the other node, to a node's end by its
    // address in the overlay.
    let world = "198.51.100.1".parse().unwrap();
    send(world, SocketAddr::new(inside, 9));
    send(outer(Outer::V4, 0), SocketAddr::new(inside, VXLAN_PORT));
    for reason in [TunnelDrop::Misrouted, TunnelDrop::FromContainer] {
        wait_for(&format!("{reason}"), LIMIT, || {
            (tallied(&nodes, 1, reason) == 1).then_some(())
        });
    }
}

#[test]
fn a_container_reaches_no_vtep_with_an_encapsulated_packet() {
    let (nodes, _) = Nodes::with_overlay(Outer::V4);
    let sandbox = Sandbox::new();
    let inside = sandbox.ns("c").unwrap();
    let [node, _] = &nodes.all;
    veth(
        &End::new(node, "bhpc")
            .address("10.1.1.254/24")
            .address("fd01:0:0:1::fe/64"),
        &End::new(&inside, "eth0")
            .address("10.1.1.7/24")
            .address("fd01:0:0:1::7/64"),
    )
    .unwrap();
    for via in ["via 10.1.1.254", "via fd01:0:0:1::fe"] {
        inside.ip(&format!("route add default {via}")).unwrap();
    }
    node.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
    node.set_sysctl("net/ipv6/conf/all/forwarding", "1")
        .unwrap();
    nodes.ensure(0, &tunnels(Outer::V4, 1));
    let send = |to: IpAddr, len: usize| {
        inside
            .enter(|| {
                let any: IpAddr = match to {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let socket = UdpSocket::bind((any, 0)).unwrap();
                socket.send_to(&vec![8; len], (to, VXLAN_PORT)).unwrap();
            })
            .unwrap();
    };
    let mut expected = 0;
    for (to, len) in [
        (outer(Outer::V4, 0), 50),
        (outer(Outer::V4, 0), 4000),
        (outer(Outer::V4, 1), 50),
        (outer(Outer::V4, 1), 4000),
        (outer(Outer::V6, 0), 50),
        (outer(Outer::V6, 0), 4000),
        ("10.1.1.254".parse().unwrap(), 50),
    ] {
        send(to, len);
        expected += 1;
        wait_for(&format!("{to} {len}"), LIMIT, || {
            (tallied(&nodes, 0, TunnelDrop::FromContainer) == expected).then_some(())
        });
    }
    // Its own affair.
    send("192.0.2.99".parse().unwrap(), 50);
    assert_eq!(tallied(&nodes, 0, TunnelDrop::FromContainer), expected);
}

#[test]
fn the_filter_follows_the_peers_and_edits_of_others_are_undone() {
    let nodes = Nodes::new();
    let want = |known: &[(u32, IpAddr)]| {
        let known = known.iter();
        let known = known.map(|(vni, remote)| (VXLAN_PORT, Vni::new(*vni).unwrap(), *remote));
        Want::Tunnels(Box::new(Tunnels {
            known: known.collect(),
            ports: [VXLAN_PORT].into(),
            pools: pools(),
            ..Tunnels::default()
        }))
    };
    let (four, six) = (outer(Outer::V4, 1), outer(Outer::V6, 1));
    let wants = [
        want(&[(7, four), (7, six)]),
        want(&[(7, four), (9, four)]),
        want(&[]),
        want(&[(9, six)]),
    ];
    for want in &wants {
        let plan = nodes.ensure(0, want);
        assert_eq!(plan.ops().len(), 1, "{plan}");
        assert_eq!(nodes.ensure(0, want), Plan::default());
    }
    let last = &wants[3];
    for damage in [
        "nft add element inet bulkhead-overlay vteps4 { 192.0.2.77 }",
        "nft flush set inet bulkhead-overlay known6",
        "nft delete element inet bulkhead-overlay pools4 { 10.1.0.0/16 }",
        "nft add element inet bulkhead-overlay pools4 { 10.9.0.0/16 }",
        "nft flush chain inet bulkhead-overlay input",
        "nft flush table inet bulkhead-overlay",
        "nft delete table inet bulkhead-overlay",
    ] {
        nodes.all[0].sh(damage).unwrap();
        assert!(!nodes.ensure(0, last).is_empty(), "{damage}");
        assert_eq!(nodes.ensure(0, last), Plan::default(), "{damage}");
    }
    let none = Want::Tunnels(Box::default());
    nodes.ensure(0, &none);
    assert_eq!(nodes.ensure(0, &none), Plan::default());
    assert_eq!(nodes.all[0].nft("list tables").unwrap(), "");
}

#[test]
fn the_filter_on_ports_learns_who_the_vteps_are() {
    let nodes = Nodes::new();
    nodes.all[0]
        .nft(
            "table netdev bulkhead {
                comment \"bulkhead 2 0123456789abcdef\"
                set vteps4 { type ipv4_addr; elements = { 192.0.2.77 } }
                set vteps6 { type ipv6_addr; }
            }",
        )
        .unwrap();
    let listed = || nodes.all[0].nft("list table netdev bulkhead").unwrap();
    let want = tunnels(Outer::V4, 1);
    nodes.ensure(0, &want);
    assert!(
        listed().contains("elements = { 192.0.2.2 }"),
        "{}",
        listed()
    );
    assert_eq!(nodes.ensure(0, &want), Plan::default());
    nodes.ensure(0, &tunnels(Outer::V6, 1));
    assert!(listed().contains("elements = { fd99::2 }"), "{}", listed());
    assert!(!listed().contains("192.0.2"), "{}", listed());
    nodes.ensure(0, &Want::Tunnels(Box::default()));
    assert!(!listed().contains("elements"), "{}", listed());
}

/// Peer number `nth` of many, with a block of each family.
fn one_of_many(nth: u16) -> Peer {
    let [high, low] = nth.to_be_bytes();
    Peer {
        mac: Mac::new([2, 1, 0, 0, high, low]).unwrap(),
        underlay: Ipv4Addr::new(172, 16, high, low).into(),
        prefixes: [
            Prefix::new(
                Ipv4Addr::new(10, 128 + (high >> 2), high << 6 | low >> 2, low << 6).into(),
                26,
            ),
            Prefix::new(Ipv6Addr::new(0xfd02, 0, 0, nth, 0, 0, 0, 0).into(), 64),
        ]
        .into_iter()
        .map(Option::unwrap)
        .collect(),
        direct: false,
        link_mac: None,
    }
}

#[test]
fn thousands_of_peers_are_programmed_from_cold() {
    for count in [1_000, 5_000] {
        let nodes = Nodes::new();
        nodes.all[0]
            .ip("route add 172.16.0.0/12 via 192.0.2.2")
            .unwrap();
        let mut want = overlay(Outer::V4, 0);
        want.peers = (1..=count).map(one_of_many).collect();
        let more = ["10.128.0.0/9", "fd02::/48"];
        let more = more.map(|text| text.parse::<Prefix>().unwrap());
        want.pools.extend(more);
        let known = want.peers.iter();
        let known = known.map(|peer| (VXLAN_PORT, want.vtep.vni, peer.underlay));
        let tunnels = Want::Tunnels(Box::new(Tunnels {
            known: known.collect(),
            ports: [VXLAN_PORT].into(),
            pools: want.pools.clone(),
            ..Tunnels::default()
        }));
        let want = Want::Overlay(Box::new(want));
        nodes.on(0, |kernel| {
            for want in [&want, &tunnels] {
                let began = Instant::now();
                let world = kernel.observe(&scope(want)).unwrap();
                let observed = began.elapsed();
                let made = plan(&world, want).unwrap();
                let planned = began.elapsed();
                kernel.apply(&made).unwrap();
                let applied = began.elapsed();
                let again = Instant::now();
                assert_eq!(ensure(kernel, want), Plan::default());
                println!(
                    "{count} peers, {} operations from cold: observed after {observed:?}, planned after {planned:?}, applied after {applied:?}; looked at again in {:?}",
                    made.ops().len(),
                    again.elapsed()
                );
            }
        });
    }
}

/// Until nothing more is said of what was done so far.
fn quiet(changes: &mut Changes) {
    wait_for("an end of changes", LIMIT, || {
        let heard = changes.next(Duration::from_millis(20)).unwrap();
        (heard == Heard::default()).then_some(())
    });
}

#[test]
fn each_kind_of_change_is_heard_with_its_link() {
    let (nodes, wants) = Nodes::with_overlay(Outer::V4);
    let node = &nodes.all[0];
    let index = |link: &str| {
        let shown = node.ip_json(&format!("link show {link}")).unwrap();
        u32::try_from(shown[0]["ifindex"].as_u64().unwrap()).unwrap()
    };
    let (device, eth0) = (index(DEVICE), index("eth0"));
    let mut changes = node.enter(|| Changes::listen().unwrap()).unwrap();
    quiet(&mut changes);
    let peer = mac(1);
    for (change, link) in [
        (format!("bridge fdb del {peer} dev {DEVICE} self"), device),
        (format!("ip neigh flush dev {DEVICE} nud permanent"), device),
        (format!("ip route del 10.1.2.0/24 dev {DEVICE}"), device),
        (
            format!("ip -6 route del fd01:0:0:2::/64 dev {DEVICE}"),
            device,
        ),
        (format!("ip addr del 10.1.1.0/32 dev {DEVICE}"), device),
        ("ip addr add fd99::55/64 dev eth0 nodad".to_owned(), eth0),
        ("ip link set eth0 mtu 1400".to_owned(), eth0),
        (format!("ip link del {DEVICE}"), device),
    ] {
        node.sh(&change).unwrap();
        // What the kernel has to say of an earlier one may come first.
        wait_for(&format!("{change} to be heard"), LIMIT, || {
            let heard = changes.next(LIMIT).unwrap();
            assert!(!heard.lost, "{change}: {heard:?}");
            heard.links.contains(&link).then_some(())
        });
        quiet(&mut changes);
    }
    nodes.ensure(0, &wants[0]);
    assert!(!changes.next(LIMIT).unwrap().is_empty());
}

#[test]
fn more_changes_than_there_is_room_for_are_told_as_lost() {
    let nodes = Nodes::new();
    let mut changes = nodes.all[0].enter(|| Changes::listen().unwrap()).unwrap();
    let mut want = overlay(Outer::V4, 0);
    want.peers = (1..=5_000).map(one_of_many).collect();
    let want = Want::Overlay(Box::new(want));
    nodes.ensure(0, &want);
    let mut lost = false;
    loop {
        let heard = changes.next(Duration::from_millis(1)).unwrap();
        lost |= heard.lost;
        if heard.is_empty() {
            break;
        }
    }
    assert!(lost);
    nodes.all[0].ip("link set eth0 mtu 1400").unwrap();
    let heard = changes.next(LIMIT).unwrap();
    assert!(!heard.lost && !heard.links.is_empty());
}

#[test]
fn the_link_of_the_underlay_is_the_one_with_the_address() {
    let nodes = Nodes::new();
    nodes.on(0, |kernel| {
        for family in [Outer::V4, Outer::V6] {
            let found = kernel.underlay(outer(family, 0)).unwrap().unwrap();
            assert_eq!(found.link, name("eth0"));
            assert_eq!((found.mtu, found.kind.as_str()), (Mtu::ETHERNET, "veth"));
            assert!(found.up);
            assert_eq!(kernel.underlay(outer(family, 1)).unwrap(), None);
        }
    });
}

#[test]
fn a_strangers_device_is_left_alone() {
    let nodes = Nodes::new();
    nodes.all[0]
        .ip(&format!(
            "link add {DEVICE} type vxlan id 7 dstport 4789 local 192.0.2.1 nolearning"
        ))
        .unwrap();
    let want = &Nodes::overlay(Outer::V4)[0];
    nodes.on(0, |kernel| {
        let refused = plan(&kernel.observe(&scope(want)).unwrap(), want).unwrap_err();
        assert!(
            refused.to_string().contains("rename or delete it"),
            "{refused}"
        );
    });
    let gone = Want::NoOverlay(Box::new(OverlayGone {
        device: name(DEVICE),
        pools: pools(),
    }));
    assert_eq!(nodes.ensure(0, &gone), Plan::default());
    let op = Op::DelFdb {
        ns: Ns::Host,
        link: name(DEVICE),
        mac: mac(1).octets(),
    };
    // Gone is no error.
    nodes.on(0, |kernel| kernel.apply(&Plan::new(vec![op])).unwrap());
}

#[test]
fn checksums_are_left_to_others_or_not_and_an_edit_is_undone() {
    let nodes = Nodes::new();
    let want = |switch| {
        let mut want = overlay(Outer::V4, 0);
        want.vtep.tx_checksum = switch;
        Want::Overlay(Box::new(want))
    };
    let offloads = |want: &Want| {
        nodes.on(0, |kernel| {
            let world = kernel.observe(&scope(want)).unwrap();
            world.space(&Ns::Host).tx_checksums[&name(DEVICE)]
        })
    };
    let (on, off) = (want(Switch::On), want(Switch::Off));
    nodes.ensure(0, &off);
    assert_eq!(offloads(&off), Switch::Off);
    assert_eq!(nodes.ensure(0, &off), Plan::default());
    // What somebody switches is a change that listeners are told of.
    let mut changes = nodes.all[0].enter(|| Changes::listen().unwrap()).unwrap();
    let switch = Op::SetLink {
        ns: Ns::Host,
        name: name(DEVICE),
        set: LinkSetting::TxChecksum(Switch::On),
    };
    nodes.on(0, |kernel| kernel.apply(&Plan::new(vec![switch])).unwrap());
    assert!(!changes.next(LIMIT).unwrap().is_empty());
    assert_eq!(offloads(&off), Switch::On);
    let mended = nodes.ensure(0, &off);
    assert_eq!(
        mended.to_string(),
        format!("ethtool -K {DEVICE} tx-checksum-ip-generic off\n")
    );
    assert_eq!(offloads(&off), Switch::Off);
    nodes.ensure(0, &on);
    assert_eq!(offloads(&on), Switch::On);
    assert_eq!(nodes.ensure(0, &on), Plan::default());
}

#[test]
fn a_connection_by_way_of_the_overlay_is_told_what_that_carries() {
    let (nodes, _) = Nodes::with_overlay(Outer::V4);
    let filter = |clamped: bool| {
        Want::Tunnels(Box::new(Tunnels {
            known: [(VXLAN_PORT, Vni::new(7).unwrap(), outer(Outer::V4, 1))].into(),
            ports: [VXLAN_PORT].into(),
            pools: pools(),
            clamped: clamped.then(|| name(DEVICE)).into_iter().collect(),
            ..Tunnels::default()
        }))
    };
    // Somebody behind the first node whose link carries more.
    let behind = nodes.sandbox.ns("behind").unwrap();
    let gateway = End::new(&nodes.all[0], "behind0")
        .address("10.1.1.100/31")
        .address("fd01:0:0:1:1::/127");
    let end = End::new(&behind, "eth0")
        .address("10.1.1.101/31")
        .address("fd01:0:0:1:1::1/127");
    veth(&gateway, &end).unwrap();
    behind.ip("route add default via 10.1.1.100").unwrap();
    behind
        .ip("-6 route add default via fd01:0:0:1:1::")
        .unwrap();
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        nodes.all[0]
            .set_sysctl(&format!("net/{family}"), "1")
            .unwrap();
    }
    let announced = |to: IpAddr| -> u16 {
        let capture = Capture::start(&nodes.all[1], DEVICE).unwrap();
        let at = SocketAddr::new(to, 7);
        let refused = || std::net::TcpStream::connect_timeout(&at, LIMIT).is_err();
        assert!(behind.enter(refused).unwrap());
        let header = if to.is_ipv4() { 20 } else { 40 };
        // Behind Ethernet's header and IP's: TCP with SYN and not ACK, whose first option is MSS.
        let mss = |bytes: &[u8]| -> Option<u16> {
            let tcp = bytes.get(14 + header..)?;
            let is_syn = tcp.get(13)? & 0x12 == 2 && tcp.get(2..4)? == [0, 7];
            let option = tcp.get(20..24)?;
            (is_syn && option[..2] == [2, 4]).then(|| u16::from_be_bytes([option[2], option[3]]))
        };
        let seen = capture.expect("a SYN", LIMIT, |seen| mss(&seen.bytes).is_some());
        mss(&seen.unwrap().bytes).unwrap()
    };
    let told = || containers(1).map(announced);
    nodes.ensure(0, &filter(false));
    assert_eq!(told(), [1460, 1440]);
    nodes.ensure(0, &filter(true));
    assert_eq!(nodes.ensure(0, &filter(true)), Plan::default());
    // The device carries 1430 bytes: less 40 or 60 of headers.
    assert_eq!(told(), [1390, 1370]);
    nodes.all[0]
        .nft("delete element inet bulkhead-overlay clamped { bhx-net }")
        .unwrap();
    assert_eq!(told(), [1460, 1440]);
    assert!(!nodes.ensure(0, &filter(true)).is_empty());
    assert_eq!(told(), [1390, 1370]);
}
