//! An attachment's addresses from the network's own ranges, or from the cluster's pools, recorded.

use std::sync::Arc;

use bulkhead_cni::{Call, CniError, Code};
use bulkhead_ipam::{
    Acquired, AttachmentRecord, ClusterConfig, Draft, Ipam, LeasedAddress, LockedStore,
    NetworkStore, Pool, PoolConfig, Released,
};

use crate::failure::Failure;
use crate::host::timed;
use crate::pools::{PoolAsk, PoolLeases};
use crate::{Host, Source, Stage, grant, guard, segment, state_dir};

/// What was recorded, and what the record says of the network.
pub(crate) struct Leased {
    pub(crate) acquired: Acquired,
    /// Whether it is the network's only attachment.
    pub(crate) first: bool,
    /// The network's pool.
    pub(crate) pool: Option<Pool>,
}

impl Leased {
    /// What `acquired` says, in the store that it was recorded in.
    pub(crate) fn of(acquired: Acquired, store: &LockedStore) -> Self {
        Self {
            acquired,
            first: store.is_only(),
            pool: store.pool().cloned(),
        }
    }
}

/// Gives an attachment addresses of ours. One that has some keeps them, also if they come from elsewhere
/// than the configuration says now.
pub(crate) fn acquire(
    host: &mut dyn Host,
    call: &Call,
    store: &NetworkStore,
    draft: Draft,
    source: &Source,
) -> Result<Leased, Failure> {
    let leased = match source {
        Source::Ranges(config) => from_ranges(host, store, draft, config)?,
        Source::Pools(config) => from_pools(host, call, store, draft, config)?,
    };
    if let Acquired::Renewed(record) = &leased.acquired
        && let Some(pools) = pools_of(host, record)
    {
        pools.settle(record);
    }
    Ok(leased)
}

/// One address of every range set.
fn from_ranges(
    host: &mut dyn Host,
    store: &NetworkStore,
    draft: Draft,
    config: &PoolConfig,
) -> Result<Leased, Failure> {
    let mut store = store.lock()?;
    grant::refuse_taken_mac(&store, &draft)?;
    if store.needs_pool(config) {
        store.choose_pool(config, &host.kernel().host_prefixes()?)?;
    }
    let acquire = || store.acquire(draft, config).map_err(Failure::from);
    let acquired = timed(host, Stage::Record, acquire)?;
    Ok(Leased::of(acquired, &store))
}

/// An address of each of a pool's families.
fn from_pools(
    host: &dyn Host,
    call: &Call,
    store: &NetworkStore,
    mut draft: Draft,
    config: &ClusterConfig,
) -> Result<Leased, Failure> {
    let pools = pools(host, call, config)?;
    let mut locked = store.lock()?;
    if let Some(kept) = locked.keep_own(&draft, &config.requested)? {
        return Ok(Leased::of(kept, &locked));
    }
    // To pick may take a while, and the network's other attachments need not wait for it.
    drop(locked);
    let key = draft.key.clone();
    let asked = ask(&draft, config)?;
    let picked = timed(host, Stage::Pick, || pools.acquire(&asked))?;
    draft.pool = Some(picked.lease);
    // An address of the block that is elsewhere is behind the same bridge where a segment spans nodes.
    match segment::station(&draft) {
        Some(mac) => draft.names.interface_mac = Some(mac),
        None => guard::note_share(&mut draft.names, &picked.block),
    }
    let (addresses, description) = (picked.addresses, picked.description);
    let recorded = || recorded(store, draft, addresses, &description);
    match timed(host, Stage::Record, recorded) {
        Ok(leased) => {
            pools.settle(leased.acquired.record());
            Ok(leased)
        }
        Err(failure) => {
            pools.abandon(&key);
            Err(failure)
        }
    }
}

fn recorded(
    store: &NetworkStore,
    draft: Draft,
    addresses: Vec<LeasedAddress>,
    description: &Pool,
) -> Result<Leased, Failure> {
    let mut store = store.lock()?;
    if segment::station(&draft).is_none() {
        grant::refuse_taken_mac(&store, &draft)?;
    }
    store.describe(description)?;
    let acquired = store.record(draft, addresses, Ipam::Own)?;
    Ok(Leased::of(acquired, &store))
}

/// Who has to hear of what becomes of a record.
fn pools_of(host: &dyn Host, record: &AttachmentRecord) -> Option<Arc<dyn PoolLeases>> {
    host.pools().filter(|_| record.pool.is_some())
}

/// The node's share of the pools.
///
/// # Errors
/// Code 11 without a node daemon.
pub(crate) fn pools(
    host: &dyn Host,
    call: &Call,
    config: &ClusterConfig,
) -> Result<Arc<dyn PoolLeases>, CniError> {
    let missing = |path: std::path::PathBuf| {
        CniError::try_again(format!(
            "{}: addresses of the cluster are given by the node daemon, and none manages state directory {}: start bulkheadd, or name ranges in \"ipam\"",
            config.pools,
            path.display()
        ))
    };
    match host.pools() {
        Some(pools) => Ok(pools),
        None => Err(missing(state_dir(call)?)),
    }
}

fn ask(draft: &Draft, config: &ClusterConfig) -> Result<PoolAsk, CniError> {
    if config.sticky && draft.pod.is_none() {
        return Err(CniError::new(
            Code::INVALID_ENVIRONMENT,
            "CNI_ARGS: K8S_POD_NAMESPACE and K8S_POD_NAME are missing, and ipam.sticky keeps an address for the pod they name",
        ));
    }
    Ok(PoolAsk {
        key: draft.key.clone(),
        pools: config.pools.clone(),
        pod: draft.pod.clone(),
        labels: draft.labels.clone(),
        requested: config.requested.clone(),
        sticky: config.sticky,
        segment: segment::of_names(&draft.names).is_some(),
    })
}

/// Ends a lease, unless the attachment has another one by now; `reason` goes into the audit log.
pub(crate) fn release(
    host: &dyn Host,
    store: &mut LockedStore,
    record: &AttachmentRecord,
    reason: &str,
) -> Result<Released, Failure> {
    let release = || store.release(&record.id(), record.sequence, reason);
    let released = timed(host, Stage::Release, release)?;
    if let Released::Freed(record) = &released
        && let Some(pools) = pools_of(host, record)
    {
        pools.released(record, reason);
    }
    Ok(released)
}
