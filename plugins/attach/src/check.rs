//! CHECK: the plan from the kernel to the recorded want must be empty; else it is the drift. MAC,
//! MTU and addresses come from prevResult, since plugins chained later may have changed them.

use bulkhead_cni::{Answer, Call, CniError, CniResult, Code, Verb, exec};
use bulkhead_ipam::{AttachmentRecord, Ipam, StateDir};
use bulkhead_model::NetworkName;

use crate::failure::Failure;
use crate::recorded::Attachment;
use crate::{Host, Network, OverlayEnd, del, end};

pub(crate) fn check<N: Network>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    let network = N::parse(call)?;
    let previous = call.config.required_prev_result()?;
    verify(&network, call, host, &previous)?;
    Ok(Answer::Silent)
}

fn verify<N: Network>(
    network: &N,
    call: &Call,
    host: &mut dyn Host,
    previous: &CniResult,
) -> Result<(), Failure> {
    let key = call.attachment()?;
    let state = del::open(call, host)?;
    let known = state
        .as_ref()
        .map(|state| state.network(&key.network).read())
        .transpose()?
        .flatten();
    let pool = known.as_ref().and_then(|known| known.pool().cloned());
    let record = known
        .map(|known| known.find(&key.id()))
        .transpose()?
        .flatten();
    let Some(record) = record else {
        return Err(drift(format!("attachment {key} is not recorded; run ADD again")).into());
    };
    leases_stand(&record, previous)?;
    let path = call.netns.as_deref().unwrap_or(std::path::Path::new(""));
    let (kept, ipam, pool) = (record.clone(), record.ipam.clone(), pool.as_ref());
    let netns = (path, host.container(path)?);
    let kernel = host.kernel();
    kernel.look_afresh();
    let mut attachment = Attachment::of(network, kernel, record, pool, netns, Some(previous))?;
    let mend = attachment.inspect(state.as_deref(), &[])?.remainder;
    if !mend.is_empty() {
        let error = drift(format!("attachment {key} is not as ADD left it"))
            .with_details(mend.to_string().trim_end());
        return Err(error.into());
    }
    end_stands(host, &key.network, state.as_deref(), &kept)?;
    if let Ipam::Delegated { plugin } = ipam {
        exec::delegate(host.delegates(), call, &plugin, Verb::Check)?;
    }
    Ok(())
}

/// The node's end of a network that nodes have together is as they agreed.
fn end_stands(
    host: &mut dyn Host,
    network: &NetworkName,
    state: Option<&StateDir>,
    record: &AttachmentRecord,
) -> Result<(), Failure> {
    let lines = match (host.overlays(), state) {
        _ if OverlayEnd::of_names(&record.names).is_none() => return Ok(()),
        (Some(overlays), _) => overlays.differs(network)?,
        (None, Some(state)) => {
            let compared = end::compare(host.kernel(), state, record)?;
            let ops = compared.map(|compared| compared.drift).unwrap_or_default();
            ops.ops().iter().map(ToString::to_string).collect()
        }
        (None, None) => return Ok(()),
    };
    if lines.is_empty() {
        return Ok(());
    }
    let text = format!("this node's end of network {network} is not as its nodes agreed");
    Err(drift(text).with_details(lines.join("\n")).into())
}

fn drift(text: String) -> CniError {
    CniError::new(Code::DRIFT, text)
}

/// Every address the runtime was told of is still leased to the attachment.
fn leases_stand(record: &AttachmentRecord, previous: &CniResult) -> Result<(), Failure> {
    let ours = |ip: &&bulkhead_cni::Ip| {
        let interface = ip.interface.and_then(|nth| previous.interfaces.get(nth));
        interface.is_none_or(|interface| interface.name == record.key.interface.as_str())
    };
    for ip in previous.ips.iter().filter(ours) {
        if !record
            .addresses
            .iter()
            .any(|leased| leased.address.address() == ip.address.address())
        {
            let text = format!(
                "address {} of prevResult is not leased to attachment {}",
                ip.address, record.key
            );
            return Err(drift(text).into());
        }
    }
    Ok(())
}
