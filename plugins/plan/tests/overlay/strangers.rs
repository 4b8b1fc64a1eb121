//! What is not ours is left, and named where it is in the way.

use bulkhead_nft as nft;
use bulkhead_plan::{
    DontFragment, LinkKind, Ns, Plan, TableState, Tunnels, Vxlan, Want, World, filter_table,
    overlay_table, plan,
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
