//! Connections that stand although they are no longer allowed: the first rule lets them pass, so the kernel has to
//! forget them. What comes of them next is judged as a first packet is.

use bulkhead_kernel::{Connection, Deletion, Kernel};
use bulkhead_model::Protocol;
use bulkhead_policy::compile::Judge;
use bulkhead_policy::{Decision, Packet, Space, Traffic};

use crate::node::Node;

/// Who cuts, on a socket of its own, so that a listing does not keep ADDs waiting.
pub(super) struct Scissors(Kernel);

impl Scissors {
    pub(super) fn new() -> Self {
        Self(Kernel::new(Deletion::Blocking))
    }

    /// Cuts what `judge` denies; how many that were.
    pub(super) fn cut(&mut self, node: &Node, judge: &Judge) -> u64 {
        let is_ours = |source, destination| judge.is_local(source) || judge.is_local(destination);
        let forgotten = self.0.connections(is_ours).and_then(|mut connections| {
            connections.retain(|connection| judge.decide(&packet_of(connection)) == Decision::Deny);
            self.0.forget(&connections)
        });
        let answers = match forgotten {
            Ok(answers) => answers,
            Err(error) => {
                let why = crate::told::chain(&error);
                node.failed("connections that are no longer allowed are not cut", &why);
                return 0;
            }
        };
        for refusal in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            tracing::warn!(%refusal, "a connection that is no longer allowed is not cut");
        }
        let cut = answers.iter().filter(|answer| answer.is_ok()).count();
        if cut > 0 {
            tracing::info!(cut, "cut connections that are no longer allowed");
        }
        u64::try_from(cut).unwrap_or(u64::MAX)
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
