//! `bulkhead-ipam`: the embedded store as an IPAM plugin for any main plugin.

use bulkhead_cni::{Answer, Call, CniError, CniResult, Code, Ip, Verb};
use bulkhead_ipam::{Access, AttachmentRecord, Draft, Names, Netns, StateDir, Valid};

use crate::addressing::Source;
use crate::failure::Failure;
use crate::{Host, del, gc, lease, pod, state_dir, status};

pub(crate) const ABOUT: &str = "addresses from a local store, for any main plugin's \"ipam\"";

pub(crate) fn serve(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    match call.verb {
        Verb::Add => Ok(Answer::Result(acquire(call, host)?)),
        Verb::Del => detach(call, host),
        Verb::Check => check(call, host),
        Verb::Gc => collect(call, host),
        Verb::Status => serves(call, host),
        Verb::Version => Ok(Answer::Silent),
    }
}

fn acquire(call: &Call, host: &mut dyn Host) -> Result<CniResult, Failure> {
    let source = Source::parse(call)?;
    let state = host.state(&state_dir(call)?, Access::Add)?;
    let store = state.network(&call.config.name);
    let netns = call.netns.clone().map(|path| {
        // Where the main plugin made no namespace, its path still tells the dead from the living.
        let identity = host.container(&path).ok().map(|netns| netns.identity());
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
        labels: pod::labels(call)?,
        ports: pod::ports(call)?,
        pool: None,
    };
    let leased = lease::acquire(host, call, &store, draft, &source)?;
    let (routes, dns) = source.settings();
    let record = leased.acquired.record();
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

fn detach(call: &Call, host: &dyn Host) -> Result<Answer, CniError> {
    let key = call.attachment()?;
    if let Some(state) = del::open(call, host)?
        && let Some(record) = del::recorded(&state, &key)?
    {
        forget(host, &state, &record, "del")?;
    }
    Ok(Answer::Silent)
}

/// Ends the lease of an attachment that has nothing but addresses, unless it has another one by now;
/// `reason` goes into the audit log.
///
/// # Errors
/// What the store refused.
pub fn release(
    host: &dyn Host,
    state: &StateDir,
    record: &AttachmentRecord,
    reason: &str,
) -> Result<(), CniError> {
    Ok(forget(host, state, record, reason)?)
}

fn forget(
    host: &dyn Host,
    state: &StateDir,
    record: &AttachmentRecord,
    reason: &str,
) -> Result<(), Failure> {
    if let Some(mut store) = state.network(&record.key.network).lock_existing()? {
        lease::release(host, &mut store, record, reason)?;
    }
    Ok(())
}

fn check(call: &Call, host: &dyn Host) -> Result<Answer, CniError> {
    let key = call.attachment()?;
    let previous = call.config.required_prev_result()?;
    let state = del::open(call, host)?;
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

fn collect(call: &Call, host: &dyn Host) -> Result<Answer, CniError> {
    let Some(state) = del::open(call, host)? else {
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
        if let Err(error) = forget(host, &state, &one.record, &reason) {
            failures.push(format!("{}: {error}", one.record.key));
        }
    }
    gc::report(&failures)
}

fn serves(call: &Call, host: &dyn Host) -> Result<Answer, CniError> {
    let source = Source::parse(call)?;
    let state = del::open(call, host)?;
    status::addresses_serve(call, host, state.as_deref(), Some(&source))?;
    Ok(Answer::Silent)
}
