//! A network that is one segment over all nodes: what it cannot have, and what an attachment wants of the
//! kernel.

use bulkhead_attach::{
    Capabilities, Grant, GuardConfig, Holder, Inspection, Layer3, Origin, OverlayEnd, Own,
    Rehearsal, SegmentAsk, configured, guard_of, nat_table, origins as origins_of,
};
use bulkhead_cni::json::{Field, FieldError, Object};
use bulkhead_cni::{Call, CniError, Code};
use bulkhead_ipam::cluster::PoolName;
use bulkhead_model::{Family, InterfaceAddress, Mac, Mtu, NetworkName};
use bulkhead_plan::{
    Advertised, Attached, Bridge, Dad, Filter, Foreign, HostPorts, Interface, Localnet, MAIN_TABLE,
    Neighbour, NetworkNat, Ns, OnLink, OtherGateways, Place, Port, PortFlags, Route, Surroundings,
};

/// Reads what is asked of the segment, and refuses what it cannot have.
///
/// # Errors
/// Code 2 naming the key.
pub(crate) fn ask(
    network: &NetworkName,
    root: &Object<'_>,
    link: &Layer3,
) -> Result<SegmentAsk, CniError> {
    let replicate = root.optional_bool("replication")?.unwrap_or_default();
    refuse_multicast(root, replicate)?;
    if let Some(direct) = root.optional("directRouting")
        && direct.bool()?
    {
        return Err(direct
            .unsupported("with \"mode\": \"bridged\" every frame is encapsulated; remove the key")
            .into());
    }
    if let Some(bridge) = root.optional("bridge") {
        return Err(bridge
            .unsupported(
                "the segment's bridge is in a namespace of the network's own; remove the key",
            )
            .into());
    }
    if !link.masquerade.exclude.is_empty() {
        return Err(unsupported(
            "ipMasq.exclude",
            "what leaves the segment has the address of its exit, whoever it is for; remove it",
        ));
    }
    if let Some(policy) = root.optional("policy").filter(|_| link.policed) {
        return Err(policy
            .unsupported(format!(
                "policies are enforced in the node's own namespace, which no packet of network {network}'s segment passes; remove the key, or use \"mode\": \"routed\""
            ))
            .into());
    }
    refuse_options(root)?;
    refuse_identity(&link.guard, link.mac)?;
    refuse_capabilities(&link.capabilities)?;
    Ok(SegmentAsk {
        v4: link.masquerade.v4,
        v6: link.masquerade.v6,
        replicate,
    })
}

/// A segment has one prefix of each family, as a link has: its containers reach each other without the gateway, which
/// looks for nobody, and all of them want the same bridge and the same table.
///
/// # Errors
/// Code 7 naming two of the pools.
pub(crate) fn refuse_more(pools: &[PoolName]) -> Result<(), CniError> {
    let [one, other, ..] = pools else {
        return Ok(());
    };
    Err(CniError::invalid_config(format!(
        "ipam: with \"mode\": \"bridged\" a network has one pool, whose prefixes are its segment's, and {one} and {other} are named; name one in \"pool\" that is as large as it has to be, or set \"mode\": \"routed\""
    )))
}

/// What is there for routes alone.
fn refuse_options(root: &Object<'_>) -> Result<(), FieldError> {
    let why = "it is there with \"mode\": \"routed\" alone; remove the key";
    let is_asked = |key, is_on: &dyn Fn(&Field<'_>) -> Result<bool, FieldError>| {
        let Some(field) = root.optional(key) else {
            return Ok(());
        };
        if is_on(&field)? {
            return Err(field.unsupported(why));
        }
        Ok(())
    };
    is_asked("encryption", &|field| Ok(field.str()? != "none"))?;
    is_asked("mssClamp", &|field| field.bool())?;
    is_asked("txChecksum", &|field| Ok(!field.bool()?))
}

/// Groups reach other nodes by copies of the sender's, or not at all.
fn refuse_multicast(root: &Object<'_>, replicate: bool) -> Result<(), FieldError> {
    match root.optional("multicast") {
        Some(groups) if !replicate && groups.str()? != "none" => Err(groups.unsupported(
            "nothing that is for a group leaves a node; set \"none\", or \"replication\": true",
        )),
        _ => Ok(()),
    }
}

/// Every node knows a station by its place in the pool, before it lives: no other MAC or address of its own
/// would be found.
fn refuse_identity(guard: &GuardConfig, mac: Option<Mac>) -> Result<(), CniError> {
    let derived = "other nodes know a container by what follows from its lease";
    if mac.is_some() {
        return Err(unsupported("mac", &format!("{derived}; ask for none")));
    }
    for (key, has) in [
        ("guard.macs", !guard.macs.is_empty()),
        ("guard.allowedAddresses", !guard.allowed.is_empty()),
    ] {
        if has {
            return Err(unsupported(key, &format!("{derived}; remove it")));
        }
    }
    Ok(())
}

fn refuse_capabilities(asked: &Capabilities) -> Result<(), CniError> {
    if asked.host_ports.is_empty() {
        return Ok(());
    }
    Err(unsupported(
        "portMappings",
        "the node does not reach into the segment; use \"mode\": \"routed\" for what has host ports",
    ))
}

fn unsupported(key: &str, why: &str) -> CniError {
    CniError::new(
        Code::UNSUPPORTED_FIELD,
        format!("{key} is not supported with \"mode\": \"bridged\": {why}"),
    )
}

/// The want of one attachment: as on a bridge of the node, with the segment's namespace in the node's place.
///
/// # Errors
/// Code 7 if a pool has no gateway by which its addresses could leave the segment.
pub(crate) fn want(config: &Layer3, grant: &Grant) -> Result<Attached, CniError> {
    let names = &grant.names;
    let network = &grant.key.network;
    let end = OverlayEnd::of_names(names);
    let Some((end, segment)) = end.and_then(|end| Some((end.clone(), end.segment?))) else {
        return Err(CniError::invalid_config(format!(
            "mode: attachment {} was made with \"routed\": put it back, or make the container anew",
            grant.key
        )));
    };
    grant.refuse_small_mtu(Some(end.mtu))?;
    let gateways = gateways(grant, &segment.leaving())?;
    let mac = names
        .interface_mac
        .unwrap_or_else(|| grant.id.interface_mac());
    let port = names.port.unwrap_or_else(|| grant.id.port());
    let guard = guard_of(names);
    guard.refuse_outside(&grant.subnets)?;
    let gateway_mac = network.gateway_mac();
    let port_mac = names.port_mac.unwrap_or_else(|| grant.id.port_mac());
    let addresses = grant.addresses.iter();
    let holder = Holder {
        mac,
        addresses: Some(addresses.map(|granted| granted.address.address()).collect()),
        prefixes: Vec::new(),
        ifb: names.ifb,
        around: Surroundings {
            gateways: gateways.iter().map(|it| it.address()).collect(),
            node_macs: [gateway_mac, port_mac].into(),
            node_links: [gateway_mac.link_local()]
                .into_iter()
                .chain(segment.link)
                .collect(),
            ..Surroundings::default()
        },
    };
    let on_gateway = |address: InterfaceAddress| Neighbour {
        address: address.address(),
        mac: gateway_mac,
    };
    Ok(Attached {
        node: segment.ns(),
        place: Place::Bridge(Bridge {
            gateways: gateways.clone(),
            ..bridge(network, &end)
        }),
        port: Port {
            name: port,
            mac: port_mac,
            mtu: Some(end.mtu),
            flags: flags(&guard),
            is_told: true,
        },
        interface: Interface {
            ns: grant.container.clone(),
            name: grant.key.interface,
            mac,
            mtu: None,
            up: true,
            addresses: grant
                .addresses
                .iter()
                .map(|granted| granted.address)
                .collect(),
            dad: Dad::Skip,
            on_link: OnLink::Prefix,
            routes: routes(grant, end.mtu, &gateways),
            neighbours: gateways.iter().copied().map(on_gateway).collect(),
            advertised: Advertised::Nothing,
        },
        filter: Filter {
            binding: guard.binding(port, &holder),
            others: Vec::new(),
            hook: config.hook,
        },
        neighbours: if gateways.is_empty() {
            Vec::new()
        } else {
            let held = grant.addresses.iter();
            let held = held.map(|granted| granted.address.address());
            held.map(|address| Neighbour { address, mac }).collect()
        },
        sysctls: Vec::new(),
        nat: nat(grant, &end).table(),
        host_ports: HostPorts::default(),
        bandwidth: names.bandwidth,
    })
}

/// The segment's bridge, without its gateways.
#[must_use]
pub fn bridge(network: &NetworkName, end: &OverlayEnd) -> Bridge {
    Bridge {
        name: network.segment_bridge(),
        mac: network.gateway_mac(),
        mtu: Some(end.mtu),
        gateways: Vec::new(),
        promiscuous: false,
        localnet: Localnet::Unclaimed,
        foreign: Foreign::Join,
        other_gateways: OtherGateways::Replace,
    }
}

/// The bridge is told where everybody is, and learns nothing.
fn flags(guard: &GuardConfig) -> PortFlags {
    guard.limited(PortFlags {
        untaught: true,
        known_only: true,
        ..PortFlags::default()
    })
}

/// The gateways that the pools name. Every node answers for them.
fn gateways(
    grant: &Grant,
    leaving: &std::collections::BTreeSet<Family>,
) -> Result<Vec<InterfaceAddress>, CniError> {
    let mut all = Vec::new();
    for granted in &grant.addresses {
        let (address, family) = (granted.address, granted.address.family());
        let gateway = granted
            .gateway
            .and_then(|gateway| InterfaceAddress::new(gateway, address.len()));
        match gateway {
            Some(gateway) => all.push(gateway),
            None if leaving.contains(&family) => {
                return Err(CniError::invalid_config(format!(
                    "ipMasq: {address} is of a pool without a gateway, by which it could leave the segment: add the pool with one, or switch ipMasq off"
                )));
            }
            None => {}
        }
    }
    Ok(all)
}

/// The IPAM's routes, each by the gateway of its family unless it names one, and a default by each gateway. None
/// has more than the segment carries: the kernel would believe the route.
fn routes(grant: &Grant, most: Mtu, gateways: &[InterfaceAddress]) -> Vec<Route> {
    let of_family = |family| {
        let mut gateways = gateways.iter().map(|it| it.address());
        gateways.find(|gateway| Family::of(*gateway) == family)
    };
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
    let named = grant.routes.iter().map(|route| Route {
        priority: route.priority,
        table: route.table.unwrap_or(MAIN_TABLE),
        scope: route.scope,
        mtu: route.mtu.map(|mtu| mtu.min(most.bytes())),
        advmss: route.advmss,
        ..over(
            route.dst,
            match route.scope {
                Some(253 | 254) if route.gw.is_none() => None,
                _ => route.gw.or_else(|| of_family(route.dst.family())),
            },
        )
    });
    let mut routes: Vec<Route> = named.collect();
    for gateway in gateways.iter().map(|it| it.address()) {
        let text = match Family::of(gateway) {
            Family::V4 => "0.0.0.0/0",
            Family::V6 => "::/0",
        };
        let default = text.parse().expect("a prefix");
        if !routes.iter().any(|route| route.destination == default) {
            routes.push(over(default, Some(gateway)));
        }
    }
    routes
}

/// Where each value of an attachment comes from.
pub(crate) fn origins(call: &Call, seen: &Inspection, rehearsal: &Rehearsal) -> Vec<Origin> {
    let named = |route: &Route| {
        let mut named = seen.grant.routes.iter();
        let is_named = named.any(|named| named.dst == route.destination);
        let source = if is_named {
            "routes of ipam"
        } else {
            "the pool's gateway, which every node answers for"
        };
        source.to_owned()
    };
    let own = Own {
        port: node(seen),
        bridge: on_bridge(seen),
        mtu: configured(call, "mtu", "the underlay's, less the encapsulation"),
        routes: seen.want.interface.routes.iter().map(named).collect(),
        nat: configured(call, "ipMasq", "what leaves the segment"),
        sysctls: "the network's own namespace".to_owned(),
    };
    origins_of(seen, rehearsal, own)
}

fn node(seen: &Inspection) -> Vec<Origin> {
    let Ns::Network(path) = &seen.want.node else {
        return Vec::new();
    };
    let station = format!("{} behind {}", seen.want.interface.mac, seen.want.port.name);
    let mut rows = vec![
        Origin::new(
            "port namespace",
            path,
            "digest of network and node, recorded",
        ),
        Origin::new(
            "port station",
            station,
            "told to the bridge, which learns nothing",
        ),
    ];
    let known = [&seen.want.neighbours, &seen.want.interface.neighbours];
    for (neighbours, whose) in known.into_iter().zip(["the gateway's", "the container's"]) {
        rows.extend(neighbours.iter().map(|known| {
            let value = format!("{} at {}", known.address, known.mac);
            Origin::new("neighbour", value, format!("{whose}, permanent"))
        }));
    }
    rows
}

fn on_bridge(seen: &Inspection) -> Vec<Origin> {
    let Some(want) = seen.want.place.bridge() else {
        return Vec::new();
    };
    let mut rows = vec![
        Origin::new(
            "bridge",
            want.name,
            "bhb and 12 characters of the network's name",
        ),
        Origin::new(
            "bridge MAC",
            want.mac,
            "digest of the network: the same on every node",
        ),
    ];
    let gateways = want.gateways.iter();
    rows.extend(gateways.map(|gateway| {
        Origin::new(
            "bridge address",
            gateway,
            "the pool's gateway, on every node",
        )
    }));
    rows
}

/// What leaves the segment has the address of its exit: others may have the same range beside it.
fn nat(grant: &Grant, end: &OverlayEnd) -> NetworkNat {
    let leaving = end
        .segment
        .as_ref()
        .map(bulkhead_attach::SegmentEnd::leaving);
    let leaving = leaving.unwrap_or_default();
    let subnets = grant.subnets.iter().copied();
    NetworkNat {
        name: nat_table(&grant.key.network).name,
        bridge: Some(grant.key.network.segment_bridge()),
        subnets: grant.subnets.clone(),
        masqueraded: subnets
            .filter(|subnet| leaving.contains(&subnet.family()))
            .collect(),
        exclude: grant.subnets.clone(),
        host_ports: false,
        no_redirects: false,
        no_turn_at: Some(grant.key.network.gateway_mac()),
    }
}
