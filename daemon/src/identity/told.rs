//! What operators are told of endpoints.

use std::net::IpAddr;

use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::wire::admin::{EndpointName, KnownEndpoint};
use bulkhead_model::NetworkName;
use bulkhead_policy::{
    Endpoint, EndpointId, Labels, Network, Node, NodeName, Space, Stance, World,
};
use serde_json::{Value, json};

use super::Identities;
use super::row::{id_of, row_of};

/// The version of our own objects.
const OURS: &str = "bulkhead/v1";

impl Identities {
    /// Every endpoint that is known, by name.
    pub(crate) fn known(&self) -> Vec<KnownEndpoint> {
        let known = |world: &World, (id, endpoint): (&EndpointId, &Endpoint)| KnownEndpoint {
            apart: world.space_of(id) != Space::Node,
            endpoint: EndpointName {
                namespace: id.namespace.clone(),
                name: id.name.clone(),
                network: id.network.as_ref().map(ToString::to_string),
            },
            addresses: endpoint.addresses.iter().copied().collect(),
            prefixes: endpoint.prefixes.iter().map(|own| own.prefix()).collect(),
            labels: endpoint
                .labels
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            groups: endpoint.groups.iter().map(ToString::to_string).collect(),
            node: endpoint.node.as_ref().map(ToString::to_string),
        };
        self.look(|mirror| {
            let world = mirror.world();
            let all = world.endpoints.iter();
            all.map(|endpoint| known(world, endpoint)).collect()
        })
    }

    /// What is known of nodes, networks and those endpoints that are meant, an object each, as the reader of
    /// policies reads them.
    pub(crate) fn snapshot(&self, is_meant: impl Fn(&EndpointId) -> bool) -> Vec<String> {
        self.look(|mirror| objects(mirror.world(), is_meant))
    }

    /// Reads who is where, also while it is not known what policies there are.
    pub(crate) fn look_at<T>(&self, read: impl FnOnce(&World) -> T) -> T {
        self.look(|mirror| read(mirror.world()))
    }

    /// The endpoint that an attachment is.
    pub(crate) fn called(record: &AttachmentRecord) -> EndpointId {
        id_of(&row_of(record, 0))
    }

    /// What of the objects in the store could not be read, a sentence each.
    pub(crate) fn unread(&self) -> Vec<String> {
        self.look(super::mirror::Mirror::unread)
    }

    /// The addresses of an endpoint, and the node it is on, as far as it is there and known.
    pub(crate) fn whereabouts(&self, name: &EndpointName) -> (Vec<IpAddr>, Option<String>) {
        self.look(|mirror| {
            let named = mirror.called(&(name.namespace.clone(), name.name.clone()));
            let meant = named.iter().filter(|id| {
                let network = id.network.as_ref().map(ToString::to_string);
                name.network.is_none() || name.network == network
            });
            let endpoints = meant.filter_map(|id| mirror.world().endpoints.get(id));
            let endpoints: Vec<&Endpoint> = endpoints.collect();
            let node = endpoints.iter().find_map(|one| one.node.as_ref());
            (
                endpoints
                    .iter()
                    .flat_map(|one| one.addresses.iter().copied())
                    .collect(),
                node.map(ToString::to_string),
            )
        })
    }
}

/// Everything of a world but its policies and namespaces, an object each.
pub(super) fn objects(world: &World, is_meant: impl Fn(&EndpointId) -> bool) -> Vec<String> {
    let meant = world.endpoints.iter().filter(|(id, _)| is_meant(id));
    let endpoints = meant.map(endpoint);
    let nodes = world.nodes.iter().map(node);
    let networks = world.networks.iter().map(network);
    let objects = networks.chain(nodes).chain(endpoints);
    objects.map(|object| format!("{object}\n")).collect()
}

fn endpoint((id, endpoint): (&EndpointId, &Endpoint)) -> Value {
    let ports = endpoint.ports.iter().map(|port| {
        let number = format!("{}/{}", port.port, port.protocol);
        json!({"name": port.name, "port": number})
    });
    let mut object = json!({
        "apiVersion": OURS, "kind": "Endpoint",
        "metadata": {"namespace": id.namespace, "name": id.name, "labels": labels(&endpoint.labels)},
        "spec": {
            "network": id.network.as_ref().map(ToString::to_string),
            "addresses": endpoint.addresses,
            "ports": ports.collect::<Vec<_>>(),
            "node": endpoint.node.as_ref().map(ToString::to_string),
            "groups": endpoint.groups.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    });
    let prefixes = endpoint.prefixes.iter().map(ToString::to_string);
    if !endpoint.prefixes.is_empty() {
        object["spec"]["prefixes"] = prefixes.collect();
    }
    object
}

fn node((name, node): (&NodeName, &Node)) -> Value {
    let addresses = node.addresses.iter();
    let addresses = addresses.map(|address| json!({"type": "InternalIP", "address": address}));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name.to_string(), "labels": labels(&node.labels)},
        "status": {"addresses": addresses.collect::<Vec<_>>()},
    })
}

fn network((name, network): (&NetworkName, &Network)) -> Value {
    let stance = |stance| match stance {
        Stance::Open => "open",
        Stance::Closed => "closed",
    };
    json!({
        "apiVersion": OURS, "kind": "Network",
        "metadata": {"name": name.to_string()},
        "spec": {
            "gateways": network.gateways,
            "pools": network.pools.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "overlapping": network.space != Space::Node,
            "unlabelled": {"ingress": stance(network.ingress), "egress": stance(network.egress)},
        },
    })
}

fn labels(labels: &Labels) -> Value {
    labels
        .iter()
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
