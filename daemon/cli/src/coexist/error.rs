//! What can be wrong with a rule in somebody else's firewall.

use bulkhead_cni::CniError;
use bulkhead_ipam::{FileError, OpenError};
use bulkhead_kernel::ObserveError;
use bulkhead_model::NetworkName;

use super::firewall::Firewall;
use super::record::RecordError;
use super::tool::ToolError;
use crate::failure::{Exit, Failure};

/// Why a rule was not added or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CoexistError {
    /// There is no bridge to name in a rule.
    #[error("network {0} has no bridge of ours, so there is nothing to let through")]
    NoBridge(NetworkName),
    /// A chain that only its author can change.
    #[error(
        "{chain} drops what network {network} forwards, and is neither docker's nor firewalld's nor ufw's: `bulkhead doctor` says which rule would help"
    )]
    NobodyWeKnow { network: NetworkName, chain: String },
    /// Without it docker would not look at the rules.
    #[error(
        "there is no chain DOCKER-USER that forwarded packets are led to: docker does not run, or keeps no iptables rules"
    )]
    NoDockerChain,
    /// The chain is there and the tool is not.
    #[error("none of {} shows the chain DOCKER-USER, install iptables", .0.join(" and "))]
    NoIptables(Vec<String>),
    /// Only ufw needs it.
    #[error("--inbound is for ufw: {} lets host ports in without it", .0.as_str())]
    Inbound(Firewall),
    /// The firewall's own tool said no.
    #[error("`{command}` was refused: {said}")]
    Refused { command: String, said: String },
    /// Several rules of one network.
    #[error("not every rule of network {network} was removed: {}", said.join("; "))]
    Left {
        network: NetworkName,
        said: Vec<String>,
    },
    /// The configuration, as ADD would refuse it.
    #[error("network {network}")]
    Config {
        network: NetworkName,
        #[source]
        source: CniError,
    },
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Kernel(#[from] Box<ObserveError>),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Sources(#[from] Failure),
}

impl CoexistError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoIptables(_) | Self::Tool(ToolError::Missing(_)) => Exit::NotFound,
            Self::NoBridge(_)
            | Self::NobodyWeKnow { .. }
            | Self::NoDockerChain
            | Self::Inbound(_)
            | Self::Refused { .. }
            | Self::Left { .. }
            | Self::Config { .. }
            | Self::Tool(_)
            | Self::Kernel(_) => Exit::Failed,
            Self::Record(_) | Self::File(_) | Self::Open(_) => Exit::Unreadable,
            Self::Sources(failure) => failure.exit(),
        }
    }
}
