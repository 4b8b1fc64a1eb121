//! Link, address, route, neighbour and sysctl operations against the kernel.

mod common;

use bulkhead_kernel::OpError;
use bulkhead_model::{LinkGroup, Mtu};
use bulkhead_plan::{
    Dad, LinkKind, LinkSetting, NeighbourState, Ns, Op, Plan, PortFlags, Switch, Sysctl,
};
use common::*;

#[test]
fn a_bridge_is_ours_and_down_when_it_is_created() {
    let bed = Bed::new();
    bed.apply(vec![add_bridge("br0")]);
    let world = bed.observe(&["br0"], &[]);
    let link = &world.space(&Ns::Host).links[&name("br0")];
    assert_eq!(link.kind, LinkKind::Bridge);
    assert_eq!((link.mac, link.mtu), (Some(mac(1)), Mtu::ETHERNET));
    assert_eq!(link.group, LinkGroup::OWNED);
    assert!(!link.up && link.forms_link_local);
}

#[test]
fn a_pair_stands_in_both_namespaces_and_knows_its_other_end() {
    let bed = Bed::new();
    bed.apply(segment(&bed));
    let world = bed.observe(&["p0"], &["eth0"]);
    let port = &world.space(&Ns::Host).links[&name("p0")];
    let interface = &world.space(&bed.inside()).links[&name("eth0")];
    let end = |ns: &Ns, link| LinkKind::Veth {
        peer: Some((ns.clone(), name(link))),
    };
    assert_eq!(port.kind, end(&bed.inside(), "eth0"));
    assert_eq!(interface.kind, end(&Ns::Host, "p0"));
    assert_eq!((port.mac, interface.mac), (Some(mac(2)), Some(mac(3))));
    assert_eq!((port.mtu.bytes(), interface.mtu.bytes()), (1400, 1400));
    assert_eq!(
        (port.group, interface.group),
        (LinkGroup::OWNED, LinkGroup(0))
    );
    // The bridge is not in the scope by name; its name is found all the same.
    assert_eq!(port.bridge, Some(name("br0")));
    assert!(port.up && interface.up);
    assert!(!port.forms_link_local && !interface.forms_link_local);
    let queues = bed.host.ip("-d link show p0").unwrap();
    assert!(queues.contains("numtxqueues 1 numrxqueues 1"), "{queues}");
    assert!(queues.contains("state forwarding"), "{queues}");
}

#[test]
fn every_setting_of_a_link_is_seen_again() {
    let bed = Bed::new();
    bed.apply(segment(&bed));
    let flags = PortFlags {
        hairpin: true,
        isolated: true,
        ..PortFlags::default()
    };
    bed.host.ip("link add br2 type bridge").unwrap();
    bed.apply(vec![
        set(&Ns::Host, "p0", LinkSetting::Bridge(name("br2"))),
        Op::SetPort {
            ns: Ns::Host,
            port: name("p0"),
            flags,
        },
        set(&Ns::Host, "p0", LinkSetting::Mtu(Mtu::new(1300).unwrap())),
        set(&Ns::Host, "p0", LinkSetting::Mac(mac(9))),
        set(&Ns::Host, "br0", LinkSetting::Promiscuous(Switch::On)),
    ]);
    let mut scope = bed.scope(&["p0", "br0"], &[]);
    let host = scope.space(&Ns::Host);
    host.ports_of = names(&["br2", "none"]);
    host.owned_links = true;
    let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
    let links = &world.space(&Ns::Host).links;
    let port = &links[&name("p0")];
    assert_eq!(port.bridge, Some(name("br2")));
    assert_eq!(port.port, flags);
    assert_eq!((port.mtu.bytes(), port.mac), (1300, Some(mac(9))));
    // A port is promiscuous for its bridge's sake; only what an administrator set counts.
    assert!(links[&name("br0")].promiscuous && !port.promiscuous);
    assert_eq!(
        links
            .keys()
            .copied()
            .collect::<std::collections::BTreeSet<_>>(),
        names(&["p0", "br0", "br2"])
    );

    bed.apply(vec![set(
        &Ns::Host,
        "br0",
        LinkSetting::Promiscuous(Switch::Off),
    )]);
    let world = bed.observe(&["br0"], &[]);
    assert!(!world.space(&Ns::Host).links[&name("br0")].promiscuous);
}

#[test]
fn addresses_come_and_go_and_need_no_detection_when_skipped() {
    let bed = Bed::new();
    let inside = bed.inside();
    let mut plan = segment(&bed);
    plan.extend([
        add_address(&inside, "eth0", "10.1.0.2/24", Dad::Skip),
        add_address(&inside, "eth0", "10.1.0.3/24", Dad::Skip),
        add_address(&inside, "eth0", "fd01::2/64", Dad::Skip),
        add_address(&inside, "eth0", "fd01::3/64", Dad::Probe),
    ]);
    bed.apply(plan);
    let world = bed.observe(&[], &["eth0"]);
    let found = &world.space(&inside).addresses;
    let tentative = |text| found[&(name("eth0"), address(text))].tentative;
    assert!(!tentative("10.1.0.2/24") && !tentative("10.1.0.3/24") && !tentative("fd01::2/64"));
    assert!(tentative("fd01::3/64"));
    assert_eq!(found.len(), 4);

    bed.apply(vec![
        Op::AwaitAddresses {
            ns: inside.clone(),
            link: name("eth0"),
        },
        Op::DelAddress {
            ns: inside.clone(),
            link: name("eth0"),
            address: address("10.1.0.3/24"),
        },
        Op::DelAddress {
            ns: inside.clone(),
            link: name("eth0"),
            address: address("fd01::2/64"),
        },
    ]);
    let world = bed.observe(&[], &["eth0"]);
    let left: Vec<_> = world.space(&inside).addresses.iter().collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|(_, state)| !state.tentative), "{left:?}");
}

#[test]
fn a_duplicate_address_is_named() {
    let bed = Bed::new();
    let inside = bed.inside();
    let mut plan = segment(&bed);
    plan.push(add_address(&Ns::Host, "br0", "fd01::2/64", Dad::Skip));
    plan.push(add_address(&inside, "eth0", "fd01::2/64", Dad::Probe));
    let nth = plan.len();
    plan.push(Op::AwaitAddresses {
        ns: inside,
        link: name("eth0"),
    });
    let error = bed.run(|kernel| kernel.apply(&Plan::new(plan)).unwrap_err());
    assert_eq!(error.nth, nth);
    assert!(
        matches!(error.source, OpError::Duplicate { .. }),
        "{error:?}"
    );
    assert!(!error.is_stale());
}

#[test]
fn routes_are_seen_with_every_field_and_without_the_kernels_own() {
    let bed = Bed::new();
    let inside = bed.inside();
    let mut plan = segment(&bed);
    let mut wide = route("10.9.0.0/16", Some("10.1.0.1"), "eth0", 7);
    (wide.mtu, wide.advmss) = (Some(1380), Some(1300));
    let mut on_link = route("10.8.0.1/32", None, "eth0", 0);
    on_link.scope = Some(253);
    let routes = [
        wide,
        on_link,
        route("0.0.0.0/0", Some("10.1.0.1"), "eth0", 0),
        route("::/0", Some("fd01::1"), "eth0", 1024),
        route("fd09::/48", Some("fd01::1"), "eth0", 9),
    ];
    plan.extend([
        add_address(&inside, "eth0", "10.1.0.2/24", Dad::Skip),
        add_address(&inside, "eth0", "fd01::2/64", Dad::Skip),
    ]);
    plan.extend(routes.iter().map(|route| add_route(&inside, route)));
    bed.apply(plan);
    bed.container
        .ip("route add blackhole 10.77.0.0/16")
        .unwrap();
    let world = bed.observe(&[], &["eth0"]);
    let mut expected = routes.to_vec();
    for route in &mut expected {
        route.scope = route.scope.or(Some(0));
    }
    let found = &world.space(&inside).routes;
    assert_eq!(*found, expected.into_iter().collect(), "{found:#?}");
    let shown = bed.container.ip("route show proto 98").unwrap();
    assert_eq!(shown.lines().count(), 3, "{shown}");
}

#[test]
fn a_neighbour_is_read_by_key_and_forgotten() {
    let bed = Bed::new();
    bed.apply(vec![
        add_bridge("br0"),
        set(&Ns::Host, "br0", LinkSetting::Up),
    ]);
    bed.host
        .ip("neigh add 10.1.0.9 lladdr 02:00:00:00:00:07 dev br0")
        .unwrap();
    bed.host
        .ip("neigh add fd01::9 lladdr 02:00:00:00:00:08 dev br0")
        .unwrap();
    let keys = ["10.1.0.9", "fd01::9", "10.1.0.10"].map(|ip| (name("br0"), ip.parse().unwrap()));
    let mut scope = bed.scope(&[], &[]);
    scope.space(&Ns::Host).neighbours = keys.into();
    let read = || {
        bed.run(|kernel| kernel.observe(&scope).unwrap())
            .space(&Ns::Host)
            .neighbours
            .clone()
    };
    let state = |last| NeighbourState {
        mac: mac(last),
        permanent: true,
    };
    assert_eq!(read(), [(keys[0], state(7)), (keys[1], state(8))].into());
    bed.apply(
        keys[..2]
            .iter()
            .map(|(link, address)| Op::DelNeighbour {
                ns: Ns::Host,
                link: *link,
                address: *address,
            })
            .collect(),
    );
    assert!(read().is_empty());
}

#[test]
fn sysctls_are_those_of_the_named_namespace() {
    let bed = Bed::new();
    bed.apply(segment(&bed));
    let forwarding = Sysctl::ipv4_forwarding();
    let accept_ra = Sysctl::ipv6_conf("eth0", "accept_ra");
    let missing = Sysctl::ipv6_conf("nolink", "accept_ra");
    let write = |ns: &Ns, sysctl: &Sysctl, value: &str| Op::SetSysctl {
        ns: ns.clone(),
        sysctl: sysctl.clone(),
        value: value.to_owned(),
    };
    let inside = bed.inside();
    bed.apply(vec![
        write(&Ns::Host, &forwarding, "1"),
        write(&inside, &forwarding, "0"),
        write(&inside, &accept_ra, "0"),
    ]);
    let mut scope = bed.scope(&[], &[]);
    for ns in [&Ns::Host, &inside] {
        scope.space(ns).sysctls = [forwarding.clone(), accept_ra.clone(), missing.clone()].into();
    }
    let world = bed.run(|kernel| kernel.observe(&scope).unwrap());
    let value = |ns, sysctl| world.space(ns).sysctls.get(sysctl).map(String::as_str);
    assert_eq!(
        (value(&Ns::Host, &forwarding), value(&inside, &forwarding)),
        (Some("1"), Some("0"))
    );
    assert_eq!(
        (value(&Ns::Host, &accept_ra), value(&inside, &accept_ra)),
        (None, Some("0"))
    );
    assert_eq!(value(&inside, &missing), None);
    assert!(world.space(&inside).ipv6);
    let error = bed.run(|kernel| {
        kernel
            .apply(&Plan::new(vec![write(&inside, &missing, "0")]))
            .unwrap_err()
    });
    assert!(error.is_stale(), "{error:?}");
}

#[test]
fn the_nodes_routes_and_uplinks_are_told() {
    let bed = Bed::new();
    for line in [
        "link add up0 type bridge",
        "link set up0 up",
        "addr add 192.0.2.5/24 dev up0",
        "addr add fd05::5/64 dev up0 nodad",
        "route add default via 192.0.2.1",
        "-6 route add default via fe80::1 dev up0 proto ra",
        "route add 198.51.100.0/24 via 192.0.2.1",
    ] {
        bed.host.ip(line).unwrap();
    }
    let (prefixes, uplinks) = bed.run(|kernel| {
        (
            kernel.host_prefixes().unwrap(),
            kernel.ra_uplinks().unwrap(),
        )
    });
    let expected = ["192.0.2.0/24", "198.51.100.0/24", "fd05::/64"];
    assert_eq!(prefixes, expected.map(|text| text.parse().unwrap()));
    assert_eq!(uplinks, [name("up0")]);
}
