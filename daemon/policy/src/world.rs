//! All that is known: endpoints, namespaces, nodes, networks and policies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{NetworkName, Prefix};

use crate::{
    Direction, Endpoint, EndpointId, EndpointSelector, Labels, Namespaces, NodeName, Packet, Place,
    Policy, PolicyId, Selector, Space, Tier,
};

/// All that is known. What is not in it is not known: an address of nobody here is nobody's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct World {
    /// By name.
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    /// By name. A namespace that an endpoint names and that is not here has the label of its name alone.
    pub namespaces: BTreeMap<String, Namespace>,
    /// By name.
    pub nodes: BTreeMap<NodeName, Node>,
    /// By name.
    pub networks: BTreeMap<NetworkName, Network>,
    /// By name.
    pub policies: BTreeMap<PolicyId, Policy>,
}

/// A namespace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Namespace {
    /// Its labels as written; `kubernetes.io/metadata.name` is seen to by the judge.
    pub labels: Labels,
}

/// A node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// Its own addresses; the gateways of networks are not among them.
    pub addresses: BTreeSet<IpAddr>,
    /// Its labels.
    pub labels: Labels,
}

/// A network.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Network {
    /// The addresses that every node has on it for its own endpoints. One that a single node has, such as
    /// the first of a block of its own, is among that [`Node`]'s.
    pub gateways: BTreeSet<IpAddr>,
    /// Where its endpoints' addresses come from.
    pub pools: BTreeSet<Prefix>,
    /// Whether its addresses mean something on it alone: an overlay whose ranges may overlap others'.
    pub space: Space,
    /// What becomes of traffic to and from endpoints without labels and groups, that nobody decided.
    pub ingress: Stance,
    /// As `ingress`, from them.
    pub egress: Stance,
}

impl Network {
    /// What becomes of traffic of unlabelled endpoints that nobody decided.
    #[must_use]
    pub const fn stance(&self, direction: Direction) -> Stance {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// What becomes of traffic that no policy has decided.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stance {
    /// It goes on: Kubernetes' stance.
    #[default]
    Open,
    /// It ends here.
    Closed,
}

/// The label every namespace has, with its name (Kubernetes 1.22,
/// `pkg/apis/core/v1/defaults.go`).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl World {
    /// The labels of a namespace, with the one of its name, which nobody can have otherwise.
    #[must_use]
    pub fn labels_of(&self, namespace: &str) -> Labels {
        let written = self.namespaces.get(namespace);
        let mut labels = written.map_or_else(Labels::default, |known| known.labels.clone());
        labels.set(NAME_LABEL, namespace);
        labels
    }

    /// Whether `selector` selects a namespace: as [`World::labels_of`] has its labels, which are not copied
    /// for each question.
    fn is_selected(&self, selector: &Selector, namespace: &str) -> bool {
        let written = self.namespaces.get(namespace);
        selector.requirements().all(|requirement| {
            let value = match requirement.key.as_str() {
                NAME_LABEL => Some(namespace),
                key => written.and_then(|known| known.labels.of(key)),
            };
            requirement.test.is_passed(value)
        })
    }

    /// Whether `selector` means the endpoint. False for those on their node's network.
    #[must_use]
    pub fn selects(
        &self,
        selector: &EndpointSelector,
        id: &EndpointId,
        endpoint: &Endpoint,
    ) -> bool {
        if endpoint.place == Place::Host {
            return false;
        }
        match selector {
            EndpointSelector::Labelled { namespaces, labels } => {
                let namespace = match namespaces {
                    Namespaces::Named(name) => *name == id.namespace,
                    Namespaces::Selected(selector) => self.is_selected(selector, &id.namespace),
                };
                namespace && labels.selects(&endpoint.labels)
            }
            EndpointSelector::Group(group) => endpoint.groups.contains(group),
            EndpointSelector::Network(network) => id.network.as_ref() == Some(network),
        }
    }

    /// Whether `policy` is about the endpoint.
    #[must_use]
    pub fn is_about(&self, policy: &Policy, id: &EndpointId, endpoint: &Endpoint) -> bool {
        let mut subjects = policy.subject.iter();
        subjects.any(|selector| self.selects(selector, id, endpoint))
    }

    /// The policies in the order they are asked in.
    #[must_use]
    pub fn asked(&self) -> Vec<(&PolicyId, &Policy)> {
        let mut policies: Vec<_> = self.policies.iter().collect();
        policies.sort_by_key(|(id, policy)| -> (Tier, &PolicyId) { (policy.tier, id) });
        policies
    }

    /// The space an endpoint's addresses are in.
    #[must_use]
    pub fn space_of(&self, id: &EndpointId) -> Space {
        let network = id.network.as_ref().and_then(|name| self.networks.get(name));
        network.map_or(Space::Node, |network| network.space.clone())
    }

    /// The endpoints with a link of their own that have `address` in `space`. More than one only where
    /// what is known contradicts itself: the judge then asks all of them, and none may object; a compiler
    /// may refuse such a world.
    #[must_use]
    pub fn endpoints_at(&self, space: &Space, address: IpAddr) -> Vec<(&EndpointId, &Endpoint)> {
        let there = |(id, endpoint): &(&EndpointId, &Endpoint)| {
            endpoint.place == Place::Port && endpoint.holds(address) && self.space_of(id) == *space
        };
        self.endpoints.iter().filter(there).collect()
    }

    /// The ends of a packet: the endpoints it is from, and those it is to.
    #[must_use]
    pub fn ends(&self, packet: &Packet) -> [Vec<(&EndpointId, &Endpoint)>; 2] {
        [packet.source, packet.destination].map(|address| self.endpoints_at(&packet.space, address))
    }
}
