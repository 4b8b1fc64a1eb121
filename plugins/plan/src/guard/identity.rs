//! Whose frames a port may send: the binding of first-hop security, made from the lease.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{IfName, Mac, Prefix};
use bulkhead_nft::Rate;

/// A port and what it may send.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Binding {
    /// The port.
    pub port: IfName,
    /// How its frames are judged.
    pub guard: Guard,
    /// The ifb device that shapes what it sends, if that is limited.
    pub ifb: Option<IfName>,
    /// What there is around it.
    pub around: Surroundings,
}

/// How a port's frames are judged.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Guard {
    /// Not at all.
    Off,
    /// By their source MAC alone (`macspoofchk` without the guard).
    Mac(Mac),
    /// By all that first-hop security knows.
    On(Identity),
}

/// Who a port is.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    /// Its source MACs: the interface's own, and private ones that are allowed beside it.
    pub macs: BTreeSet<Mac>,
    /// Its source addresses, each with the MAC it is sent from.
    pub holds: Holds,
    /// What it does besides.
    pub roles: BTreeSet<Role>,
    /// Which groups it may send to.
    pub multicast: Multicast,
    /// How much it may cost others.
    pub budgets: Budgets,
}

/// What a port may send of what costs others; none of its own is the filter's.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Budgets {
    /// ARP and neighbour discovery to the node, [`TO_NODE`](crate::TO_NODE) else.
    pub to_node: Option<Rate>,
    /// Broadcasts, and discovery to groups, [`TO_ALL`](crate::TO_ALL) else.
    pub to_all: Option<Rate>,
}

/// The source addresses of a port.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Holds {
    /// Nobody knows: they are not judged. A network without addresses of its own.
    Any,
    /// These.
    These(BTreeSet<Held>),
}

impl Default for Holds {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

/// A source address, or many, that go with a MAC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Held {
    /// One address.
    One(Mac, IpAddr),
    /// Every address that begins with these 64 bits: a prefix of one's own (RFC 8273, RFC 7934), or
    /// what a router forwards.
    V6(Mac, [u8; 8]),
}

/// What a port does that a host does not.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Announces itself as a router and forwards for the prefixes it holds.
    Router,
    /// Answers DHCP and `DHCPv6`.
    DhcpServer,
    /// Asks by DHCP and `DHCPv6`.
    DhcpClient,
    /// Asks by `DHCPv6` for configuration without addresses (RFC 8415 section 6.1).
    Configured,
    /// Speaks VRRP (RFC 9568).
    Vrrp,
}

/// Which groups a port may send to, besides those of neighbour discovery.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Multicast {
    /// None.
    #[default]
    None,
    /// `224.0.0.0/24` and `ff02::/16`.
    LinkLocal,
    /// All.
    All,
}

/// What a port's network has on this node, for the judgement of destinations.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Surroundings {
    /// Blocks that are this node's own: an address in them that no port of this node holds is dead.
    pub own_blocks: BTreeSet<Prefix>,
    /// Blocks of the cluster's pools that this node has a share of. A port is not judged by them, since an
    /// address may go to another node with its holder; what leads to `bridge` is.
    pub shares: BTreeSet<Prefix>,
    /// The bridge on which the node asks who has an address of the blocks, if there is one.
    pub bridge: Option<IfName>,
    /// Addresses of the node on the network: its gateways.
    pub gateways: BTreeSet<IpAddr>,
    /// MACs by which the node itself takes in what the port sends: its bridge's, and the port's own.
    pub node_macs: BTreeSet<Mac>,
    /// The node's link-local addresses on the port's link, besides those among `gateways`. What is for another
    /// one of `fe80::/10` and comes to one of `node_macs` is for nobody.
    pub node_links: BTreeSet<Ipv6Addr>,
    /// Addresses the port was given, whether it is judged by them or not: they are not dead.
    pub granted: BTreeSet<IpAddr>,
    /// Addresses of the port's that another one holds too, which are not dead once this one is gone. Of
    /// account where it is taken away alone.
    pub shared: BTreeSet<IpAddr>,
}

impl Identity {
    /// A host with these MACs and, from each, these addresses and the MAC's own link-local one.
    #[must_use]
    pub fn host(
        macs: impl IntoIterator<Item = Mac>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let macs: BTreeSet<Mac> = macs.into_iter().collect();
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        let of = |mac: &Mac| {
            let (mac, link_local) = (*mac, mac.link_local().into());
            let all = addresses.iter().copied().chain([link_local]);
            all.map(move |address| Held::One(mac, address))
                .collect::<Vec<_>>()
        };
        Self {
            holds: Holds::These(macs.iter().flat_map(of).collect()),
            macs,
            ..Self::default()
        }
    }

    /// Whoever it is, as long as it has one of these MACs.
    #[must_use]
    pub fn unknown(macs: impl IntoIterator<Item = Mac>) -> Self {
        Self {
            macs: macs.into_iter().collect(),
            holds: Holds::Any,
            ..Self::default()
        }
    }

    /// The same with one more address, sent from `mac`.
    #[must_use]
    pub fn and_address(mut self, mac: Mac, address: IpAddr) -> Self {
        self.macs.insert(mac);
        if let Holds::These(held) = &mut self.holds {
            held.insert(Held::One(mac, address));
        }
        self
    }

    /// The same with every address of a prefix, sent from `mac`; `None` if the prefix is not of a
    /// length that [`Held::within`] takes.
    #[must_use]
    pub fn and_prefix(mut self, mac: Mac, prefix: Prefix) -> Option<Self> {
        let within = Held::within(mac, prefix)?;
        self.macs.insert(mac);
        if let Holds::These(held) = &mut self.holds {
            held.extend(within);
        }
        Some(self)
    }

    /// The same with another role.
    #[must_use]
    pub fn and_role(mut self, role: Role) -> Self {
        self.roles.insert(role);
        self
    }

    /// The same sending to these groups.
    #[must_use]
    pub fn sending_to(self, multicast: Multicast) -> Self {
        Self { multicast, ..self }
    }

    /// The same with budgets of its own.
    #[must_use]
    pub fn within(self, budgets: Budgets) -> Self {
        Self { budgets, ..self }
    }

    /// Single addresses it holds.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.held().filter_map(|held| match held {
            Held::One(_, address) => Some(*address),
            Held::V6(..) => None,
        })
    }

    /// What it holds, if that is known.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        let held = match &self.holds {
            Holds::These(held) => Some(held),
            Holds::Any => None,
        };
        held.into_iter().flatten()
    }
}

impl Held {
    /// A prefix as exact keys, at most 256: IPv4 of /24 to /32, IPv6 of /56 to /64 and single addresses;
    /// `None` for another length.
    #[must_use]
    pub fn within(mac: Mac, prefix: Prefix) -> Option<Vec<Self>> {
        match prefix.address() {
            IpAddr::V4(first) => {
                let first = first.to_bits();
                let at = |n| Self::One(mac, Ipv4Addr::from_bits(first + n).into());
                let count = 1_u32 << (32 - u32::from(prefix.len().clamp(24, 32)));
                (prefix.len() >= 24).then(|| (0..count).map(at).collect())
            }
            IpAddr::V6(first) => match prefix.len() {
                128 => Some(vec![Self::One(mac, first.into())]),
                56..=64 => {
                    let top = first_half(first);
                    let count = 1_u64 << (64 - prefix.len());
                    let at = |n: u64| Self::V6(mac, (top + n).to_be_bytes());
                    Some((0..count).map(at).collect())
                }
                _ => None,
            },
        }
    }
}

fn first_half(address: Ipv6Addr) -> u64 {
    u64::try_from(address.to_bits() >> 64).expect("it is the upper half")
}
