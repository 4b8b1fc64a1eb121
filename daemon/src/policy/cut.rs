//! Connections that stand although they are no longer allowed: the first rule lets them pass, so the kernel has to
//! forget them. What comes of them next is judged as a first packet is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use bulkhead_kernel::{Connection, Deletion, Kernel, ObserveError};
use bulkhead_model::{InterfaceAddress, Prefix, Protocol};
use bulkhead_policy::compile::Judge;
use bulkhead_policy::{Decision, OwnPrefix, Packet, Space, Traffic};

/// Which connections are to end.
#[derive(Clone, Debug)]
pub(super) struct Due {
    /// What was known when it was asked.
    pub(super) at: Instant,
    /// Those that it denies.
    pub(super) judge: Option<Judge>,
    /// Those of addresses, and of own prefixes, whose endpoints are gone: what stands of them is nobody's who has
    /// one next.
    pub(super) gone: BTreeSet<Prefix>,
}

impl Due {
    pub(super) fn is_something(&self) -> bool {
        self.judge.is_some() || !self.gone.is_empty()
    }

    fn is_gone(&self, address: IpAddr) -> bool {
        let alone = InterfaceAddress::alone(address).prefix();
        let around = OwnPrefix::around(address).map(OwnPrefix::prefix);
        let mut of = [Some(alone), around].into_iter().flatten();
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
        let refusals = self.0.forget(&connections)?;
        for (_, refusal) in &refusals {
            tracing::warn!(%refusal, "a connection that is no longer allowed is not cut");
        }
        let cut = connections.len() - refusals.len();
        if cut > 0 {
            tracing::info!(cut, "cut connections that are no longer allowed");
        }
        Ok(u64::try_from(cut).unwrap_or(u64::MAX))
    }
}

/// How many connections stand that began with each of these packets, in their order.
///
/// # Errors
/// The kernel does not tell what there is.
pub(crate) fn standing(kernel: &mut Kernel, packets: &[&Packet]) -> Result<Vec<u64>, ObserveError> {
    let is_meant = |source, destination| {
        let mut packets = packets.iter();
        packets.any(|packet| (packet.source, packet.destination) == (source, destination))
    };
    let connections = kernel.connections(is_meant)?;
    let begun: Vec<Packet> = connections.iter().map(packet_of).collect();
    let of = |packet: &&Packet| {
        let alike = begun.iter().filter(|begun| *begun == *packet);
        u64::try_from(alike.count()).unwrap_or(u64::MAX)
    };
    Ok(packets.iter().map(of).collect())
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
