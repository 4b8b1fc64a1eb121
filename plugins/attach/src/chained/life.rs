//! A guard from its record to the kernel, and out of both.

use std::collections::BTreeSet;
use std::path::Path;

use bulkhead_ipam::{Access, AttachmentRecord, Guards, LockedGuards, OpenError, StateDir};
use bulkhead_kernel::Kernel;
use bulkhead_model::{AttachmentKey, IfName};
use bulkhead_plan::{
    Filter, Guarded, Hook, Known, Ns, Op, Plan, Restore, Unguarded, Want, filter_table,
    segment_table,
};

use super::neighbours;
use crate::add::{other_records, others_at};
use crate::claims;
use crate::converge::{Before, converge};
use crate::failure::Failure;
use crate::guard::{GuardSwitch, named, of_names, recorded_binding, shared};

/// What is wanted of the kernel.
pub(super) fn want(record: &AttachmentRecord, hook: Hook, known: Vec<Known>) -> Want {
    let binding = recorded_binding(record).expect("a guarded port is recorded by its name");
    let guard = of_names(&record.names);
    let judged = guard.switch == GuardSwitch::On;
    Want::Guarded(Box::new(Guarded {
        filter: Filter {
            binding,
            others: Vec::new(),
            hook,
        },
        groups: judged.then(|| guard.budgets.groups()),
        known,
    }))
}

/// Makes the kernel judge the port as recorded; what was done.
pub(super) fn stand(
    kernel: &mut Kernel,
    state: &Path,
    record: &AttachmentRecord,
    hook: Hook,
) -> Result<Plan, Failure> {
    let mut done = Vec::new();
    let known = neighbours::known(kernel, record);
    converge(kernel, &mut want(record, hook, known), |_, plan, want| {
        if complete(want, plan, state, &record.key)? {
            return Ok(Before::LookAgain);
        }
        done.extend_from_slice(plan.ops());
        Ok(Before::Apply)
    })?;
    Ok(Plan::new(done))
}

/// A plan that loads the table whole must bring what every other port has in it. Whether the want has
/// more in it now.
pub(super) fn complete(
    want: &mut Want,
    plan: &Plan,
    state: &Path,
    key: &AttachmentKey,
) -> Result<bool, Failure> {
    let Want::Guarded(want) = want else {
        return Ok(false);
    };
    let tables = [filter_table(), segment_table()];
    let loads = |op: &Op| match op {
        Op::Nft { transaction, .. } => tables.iter().any(|table| transaction.loads(table)),
        _ => false,
    };
    let want = &mut want.filter;
    if !plan.ops().iter().any(loads) || !want.others.is_empty() {
        return Ok(false);
    }
    want.others = if let Some(state) = look_beside(state)? {
        others_at(&Ns::Host, &other_records(&state, key)?, &state)?
    } else {
        let guarded = Guards::of(state).of_this_boot()?.into_iter();
        let others = guarded.filter(|record| record.key != *key);
        others.filter_map(|it| recorded_binding(&it)).collect()
    };
    Ok(!want.others.is_empty())
}

/// The state directory beside whoever has it; `None` if no main plugin of ours ever used it.
fn look_beside(path: &Path) -> Result<Option<StateDir>, Failure> {
    match StateDir::open(path, Access::Look) {
        Ok(state) => Ok(Some(state)),
        Err(OpenError::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Takes the port out of the kernel's table, and then the record away. A port whose name somebody else
/// has by now is left to them.
pub(super) fn end(
    kernel: &mut Kernel,
    state: &Path,
    guards: &LockedGuards,
    record: &AttachmentRecord,
) -> Result<(), Failure> {
    if let Some(port) = record.names.port {
        let holder = guards.holder(port)?;
        if holder.is_none_or(|holder| holder.key == record.key) {
            let known = neighbours::known(kernel, record);
            let mut want = gone(state, guards, record, port, known)?;
            converge(kernel, &mut want, |_, _, _| Ok(Before::Apply))?;
        }
    }
    Ok(guards.remove(record)?)
}

/// What is wanted of the kernel once the port is judged no more.
pub(super) fn gone(
    state: &Path,
    guards: &Guards,
    record: &AttachmentRecord,
    port: IfName,
    known: Vec<Known>,
) -> Result<Want, Failure> {
    let mut binding = recorded_binding(record);
    if let Some(binding) = &mut binding {
        binding.around.shared = shared(record, || Ok(guards.all()?))?;
    }
    let (restore, last_on_bridge) = alone(state, guards, record)?;
    Ok(Want::Unguarded(Box::new(Unguarded {
        port,
        mac: record.names.port_mac,
        binding,
        known,
        restore,
        last_on_bridge,
        node_is_empty: is_last(state, guards, record)?,
    })))
}

/// The gateways and blocks that no other record has named, and whether none is of a port on the same bridge.
fn alone(
    state: &Path,
    guards: &Guards,
    record: &AttachmentRecord,
) -> Result<(Vec<Restore>, bool), Failure> {
    let mut mine: BTreeSet<_> = named(record).collect();
    if mine.is_empty() {
        return Ok((Vec::new(), true));
    }
    let mut last = true;
    for other in guards.all()?.iter().filter(|it| it.key != record.key) {
        last &= other.names.bridge != record.names.bridge;
        let theirs: BTreeSet<_> = named(other).collect();
        mine.retain(|one| !theirs.contains(one));
    }
    if let Some(state) = look_beside(state)? {
        let changes = state.host_changes()?;
        let needed = changes
            .all()
            .filter_map(|(change, _)| claims::restore(change));
        let needed: BTreeSet<_> = needed.collect();
        mine.retain(|one| !needed.contains(one));
    }
    Ok((mine.into_iter().collect(), last))
}

/// Whether nobody else on the node has a port in the table.
fn is_last(state: &Path, guards: &Guards, record: &AttachmentRecord) -> Result<bool, Failure> {
    if !guards.is_empty_but(&record.id())? {
        return Ok(false);
    }
    let Some(state) = look_beside(state)? else {
        return Ok(true);
    };
    for network in state.networks()? {
        let Some(known) = state.network(&network).read()? else {
            continue;
        };
        let has_port = |record: &AttachmentRecord| record.names.port.is_some();
        if known.live_count() > 0 && known.attachments()?.iter().any(has_port) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Port, MAC and addresses, for a person.
pub(super) fn told(record: &AttachmentRecord) -> String {
    let names = &record.names;
    let port = names.port.map_or_else(String::new, |port| port.to_string());
    let mac = names.interface_mac;
    let mac = mac.map_or_else(String::new, |mac| mac.to_string());
    let addresses = record.addresses.iter();
    let addresses: Vec<_> = addresses.map(|one| one.address.to_string()).collect();
    format!("{port} {mac} {}", addresses.join(" "))
        .trim_end()
        .to_owned()
}
