//! What is not ours is left, and named where it is in the way.

use bulkhead_nft as nft;
use bulkhead_plan::{
    DontFragment, LinkKind, Ns, Plan, Stranger, TableState, Tunnels, Vxlan, Want, World,
    filter_table, obstacles, overlay_table, plan,
};

use crate::{
    converged, device, gone, host, ip, link, name, node, overlay, planned, told, tunnels, wanted,
};

fn refused(world: &World, want: &Want) -> String {
    plan(world, want).unwrap_err().to_string()
}

fn vxlan(vni: u32, port: u16, local: &str) -> LinkKind {
    LinkKind::Vxlan(Vxlan {
        vni,
        port,
        local: Some(ip(local)),
        flood: None,
        learning: true,
        df: DontFragment::Unset,
        proxy: false,
    })
}

#[test]
fn a_strangers_link_of_the_name_is_left() {
    let mut world = node();
    host(&mut world)
        .links
        .insert(device(), link(vxlan(7, 4789, "192.0.2.1")));
    assert_eq!(
        refused(&world, &wanted(overlay())),
        "link bhv-blue on the host has the name of the network's VXLAN device and was not made by bulkhead: rename or delete it"
    );
    assert_eq!(planned(&world, &gone()), Plan::default());
}

#[test]
fn who_has_the_identifier_already_is_named() {
    let mut world = node();
    host(&mut world)
        .links
        .insert(name("flannel.7"), link(vxlan(7, 4789, "192.0.2.1")));
    assert_eq!(
        refused(&world, &wanted(overlay())),
        "link flannel.7 on the host has VXLAN network identifier 7 on UDP port 4789, which bhv-blue is to have: delete it, or give the network another \"vni\" or \"port\""
    );
    for other in [
        vxlan(8, 4789, "192.0.2.1"),
        vxlan(7, 8472, "192.0.2.1"),
        vxlan(7, 4789, "2001:db8::1"),
    ] {
        let mut world = node();
        host(&mut world)
            .links
            .insert(name("flannel.7"), link(other));
        let stood = converged(&world, &wanted(overlay()));
        assert!(
            stood
                .space(&Ns::Host)
                .links
                .contains_key(&name("flannel.7"))
        );
    }
}

#[test]
fn a_node_without_ipv6_is_told_why_it_needs_it() {
    let mut world = node();
    host(&mut world).ipv6 = false;
    assert_eq!(
        refused(&world, &wanted(overlay())),
        "VXLAN device bhv-blue needs IPv6, which this kernel or namespace has switched off, for its next hops, of IPv4 too: boot without ipv6.disable=1"
    );
}

fn stranger(destination: &str, priority: u32) -> Stranger {
    Stranger {
        destination: destination.parse().unwrap(),
        priority,
        kind: 1,
        protocol: 4,
        gateway: None,
        link: Some(name("eth0")),
    }
}

#[test]
fn a_strangers_route_to_a_block_is_left_and_told_and_holds_up_no_other() {
    let whole = converged(&node(), &wanted(overlay()));
    let mut world = node();
    let (in_place, before) = (stranger("10.1.2.0/24", 0), stranger("fd01:0:0:3::/64", 512));
    // Behind ours, and to somewhere else.
    let (behind, other) = (
        stranger("fd01:0:0:2::/64", 2048),
        stranger("10.1.99.0/24", 0),
    );
    let all = [in_place.clone(), before.clone(), behind, other];
    host(&mut world).strangers.extend(all);
    let stood = converged(&world, &wanted(overlay()));
    let has = |world: &World, to: &str| {
        let mut routes = world.space(&Ns::Host).own_routes.iter();
        routes.any(|route| route.destination == to.parse().unwrap())
    };
    assert!(!has(&stood, "10.1.2.0/24"));
    for to in ["10.1.3.0/24", "fd01:0:0:2::/64", "fd01:0:0:3::/64"] {
        assert!(has(&stood, to), "{to}");
    }
    assert_eq!(planned(&stood, &wanted(overlay())), Plan::default());
    let told: Vec<_> = obstacles(&stood, &overlay()).into_values().collect();
    assert_eq!(told, [&in_place, &before]);
    // Once they are gone.
    let mut freed = stood;
    host(&mut freed).strangers.clear();
    let freed = converged(&freed, &wanted(overlay()));
    assert_eq!(
        freed.space(&Ns::Host).own_routes,
        whole.space(&Ns::Host).own_routes
    );
    assert!(obstacles(&freed, &overlay()).is_empty());
}

#[test]
fn what_is_routed_already_is_no_obstacle_if_a_stranger_has_the_same_behind_it() {
    // IPv4 takes a second one of the same metric if it is appended (`fib_table_insert`).
    let mut stood = converged(&node(), &wanted(overlay()));
    let appended = stranger("10.1.2.0/24", 0);
    host(&mut stood).strangers.insert(appended);
    assert!(obstacles(&stood, &overlay()).is_empty());
}

#[test]
fn the_line_that_removes_a_strangers_route_is_one_that_ip_takes() {
    let mut route = stranger("10.1.2.0/24", 100);
    route.gateway = Some(ip("fe80::1"));
    assert_eq!(
        route.removal(),
        "ip route del 10.1.2.0/24 via inet6 fe80::1 dev eth0 proto static metric 100"
    );
    let mut nowhere = stranger("fd01:0:0:2::/64", 1024);
    (nowhere.kind, nowhere.link, nowhere.protocol) = (6, None, 186);
    assert_eq!(
        nowhere.removal(),
        "ip -6 route del blackhole fd01:0:0:2::/64 proto 186 metric 1024"
    );
    let mut of_address = stranger("10.1.2.0/24", 0);
    of_address.protocol = Stranger::KERNEL;
    assert_eq!(
        of_address.removal(),
        "ip address show dev eth0 to 10.1.2.0/24"
    );
}

#[test]
fn a_strangers_table_is_left() {
    let mut world = node();
    let theirs = TableState::default();
    host(&mut world).tables.insert(overlay_table(), theirs);
    assert_eq!(
        refused(&world, &told(tunnels())),
        "nftables table inet bulkhead-overlay was not made by bulkhead: rename or delete it"
    );
    assert_eq!(planned(&world, &told(Tunnels::default())), Plan::default());
}

#[test]
fn the_ports_filter_is_told_of_remote_vteps_if_it_is_ours_and_has_a_place_for_them() {
    let sets = ["vteps4", "vteps6"].map(|set| nft::Name::new(set).unwrap());
    let stale = nft::Key::from(nft::Datum::from(ip("192.0.2.77")));
    let filter = TableState {
        comment: Some("bulkhead 2 0123456789abcdef".to_owned()),
        elements: [
            (sets[0].clone(), [stale].into()),
            (sets[1].clone(), [].into()),
        ]
        .into(),
        ..TableState::default()
    };
    let mut world = converged(&node(), &told(tunnels()));
    host(&mut world)
        .tables
        .insert(filter_table(), filter.clone());
    let plan = planned(&world, &told(tunnels()));
    assert_eq!(
        plan.to_string(),
        "nft -f - <<'END'\n\
         add element netdev bulkhead vteps4 { 192.0.2.2, 198.51.100.3 }\n\
         delete element netdev bulkhead vteps4 { 192.0.2.77 }\n\
         add element netdev bulkhead vteps6 { 2001:db8::2 }\n\
         END\n"
    );
    let after = converged(&world, &told(tunnels()));
    assert_eq!(planned(&after, &told(tunnels())), Plan::default());
    // With the last overlay they go.
    let none = converged(&after, &told(Tunnels::default()));
    let left = &none.space(&Ns::Host).tables[&filter_table()].elements;
    assert!(left.values().all(std::collections::BTreeSet::is_empty));
    for (comment, elements) in [
        (None, filter.elements.clone()),
        (filter.comment.clone(), std::collections::BTreeMap::new()),
    ] {
        let mut world = converged(&node(), &told(tunnels()));
        let other = TableState {
            comment,
            elements,
            ..TableState::default()
        };
        host(&mut world).tables.insert(filter_table(), other);
        assert_eq!(planned(&world, &told(tunnels())), Plan::default());
    }
}
