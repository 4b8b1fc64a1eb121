//! Routed overlays, planned: the plans themselves, and the laws they keep whatever there was before.

mod filter;
mod ipsec;
mod laws;
mod plans;
mod strangers;

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::{IfName, LinkGroup, Mac, Mtu, Prefix, VXLAN_PORT, Vni};
use bulkhead_plan::{
    FdbEntry, Link, LinkKind, LinkSetting, MAIN_TABLE, Near, NeighbourState, Ns, Op, Overlay,
    OverlayGone, Peer, Plan, PortFlags, Reach, Route, Space, Switch, Tunnels, Vtep, Want, World,
    plan,
};

fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

fn device() -> IfName {
    name("bhv-blue")
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefixes(texts: &[&str]) -> BTreeSet<Prefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn pools() -> BTreeSet<Prefix> {
    prefixes(&["10.1.0.0/16", "fd01::/48"])
}

fn peer(nth: u8, underlay: &str) -> Peer {
    Peer {
        mac: Mac::new([2, 0, 0, 0, 0, nth]).unwrap(),
        underlay: ip(underlay),
        prefixes: prefixes(&[&format!("10.1.{nth}.0/24"), &format!("fd01:0:0:{nth}::/64")]),
        direct: false,
        link_mac: None,
        mtu: Mtu::new(1450).unwrap(),
    }
}

fn overlay() -> Overlay {
    Overlay {
        vtep: Vtep {
            device: device(),
            mac: Mac::new([2, 0, 0, 0, 0, 1]).unwrap(),
            vni: Vni::new(7).unwrap(),
            port: VXLAN_PORT,
            local: ip("192.0.2.1"),
            mtu: Mtu::new(1450).unwrap(),
            addresses: vec![
                "10.1.1.0/24".parse().unwrap(),
                "fd01:0:0:1::/64".parse().unwrap(),
            ],
            tx_checksum: Switch::On,
        },
        peers: vec![peer(2, "192.0.2.2"), peer(3, "198.51.100.3")],
        pools: pools(),
    }
}

/// The same on a node whose underlay is IPv6.
fn over_ipv6() -> Overlay {
    let mut want = overlay();
    want.vtep.local = ip("2001:db8::1");
    want.vtep.mtu = Mtu::new(1430).unwrap();
    want.peers = vec![peer(2, "2001:db8::2"), peer(3, "2001:db8:3::3")];
    want
}

/// The same where peers on the link are sent to plainly.
fn direct() -> Overlay {
    let mut want = overlay();
    want.peers.iter_mut().for_each(|peer| peer.direct = true);
    want
}

/// The same after the first peer's blocks went to the second.
fn moved() -> Overlay {
    let mut want = overlay();
    let moved = want.peers.remove(0).prefixes;
    want.peers[0].prefixes.extend(moved);
    want
}

/// The same where the first peer carries less: less than IPv6 has at all.
fn narrow() -> Overlay {
    let mut want = overlay();
    want.peers[0].mtu = Mtu::new(1200).unwrap();
    want
}

fn wanted(want: Overlay) -> Want {
    Want::Overlay(Box::new(want))
}

fn gone() -> Want {
    Want::NoOverlay(Box::new(OverlayGone {
        device: device(),
        pools: pools(),
    }))
}

fn tunnels() -> Tunnels {
    let vni = |number| Vni::new(number).unwrap();
    Tunnels {
        known: [
            (VXLAN_PORT, vni(7), ip("192.0.2.2")),
            (VXLAN_PORT, vni(7), ip("198.51.100.3")),
            (8472, vni(9), ip("2001:db8::2")),
        ]
        .into(),
        ports: [VXLAN_PORT, 8472].into(),
        pools: pools(),
        near: near(),
        ..Tunnels::default()
    }
}

/// Two peers on a link, each with a block of either family.
fn near() -> Near {
    let peer = |nth| {
        let at = (name("eth1"), Mac::new([2, 0, 0, 0, 1, nth]).unwrap());
        let blocks = [format!("10.1.{nth}.0/24"), format!("fd01:0:0:{nth}::/64")];
        (at, blocks.map(|it| it.parse().unwrap()).into())
    };
    [peer(2), peer(4)].into()
}

fn told(want: Tunnels) -> Want {
    Want::Tunnels(Box::new(want))
}

fn link(kind: LinkKind) -> Link {
    Link {
        kind,
        mac: Mac::new([2, 0, 0, 0, 0, 0x99]),
        mtu: Mtu::ETHERNET,
        up: true,
        promiscuous: false,
        group: LinkGroup(0),
        bridge: None,
        port: PortFlags::default(),
        forms_link_local: true,
        learns_link_local: false,
        shape: None,
    }
}

/// A node with an uplink, by which the first peer is near and the second far; and a container of its own
/// with a link of its own.
fn node() -> World {
    let (eth0, port) = (name("eth0"), name("bhpn7nyh4lwdprh"));
    let mut host = Space {
        ipv6: true,
        generation: Some(7),
        ..Space::default()
    };
    host.links
        .insert(eth0, link(LinkKind::Other(String::new())));
    host.links.insert(port, link(LinkKind::Veth { peer: None }));
    for (to, gateway) in [
        ("192.0.2.2", None),
        ("198.51.100.3", Some("192.0.2.254")),
        ("2001:db8::2", None),
        ("2001:db8:3::3", Some("2001:db8::fe")),
    ] {
        let gateway = gateway.map(ip);
        host.reach.insert(
            ip(to),
            Reach {
                link: eth0,
                gateway,
            },
        );
    }
    let mut world = World {
        spaces: [(Ns::Host, host)].into(),
        ..World::default()
    };
    for (destination, gateway) in [
        ("10.1.1.5/32", None),
        ("fd01:0:0:1::5/128", None),
        ("fd01:0:0:8::/64", Some("fe80::5")),
    ] {
        let own = route(destination, gateway, port);
        world.run(&own).unwrap();
    }
    world
}

fn route(destination: &str, gateway: Option<&str>, link: IfName) -> Op {
    let destination: Prefix = destination.parse().unwrap();
    let route = Route {
        destination,
        gateway: gateway.map(ip),
        link,
        priority: Some(if destination.address().is_ipv6() {
            1024
        } else {
            0
        }),
        table: MAIN_TABLE,
        scope: None,
        mtu: None,
        advmss: None,
    };
    Op::AddRoute {
        ns: Ns::Host,
        route,
    }
}

fn host(world: &mut World) -> &mut Space {
    world.spaces.get_mut(&Ns::Host).unwrap()
}

#[track_caller]
fn planned(world: &World, want: &Want) -> Plan {
    plan(world, want).unwrap_or_else(|conflict| panic!("{conflict}"))
}

#[track_caller]
fn applied(world: &World, plan: &Plan) -> World {
    let mut next = world.clone();
    next.apply(plan)
        .unwrap_or_else(|refusal| panic!("{refusal}: {plan}"));
    next
}

#[track_caller]
fn converged(world: &World, want: &Want) -> World {
    applied(world, &planned(world, want))
}

/// What somebody, or a crash, can have done to an overlay that stood, each with its name.
fn damaged() -> Vec<(&'static str, World)> {
    let mut all = of_entries();
    all.extend(of_routes());
    all.extend(of_device());
    all
}

fn stood() -> World {
    converged(&node(), &wanted(overlay()))
}

/// An overlay that stood, with a change.
fn with(change: impl Fn(&mut Space)) -> World {
    let mut world = stood();
    change(host(&mut world));
    world
}

fn of_entries() -> Vec<(&'static str, World)> {
    let near = peer(2, "192.0.2.2").mac;
    let fdb = |mac: [u8; 6], remotes: &[&str], plain| {
        let entry = FdbEntry {
            remotes: remotes.iter().map(|remote| ip(remote)).collect(),
            plain,
        };
        with(|host| {
            host.fdb.insert((device(), mac), entry.clone());
        })
    };
    let learned = NeighbourState {
        mac: Mac::new([2, 0, 0, 0, 0, 0x77]).unwrap(),
        permanent: false,
    };
    let neighbour = with(|host| {
        for address in [near.link_local().into(), ip("fe80::77")] {
            host.neighbours.insert((device(), address), learned);
        }
    });
    let floods = fdb([0; 6], &["192.0.2.2", "192.0.2.3"], true);
    vec![
        ("fdb-flushed", with(|host| host.fdb.clear())),
        ("fdb-elsewhere", fdb(near.octets(), &["192.0.2.7"], true)),
        (
            "fdb-of-another-port",
            fdb(near.octets(), &["192.0.2.2"], false),
        ),
        ("fdb-floods", floods),
        ("neighbours-flushed", with(|host| host.neighbours.clear())),
        ("neighbour-learned", neighbour),
    ]
}

fn of_routes() -> Vec<(&'static str, World)> {
    let flushed = with(|host| {
        host.routes.retain(|route| route.link != device());
        host.own_routes.retain(|route| route.link != device());
    });
    let mut stale = stood();
    for stray in [
        route("10.1.77.0/24", Some("fe80::77"), device()),
        route("10.1.78.0/24", Some("192.0.2.78"), name("eth0")),
    ] {
        stale.run(&stray).unwrap();
    }
    vec![
        ("routes-flushed", flushed),
        ("stale-route", stale),
        ("direct", converged(&node(), &wanted(direct()))),
        ("narrow", converged(&node(), &wanted(narrow()))),
        ("moved", converged(&node(), &wanted(moved()))),
    ]
}

fn of_device() -> Vec<(&'static str, World)> {
    let changed = |change: fn(&mut Link)| {
        with(|host| {
            host.links.get_mut(&device()).into_iter().for_each(change);
        })
    };
    let mut down = stood();
    let lower = Op::SetLink {
        ns: Ns::Host,
        name: device(),
        set: LinkSetting::Down,
    };
    down.run(&lower).unwrap();
    let another = |change: fn(&mut Vtep)| {
        let mut want = overlay();
        change(&mut want.vtep);
        converged(&node(), &wanted(want))
    };
    vec![
        ("nothing-yet", node()),
        ("nothing", stood()),
        ("down", down),
        (
            "another-mtu",
            changed(|link| link.mtu = Mtu::new(1300).unwrap()),
        ),
        (
            "another-mac",
            changed(|link| link.mac = Mac::new([2, 0, 0, 0, 0, 0x77])),
        ),
        (
            "another-local-address",
            another(|vtep| vtep.local = ip("192.0.2.11")),
        ),
        ("over-ipv6", converged(&node(), &wanted(over_ipv6()))),
        (
            "without-offload",
            another(|vtep| vtep.tx_checksum = Switch::Off),
        ),
        (
            "another-address",
            another(|vtep| vtep.addresses = vec!["10.1.9.0/32".parse().unwrap()]),
        ),
    ]
}
