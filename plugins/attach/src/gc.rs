//! GC: every attachment of this network on this node that the runtime does not list is detached as
//! DEL would. It goes on past failures and reports all of them.

use bulkhead_cni::{Answer, Call, CniError, Code, ValidAttachments, Verb, exec};
use bulkhead_ipam::{AttachmentRecord, StateDir, Valid};
use bulkhead_model::{ContainerId, IfName};

use crate::addressing::OWN_IPAM;
use crate::failure::Failure;
use crate::{Host, Network, del};

pub(crate) fn gc<N: Network>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    let network = N::parse(call).ok();
    let state = del::open(call, host)?;
    let mut failures = Vec::new();
    if let Some(state) = &state {
        collect::<N>(network.as_ref(), call, host, state, &mut failures)?;
    }
    let delegate = call
        .config
        .ipam
        .as_ref()
        .filter(|ipam| ipam.plugin_type != OWN_IPAM);
    if let Some(ipam) = delegate
        && let Err(error) = exec::delegate(host.delegates(), call, &ipam.plugin_type, Verb::Gc)
    {
        failures.push(error.to_string());
    }
    report(&failures)
}

/// The runtime's list, as the store reads it; what it did not give is not an empty list.
pub(crate) fn listed(call: &Call) -> Option<Vec<(ContainerId, IfName)>> {
    match &call.config.valid_attachments {
        ValidAttachments::Absent => None,
        ValidAttachments::Null => Some(Vec::new()),
        ValidAttachments::List(list) => Some(
            list.iter()
                .map(|one| (one.container.clone(), one.interface))
                .collect(),
        ),
    }
}

pub(crate) fn report(failures: &[String]) -> Result<Answer, CniError> {
    if failures.is_empty() {
        return Ok(Answer::Silent);
    }
    let text = format!(
        "garbage collection left {} attachments; run it again",
        failures.len()
    );
    Err(CniError::new(Code::IO_FAILURE, text).with_details(failures.join("; ")))
}

fn collect<N: Network>(
    network: Option<&N>,
    call: &Call,
    host: &mut dyn Host,
    state: &StateDir,
    failures: &mut Vec<String>,
) -> Result<(), Failure> {
    let Some(known) = state.network(&call.config.name).read()? else {
        return Ok(());
    };
    let listed = listed(call);
    let valid = listed.as_deref().map_or(Valid::Absent, Valid::Listed);
    for stale in known.stale(&valid)? {
        let key = &stale.record.key;
        let _turn = host.under_way().map(|calls| calls.begin(key));
        // A call that was under way may have attached it anew.
        let now = del::recorded(state, key)?.map(|record| record.sequence);
        if now != Some(stale.record.sequence) {
            continue;
        }
        let reason = format!("gc: {}", stale.reason);
        let call = &naming(call, &stale.record);
        if let Err(error) = del::detach::<N>(host, network, call, Some(state), key, &reason) {
            failures.push(format!("{key}: {error}"));
        }
    }
    Ok(())
}

/// The call as an IPAM plugin needs it to release one attachment's addresses: GC names none.
fn naming(call: &Call, record: &AttachmentRecord) -> Call {
    let key = &record.key;
    let netns = record
        .netns
        .as_ref()
        .map(|netns| netns.path.clone())
        .unwrap_or_default();
    let environment = call
        .environment
        .clone()
        .with("CNI_CONTAINERID", key.container.as_str())
        .with("CNI_IFNAME", key.interface.as_str())
        .with("CNI_NETNS", netns);
    Call {
        environment,
        ..call.clone()
    }
}
