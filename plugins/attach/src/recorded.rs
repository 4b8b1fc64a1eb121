//! A recorded attachment, looked at and mended outside a runtime's call: by an operator. The same
//! want, the same plan, the same way of applying it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bulkhead_cni::{Call, CniError, CniResult, Code};
use bulkhead_ipam::{AttachmentRecord, HostChange, Pool, StateDir};
use bulkhead_kernel::{Deletion, Identity, Kernel, Netns};
use bulkhead_model::{Mac, Mtu};
use bulkhead_plan::{Attached, Interface, Op, Plan, Want, World, plan, scope};

use crate::converge::{ConvergeError, Start};
use crate::failure::Failure;
use crate::{Grant, Host, Network, Origin, OverlayEnd, add, del, end, overlays, segment};

/// What should be, what is, and what leads from this to that.
#[derive(Debug)]
pub struct Inspection {
    /// What the attachment was granted.
    pub grant: Grant,
    /// What should be.
    pub want: Attached,
    /// What is, as far as the want claims it.
    pub world: World,
    /// What is not as it should be, by the commands that would mend it if nobody else's were to be;
    /// empty if all is.
    pub drift: Plan,
    /// What mends it after what was said to be done before: attachments share bridges, tables and
    /// sysctls. A table that has to be loaded whole comes with what every other attachment has in it.
    pub remainder: Plan,
}

/// An attachment, told whole.
#[derive(Debug)]
pub struct Explanation {
    /// What should be and what is.
    pub inspection: Inspection,
    /// Where each value comes from.
    pub origins: Vec<Origin>,
    /// What ADD and DEL would do.
    pub rehearsal: Rehearsal,
}

/// What ADD and DEL of an attachment would do.
#[derive(Debug)]
pub struct Rehearsal {
    /// ADD, if nothing of it stood.
    pub add: Plan,
    /// DEL, from what stands; of the network's last attachment with what it shared.
    pub del: Plan,
    /// What was changed on the node, with the values found before.
    pub changes: Vec<HostChange>,
}

/// Whether plugins come after ours in the network's list. They may have changed the interface's MAC
/// and MTU, which only the result of ADD tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Successors {
    /// None does.
    None,
    /// Some do.
    Some,
}

/// How far is looked and mended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extent {
    /// The attachment alone: somebody else keeps what nodes have together.
    Attachment,
    /// The node's end of its network too, as far as the attachment's record says what it should be.
    WithEnd,
}

/// Compares an attachment with its want, and its network's end. `call` carries the configuration of its network and, if one
/// is known, the result of its ADD; `done` is what will have been done before.
///
/// # Errors
/// The configuration's; code 4 if the namespace is gone; code 102 if something is in the way.
pub fn inspect<N: Network>(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
    successors: Successors,
    done: &[Op],
) -> Result<Inspection, CniError> {
    let network = N::parse(call)?;
    let mut kernel = Kernel::new(Deletion::Blocking);
    let mut attachment = Attachment::open(&network, &mut kernel, call, state, record, successors)?;
    let mut inspection = attachment.inspect(Some(state), done)?;
    if let Some(end) = end::compare(&mut kernel, state, record)? {
        let rest = end.rest(|world| after(world, done))?;
        inspection.drift = both(&inspection.drift, &end.drift);
        inspection.remainder = both(&inspection.remainder, &rest);
    }
    Ok(inspection)
}

fn both(one: &Plan, other: &Plan) -> Plan {
    Plan::new([one.ops(), other.ops()].concat())
}

/// Whether an attachment is as it should be: as [`inspect`], which costs more where it is not.
///
/// # Errors
/// As [`inspect`].
pub fn is_sound<N: Network>(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
    successors: Successors,
    extent: Extent,
) -> Result<bool, CniError> {
    let network = N::parse(call)?;
    let mut kernel = Kernel::new(Deletion::Blocking);
    let mut attachment = Attachment::open(&network, &mut kernel, call, state, record, successors)?;
    let (_, drift) = attachment.compare()?;
    if extent == Extent::Attachment || !drift.is_empty() {
        return Ok(drift.is_empty());
    }
    let end = end::compare(&mut kernel, state, record)?;
    Ok(end.is_none_or(|end| end.drift.is_empty()))
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
    successors: Successors,
    extent: Extent,
) -> Result<Plan, CniError> {
    let network = N::parse(call)?;
    let mut kernel = Kernel::new(Deletion::Blocking);
    let mut attachment = Attachment::open(&network, &mut kernel, call, state, record, successors)?;
    // What plugins chained later made of it stays.
    attachment.compare()?;
    let mut done = Vec::new();
    let Attachment { kernel, want, .. } = &mut attachment;
    add::stand(
        Start::Anything,
        kernel,
        state,
        &record.key,
        want.clone(),
        |plan| {
            done.extend_from_slice(plan.ops());
        },
    )?;
    if extent == Extent::WithEnd {
        end::stand(kernel, state, record, &mut done)?;
    }
    Ok(Plan::new(done))
}

/// Has a live attachment follow its network's end on this node, whose MTU is another than when it was made:
/// the port, and the interface unless somebody has given that a smaller one. What was done, and the record
/// that says so; `None` if it is not the attachment's record any more. Nobody may call ADD or DEL meanwhile.
///
/// # Errors
/// As [`repair`], and what the state directory refuses. What was done stands, and is done again.
pub fn catch_up<N: Network>(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
    end: &OverlayEnd,
) -> Result<Option<(Plan, AttachmentRecord)>, CniError> {
    let network = N::parse(call)?;
    let before = OverlayEnd::of_names(&record.names).map(|before| before.mtu);
    let mut following = record.clone();
    following.names.other = overlays::followed(&record.names, end);
    let mut kernel = Kernel::new(Deletion::Blocking);
    let (known, others) = (&following, Successors::Some);
    let mut attachment = Attachment::open(&network, &mut kernel, call, state, known, others)?;
    attachment.compare()?;
    let interface = &mut attachment.want.interface;
    let standing = interface.mtu;
    let is_own = |mtu: &Mtu| Some(*mtu) == before || *mtu > end.mtu;
    interface.mtu = Some(standing.filter(|mtu| !is_own(mtu)).unwrap_or(end.mtu));
    let mut done = Vec::new();
    let Attachment { kernel, want, .. } = &mut attachment;
    let planned = |plan: &Plan| done.extend_from_slice(plan.ops());
    add::stand(
        Start::Anything,
        kernel,
        state,
        &record.key,
        want.clone(),
        planned,
    )?;
    let recorded = noted(state, record, following.names.other)?;
    Ok(recorded.map(|record| (Plan::new(done), record)))
}

/// Records other names for an attachment, if this is its record still.
fn noted(
    state: &StateDir,
    record: &AttachmentRecord,
    other: BTreeMap<String, String>,
) -> Result<Option<AttachmentRecord>, Failure> {
    let Some(mut store) = state.network(&record.key.network).lock_existing()? else {
        return Ok(None);
    };
    let now = store.find(&record.id())?.map(|record| record.sequence);
    if now != Some(record.sequence) {
        return Ok(None);
    }
    Ok(store.set_other_names(&record.id(), other)?)
}

/// Tells an attachment whole: what there is, where it comes from, what ADD and DEL would do. Nothing
/// is changed.
///
/// # Errors
/// As [`inspect`].
pub fn explain<N: Network>(
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
    successors: Successors,
) -> Result<Explanation, CniError> {
    let network = N::parse(call)?;
    let mut kernel = Kernel::new(Deletion::Blocking);
    let mut attachment = Attachment::open(&network, &mut kernel, call, state, record, successors)?;
    let inspection = attachment.inspect(Some(state), &[])?;
    let rehearsal = attachment.rehearse(state, record)?;
    Ok(Explanation {
        origins: network.origins(call, &inspection, &rehearsal),
        inspection,
        rehearsal,
    })
}

/// Detaches a dead attachment as DEL would; `reason` goes into the audit log.
///
/// # Errors
/// What the kernel or the store refused.
pub fn collect<N: Network>(
    host: &mut dyn Host,
    call: &Call,
    state: &StateDir,
    record: &AttachmentRecord,
    reason: &str,
) -> Result<(), CniError> {
    let network = N::parse(call).ok();
    let (network, key) = (network.as_ref(), &record.key);
    Ok(del::detach::<N>(
        host,
        network,
        call,
        Some(state),
        key,
        reason,
    )?)
}

/// The world once these operations are done.
fn after(world: &World, done: &[Op]) -> World {
    let mut world = world.clone();
    for op in done {
        // What is about an object that the attachment does not look at is refused, and of no account.
        let _ = world.run(&unbound(op));
    }
    world
}

/// The operation on a ruleset of any generation: each attachment was looked at in another.
fn unbound(op: &Op) -> Op {
    match op {
        Op::Nft {
            ns, transaction, ..
        } => Op::Nft {
            ns: ns.clone(),
            transaction: transaction.clone(),
            generation: None,
        },
        other => other.clone(),
    }
}

/// An attachment's namespace, open, and what is wanted of the kernel for it.
pub(crate) struct Attachment<'k> {
    kernel: &'k mut Kernel,
    grant: Grant,
    want: Attached,
    claims: Claims,
}

/// What is claimed of the interface where nothing says what plugins chained later made of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Claims {
    /// MAC and MTU.
    Both,
    /// The MAC; the MTU stays as it stands.
    Mac,
    /// Neither; both stay as they stand.
    Neither,
}

impl<'k> Attachment<'k> {
    fn open<N: Network>(
        network: &N,
        kernel: &'k mut Kernel,
        call: &Call,
        state: &StateDir,
        record: &AttachmentRecord,
        successors: Successors,
    ) -> Result<Self, Failure> {
        refuse_other_bridge(network, record)?;
        let known = state.network(&record.key.network).read()?;
        let pool = known.as_ref().and_then(|known| known.pool());
        let (path, netns) = open_recorded(record)?;
        let previous = call.config.prev_result()?;
        let mut attachment = Self::of(
            network,
            kernel,
            record.clone(),
            pool,
            (path, netns),
            previous.as_ref(),
        )?;
        attachment.claims = match (successors, &previous) {
            (Successors::None, _) => Claims::Both,
            (Successors::Some, Some(_)) => attachment.claims,
            (Successors::Some, None) => Claims::Neither,
        };
        Ok(attachment)
    }

    pub(crate) fn of<N: Network>(
        network: &N,
        kernel: &'k mut Kernel,
        record: AttachmentRecord,
        pool: Option<&Pool>,
        (path, netns): (&Path, Netns),
        previous: Option<&CniResult>,
    ) -> Result<Self, Failure> {
        let grant = Grant::of(network, record, pool, path)?;
        let mut want = network.want(&grant)?;
        let former = overlays::former_mtus(&grant.names);
        let claims = previous.map_or(Claims::Both, |previous| {
            claim_previous(&mut want, previous, &former)
        });
        segment::admit(kernel, &want.node)?;
        kernel.admit(grant.container.clone(), netns);
        Ok(Self {
            kernel,
            grant,
            want,
            claims,
        })
    }

    /// What is, and what leads from it to what should be.
    fn compare(&mut self) -> Result<(World, Plan), Failure> {
        let world = self.kernel.observe(&scope(&self.wanted()))?;
        self.leave_as_it_stands(&world);
        let drift = plan(&world, &self.wanted()).map_err(ConvergeError::from)?;
        Ok((world, drift))
    }

    fn wanted(&self) -> Want {
        Want::Attached(Box::new(self.want.clone()))
    }

    /// `done` is what will have been done before. With `state`, a table that has to be loaded whole
    /// comes with what every other attachment has in it.
    pub(crate) fn inspect(
        &mut self,
        state: Option<&StateDir>,
        done: &[Op],
    ) -> Result<Inspection, Failure> {
        let (mut world, drift) = self.compare()?;
        let remainder = loop {
            let rest = plan(&after(&world, done), &self.wanted()).map_err(ConvergeError::from)?;
            match state {
                Some(state) if add::complete(&mut self.want, &rest, state, &self.grant.key)? => {
                    world = self.kernel.observe(&scope(&self.wanted()))?;
                }
                _ => break rest,
            }
        };
        Ok(Inspection {
            grant: self.grant.clone(),
            want: self.want.clone(),
            world,
            drift,
            remainder,
        })
    }

    fn leave_as_it_stands(&mut self, world: &World) {
        let interface = &mut self.want.interface;
        let Some(found) = world.space(&interface.ns).links.get(&interface.name) else {
            return;
        };
        if self.claims == Claims::Neither {
            claim_mac(interface, found.mac.unwrap_or(interface.mac));
        }
        if self.claims != Claims::Both {
            interface.mtu = Some(found.mtu);
        }
    }

    fn rehearse(
        &mut self,
        state: &StateDir,
        record: &AttachmentRecord,
    ) -> Result<Rehearsal, Failure> {
        let bridge = self.want.place.bridge().map(|bridge| bridge.name);
        let gone = del::everything(state, record, bridge)?;
        let gone = Want::Detached(Box::new(gone));
        let want = Want::Attached(Box::new(self.want.clone()));
        let seen = scope(&want).and(scope(&gone));
        let mut world = self.kernel.observe(&seen)?;
        let del = plan(&world, &gone).map_err(ConvergeError::from)?;
        // The model is the kernel's: what it refuses was not there, and is not there afterwards.
        let _ = world.apply(&del);
        let add = plan(&world, &want).map_err(ConvergeError::from)?;
        let recorded = state.host_changes()?;
        let changes = recorded.all().map(|(change, _)| change.clone());
        Ok(Rehearsal {
            add,
            del,
            changes: changes.collect(),
        })
    }
}

/// DEL takes down the bridge that is recorded: on another one an attachment would leave it behind.
fn refuse_other_bridge<N: Network>(network: &N, record: &AttachmentRecord) -> Result<(), CniError> {
    let (Some(found), Some(recorded)) = (network.bridge(), record.names.bridge) else {
        return Ok(());
    };
    if found == recorded {
        return Ok(());
    }
    Err(CniError::invalid_config(format!(
        "bridge: {found} is not {recorded}, on which attachment {} was made: put it back, or make the container anew",
        record.key
    )))
}

/// The recorded namespace, at its path: nobody else's who has the path by now.
fn open_recorded(record: &AttachmentRecord) -> Result<(&Path, Netns), Failure> {
    let refused = |text| CniError::new(Code::INVALID_ENVIRONMENT, text);
    let Some(recorded) = &record.netns else {
        let text = format!("attachment {} is recorded without a namespace", record.key);
        return Err(refused(text).into());
    };
    let opened = Netns::open(&recorded.path)?;
    if !is(opened.identity(), recorded) {
        let path = recorded.path.display();
        let text = format!(
            "network namespace {path} is not the one that attachment {} was added in",
            record.key
        );
        return Err(refused(text).into());
    }
    Ok((&recorded.path, opened))
}

/// Whether a namespace is the recorded one, as far as the record says which that was.
fn is(found: Identity, recorded: &bulkhead_ipam::Netns) -> bool {
    recorded.device.is_none_or(|device| device == found.dev)
        && recorded.inode.is_none_or(|inode| inode == found.ino)
}

/// The kernel forgets an interface's neighbours, permanent ones too, when its MAC is changed
/// (`neigh_changeaddr`, `net/core/neighbour.c`): who changed it had that coming.
fn claim_mac(interface: &mut Interface, mac: Mac) {
    if mac != interface.mac {
        interface.neighbours.clear();
    }
    interface.mac = mac;
}

/// MAC and MTU are what the runtime was told, since plugins chained later may have changed them.
/// Results before version 1.1.0 tell no MTU. An attachment that has followed its network's end had `former` ones:
/// who was told of one of them was told of the port's, and a plugin's is no more than the port's is by now.
fn claim_previous(want: &mut Attached, previous: &CniResult, former: &BTreeSet<Mtu>) -> Claims {
    let name = want.interface.name;
    let inside = |interface: &&bulkhead_cni::Interface| {
        interface.sandbox.as_deref().is_some_and(|s| !s.is_empty())
            && interface.name == name.as_str()
    };
    let Some(interface) = previous.interfaces.iter().find(inside) else {
        return Claims::Both;
    };
    if let Some(mac) = interface.unicast_mac() {
        claim_mac(&mut want.interface, mac);
    }
    let Some(mtu) = interface.mtu.and_then(Mtu::new) else {
        return Claims::Mac;
    };
    want.interface.mtu = match want.port.mtu {
        Some(port) if former.contains(&mtu) => Some(port),
        Some(port) if !former.is_empty() => Some(mtu.min(port)),
        _ => Some(mtu),
    };
    Claims::Both
}
