//! CHECK: the plan from the kernel to the recorded want must be empty; else it is the drift. MAC,
//! MTU and addresses come from prevResult, since plugins chained later may have changed them.

use bulkhead_cni::{Answer, Call, CniError, CniResult, Code, exec};
use bulkhead_ipam::{AttachmentRecord, Ipam};
use bulkhead_kernel::Netns;
use bulkhead_model::Mtu;
use bulkhead_plan::{Attached, Ns, Want, plan, scope};

use crate::converge::ConvergeError;
use crate::failure::Failure;
use crate::{Grant, Network, del};

pub(crate) fn check<N: Network>(call: &Call) -> Result<Answer, CniError> {
    let network = N::parse(call)?;
    let previous = call.config.required_prev_result()?;
    verify(&network, call, &previous)?;
    Ok(Answer::Silent)
}

fn verify<N: Network>(network: &N, call: &Call, previous: &CniResult) -> Result<(), Failure> {
    let key = call.attachment()?;
    let state = del::open(call)?;
    let known = state
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
    let netns = Netns::open(path)?;
    let ipam = record.ipam.clone();
    let grant = Grant::of(network, record, pool.as_ref(), path)?;
    let mut want = network.want(&grant)?;
    claim_previous(&mut want, previous);
    let want = Want::Attached(Box::new(want));
    let mut kernel = crate::kernel().with(Ns::Container(path.display().to_string()), netns);
    let world = kernel.observe(&scope(&want))?;
    let mend = plan(&world, &want).map_err(ConvergeError::from)?;
    if !mend.is_empty() {
        let error = drift(format!("attachment {key} is not as ADD left it"))
            .with_details(mend.to_string().trim_end());
        return Err(error.into());
    }
    if let Ipam::Delegated { plugin } = ipam {
        exec::delegate_check(call, &plugin)?;
    }
    Ok(())
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

fn claim_previous(want: &mut Attached, previous: &CniResult) {
    let name = want.interface.name;
    let inside = |interface: &&bulkhead_cni::Interface| {
        interface.sandbox.as_deref().is_some_and(|s| !s.is_empty())
            && interface.name == name.as_str()
    };
    let Some(interface) = previous.interfaces.iter().find(inside) else {
        return;
    };
    if let Some(mac) = interface.unicast_mac() {
        want.interface.mac = mac;
    }
    want.interface.mtu = interface.mtu.and_then(Mtu::new).or(want.interface.mtu);
}
