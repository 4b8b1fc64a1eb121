//! The planner's cases on the kernel: after every operation of every plan the kernel shows what the
//! model world says, so the model cannot drift from what it stands for.

use std::collections::BTreeMap;

use bulkhead_kernel::{Deletion, Kernel, Netns};
use bulkhead_model::IfName;
use bulkhead_plan::{
    Entries, LinkKind, Ns, Op, Plan, Scope, Space, SpaceScope, TableScope, TableState, Want, World,
    plan, scope,
};
use netns_fixtures::{Feature, Host, Sandbox, skip_without};

use crate::case::{self, Case};

#[test]
fn the_model_is_the_kernel() {
    skip_without!(Feature::PrefixChains);
    let cases = case::all();
    assert!(cases.len() > 5);
    std::thread::scope(|scope| {
        for case in &cases {
            scope.spawn(move || run(case));
        }
    });
}

/// Attaches and detaches one operation at a time, in the model and in a fresh kernel.
fn run(case: &Case) {
    let sandbox = Sandbox::new();
    let host = sandbox.host("node").unwrap();
    let spaces: Vec<(Ns, netns_fixtures::Ns)> = case
        .world
        .spaces
        .keys()
        .filter(|ns| **ns != Ns::Host)
        .enumerate()
        .map(|(nth, ns)| (ns.clone(), sandbox.ns(&format!("c{nth}")).unwrap()))
        .collect();
    prepare(case, &host);
    let work = || {
        let mut kernel = Kernel::new(Deletion::Blocking);
        for (ns, real) in &spaces {
            kernel = kernel.with(ns.clone(), Netns::open(real.path()).unwrap());
        }
        walk(case, &mut kernel, &case::attached(case));
        let detached = Want::Detached(Box::new(case::detached(case)));
        walk(case, &mut kernel, &detached);
    };
    host.enter(work).unwrap();
}

/// The links of the case's world, all of them bridges that somebody made.
fn prepare(case: &Case, host: &Host) {
    for (name, link) in &case.world.space(&Ns::Host).links {
        assert_eq!(link.kind, LinkKind::Bridge);
        let mac = link.mac.unwrap();
        let mtu = link.mtu;
        host.ip_batch(&[
            format!("link add {name} address {mac} type bridge forward_delay 0"),
            // Set, not given: else the bridge's MTU follows its ports'.
            format!("link set {name} mtu {mtu}"),
            // Its own link-local address would come when its carrier does, which is no operation.
            format!("link set {name} addrgenmode none"),
            format!("link set {name} up"),
        ])
        .unwrap();
    }
}

fn walk(case: &Case, kernel: &mut Kernel, want: &Want) {
    let scope = scope(want);
    let observe = |kernel: &mut Kernel| {
        let mut world = kernel.observe(&scope).unwrap();
        // The case may be of a kernel that can less than this one.
        world.features = case.world.features;
        world
    };
    let mut model = observe(kernel);
    let todo = plan(&model, want).unwrap();
    assert!(!todo.is_empty(), "{}", case.name);
    for (nth, op) in todo.ops().iter().enumerate() {
        model.run(op).unwrap();
        kernel.apply(&Plan::new(vec![op.clone()])).unwrap();
        let seen = observe(kernel);
        let (left, right) = (shown(&model, &scope, op), shown(&seen, &scope, op));
        assert_eq!(left, right, "{}, operation {nth}: {op}", case.name);
    }
    let again = plan(&observe(kernel), want).unwrap();
    assert!(again.is_empty(), "{}: {again}", case.name);
}

/// What an observer of `scope` sees of `world`; what no plan hangs on, left out.
fn shown(world: &World, scope: &Scope, after: &Op) -> World {
    let spaces = scope.spaces.iter().map(|(ns, wanted)| {
        let space = space(world.space(ns), wanted, scope, after);
        (ns.clone(), space)
    });
    World {
        features: world.features,
        spaces: spaces.collect(),
    }
}

fn space(space: &Space, wanted: &SpaceScope, scope: &Scope, after: &Op) -> Space {
    let mut shown = space.clone();
    let port_of = |bridge: Option<IfName>| bridge.is_some_and(|b| wanted.ports_of.contains(&b));
    shown.links.retain(|name, link| {
        wanted.links.contains(name) || wanted.ports_of.contains(name) || port_of(link.bridge)
    });
    for link in shown.links.values_mut() {
        if let LinkKind::Veth { peer } = &mut link.kind {
            let in_scope = |(ns, name): &(Ns, IfName)| {
                let there = scope.spaces.get(ns);
                there.is_some_and(|there| there.links.contains(name))
            };
            *peer = peer.take().filter(in_scope);
        }
    }
    shown.addresses.retain(|(link, address), _| {
        // What the kernel forms by itself comes in its own time.
        let formed = address.prefix().to_string() == "fe80::/64"
            && shown
                .links
                .get(link)
                .is_some_and(|link| link.forms_link_local);
        wanted.links.contains(link) && !formed
    });
    for state in shown.addresses.values_mut() {
        // Detection takes its time; only waiting for its end says when that is.
        state.tentative &= matches!(after, Op::AwaitAddresses { .. });
    }
    if !wanted.routes {
        shown.routes.clear();
    }
    shown
        .neighbours
        .retain(|key, _| wanted.neighbours.contains(key));
    shown.sysctls.retain(|key, _| wanted.sysctls.contains(key));
    shown.tables = tables(&space.tables, &wanted.tables);
    shown.generation = None;
    shown
}

type Tables<T> = BTreeMap<bulkhead_nft::TableId, T>;

fn tables(tables: &Tables<TableState>, wanted: &Tables<TableScope>) -> Tables<TableState> {
    let asked = wanted.iter().filter_map(|(id, wanted)| {
        let found = tables.get(id)?;
        let known = |set| found.elements.get(set).cloned().unwrap_or_default();
        let by_key = wanted.elements.iter().map(|(set, keys)| {
            let held = known(set).intersection(keys).cloned().collect();
            (set.clone(), held)
        });
        let whole = wanted
            .whole_sets
            .iter()
            .map(|set| (set.clone(), known(set)));
        let chains = found
            .chains
            .iter()
            .map(|(name, rules)| (name.clone(), *rules));
        let maps = wanted.maps.iter().map(|(map, wanted)| {
            let mut held = found.maps.get(map).cloned().unwrap_or_default();
            if let Entries::Of(keys) = &wanted.entries {
                held.retain(|key, _| keys.contains(key));
            }
            (map.clone(), held)
        });
        let state = TableState {
            comment: found.comment.clone(),
            chains: chains
                .filter(|(name, _)| wanted.chains.contains(name))
                .collect(),
            elements: by_key.chain(whole).collect(),
            maps: maps.collect(),
        };
        Some((id.clone(), state))
    });
    asked.collect()
}
