//! Why a frame is dropped.

use std::fmt;

use bulkhead_nft as nft;

/// The reasons a frame is dropped for; each has a chain, a counter and a counter for each port.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// An Ethernet type that is not IPv4, IPv6 or ARP: VLAN and LLC frames, bridge control.
    EtherType,
    /// A source MAC, ARP content or ARP sender that is not the port's.
    Arp,
    /// An IPv4 source that is not the port's.
    Source4,
    /// An IPv6 source that is not the port's.
    Source6,
    /// A protocol or header that hosts do not send: routing headers, other extension headers, tunnels,
    /// IPv4 options.
    Protocol,
    /// A fragment that could hide what is not allowed.
    Fragment,
    /// A message of ICMP or `ICMPv6` that hosts do not send, or an error about somebody else's packet.
    Icmp,
    /// Neighbour or router discovery about somebody else, or in a form that could hide it.
    Discovery,
    /// A group the network does not allow, or a unicast packet in a group frame.
    Multicast,
    /// DHCP in a role the port does not have.
    Dhcp,
    /// Encapsulated traffic towards a tunnel end of a node.
    Tunnel,
    /// An address of this node's own blocks that nobody holds, or a link-local one that the node it comes to does
    /// not have.
    Dead,
    /// More than the port's budget.
    Budget,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::EtherType,
        Self::Arp,
        Self::Source4,
        Self::Source6,
        Self::Protocol,
        Self::Fragment,
        Self::Icmp,
        Self::Discovery,
        Self::Multicast,
        Self::Dhcp,
        Self::Tunnel,
        Self::Dead,
        Self::Budget,
    ];

    /// The word for it in counters, logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::EtherType => "ethertype",
            Self::Arp => "arp",
            Self::Source4 => "source4",
            Self::Source6 => "source6",
            Self::Protocol => "protocol",
            Self::Fragment => "fragment",
            Self::Icmp => "icmp",
            Self::Discovery => "discovery",
            Self::Multicast => "multicast",
            Self::Dhcp => "dhcp",
            Self::Tunnel => "tunnel",
            Self::Dead => "dead",
            Self::Budget => "budget",
        }
    }

    /// The reason of that word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// The chain that counts and drops.
    #[must_use]
    pub fn chain(self) -> nft::Name {
        nft::Name::new(&format!("drop-{}", self.word())).expect("a word of letters and digits")
    }

    /// The set with a counter for each port.
    #[must_use]
    pub fn tally(self) -> nft::Name {
        nft::Name::new(&format!("drops-{}", self.word())).expect("a word of letters and digits")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
