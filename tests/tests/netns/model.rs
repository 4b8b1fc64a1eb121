//! The planner's cases on the kernel: after every operation of every plan the kernel shows what the
//! model world says, so the model cannot drift from what it stands for.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use bulkhead_kernel::{Deletion, Kernel, Netns};
use bulkhead_model::IfName;
use bulkhead_plan::{
    Entries, Flow, LinkKind, Ns, Op, Plan, Scope, Space, SpaceScope, TableScope, TableState, Want,
    World, plan, scope,
};
use netns_fixtures::{Feature, Host, Sandbox, skip_without, wait_for};

use crate::case::{self, Case};
use crate::node::LIMIT;

/// How many cases at a time: each has five namespaces.
const AT_ONCE: usize = 8;

#[test]
fn the_model_is_the_kernel() {
    skip_without!(Feature::PrefixChains);
    skip_without!(Feature::Ifb);
    let cases = case::all();
    assert!(cases.len() > 5);
    for some in cases.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for case in some {
                scope.spawn(move || run(case));
            }
        });
    }
}

/// Attaches and detaches one operation at a time, in the model and in a fresh kernel; and once more
/// as if the record were lost.
fn run(case: &Case) {
    let sandbox = Sandbox::new();
    let host = sandbox.host("node").unwrap();
    let spaces: Vec<(Ns, netns_fixtures::Ns)> = case
        .ground
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
        kernel.apply(&Plan::new(case.history.clone())).unwrap();
        let mut begun = case.flows.as_slice();
        for detached in [case::detached(case), case::unrecorded(case)] {
            begin(begun);
            walk(case, &mut kernel, &case::attached(case), begun);
            begun = &[];
            let in_use = case.flows_in();
            begin(&in_use);
            // Without a record nobody knows which flows are the attachment's.
            let known = if detached.host_ports.is_some() {
                in_use
            } else {
                Vec::new()
            };
            walk(
                case,
                &mut kernel,
                &Want::Detached(Box::new(detached)),
                &known,
            );
        }
    };
    host.enter(work).unwrap();
}

/// What others made: links, addresses, and something that has connections tracked.
fn prepare(case: &Case, host: &Host) {
    let ground = case.ground.space(&Ns::Host);
    for (name, link) in &ground.links {
        let kind = match &link.kind {
            LinkKind::Bridge => "bridge forward_delay 0",
            LinkKind::Other(kind) => kind,
            LinkKind::Veth { .. } | LinkKind::Vxlan(_) => panic!("{name}"),
        };
        let (mac, mtu) = (link.mac.unwrap(), link.mtu);
        host.ip_batch(&[
            format!("link add {name} address {mac} type {kind}"),
            // Set, not given: else the bridge's MTU follows its ports'.
            format!("link set {name} mtu {mtu}"),
            // Its own link-local address would come when its carrier does, which is no operation.
            format!("link set {name} addrgenmode none"),
            format!("link set {name} up"),
        ])
        .unwrap();
    }
    for (link, address) in ground.addresses.keys() {
        let nodad = if address.address().is_ipv6() {
            "nodad"
        } else {
            ""
        };
        host.ip(&format!("addr add {address} dev {link} {nodad}"))
            .unwrap();
    }
    for ((link, address), state) in &ground.neighbours {
        let mac = state.mac;
        host.ip(&format!("neigh add {address} lladdr {mac} dev {link}"))
            .unwrap();
    }
    for own in case::OWN {
        host.ip(&format!("addr add {own} dev lo")).unwrap();
        // An IPv6 address becomes the node's in a work queue, on the loopback too (`addrconf_dad_work`,
        // `net/ipv6/addrconf.c`): until then nothing can be sent from or to it.
        wait_for("the address to be the node's", LIMIT, || {
            let route = host.ip_json(&format!("route get {own}")).ok()?;
            (route[0]["type"] == "local").then_some(())
        });
    }
    let switches = ground.sysctls.iter();
    for (sysctl, value) in switches.filter(|(it, _)| it.path().ends_with("/route_localnet")) {
        host.set_sysctl(sysctl.path(), value).unwrap();
    }
    let tracks = "table inet theirs {
        chain output {
            type filter hook output priority 0;
            ct state new
        }
    }";
    host.nft(tracks).unwrap();
    // Longer than any walk.
    host.set_sysctl("net/netfilter/nf_conntrack_udp_timeout", "600")
        .unwrap();
}

/// Sends a packet of each flow; nobody listens.
fn begin(flows: &[Flow]) {
    for flow in flows {
        let socket = UdpSocket::bind(flow.source);
        let sent = socket.and_then(|socket| socket.send_to(b"?", flow.destination));
        sent.unwrap_or_else(|error| panic!("{flow:?}: {error}"));
    }
}

/// Does what is planned for `want`, one operation at a time; `flows` are there before.
fn walk(case: &Case, kernel: &mut Kernel, want: &Want, flows: &[Flow]) {
    let scope = scope(want);
    let observe = |kernel: &mut Kernel| {
        let mut world = kernel.observe(&scope).unwrap();
        // The case may be of a kernel that can less than this one.
        world.features = case.ground.features;
        // What the host learned of the container from traffic, it forgets when it likes.
        let host = world.spaces.entry(Ns::Host).or_default();
        host.neighbours
            .retain(|_, state| state.permanent || state.mac != case.mac());
        world
    };
    // A packet to oneself is received a moment later where the processor has other work.
    let mut model = wait_for(&format!("{}: {flows:?}", case.name), LIMIT, || {
        let model = observe(kernel);
        let seen = &model.space(&Ns::Host).flows;
        flows
            .iter()
            .all(|flow| seen.contains(flow))
            .then_some(model)
    });
    let todo = plan(&model, want).unwrap();
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
        named: world.named.clone(),
        spaces: spaces.collect(),
    }
}

fn space(space: &Space, wanted: &SpaceScope, scope: &Scope, after: &Op) -> Space {
    let mut shown = space.clone();
    let port_of = |bridge: Option<IfName>| bridge.is_some_and(|b| wanted.ports_of.contains(&b));
    shown.links.retain(|name, link| {
        wanted.links.contains(name) || wanted.ports_of.contains(name) || port_of(link.bridge)
    });
    for (name, link) in &mut shown.links {
        link.shape = link.shape.filter(|_| wanted.links.contains(name));
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
    shown
        .routes
        .retain(|route| wanted.routes || wanted.routes_to.contains(&route.destination));
    shown
        .own_routes
        .retain(|route| shown.routes.contains(route));
    shown.blackholes.retain(|_| wanted.blackholes);
    shown
        .neighbours
        .retain(|key, _| wanted.neighbours.contains(key));
    shown.local.retain(|address| wanted.local.contains(address));
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
            .filter(|set| !found.prefixes.contains_key(*set) && !found.ranges.contains_key(*set))
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
        let prefixes = wanted.whole_sets.iter().filter_map(|set| {
            let held = found.prefixes.get(set)?;
            Some((set.clone(), held.clone()))
        });
        let ranges = wanted.whole_sets.iter().filter_map(|set| {
            let held = found.ranges.get(set)?;
            Some((set.clone(), held.clone()))
        });
        let state = TableState {
            comment: found.comment.clone(),
            chains: chains
                .filter(|(name, _)| wanted.chains.contains(name))
                .collect(),
            elements: by_key.chain(whole).collect(),
            maps: maps.collect(),
            prefixes: prefixes.collect(),
            ranges: ranges.collect(),
        };
        Some((id.clone(), state))
    });
    asked.collect()
}
