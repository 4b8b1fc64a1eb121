//! Truth tables: cases of Kubernetes' policies with what the specification says becomes of every pair of
//! pods. The objects are text, as somebody would write them, and the answers are written beside them by hand,
//! in names of pods: nothing of ours has had a part in them.
//!
//! The families are those of Cyclonus and of Kubernetes' own tests (`test/e2e/network/netpol`,
//! network-policy-api's conformance), by name. Every case is in the world of IPv4, and its [`twin`] in that
//! of IPv6.

mod actions;
mod cluster;
mod conflicts;
mod peers;
mod ports;
mod rules;
mod scene;
mod targets;
mod upstream;

use std::fmt;
use std::net::IpAddr;

use bulkhead_model::Protocol;

pub use scene::{Draft, case, twin};

/// Who asks whom for what.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// `NAMESPACE/POD`, or one of [`OUTSIDE`], [`NODE`] and [`OTHER_NODE`].
    pub from: &'a str,
    /// As `from`.
    pub to: &'a str,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// An address outside, 203.0.113.9.
pub const OUTSIDE: &str = "outside";
/// The node of all pods, 192.0.2.1.
pub const NODE: &str = "node";
/// A node without pods, 192.0.2.2.
pub const OTHER_NODE: &str = "other-node";

impl<'a> Ask<'a> {
    /// The sender's namespace; empty for what is no pod.
    #[must_use]
    pub fn from_ns(&self) -> &'a str {
        self.from
            .split_once('/')
            .map_or("", |(namespace, _)| namespace)
    }

    /// The receiver's namespace; empty for what is no pod.
    #[must_use]
    pub fn to_ns(&self) -> &'a str {
        self.to
            .split_once('/')
            .map_or("", |(namespace, _)| namespace)
    }

    /// The sender's name in its namespace.
    #[must_use]
    pub fn from_pod(&self) -> &'a str {
        self.from.split_once('/').map_or("", |(_, pod)| pod)
    }

    /// The receiver's name in its namespace.
    #[must_use]
    pub fn to_pod(&self) -> &'a str {
        self.to.split_once('/').map_or("", |(_, pod)| pod)
    }

    /// Whether the sender is a pod.
    #[must_use]
    pub fn is_from_pod(&self) -> bool {
        self.from.contains('/')
    }

    /// Whether the receiver is a pod.
    #[must_use]
    pub fn is_to_pod(&self) -> bool {
        self.to.contains('/')
    }

    /// Whether it is for a port of TCP.
    #[must_use]
    pub fn tcp(&self, port: u16) -> bool {
        self.protocol == Protocol::Tcp && self.port == port
    }

    /// Whether it is for a port of UDP.
    #[must_use]
    pub fn udp(&self, port: u16) -> bool {
        self.protocol == Protocol::Udp && self.port == port
    }

    /// Whether it is for a port of SCTP.
    #[must_use]
    pub fn sctp(&self, port: u16) -> bool {
        self.protocol == Protocol::Sctp && self.port == port
    }
}

impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            port,
            protocol,
        } = self;
        write!(f, "{from} -> {to} {port}/{protocol}")
    }
}

/// Which asks are denied.
pub type Denied = Box<dyn Fn(&Ask<'_>) -> bool>;

/// What the objects are at one time, and what is then denied.
pub struct Step {
    /// What was done since the step before.
    pub does: String,
    /// All objects.
    pub objects: String,
    /// Pods by name, with their address.
    pub pods: Vec<(String, IpAddr)>,
    /// Ports to ask about.
    pub ports: Vec<(Protocol, u16)>,
    /// What is denied where it arrives at a pod. The own node is never asked.
    pub ingress: Denied,
    /// What is denied where it leaves a pod.
    pub egress: Denied,
    /// Whether pods are asked about themselves too: what comes back to one by way of a service has left it.
    pub hairpins: bool,
}

/// A case: objects that change step by step.
pub struct Case {
    /// Its family and its name.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// Every case.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(targets::cases());
    cases.extend(rules::cases());
    cases.extend(peers::cases());
    cases.extend(ports::cases());
    cases.extend(actions::cases());
    cases.extend(conflicts::cases());
    cases.extend(upstream::cases());
    cases.extend(cluster::cases());
    cases
}

/// Nothing is denied.
#[must_use]
pub fn nothing() -> Denied {
    Box::new(|_| false)
}
