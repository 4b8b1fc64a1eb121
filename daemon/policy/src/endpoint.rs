//! Endpoints: whom policies are about.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bulkhead_model::{NetworkName, ParseError, Protocol};

use crate::{Block, Labels, OwnPrefix};

/// An endpoint's name: a pod on a network. In Kubernetes the namespace is the pod's; elsewhere it is the
/// name of the network, and the name is `K8S_POD_NAME`, or else the container id.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EndpointId {
    /// Its namespace.
    pub namespace: String,
    /// Its name in the namespace.
    pub name: String,
    /// The network it is attached to; `None` where there is one only and it has no name, as in a file of
    /// Kubernetes objects. A pod on several networks is several endpoints.
    pub network: Option<NetworkName>,
}

impl EndpointId {
    /// Of a namespace, on the network without a name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            network: None,
        }
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        match &self.network {
            Some(network) if network.as_str() != self.namespace => write!(f, "@{network}"),
            _ => Ok(()),
        }
    }
}

/// A node's name. Any text: it is compared and printed, nothing else.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeName(String);

impl NodeName {
    /// Of any text.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A security group's name: 1..=63 lower-case letters, digits and `-`, first and last none of these
/// (RFC 1123 §2.1, a label).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupName(String);

impl GroupName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for GroupName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = [text.bytes().next(), text.bytes().last()];
        let is_name = text.len() <= 63
            && ends.iter().all(|b| b.is_some_and(letter))
            && text.bytes().all(|b| letter(b) || b == b'-');
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseError {
                expected: "a group's name (1 to 63 lower-case letters, digits and '-', such as web-1)",
                found: text.to_owned(),
            })
        }
    }
}

/// What is known of an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Its own labels. The namespace's are the [`World`](crate::World)'s.
    pub labels: Labels,
    /// The security groups it is a member of.
    pub groups: BTreeSet<GroupName>,
    /// Its addresses of both families.
    pub addresses: BTreeSet<IpAddr>,
    /// Prefixes of which every address is its own too.
    pub prefixes: BTreeSet<OwnPrefix>,
    /// Its ports with names.
    pub ports: BTreeSet<NamedPort>,
    /// The node it is on, if that is known.
    pub node: Option<NodeName>,
    /// What it is attached to.
    pub place: Place,
}

impl Endpoint {
    /// Whether the address is one of its own, or of a prefix of its own.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let around = OwnPrefix::around(address);
        self.addresses.contains(&address)
            || around.is_some_and(|around| self.prefixes.contains(&around))
    }

    /// Whether an address of its own is in the block.
    #[must_use]
    pub fn is_within(&self, block: &Block) -> bool {
        let mut addresses = self.addresses.iter();
        let mut prefixes = self.prefixes.iter();
        addresses.any(|address| block.contains(*address))
            || prefixes.any(|own| block.overlaps(own.prefix()))
    }
}

/// What an endpoint is attached to.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// A link of its own.
    #[default]
    Port,
    /// Its node's own network: its addresses are the node's, no policy is about it, and no selector means
    /// it.
    Host,
}

/// A port that an endpoint has a name for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// Its number, 1..=65535.
    pub port: u16,
}
