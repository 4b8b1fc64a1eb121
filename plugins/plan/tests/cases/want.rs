//! What a case wants: attached, and gone.

use bulkhead_model::{Mtu, Prefix};
use bulkhead_nft as nft;
use bulkhead_plan::{
    Attached, Bridge, Detached, Filter, Foreign, HostPorts, Interface, Localnet, MAIN_TABLE,
    NetworkGone, NetworkNat, Ns, OtherGateways, Place, Port, Restore, Route, Sysctl, Want,
};

use super::point_to_point::GATEWAYS;
use super::{BRIDGE_MAC, Case, network_table};

pub(crate) fn attached(case: &Case) -> Want {
    let id = case.key().id();
    let forwarding = [Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()];
    let company = || case.company.as_deref().into_iter();
    Want::Attached(Box::new(Attached {
        node: Ns::Host,
        place: place(case),
        port: Port {
            name: id.port(),
            mac: case.port_mac(),
            mtu: case.mtu.and_then(Mtu::new),
            flags: case.flags,
            is_told: false,
        },
        interface: Interface {
            ns: case.container(),
            name: "eth0".parse().unwrap(),
            mac: case.mac(),
            mtu: None,
            up: case.up,
            addresses: case.addresses.iter().map(|a| a.parse().unwrap()).collect(),
            dad: case.dad,
            on_link: case.on_link(),
            routes: routes(case),
            neighbours: case.known_inside(),
            advertised: case.advertised,
        },
        filter: Filter {
            binding: case.binding(),
            others: company().map(Case::binding).collect(),
            hook: case.hook,
        },
        neighbours: case.known_outside(),
        sysctls: forwarding
            .into_iter()
            .filter(|_| case.forwarding)
            .map(|s| (s, "1".to_owned()))
            .collect(),
        nat: nat(case),
        host_ports: HostPorts {
            mine: case.forwards(),
            others: company().flat_map(Case::forwards).collect(),
        },
        bandwidth: case.bandwidth,
    }))
}

fn place(case: &Case) -> Place {
    if case.own_link {
        return case.place();
    }
    Place::Bridge(Bridge {
        name: case.bridge(),
        mac: BRIDGE_MAC.parse().unwrap(),
        mtu: case.mtu.and_then(Mtu::new),
        gateways: case.gateways.iter().map(|a| a.parse().unwrap()).collect(),
        promiscuous: case.promiscuous,
        localnet: Localnet::needed_by(&case.forwards()),
        foreign: case.foreign,
        other_gateways: OtherGateways::Refuse,
    })
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn routes(case: &Case) -> Vec<Route> {
    let on_bridge = [
        ('.', "0.0.0.0/0", Some("10.1.0.1")),
        (':', "::/0", Some("fd01::1")),
    ];
    let [v4, v6] = GATEWAYS;
    let own = [
        ('.', "169.254.1.1/32", None),
        ('.', "0.0.0.0/0", Some(v4)),
        (':', "::/0", Some(v6)),
    ];
    let all: &[(char, &str, Option<&str>)] = if case.own_link { &own } else { &on_bridge };
    let has = |mark: char| case.addresses.iter().any(|address| address.contains(mark));
    let wanted = all.iter().filter(|(mark, ..)| has(*mark));
    wanted
        .map(|(_, destination, gateway)| Route {
            destination: prefix(destination),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            link: "eth0".parse().unwrap(),
            priority: None,
            table: MAIN_TABLE,
            scope: None,
            mtu: None,
            advmss: None,
        })
        .collect()
}

fn nat(case: &Case) -> Option<nft::Table> {
    let subnets = vec![prefix("10.1.0.0/24"), prefix("fd01::/64")];
    let network = NetworkNat {
        name: network_table().name,
        bridge: (!case.own_link).then(|| case.bridge()),
        subnets: subnets.clone(),
        masqueraded: subnets.into_iter().filter(|_| case.masquerade).collect(),
        exclude: vec![],
        host_ports: !case.gateways.is_empty() || !case.host_ports.is_empty(),
        no_redirects: false,
        no_turn_at: None,
    };
    network.table()
}

/// Gone; without company, as the last attachment of the network and of the node.
pub(crate) fn detached(case: &Case) -> Detached {
    let addresses = case
        .addresses
        .iter()
        .map(|a| a.split('/').next().unwrap().parse().unwrap());
    let last = NetworkGone {
        bridge: (!case.own_link).then(|| case.bridge()),
        tables: vec![network_table()],
        restore: restore(case),
        node_is_empty: true,
    };
    Detached {
        node: Ns::Host,
        port: case.port(),
        binding: Some(case.binding()),
        ifb: case.ifb(),
        host_ports: Some(case.forwards()),
        neighbours: addresses
            .filter(|_| !case.own_link)
            .map(|address| (case.bridge(), address))
            .collect(),
        network: case.company.is_none().then_some(last),
    }
}

/// The same of an attachment whose record is lost.
pub(crate) fn unrecorded(case: &Case) -> Detached {
    Detached {
        binding: None,
        host_ports: None,
        neighbours: vec![],
        ..detached(case)
    }
}

fn restore(case: &Case) -> Vec<Restore> {
    let set = |sysctl| Restore::Sysctl {
        sysctl,
        ours: "1".to_owned(),
        before: "0".to_owned(),
    };
    let mut all = vec![];
    if case.forwarding {
        all.extend([Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()].map(set));
    }
    let blocks = case.blackholes.iter().map(|block| prefix(block));
    all.extend(blocks.map(|destination| Restore::Blackhole { destination }));
    let blocks = case.own_blocks.iter().chain(&case.shares);
    let blocks: Vec<_> = blocks.map(|block| prefix(block)).collect();
    if !blocks.is_empty() {
        let gateways = case.gateways.iter();
        let gateways = gateways.map(|a| a.split('/').next().unwrap().parse().unwrap());
        all.extend(gateways.map(|address| Restore::Gateway { address }));
        all.extend(blocks.into_iter().map(|prefix| Restore::Block { prefix }));
    }
    if case.foreign == Foreign::Adopt {
        let link = case.bridge();
        let ground = case.ground.space(&Ns::Host);
        let addresses = case.gateways.iter().map(|a| a.parse().unwrap());
        let added = addresses.filter(|address| !ground.addresses.contains_key(&(link, *address)));
        all.extend(added.map(|address| Restore::Address { link, address }));
        if Localnet::needed_by(&case.forwards()) != Localnet::Unclaimed {
            all.push(set(Sysctl::ipv4_conf(link.as_str(), "route_localnet")));
        }
        if case.promiscuous {
            all.push(Restore::Promiscuous { link });
        }
    }
    all
}
