//! Where the packets in question go: by the node's routes, and by what the node lets those take that come in by a
//! container's link.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::wire::admin::{Leads, SeenAttachment, SeenWay};
use bulkhead_kernel::{Entering, Kernel, ObserveError, Way};
use bulkhead_model::IfName;
use bulkhead_policy::Packet;

pub(super) fn seen_way(way: &Way) -> SeenWay {
    SeenWay {
        to: way.to,
        leads: of(way.leads),
    }
}

fn of(leads: bulkhead_kernel::Leads) -> Leads {
    match leads {
        bulkhead_kernel::Leads::Out { link, gateway } => Leads::Out { link, gateway },
        bulkhead_kernel::Leads::Here => Leads::Here,
        bulkhead_kernel::Leads::Nowhere => Leads::Nowhere,
    }
}

/// The ways to `addresses`; those of the packets that come in by the link of one of `attachments` as these take them.
pub(super) fn ways(
    kernel: &mut Kernel,
    addresses: &BTreeSet<IpAddr>,
    packets: &[Packet],
    attachments: &[SeenAttachment],
) -> Result<Vec<SeenWay>, ObserveError> {
    let mut ways: Vec<SeenWay> = kernel.ways(addresses)?.iter().map(seen_way).collect();
    let entering: Vec<Entering> = packets
        .iter()
        .filter_map(|packet| entering(packet, attachments))
        .collect();
    let taken = kernel.ways_in(&entering)?;
    for (Entering { from, by, to }, leads) in entering.into_iter().zip(taken) {
        let Some(leads) = leads.map(of) else {
            continue;
        };
        for way in ways.iter_mut().filter(|way| way.to.contains(to)) {
            way.leads = match (&leads, &way.leads) {
                (Leads::Nowhere, Leads::Out { .. } | Leads::Here) => Leads::Barred { from, by },
                _ => leads.clone(),
            };
        }
    }
    Ok(ways)
}

/// How a packet comes to be routed; `None` if it comes from elsewhere, or by the bridge that its destination is on too,
/// which is not asked for a route where neighbours send each other frames.
fn entering(packet: &Packet, attachments: &[SeenAttachment]) -> Option<Entering> {
    let by = link_of(attachments, packet.source)?;
    let is_routed = link_of(attachments, packet.destination) != Some(by);
    is_routed.then_some(Entering {
        from: packet.source,
        by,
        to: packet.destination,
    })
}

fn link_of(attachments: &[SeenAttachment], address: IpAddr) -> Option<IfName> {
    let has = |record: &&AttachmentRecord| {
        let mut leased = record.addresses.iter();
        leased.any(|leased| leased.address.address() == address)
    };
    let mut records = attachments.iter().map(|seen| &seen.record);
    let names = &records.find(has)?.names;
    names.bridge.or(names.port)
}
