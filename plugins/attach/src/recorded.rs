//! A recorded attachment, looked at and mended outside a runtime's call: by an operator. The same
//! want, the same plan, the same way of applying it.

use std::path::Path;

use bulkhead_cni::{Call, CniError, CniResult};
use bulkhead_ipam::{AttachmentRecord, Pool, StateDir};
use bulkhead_kernel::{Deletion, Kernel, Netns};
use bulkhead_model::Mtu;
use bulkhead_plan::{Attached, Plan, Want, World, plan, scope};

use crate::converge::ConvergeError;
use crate::failure::Failure;
use crate::{Grant, Network, Origin, add, del};

/// What should be, what is, and what leads from this to that.
#[derive(Debug)]
pub struct Inspection {
    /// What the attachment was granted.
    pub grant: Grant,
    /// What should be.
    pub want: Attached,
    /// What is, as far as the want claims it.
    pub world: World,
    /// What would mend it; empty if nothing has to be.
    pub drift: Plan,
}

/// What ADD and DEL of an attachment would do.
#[derive(Debug)]
pub struct Rehearsal {
    /// ADD, if nothing of it stood.
    pub add: Plan,
    /// DEL, from what stands; of the network's last attachment with what it shared.
    pub del: Plan,
}

/// Compares an attachment with its want. `call` carries the configuration of its network and, if one
/// is known, the result of its ADD: plugins chained later may have changed MAC and MTU.
///
/// # Errors
/// The configuration's; code 4 if the namespace is gone; code 102 if something is in the way.
pub fn inspect<N: Network>(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
) -> Result<Inspection, CniError> {
    let network = N::parse(call)?;
    let mut attachment = Attachment::open(&network, call, state, record)?;
    Ok(attachment.inspect()?)
}

/// Mends an attachment and returns what was done. Nobody may call ADD or DEL meanwhile: `state` is
/// opened for [`Access::Exclusive`](bulkhead_ipam::Access).
///
/// # Errors
/// As [`inspect`], and what the kernel refused.
pub fn repair<N: Network>(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
) -> Result<Plan, CniError> {
    let network = N::parse(call)?;
    let mut attachment = Attachment::open(&network, call, state, record)?;
    let mut done = Vec::new();
    let Attachment { kernel, want, .. } = &mut attachment;
    add::stand(kernel, state, &record.key, want.clone(), |plan| {
        done.extend_from_slice(plan.ops());
    })?;
    Ok(Plan::new(done))
}

/// Plans ADD and DEL of an attachment and applies neither.
///
/// # Errors
/// As [`inspect`].
pub fn rehearse<N: Network>(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
) -> Result<Rehearsal, CniError> {
    let network = N::parse(call)?;
    let mut attachment = Attachment::open(&network, call, state, record)?;
    Ok(attachment.rehearse(state, record)?)
}

/// Where each value of an attachment comes from.
///
/// # Errors
/// As [`inspect`].
pub fn origins<N: Network>(call: &Call, inspection: &Inspection) -> Result<Vec<Origin>, CniError> {
    let network = N::parse(call)?;
    Ok(network.origins(call, &inspection.grant, &inspection.want))
}

/// Detaches a dead attachment as DEL would; `reason` goes into the audit log.
///
/// # Errors
/// What the kernel or the store refused.
pub fn collect<N: Network>(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
    reason: &str,
) -> Result<(), CniError> {
    let network = N::parse(call).ok();
    let mut kernel = Kernel::new(Deletion::Blocking);
    let (network, key) = (network.as_ref(), &record.key);
    Ok(del::detach::<N>(
        &mut kernel,
        network,
        call,
        Some(state),
        key,
        reason,
    )?)
}

/// An attachment's namespace, open, and what is wanted of the kernel for it.
pub(crate) struct Attachment {
    kernel: Kernel,
    grant: Grant,
    want: Attached,
}

impl Attachment {
    fn open<N: Network>(
        network: &N,
        call: &Call,
        state: &StateDir,
        record: &AttachmentRecord,
    ) -> Result<Self, Failure> {
        let known = state.network(&record.key.network).read()?;
        let pool = known.as_ref().and_then(|known| known.pool());
        let netns = record.netns.as_ref().map(|netns| netns.path.clone());
        let previous = call.config.prev_result()?;
        Self::of(
            network,
            Kernel::new(Deletion::Blocking),
            record.clone(),
            pool,
            &netns.unwrap_or_default(),
            previous.as_ref(),
        )
    }

    pub(crate) fn of<N: Network>(
        network: &N,
        kernel: Kernel,
        record: AttachmentRecord,
        pool: Option<&Pool>,
        path: &Path,
        previous: Option<&CniResult>,
    ) -> Result<Self, Failure> {
        let netns = Netns::open(path)?;
        let grant = Grant::of(network, record, pool, path)?;
        let mut want = network.want(&grant)?;
        if let Some(previous) = previous {
            claim_previous(&mut want, previous);
        }
        let kernel = kernel.with(grant.container.clone(), netns);
        Ok(Self {
            kernel,
            grant,
            want,
        })
    }

    pub(crate) fn inspect(&mut self) -> Result<Inspection, Failure> {
        let want = Want::Attached(Box::new(self.want.clone()));
        let world = self.kernel.observe(&scope(&want))?;
        let drift = plan(&world, &want).map_err(ConvergeError::from)?;
        Ok(Inspection {
            grant: self.grant.clone(),
            want: self.want.clone(),
            world,
            drift,
        })
    }

    fn rehearse(
        &mut self,
        state: &StateDir,
        record: &AttachmentRecord,
    ) -> Result<Rehearsal, Failure> {
        let bridge = Some(self.want.bridge.name);
        let gone = del::everything(state, record, bridge)?;
        let gone = Want::Detached(Box::new(gone));
        let want = Want::Attached(Box::new(self.want.clone()));
        let seen = scope(&want).and(scope(&gone));
        let mut world = self.kernel.observe(&seen)?;
        let del = plan(&world, &gone).map_err(ConvergeError::from)?;
        // The model is the kernel's: what it refuses was not there, and is not there afterwards.
        let _ = world.apply(&del);
        let add = plan(&world, &want).map_err(ConvergeError::from)?;
        Ok(Rehearsal { add, del })
    }
}

/// MAC and MTU are what the runtime was told, since plugins chained later may have changed them.
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
