//! What a link of a container's own is made of, on the kernel: permanent neighbours, addresses without
//! their prefix, routes to one destination, blackholes; and what a bridge and its ports are told.

mod common;

use std::num::NonZeroU32;

use bulkhead_plan::{
    Dad, LinkSetting, MAIN_TABLE, MulticastRouter, Neighbour, NeighbourState, Ns, OnLink, Op,
    PortFlags, Route, Sysctl,
};
use common::{Bed, add_address, add_bridge, add_veth, address, mac, name, set};

fn kept(ns: &Ns, link: &str, address: &str, last: u8) -> Op {
    Op::SetNeighbour {
        ns: ns.clone(),
        link: name(link),
        neighbour: Neighbour {
            address: address.parse().unwrap(),
            mac: mac(last),
        },
    }
}

fn route(destination: &str, gateway: Option<&str>) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        link: name("p0"),
        priority: Some(if destination.contains(':') { 1024 } else { 0 }),
        table: MAIN_TABLE,
        scope: None,
        mtu: None,
        advmss: None,
    }
}

fn pair(bed: &Bed) -> Vec<Op> {
    vec![
        add_veth("p0", None, &bed.inside(), "eth0"),
        add_address(&Ns::Host, "p0", "fe80::1/64", Dad::Skip),
    ]
}

fn up(bed: &Bed) -> Vec<Op> {
    vec![
        set(&Ns::Host, "p0", LinkSetting::Up),
        set(&bed.inside(), "eth0", LinkSetting::Up),
        Op::AwaitForwarding {
            ns: Ns::Host,
            port: name("p0"),
        },
    ]
}

#[test]
fn permanent_neighbours_are_made_before_the_link_is_up_and_stay() {
    let bed = Bed::new();
    let inside = bed.inside();
    let mut plan = pair(&bed);
    plan.extend([
        kept(&Ns::Host, "p0", "10.1.0.5", 3),
        kept(&Ns::Host, "p0", "fe80::5", 3),
    ]);
    plan.extend(up(&bed));
    plan.push(kept(&inside, "eth0", "169.254.1.1", 2));
    bed.apply(plan);
    let mut scope = bed.scope(&["p0"], &["eth0"]);
    let keys = ["10.1.0.5", "fe80::5", "fe80::6"].map(|ip| (name("p0"), ip.parse().unwrap()));
    scope.space(&Ns::Host).neighbours = keys.into();
    scope.space(&inside).neighbours = [(name("eth0"), "169.254.1.1".parse().unwrap())].into();
    let state = |last| NeighbourState {
        mac: mac(last),
        permanent: true,
    };
    let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
    let found = &world.space(&Ns::Host).neighbours;
    assert_eq!(*found, [(keys[0], state(3)), (keys[1], state(3))].into());
    let found: Vec<_> = world.space(&inside).neighbours.values().copied().collect();
    assert_eq!(found, [state(2)]);
    // In place of what somebody else set, and of what was learned.
    bed.host
        .ip("neigh replace 10.1.0.5 lladdr 02:00:00:00:00:77 dev p0 nud stale")
        .unwrap();
    let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
    assert!(!world.space(&Ns::Host).neighbours[&keys[0]].permanent);
    bed.apply(vec![kept(&Ns::Host, "p0", "10.1.0.5", 3)]);
    let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
    assert_eq!(world.space(&Ns::Host).neighbours[&keys[0]], state(3));
}

#[test]
fn a_link_that_is_no_bridge_s_forwards_once_it_has_its_carrier() {
    let bed = Bed::new();
    bed.apply(pair(&bed));
    bed.apply(up(&bed));
    let shown = bed.host.ip("link show p0").unwrap();
    assert!(shown.contains("state UP"), "{shown}");
}

#[test]
fn the_route_to_a_destination_is_the_one_a_packet_would_take() {
    let bed = Bed::new();
    bed.apply(pair(&bed));
    bed.apply(up(&bed));
    let routes = [
        route("10.1.0.5/32", None),
        route("fd01::5/128", Some("fe80::5")),
        route("fd01:0:0:7::/64", Some("fe80::5")),
    ];
    let add = |route: &Route| Op::AddRoute {
        ns: Ns::Host,
        route: route.clone(),
    };
    bed.apply(routes.iter().map(add).collect());
    bed.host.ip("route add 10.2.0.0/24 dev p0").unwrap();
    let mut scope = bed.scope(&["p0"], &[]);
    let host = scope.space(&Ns::Host);
    host.routes = false;
    let none = ["10.1.0.6/32", "10.2.0.5/32", "fd01::6/128"];
    host.routes_to = routes.iter().map(|route| route.destination).collect();
    host.routes_to
        .extend(none.map(|text| text.parse::<bulkhead_model::Prefix>().unwrap()));
    let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
    let found = &world.space(&Ns::Host).routes;
    let expected = routes.map(|route| Route {
        scope: Some(if route.destination.address().is_ipv4() {
            253
        } else {
            0
        }),
        ..route
    });
    assert_eq!(*found, expected.into());
    let shown = bed.host.ip("route show proto 98").unwrap();
    assert_eq!(shown.lines().count(), 1, "{shown}");
}

#[test]
fn a_blackhole_catches_what_nobody_holds_and_yields_to_any_other_route() {
    let bed = Bed::new();
    bed.apply(pair(&bed));
    bed.apply(up(&bed));
    let blocks = ["10.1.0.0/24", "fd01::/64"].map(|block| block.parse().unwrap());
    let all = |make: fn(bulkhead_model::Prefix) -> Op| blocks.map(make).to_vec();
    bed.apply(all(|destination| Op::AddBlackhole {
        ns: Ns::Host,
        destination,
    }));
    // Of somebody else, or with another metric: not ours.
    bed.host.ip("route add blackhole 10.3.0.0/24").unwrap();
    bed.host
        .ip("route add blackhole 10.4.0.0/24 proto 98")
        .unwrap();
    let mut scope = bed.scope(&[], &[]);
    scope.space(&Ns::Host).blackholes = true;
    let seen = || {
        let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
        world.space(&Ns::Host).blackholes.clone()
    };
    assert_eq!(seen(), blocks.into());
    bed.host.ip("route get 10.1.0.9").unwrap_err();
    bed.host.ip("-6 route get fd01::9").unwrap_err();
    bed.host.ip("route add 10.1.0.0/24 dev p0").unwrap();
    bed.host.ip("route get 10.1.0.9").unwrap();
    bed.apply(all(|destination| Op::DelBlackhole {
        ns: Ns::Host,
        destination,
    }));
    assert!(seen().is_empty());
    let left = bed.host.ip("route show type blackhole").unwrap();
    assert_eq!(left.lines().count(), 2, "{left}");
}

#[test]
fn an_address_can_come_without_its_prefix() {
    let bed = Bed::new();
    let inside = bed.inside();
    bed.apply(pair(&bed));
    let alone = |text: &str| Op::AddAddress {
        ns: inside.clone(),
        link: name("eth0"),
        address: address(text),
        dad: Dad::Skip,
        on_link: OnLink::Nothing,
    };
    bed.apply(vec![
        alone("10.1.0.5/24"),
        alone("fd01::5/64"),
        add_address(&inside, "eth0", "fe80::5/64", Dad::Skip),
    ]);
    bed.apply(up(&bed));
    let world = bed.observe(&[], &["eth0"]);
    let found = |text: &str| world.space(&inside).addresses[&(name("eth0"), address(text))];
    for alone in ["10.1.0.5/24", "fd01::5/64"] {
        assert_eq!(found(alone).on_link, OnLink::Nothing, "{alone}");
        assert!(!found(alone).tentative);
    }
    assert_eq!(found("fe80::5/64").on_link, OnLink::Prefix);
    let routes = bed.container.ip("-6 route show").unwrap();
    assert!(!routes.contains("fd01::/64"), "{routes}");
}

#[test]
fn a_bridge_and_its_port_are_told_what_to_learn() {
    let bed = Bed::new();
    bed.apply(vec![add_bridge("br0")]);
    let learns = || {
        let world = bed.observe(&["br0"], &[]);
        world.space(&Ns::Host).links[&name("br0")].learns_link_local
    };
    assert!(learns());
    bed.apply(vec![
        set(&Ns::Host, "br0", LinkSetting::NoLinkLocalLearning),
        set(&Ns::Host, "br0", LinkSetting::Up),
        add_veth("p0", Some("br0"), &bed.inside(), "eth0"),
    ]);
    assert!(!learns());
    let features = bed.run(|kernel| kernel.features());
    let asked = PortFlags {
        hairpin: false,
        isolated: true,
        multicast_router: MulticastRouter::Never,
        max_groups: NonZeroU32::new(3),
        ..PortFlags::default()
    };
    let flags = features.possible(asked);
    let set_flags = |flags| Op::SetPort {
        ns: Ns::Host,
        port: name("p0"),
        flags,
    };
    bed.apply(vec![set_flags(flags)]);
    let port = || {
        let world = bed.observe(&["p0"], &[]);
        world.space(&Ns::Host).links[&name("p0")].clone()
    };
    assert_eq!(port().port, flags);
    bed.apply(vec![set_flags(PortFlags::default())]);
    assert_eq!(port().port, PortFlags::default());
    bed.apply(vec![set(&Ns::Host, "p0", LinkSetting::NoBridge)]);
    assert_eq!(port().bridge, None);
}

#[test]
fn only_so_many_groups_are_joined_through_a_port() {
    let bed = Bed::new();
    // A kernel before 6.3 passes over the attribute.
    let limits = bed.run(|kernel| kernel.features()).group_limit;
    bed.apply(vec![
        add_bridge("br0"),
        set(&Ns::Host, "br0", LinkSetting::Up),
        add_veth("p0", Some("br0"), &bed.inside(), "eth0"),
        Op::SetSysctl {
            ns: bed.inside(),
            sysctl: Sysctl::ipv6_conf("eth0", "disable_ipv6"),
            value: "1".to_owned(),
        },
        Op::SetPort {
            ns: Ns::Host,
            port: name("p0"),
            flags: PortFlags {
                max_groups: NonZeroU32::new(2),
                ..PortFlags::default()
            },
        },
    ]);
    bed.apply(up(&bed));
    // By hand: as reports are, of groups that a container joins, entries of the port.
    let join = |last: u8| {
        bed.host.sh(&format!(
            "bridge mdb add dev br0 port p0 grp 239.1.1.{last} permanent"
        ))
    };
    join(1).unwrap();
    join(2).unwrap();
    assert_eq!(join(3).is_err(), limits);
}
