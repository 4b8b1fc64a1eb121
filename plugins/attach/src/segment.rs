//! Attachments of a network that is one segment over all nodes: what plays the node's part for them is a
//! namespace that the network has for itself on each node, and what leaves the segment does so by one link
//! from there to the node, which is planned, guarded and recorded as a container's own link is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_cni::{CniError, Code};
use bulkhead_ipam::{AttachmentRecord, Draft, Names, StateDir};
use bulkhead_kernel::{Kernel, Netns, NetnsError};
use bulkhead_model::{AttachmentKey, Bandwidth, Family, InterfaceAddress, Mac, NetworkName};
use bulkhead_plan::{
    Advertised, Attached, Binding, Dad, Detached, Filter, Guard, Hook, HostPorts, Identity,
    Interface, Localnet, NetworkGone, NetworkNat, Ns, OnLink, Place, Plan, PointToPoint, Port,
    PortFlags, Surroundings, Sysctl, Want,
};

use crate::converge::{Before, Start, converge};
use crate::failure::Failure;
use crate::layer3::{self, port_mac};
use crate::overlays::{OverlayEnd, SegmentEnd};
use crate::{add, claims, del, nat_table};

/// The first of the addresses that segments' namespaces have on their links to the node: of the link alone
/// (RFC 3927), so that nobody else's are hidden behind them.
const EXITS_V4: u32 = u32::from_be_bytes([169, 254, 128, 0]);
/// The same of IPv6 (RFC 4193).
const EXITS_V6: u128 = 0xfd62_756c_6b68_0000_0000_0000_0000_0000;

impl SegmentEnd {
    /// How many segments of a node may have exits.
    pub const MOST_EXITS: u16 = 1 << 14;

    /// What plays the node's part.
    #[must_use]
    pub fn ns(&self) -> Ns {
        Ns::Network(self.netns.clone())
    }

    /// The families that leave the segment.
    #[must_use]
    pub fn leaving(&self) -> BTreeSet<Family> {
        let families = [(Family::V4, self.v4), (Family::V6, self.v6)];
        let leaving = families.into_iter().filter(|(_, leaves)| *leaves);
        leaving.map(|(family, _)| family).collect()
    }

    /// The namespace's addresses on its link to the node.
    fn addresses(&self) -> Vec<InterfaceAddress> {
        let address = |family| -> IpAddr {
            match family {
                Family::V4 => Ipv4Addr::from_bits(EXITS_V4 + u32::from(self.exit)).into(),
                Family::V6 => Ipv6Addr::from_bits(EXITS_V6 + u128::from(self.exit)).into(),
            }
        };
        let leaving = self.leaving().into_iter();
        leaving.map(address).map(InterfaceAddress::alone).collect()
    }
}

/// The end of the network's segment, if the attachment is on one.
pub(crate) fn of_names(names: &Names) -> Option<SegmentEnd> {
    OverlayEnd::of_names(names)?.segment
}

/// What plays the node's part for an attachment.
pub(crate) fn node(names: &Names) -> Ns {
    of_names(names).map_or(Ns::Host, |segment| segment.ns())
}

/// The MAC that an attachment has by its place in a pool, if it is on a segment.
pub(crate) fn station(draft: &Draft) -> Option<Mac> {
    let place = draft.pool.as_ref()?;
    of_names(&draft.names)?;
    Some(draft.key.network.station_mac(&place.pool, place.ordinal))
}

/// Opens what plays the node's part.
///
/// # Errors
/// Code 11 if it is gone: the node daemon makes it anew.
pub(crate) fn admit(kernel: &mut Kernel, node: &Ns) -> Result<(), CniError> {
    match found(kernel, node)? {
        Found::There => Ok(()),
        Found::Gone(path) => Err(CniError::try_again(format!(
            "network namespace {path}, in which the network's segment is, is gone; the node daemon makes it anew, try again"
        ))),
    }
}

/// Whether a namespace is there, and open from now on.
pub(crate) enum Found {
    There,
    Gone(String),
}

pub(crate) fn found(kernel: &mut Kernel, node: &Ns) -> Result<Found, CniError> {
    let Ns::Network(path) = node else {
        return Ok(Found::There);
    };
    match Netns::open(path) {
        Ok(netns) => {
            kernel.admit(node.clone(), netns);
            Ok(Found::There)
        }
        Err(NetnsError::Missing { .. } | NetnsError::NotANamespace { .. }) => {
            Ok(Found::Gone(path.clone()))
        }
        Err(error) => Err(CniError::from_chain(Code::INVALID_ENVIRONMENT, &error)),
    }
}

/// Whether an attachment needs something in the host's namespace.
pub(crate) fn is_on_host(record: &AttachmentRecord) -> bool {
    of_names(&record.names).is_none_or(|segment| !segment.leaving().is_empty())
}

/// The bindings of the exits of these attachments' networks.
pub(crate) fn exits(records: &[AttachmentRecord]) -> Vec<Binding> {
    let mut seen = BTreeSet::new();
    let ends = records.iter().filter_map(|record| {
        let end = OverlayEnd::of_names(&record.names)?;
        let network = &record.key.network;
        (end.segment.is_some() && seen.insert(network.clone())).then_some((network, end))
    });
    ends.filter_map(|(network, end)| binding(network, end.segment.as_ref()?))
        .collect()
}

/// Who sends by the exit: the namespace, from its own addresses.
fn binding(network: &NetworkName, segment: &SegmentEnd) -> Option<Binding> {
    let addresses = segment.addresses();
    if addresses.is_empty() {
        return None;
    }
    let id = network.exit().id();
    let addresses = || addresses.iter().map(|it| it.address());
    Some(Binding {
        port: id.port(),
        guard: Guard::On(Identity::host([id.interface_mac()], addresses())),
        ifb: None,
        around: Surroundings {
            granted: addresses().collect(),
            node_macs: [port_mac()].into(),
            ..Surroundings::default()
        },
    })
}

/// The link from the segment's namespace to the node; `None` if nothing leaves the segment.
fn exit(network: &NetworkName, end: &OverlayEnd, hook: Hook) -> Option<Attached> {
    let segment = end.segment.as_ref()?;
    let binding = binding(network, segment)?;
    let (key, addresses) = (network.exit(), segment.addresses());
    let (port, mac) = (binding.port, key.id().interface_mac());
    let families = segment.leaving();
    let prefixes: Vec<_> = addresses.iter().map(|it| it.prefix()).collect();
    Some(Attached {
        node: Ns::Host,
        place: Place::PointToPoint(PointToPoint {
            gateways: layer3::gateways(&families),
            routes: layer3::inward(&addresses, port, mac),
            blackholes: Vec::new(),
            localnet: Localnet::Unclaimed,
        }),
        port: Port {
            name: port,
            mac: port_mac(),
            mtu: Some(end.mtu),
            flags: PortFlags::default(),
            is_told: false,
        },
        interface: Interface {
            ns: segment.ns(),
            name: key.interface,
            mac,
            mtu: None,
            up: true,
            dad: Dad::Skip,
            on_link: OnLink::Nothing,
            routes: layer3::to_node(key.interface, &families),
            neighbours: layer3::node_seen(&families, port_mac()),
            addresses: addresses.clone(),
            advertised: Advertised::Nothing,
        },
        filter: Filter {
            binding,
            others: Vec::new(),
            hook,
        },
        neighbours: layer3::known(&addresses, mac),
        sysctls: families.iter().copied().map(forwarding).collect(),
        nat: NetworkNat {
            name: nat_table(network).name,
            bridge: None,
            subnets: prefixes.clone(),
            masqueraded: prefixes,
            exclude: Vec::new(),
            host_ports: false,
            no_redirects: false,
            no_turn_at: None,
        }
        .table(),
        host_ports: HostPorts::default(),
        bandwidth: Bandwidth::default(),
    })
}

fn forwarding(family: Family) -> (Sysctl, String) {
    let switch = match family {
        Family::V4 => Sysctl::ipv4_forwarding(),
        Family::V6 => Sysctl::ipv6_forwarding(),
    };
    (switch, "1".to_owned())
}

/// Has the segment's exit stand, if there is to be one; what was done.
///
/// # Errors
/// Code 102 if something is in the way, 5 for what the kernel refuses.
pub fn stand_exit(
    kernel: &mut Kernel,
    state: &StateDir,
    network: &NetworkName,
    end: &OverlayEnd,
) -> Result<Plan, CniError> {
    let Some(mut want) = exit(network, end, Hook::Auto) else {
        return Ok(Plan::default());
    };
    if want
        .sysctls
        .iter()
        .any(|(sysctl, _)| *sysctl == Sysctl::ipv6_forwarding())
        && !claims::ipv6_forwards(kernel)?
    {
        let uplinks = kernel.ra_uplinks().map_err(Failure::from)?;
        let keeps = uplinks.iter().map(|uplink| {
            let accept = Sysctl::ipv6_conf(uplink.as_str(), "accept_ra");
            (accept, "2".to_owned())
        });
        want.sysctls.splice(0..0, keeps);
    }
    let mut done = Vec::new();
    add::stand(
        Start::Anything,
        kernel,
        state,
        &network.exit(),
        want,
        |plan| {
            done.extend_from_slice(plan.ops());
        },
    )?;
    Ok(Plan::new(done))
}

/// Leaves nothing of the segment's exit, and puts back what the network changed on the node.
///
/// # Errors
/// What the kernel or the state directory refuses.
pub fn end_exit(
    kernel: &mut Kernel,
    state: &StateDir,
    network: &NetworkName,
    end: &OverlayEnd,
) -> Result<(), CniError> {
    Ok(ended(kernel, state, &network.exit(), end)?)
}

fn ended(
    kernel: &mut Kernel,
    state: &StateDir,
    key: &AttachmentKey,
    end: &OverlayEnd,
) -> Result<(), Failure> {
    let segment = end.segment.as_ref();
    let Some(binding) = segment.and_then(|segment| binding(&key.network, segment)) else {
        return Ok(());
    };
    let mut host = state.host()?;
    let changes = host.last_needed_by(&key.network);
    let want = Detached {
        node: Ns::Host,
        port: binding.port,
        ifb: key.id().ifb(),
        binding: Some(binding),
        host_ports: Some(Vec::new()),
        neighbours: Vec::new(),
        network: Some(NetworkGone {
            bridge: None,
            tables: vec![nat_table(&key.network)],
            restore: changes.iter().filter_map(claims::restore).collect(),
            node_is_empty: del::node_is_empty(state, key)?,
        }),
    };
    let mut want = Want::Detached(Box::new(want));
    converge(kernel, &mut want, |_, _, _| Ok(Before::Apply))?;
    host.drop_network(&key.network)?;
    Ok(())
}

/// What plays the node's part for a recorded attachment.
#[must_use]
pub fn recorded_node(record: &AttachmentRecord) -> Ns {
    node(&record.names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(exit: u16) -> SegmentEnd {
        SegmentEnd {
            netns: "/run/netns/bhn-x".to_owned(),
            exit,
            link: None,
            v4: true,
            v6: false,
            replicate: false,
        }
    }

    #[test]
    fn exits_have_addresses_of_their_own() {
        let text = |exit| segment(exit).addresses()[0].to_string();
        assert_eq!(text(1), "169.254.128.1/32");
        assert_eq!(text(SegmentEnd::MOST_EXITS - 1), "169.254.191.255/32");
        let both = SegmentEnd {
            v6: true,
            ..segment(7)
        };
        assert_eq!(both.addresses()[1].to_string(), "fd62:756c:6b68::7/128");
    }
}
