//! A plugin that guards the port another main plugin made. It makes nothing in the kernel but what judges
//! that port, and gives no address: so it needs no daemon, and works the same whether one answers.

mod life;
mod neighbours;
mod state;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::path::Path;

use bulkhead_cni::{Answer, Call, CniError, CniResult, Code, Verb};
use bulkhead_ipam::{AttachmentRecord, Boot, Guards, Ipam, LeasedAddress, Names, Netns};
use bulkhead_kernel::{Deletion, Identity, Kernel};
use bulkhead_model::{IfName, Mac, Prefix};
use bulkhead_plan::{Hook, Ns, Plan, Scope, World, plan, scope};

use crate::converge::ConvergeError;
use crate::failure::Failure;
pub use neighbours::Gateway;
pub use state::{GuardedState, guard_state};

use crate::guard::{GUARD, note_blocks, note_node, without_node};
use crate::{GuardConfig, Host, gc, pod, state_dir, status};

/// A plugin that is chained behind the one that made the port.
pub trait Chained: Sized {
    /// One line for a person who runs the plugin by hand.
    const ABOUT: &'static str;

    /// Reads the configuration of a call.
    ///
    /// # Errors
    /// Code 7, naming key, value and what it should be.
    fn parse(call: &Call) -> Result<Self, CniError>;

    /// What the port may send besides what its addresses say.
    fn guard(&self) -> &GuardConfig;

    /// What of the network's addresses nobody but guarded ports of this node holds.
    fn blocks(&self) -> &BTreeSet<Prefix>;

    /// How the filter is bound to ports, if it has to be loaded.
    fn hook(&self) -> Hook;

    /// The port, and whose it is: from what the plugins before answered, and the links that it names in
    /// `world`; `container` is the container's namespace there.
    ///
    /// # Errors
    /// Code 7 if there is no port, or what was answered contradicts the kernel or the configuration.
    fn port(
        &self,
        interface: IfName,
        previous: &CniResult,
        world: &World,
        container: &Ns,
    ) -> Result<Guarded, CniError>;
}

/// A port of another plugin's, and whose it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Guarded {
    /// The port.
    pub port: IfName,
    /// Its own MAC, by which it is known from a later one of the same name.
    pub port_mac: Option<Mac>,
    /// The bridge it is on, if it is on one.
    pub bridge: Option<IfName>,
    /// The MACs by which the node takes in what the port sends.
    pub node_macs: BTreeSet<Mac>,
    /// The node's link-local addresses there.
    pub node_links: BTreeSet<Ipv6Addr>,
    /// The node as the container's gateway, if it is one.
    pub gateway: Option<Gateway>,
    /// The interface's MAC.
    pub mac: Mac,
    /// Its addresses, with the gateways named beside them; empty where nobody gave it any.
    pub addresses: Vec<LeasedAddress>,
}

pub(crate) fn serve<C: Chained>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    match call.verb {
        Verb::Add => add::<C>(call, host),
        Verb::Del => Ok(del(call, host)?),
        Verb::Check => check::<C>(call, host),
        Verb::Gc => collect(call, host),
        Verb::Status => {
            C::parse(call)?;
            status::kernel_serves(host.kernel())?;
            Ok(Answer::Silent)
        }
        Verb::Version => Ok(Answer::Silent),
    }
}

fn add<C: Chained>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    let plugin = C::parse(call)?;
    let Some(previous) = call.config.prev_result()? else {
        return Err(CniError::invalid_config(
            "prevResult: missing, and a port is guarded that another plugin made: put bulkhead-guard behind the main plugin in \"plugins\" of the network",
        ));
    };
    guard(&plugin, call, host, &previous)?;
    Ok(Answer::Result(previous))
}

fn guard<C: Chained>(
    plugin: &C,
    call: &Call,
    host: &mut dyn Host,
    previous: &CniResult,
) -> Result<(), Failure> {
    let mut record = look(plugin, call, host, previous)?;
    let path = state_dir(call)?;
    let guards = Guards::of(&path).lock()?;
    let before = guards.find(&record.id())?;
    for other in displaced(&guards, before.as_ref(), &record)? {
        life::end(host.kernel(), &path, &guards, &other)?;
    }
    let known = before.filter(|before| same(before, &record));
    let is_new = known.is_none();
    match known {
        Some(before) => record = before,
        None => guards.put(&record)?,
    }
    let stood = life::stand(host.kernel(), &path, &record, plugin.hook());
    match stood {
        Err(failure) if is_new => match life::end(host.kernel(), &path, &guards, &record) {
            Ok(()) => Err(failure),
            Err(also) => Err(failure.and(&format!("and undoing it: {also}"))),
        },
        stood => stood.map(drop),
    }
}

/// What is recorded and no more: this attachment's other port, and who had a port of that name before.
fn displaced(
    guards: &Guards,
    before: Option<&AttachmentRecord>,
    record: &AttachmentRecord,
) -> Result<Vec<AttachmentRecord>, Failure> {
    let is_other = |other: &AttachmentRecord| !same(other, record);
    let own = before.cloned().filter(is_other);
    let holder = match record.names.port {
        Some(port) => guards.holder(port)?,
        None => None,
    };
    let holder = holder.filter(|holder| holder.key != record.key);
    Ok(own.into_iter().chain(holder).collect())
}

/// Whether two records are of one port in one container, for all that they say when they were made, and of the
/// node there: its link-local addresses come and go.
fn same(one: &AttachmentRecord, two: &AttachmentRecord) -> bool {
    let timeless = |record: &AttachmentRecord| AttachmentRecord {
        created_at_unix_ms: 0,
        names: without_node(&record.names),
        ..record.clone()
    };
    timeless(one) == timeless(two)
}

/// The record of what the plugins before made, as it stands in the kernel.
fn look<C: Chained>(
    plugin: &C,
    call: &Call,
    host: &mut dyn Host,
    previous: &CniResult,
) -> Result<AttachmentRecord, Failure> {
    let key = call.attachment()?;
    let path = call.netns.as_deref().unwrap_or(Path::new(""));
    let netns = host.container(path)?;
    let (container, identity) = (Ns::Container(path.display().to_string()), netns.identity());
    let kernel = host.kernel();
    kernel.admit(container.clone(), netns);
    let world = kernel.observe(&links_of(previous, key.interface, &container))?;
    let guarded = plugin.port(key.interface, previous, &world, &container)?;
    let boot = Boot::current()?;
    let ipam = match guarded.addresses.as_slice() {
        [] => Ipam::None,
        _ => Ipam::Delegated {
            plugin: "prevResult".to_owned(),
        },
    };
    let mut names = Names {
        port: Some(guarded.port),
        port_mac: guarded.port_mac,
        interface_mac: Some(guarded.mac),
        other: [(GUARD.to_owned(), plugin.guard().to_string())].into(),
        ..Names::default()
    };
    if let Some(gateway) = &guarded.gateway {
        gateway.note(&mut names);
    }
    note_node(&mut names, &guarded.node_macs, &guarded.node_links);
    if !plugin.blocks().is_empty() {
        names.bridge = guarded.bridge;
        note_blocks(&mut names, plugin.blocks());
    }
    Ok(AttachmentRecord {
        key,
        sequence: 0,
        boot_id: boot.id().clone(),
        created_at_unix_ms: boot.now().unix_ms,
        kind: GUARD.to_owned(),
        netns: Some(netns_of(path, identity)),
        names,
        config_digest: String::new(),
        addresses: guarded.addresses,
        ipam,
        pod: pod::of(call),
        labels: pod::labels(call)?,
        ports: pod::ports(call)?,
        pool: None,
    })
}

fn netns_of(path: &Path, identity: Identity) -> Netns {
    Netns {
        path: path.to_owned(),
        device: Some(identity.dev),
        inode: Some(identity.ino),
    }
}

/// The interface, and whatever the result names on the host.
fn links_of(previous: &CniResult, interface: IfName, container: &Ns) -> Scope {
    let mut scope = Scope::default();
    scope.space(container).links.insert(interface);
    let on_host = previous.interfaces.iter();
    let on_host = on_host.filter(|one| one.sandbox.as_deref().is_none_or(str::is_empty));
    let names = on_host.filter_map(|one| one.name.parse::<IfName>().ok());
    let names: BTreeSet<_> = names.collect();
    let host = scope.space(&Ns::Host);
    host.links.extend(&names);
    // Of a bridge's MAC its ports tell whether it is its own.
    host.ports_of.extend(names);
    scope
}

fn del(call: &Call, host: &mut dyn Host) -> Result<Answer, Failure> {
    let (key, path) = (call.attachment()?, state_dir(call)?);
    if let Some(guards) = Guards::of(&path).lock_existing()?
        && let Some(record) = guards.find(&key.id())?
    {
        life::end(host.kernel(), &path, &guards, &record)?;
    }
    Ok(Answer::Silent)
}

fn check<C: Chained>(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    let plugin = C::parse(call)?;
    let previous = call.config.required_prev_result()?;
    let drift = |text: String| CniError::new(Code::DRIFT, text);
    let (key, path) = (call.attachment()?, state_dir(call)?);
    let recorded = Guards::of(&path).find(&key.id()).map_err(Failure::from)?;
    let Some(recorded) = recorded else {
        return Err(drift(format!(
            "attachment {key} is not recorded as guarded; run ADD again"
        )));
    };
    let now = look(&plugin, call, host, &previous)?;
    let told = AttachmentRecord {
        names: Names {
            other: recorded.names.other.clone(),
            // Of account with the blocks alone, which are the recorded ones.
            bridge: recorded.names.bridge.and(now.names.bridge),
            ..now.names.clone()
        },
        pod: recorded.pod.clone(),
        labels: recorded.labels.clone(),
        ports: recorded.ports.clone(),
        ..now
    };
    if !same(&recorded, &told) {
        return Err(drift(format!(
            "attachment {key} is guarded as {}, and prevResult says {}; run ADD again",
            life::told(&recorded),
            life::told(&told)
        )));
    }
    let mend = missing(host.kernel(), &path, &recorded, plugin.hook())?;
    if mend.is_empty() {
        return Ok(Answer::Silent);
    }
    let error = drift(format!("attachment {key} is not guarded as ADD left it"));
    Err(error.with_details(mend.to_string().trim_end()))
}

/// What leads from the kernel to a guard that stands.
fn missing(
    kernel: &mut Kernel,
    state: &Path,
    record: &AttachmentRecord,
    hook: Hook,
) -> Result<Plan, Failure> {
    kernel.look_afresh();
    let mut want = life::want(record, hook, neighbours::known(kernel, record));
    loop {
        let world = kernel.observe(&scope(&want))?;
        let mend = plan(&world, &want).map_err(ConvergeError::from)?;
        if !life::complete(&mut want, &mend, state, &record.key)? {
            return Ok(mend);
        }
    }
}

fn collect(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    let path = state_dir(call)?;
    let listed = gc::listed(call);
    let mut failures = Vec::new();
    for record in Guards::of(&path).all().map_err(Failure::from)? {
        let key = &record.key;
        let named = (key.container.clone(), key.interface);
        let stale = match &listed {
            Some(listed) => !listed.contains(&named),
            None => Guards::of(&path)
                .death(&record)
                .map_err(Failure::from)?
                .is_some(),
        };
        if key.network != call.config.name || !stale {
            continue;
        }
        if let Err(error) = end_recorded(host.kernel(), &path, &record) {
            failures.push(format!("{key}: {error}"));
        }
    }
    gc::report(&failures)
}

/// Takes a guard down that is still the recorded one.
fn end_recorded(
    kernel: &mut Kernel,
    state: &Path,
    record: &AttachmentRecord,
) -> Result<(), Failure> {
    let Some(guards) = Guards::of(state).lock_existing()? else {
        return Ok(());
    };
    match guards.find(&record.id())? {
        Some(found) if found == *record => life::end(kernel, state, &guards, record),
        _ => Ok(()),
    }
}

/// Takes down the guard of a port whose container is dead.
///
/// # Errors
/// What the kernel or the state directory refused.
pub fn end_guard(state: &Path, record: &AttachmentRecord) -> Result<(), CniError> {
    let mut kernel = Kernel::new(Deletion::Blocking);
    Ok(end_recorded(&mut kernel, state, record)?)
}

/// Puts a guard back where it does not stand as recorded; what was done.
///
/// # Errors
/// What the kernel or the state directory refused; code 102 if the port is gone.
pub fn guard_again(state: &Path, record: &AttachmentRecord) -> Result<Plan, CniError> {
    let mut kernel = Kernel::new(Deletion::Blocking);
    if missing(&mut kernel, state, record, Hook::Auto)?.is_empty() {
        return Ok(Plan::default());
    }
    let guards = Guards::of(state).lock_existing().map_err(Failure::from)?;
    let Some(guards) = guards else {
        return Ok(Plan::default());
    };
    match guards.find(&record.id()).map_err(Failure::from)? {
        Some(found) if found == *record => Ok(life::stand(&mut kernel, state, record, Hook::Auto)?),
        _ => Ok(Plan::default()),
    }
}

/// What a guarded port lacks, and what ADD and DEL of its guard would do.
#[derive(Clone, Debug, Default)]
pub struct GuardPlans {
    /// What mends it; empty if it stands as recorded.
    pub drift: Plan,
    /// ADD, if nothing of it stood.
    pub add: Plan,
    /// DEL, from what stands.
    pub del: Plan,
}

/// What mends the guard of a recorded port; empty if it stands. Nothing is changed.
///
/// # Errors
/// What cannot be read; code 102 if the port is gone.
pub fn guard_drift(state: &Path, record: &AttachmentRecord) -> Result<Plan, CniError> {
    let mut kernel = Kernel::new(Deletion::Blocking);
    Ok(missing(&mut kernel, state, record, Hook::Auto)?)
}

/// The guard of a recorded port, told whole. Nothing is changed.
///
/// # Errors
/// As [`guard_drift`].
pub fn explain_guard(state: &Path, record: &AttachmentRecord) -> Result<GuardPlans, CniError> {
    let mut kernel = Kernel::new(Deletion::Blocking);
    let drift = missing(&mut kernel, state, record, Hook::Auto)?;
    Ok(rehearse(&mut kernel, state, record, drift)?)
}

fn rehearse(
    kernel: &mut Kernel,
    state: &Path,
    record: &AttachmentRecord,
    drift: Plan,
) -> Result<GuardPlans, Failure> {
    let Some(port) = record.names.port else {
        return Ok(GuardPlans::default());
    };
    let known = neighbours::known(kernel, record);
    let want = life::want(record, Hook::Auto, known.clone());
    let gone = life::gone(state, &Guards::of(state), record, port, known)?;
    let mut world = kernel.observe(&scope(&want).and(scope(&gone)))?;
    let del = plan(&world, &gone).map_err(ConvergeError::from)?;
    // The model is the kernel's: what it refuses was not there, and is not there afterwards.
    let _ = world.apply(&del);
    let add = plan(&world, &want).map_err(ConvergeError::from)?;
    Ok(GuardPlans { drift, add, del })
}
