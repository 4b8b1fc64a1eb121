//! A judge of frames written from docs/guard.md and the RFCs, and not from the rules: it reads a frame
//! header by header, as a person would with the documents beside, and looks up whom a port may speak
//! for in the bindings themselves. What it says, the rules have to do.
//!
//! Two things it takes as the rules do, since no receiver gets to see the difference: a packet whose
//! version or lengths contradict its bytes has no upper layer, and what it says is looked for in the
//! bytes that are there, behind its end too. Every stack drops such packets.

mod arp;
mod discovery;
mod ip4;
mod ip6;

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::Mac;
use bulkhead_plan::{Binding, Guard, Held, Holds, Identity, Reason, Role};

/// A node: its ports, and what else its rules look at.
pub(crate) struct Node {
    pub(crate) bindings: Vec<Binding>,
    /// Its own addresses, those on its networks among them.
    pub(crate) own: BTreeSet<IpAddr>,
    /// Other nodes' tunnel ends.
    pub(crate) tunnel_ends: BTreeSet<IpAddr>,
}

/// Which budgets a port has spent: of everybody's rate, and of one of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) shared: Shares,
    pub(crate) own: Shares,
}

/// Of the node's time, and of everybody's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shares {
    pub(crate) node: bool,
    pub(crate) all: bool,
}

/// It passes, or is dropped for a reason.
pub(crate) type Sentence = Result<(), Reason>;

const ETHERNET: usize = 14;
const IP6_HEADER: usize = 40;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const ICMP6: u8 = 58;
const VRRP: u8 = 112;
const SCTP: u8 = 132;
/// VXLAN (RFC 7348), as Linux has it, Geneve (RFC 8926), VXLAN-GPE.
const TUNNELS: [u16; 4] = [4789, 8472, 6081, 4790];

/// What the guard says of a frame that a port sends.
pub(crate) fn judge(node: &Node, port: &Binding, frame: &[u8], spent: Spent) -> Sentence {
    let ethertype = u16_at(frame, 12).expect("the frame has an Ethernet header");
    let who = match &port.guard {
        Guard::Off => return Ok(()),
        Guard::Mac(mac) if frame[6..12] == mac.octets() => return Ok(()),
        Guard::Mac(_) => {
            return Err(match ethertype {
                0x0800 => Reason::Source4,
                0x86dd => Reason::Source6,
                0x0806 => Reason::Arp,
                _ => Reason::EtherType,
            });
        }
        Guard::On(identity) => identity,
    };
    let suspect = Suspect {
        node,
        port,
        who,
        frame,
        packet: &frame[ETHERNET..],
        spent,
    };
    match ethertype {
        0x0800 => suspect.ip4(),
        0x86dd => suspect.ip6(),
        0x0806 => suspect.arp(),
        _ => Err(Reason::EtherType),
    }
}

impl Node {
    /// Whether a port or the node holds it (link-local addresses are nobody's business but the link's).
    fn is_held(&self, address: IpAddr) -> bool {
        self.bindings.iter().any(|binding| {
            let around = &binding.around;
            let given = around.granted.contains(&address) || around.gateways.contains(&address);
            let identity = match &binding.guard {
                Guard::On(identity) => Some(identity),
                Guard::Off | Guard::Mac(_) => None,
            };
            given || identity.is_some_and(|who| holds(who, address))
        })
    }

    /// In a block of this node's own, and nobody's.
    fn is_dead(&self, address: IpAddr) -> bool {
        let mut around = self.bindings.iter().map(|binding| &binding.around);
        let in_block = around.any(|it| it.own_blocks.iter().any(|block| block.contains(address)));
        in_block && !self.is_held(address)
    }

    fn is_gateway(&self, address: IpAddr) -> bool {
        let mut around = self.bindings.iter().map(|binding| &binding.around);
        around.any(|it| it.gateways.contains(&address))
    }
}

/// Whether an identity's single addresses or prefixes have it, whatever the MAC.
fn holds(who: &Identity, address: IpAddr) -> bool {
    who.held().any(|held| match (held, address) {
        (Held::One(_, own), address) => *own == address,
        (Held::V6(_, bits), IpAddr::V6(address)) => address.octets()[..8] == *bits,
        (Held::V6(..), IpAddr::V4(_)) => false,
    })
}

/// A frame of a port that is judged.
struct Suspect<'a> {
    node: &'a Node,
    port: &'a Binding,
    who: &'a Identity,
    frame: &'a [u8],
    packet: &'a [u8],
    spent: Spent,
}

impl Suspect<'_> {
    fn plays(&self, role: Role) -> bool {
        self.who.roles.contains(&role)
    }

    /// Nobody gave it addresses.
    fn may_be_anybody(&self) -> bool {
        self.who.holds == Holds::Any
    }

    fn is_group_frame(&self) -> bool {
        self.frame[0] & 1 == 1
    }

    fn source_mac(&self) -> &[u8] {
        &self.frame[6..12]
    }

    fn has_mac(&self, mac: &[u8]) -> bool {
        self.who.macs.iter().any(|own| own.octets() == *mac)
    }

    /// Whether it may send from the address with this MAC.
    fn holds_with(&self, mac: &[u8], address: IpAddr) -> bool {
        let same = |own: &Mac| own.octets() == *mac;
        self.who.held().any(|held| match (held, address) {
            (Held::One(own, it), address) => same(own) && *it == address,
            (Held::V6(own, bits), IpAddr::V6(v6)) => same(own) && v6.octets()[..8] == *bits,
            (Held::V6(..), IpAddr::V4(_)) => false,
        })
    }

    /// Whether the address is the port's, as it may say in discovery, and as errors may quote.
    fn owns(&self, address: IpAddr) -> bool {
        holds(self.who, address) || self.port.around.granted.contains(&address)
    }

    fn within_its_share_of_all(&self) -> Sentence {
        let spent = match self.who.budgets.to_all {
            Some(_) => self.spent.own.all,
            None => self.spent.shared.all,
        };
        require(!spent, Reason::Budget)
    }

    fn within_its_share_of_the_node(&self) -> Sentence {
        let spent = match self.who.budgets.to_node {
            Some(_) => self.spent.own.node,
            None => self.spent.shared.node,
        };
        require(!spent, Reason::Budget)
    }
}

fn require(claim: bool, otherwise: Reason) -> Sentence {
    if claim { Ok(()) } else { Err(otherwise) }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_be_bytes)
}
