//! What a rule can look at: one table, a line per field. The encoder, the text and the interpreter
//! all read it, so a new field is a variant and a line.

use std::fmt;

use crate::datum::{Datum, KeyType};
use crate::table::TableFamily;

/// Where a payload offset counts from (`enum nft_payload_bases`, `linux/netfilter/nf_tables.h`).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PayloadBase {
    /// The Ethernet header, a VLAN tag included as it was on the wire.
    Link,
    /// The IP or ARP header.
    Network,
    /// The transport header, after IPv6 extension headers.
    Transport,
}

impl PayloadBase {
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Link => 0,
            Self::Network => 1,
            Self::Transport => 2,
        }
    }
}

/// Something of a packet that a rule can compare. Named as nft names it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "the table below says what each one is")]
pub enum Field {
    Iifname,
    Oifname,
    Iiftype,
    Mark,
    Priority,
    MetaProtocol,
    NfProto,
    L4Proto,
    EtherDaddr,
    EtherSaddr,
    EtherType,
    ArpHtype,
    ArpPtype,
    ArpHlen,
    ArpPlen,
    ArpOperation,
    ArpSaddrEther,
    ArpSaddrIp,
    ArpDaddrEther,
    ArpDaddrIp,
    Ip4Protocol,
    Ip4Saddr,
    Ip4Daddr,
    Ip6Length,
    Ip6NextHeader,
    Ip6HopLimit,
    Ip6Saddr,
    Ip6Daddr,
    TcpSport,
    TcpDport,
    UdpSport,
    UdpDport,
    /// The destination port of whatever transport has its ports where TCP has them.
    TransportDport,
    Icmp4Type,
    Icmp4Code,
    Icmp6Type,
    Icmp6Code,
    /// What the packet is to its connection; to the interpreter [`Datum::NEW`] or
    /// [`Datum::ESTABLISHED`] or [`Datum::RELATED`].
    CtState,
    /// A packet that belongs to no connection has none; the interpreter knows of no such packet, and
    /// of no bit but [`Datum::DST_NAT`].
    CtStatus,
    /// What the routing tables make of the destination address; to the interpreter, whether it is
    /// [`Datum::LOCAL`].
    FibDaddrType,
    /// Whether the source address is routed to the device the packet arrived on; of an address of the
    /// host's own nothing is. Only where packets arrive: prerouting, input and forward.
    FibSaddrIif,
    /// Whether the packet came in by `IPsec` and was found good (`secpath_exists`): only where packets
    /// arrive.
    MetaIpsec,
    /// Whether the packet is about to be transformed by `IPsec` (`skb_dst(skb)->xfrm`): only where packets
    /// leave.
    RtIpsec,
    /// `@nh,96,32`: bytes at a place, nothing implied about the packet.
    Raw {
        /// Where `offset` counts from.
        base: PayloadBase,
        /// Bytes.
        offset: u16,
        /// Bytes, 1..=16.
        len: u8,
    },
}

/// How a field is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Load {
    /// `enum nft_meta_keys`.
    Meta(u32),
    /// `enum nft_ct_keys`.
    Ct(u32),
    /// `NFT_FIB_RESULT_ADDRTYPE` of the destination (`linux/netfilter/nf_tables.h`).
    FibDaddrType,
    /// `NFT_FIB_RESULT_OIF` of the source, by the device of arrival, if there is one.
    FibSaddrIif,
    /// `enum nft_rt_keys`.
    Rt(u32),
    Payload {
        base: PayloadBase,
        offset: u16,
    },
}

/// What must be true of a packet before a payload field means anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Needs {
    Nothing,
    Ethernet,
    Arp,
    Ip4,
    Ip6,
    Tcp,
    Udp,
    Icmp4,
    Icmp6,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// What nft calls it: the whole name, or for raw bytes the base its place follows.
    pub(crate) text: &'static str,
    pub(crate) kind: KeyType,
    pub(crate) load: Load,
    pub(crate) needs: Needs,
}

const fn meta(text: &'static str, key: u32, kind: KeyType) -> Spec {
    Spec {
        text,
        kind,
        load: Load::Meta(key),
        needs: Needs::Nothing,
    }
}

const fn at(text: &'static str, needs: Needs, offset: u16, kind: KeyType) -> Spec {
    let base = match needs {
        Needs::Ethernet => PayloadBase::Link,
        Needs::Tcp | Needs::Udp | Needs::Icmp4 | Needs::Icmp6 => PayloadBase::Transport,
        Needs::Nothing | Needs::Arp | Needs::Ip4 | Needs::Ip6 => PayloadBase::Network,
    };
    Spec {
        text,
        kind,
        load: Load::Payload { base, offset },
        needs,
    }
}

impl Field {
    /// The type of its values.
    #[must_use]
    pub const fn kind(self) -> KeyType {
        self.spec().kind
    }

    pub(crate) const fn spec(self) -> Spec {
        use KeyType as K;
        use Needs::{Arp, Ethernet, Icmp4, Icmp6, Ip4, Ip6, Tcp, Udp};
        match self {
            Self::Iifname => meta("iifname", 6, K::IfName),
            Self::Oifname => meta("oifname", 7, K::IfName),
            Self::Iiftype => meta("iiftype", 8, K::IfaceType),
            Self::Mark => meta("meta mark", 3, K::Mark),
            Self::Priority => meta("meta priority", 2, K::ClassId),
            Self::MetaProtocol => meta("meta protocol", 1, K::EtherType),
            Self::NfProto => meta("meta nfproto", 15, K::NfProto),
            Self::L4Proto => meta("meta l4proto", 16, K::InetProto),
            Self::EtherDaddr => at("ether daddr", Ethernet, 0, K::EtherAddr),
            Self::EtherSaddr => at("ether saddr", Ethernet, 6, K::EtherAddr),
            Self::EtherType => at("ether type", Ethernet, 12, K::EtherType),
            Self::ArpHtype => at("arp htype", Arp, 0, K::Integer(2)),
            Self::ArpPtype => at("arp ptype", Arp, 2, K::EtherType),
            Self::ArpHlen => at("arp hlen", Arp, 4, K::Integer(1)),
            Self::ArpPlen => at("arp plen", Arp, 5, K::Integer(1)),
            Self::ArpOperation => at("arp operation", Arp, 6, K::ArpOp),
            Self::ArpSaddrEther => at("arp saddr ether", Arp, 8, K::EtherAddr),
            Self::ArpSaddrIp => at("arp saddr ip", Arp, 14, K::Ipv4Addr),
            Self::ArpDaddrEther => at("arp daddr ether", Arp, 18, K::EtherAddr),
            Self::ArpDaddrIp => at("arp daddr ip", Arp, 24, K::Ipv4Addr),
            Self::Ip4Protocol => at("ip protocol", Ip4, 9, K::InetProto),
            Self::Ip4Saddr => at("ip saddr", Ip4, 12, K::Ipv4Addr),
            Self::Ip4Daddr => at("ip daddr", Ip4, 16, K::Ipv4Addr),
            Self::Ip6Length => at("ip6 length", Ip6, 4, K::Integer(2)),
            Self::Ip6NextHeader => at("ip6 nexthdr", Ip6, 6, K::InetProto),
            Self::Ip6HopLimit => at("ip6 hoplimit", Ip6, 7, K::Integer(1)),
            Self::Ip6Saddr => at("ip6 saddr", Ip6, 8, K::Ipv6Addr),
            Self::Ip6Daddr => at("ip6 daddr", Ip6, 24, K::Ipv6Addr),
            Self::TcpSport => at("tcp sport", Tcp, 0, K::InetService),
            Self::TcpDport => at("tcp dport", Tcp, 2, K::InetService),
            Self::UdpSport => at("udp sport", Udp, 0, K::InetService),
            Self::UdpDport => at("udp dport", Udp, 2, K::InetService),
            Self::TransportDport => Spec {
                text: "th dport",
                kind: K::InetService,
                load: Load::Payload {
                    base: PayloadBase::Transport,
                    offset: 2,
                },
                needs: Needs::Nothing,
            },
            Self::CtStatus => Spec {
                text: "ct status",
                kind: K::CtStatus,
                load: Load::Ct(2),
                needs: Needs::Nothing,
            },
            Self::FibDaddrType => Spec {
                text: "fib daddr type",
                kind: K::FibAddrType,
                load: Load::FibDaddrType,
                needs: Needs::Nothing,
            },
            Self::FibSaddrIif => Spec {
                text: "fib saddr . iif oif",
                kind: K::Boolean,
                load: Load::FibSaddrIif,
                needs: Needs::Nothing,
            },
            Self::MetaIpsec => meta("meta ipsec", 25, K::Boolean),
            Self::RtIpsec => Spec {
                text: "rt ipsec",
                kind: K::Boolean,
                load: Load::Rt(4),
                needs: Needs::Nothing,
            },
            Self::Icmp4Type => at("icmp type", Icmp4, 0, K::IcmpType),
            Self::Icmp4Code => at("icmp code", Icmp4, 1, K::Integer(1)),
            Self::Icmp6Type => at("icmpv6 type", Icmp6, 0, K::Icmpv6Type),
            Self::Icmp6Code => at("icmpv6 code", Icmp6, 1, K::Integer(1)),
            Self::CtState => Spec {
                text: "ct state",
                kind: K::CtState,
                load: Load::Ct(0),
                needs: Needs::Nothing,
            },
            Self::Raw { base, offset, len } => Spec {
                text: match base {
                    PayloadBase::Link => "@ll",
                    PayloadBase::Network => "@nh",
                    PayloadBase::Transport => "@th",
                },
                kind: K::Integer(len),
                load: Load::Payload { base, offset },
                needs: Needs::Nothing,
            },
        }
    }

    /// The comparisons nft puts before this field in a table of that family (`payload.c` and
    /// `proto.c` of nftables); the kernel itself knows no such dependency.
    pub(crate) fn dependencies(self, family: TableFamily) -> Vec<(Self, Datum)> {
        match self.spec().needs {
            Needs::Nothing => Vec::new(),
            Needs::Ethernet if family == TableFamily::Bridge => Vec::new(),
            Needs::Ethernet => vec![(Self::Iiftype, Datum::IfaceType(1))],
            Needs::Arp if family == TableFamily::Arp => Vec::new(),
            Needs::Arp => vec![(Self::MetaProtocol, Datum::EtherType(0x0806))],
            Needs::Ip4 => ip4(family),
            Needs::Ip6 => ip6(family),
            Needs::Tcp => vec![(Self::L4Proto, Datum::InetProto(6))],
            Needs::Udp => vec![(Self::L4Proto, Datum::InetProto(17))],
            Needs::Icmp4 => with(ip4(family), Datum::InetProto(1)),
            Needs::Icmp6 => with(ip6(family), Datum::InetProto(58)),
        }
    }
}

fn ip4(family: TableFamily) -> Vec<(Field, Datum)> {
    match family {
        TableFamily::Ip => Vec::new(),
        TableFamily::Inet => vec![(Field::NfProto, Datum::NfProto(2))],
        _ => vec![(Field::MetaProtocol, Datum::EtherType(0x0800))],
    }
}

fn ip6(family: TableFamily) -> Vec<(Field, Datum)> {
    match family {
        TableFamily::Ip6 => Vec::new(),
        TableFamily::Inet => vec![(Field::NfProto, Datum::NfProto(10))],
        _ => vec![(Field::MetaProtocol, Datum::EtherType(0x86dd))],
    }
}

fn with(mut network: Vec<(Field, Datum)>, protocol: Datum) -> Vec<(Field, Datum)> {
    network.push((Field::L4Proto, protocol));
    network
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().text)?;
        match self {
            Self::Raw { offset, len, .. } => {
                write!(f, ",{},{}", u32::from(*offset) * 8, u32::from(*len) * 8)
            }
            _ => Ok(()),
        }
    }
}
