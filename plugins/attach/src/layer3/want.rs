//! What an attachment with a link of its own wants of the kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_cni::CniError;
use bulkhead_model::{Family, IfName, InterfaceAddress, Mac, Mtu, Prefix};
use bulkhead_plan::{
    Advertised, Attached, Dad, Filter, HostPorts, Interface, Localnet, MAIN_TABLE, Neighbour,
    NetworkNat, Ns, OnLink, Place, PointToPoint, Port, PortFlags, Route, Surroundings,
};

use super::{GATEWAY_V6, Layer3, gateway, port_mac};
use crate::{Grant, Holder, PREFIX, guard_of, nat_table, own_prefixes};

/// The want of one attachment.
///
/// # Errors
/// Code 7 if what an IPAM plugin granted contradicts the configuration: no address, IPv6 under too
/// small an MTU, or a route whose gateway is on no link of the container.
pub(super) fn link(
    config: &Layer3,
    grant: &Grant,
    blackholes: Vec<Prefix>,
) -> Result<Attached, CniError> {
    grant.refuse_small_mtu(config.mtu)?;
    let names = &grant.names;
    let interface = grant.key.interface;
    let port = names.port.unwrap_or_else(|| grant.id.port());
    let mac = names
        .interface_mac
        .or(config.mac)
        .unwrap_or_else(|| grant.id.interface_mac());
    let port_mac = names.port_mac.unwrap_or_else(port_mac);
    let addresses = addresses(grant)?;
    let families: BTreeSet<_> = addresses.iter().map(|address| address.family()).collect();
    let forwards = grant.forwards()?;
    let guard = guard_of(names);
    guard.refuse_outside(&grant.subnets)?;
    let held = addresses.iter();
    let holder = Holder {
        mac,
        addresses: Some(held.map(|address| address.address()).collect()),
        prefixes: own_prefixes(names, &addresses),
        ifb: names.ifb,
        around: Surroundings {
            own_blocks: config
                .addressing
                .own_blocks(&grant.subnets)
                .into_iter()
                .collect(),
            gateways: families.iter().map(|family| gateway(*family)).collect(),
            node_macs: [port_mac].into(),
            ..Surroundings::default()
        },
    };
    let binding = guard.binding(port, &holder);
    Ok(Attached {
        node: Ns::Host,
        place: Place::PointToPoint(PointToPoint {
            gateways: gateways(&families),
            routes: inward(&addresses, port, mac),
            blackholes,
            localnet: Localnet::needed_by(&forwards),
        }),
        port: Port {
            name: port,
            mac: port_mac,
            mtu: config.mtu,
            flags: PortFlags::default(),
            is_told: false,
        },
        interface: Interface {
            ns: grant.container.clone(),
            name: interface,
            mac,
            mtu: None,
            up: true,
            dad: Dad::Skip,
            on_link: OnLink::Nothing,
            routes: outward(grant, config.mtu, &families)?,
            neighbours: node_seen(&families, port_mac),
            addresses: addresses.clone(),
            advertised: Advertised::Nothing,
        },
        filter: Filter {
            binding,
            others: Vec::new(),
            hook: config.hook,
        },
        neighbours: known(&addresses, mac),
        sysctls: grant.forwarding(),
        nat: nat(config, grant).table(),
        host_ports: HostPorts {
            mine: forwards,
            others: Vec::new(),
        },
        bandwidth: names.bandwidth,
    })
}

/// What a port has of its own.
pub(crate) fn gateways(families: &BTreeSet<Family>) -> Vec<InterfaceAddress> {
    let own = InterfaceAddress::new(GATEWAY_V6.into(), 64).expect("64 is within 128");
    families
        .contains(&Family::V6)
        .then_some(own)
        .into_iter()
        .collect()
}

/// The node as it is known at the other end.
pub(crate) fn node_seen(families: &BTreeSet<Family>, mac: Mac) -> Vec<Neighbour> {
    let known = families.iter().map(|family| Neighbour {
        address: gateway(*family),
        mac,
    });
    known.collect()
}

/// The ways to the node and by it to everything else.
pub(crate) fn to_node(link: IfName, families: &BTreeSet<Family>) -> Vec<Route> {
    let alone = families.contains(&Family::V4).then(|| {
        let gateway = gateway(Family::V4);
        let alone = Prefix::new(gateway, Family::V4.bits()).expect("32 is within 32");
        over(link, alone)
    });
    let defaults = families.iter().map(|family| Route {
        gateway: Some(gateway(*family)),
        ..over(link, default_of(*family))
    });
    alone.into_iter().chain(defaults).collect()
}

/// What the interface has: each address alone, or the first one of the container's prefix.
fn addresses(grant: &Grant) -> Result<Vec<InterfaceAddress>, CniError> {
    let prefixes = grant.names.other.contains_key(PREFIX);
    let granted = grant.addresses.iter().map(|granted| granted.address);
    let all: Vec<_> = granted
        .map(|granted| match granted.family() {
            Family::V6 if prefixes => granted,
            family => InterfaceAddress::new(granted.address(), family.bits()).expect("whole"),
        })
        .collect();
    if all.is_empty() {
        let text =
            "ipam: it granted no address, and nothing but addresses is routed to a container";
        return Err(CniError::invalid_config(text));
    }
    Ok(all)
}

/// The node's routes. IPv6 goes by the container's link-local address: one neighbour entry, whatever
/// the container makes of a prefix.
pub(crate) fn inward(addresses: &[InterfaceAddress], port: IfName, mac: Mac) -> Vec<Route> {
    let route = |address: &InterfaceAddress| Route {
        gateway: address.address().is_ipv6().then(|| mac.link_local().into()),
        ..over(port, address.prefix())
    };
    addresses.iter().map(route).collect()
}

/// The node's permanent neighbours on the port.
pub(crate) fn known(addresses: &[InterfaceAddress], mac: Mac) -> Vec<Neighbour> {
    let next_hop = |address: &InterfaceAddress| match address.address() {
        IpAddr::V6(_) => mac.link_local().into(),
        v4 @ IpAddr::V4(_) => v4,
    };
    let hops: BTreeSet<IpAddr> = addresses.iter().map(next_hop).collect();
    hops.into_iter()
        .map(|address| Neighbour { address, mac })
        .collect()
}

/// The container's routes: to the IPv4 gateway, the IPAM's, and a default of each family. None has more than
/// the link carries: the kernel would believe the route.
fn outward(
    grant: &Grant,
    most: Option<Mtu>,
    families: &BTreeSet<Family>,
) -> Result<Vec<Route>, CniError> {
    let link = grant.key.interface;
    let mut all = Vec::new();
    if families.contains(&Family::V4) {
        let gateway = gateway(Family::V4);
        let alone = Prefix::new(gateway, Family::V4.bits()).expect("32 is within 32");
        all.push(over(link, alone));
    }
    for asked in &grant.routes {
        let via = gateway(asked.dst.family());
        if let Some(other) = asked.gw.filter(|asked| *asked != via) {
            let text = format!(
                "ipam: gateway {other} of route {} is on no link of the container, whose one neighbour is {via}: leave \"gw\" out",
                asked.dst
            );
            return Err(CniError::invalid_config(text));
        }
        if matches!(asked.scope, Some(253 | 254)) {
            let text = format!(
                "ipam: route {} is of the link or the host alone (scope), and nothing but the node is on the link: leave \"scope\" out",
                asked.dst
            );
            return Err(CniError::invalid_config(text));
        }
        all.push(Route {
            gateway: Some(via),
            priority: asked.priority,
            table: asked.table.unwrap_or(MAIN_TABLE),
            scope: asked.scope,
            mtu: asked
                .mtu
                .map(|mtu| most.map_or(mtu, |most| mtu.min(most.bytes()))),
            advmss: asked.advmss,
            ..over(link, asked.dst)
        });
    }
    for family in families {
        let destination = default_of(*family);
        if !all.iter().any(|route| route.destination == destination) {
            all.push(Route {
                gateway: Some(gateway(*family)),
                ..over(link, destination)
            });
        }
    }
    Ok(all)
}

fn over(link: IfName, destination: Prefix) -> Route {
    Route {
        destination,
        gateway: None,
        link,
        priority: None,
        table: MAIN_TABLE,
        scope: None,
        mtu: None,
        advmss: None,
    }
}

fn default_of(family: Family) -> Prefix {
    let text = match family {
        Family::V4 => "0.0.0.0/0",
        Family::V6 => "::/0",
    };
    text.parse().expect("a prefix")
}

fn nat(config: &Layer3, grant: &Grant) -> NetworkNat {
    let of_network = || grant.subnets.iter().copied();
    let masqueraded = of_network().filter(|subnet| config.masquerade.covers(subnet.family()));
    NetworkNat {
        name: nat_table(&grant.key.network).name,
        bridge: None,
        subnets: grant.subnets.clone(),
        masqueraded: masqueraded.collect(),
        exclude: config
            .masquerade
            .exclude
            .iter()
            .copied()
            .chain(of_network())
            .collect(),
        host_ports: config.capabilities.may_have_host_ports.unwrap_or(true),
        no_redirects: false,
        no_turn_at: None,
    }
}
