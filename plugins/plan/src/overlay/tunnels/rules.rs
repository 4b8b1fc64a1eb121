//! The rules of the table, in the order of what comes most: a frame of the tunnel meets two chains of ours on
//! its way in and one on its way out, and is known by the first look-up that asks for it; a packet of a
//! container's flow meets one.

use bulkhead_nft as nft;
use nft::{Datum, Field, Name, Op, Operand, PayloadBase, Rule, Statement};

use super::{
    CLAMPED, KNOWN4, KNOWN6, NEAR, NEAR_LINKS, OWNERS4, OWNERS6, POOLS4, POOLS6, PORTS, Parts,
    SEALED, SOURCES4, SOURCES6, TunnelDrop, VTEPS4, VTEPS6,
};

/// Where a packet to a judged port of the node is.
const TUNNEL: Name = Name::literal("tunnel");
/// Where one from a container is.
const CONTAINER: Name = Name::literal("container");
/// Where a datagram is.
const DATAGRAM: Name = Name::literal("datagram");
/// Where one to a judged port is, of whichever node.
const JUDGED: Name = Name::literal("judged");
/// Where a packet that the tunnel brought is.
const ARRIVED: Name = Name::literal("arrived");
/// Where a packet from a pool is that anything else brought.
const INSIDE: Name = Name::literal("inside");
/// Where one is that came in by a link of peers.
const OWNED: Name = Name::literal("owned");
/// Where one is that came in where it should not.
const STRAY: Name = Name::literal("stray");
/// Where a packet over a device is whose connections are told what their way carries.
const SEGMENT: Name = Name::literal("segment");
/// `IPPROTO_TCP` (`linux/in.h`).
const TCP: u8 = 6;
/// What the names of containers' ports begin with.
const PORT_PREFIX: &str = "bhp";
/// What the names of VXLAN devices begin with.
const DEVICE_PREFIX: &str = "bhx";
/// The second word of a VXLAN header, behind the eight bytes of UDP's (RFC 7348 section 5).
const WORD: Field = Field::Raw {
    base: PayloadBase::Transport,
    offset: 12,
    len: 4,
};
/// `IPPROTO_UDP` (`linux/in.h`).
const UDP: u8 = 17;
/// `IPPROTO_FRAGMENT` (RFC 8200 section 4.5).
const FRAGMENT: u8 = 44;

pub(super) fn chains(parts: Parts) -> Vec<nft::Chain> {
    let mut chains = vec![
        // NF_IP_PRI_FILTER (linux/netfilter_ipv4.h): the last before delivery, beside the host's own.
        hooked("input", nft::Hook::Input, 0, input(parts)),
        // Before connection tracking (NF_IP_PRI_CONNTRACK, -200): what is dropped makes no flow.
        hooked("prerouting", nft::Hook::Prerouting, -290, prerouting()),
        hooked("output", nft::Hook::Output, -290, output()),
        regular(DATAGRAM, datagram()),
        regular(JUDGED, judged()),
        regular(ARRIVED, arrived()),
        regular(INSIDE, inside()),
        regular(OWNED, owned()),
        regular(STRAY, stray()),
        regular(TUNNEL, tunnel()),
        regular(CONTAINER, container()),
    ];
    chains.extend(TunnelDrop::ALL.map(|reason| regular(reason.chain(), dropped(reason))));
    if parts.seals {
        // Behind whatever may send a packet another way, and before it is transformed: what is then comes
        // by once more, as ESP.
        chains.push(hooked("seal", nft::Hook::Output, 300, seal()));
    }
    if parts.clamps {
        // NF_IP_PRI_MANGLE (linux/netfilter_ipv4.h), where others do the same.
        chains.push(hooked("clamp", nft::Hook::Forward, -150, clamp()));
        chains.push(regular(SEGMENT, segment()));
    }
    chains
}

/// What would leave for an encrypted network as it is: a policy of somebody else's may have said so.
fn seal() -> Vec<Rule> {
    let passes = |later: Vec<Statement>| Rule::new([later, vec![Statement::accept()]].concat());
    vec![
        passes(later_fragments4()),
        passes(later_fragments6()),
        unless_by(Field::RtIpsec, TunnelDrop::Unsealed),
    ]
}

/// Drops what is for an encrypted network's port and not protected.
fn unless_by(protection: Field, reason: TunnelDrop) -> Rule {
    Rule::new([
        Statement::in_set([Field::UdpDport], SEALED),
        Statement::is(protection, Datum::Boolean(false)),
        Statement::goto(reason.chain()),
    ])
}

/// What comes by the overlay and goes on, or comes and goes on by it. The node's own connections know
/// their way.
fn clamp() -> Vec<Rule> {
    let by = |link| Rule::new([Statement::in_set([link], CLAMPED), Statement::goto(SEGMENT)]);
    vec![by(Field::Iifname), by(Field::Oifname)]
}

/// A packet that begins a connection, or answers one that does.
fn segment() -> Vec<Rule> {
    /// Behind ports, sequence numbers and offset (RFC 9293 section 3.1).
    const FLAGS: Field = Field::Raw {
        base: PayloadBase::Transport,
        offset: 13,
        len: 1,
    };
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    let passes = |later: Vec<Statement>| Rule::new([later, vec![Statement::accept()]].concat());
    vec![
        passes(later_fragments4()),
        passes(later_fragments6()),
        Rule::new([
            Statement::is(Field::L4Proto, Datum::InetProto(TCP)),
            Statement::masked(FLAGS, [SYN | RST], Op::Eq, [SYN]),
            Statement::ClampMss,
        ]),
    ]
}

/// IPv4 is put together by now, IPv6 is not (`ip6_input`, `net/ipv6/ip6_input.c`).
fn input(parts: Parts) -> Vec<Rule> {
    let known = known(Field::Ip4Saddr, KNOWN4);
    let later = Rule::new([later_fragments6(), vec![Statement::accept()]].concat());
    let to_port = Rule::new([to_port(), Statement::goto(TUNNEL)]);
    if parts.seals {
        // Before anyone is believed.
        let sealed = unless_by(Field::MetaIpsec, TunnelDrop::Plaintext);
        return vec![later, sealed, known, to_port];
    }
    vec![known, later, to_port]
}

/// A packet to a judged port from a VTEP that is in the network.
fn known(address: Field, set: Name) -> Rule {
    Rule::new([
        Statement::in_set([Field::UdpDport, WORD, address], set),
        Statement::accept(),
    ])
}

/// A packet to a judged port that is of no network's IPv4 VTEP.
fn tunnel() -> Vec<Rule> {
    let source = |address, set| {
        Rule::new([
            Statement::in_set([Field::UdpDport, address], set),
            Statement::goto(TunnelDrop::WrongVni.chain()),
        ])
    };
    vec![
        known(Field::Ip6Saddr, KNOWN6),
        source(Field::Ip4Saddr, SOURCES4),
        source(Field::Ip6Saddr, SOURCES6),
        Rule::new([Statement::goto(TunnelDrop::UnknownSource.chain())]),
    ]
}

/// What every packet meets: whether it is a datagram, and one look at its source.
fn prerouting() -> Vec<Rule> {
    let from =
        |address, pools| Rule::new([Statement::in_set([address], pools), Statement::goto(INSIDE)]);
    vec![
        Rule::new([arriving_by(DEVICE_PREFIX), Statement::goto(ARRIVED)]),
        Rule::new([
            Statement::is(Field::L4Proto, Datum::InetProto(UDP)),
            Statement::jump(DATAGRAM),
        ]),
        from(Field::Ip4Saddr, POOLS4),
        from(Field::Ip6Saddr, POOLS6),
    ]
}

/// What is encapsulated is tracked by what is in it: a flow of the tunnel itself would cost each packet two
/// look-ups more on either node, and tell nobody anything. Fragments are made later, but by a program that makes
/// them itself, whose flow nobody asks about.
fn output() -> Vec<Rule> {
    vec![Rule::new([to_port(), Statement::Untracked])]
}

/// A datagram: what is of the tunnel goes first. Later fragments have no port, and are of no use without the
/// first; one of a VTEP that looks like a frame of the tunnel is as little tracked as its whole.
fn datagram() -> Vec<Rule> {
    let of_tunnel = |address, sources| {
        Rule::new([
            Statement::Match(nft::Match::new(
                [Field::Iifname],
                Op::Ne,
                prefix(PORT_PREFIX),
            )),
            Statement::in_set([Field::UdpDport, address], sources),
            Statement::Untracked,
            Statement::accept(),
        ])
    };
    let no_port = |fragment: Vec<Statement>| {
        let back = Statement::Verdict(nft::Verdict::Return);
        Rule::new([fragment, vec![back]].concat())
    };
    vec![
        of_tunnel(Field::Ip4Saddr, SOURCES4),
        of_tunnel(Field::Ip6Saddr, SOURCES6),
        no_port(later_fragments4()),
        no_port(later_fragments6()),
        Rule::new([to_port(), Statement::goto(JUDGED)]),
    ]
}

/// A datagram to a judged port, of whichever node, from no VTEP that has it.
fn judged() -> Vec<Rule> {
    vec![
        Rule::new([from_container(), Statement::goto(CONTAINER)]),
        Rule::new([Statement::Untracked]),
    ]
}

/// Comes by the tunnel what is routed back into it (RFC 3704 section 2.2), of IPv4 whatever its source is, and
/// for IPv6 of the pools: a node that has no address of a pool sends from the one that it has. The kernel's own
/// `rp_filter` would be a second look of the same kind, and none where `net.ipv4.conf.all.rp_filter` is 2. No
/// frame of the tunnel comes by the tunnel.
fn arrived() -> Vec<Rule> {
    let of_none = Statement::Match(nft::Match::new(
        [Field::Ip6Saddr],
        Op::Ne,
        Operand::Set(POOLS6),
    ));
    vec![
        Rule::new([to_port(), Statement::jump(CONTAINER)]),
        Rule::new([of_none, Statement::accept()]),
        not_routed_back(),
    ]
}

fn not_routed_back() -> Rule {
    Rule::new([
        Statement::is(Field::FibSaddrIif, Datum::Boolean(false)),
        Statement::goto(STRAY),
    ])
}

/// A packet whose source is of a pool.
fn inside() -> Vec<Rule> {
    vec![
        not_routed_back(),
        // Where it was routed back to: whose it is, the port's own filter asks.
        Rule::new([arriving_by(PORT_PREFIX), Statement::accept()]),
        Rule::new([
            Statement::in_set([Field::Iifname], NEAR_LINKS),
            Statement::goto(OWNED),
        ]),
    ]
}

/// A packet from a pool by a link of peers: the one that has the block. The priority carries who that is from
/// one look-up to the next, and is that of most packets afterwards.
fn owned() -> Vec<Rule> {
    let owner = [Field::Iifname, Field::EtherSaddr, Field::Priority];
    vec![
        Rule::new([Statement::priority_of([Field::Ip4Saddr], OWNERS4)]),
        Rule::new([Statement::priority_of([Field::Ip6Saddr], OWNERS6)]),
        Rule::new([
            Statement::in_set(owner, NEAR),
            Statement::SetPriority(0),
            Statement::accept(),
        ]),
        Rule::new([Statement::goto(TunnelDrop::Misrouted.chain())]),
    ]
}

/// What the node sends to itself comes in by no route.
fn stray() -> Vec<Rule> {
    vec![
        Rule::new([
            Statement::is(Field::Iifname, crate::link::lo()),
            Statement::accept(),
        ]),
        Rule::new([Statement::goto(TunnelDrop::Misrouted.chain())]),
    ]
}

fn from_container() -> Statement {
    arriving_by(PORT_PREFIX)
}

/// By a link whose name begins so.
fn arriving_by(begins: &str) -> Statement {
    Statement::Match(nft::Match::new([Field::Iifname], Op::Eq, prefix(begins)))
}

fn prefix(begins: &str) -> Operand {
    Operand::NamePrefix(begins.parse().expect("three letters"))
}

/// A datagram to a judged port from a container, of this node or another.
fn container() -> Vec<Rule> {
    let dropped = |to| Rule::new([to, from_container_chain()]);
    vec![
        dropped(Statement::is(Field::FibDaddrType, Datum::LOCAL)),
        dropped(Statement::in_set([Field::Ip4Daddr], VTEPS4)),
        dropped(Statement::in_set([Field::Ip6Daddr], VTEPS6)),
    ]
}

fn from_container_chain() -> Statement {
    Statement::goto(TunnelDrop::FromContainer.chain())
}

fn to_port() -> Statement {
    Statement::in_set([Field::UdpDport], PORTS)
}

/// Counts by what the sender cannot choose, so that it fills no set.
fn dropped(reason: TunnelDrop) -> Vec<Rule> {
    let by = match reason {
        TunnelDrop::UnknownSource
        | TunnelDrop::WrongVni
        | TunnelDrop::Plaintext
        | TunnelDrop::Unsealed => Field::UdpDport,
        TunnelDrop::Misrouted | TunnelDrop::FromContainer => Field::Iifname,
    };
    vec![
        Rule::new([Statement::Tally {
            fields: vec![by],
            set: reason.tally(),
        }]),
        Rule::new([Statement::Counter, Statement::drop()]),
    ]
}

/// Any but the first (RFC 791 section 3.1: the offset is 13 bits).
fn later_fragments4() -> Vec<Statement> {
    vec![
        Statement::is(Field::NfProto, Datum::NfProto(2)),
        masked(6, [0x1f, 0xff]),
    ]
}

/// Any but the first, as a host sends them: the fragment header next to the fixed one, the offset in its
/// first 13 bits after two bytes.
fn later_fragments6() -> Vec<Statement> {
    vec![
        Statement::is(Field::Ip6NextHeader, Datum::InetProto(FRAGMENT)),
        masked(42, [0xff, 0xf8]),
    ]
}

/// Two bytes of the network header and what follows it, with one of those bits set.
fn masked(offset: u16, bits: [u8; 2]) -> Statement {
    let field = Field::Raw {
        base: PayloadBase::Network,
        offset,
        len: 2,
    };
    Statement::masked(field, bits, Op::Ne, [0, 0])
}

fn hooked(name: &'static str, hook: nft::Hook, priority: i32, rules: Vec<Rule>) -> nft::Chain {
    let base = nft::Base {
        kind: nft::ChainKind::Filter,
        hook,
        devices: nft::Devices::None,
        priority,
        policy: nft::Policy::Accept,
    };
    nft::Chain {
        base: Some(base),
        ..regular(Name::literal(name), rules)
    }
}

fn regular(name: Name, rules: Vec<Rule>) -> nft::Chain {
    nft::Chain {
        name,
        base: None,
        part: nft::Part::Fixed,
        rules,
    }
}
