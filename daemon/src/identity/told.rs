//! What operators are told of endpoints.

use std::net::IpAddr;

use bulkhead_ipam::wire::admin::{EndpointName, KnownEndpoint};
use bulkhead_policy::{Endpoint, EndpointId};

use super::Identities;

impl Identities {
    /// Every endpoint that is known, by name.
    pub(crate) fn known(&self) -> Vec<KnownEndpoint> {
        let known = |(id, endpoint): (&EndpointId, &Endpoint)| KnownEndpoint {
            endpoint: EndpointName {
                namespace: id.namespace.clone(),
                name: id.name.clone(),
                network: id.network.as_ref().map(ToString::to_string),
            },
            addresses: endpoint.addresses.iter().copied().collect(),
            labels: endpoint
                .labels
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            groups: endpoint.groups.iter().map(ToString::to_string).collect(),
            node: endpoint.node.as_ref().map(ToString::to_string),
        };
        self.look(|mirror| mirror.world().endpoints.iter().map(known).collect())
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
