//! `IPsec` between the VTEPs of overlays that are encrypted: ESP in transport mode (RFC 4303) with AES-256-GCM
//! (RFC 4106) for UDP to the overlay's port. Two policies of each such port say that nothing leaves for it
//! or is taken there without; two or more states for each peer, one way each, say how. States are
//! recognised as ours by their reqid, and policies by that of their template.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use bulkhead_model::{Family, LinkGroup};

use crate::{Conflict, Ns, Op, Scope, SpaceScope, World};

/// The reqid of our states and of our policies' template: the number by which links are ours too.
pub const REQID: u32 = LinkGroup::OWNED.0;
/// The priority of our policies: lower is looked at first, and the highest belongs to those who mean it
/// (`struct xfrm_userpolicy_info`).
pub const POLICY_PRIORITY: u32 = 0x6268;
/// AES-256 and four bytes of salt (RFC 4106 section 8.1).
pub const KEY_LEN: usize = 36;
/// What the kernel calls the algorithm (`net/xfrm/xfrm_algo.c`).
pub const ALGORITHM: &str = "rfc4106(gcm(aes))";
/// How many packets may overtake one another (RFC 4303 section 3.4.3).
pub const REPLAY_WINDOW: u32 = 1024;

/// The key of a state. Nothing prints it.
#[derive(Clone, Eq, PartialEq)]
pub struct SaKey([u8; KEY_LEN]);

impl SaKey {
    /// AES key, then salt.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the kernel alone.
    #[must_use]
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for SaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("withheld")
    }
}

/// A security association, one way between two addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sa {
    /// Its index: what packets carry. 0 to 255 are none (RFC 4303 section 2.1).
    pub spi: u32,
    /// Its key, which no other has.
    pub key: SaKey,
}

/// What of `IPsec` stands for the node's overlays, and nothing else of ours.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ipsec {
    /// Encrypted overlays by UDP port, which is no other's.
    pub ends: BTreeMap<u16, Sealed>,
    /// Ports of overlays that are about to go: what they have stays until their device is gone.
    pub held: BTreeSet<u16>,
    /// States of ours that nobody wants any more and that stay for a while, for packets on their way.
    pub spared: BTreeSet<(IpAddr, u32)>,
}

/// One of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// The node's address in the underlay.
    pub local: IpAddr,
    /// The others.
    pub peers: Vec<SealedPeer>,
}

/// A remote VTEP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedPeer {
    /// Its address in the underlay.
    pub underlay: IpAddr,
    /// What it may send by.
    pub inbound: Vec<Sa>,
    /// What it is sent to by.
    pub outbound: Sa,
    /// When that takes over.
    pub takeover: Takeover,
}

/// When a peer is sent to by a new state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Takeover {
    /// The peer has it.
    Now,
    /// The peer may not have it yet: one that is there goes on.
    WhenNoneStands,
}

/// What the namespace has of `IPsec`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IpsecState {
    /// States by destination and index.
    pub states: BTreeMap<(IpAddr, u32), SaState>,
    /// Policies for UDP to one port of, or from, one address.
    pub policies: BTreeMap<PolicyKey, PolicyState>,
}

/// A state, as far as it matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SaState {
    /// Who sends by it.
    pub source: IpAddr,
    /// If it is one of ours, the UDP port that it is for.
    pub port: Option<u16>,
}

/// Which packets a policy is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PolicyKey {
    /// Which way.
    pub direction: Direction,
    /// The node's address.
    pub local: IpAddr,
    /// The UDP port they are for.
    pub port: u16,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// To the node.
    In,
    /// From it.
    Out,
}

/// Whose a policy is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PolicyState {
    /// It asks for ESP by a state of ours.
    Ours,
    /// It says something else.
    Foreign,
}

/// Appends what makes it so. Policies come first, since what they ask for and is not there is dropped, and
/// go last; what a peer sends by comes before what it is sent to by; a new state before the old one goes.
pub(crate) fn ensure(world: &World, want: &Ipsec, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let found = &world.space(&Ns::Host).ipsec;
    let mut policies = BTreeSet::new();
    for (port, end) in &want.ends {
        for direction in [Direction::In, Direction::Out] {
            let key = PolicyKey {
                direction,
                local: end.local,
                port: *port,
            };
            policies.insert(key);
            match found.policies.get(&key) {
                None => ops.push(Op::AddPolicy {
                    ns: Ns::Host,
                    policy: key,
                }),
                Some(PolicyState::Ours) => {}
                Some(PolicyState::Foreign) => return Err(Conflict::ForeignPolicy(key)),
            }
        }
    }
    let mut kept = BTreeSet::new();
    for (port, end) in &want.ends {
        let mut one = End {
            port: *port,
            local: end.local,
            found,
            kept: &mut kept,
        };
        for peer in &end.peers {
            one.receive(peer, ops)?;
        }
        for peer in &end.peers {
            one.send(peer, ops)?;
        }
    }
    for (key, state) in &found.states {
        let is_surplus = state.port.is_some_and(|port| !want.held.contains(&port));
        if is_surplus && !kept.contains(key) && !want.spared.contains(key) {
            ops.push(Op::DelSa {
                ns: Ns::Host,
                destination: key.0,
                spi: key.1,
            });
        }
    }
    let ours = found.policies.iter();
    let ours = ours.filter(|(_, state)| **state == PolicyState::Ours);
    for (key, _) in ours.filter(|(key, _)| !want.held.contains(&key.port)) {
        if !policies.contains(key) {
            ops.push(Op::DelPolicy {
                ns: Ns::Host,
                policy: *key,
            });
        }
    }
    Ok(())
}

struct End<'w> {
    port: u16,
    local: IpAddr,
    found: &'w IpsecState,
    /// States that stay.
    kept: &'w mut BTreeSet<(IpAddr, u32)>,
}

impl End<'_> {
    /// What a peer may send by.
    fn receive(&mut self, peer: &SealedPeer, ops: &mut Vec<Op>) -> Result<(), Conflict> {
        for sa in &peer.inbound {
            let state = SaState {
                source: peer.underlay,
                port: Some(self.port),
            };
            self.ensure(self.local, sa, state, ops)?;
        }
        Ok(())
    }

    /// What a peer is sent to by.
    fn send(&mut self, peer: &SealedPeer, ops: &mut Vec<Op>) -> Result<(), Conflict> {
        let state = SaState {
            source: self.local,
            port: Some(self.port),
        };
        let others = self.found.states.iter().filter(|((to, spi), found)| {
            *to == peer.underlay && *spi != peer.outbound.spi && **found == state
        });
        let others: Vec<_> = others.map(|(key, _)| *key).collect();
        let stands = self
            .found
            .states
            .contains_key(&(peer.underlay, peer.outbound.spi));
        if peer.takeover == Takeover::WhenNoneStands && !stands && !others.is_empty() {
            self.kept.extend(others);
            return Ok(());
        }
        self.ensure(peer.underlay, &peer.outbound, state, ops)
    }

    fn ensure(
        &mut self,
        destination: IpAddr,
        sa: &Sa,
        state: SaState,
        ops: &mut Vec<Op>,
    ) -> Result<(), Conflict> {
        let key = (destination, sa.spi);
        self.kept.insert(key);
        match self.found.states.get(&key) {
            Some(found) if *found == state => Ok(()),
            Some(_) => Err(Conflict::SpiTaken {
                destination,
                spi: sa.spi,
            }),
            None => {
                ops.push(Op::AddSa {
                    ns: Ns::Host,
                    source: state.source,
                    destination,
                    port: self.port,
                    sa: sa.clone(),
                });
                Ok(())
            }
        }
    }
}

/// What a plan needs to see.
pub(crate) fn scope() -> Scope {
    let mut scope = Scope::default();
    *scope.space(&Ns::Host) = SpaceScope {
        ipsec: true,
        ..SpaceScope::default()
    };
    scope
}

impl PolicyKey {
    /// The selector and the template, in `ip xfrm`'s words.
    pub(crate) fn selector(&self) -> impl fmt::Display {
        let bits = Family::of(self.local).bits();
        let any = match self.local {
            IpAddr::V4(_) => "0.0.0.0/0",
            IpAddr::V6(_) => "::/0",
        };
        let local = format!("{}/{bits}", self.local);
        let (source, destination, direction) = match self.direction {
            Direction::In => (any.to_owned(), local, "in"),
            Direction::Out => (local, any.to_owned(), "out"),
        };
        format!(
            "src {source} dst {destination} proto udp dport {} dir {direction}",
            self.port
        )
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.selector().fmt(f)
    }
}

/// `ip xfrm state add`, without the key.
pub(crate) fn state_line(
    f: &mut fmt::Formatter<'_>,
    ip: &str,
    (source, destination): (IpAddr, IpAddr),
    port: u16,
    spi: u32,
) -> fmt::Result {
    write!(
        f,
        "{ip} xfrm state add src {source} dst {destination} proto esp spi {spi:#x} reqid {REQID} mode transport replay-window {REPLAY_WINDOW} flag esn aead '{ALGORITHM}' KEY-WITHHELD 128 sel proto udp dport {port}"
    )
}

/// `ip xfrm policy add`.
pub(crate) fn policy_line(f: &mut fmt::Formatter<'_>, ip: &str, key: &PolicyKey) -> fmt::Result {
    write!(
        f,
        "{ip} xfrm policy add {key} priority {POLICY_PRIORITY} tmpl proto esp reqid {REQID} mode transport"
    )
}
