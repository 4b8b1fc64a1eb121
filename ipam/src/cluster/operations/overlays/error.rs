//! Why a node cannot have a network together with others.

use std::net::IpAddr;

use bulkhead_model::{Mtu, Vni};

use crate::cluster::name::{OverlayName, PoolName};
use crate::cluster::operations::{Reason, StoreTrouble};

/// Why a node does not join an overlay.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OverlayError {
    /// Another network has the identifier.
    #[error(
        "network {network}: VNI {vni} is that of network {other}; set another \"vni\" for one of them, on every node"
    )]
    VniTaken {
        /// The network.
        network: OverlayName,
        /// The identifier.
        vni: Vni,
        /// Whose it is.
        other: OverlayName,
    },
    /// Another network has the pool.
    #[error(
        "network {network}: pool {pool} is that of network {other}, and a block is behind one VTEP; name a pool of its own in \"ipam\""
    )]
    PoolTaken {
        /// The network.
        network: OverlayName,
        /// The pool.
        pool: PoolName,
        /// Whose it is.
        other: OverlayName,
    },
    /// The cluster has no such pool.
    #[error("network {network}: there is no pool {pool}; add it with `bulkhead pool add {pool}`")]
    NoPool {
        /// The network.
        network: OverlayName,
        /// The pool.
        pool: PoolName,
    },
    /// A pool is another network's alone.
    #[error(
        "network {network}: pool {pool} is of network {tenant} alone; name another pool in \"ipam\""
    )]
    OtherTenant {
        /// The network.
        network: OverlayName,
        /// The pool.
        pool: PoolName,
        /// Whose it is.
        tenant: OverlayName,
    },
    /// A pool may have the addresses of others, and the network routes.
    #[error(
        "network {network}: pool {pool} was added with --tenant, and may have the addresses of others, which routes cannot tell apart; set \"mode\": \"bridged\", or name another pool in \"ipam\""
    )]
    NoSegment {
        /// The network.
        network: OverlayName,
        /// The pool.
        pool: PoolName,
    },
    /// A pool has more addresses than nodes can be told of.
    #[error(
        "network {network}: pool {pool} has {size} addresses, and on a segment every node is told of each: name one of at most {most} in \"ipam\""
    )]
    TooMany {
        /// The network.
        network: OverlayName,
        /// The pool.
        pool: PoolName,
        /// How many.
        size: u64,
        /// How many there may be.
        most: u64,
    },
    /// A segment would have a second pool.
    #[error(
        "network {network}: pool {known} is its segment's, and {pool} would be a second one, whose containers the gateway would have to look for; name {known} in \"ipam\", or set \"mode\": \"routed\" on every node"
    )]
    SecondPool {
        /// The network.
        network: OverlayName,
        /// What it has.
        known: PoolName,
        /// What is asked for.
        pool: PoolName,
    },
    /// Nodes that have the network say something else.
    #[error(
        "network {network}: \"{key}\" is {asked} here and {known} on node {node}; make the configuration the same on every node"
    )]
    Differs {
        /// The network.
        network: OverlayName,
        /// The configuration's key.
        key: &'static str,
        /// What is asked for.
        asked: String,
        /// What the others have.
        known: String,
        /// The node that had it first.
        node: String,
    },
    /// Of two networks with one port one is encrypted.
    #[error(
        "network {network}: UDP port {port} is that of network {other} too, and one of them is encrypted, which the kernel tells by the port; give network {network} a \"port\" of its own"
    )]
    PortShared {
        /// The network.
        network: OverlayName,
        /// The port.
        port: u16,
        /// Whose it is.
        other: OverlayName,
    },
    /// Another node has the address.
    #[error(
        "network {network}: {underlay} is the underlay address of node {other} too; give {node} one of its own in [overlay] of bulkheadd.toml, or declare the other lost"
    )]
    AddressTaken {
        /// The network.
        network: OverlayName,
        /// The address.
        underlay: IpAddr,
        /// The node.
        node: String,
        /// Whose it is.
        other: String,
    },
    /// A node of that name is there already.
    #[error(
        "network {network}: two nodes are called {name}, one at {underlay}; set another node.name in bulkheadd.toml, or declare the other lost"
    )]
    NameTaken {
        /// The network.
        network: OverlayName,
        /// The name.
        name: String,
        /// Where the other one is.
        underlay: IpAddr,
    },
    /// The pools have IPv6 and the underlay's MTU leaves too little for it.
    #[error(
        "network {network}: an underlay at {underlay} leaves {mtu} bytes for packets, and IPv6 needs 1280 (RFC 8200 section 5); raise its MTU to {needed}, or name pools without IPv6"
    )]
    TooSmall {
        /// The network.
        network: OverlayName,
        /// The underlay's address.
        underlay: IpAddr,
        /// What is left.
        mtu: Mtu,
        /// The underlay's MTU that would do, in bytes.
        needed: u32,
    },
    /// The node may not write.
    #[error("network {network}: node {node} is not registered with the store yet; try again")]
    Unregistered {
        /// The network.
        network: OverlayName,
        /// The node.
        node: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

/// Why a network gets no new key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RekeyError {
    /// Nobody has such a network.
    #[error("there is no network {0} that nodes have together; `bulkhead overlay ls` lists them")]
    NotFound(OverlayName),
    /// It has no keys.
    #[error("network {0} is not encrypted, and has no keys to change")]
    NotEncrypted(OverlayName),
    /// Nodes are going over to the last one.
    #[error(
        "network {network}: nodes are going over to epoch {epoch} of its keys ({who}); try again in {wait_secs} s"
    )]
    UnderWay {
        /// The network.
        network: OverlayName,
        /// The latest epoch.
        epoch: u64,
        /// Who has not, or that all have and packets may be on their way.
        who: String,
        /// When that is over, at the latest.
        wait_secs: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

impl RekeyError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => Reason::NotFound,
            Self::NotEncrypted(_) => Reason::Invalid,
            Self::UnderWay { .. } => Reason::Conflict,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}

impl OverlayError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::VniTaken { .. }
            | Self::OtherTenant { .. }
            | Self::PoolTaken { .. }
            | Self::SecondPool { .. }
            | Self::Differs { .. }
            | Self::PortShared { .. }
            | Self::AddressTaken { .. }
            | Self::NameTaken { .. } => Reason::Conflict,
            Self::NoPool { .. } => Reason::NotFound,
            Self::TooSmall { .. } | Self::NoSegment { .. } | Self::TooMany { .. } => {
                Reason::Invalid
            }
            Self::Unregistered { .. } => Reason::Unavailable,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}
