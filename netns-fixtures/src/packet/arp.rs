//! ARP over Ethernet and IPv4 (RFC 826, RFC 5227).

use std::net::Ipv4Addr;

use super::bytes::Reader;
use super::{BROADCAST, Frame, MacOctets, PacketError};

/// Hardware type Ethernet, protocol type IPv4, their address lengths.
const HEAD: [u8; 6] = [0, 1, 0x08, 0, 6, 4];

/// The operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ArpOp {
    /// 1
    Request,
    /// 2
    Reply,
    /// Any other number.
    Other(u16),
}

/// An ARP message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arp {
    /// The operation.
    pub op: ArpOp,
    /// The sender's claimed MAC.
    pub sender_mac: MacOctets,
    /// The sender's claimed address; 0.0.0.0 in a probe.
    pub sender_ip: Ipv4Addr,
    /// The target's MAC; zero in a request.
    pub target_mac: MacOctets,
    /// The target's address.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// A broadcast request: who has `target`?
    #[must_use]
    pub fn request(mac: MacOctets, sender: Ipv4Addr, target: Ipv4Addr) -> Frame {
        let arp = Self {
            op: ArpOp::Request,
            sender_mac: mac,
            sender_ip: sender,
            target_mac: [0; 6],
            target_ip: target,
        };
        Frame::new(mac, BROADCAST, arp)
    }

    /// A unicast reply to `to`: `sender` is at `mac`.
    #[must_use]
    pub fn reply(mac: MacOctets, sender: Ipv4Addr, to_mac: MacOctets, to: Ipv4Addr) -> Frame {
        let arp = Self {
            op: ArpOp::Reply,
            sender_mac: mac,
            sender_ip: sender,
            target_mac: to_mac,
            target_ip: to,
        };
        Frame::new(mac, to_mac, arp)
    }

    /// A gratuitous announcement of `address` (RFC 5227 §3: a request for the own address).
    #[must_use]
    pub fn announcement(mac: MacOctets, address: Ipv4Addr) -> Frame {
        Self::request(mac, address, address)
    }

    /// Whether sender and target address are the same: an announcement, as request or reply.
    #[must_use]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let op: u16 = match self.op {
            ArpOp::Request => 1,
            ArpOp::Reply => 2,
            ArpOp::Other(op) => op,
        };
        let mut out = HEAD.to_vec();
        out.extend(op.to_be_bytes());
        out.extend(self.sender_mac);
        out.extend(self.sender_ip.octets());
        out.extend(self.target_mac);
        out.extend(self.target_ip.octets());
        out
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new("ARP", bytes);
        let head: [u8; 6] = reader.array()?;
        if head != HEAD {
            let value = head
                .iter()
                .fold(0, |value, octet| value << 8 | u64::from(*octet));
            return Err(reader.field("hardware and protocol type", value));
        }
        Ok(Self {
            op: match reader.u16()? {
                1 => ArpOp::Request,
                2 => ArpOp::Reply,
                op => ArpOp::Other(op),
            },
            sender_mac: reader.array()?,
            sender_ip: reader.array::<4>()?.into(),
            target_mac: reader.array()?,
            target_ip: reader.array::<4>()?.into(),
        })
    }
}
