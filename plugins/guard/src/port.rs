//! Which port of the node leads to the interface, and whose it is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use bulkhead_attach::{Gateway, GuardSwitch, Guarded};
use bulkhead_cni::{CniError, CniResult, Interface, Ip};
use bulkhead_ipam::LeasedAddress;
use bulkhead_model::{IfName, Mac, Prefix};
use bulkhead_plan::{Link, LinkKind, Ns, Space, World};

use crate::Config;

/// The port of `interface`, from what the plugins before answered and the links it names.
///
/// # Errors
/// Code 7 if the interface has no port, or what was answered contradicts the kernel or what was asked for.
pub(crate) fn find(
    config: &Config,
    interface: IfName,
    previous: &CniResult,
    world: &World,
    container: &Ns,
) -> Result<Guarded, CniError> {
    let (nth, told) = told(interface, previous)?;
    let inside = world.space(container).links.get(&interface);
    let Some(inside) = inside else {
        return Err(refused(format!(
            "prevResult.interfaces: {interface} is not in the container, run ADD of the network again"
        )));
    };
    let port = port_of(interface, inside, previous)?;
    let found = world.space(&Ns::Host).links.get(&port);
    if found.is_some_and(Link::is_ours) {
        return Err(refused(format!(
            "port {port} was made by a plugin of Bulkhead, which guards it itself: remove bulkhead-guard from \"plugins\", and set \"guard\" of that one"
        )));
    }
    let mac = mac(config, interface, told, inside)?;
    let addresses = addresses(config, interface, previous, nth)?;
    let subnets: Vec<Prefix> = addresses.iter().map(|one| one.address.prefix()).collect();
    config.guard.refuse_outside(&subnets)?;
    let bridge = found.and_then(|link| link.bridge);
    let (node_macs, node_links) = node(world.space(&Ns::Host), port, bridge);
    let gateway = gateway(
        config,
        world.space(&Ns::Host),
        bridge.unwrap_or(port),
        &addresses,
    );
    Ok(Guarded {
        port,
        gateway,
        node_macs,
        node_links,
        port_mac: found.and_then(|link| link.mac),
        bridge,
        mac,
        addresses,
    })
}

/// The node on the port's link: the MACs by which it takes frames in, and its link-local addresses, as they are
/// and as the kernel forms them once the link is up.
fn node(host: &Space, port: IfName, bridge: Option<IfName>) -> (BTreeSet<Mac>, BTreeSet<Ipv6Addr>) {
    let mac = |name: IfName| host.links.get(&name).and_then(|link| link.mac);
    let macs = bridge.into_iter().chain([port]).filter_map(mac);
    let listens = bridge.unwrap_or(port);
    let formed = mac(listens).map(Mac::link_local);
    let found = host.addresses.keys();
    let found = found.filter_map(|(link, address)| match address.address() {
        IpAddr::V6(v6) if *link == listens && v6.is_unicast_link_local() => Some(v6),
        _ => None,
    });
    (macs.collect(), found.chain(formed).collect())
}

/// The node as the gateway, where it has an address that was answered as one on the link. Of a bridge whose MAC
/// nobody fixed the lowest of its ports' is the MAC (`br_stp_recalculate_bridge_id`, `net/bridge/br_stp_if.c`), and
/// changes with them: a container that knew it for good would be cut off.
fn gateway(
    config: &Config,
    host: &Space,
    link: IfName,
    leased: &[LeasedAddress],
) -> Option<Gateway> {
    let mac = host.links.get(&link)?.mac?;
    let is_on_link = |address: &IpAddr| {
        let mut found = host.addresses.keys();
        found.any(|(on, has)| *on == link && has.address() == *address)
    };
    let of_port = |port: &Link| port.bridge == Some(link) && port.mac == Some(mac);
    let is_fixed = !host.links.values().any(of_port);
    let named: BTreeSet<IpAddr> = leased.iter().filter_map(|one| one.gateway).collect();
    let addresses: Vec<IpAddr> = named.into_iter().filter(is_on_link).collect();
    let judged = config.guard.switch == GuardSwitch::On;
    (judged && is_fixed && !addresses.is_empty()).then_some(Gateway {
        link,
        mac,
        addresses,
    })
}

fn refused(text: String) -> CniError {
    CniError::invalid_config(text)
}

/// What was answered about the interface, and its place among the others.
fn told(interface: IfName, previous: &CniResult) -> Result<(usize, &Interface), CniError> {
    let inside = |one: &Interface| one.sandbox.as_deref().is_some_and(|path| !path.is_empty());
    let mut all = previous.interfaces.iter().enumerate();
    let named = all.find(|(_, one)| inside(one) && one.name == interface.as_str());
    named.ok_or_else(|| {
        refused(format!(
            "prevResult.interfaces: {interface} of the container is not among them, put bulkhead-guard behind the plugin that makes it, with cniVersion 0.3.0 or later"
        ))
    })
}

/// The other end of the interface on the node.
fn port_of(interface: IfName, inside: &Link, previous: &CniResult) -> Result<IfName, CniError> {
    let on_host = previous.interfaces.iter();
    let on_host = on_host.filter(|one| one.sandbox.as_deref().is_none_or(str::is_empty));
    let names: Vec<_> = on_host.map(|one| one.name.as_str()).collect();
    match &inside.kind {
        LinkKind::Veth {
            peer: Some((Ns::Host, port)),
        } if names.contains(&port.as_str()) => Ok(*port),
        LinkKind::Veth { .. } => Err(refused(format!(
            "prevResult.interfaces: the other end of {interface} is none of those on this host ({}), put bulkhead-guard behind a plugin that names its port",
            names.join(", ")
        ))),
        kind => {
            let kind = match kind {
                LinkKind::Bridge => "bridge",
                LinkKind::Vxlan(_) => "vxlan",
                LinkKind::Other(kind) if kind.is_empty() => "device of the host's",
                LinkKind::Other(kind) => kind,
                LinkKind::Veth { .. } => "veth",
            };
            Err(refused(format!(
                "interface {interface} is a {kind}, which has no port on the host to guard: remove bulkhead-guard, or make the network with bridge, ptp or a plugin of Bulkhead"
            )))
        }
    }
}

/// The interface's MAC, of which the result, the kernel and the runtime must not say different things.
fn mac(
    config: &Config,
    interface: IfName,
    told: &Interface,
    inside: &Link,
) -> Result<Mac, CniError> {
    let Some(mac) = inside.mac else {
        return Err(refused(format!(
            "interface {interface} has no MAC, and the guard knows ports by it: use an Ethernet interface"
        )));
    };
    let others = [
        (told.unicast_mac(), "prevResult"),
        (config.mac, "the runtime's \"mac\""),
    ];
    for (other, whose) in others {
        if let Some(other) = other.filter(|other| *other != mac) {
            return Err(refused(format!(
                "interface {interface} has MAC {mac} and {whose} says {other}: put what changes it before bulkhead-guard, and have it answered"
            )));
        }
    }
    Ok(mac)
}

/// The interface's addresses, those that the runtime asked for among them.
fn addresses(
    config: &Config,
    interface: IfName,
    previous: &CniResult,
    nth: usize,
) -> Result<Vec<LeasedAddress>, CniError> {
    let of_interface = |ip: &&Ip| ip.interface.is_none_or(|of| of == nth);
    let leased = previous
        .ips
        .iter()
        .filter(of_interface)
        .map(|ip| LeasedAddress {
            address: ip.address,
            gateway: ip.gateway,
            range: 0,
        });
    let leased: Vec<_> = leased.collect();
    let has = |address: &IpAddr| leased.iter().any(|one| one.address.address() == *address);
    match config.addresses.iter().find(|address| !has(address)) {
        Some(missing) => Err(refused(format!(
            "address {missing} was asked for and prevResult does not give it to {interface}: have the plugin before bulkhead-guard give it, or do not ask"
        ))),
        None => Ok(leased),
    }
}
