//! What an attachment to a bridge network wants of the kernel.

use std::collections::BTreeSet;

use bulkhead_attach::{Addressing, Grant, GuardSwitch, Holder, guard_of, nat_table, share_of};
use bulkhead_cni::CniError;
use bulkhead_model::{Family, InterfaceAddress, Mac, Prefix};
use bulkhead_plan::{
    Advertised, Attached, Bridge, Filter, HostPorts, Interface, Localnet, MAIN_TABLE, Neighbour,
    NetworkNat, Ns, OnLink, Place, Port, PortFlags, Route, Surroundings,
};

use crate::REFLECTS;
use crate::config::{Config, Gateway, Segmentation};

/// The want of one attachment.
///
/// # Errors
/// Code 7 if what an IPAM plugin granted contradicts the configuration: a gateway is asked for and
/// the subnet has no address to spare, or IPv6 was granted under too small an MTU.
pub(crate) fn bridge(config: &Config, grant: &Grant) -> Result<Attached, CniError> {
    grant.refuse_small_mtu(config.mtu)?;
    let gateways = gateways(config, grant)?;
    let names = &grant.names;
    let interface = grant.key.interface;
    let mac = names
        .interface_mac
        .or(config.mac)
        .unwrap_or_else(|| grant.id.interface_mac());
    let port = names.port.unwrap_or_else(|| grant.id.port());
    let port_mac = names.port_mac.unwrap_or_else(|| grant.id.port_mac());
    let bridge_mac = grant.key.network.bridge_mac(&grant.node);
    // As recorded, which is how DEL finds it again: a configuration changed since is for new ones.
    let guard = guard_of(names);
    guard.refuse_outside(&grant.subnets)?;
    let addresses = grant.addresses.iter();
    let holder = Holder {
        mac,
        addresses: (!matches!(config.addressing, Addressing::None))
            .then(|| addresses.map(|granted| granted.address.address()).collect()),
        prefixes: Vec::new(),
        ifb: names.ifb,
        around: Surroundings {
            own_blocks: own_blocks(config, grant),
            shares: shares(config, grant),
            bridge: Some(config.bridge),
            gateways: gateways.iter().map(|gateway| gateway.address()).collect(),
            node_macs: [bridge_mac, port_mac].into(),
            node_links: [bridge_mac.link_local()].into(),
            ..Surroundings::default()
        },
    };
    let binding = guard.binding(port, &holder);
    let forwards = grant.forwards()?;
    Ok(Attached {
        node: Ns::Host,
        place: Place::Bridge(Bridge {
            name: config.bridge,
            mac: bridge_mac,
            mtu: config.mtu,
            promiscuous: config.promiscuous,
            localnet: Localnet::needed_by(&forwards),
            foreign: config.foreign,
            other_gateways: config.other_gateways,
            gateways: gateways.clone(),
        }),
        port: Port {
            name: port,
            mac: port_mac,
            mtu: config.mtu,
            flags: PortFlags {
                hairpin: config.port.hairpin || names.other.contains_key(REFLECTS),
                ..guard_of(&grant.names).limited(config.port)
            },
            is_told: false,
        },
        interface: Interface {
            ns: grant.container.clone(),
            name: interface,
            mac,
            mtu: None,
            up: config.interface_up,
            addresses: grant
                .addresses
                .iter()
                .map(|granted| granted.address)
                .collect(),
            dad: config.dad,
            on_link: match config.segmentation {
                Segmentation::Layer2 => OnLink::Prefix,
                Segmentation::Layer3 => OnLink::Nothing,
            },
            routes: routes(config, grant, &gateways),
            neighbours: known(grant, &gateways),
            advertised: Advertised::Nothing,
        },
        filter: Filter {
            binding,
            others: Vec::new(),
            hook: config.hook,
        },
        neighbours: holders(config, grant, mac),
        sysctls: match config.gateway {
            Gateway::None => Vec::new(),
            Gateway::OnLink | Gateway::Default => grant.forwarding(),
        },
        nat: network_nat(config, grant).table(),
        host_ports: HostPorts {
            mine: forwards,
            others: Vec::new(),
        },
        bandwidth: names.bandwidth,
    })
}

/// Whether an attachment sends from its own MAC alone, so that its neighbours may rely on that.
fn is_judged(grant: &Grant) -> bool {
    guard_of(&grant.names).switch == GuardSwitch::On
}

/// The container's permanent neighbours: its gateways. The kernel's table is one for all namespaces, and
/// what is permanent in it is not pushed out by who fills it (`neigh_forced_gc`, `net/core/neighbour.c`).
fn known(grant: &Grant, gateways: &[InterfaceAddress]) -> Vec<Neighbour> {
    if !is_judged(grant) {
        return Vec::new();
    }
    let mac = grant.key.network.bridge_mac(&grant.node);
    let gateways = gateways.iter().map(|gateway| gateway.address());
    gateways.map(|address| Neighbour { address, mac }).collect()
}

/// The node's permanent neighbours on the bridge, where it is the gateway: it answers whatever fills the
/// table.
fn holders(config: &Config, grant: &Grant, mac: Mac) -> Vec<Neighbour> {
    if config.gateway == Gateway::None || !is_judged(grant) {
        return Vec::new();
    }
    let addresses = grant.addresses.iter();
    let addresses = addresses.map(|granted| granted.address.address());
    addresses
        .map(|address| Neighbour { address, mac })
        .collect()
}

/// What leads to the gateways where no prefix is on the link, and to the rest of the network by them.
fn around(grant: &Grant, gateways: &[InterfaceAddress]) -> Vec<Route> {
    let over = |destination, gateway| Route {
        destination,
        gateway,
        link: grant.key.interface,
        priority: None,
        table: MAIN_TABLE,
        scope: None,
        mtu: None,
        advmss: None,
    };
    let alone = gateways.iter().map(|gateway| {
        let bits = gateway.family().bits();
        let alone = Prefix::new(gateway.address(), bits).expect("the whole address");
        over(alone, None)
    });
    let rest = gateways
        .iter()
        .map(|gateway| over(gateway.prefix(), Some(gateway.address())));
    alone.chain(rest).collect()
}

/// Where the node is the gateway, it would look for whoever has an address: a segment is asked by its
/// containers alone.
fn own_blocks(config: &Config, grant: &Grant) -> BTreeSet<Prefix> {
    if config.gateway == Gateway::None {
        return BTreeSet::new();
    }
    let blocks = config.addressing.own_blocks(&grant.subnets);
    blocks.into_iter().collect()
}

/// The same, of the cluster's pools.
fn shares(config: &Config, grant: &Grant) -> BTreeSet<Prefix> {
    match config.gateway {
        Gateway::None => BTreeSet::new(),
        Gateway::OnLink | Gateway::Default => share_of(&grant.names),
    }
}

/// The gateway addresses the bridge carries: those the IPAM names, else each subnet's first.
fn gateways(config: &Config, grant: &Grant) -> Result<Vec<InterfaceAddress>, CniError> {
    if config.gateway == Gateway::None {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for granted in &grant.addresses {
        let (address, len) = (granted.address, granted.address.len());
        let gateway = granted.gateway.or_else(|| first_host(address.prefix()));
        let on_link = gateway.filter(|gateway| *gateway != address.address());
        let Some(gateway) = on_link.and_then(|gateway| InterfaceAddress::new(gateway, len)) else {
            let text = format!(
                "isGateway: {address} leaves no address for a gateway, name one in \"ipam\""
            );
            return Err(CniError::invalid_config(text));
        };
        if !all.contains(&gateway) {
            all.push(gateway);
        }
    }
    Ok(all)
}

fn first_host(prefix: Prefix) -> Option<std::net::IpAddr> {
    use std::net::IpAddr;
    let spare = prefix.family().bits() - prefix.len() >= 2;
    spare.then(|| match prefix.address() {
        IpAddr::V4(v4) => std::net::Ipv4Addr::from_bits(v4.to_bits() + 1).into(),
        IpAddr::V6(v6) => std::net::Ipv6Addr::from_bits(v6.to_bits() + 1).into(),
    })
}

/// The IPAM's routes, each by the gateway of its family unless it names one, and the default routes
/// of `isDefaultGateway` where there is none yet.
fn routes(config: &Config, grant: &Grant, gateways: &[InterfaceAddress]) -> Vec<Route> {
    let link = grant.key.interface;
    let of_family = |family| {
        let named = grant
            .addresses
            .iter()
            .filter(|a| a.address.family() == family)
            .find_map(|a| a.gateway);
        named.or_else(|| {
            gateways
                .iter()
                .map(|g| g.address())
                .find(|g| Family::of(*g) == family)
        })
    };
    let mut routes: Vec<Route> = grant
        .routes
        .iter()
        .map(|route| Route {
            destination: route.dst,
            gateway: match route.scope {
                Some(253 | 254) if route.gw.is_none() => None,
                _ => route.gw.or_else(|| of_family(route.dst.family())),
            },
            link,
            priority: route.priority,
            table: route.table.unwrap_or(MAIN_TABLE),
            scope: route.scope,
            mtu: route.mtu,
            advmss: route.advmss,
        })
        .collect();
    if config.segmentation == Segmentation::Layer3 {
        routes.splice(0..0, around(grant, gateways));
    }
    if config.gateway == Gateway::Default {
        for gateway in gateways.iter().map(|gateway| gateway.address()) {
            let destination = default_of(Family::of(gateway));
            if !routes.iter().any(|route| route.destination == destination) {
                let (gateway, table) = (Some(gateway), MAIN_TABLE);
                let (priority, scope, mtu, advmss) = (None, None, None, None);
                routes.push(Route {
                    destination,
                    gateway,
                    link,
                    priority,
                    table,
                    scope,
                    mtu,
                    advmss,
                });
            }
        }
    }
    routes
}

fn default_of(family: Family) -> Prefix {
    let text = match family {
        Family::V4 => "0.0.0.0/0",
        Family::V6 => "::/0",
    };
    text.parse().expect("a prefix")
}

fn network_nat(config: &Config, grant: &Grant) -> NetworkNat {
    let masqueraded = grant
        .subnets
        .iter()
        .copied()
        .filter(|subnet| config.masquerade.covers(subnet.family()))
        .collect();
    let exclude = config.masquerade.exclude.iter().chain(&grant.subnets);
    NetworkNat {
        name: nat_table(&grant.key.network).name,
        bridge: Some(config.bridge),
        subnets: grant.subnets.clone(),
        masqueraded,
        exclude: exclude.copied().collect(),
        // The same for every attachment of the network, whatever each one asks for.
        host_ports: config
            .capabilities
            .may_have_host_ports
            .unwrap_or(config.gateway != Gateway::None || !grant.names.host_ports.is_empty()),
        no_redirects: config.segmentation == Segmentation::Layer3,
        no_turn_at: None,
    }
}
