//! `bulkhead-ipam`: the embedded store as an IPAM plugin for any main plugin.

use std::process::ExitCode;

use bulkhead_cni::{Answer, Call, CniError, CniResult, Code, Ip, Verb};
use bulkhead_ipam::{Access, Acquired, Draft, Names, Netns, StateDir, Valid};

use crate::addressing::pool;
use crate::failure::Failure;
use crate::{del, gc, grant, kernel, pod, state_dir, status};

const ABOUT: &str = "addresses from a local store, for any main plugin's \"ipam\"";

/// Serves one call of `bulkhead-ipam` on this process's environment and standard streams.
#[must_use]
pub fn ipam(plugin: &str) -> ExitCode {
    crate::serve(plugin, ABOUT, |call| match call.verb {
        Verb::Add => Ok(Answer::Result(acquire(call)?)),
        Verb::Del => detach(call),
        Verb::Check => check(call),
        Verb::Gc => collect(call),
        Verb::Status => serves(call),
        Verb::Version => Ok(Answer::Silent),
    })
}

fn acquire(call: &Call) -> Result<CniResult, Failure> {
    let config = pool(call)?;
    let state = StateDir::open(&state_dir(call)?, Access::Add)?;
    let mut store = state.network(&call.config.name).lock()?;
    if store.needs_pool(&config) {
        store.choose_pool(&config, &kernel().host_prefixes()?)?;
    }
    let netns = call.netns.clone().map(|path| {
        // Where the main plugin made no namespace, its path still tells the dead from the living.
        let identity = bulkhead_kernel::Netns::open(&path)
            .ok()
            .map(|netns| netns.identity());
        Netns {
            path,
            device: identity.map(|id| id.dev),
            inode: identity.map(|id| id.ino),
        }
    });
    let draft = Draft {
        key: call.attachment()?,
        kind: "ipam".to_owned(),
        netns,
        names: Names::default(),
        config_digest: String::new(),
        pod: pod::of(call),
        pool: None,
    };
    let acquired = store.acquire(draft, &config)?;
    let (Acquired::New(record) | Acquired::Renewed(record) | Acquired::Existing(record)) = acquired;
    let (routes, dns) = grant::own_settings(&config);
    let ip = |leased: &bulkhead_ipam::LeasedAddress| Ip {
        address: leased.address,
        gateway: leased.gateway,
        interface: None,
    };
    let ips = record.addresses.iter().map(ip).collect();
    Ok(CniResult {
        interfaces: Vec::new(),
        ips,
        routes,
        dns,
    })
}

fn detach(call: &Call) -> Result<Answer, CniError> {
    let key = call.attachment()?;
    if let Some(state) = del::open(call)? {
        forget(&state, &key, "del")?;
    }
    Ok(Answer::Silent)
}

/// Ends the lease of an attachment that has nothing but addresses; `reason` goes into the audit log.
///
/// # Errors
/// What the store refused.
pub fn release(
    state: &StateDir,
    key: &bulkhead_model::AttachmentKey,
    reason: &str,
) -> Result<(), CniError> {
    Ok(forget(state, key, reason)?)
}

fn forget(
    state: &StateDir,
    key: &bulkhead_model::AttachmentKey,
    reason: &str,
) -> Result<(), Failure> {
    let Some(mut store) = state.network(&key.network).lock_existing()? else {
        return Ok(());
    };
    if let Some(record) = store.find(&key.id())? {
        store.release(&key.id(), record.sequence, reason)?;
    }
    Ok(())
}

fn check(call: &Call) -> Result<Answer, CniError> {
    let key = call.attachment()?;
    let previous = call.config.required_prev_result()?;
    let state = del::open(call)?;
    let known = state
        .map(|state| state.network(&key.network).read())
        .transpose()
        .map_err(Failure::from)?;
    let record = known
        .flatten()
        .map(|known| known.find(&key.id()))
        .transpose()
        .map_err(Failure::from)?;
    let leased = record
        .flatten()
        .map(|record| record.addresses)
        .unwrap_or_default();
    let stands = |address| {
        leased
            .iter()
            .any(|lease| lease.address.address() == address)
    };
    let ours = previous.ips.iter().any(|ip| stands(ip.address.address()));
    if leased.is_empty() || !(previous.ips.is_empty() || ours) {
        let text = format!("attachment {key} holds no address of prevResult; run ADD again");
        return Err(CniError::new(Code::DRIFT, text));
    }
    Ok(Answer::Silent)
}

fn collect(call: &Call) -> Result<Answer, CniError> {
    let Some(state) = del::open(call)? else {
        return Ok(Answer::Silent);
    };
    let known = state
        .network(&call.config.name)
        .read()
        .map_err(Failure::from)?;
    let listed = gc::listed(call);
    let valid = listed.as_deref().map_or(Valid::Absent, Valid::Listed);
    let dead = known
        .map(|known| known.stale(&valid))
        .transpose()
        .map_err(Failure::from)?;
    let mut failures = Vec::new();
    for one in dead.unwrap_or_default() {
        let reason = format!("gc: {}", one.reason);
        if let Err(error) = forget(&state, &one.record.key, &reason) {
            failures.push(format!("{}: {error}", one.record.key));
        }
    }
    gc::report(&failures)
}

fn serves(call: &Call) -> Result<Answer, CniError> {
    pool(call)?;
    if let Some(state) = del::open(call)? {
        status::store_serves(call, &state)?;
    }
    Ok(Answer::Silent)
}
