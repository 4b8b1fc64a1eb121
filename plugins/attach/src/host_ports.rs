//! Whose a host port is. The attachments' records say it; an index beside them finds the holder of a
//! port without reading them all. It is locked from the look until the claim, so that of two ADDs that
//! ask for one port the second is refused before it has leased anything.

use std::net::{IpAddr, SocketAddr};

use bulkhead_cni::{CniError, Code};
use bulkhead_ipam::{AttachmentRecord, HostPortIndex, Names, PortClaim, StateDir};
use bulkhead_model::{AttachmentKey, Family, HostAddress, HostPort, IfName, PortMapping};
use bulkhead_plan::{Forward, Localnet};

use crate::failure::Failure;

/// Locks the index if there is something to claim.
pub(crate) fn index(state: &StateDir, names: &Names) -> Result<Option<HostPortIndex>, Failure> {
    let any = !names.host_ports.is_empty();
    Ok(any.then(|| state.host_ports()).transpose()?)
}

/// The mappings that `key` may have. Runtimes ask for a container's host ports on each of its
/// networks: the first one keeps them, the others leave them out.
///
/// # Errors
/// A host port is another container's; the text names it.
pub(crate) fn available(
    index: &HostPortIndex,
    state: &StateDir,
    key: &AttachmentKey,
    wanted: &[PortMapping],
) -> Result<Vec<PortMapping>, Failure> {
    let mut mine = Vec::new();
    for mapping in wanted {
        match holder(index, state, key, &mapping.host)? {
            None => mine.push(*mapping),
            Some(claim) if claim.holder.container == key.container => {}
            Some(claim) => return Err(taken(&mapping.host, &claim).into()),
        }
    }
    Ok(mine)
}

fn taken(wanted: &HostPort, claim: &PortClaim) -> CniError {
    let text = format!(
        "host port {wanted} is taken: {} belongs to attachment {}; choose another, or delete that one (`bulkhead ports ls`)",
        claim.host, claim.holder
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
        mappings.any(|mapping| mapping.host == claim.host)
    };
    // An earlier boot's attachments went with it.
    Ok(record.is_some_and(|record| listed(&record) && known.is_of_this_boot(&record)))
}

/// Claims what `record` lists.
pub(crate) fn claim(index: &HostPortIndex, record: &AttachmentRecord) -> Result<(), Failure> {
    Ok(index.claim(&record.key, &hosts(record))?)
}

/// Gives up what `record` lists.
pub(crate) fn give_up(state: &StateDir, record: &AttachmentRecord) -> Result<(), Failure> {
    if let Some(index) = index(state, &record.names)? {
        index.give_up(&record.key, &hosts(record))?;
    }
    Ok(())
}

fn hosts(record: &AttachmentRecord) -> Vec<HostPort> {
    let mappings = record.names.host_ports.iter();
    mappings.map(|mapping| mapping.host).collect()
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

/// What host ports need of the bridge for 127.0.0.1.
#[must_use]
pub fn localnet(forwards: &[Forward]) -> Localnet {
    let of_host = |forward: &Forward| match forward.host.address {
        HostAddress::One(address) if address.is_loopback() => Localnet::Required,
        HostAddress::Any | HostAddress::Every(_) if forward.to.is_ipv4() => Localnet::Served,
        _ => Localnet::Unclaimed,
    };
    let needs: Vec<_> = forwards.iter().map(of_host).collect();
    [Localnet::Required, Localnet::Served]
        .into_iter()
        .find(|need| needs.contains(need))
        .unwrap_or_default()
}
