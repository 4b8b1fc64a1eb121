//! The endpoints that a node enforces for, and where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::IfName;

use crate::{Endpoint, EndpointId, OwnPrefix, Place, Space, World};

/// The device by which an endpoint is reached: its port, or the bridge of its network.
pub type Device = IfName;

/// What a node has of its own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Local {
    /// Its endpoints that policies are enforced for.
    pub endpoints: BTreeMap<EndpointId, Device>,
    /// Devices that are closed to everybody who is not such an endpoint, also while there is none.
    pub devices: BTreeSet<Device>,
    /// What is told to whoever listens.
    pub told: Told,
}

/// What is told of what was decided: each entry takes its packet a while. No more than the rules of the chains of
/// outcomes are otherwise.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Told {
    /// What is denied, and what a policy in audit would have denied.
    #[default]
    Denied,
    /// The first packet of every connection too.
    Everything,
}

/// The local ends, each with what is known of it.
#[derive(Debug)]
pub(super) struct Ends<'w> {
    /// By device and address.
    pub(super) at: BTreeMap<(Device, IpAddr), (&'w EndpointId, &'w Endpoint)>,
    /// By prefix: the device, and who has all addresses of it there.
    pub(super) prefixed: BTreeMap<OwnPrefix, (Device, &'w EndpointId)>,
    /// Whoever is in `at` or `prefixed`.
    pub(super) endpoints: BTreeMap<&'w EndpointId, &'w Endpoint>,
    /// Every device that is closed to others.
    pub(super) devices: BTreeSet<Device>,
    /// Who shares device and address, or a prefix, with another one.
    pub(super) closed: BTreeSet<&'w EndpointId>,
}

pub(super) fn ends<'w>(world: &'w World, local: &Local) -> Ends<'w> {
    let mut ends = Ends {
        at: BTreeMap::new(),
        prefixed: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        devices: local.devices.clone(),
        closed: BTreeSet::new(),
    };
    ends.devices.extend(local.endpoints.values());
    let known = local.endpoints.iter().filter_map(|(id, device)| {
        let (id, endpoint) = world.endpoints.get_key_value(id)?;
        let is_ours = endpoint.place == Place::Port && world.space_of(id) == Space::Node;
        is_ours.then_some((id, endpoint, *device))
    });
    let mut twice = BTreeSet::new();
    let mut twice_prefixed = BTreeSet::new();
    for (id, endpoint, device) in known.clone() {
        ends.endpoints.insert(id, endpoint);
        for address in &endpoint.addresses {
            if let Some((other, _)) = ends.at.insert((device, *address), (id, endpoint)) {
                twice.insert((device, *address));
                ends.closed.extend([other, id]);
            }
        }
    }
    for (id, endpoint, device) in known {
        for own in &endpoint.prefixes {
            if let Some((_, other)) = ends.prefixed.insert(*own, (device, id)) {
                twice_prefixed.insert(*own);
                ends.closed.extend([other, id]);
            }
        }
    }
    for ((device, address), (id, _)) in &ends.at {
        let around = OwnPrefix::around(*address);
        let Some((own, (on, other))) = around.and_then(|own| ends.prefixed.get_key_value(&own))
        else {
            continue;
        };
        if on == device && other != id {
            twice.insert((*device, *address));
            twice_prefixed.insert(*own);
            ends.closed.extend([other, id]);
        }
    }
    // Nobody knows who is meant.
    ends.at.retain(|place, _| !twice.contains(place));
    ends.prefixed.retain(|own, _| !twice_prefixed.contains(own));
    ends
}
