//! Deny before plug, referent before reference: what no prefix of a plan may show.

use bulkhead_model::IfName;
use bulkhead_nft as nft;
use bulkhead_plan::{
    Foreign, Hook, LinkSetting, Ns, Op, Shape, Space, Sysctl, TableState, World, filter_table,
    host_port_table,
};

use crate::cases::{Case, all, attached, detached};
use crate::{gone, halves, in_use, never_begins, planned, stands};

const POD: nft::Name = nft::Name::literal("pod");
const SHAPED: nft::Name = nft::Name::literal("shaped");
const MARTIANS: nft::Name = nft::Name::literal("martians");

fn is_up(host: &Space, port: IfName) -> bool {
    host.links.get(&port).is_some_and(|link| link.up)
}

/// The filter, if the port's frames come to it.
fn filter<'w>(host: &'w Space, case: &Case) -> Option<&'w TableState> {
    let table = host.tables.get(&filter_table())?;
    let own = nft::Name::new(&format!("port-{}", case.port())).unwrap();
    let hooked = case.hook == Hook::Prefix || table.chains.contains_key(&own);
    (hooked && table.chains.get(&POD).is_some_and(|rules| *rules == 6)).then_some(table)
}

/// Whether the port could pass what no filter has seen.
fn is_unfiltered(world: &World, case: &Case) -> bool {
    let host = world.space(&Ns::Host);
    is_up(host, case.port()) && filter(host, case).is_none()
}

/// Whether the filter knows the port at all.
fn is_bound(table: &TableState, case: &Case) -> bool {
    let port = nft::Datum::IfName(case.port());
    let mut bound = table.elements.values().flatten();
    bound.any(|key| key.parts().first() == Some(&port))
}

/// Where the filter sends what the port lets pass: on, or by a device, which may be gone.
enum Way {
    On,
    By(Option<IfName>),
}

fn way(table: &TableState, case: &Case) -> Way {
    let shaped = table.maps.get(&SHAPED);
    let found = shaped.and_then(|found| found.get(&case.port().into()));
    match found.map(|entry| &entry.data) {
        None => Way::On,
        Some(Some(nft::Data::Device(device))) => Way::By(Some(*device)),
        Some(_) => Way::By(None),
    }
}

/// Whether the container could send faster than it may.
fn is_unlimited(world: &World, case: &Case) -> bool {
    let host = world.space(&Ns::Host);
    let Some(limit) = case.bandwidth.egress.filter(|_| is_up(host, case.port())) else {
        return false;
    };
    let Some(table) = filter(host, case) else {
        return true;
    };
    match way(table, case) {
        Way::On => is_bound(table, case),
        Way::By(device) => device
            .and_then(|device| host.links.get(&device))
            .is_some_and(|ifb| ifb.up && ifb.shape.map(|shape| shape.rate) != Some(limit.rate / 8)),
    }
}

/// Whether what the container sends is sent nowhere.
fn is_lost(world: &World, case: &Case) -> bool {
    let host = world.space(&Ns::Host);
    if case.bandwidth.egress.is_none() || !is_up(host, case.port()) {
        return false;
    }
    let leads = |ifb| host.links.get(&ifb).is_some_and(|link| link.up);
    match filter(host, case).map(|table| way(table, case)) {
        Some(Way::By(Some(ifb))) => !leads(ifb),
        Some(Way::On | Way::By(None)) | None => true,
    }
}

/// Whether the container could receive faster than it may.
fn is_flooded(world: &World, case: &Case) -> bool {
    let host = world.space(&Ns::Host);
    let rate = case.bandwidth.ingress.map(|limit| limit.rate / 8);
    let port = host.links.get(&case.port()).filter(|port| port.up);
    port.is_some_and(|port| rate.is_some() && port.shape.map(|shape| shape.rate) != rate)
}

/// Whether neighbours could reach the host's own sockets on 127.0.0.1.
fn is_exposed(world: &World, case: &Case) -> bool {
    let host = world.space(&Ns::Host);
    let switch = Sysctl::ipv4_conf(case.node_link().as_str(), "route_localnet");
    let routed = host.sysctls.get(&switch).is_some_and(|value| value == "1");
    let table = host.tables.get(&host_port_table());
    let guarded = table.is_some_and(|table| table.chains.get(&MARTIANS) == Some(&2));
    routed && !guarded
}

type Broken = fn(&World, &Case) -> bool;

const BROKEN: [(&str, Broken); 4] = [
    ("unfiltered", is_unfiltered),
    ("unlimited", is_unlimited),
    ("flooded", is_flooded),
    ("exposed", is_exposed),
];

#[test]
fn no_prefix_of_an_add_lets_pass_what_must_not() {
    for case in all() {
        let want = attached(&case);
        let undisturbed = planned(&case.before(), &want);
        let mut worlds = halves(&case.before(), &undisturbed);
        let after = in_use(&case);
        worlds.extend(halves(&after, &planned(&after, &gone(detached(&case)))));
        for (crash, half) in worlds {
            let add = planned(&half, &want);
            for (what, broken) in BROKEN.into_iter().chain([("lost", is_lost as Broken)]) {
                let what = format!("{}, after a crash after {crash}: {what}", case.name);
                never_begins(&what, &half, add.ops(), |world| broken(world, &case));
            }
        }
    }
}

#[test]
fn no_prefix_of_a_del_lets_pass_what_must_not() {
    for case in all() {
        // What is routed by a bridge that somebody else made is theirs to guard when we are gone.
        let ground = &case.ground.space(&Ns::Host).links;
        let ours = case.foreign == Foreign::Adopt || !ground.contains_key(&case.bridge());
        let after = in_use(&case);
        let del = planned(&after, &gone(detached(&case)));
        for (what, broken) in BROKEN {
            if ours || what != "exposed" {
                let what = format!("{}: {what}", case.name);
                never_begins(&what, &after, del.ops(), |world| broken(world, &case));
            }
        }
    }
}

#[test]
fn a_port_keeps_its_chain_as_long_as_it_is_there() {
    for case in all() {
        let own = nft::Name::new(&format!("port-{}", case.port())).unwrap();
        let mut world = case.before();
        for op in planned(&world, &attached(&case)).ops() {
            let host = world.space(&Ns::Host);
            let table = host.tables.get(&filter_table());
            let chained = table.is_some_and(|table| table.chains.contains_key(&own));
            let deletes = matches!(op, Op::DelLink { name, .. } if *name == case.port());
            assert!(!deletes || !chained, "{}: {op}", case.name);
            world.run(op).unwrap();
        }
    }
}

#[test]
fn the_interface_comes_last() {
    for case in all().into_iter().filter(|case| case.history.is_empty()) {
        let add = planned(&case.before(), &attached(&case));
        let position = |found: &dyn Fn(&Op) -> bool| add.ops().iter().rposition(found);
        let up = |name: IfName| {
            position(
                &|op: &Op| matches!(op, Op::SetLink { name: n, set: LinkSetting::Up, .. } if *n == name),
            )
        };
        let port_up = up(case.port()).expect("the port is raised");
        let last_commit = position(&|op| matches!(op, Op::Nft { .. })).expect("a filter");
        assert!(last_commit < port_up, "{}", case.name);
        if let Some(interface_up) = up("eth0".parse().unwrap()) {
            assert!(port_up < interface_up, "{}", case.name);
            let last_address = position(&|op| matches!(op, Op::AddAddress { .. }));
            assert!(
                last_address.is_none_or(|at| at < interface_up),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn what_stands_is_limited_as_asked() {
    for case in all() {
        let world = stands(&case);
        let host = world.space(&Ns::Host);
        let shape = |link| host.links.get(&link).and_then(|link| link.shape);
        let mtu = host.links[&case.port()].mtu;
        if let Some(limit) = case.bandwidth.ingress {
            assert_eq!(
                shape(case.port()),
                Some(Shape::new(limit, mtu)),
                "{}",
                case.name
            );
        }
        if let Some(limit) = case.bandwidth.egress {
            assert_eq!(
                shape(case.ifb()),
                Some(Shape::new(limit, mtu)),
                "{}",
                case.name
            );
            assert_eq!(host.links[&case.ifb()].mtu, mtu, "{}", case.name);
        }
    }
}
