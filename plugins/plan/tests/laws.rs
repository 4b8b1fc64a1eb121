//! The planner's laws, over every case: applying a plan satisfies the want, planning again is empty,
//! a crash after any operation converges under a new ADD and under a DEL, a DEL leaves neighbours and
//! strangers untouched. The plans themselves are golden files; `BULKHEAD_BLESS=1` rewrites them.

#![expect(clippy::disallowed_methods, reason = "golden plans are files")]

mod cases;

use std::path::Path;

use bulkhead_model::LinkGroup;
use bulkhead_plan::{
    Conflict, Detached, Link, LinkKind, NetworkGone, Ns, Op, Plan, PortFlags, Want, World, plan,
};
use cases::{Case, all, attached, detached, host_world};

/// What does not count as a difference: the generation moves with every commit.
fn settled(mut world: World) -> World {
    for space in world.spaces.values_mut() {
        space.generation = None;
        for table in space.tables.values_mut() {
            table.elements.retain(|_, keys| !keys.is_empty());
            table.maps.retain(|_, entries| !entries.is_empty());
        }
    }
    world
}

fn applied(world: &World, ops: &[Op]) -> World {
    let mut next = world.clone();
    next.apply(&Plan::new(ops.to_vec()))
        .unwrap_or_else(|refusal| panic!("{refusal}: {ops:#?}"));
    next
}

fn planned(world: &World, want: &Want) -> Plan {
    plan(world, want).unwrap_or_else(|conflict| panic!("{conflict}"))
}

/// DEL as a call makes it: the attachment first, then what the network shared.
fn torn_down(world: &World, case: &Case) -> World {
    let own = Want::Detached(Box::new(Detached {
        network: None,
        ..detached(case)
    }));
    let after = applied(world, planned(world, &own).ops());
    let want = Want::Detached(Box::new(detached(case)));
    applied(&after, planned(&after, &want).ops())
}

#[test]
fn applying_a_plan_satisfies_the_want_and_planning_again_is_empty() {
    for case in all() {
        let want = attached(&case);
        let after = applied(&case.world, planned(&case.world, &want).ops());
        assert_eq!(planned(&after, &want), Plan::default(), "{}", case.name);
        let gone = Want::Detached(Box::new(detached(&case)));
        let before = torn_down(&after, &case);
        assert_eq!(planned(&before, &gone), Plan::default(), "{}", case.name);
    }
}

#[test]
fn a_crash_after_any_operation_converges_under_add_and_under_del() {
    for case in all() {
        let want = attached(&case);
        let add = planned(&case.world, &want);
        let after = settled(applied(&case.world, add.ops()));
        let empty = settled(torn_down(&case.world, &case));
        for crash in 0..=add.ops().len() {
            let half = applied(&case.world, &add.ops()[..crash]);
            let again = applied(&half, planned(&half, &want).ops());
            assert_eq!(settled(again), after, "{}: ADD after {crash}", case.name);
            let gone = settled(torn_down(&half, &case));
            assert_eq!(gone, empty, "{}: DEL after {crash}", case.name);
        }
    }
}

#[test]
fn a_crash_during_del_converges_under_del_and_under_add() {
    for case in all() {
        let want = attached(&case);
        let after = applied(&case.world, planned(&case.world, &want).ops());
        let del = planned(&after, &Want::Detached(Box::new(detached(&case))));
        for crash in 0..=del.ops().len() {
            let half = applied(&after, &del.ops()[..crash]);
            let gone = settled(torn_down(&half, &case));
            assert_eq!(
                gone,
                settled(torn_down(&after, &case)),
                "{}: DEL after {crash}",
                case.name
            );
            let again = applied(&half, planned(&half, &want).ops());
            assert_eq!(
                settled(again),
                settled(after.clone()),
                "{}: ADD after {crash}",
                case.name
            );
        }
    }
}

#[test]
fn detaching_leaves_nothing_and_neighbours_untouched() {
    for case in all() {
        let alone = torn_down(
            &applied(&case.world, planned(&case.world, &attached(&case)).ops()),
            &case,
        );
        assert_eq!(settled(alone), settled(case.world.clone()), "{}", case.name);

        let other = case.with_container("neighbour", "10.1.0.77/24", "fd01::77/64");
        let first = applied(&case.world, planned(&case.world, &attached(&other)).ops());
        let both = applied(&first, planned(&first, &attached(&case)).ops());
        let want = Detached {
            network: None,
            ..detached(&case)
        };
        let left = applied(&both, planned(&both, &Want::Detached(Box::new(want))).ops());
        assert_eq!(settled(left), settled(first), "{}", case.name);
    }
}

#[test]
fn a_port_is_bound_or_mute_before_it_is_up_and_the_interface_comes_last() {
    for case in all() {
        let add = planned(&case.world, &attached(&case));
        let position = |found: &dyn Fn(&Op) -> bool| add.ops().iter().position(found);
        let up_of = |name| move |op: &Op| matches!(op, Op::SetLink { name: n, set: bulkhead_plan::LinkSetting::Up, .. } if *n == name);
        let port_up = position(&up_of(case.port())).expect("the port is raised");
        let last_nft = add
            .ops()
            .iter()
            .rposition(|op| matches!(op, Op::Nft { .. }))
            .expect("a filter");
        assert!(last_nft < port_up, "{}", case.name);
        if let Some(interface_up) = position(&up_of("eth0".parse().unwrap())) {
            assert!(port_up < interface_up, "{}", case.name);
            let last_address = add
                .ops()
                .iter()
                .rposition(|op| matches!(op, Op::AddAddress { .. }));
            assert!(
                last_address.is_none_or(|at| at < interface_up),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn a_strangers_link_with_a_name_of_ours_is_refused_by_add_and_left_by_del() {
    let case = all().remove(0);
    let mut world = case.world.clone();
    let stranger = Link {
        kind: LinkKind::Other("dummy".to_owned()),
        mac: None,
        mtu: bulkhead_model::Mtu::ETHERNET,
        up: true,
        promiscuous: false,
        group: LinkGroup(0),
        bridge: None,
        port: PortFlags::default(),
        forms_link_local: true,
        shape: None,
    };
    world
        .spaces
        .get_mut(&Ns::Host)
        .unwrap()
        .links
        .insert(case.port(), stranger.clone());
    assert_eq!(
        plan(&world, &attached(&case)),
        Err(Conflict::ForeignPort(case.port()))
    );
    let gone = Want::Detached(Box::new(detached(&case)));
    assert!(planned(&world, &gone).is_empty());

    let mut world = case.world.clone();
    let container = world.spaces.get_mut(&case.container()).unwrap();
    container
        .links
        .insert("eth0".parse().unwrap(), stranger.clone());
    let conflict = Conflict::InterfaceExists("eth0".parse().unwrap());
    assert_eq!(plan(&world, &attached(&case)), Err(conflict));

    let mut world = case.world.clone();
    world
        .spaces
        .get_mut(&Ns::Host)
        .unwrap()
        .links
        .insert(case.bridge(), stranger);
    assert!(matches!(
        plan(&world, &attached(&case)),
        Err(Conflict::NotABridge { .. })
    ));
}

#[test]
fn a_strangers_table_is_refused_by_add_and_left_by_del() {
    let case = all().remove(0);
    let mut world = case.world.clone();
    let tables = &mut world.spaces.get_mut(&Ns::Host).unwrap().tables;
    tables.insert(
        bulkhead_plan::filter_table(),
        bulkhead_plan::TableState::default(),
    );
    assert!(matches!(
        plan(&world, &attached(&case)),
        Err(Conflict::ForeignTable(_))
    ));
    let gone = Want::Detached(Box::new(detached(&case)));
    assert!(planned(&world, &gone).is_empty());
}

#[test]
fn a_bridge_that_still_has_a_port_stays() {
    let case = all().remove(0);
    let other = case.with_container("neighbour", "10.1.0.77/24", "fd01::77/64");
    let first = applied(&case.world, planned(&case.world, &attached(&other)).ops());
    let both = applied(&first, planned(&first, &attached(&case)).ops());
    let left = torn_down(&both, &case);
    let host = left.space(&Ns::Host);
    assert!(host.links.contains_key(&case.bridge()) && host.links.contains_key(&other.port()));
    assert!(
        host.tables.contains_key(&bulkhead_plan::filter_table()),
        "the other port is bound"
    );
}

#[test]
fn a_commit_in_between_refuses_the_removal_of_a_table() {
    let case = all().remove(0);
    let after = applied(&case.world, planned(&case.world, &attached(&case)).ops());
    let gone = Detached {
        network: Some(NetworkGone {
            node_is_empty: true,
            ..NetworkGone::default()
        }),
        ..detached(&case)
    };
    let del = planned(&after, &Want::Detached(Box::new(gone)));
    let mut moved = after.clone();
    let generation = &mut moved.spaces.get_mut(&Ns::Host).unwrap().generation;
    *generation = generation.map(|read| read + 1);
    assert_eq!(moved.apply(&del), Err(bulkhead_plan::Refusal::Restart));
}

#[test]
fn an_empty_world_has_no_features_and_needs_none() {
    let mut case = all().remove(0);
    case.world = host_world(false);
    let after = applied(&case.world, planned(&case.world, &attached(&case)).ops());
    assert!(planned(&after, &attached(&case)).is_empty());
}

#[test]
fn plans_read_as_the_lines_an_operator_would_type() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    for case in all() {
        let add = planned(&case.world, &attached(&case));
        let after = applied(&case.world, add.ops());
        let del = planned(&after, &Want::Detached(Box::new(detached(&case))));
        let text = format!("# ADD\n{add}\n# DEL of the last attachment\n{del}");
        let file = folder.join(format!("{}.txt", case.name));
        if std::env::var_os("BULKHEAD_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            text,
            golden,
            "{} differs; BULKHEAD_BLESS=1 rewrites it",
            file.display()
        );
    }
}
