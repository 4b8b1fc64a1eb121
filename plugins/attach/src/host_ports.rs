//! Whose a host port is. The attachments' records say it; an index beside them finds the holder of a
//! port without reading them all. It is locked from the look until the claim, so that of two ADDs that
//! ask for one port the second is refused before it has leased anything.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bulkhead_cni::{CniError, Code};
use bulkhead_ipam::{AttachmentRecord, HostPortIndex, PortClaim, StateDir};
use bulkhead_kernel::Kernel;
use bulkhead_model::{AttachmentKey, Family, HostPort, IfName, PortMapping};
use bulkhead_plan::{Forward, Want};

use crate::converge::{Before, converge};
use crate::failure::Failure;

/// The index, locked, and what an ADD may have of what was asked for.
pub(crate) struct Reservation {
    index: HostPortIndex,
    /// What is free, or the attachment's already.
    pub(crate) mine: Vec<PortMapping>,
    /// What another attachment of the same container has: runtimes ask for a container's host ports
    /// on each of its networks. The first one keeps them, and the next inherits.
    inherited: Vec<PortMapping>,
}

impl Reservation {
    /// Looks for holders of `wanted`; `None` if nothing is wanted.
    ///
    /// # Errors
    /// A host port is another container's; the text names it.
    pub(crate) fn of(
        state: &StateDir,
        key: &AttachmentKey,
        wanted: &[PortMapping],
    ) -> Result<Option<Self>, Failure> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut reservation = Self {
            index: state.host_ports()?,
            mine: Vec::new(),
            inherited: Vec::new(),
        };
        for mapping in wanted {
            match holder(&reservation.index, state, key, &mapping.host)? {
                None => reservation.mine.push(*mapping),
                Some(claim) if claim.holder.container == key.container => {
                    reservation.inherited.push(*mapping);
                }
                Some(claim) => return Err(taken(&mapping.host, &claim).into()),
            }
        }
        Ok(Some(reservation))
    }

    /// Claims what the record lists.
    pub(crate) fn claim(self, record: &AttachmentRecord) -> Result<(), Failure> {
        self.index.claim(&record.key, &record.names.host_ports)?;
        self.index.wait(&record.key, &self.inherited)?;
        Ok(())
    }
}

fn taken(wanted: &HostPort, claim: &PortClaim) -> CniError {
    let text = format!(
        "host port {wanted} is taken: {} belongs to attachment {}; choose another, or delete that one (`bulkhead ports ls`)",
        claim.mapping.host, claim.holder
    );
    CniError::new(Code::HOST_PORT_TAKEN, text)
}

/// The claim of another attachment that overlaps `host` and whose record bears it out.
fn holder(
    index: &HostPortIndex,
    state: &StateDir,
    key: &AttachmentKey,
    host: &HostPort,
) -> Result<Option<PortClaim>, Failure> {
    for claim in index.overlapping(host)? {
        if claim.holder != *key && stands(state, &claim)? {
            return Ok(Some(claim));
        }
    }
    Ok(None)
}

fn stands(state: &StateDir, claim: &PortClaim) -> Result<bool, Failure> {
    let Some(known) = state.network(&claim.holder.network).read()? else {
        return Ok(false);
    };
    let record = known.find(&claim.holder.id())?;
    let listed = |record: &AttachmentRecord| {
        let mut mappings = record.names.host_ports.iter();
        mappings.any(|mapping| mapping.host == claim.mapping.host)
    };
    // An earlier boot's attachments went with it.
    Ok(record.is_some_and(|record| listed(&record) && known.is_of_this_boot(&record)))
}

/// Gives up what `record` lists. Another attachment of the container that asked for the same inherits
/// it, in its record and in the kernel.
pub(crate) fn give_up(
    kernel: &mut Kernel,
    state: &StateDir,
    record: &AttachmentRecord,
) -> Result<(), Failure> {
    if record.names.host_ports.is_empty() {
        return Ok(());
    }
    let index = state.host_ports()?;
    let heirs = index.give_up(&record.key, &record.names.host_ports)?;
    let mut by_holder: BTreeMap<AttachmentKey, Vec<PortMapping>> = BTreeMap::new();
    for claim in heirs {
        by_holder
            .entry(claim.holder)
            .or_default()
            .push(claim.mapping);
    }
    for (heir, mappings) in by_holder {
        inherit(kernel, state, &index, &heir, &mappings)?;
    }
    Ok(())
}

fn inherit(
    kernel: &mut Kernel,
    state: &StateDir,
    index: &HostPortIndex,
    heir: &AttachmentKey,
    mappings: &[PortMapping],
) -> Result<(), Failure> {
    let Some(mut store) = state.network(&heir.network).lock_existing()? else {
        return Ok(());
    };
    let Some(record) = store.find(&heir.id())? else {
        return Ok(());
    };
    let mut all = record.names.host_ports;
    // A third attachment waits on where a second one has the port by now.
    let (mine, later): (Vec<_>, Vec<_>) = mappings.iter().copied().partition(|mapping| {
        index
            .overlapping(&mapping.host)
            .is_ok_and(|held| held.is_empty())
    });
    all.extend(mine);
    let Some(record) = store.set_host_ports(&heir.id(), all)? else {
        return Ok(());
    };
    drop(store);
    index.claim(heir, &record.names.host_ports)?;
    index.wait(heir, &later)?;
    let mut want = Want::HostPorts {
        link: record.names.bridge.or(record.names.port),
        forwards: recorded(&record),
    };
    converge(kernel, &mut want, |_, _, _| Ok(Before::Apply))?;
    Ok(())
}

/// Where a recorded attachment's host ports lead.
pub(crate) fn recorded(record: &AttachmentRecord) -> Vec<Forward> {
    let addresses: Vec<_> = record
        .addresses
        .iter()
        .map(|leased| leased.address.address())
        .collect();
    let owner = record.names.port.unwrap_or_else(|| record.id().port());
    let mappings = record.names.host_ports.iter();
    mappings
        .flat_map(|mapping| forwards(mapping, &addresses, owner))
        .collect()
}

/// Where `mappings` lead: to the container's first address of each family they are open on.
///
/// # Errors
/// Code 7 if one leads nowhere.
pub(crate) fn leading(
    mappings: &[PortMapping],
    addresses: &[IpAddr],
    owner: IfName,
) -> Result<Vec<Forward>, CniError> {
    let mut all = Vec::new();
    for mapping in mappings {
        let before = all.len();
        all.extend(forwards(mapping, addresses, owner));
        if all.len() == before {
            let text = format!(
                "portMappings: {mapping} leads nowhere, the container has no address of that family"
            );
            return Err(CniError::invalid_config(text));
        }
    }
    Ok(all)
}

fn forwards(mapping: &PortMapping, addresses: &[IpAddr], owner: IfName) -> Vec<Forward> {
    let first = |family| {
        let mut of_family = addresses.iter().filter(|a| Family::of(**a) == family);
        of_family.next().copied()
    };
    let families = [Family::V4, Family::V6];
    let open = families
        .into_iter()
        .filter(|family| mapping.host.address.has_family(*family));
    open.filter_map(first)
        .map(|address| Forward {
            host: mapping.host,
            to: SocketAddr::new(address, mapping.container_port.get()),
            owner,
        })
        .collect()
}
