//! What is not ours is refused by ADD, by name, and passed over by DEL.

use bulkhead_model::{IfName, LinkGroup};
use bulkhead_nft as nft;
use bulkhead_plan::{
    Conflict, Detached, LinkKind, NetworkGone, Ns, Op, Refusal, TableState, World, filter_table,
    host_port_table, plan,
};

use crate::cases::point_to_point::{routed, routed_elsewhere};
use crate::cases::{Case, all, attached, detached, dual, foreign, host, host_world, unrecorded};
use crate::{converged, gone, planned, stands, torn_down};

fn case(name: &str) -> Case {
    let mut all = all().into_iter();
    all.find(|case| case.name == name)
        .unwrap_or_else(|| panic!("no case {name}"))
}

#[track_caller]
fn refused(world: &World, case: &Case, why: &str) {
    let conflict = plan(world, &attached(case)).expect_err("a conflict");
    assert_eq!(conflict.to_string(), why);
}

#[track_caller]
fn passed_over(world: &World, case: &Case) {
    for gone in [detached(case), unrecorded(case)].map(gone) {
        assert!(
            planned(world, &gone).is_empty(),
            "{}",
            planned(world, &gone)
        );
    }
}

fn with_link(case: &Case, name: IfName) -> World {
    let mut world = case.before();
    let dummy = foreign(LinkKind::Other("dummy".to_owned()));
    host(&mut world).links.insert(name, dummy);
    world
}

fn with_table(case: &Case, table: nft::TableId) -> World {
    let mut world = case.before();
    host(&mut world).tables.insert(table, TableState::default());
    world
}

#[test]
fn a_link_with_a_name_of_ours() {
    let case = case("bandwidth");
    let world = with_link(&case, case.port());
    let text = "link bhpn7nyh4lwdprh on the host has the name of our port and was not made by bulkhead: rename or delete it";
    refused(&world, &case, text);
    passed_over(&world, &case);

    let world = with_link(&case, case.ifb());
    let text = "link bhin7nyh4lwdprh on the host has the name of our ifb device and was not made by bulkhead: rename or delete it";
    refused(&world, &case, text);
    passed_over(&world, &case);
    // Without a limit it is in nobody's way.
    assert!(plan(&world, &attached(&dual())).is_ok());

    let world = with_link(&case, case.bridge());
    let text = "link br-blue is a dummy, not a bridge: name another bridge";
    refused(&world, &case, text);
    passed_over(&world, &case);

    let mut world = case.before();
    let inside = world.spaces.get_mut(&case.container()).unwrap();
    let eth0 = "eth0".parse().unwrap();
    inside
        .links
        .insert(eth0, foreign(LinkKind::Other("dummy".to_owned())));
    assert_eq!(
        plan(&world, &attached(&case)),
        Err(Conflict::InterfaceExists(eth0))
    );
}

#[test]
fn a_table_with_a_name_of_ours() {
    let case = case("host-ports");
    let text =
        |table| format!("nftables table {table} was not made by bulkhead: rename or delete it");
    for table in [filter_table(), host_port_table()] {
        let world = with_table(&case, table.clone());
        refused(&world, &case, &text(table));
        passed_over(&world, &case);
    }
    // Without a host port that one is in nobody's way.
    let world = with_table(&case, host_port_table());
    assert!(plan(&world, &attached(&dual())).is_ok());
}

#[test]
fn an_address_that_somebody_routes_elsewhere() {
    let case = routed_elsewhere();
    let text = "the node routes 10.1.0.5/32 to wg0, and it was leased for a link of its own: remove the route, or exclude the address from the network's ranges";
    refused(&case.before(), &case, text);
    passed_over(&case.before(), &case);
}

#[test]
fn a_link_of_its_own_without_ipv6_on_the_node() {
    let case = routed();
    let mut world = case.before();
    host(&mut world).ipv6 = false;
    let text = "address fe80::1 needs IPv6, which this kernel or namespace has switched off";
    refused(&world, &case, text);
}

#[test]
fn a_host_port_on_an_address_of_another_machine() {
    let case = Case {
        host_ports: vec![("tcp 198.51.100.9:8080", "10.1.0.5:80")],
        ..dual()
    };
    let text = "address 198.51.100.9 of portMappings is not on this host: leave \"hostIP\" out, or add the address first";
    refused(&case.before(), &case, text);
}

#[test]
fn a_host_port_behind_a_bridge_without_an_address() {
    let joined = case("joined-bridge");
    let both = case("host-ports").host_ports;
    let off_link = |case: &Case, address: &str| {
        let text = format!(
            "portMappings: the host does not reach {address}, bridge br-blue has no address of its subnet: set \"isGateway\": true, or give the bridge an address"
        );
        refused(&case.before(), case, &text);
    };
    let case = Case {
        host_ports: both.clone(),
        ..joined.clone()
    };
    off_link(&case, "10.1.0.5");
    let mut case = Case {
        host_ports: both.clone(),
        ..joined
    };
    let address = (case.bridge(), "10.1.0.9/24".parse().unwrap());
    let state = bulkhead_plan::AddressState::default();
    host(&mut case.ground).addresses.insert(address, state);
    off_link(&case, "fd01::5");
    let own = Case {
        gateways: vec![],
        host_ports: both,
        ..dual()
    };
    off_link(&own, "10.1.0.5");
}

#[test]
fn a_host_port_on_127_0_0_1_behind_a_bridge_that_does_not_route_it() {
    let mut case = case("host-port-on-localhost-joined-bridge");
    let switch = bulkhead_plan::Sysctl::ipv4_conf("br-blue", "route_localnet");
    host(&mut case.ground)
        .sysctls
        .insert(switch, "0".to_owned());
    let text = "bridge br-blue was not made by bulkhead and does not route 127.0.0.0/8, which a host port there needs: set net.ipv4.conf.br-blue.route_localnet to 1, or set \"adopt\": true";
    refused(&case.before(), &case, text);
}

#[test]
fn a_bridge_that_still_has_a_port_stays() {
    let case = case("dual-stack").neighbour();
    let first = stands(&case);
    let mine = dual();
    let left = torn_down(&converged(&first, &attached(&mine)), &mine);
    let host = left.space(&Ns::Host);
    assert!(host.links.contains_key(&case.bridge()) && host.links.contains_key(&case.port()));
    assert!(
        host.tables.contains_key(&filter_table()),
        "the other port is bound"
    );
}

/// Where a reaper takes what is doomed, it is as good as gone: nothing waits for it, nothing stays for
/// it. Where none does, DEL deletes what a call that died has doomed.
#[test]
fn a_doomed_port_needs_no_deletion_where_it_is_reaped() {
    let (mine, other) = (dual(), case("dual-stack").neighbour());
    let mut world = converged(&stands(&other), &attached(&mine));
    for case in [&mine, &other] {
        let port = host(&mut world).links.get_mut(&case.port()).unwrap();
        port.group = LinkGroup::DOOMED;
    }
    let deleted = |world: &World| -> Vec<IfName> {
        let plan = planned(world, &gone(torn(&mine)));
        let deleted = plan.ops().iter().filter_map(|op| match op {
            Op::DelLink { name, .. } => Some(*name),
            _ => None,
        });
        deleted.collect()
    };
    assert_eq!(deleted(&world), [mine.port()]);
    world.features.reaps = true;
    assert_eq!(deleted(&world), [mine.bridge()]);
}

fn torn(case: &Case) -> Detached {
    Detached {
        network: Some(NetworkGone {
            bridge: Some(case.bridge()),
            ..NetworkGone::default()
        }),
        ..detached(case)
    }
}

#[test]
fn a_table_with_anothers_host_port_stays() {
    let case = case("host-ports");
    let both = converged(&stands(&case), &attached(&case.neighbour()));
    let left = torn_down(&both, &case);
    let table = &left.space(&Ns::Host).tables[&host_port_table()];
    let entries: usize = table
        .maps
        .values()
        .map(std::collections::BTreeMap::len)
        .sum();
    assert_eq!(entries, 2);
}

#[test]
fn a_commit_in_between_refuses_the_removal_of_a_table() {
    for case in [
        case("dual-stack"),
        case("host-ports"),
        case("prefix-filter"),
    ] {
        let after = stands(&case);
        let only_tables = Detached {
            network: Some(NetworkGone {
                node_is_empty: true,
                ..NetworkGone::default()
            }),
            ..detached(&case)
        };
        let del = planned(&after, &gone(only_tables));
        let mut moved = after.clone();
        let generation = &mut host(&mut moved).generation;
        *generation = generation.map(|read| read + 1);
        assert_eq!(moved.apply(&del), Err(Refusal::Restart), "{}", case.name);
    }
}

#[test]
fn a_commit_in_between_refuses_the_replacement_of_a_table() {
    let case = case("tables-of-another-release");
    let add = planned(&case.before(), &attached(&case));
    let mut moved = case.before();
    let generation = &mut host(&mut moved).generation;
    *generation = generation.map(|read| read + 1);
    assert_eq!(moved.apply(&add), Err(Refusal::Restart));
}

#[test]
fn an_empty_world_has_no_features_and_needs_none() {
    let case = Case {
        ground: host_world(false),
        ..dual()
    };
    assert!(planned(&stands(&case), &attached(&case)).is_empty());
}
