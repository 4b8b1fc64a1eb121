//! DEL, and what GC and a failed ADD do too: the kernel's objects first, then the addresses, and
//! with the network's last attachment what it shared. It works from the record, or without one from
//! derived names; with no namespace, no prevResult, twice, and before ADD.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use bulkhead_cni::exec::{self, Delegates};
use bulkhead_cni::{Answer, Call, CniError, Verb};
use bulkhead_ipam::{
    Access, AttachmentRecord, Guards, HostChange, Ipam, LockMode, LockedStore, OpenError, Released,
    StateDir,
};
use bulkhead_kernel::Kernel;
use bulkhead_model::{AttachmentKey, IfName};
use bulkhead_plan::{Detached, NetworkGone, Ns, Want};

use crate::addressing::OWN_IPAM;
use crate::converge::{Before, converge};
use crate::failure::Failure;
use crate::{
    Host, Network, claims, guard, host_ports, lease, nat_table, policies, segment, state_dir,
};

pub(crate) fn del<N: Network>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    let key = call.attachment()?;
    let state = open(call, host)?;
    // A configuration that is broken by now must not keep its containers from being taken down.
    let network = N::parse(call).ok();
    detach::<N>(host, network.as_ref(), call, state.as_deref(), &key, "del")?;
    Ok(Answer::Silent)
}

/// The state directory, if there ever was one.
pub(crate) fn open(call: &Call, host: &dyn Host) -> Result<Option<Arc<StateDir>>, Failure> {
    match host.state(&state_dir(call)?, Access::Shared) {
        Ok(state) => Ok(Some(state)),
        Err(OpenError::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes every trace of an attachment; `reason` goes into the audit log.
pub(crate) fn detach<N: Network>(
    host: &mut dyn Host,
    network: Option<&N>,
    call: &Call,
    state: Option<&StateDir>,
    key: &AttachmentKey,
    reason: &str,
) -> Result<(), Failure> {
    let record = state
        .map(|state| recorded(state, key))
        .transpose()?
        .flatten();
    let configured = network.and_then(N::bridge);
    let shared = match (state, &record) {
        (Some(state), Some(record)) => shared(state, record)?,
        _ => BTreeSet::new(),
    };
    let gone = unplug(host, key, record.as_ref(), configured, shared)?;
    policies::dismiss(host, record.as_ref())?;
    release_delegated(host.delegates(), call, record.as_ref())?;
    match state {
        Some(state) => forget(host, state, key, record, gone, reason),
        None => Ok(()),
    }
}

/// DEL while the node daemon that owns the state directory does not answer: as [`detach`], but for what
/// only the directory's owner may do.
pub(crate) fn detach_without_daemon<N: Network>(
    host: &mut dyn Host,
    call: &Call,
    key: &AttachmentKey,
    record: Option<&AttachmentRecord>,
) -> Result<(), CniError> {
    let configured = N::parse(call).ok().and_then(|network| network.bridge());
    unplug(host, key, record, configured, BTreeSet::new())?;
    release_delegated(host.delegates(), call, record)?;
    Ok(())
}

/// The attachment's record.
pub(crate) fn recorded(
    state: &StateDir,
    key: &AttachmentKey,
) -> Result<Option<AttachmentRecord>, Failure> {
    let known = state.network(&key.network).read()?;
    let record = known.map(|known| known.find(&key.id())).transpose()?;
    Ok(record.flatten())
}

/// Addresses that another attachment of the network holds too.
fn shared(state: &StateDir, record: &AttachmentRecord) -> Result<BTreeSet<IpAddr>, Failure> {
    guard::shared(record, || {
        let known = state.network(&record.key.network).read()?;
        let all = known.map(|known| known.attachments()).transpose()?;
        Ok(all.unwrap_or_default())
    })
}

/// What was unplugged: the want, and the bridges it was on or is configured for now.
struct Unplugged {
    want: Detached,
    bridge: Option<IfName>,
    /// Another bridge that the configuration names by now: it is for new attachments.
    configured: Option<IfName>,
}

/// Takes the attachment's own objects out of the kernel.
fn unplug(
    host: &mut dyn Host,
    key: &AttachmentKey,
    record: Option<&AttachmentRecord>,
    configured: Option<IfName>,
    shared: BTreeSet<IpAddr>,
) -> Result<Unplugged, Failure> {
    let bridge = record.and_then(|r| r.names.bridge).or(configured);
    let mut want = detached(key, record, bridge);
    if let Some(binding) = &mut want.binding {
        binding.around.shared = shared;
    }
    // With a namespace that is gone everything in it is.
    if let segment::Found::There = segment::found(host.kernel(), &want.node)? {
        let mut wanted = Want::Detached(Box::new(want.clone()));
        converge(host.kernel(), &mut wanted, |_, _, _| Ok(Before::Apply))?;
    }
    Ok(Unplugged {
        want,
        bridge,
        configured: configured.filter(|other| bridge.is_some_and(|bridge| bridge != *other)),
    })
}

/// Ends the record and the lease, and with the network's last attachment takes down what it shared.
fn forget(
    host: &mut dyn Host,
    state: &StateDir,
    key: &AttachmentKey,
    record: Option<AttachmentRecord>,
    gone: Unplugged,
    reason: &str,
) -> Result<(), Failure> {
    if let Some(record) = &record {
        host_ports::give_up(host.kernel(), state, record)?;
    }
    let Some(mut locked) = state.network(&key.network).lock_existing()? else {
        return Ok(());
    };
    if let Some(record) = record
        && let Released::Superseded(_) = lease::release(host, &mut locked, &record, reason)?
    {
        return Ok(());
    }
    let Unplugged {
        want,
        bridge,
        configured,
    } = gone;
    if want.node != Ns::Host {
        // The node daemon takes the namespace down with everything that the network shared.
        return Ok(());
    }
    if locked.live_count() == 0 {
        let kernel = host.kernel();
        take_down(kernel, state, &locked, key, want.clone(), bridge)?;
        if let Some(other) = configured {
            take_down_bridge(kernel, state, want, other)?;
        }
    } else if let (Some(_), Some(bridge)) = (configured, bridge)
        && !is_in_use(&locked, bridge)?
    {
        take_down_bridge(host.kernel(), state, want, bridge)?;
    }
    Ok(())
}

/// Whether an attachment of the network is on that bridge.
fn is_in_use(locked: &LockedStore, bridge: IfName) -> Result<bool, Failure> {
    let records = locked.attachments()?;
    let mut bridges = records.iter().map(|record| record.names.bridge);
    Ok(bridges.any(|used| used == Some(bridge)))
}

fn detached(
    key: &AttachmentKey,
    record: Option<&AttachmentRecord>,
    bridge: Option<IfName>,
) -> Detached {
    let addresses = record.map(|r| r.addresses.as_slice()).unwrap_or_default();
    let addresses = addresses.iter().map(|leased| leased.address.address());
    let on_bridge = |address: IpAddr| bridge.map(|bridge| (bridge, address));
    Detached {
        node: record.map_or(Ns::Host, |record| segment::node(&record.names)),
        port: record
            .and_then(|r| r.names.port)
            .unwrap_or_else(|| key.id().port()),
        binding: record.and_then(guard::recorded_binding),
        ifb: record
            .and_then(|r| r.names.ifb)
            .unwrap_or_else(|| key.id().ifb()),
        host_ports: record.map(host_ports::recorded),
        neighbours: addresses.filter_map(on_bridge).collect(),
        network: None,
    }
}

/// An IPAM plugin releases what it gave; the record stays until it has, so that DEL can be repeated.
fn release_delegated(
    delegates: &mut dyn Delegates,
    call: &Call,
    record: Option<&AttachmentRecord>,
) -> Result<(), Failure> {
    let configured = call
        .config
        .ipam
        .as_ref()
        .map(|ipam| ipam.plugin_type.as_str());
    let plugin = match record.map(|record| &record.ipam) {
        Some(Ipam::Delegated { plugin }) => Some(plugin.as_str()),
        Some(_) => None,
        None => configured.filter(|plugin| *plugin != OWN_IPAM),
    };
    match plugin {
        Some(plugin) => Ok(exec::delegate(delegates, call, plugin, Verb::Del)?),
        None => Ok(()),
    }
}

/// Under the network's lock, so that an ADD waits and then makes everything anew.
fn take_down(
    kernel: &mut Kernel,
    state: &StateDir,
    _locked: &LockedStore,
    key: &AttachmentKey,
    want: Detached,
    bridge: Option<IfName>,
) -> Result<(), Failure> {
    let _bridge = bridge
        .map(|bridge| state.bridge_lock(&bridge, LockMode::Exclusive))
        .transpose()?;
    let mut host = state.host()?;
    let changes = host.last_needed_by(&key.network);
    let gone = network_gone(state, key, bridge, &changes)?;
    let want = Detached {
        network: Some(gone),
        ..want
    };
    converge(kernel, &mut Want::Detached(Box::new(want)), |_, _, _| {
        Ok(Before::Apply)
    })?;
    host.drop_network(&key.network)?;
    Ok(())
}

/// A bridge that the network has no more, if nobody else has a port on it.
fn take_down_bridge(
    kernel: &mut Kernel,
    state: &StateDir,
    want: Detached,
    bridge: IfName,
) -> Result<(), Failure> {
    let _bridge = state.bridge_lock(&bridge, LockMode::Exclusive)?;
    let gone = NetworkGone {
        bridge: Some(bridge),
        ..NetworkGone::default()
    };
    let want = Detached {
        network: Some(gone),
        ..want
    };
    converge(kernel, &mut Want::Detached(Box::new(want)), |_, _, _| {
        Ok(Before::Apply)
    })?;
    Ok(())
}

/// What a DEL of `record` would remove; all that its network shared, if it is the last one.
pub(crate) fn everything(
    state: &StateDir,
    record: &AttachmentRecord,
    bridge: Option<IfName>,
) -> Result<Detached, Failure> {
    let key = &record.key;
    let want = detached(key, Some(record), bridge);
    let known = state.network(&key.network).read()?;
    if want.node != Ns::Host || known.is_some_and(|known| known.live_count() > 1) {
        return Ok(want);
    }
    let changes = state.host_changes()?.last_needed_by(&key.network);
    let gone = network_gone(state, key, bridge, &changes)?;
    Ok(Detached {
        network: Some(gone),
        ..want
    })
}

fn network_gone(
    state: &StateDir,
    key: &AttachmentKey,
    bridge: Option<IfName>,
    changes: &[HostChange],
) -> Result<NetworkGone, Failure> {
    // Who guards another plugin's port may have named the same blocks and gateways.
    let guarded = Guards::of(state.path()).of_this_boot()?;
    let needed: BTreeSet<_> = guarded.iter().flat_map(guard::named).collect();
    let restore = changes.iter().filter_map(claims::restore);
    Ok(NetworkGone {
        bridge,
        tables: vec![nat_table(&key.network)],
        restore: restore.filter(|one| !needed.contains(one)).collect(),
        node_is_empty: node_is_empty(state, key)?,
    })
}

/// Whether no attachment of another network needs anything in the host's namespace.
pub(crate) fn node_is_empty(state: &StateDir, key: &AttachmentKey) -> Result<bool, Failure> {
    for network in state
        .networks()?
        .iter()
        .filter(|network| **network != key.network)
    {
        let Some(known) = state.network(network).read()? else {
            continue;
        };
        if known.live_count() > 0 && known.attachments()?.iter().any(segment::is_on_host) {
            return Ok(false);
        }
    }
    Ok(true)
}
