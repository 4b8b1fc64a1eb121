//! UDP flows through nfnetlink (`linux/netfilter/nfnetlink_conntrack.h`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use bulkhead_model::Family;
use bulkhead_plan::Flow;
use rustix::io::Errno;

use crate::attributes::{address, attribute, find, nest};
use crate::error::{NetlinkError, Refusal};
use crate::local::is_local;
use crate::nfnetlink::{NFGENMSG, request};
use crate::place::{Place, PlaceError};
use crate::routes::FAMILIES;
use crate::socket::{Message, Socket};

/// Messages of subsystem `NFNL_SUBSYS_CTNETLINK`.
const IPCTNL_MSG_CT_GET: u16 = 0x0101;
const IPCTNL_MSG_CT_DELETE: u16 = 0x0102;
const IPCTNL_MSG_CT_GET_STATS: u16 = 0x0105;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_TUPLE_ZONE: u16 = 3;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// Bits of `CTA_FILTER_ORIG_FLAGS`: which parts of the tuple must match (`CTA_FILTER_F_*`,
/// `net/netfilter/nf_internals.h`).
const BY_PROTOCOL: u32 = 1 << 3;
const BY_DESTINATION_PORT: u32 = 1 << 5;
const ANY_FAMILY: u8 = 0;
const UDP: u8 = 17;
/// Up to here one listing of all flows takes less than two that are filtered: each goes through every
/// bucket of the node's hash table, 11 ms for the usual 262,144.
const FEW: u32 = 1000;
/// Acknowledgements wait in the receive buffer until the batch is sent.
const DELETIONS_AT_ONCE: usize = 128;

/// UDP flows of the default zone to the namespace's own addresses and these ports. A kernel without
/// connection tracking has none.
pub(crate) fn observe(
    place: &mut Place,
    ports: &BTreeSet<u16>,
) -> Result<BTreeSet<Flow>, PlaceError> {
    let mut flows = BTreeSet::new();
    let mut local = BTreeMap::new();
    for message in list(place.netfilter()?, ports)? {
        let Some(flow) = decode(&message.body) else {
            continue;
        };
        if !ports.contains(&flow.destination.port()) {
            continue;
        }
        let own = match local.get(&flow.destination.ip()) {
            Some(known) => *known,
            None => is_local(place, flow.destination.ip())?,
        };
        local.insert(flow.destination.ip(), own);
        if own {
            flows.insert(flow);
        }
    }
    Ok(flows)
}

/// Which of `wanted` some flow has, of any protocol and zone, on either side of either direction.
pub(crate) fn tracked(
    place: &mut Place,
    wanted: &BTreeSet<IpAddr>,
) -> Result<BTreeSet<IpAddr>, PlaceError> {
    let socket = place.netfilter()?;
    let mut found = BTreeSet::new();
    if wanted.is_empty() || count(socket)? == 0 {
        return Ok(found);
    }
    socket.each(request(IPCTNL_MSG_CT_GET, ANY_FAMILY, []), |message| {
        let attributes = message.body.get(NFGENMSG..).unwrap_or_default();
        for tuple in [CTA_TUPLE_ORIG, CTA_TUPLE_REPLY] {
            let ip = find(attributes, tuple).and_then(|tuple| find(tuple, CTA_TUPLE_IP));
            let ends = ip.into_iter().flat_map(ends);
            found.extend(ends.filter(|end| wanted.contains(end)));
        }
    })?;
    Ok(found)
}

/// Source and destination of a tuple's addresses.
fn ends(ip: &[u8]) -> impl Iterator<Item = IpAddr> {
    let of = |family| {
        let (src, dst) = addresses_of(family);
        [src, dst].map(|kind| find(ip, kind).and_then(address))
    };
    let all = [of(Family::V4), of(Family::V6)];
    all.into_iter().flatten().flatten()
}

/// Every tracked flow, or as few as the kernel can be told to show where there are many.
fn list(socket: &mut Socket, ports: &BTreeSet<u16>) -> Result<Vec<Message>, NetlinkError> {
    let tracked = count(socket)?;
    if tracked == 0 {
        return Ok(Vec::new());
    }
    if tracked > FEW {
        match list_matching(socket, ports) {
            Err(error) if is_unknown(&error) => {}
            listing => return listing,
        }
    }
    socket.list(&request(IPCTNL_MSG_CT_GET, ANY_FAMILY, []))
}

/// Filters came with 5.8, and want a family.
fn list_matching(socket: &mut Socket, ports: &BTreeSet<u16>) -> Result<Vec<Message>, NetlinkError> {
    let mut flows = Vec::new();
    for family in FAMILIES {
        let matching = request(IPCTNL_MSG_CT_GET, number_of(family), filter(ports));
        flows.extend(socket.list(&matching)?);
    }
    Ok(flows)
}

/// How many flows the namespace tracks; none if the kernel does not track any.
fn count(socket: &mut Socket) -> Result<u32, NetlinkError> {
    match socket.get(request(IPCTNL_MSG_CT_GET_STATS, ANY_FAMILY, [])) {
        Ok(answer) => Ok(answer
            .and_then(|message| {
                let attributes = message.body.get(NFGENMSG..)?;
                let entries = find(attributes, CTA_STATS_GLOBAL_ENTRIES)?;
                Some(u32::from_be_bytes(entries.try_into().ok()?))
            })
            .unwrap_or(u32::MAX)),
        Err(error) if is_unknown(&error) => Ok(0),
        Err(error) => Err(error),
    }
}

/// A filter of newer kernels, or the whole subsystem.
fn is_unknown(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(Errno::INVAL | Errno::OPNOTSUPP))
}

/// UDP only, and the port if it is only one.
fn filter(ports: &BTreeSet<u16>) -> [Vec<u8>; 2] {
    let only = ports.first().filter(|_| ports.len() == 1);
    let flags = BY_PROTOCOL | only.map_or(0, |_| BY_DESTINATION_PORT);
    let port = only.map(|port| attribute(CTA_PROTO_DST_PORT, &port.to_be_bytes()));
    let protocol = [attribute(CTA_PROTO_NUM, &[UDP])].into_iter().chain(port);
    [
        nest(CTA_TUPLE_ORIG, [nest(CTA_TUPLE_PROTO, protocol)]),
        nest(
            CTA_FILTER,
            [attribute(CTA_FILTER_ORIG_FLAGS, &flags.to_ne_bytes())],
        ),
    ]
}

/// Forgets flows; one that is gone already is forgotten. The answers in their order.
pub(crate) fn delete(
    socket: &mut Socket,
    flows: &[Flow],
) -> Result<Vec<Result<(), Refusal>>, NetlinkError> {
    let mut answers = Vec::with_capacity(flows.len());
    for some in flows.chunks(DELETIONS_AT_ONCE) {
        let requests: Vec<_> = some.iter().map(deletion).collect();
        answers.extend(socket.batch(&requests)?);
    }
    for answer in &mut answers {
        if matches!(answer, Err(refusal) if refusal.errno == Errno::NOENT) {
            *answer = Ok(());
        }
    }
    Ok(answers)
}

fn deletion(flow: &Flow) -> Vec<u8> {
    let (source, destination) = (flow.source, flow.destination);
    let family = Family::of(destination.ip());
    let (src, dst) = addresses_of(family);
    let ip = [(src, source), (dst, destination)].map(|(kind, end)| match end.ip() {
        IpAddr::V4(v4) => attribute(kind, &v4.octets()),
        IpAddr::V6(v6) => attribute(kind, &v6.octets()),
    });
    let port = |kind, end: SocketAddr| attribute(kind, &end.port().to_be_bytes());
    let protocol = [
        attribute(CTA_PROTO_NUM, &[UDP]),
        port(CTA_PROTO_SRC_PORT, source),
        port(CTA_PROTO_DST_PORT, destination),
    ];
    let tuple = [nest(CTA_TUPLE_IP, ip), nest(CTA_TUPLE_PROTO, protocol)];
    request(
        IPCTNL_MSG_CT_DELETE,
        number_of(family),
        [nest(CTA_TUPLE_ORIG, tuple)],
    )
}

const fn number_of(family: Family) -> u8 {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

/// The attributes with a tuple's source and destination (`CTA_IP_*`).
const fn addresses_of(family: Family) -> (u16, u16) {
    match family {
        Family::V4 => (1, 2),
        Family::V6 => (3, 4),
    }
}

/// `None` if it is no UDP flow of the default zone.
fn decode(body: &[u8]) -> Option<Flow> {
    let attributes = body.get(NFGENMSG..)?;
    if find(attributes, CTA_ZONE).is_some() {
        return None;
    }
    let (source, destination) = tuple(find(attributes, CTA_TUPLE_ORIG)?)?;
    let (answerer, _) = tuple(find(attributes, CTA_TUPLE_REPLY)?)?;
    Some(Flow {
        source,
        destination,
        answerer,
    })
}

/// Who sends and to whom; zones are shown where they are not the default.
fn tuple(tuple: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (ip, protocol) = (find(tuple, CTA_TUPLE_IP)?, find(tuple, CTA_TUPLE_PROTO)?);
    if find(protocol, CTA_PROTO_NUM)? != [UDP] || find(tuple, CTA_TUPLE_ZONE).is_some() {
        return None;
    }
    let family = match find(ip, addresses_of(Family::V4).0) {
        Some(_) => Family::V4,
        None => Family::V6,
    };
    let (src, dst) = addresses_of(family);
    let end = |at, port| {
        let port = u16::from_be_bytes(find(protocol, port)?.try_into().ok()?);
        Some(SocketAddr::new(address(find(ip, at)?)?, port))
    };
    Some((end(src, CTA_PROTO_SRC_PORT)?, end(dst, CTA_PROTO_DST_PORT)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(protocol: u8, zone: Option<u16>) -> Vec<u8> {
        let tuple = |kind, source: [u8; 4], destination: [u8; 4], ports: [u16; 2]| {
            let [from, to] = ports.map(u16::to_be_bytes);
            let ip = [attribute(1, &source), attribute(2, &destination)];
            let ports = [
                attribute(CTA_PROTO_NUM, &[protocol]),
                attribute(CTA_PROTO_SRC_PORT, &from),
                attribute(CTA_PROTO_DST_PORT, &to),
            ];
            nest(kind, [nest(CTA_TUPLE_IP, ip), nest(CTA_TUPLE_PROTO, ports)])
        };
        let zone = zone.map(|zone| attribute(CTA_ZONE, &zone.to_be_bytes()));
        let parts = [
            vec![2, 0, 0, 0],
            tuple(1, [192, 0, 2, 9], [192, 0, 2, 1], [4000, 53]),
            tuple(2, [10, 1, 0, 2], [192, 0, 2, 9], [5353, 4000]),
            zone.unwrap_or_default(),
        ];
        parts.concat()
    }

    #[test]
    fn who_answers_is_who_the_reply_is_from() {
        let flow = Flow {
            source: ([192, 0, 2, 9], 4000).into(),
            destination: ([192, 0, 2, 1], 53).into(),
            answerer: ([10, 1, 0, 2], 5353).into(),
        };
        assert_eq!(decode(&answer(UDP, None)), Some(flow));
    }

    #[test]
    fn another_protocol_or_zone_and_a_cut_answer_are_no_flow() {
        assert_eq!(decode(&answer(6, None)), None);
        assert_eq!(decode(&answer(UDP, Some(5))), None);
        let whole = answer(UDP, None);
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "{len}");
        }
    }
}
