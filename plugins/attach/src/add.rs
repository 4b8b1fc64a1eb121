//! ADD: lease and record, then the kernel, then the answer. What fails leaves nothing.

use std::net::IpAddr;

use bulkhead_cni::{Answer, Call, CniError, CniResult, Interface, Ip, Route};
use bulkhead_ipam::{Access, AttachmentRecord, Guards, LockMode, StateDir};
use bulkhead_kernel::Kernel;
use bulkhead_model::{AttachmentKey, Family};
use bulkhead_plan::{
    Attached, Binding, Ns, Op, Place, Plan, Want, World, filter_table, host_port_table,
    segment_table,
};

use crate::converge::{Before, Start, converge_from};
use crate::failure::Failure;
use crate::grant::{self, Age};
use crate::{
    Capabilities, Grant, GrantedAddress, Host, Network, claims, del, guard, host_ports, policies,
    segment, state_dir,
};

pub(crate) fn add<N: Network>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    let network = N::parse(call)?;
    refuse_without_daemon(&network, call, host)?;
    Ok(Answer::Result(attach(&network, call, host)?))
}

/// Refuses what nobody would serve here.
///
/// # Errors
/// Code 11.
pub(crate) fn refuse_without_daemon<N: Network>(
    network: &N,
    call: &Call,
    host: &dyn Host,
) -> Result<(), CniError> {
    let Some(needed) = network.needs_daemon().filter(|_| !host.is_daemon()) else {
        return Ok(());
    };
    let path = state_dir(call)?;
    Err(CniError::try_again(format!(
        "{needed}, and none manages state directory {}: start bulkheadd, or remove the key",
        path.display()
    )))
}

fn attach<N: Network>(network: &N, call: &Call, host: &mut dyn Host) -> Result<CniResult, Failure> {
    let path = call.netns.as_deref().unwrap_or(std::path::Path::new(""));
    let netns = host.container(path)?;
    let identity = netns.identity();
    let state = host.state(&state_dir(call)?, Access::Add)?;
    let container = Ns::Container(path.display().to_string());
    host.kernel().admit(container, netns);
    let recorded = grant::acquire(host, network, call, &state, identity)?;
    let (key, age) = (recorded.record.key.clone(), recorded.age);
    // From here on something is recorded, and whatever fails has to take it back.
    let admitted = policies::admit(host, &recorded.record).map_err(Failure::from);
    let plugged = admitted
        .and_then(|()| grant::granted(host.kernel(), network, call, recorded))
        .and_then(|grant| plug(host.kernel(), network, call, &state, &grant, age));
    plugged.map_err(|failure| match age {
        Age::Known => failure,
        Age::New => match undo(host, network, call, &state, &key) {
            Ok(()) => failure,
            Err(also) => failure.and(&format!("and undoing it: {also}")),
        },
    })
}

fn undo<N: Network>(
    host: &mut dyn Host,
    network: &N,
    call: &Call,
    state: &StateDir,
    key: &AttachmentKey,
) -> Result<(), Failure> {
    del::detach::<N>(host, Some(network), call, Some(state), key, "add failed")
}

/// From the record to the answer.
fn plug<N: Network>(
    kernel: &mut Kernel,
    network: &N,
    call: &Call,
    state: &StateDir,
    grant: &Grant,
    age: Age,
) -> Result<CniResult, Failure> {
    let wanted = network.want(grant)?;
    segment::admit(kernel, &wanted.node)?;
    // An answer that the caller's version cannot say must be known before anything is made.
    let asked = network.capabilities();
    answer(&World::default(), &wanted, grant, call, asked).to_json(call.config.version)?;
    let want = wanted.clone();
    let start = match age {
        Age::New => Start::Nothing,
        Age::Known => Start::Anything,
    };
    let world = stand(start, kernel, state, &grant.key, want, |_| ())?;
    Ok(answer(&world, &wanted, grant, call, asked))
}

/// Brings the kernel to an attachment's want; `planned` is told every plan before it is applied.
pub(crate) fn stand(
    start: Start,
    kernel: &mut Kernel,
    state: &StateDir,
    key: &AttachmentKey,
    want: Attached,
    mut planned: impl FnMut(&Plan),
) -> Result<World, Failure> {
    let bridge = want.place.bridge();
    let _bridge = bridge
        .map(|bridge| state.bridge_lock(&bridge.name, LockMode::Shared))
        .transpose()?;
    let mut want = Want::Attached(Box::new(want));
    converge_from(start, kernel, &mut want, |world, plan, want| {
        let Want::Attached(want) = want else {
            return Ok(Before::Apply);
        };
        if complete(want, plan, state, key)? {
            return Ok(Before::LookAgain);
        }
        claims::claim(state, &key.network, world, want)?;
        planned(plan);
        Ok(Before::Apply)
    })
}

/// A plan that puts a shared table there whole must bring what every other attachment has in it.
/// Whether the want has more in it now.
pub(crate) fn complete(
    want: &mut Attached,
    plan: &Plan,
    state: &StateDir,
    key: &AttachmentKey,
) -> Result<bool, Failure> {
    let loads = |table| {
        let mut ops = plan.ops().iter();
        ops.any(|op| matches!(op, Op::Nft { transaction, .. } if transaction.loads(&table)))
    };
    let bindings =
        (loads(filter_table()) || loads(segment_table())) && want.filter.others.is_empty();
    let forwards = loads(host_port_table()) && want.host_ports.others.is_empty();
    if !bindings && !forwards {
        return Ok(false);
    }
    let mut others = other_records(state, key)?;
    if bindings {
        want.filter.others = others_at(&want.node, &others, state)?;
    }
    others.retain(|record| segment::node(&record.names) == want.node);
    if forwards {
        want.host_ports.others = others.iter().flat_map(host_ports::recorded).collect();
    }
    let more = bindings && !want.filter.others.is_empty();
    Ok(more || forwards && !want.host_ports.others.is_empty())
}

/// Every other recorded attachment, on every network of the node, and every guarded port. An earlier
/// boot's went with it.
pub(crate) fn other_records(
    state: &StateDir,
    but: &AttachmentKey,
) -> Result<Vec<AttachmentRecord>, Failure> {
    let mut all = Vec::new();
    for network in state.networks()? {
        let Some(known) = state.network(&network).read()? else {
            continue;
        };
        let mut records = known.attachments()?;
        records.retain(|record| record.key != *but && known.is_of_this_boot(record));
        all.extend(records);
    }
    let guarded = Guards::of(state.path()).of_this_boot()?.into_iter();
    all.extend(guarded.filter(|record| record.key != *but));
    Ok(all)
}

/// The bindings of those of recorded attachments that are where `node` plays the node's part; in the host's
/// namespace with the exits of all segments.
pub(crate) fn others_at(
    node: &Ns,
    records: &[AttachmentRecord],
    state: &StateDir,
) -> Result<Vec<Binding>, Failure> {
    let here = |record: &&AttachmentRecord| segment::node(&record.names) == *node;
    let here: Vec<_> = records.iter().filter(here).cloned().collect();
    let mut bindings = recorded_bindings(&here, state)?;
    if *node == Ns::Host {
        bindings.extend(segment::exits(records));
    }
    Ok(bindings)
}

/// The bindings of recorded attachments, with what their networks have on this node.
fn recorded_bindings(
    records: &[AttachmentRecord],
    state: &StateDir,
) -> Result<Vec<Binding>, Failure> {
    let changes = state.host_changes()?;
    let known = records.iter().filter_map(|record| {
        let mut binding = guard::recorded_binding(record)?;
        let around = claims::surroundings(&changes, &record.key.network);
        binding.around.own_blocks.extend(around.own_blocks);
        binding.around.gateways.extend(around.gateways);
        Some(binding)
    });
    Ok(known.collect())
}

/// The result: bridge if there is one, port and interface, with the interface's addresses and routes.
fn answer(
    world: &World,
    want: &Attached,
    grant: &Grant,
    call: &Call,
    asked: &Capabilities,
) -> CniResult {
    let host = |name| world.space(&want.node).links.get(&name);
    let inside = world
        .space(&want.interface.ns)
        .links
        .get(&want.interface.name);
    let mtu = inside.map(|link| link.mtu.bytes());
    let at = match &want.node {
        Ns::Network(path) => Some(path.clone()),
        Ns::Host | Ns::Container(_) => None,
    };
    let interface = |name: bulkhead_model::IfName, mac: bulkhead_model::Mac, mtu| Interface {
        name: name.to_string(),
        mac: Some(mac.to_string()),
        mtu,
        sandbox: at.clone(),
        ..Interface::default()
    };
    let sandbox = call.netns.as_ref().map(|path| path.display().to_string());
    let bridge = want.place.bridge().map(|bridge| {
        let found = host(bridge.name);
        let mac = found.and_then(|link| link.mac).unwrap_or(bridge.mac);
        interface(bridge.name, mac, found.map(|link| link.mtu.bytes()))
    });
    let mut interfaces: Vec<_> = bridge.into_iter().collect();
    interfaces.extend([
        interface(want.port.name, want.port.mac, mtu),
        Interface {
            sandbox,
            ..interface(want.interface.name, want.interface.mac, mtu)
        },
    ]);
    let last = interfaces.len() - 1;
    let addresses = want.interface.addresses.iter().zip(&grant.addresses);
    let ips = addresses.map(|(address, granted)| Ip {
        address: *address,
        gateway: gateway_of(want, granted),
        interface: Some(last),
    });
    let ips = ips.collect();
    let routes = want.interface.routes.iter().map(|route| {
        let configured = grant
            .routes
            .iter()
            .find(|r| r.dst == route.destination && r.table == Some(route.table));
        Route {
            dst: route.destination,
            gw: route.gateway,
            mtu: route.mtu,
            advmss: route.advmss,
            priority: route.priority,
            table: configured.and_then(|r| r.table),
            scope: route.scope,
        }
    });
    let dns = if asked.dns.is_empty() {
        &call.config.dns
    } else {
        &asked.dns
    };
    CniResult {
        interfaces,
        ips,
        routes: routes.collect(),
        dns: if dns.is_empty() {
            grant.dns.clone()
        } else {
            dns.clone()
        },
    }
}

/// The gateway of an address: what the IPAM names or the bridge has, or what the container calls its
/// neighbour on a link of its own.
fn gateway_of(want: &Attached, granted: &GrantedAddress) -> Option<IpAddr> {
    match &want.place {
        Place::Bridge(bridge) => granted.gateway.or_else(|| {
            let mut on_bridge = bridge.gateways.iter().map(|gateway| gateway.address());
            on_bridge.find(|gateway| granted.address.prefix().contains(*gateway))
        }),
        Place::PointToPoint(_) => {
            let mut known = want.interface.neighbours.iter().map(|known| known.address);
            known.find(|known| Family::of(*known) == granted.address.family())
        }
    }
}
