//! Connections that stand although they are no longer allowed: the first rule lets them pass, so the kernel has to
//! forget them. What comes of them next is judged as a first packet is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use bulkhead_kernel::{Connection, Deletion, Kernel, ObserveError};
use bulkhead_model::Protocol;
use bulkhead_policy::compile::Judge;
use bulkhead_policy::{Decision, OwnPrefix, Packet, Space, Traffic};

use crate::identity::Held;

/// What somebody had who is gone.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Gone {
    Address(IpAddr),
    Prefix(OwnPrefix),
}

impl Gone {
    /// All of it.
    pub(super) fn all(had: &Held) -> impl Iterator<Item = Self> {
        let addresses = had.addresses.iter().copied().map(Self::Address);
        addresses.chain(had.prefixes.iter().copied().map(Self::Prefix))
    }

    /// Whether somebody who has this has something of it.
    pub(super) fn is_of(&self, held: &Held) -> bool {
        let mut gone = Held::default();
        match self {
            Self::Address(address) => gone.addresses.push(*address),
            Self::Prefix(own) => gone.prefixes.push(*own),
        }
        gone.overlaps(held)
    }
}

/// Which connections are to end.
#[derive(Clone, Debug)]
pub(super) struct Due {
    /// What was known when it was asked.
    pub(super) at: Instant,
    /// Those that it denies.
    pub(super) judge: Option<Judge>,
    /// Those of addresses whose endpoints are gone: what stands of them is nobody's who has one next.
    pub(super) gone: BTreeSet<Gone>,
}

impl Due {
    pub(super) fn is_something(&self) -> bool {
        self.judge.is_some() || !self.gone.is_empty()
    }

    fn is_gone(&self, address: IpAddr) -> bool {
        let around = OwnPrefix::around(address).map(Gone::Prefix);
        let mut of = [Some(Gone::Address(address)), around].into_iter().flatten();
        of.any(|gone| self.gone.contains(&gone))
    }

    fn concerns(&self, ends: [IpAddr; 2]) -> bool {
        let judge = self.judge.as_ref();
        let is_ours = |end| judge.is_some_and(|judge| judge.is_local(end));
        ends.into_iter()
            .any(|end| is_ours(end) || self.is_gone(end))
    }

    fn ends(&self, connection: &Connection) -> bool {
        let ends = [connection.source, connection.destination];
        let is_denied = |judge: &Judge| judge.decide(&packet_of(connection)) == Decision::Deny;
        ends.iter().any(|end| self.is_gone(*end)) || self.judge.as_ref().is_some_and(is_denied)
    }
}

/// Who cuts, on a socket of its own, so that a listing does not keep ADDs waiting.
pub(super) struct Scissors(Kernel);

impl Scissors {
    pub(super) fn new() -> Self {
        Self(Kernel::new(Deletion::Blocking))
    }

    /// Cuts what is due; how many that were.
    ///
    /// # Errors
    /// The kernel does not tell what there is. Nothing is cut then.
    pub(super) fn cut(&mut self, due: &Due) -> Result<u64, ObserveError> {
        let is_ours = |source, destination| due.concerns([source, destination]);
        let mut connections = self.0.connections(is_ours)?;
        connections.retain(|connection| due.ends(connection));
        let answers = self.0.forget(&connections)?;
        for refusal in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            tracing::warn!(%refusal, "a connection that is no longer allowed is not cut");
        }
        let cut = answers.iter().filter(|answer| answer.is_ok()).count();
        if cut > 0 {
            tracing::info!(cut, "cut connections that are no longer allowed");
        }
        Ok(u64::try_from(cut).unwrap_or(u64::MAX))
    }
}

/// The packet that began a connection.
fn packet_of(connection: &Connection) -> Packet {
    let protocol = Protocol::ALL
        .into_iter()
        .find(|protocol| protocol.number() == connection.protocol);
    let traffic = match (protocol, connection.icmp) {
        (Some(protocol), _) => Traffic::Port {
            protocol,
            port: connection.port,
        },
        (None, Some((kind, code))) => Traffic::Icmp { kind, code },
        (None, None) => Traffic::Other(connection.protocol),
    };
    Packet {
        space: Space::Node,
        source: connection.source,
        destination: connection.destination,
        traffic,
    }
}
