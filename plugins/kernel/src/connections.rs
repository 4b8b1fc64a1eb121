//! Tracked connections of every protocol (`linux/netfilter/nfnetlink_conntrack.h`), and how some are forgotten.

use std::net::IpAddr;

use bulkhead_model::Family;

use crate::attributes::{address, attribute, find, nest};
use crate::error::{ObserveError, Refusal};
use crate::nfnetlink::{NFGENMSG, request};
use crate::place::Kernel;

const IPCTNL_MSG_CT_GET: u16 = 0x0101;
const IPCTNL_MSG_CT_DELETE: u16 = 0x0102;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMP_CODE: u16 = 6;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;
const CTA_PROTO_ICMPV6_CODE: u16 = 9;
const ANY_FAMILY: u8 = 0;
/// How many requests are made before they are sent, each some 100 bytes.
const REQUESTS_AT_ONCE: usize = 4096;

/// A connection, with its ends' real addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connection {
    /// Who began it.
    pub source: IpAddr,
    /// Who answers, behind any translation.
    pub destination: IpAddr,
    /// IANA's number of the protocol.
    pub protocol: u8,
    /// The port of who answers, behind any translation; 0 for protocols without ports.
    pub port: u16,
    /// Type and code of ICMP or `ICMPv6`.
    pub icmp: Option<(u8, u8)>,
    /// What the kernel knows it by: its first tuple as it was told, and its zone.
    tuple: Vec<u8>,
    zone: Option<Vec<u8>>,
}

impl Kernel {
    /// Every connection that `is_wanted`, of the two ends' addresses.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn connections(
        &mut self,
        mut is_wanted: impl FnMut(IpAddr, IpAddr) -> bool,
    ) -> Result<Vec<Connection>, ObserveError> {
        self.surveyed("connections", |place| {
            let mut found = Vec::new();
            let all = request(IPCTNL_MSG_CT_GET, ANY_FAMILY, []);
            place.netfilter()?.each(all, |message| {
                if let Some(ends) = Ends::of(&message.body)
                    && is_wanted(ends.source, ends.destination)
                {
                    found.extend(ends.connection());
                }
            })?;
            Ok(found)
        })
    }

    /// Forgets connections: what comes of them next is a first packet. One that is gone already is forgotten. Which of
    /// them are not forgotten, and why.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn forget(
        &mut self,
        connections: &[Connection],
    ) -> Result<Vec<(usize, Refusal)>, ObserveError> {
        self.surveyed("connections", |place| {
            let socket = place.netfilter()?;
            let mut refusals = Vec::new();
            for (piece, some) in connections.chunks(REQUESTS_AT_ONCE).enumerate() {
                let refused = socket.batch_quietly(some.iter().map(deletion).collect())?;
                let is_there = refused
                    .into_iter()
                    .filter(|(_, refusal)| refusal.errno != rustix::io::Errno::NOENT);
                refusals.extend(is_there.map(|(nth, it)| (piece * REQUESTS_AT_ONCE + nth, it)));
            }
            Ok(refusals)
        })
    }
}

fn deletion(connection: &Connection) -> Vec<u8> {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    let family = match Family::of(connection.source) {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    };
    let zone = connection.zone.as_ref();
    let zone = zone.map(|zone| attribute(CTA_ZONE, zone));
    let tuple = nest(CTA_TUPLE_ORIG, [connection.tuple.clone()]);
    request(
        IPCTNL_MSG_CT_DELETE,
        family,
        [tuple].into_iter().chain(zone),
    )
}

/// A message about a connection, as far as it is needed to see whether it is wanted.
struct Ends<'m> {
    source: IpAddr,
    destination: IpAddr,
    original: &'m [u8],
    reply: &'m [u8],
    zone: Option<&'m [u8]>,
}

impl<'m> Ends<'m> {
    fn of(body: &'m [u8]) -> Option<Self> {
        let attributes = body.get(NFGENMSG..)?;
        let original = find(attributes, CTA_TUPLE_ORIG)?;
        let reply = find(attributes, CTA_TUPLE_REPLY)?;
        Some(Self {
            source: sender(original)?,
            destination: sender(reply)?,
            original,
            reply,
            zone: find(attributes, CTA_ZONE),
        })
    }

    fn connection(&self) -> Option<Connection> {
        let original = find(self.original, CTA_TUPLE_PROTO)?;
        let reply = find(self.reply, CTA_TUPLE_PROTO)?;
        let byte = |kind| find(original, kind).and_then(|value| value.first().copied());
        let port = find(reply, CTA_PROTO_SRC_PORT);
        let port = port.and_then(|value| Some(u16::from_be_bytes(value.try_into().ok()?)));
        let kind = byte(CTA_PROTO_ICMP_TYPE).or_else(|| byte(CTA_PROTO_ICMPV6_TYPE));
        let code = byte(CTA_PROTO_ICMP_CODE).or_else(|| byte(CTA_PROTO_ICMPV6_CODE));
        Some(Connection {
            source: self.source,
            destination: self.destination,
            protocol: byte(CTA_PROTO_NUM)?,
            port: port.unwrap_or(0),
            icmp: kind.zip(code),
            tuple: self.original.to_vec(),
            zone: self.zone.map(<[u8]>::to_vec),
        })
    }
}

/// A tuple's source (`CTA_IP_V4_SRC`, `CTA_IP_V6_SRC`).
fn sender(tuple: &[u8]) -> Option<IpAddr> {
    let ip = find(tuple, CTA_TUPLE_IP)?;
    find(ip, 1).or_else(|| find(ip, 3)).and_then(address)
}
