//! The cases the laws run over.

use std::collections::BTreeMap;

use bulkhead_model::{AttachmentKey, Bandwidth, IfName, Mac, Mtu, Prefix};
use bulkhead_plan::{
    Attached, Binding, Bridge, Dad, Detached, Features, Filter, Foreign, Hook, HostPorts,
    Interface, Link, LinkKind, Localnet, MAIN_TABLE, NetworkGone, NetworkNat, Ns, OtherGateways,
    Port, PortFlags, Restore, Route, Space, Sysctl, Want, World,
};

/// One attachment on one network, and the world before it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the configuration's own"
)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) world: World,
    pub(crate) container: String,
    pub(crate) addresses: Vec<&'static str>,
    pub(crate) gateways: Vec<&'static str>,
    pub(crate) masquerade: bool,
    pub(crate) forwarding: bool,
    pub(crate) check_mac: bool,
    pub(crate) foreign: Foreign,
    pub(crate) hook: Hook,
    pub(crate) flags: PortFlags,
    pub(crate) up: bool,
    pub(crate) dad: Dad,
    pub(crate) mtu: Option<u32>,
    pub(crate) promiscuous: bool,
}

impl Case {
    fn key(&self) -> AttachmentKey {
        AttachmentKey {
            network: "blue".parse().unwrap(),
            container: self.container.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        }
    }

    pub(crate) fn port(&self) -> IfName {
        self.key().id().port()
    }

    #[expect(
        clippy::unused_self,
        reason = "as a case that named another would need it"
    )]
    pub(crate) fn bridge(&self) -> IfName {
        "br-blue".parse().unwrap()
    }

    pub(crate) fn container(&self) -> Ns {
        Ns::Container(format!("/run/netns/{}", self.container))
    }

    /// The same network for another container.
    pub(crate) fn with_container(&self, name: &str, v4: &'static str, v6: &'static str) -> Case {
        let mut world = self.world.clone();
        world.spaces.insert(
            Ns::Container(format!("/run/netns/{name}")),
            container_space(),
        );
        let addresses = match self.addresses.len() {
            0 => vec![],
            1 => vec![v4],
            _ => vec![v4, v6],
        };
        Case {
            world,
            container: name.to_owned(),
            addresses,
            gateways: self.gateways.clone(),
            ..*self
        }
    }
}

pub(crate) fn host_world(device_prefix: bool) -> World {
    let sysctls = BTreeMap::from([
        (Sysctl::ipv4_forwarding(), "0".to_owned()),
        (Sysctl::ipv6_forwarding(), "0".to_owned()),
    ]);
    let host = Space {
        ipv6: true,
        sysctls,
        generation: Some(7),
        ..Space::default()
    };
    let spaces = [
        (Ns::Host, host),
        (Ns::Container("/run/netns/c1".to_owned()), container_space()),
        (
            Ns::Container("/run/netns/neighbour".to_owned()),
            container_space(),
        ),
    ];
    World {
        features: Features { device_prefix },
        spaces: spaces.into(),
    }
}

fn container_space() -> Space {
    Space {
        ipv6: true,
        ..Space::default()
    }
}

fn foreign_bridge() -> Link {
    Link {
        kind: LinkKind::Bridge,
        mac: "02:00:00:00:00:99".parse::<Mac>().ok(),
        mtu: Mtu::new(1400).unwrap(),
        up: true,
        promiscuous: false,
        group: bulkhead_model::LinkGroup(0),
        bridge: None,
        port: PortFlags::default(),
        forms_link_local: true,
        shape: None,
    }
}

pub(crate) fn all() -> Vec<Case> {
    let dual = || Case {
        name: "dual-stack",
        world: host_world(true),
        container: "c1".to_owned(),
        addresses: vec!["10.1.0.5/24", "fd01::5/64"],
        gateways: vec!["10.1.0.1/24", "fd01::1/64"],
        masquerade: true,
        forwarding: true,
        check_mac: false,
        foreign: Foreign::Join,
        hook: Hook::Auto,
        flags: PortFlags::default(),
        up: true,
        dad: Dad::Skip,
        mtu: None,
        promiscuous: false,
    };
    let flags = PortFlags {
        hairpin: true,
        isolated: true,
    };
    let mut joined = host_world(true);
    let host = joined.spaces.get_mut(&Ns::Host).unwrap();
    host.links
        .insert("br-blue".parse().unwrap(), foreign_bridge());
    vec![
        dual(),
        Case {
            name: "prefix-filter",
            hook: Hook::Prefix,
            check_mac: true,
            ..dual()
        },
        Case {
            name: "per-port-filter",
            hook: Hook::PerPort,
            check_mac: true,
            ..dual()
        },
        Case {
            name: "old-kernel",
            world: host_world(false),
            flags,
            ..dual()
        },
        Case {
            name: "layer-2-only",
            addresses: vec![],
            gateways: vec![],
            masquerade: false,
            forwarding: false,
            ..dual()
        },
        Case {
            name: "ipv4-only",
            addresses: vec!["10.1.0.5/24"],
            gateways: vec!["10.1.0.1/24"],
            ..dual()
        },
        Case {
            name: "left-down",
            addresses: vec![],
            gateways: vec![],
            up: false,
            ..dual()
        },
        Case {
            name: "probed",
            dad: Dad::Probe,
            check_mac: true,
            mtu: Some(9000),
            ..dual()
        },
        Case {
            name: "joined-bridge",
            world: joined.clone(),
            gateways: vec![],
            masquerade: false,
            forwarding: false,
            ..dual()
        },
        Case {
            name: "adopted-bridge",
            world: joined,
            foreign: Foreign::Adopt,
            promiscuous: true,
            ..dual()
        },
    ]
}

pub(crate) fn attached(case: &Case) -> Want {
    let id = case.key().id();
    let prefix = |text: &str| text.parse::<Prefix>().unwrap();
    let route = |destination: &str, gateway: &str| Route {
        destination: prefix(destination),
        gateway: Some(gateway.parse().unwrap()),
        link: "eth0".parse().unwrap(),
        priority: None,
        table: MAIN_TABLE,
        scope: None,
        mtu: None,
        advmss: None,
    };
    let mut routes = Vec::new();
    if case.addresses.iter().any(|a| a.contains('.')) {
        routes.push(route("0.0.0.0/0", "10.1.0.1"));
    }
    if case.addresses.iter().any(|a| a.contains(':')) {
        routes.push(route("::/0", "fd01::1"));
    }
    let forwarding = [Sysctl::ipv4_forwarding(), Sysctl::ipv6_forwarding()];
    Want::Attached(Box::new(Attached {
        bridge: Bridge {
            name: case.bridge(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            mtu: case.mtu.and_then(Mtu::new),
            gateways: case.gateways.iter().map(|a| a.parse().unwrap()).collect(),
            promiscuous: case.promiscuous,
            localnet: Localnet::Unclaimed,
            foreign: case.foreign,
            other_gateways: OtherGateways::Refuse,
        },
        port: Port {
            name: id.port(),
            mac: id.port_mac(),
            flags: case.flags,
        },
        interface: Interface {
            ns: case.container(),
            name: "eth0".parse().unwrap(),
            mac: id.interface_mac(),
            mtu: case.mtu.and_then(Mtu::new),
            up: case.up,
            addresses: case.addresses.iter().map(|a| a.parse().unwrap()).collect(),
            dad: case.dad,
            routes,
        },
        filter: Filter {
            binding: binding(case),
            others: vec![],
            hook: case.hook,
        },
        sysctls: forwarding
            .into_iter()
            .filter(|_| case.forwarding)
            .map(|s| (s, "1".to_owned()))
            .collect(),
        nat: network_nat(case).table(),
        host_ports: HostPorts::default(),
        bandwidth: Bandwidth::default(),
    }))
}

fn network_nat(case: &Case) -> NetworkNat {
    let subnets = ["10.1.0.0/24", "fd01::/64"].map(|text| text.parse::<Prefix>().unwrap());
    NetworkNat {
        name: bulkhead_nft::Name::new("bh-blue").unwrap(),
        bridge: case.bridge(),
        masqueraded: subnets.into_iter().filter(|_| case.masquerade).collect(),
        exclude: vec![],
        host_ports: !case.gateways.is_empty(),
    }
}

fn binding(case: &Case) -> Binding {
    let id = case.key().id();
    Binding {
        port: id.port(),
        mac: case.check_mac.then(|| id.interface_mac()),
        ifb: None,
    }
}

/// The last attachment of the network and of the node.
pub(crate) fn detached(case: &Case) -> Detached {
    let addresses = case
        .addresses
        .iter()
        .map(|a| a.split('/').next().unwrap().parse().unwrap());
    let sysctl = |sysctl| Restore::Sysctl {
        sysctl,
        ours: "1".to_owned(),
        before: "0".to_owned(),
    };
    let mut restore = vec![];
    if case.forwarding {
        restore.extend([
            sysctl(Sysctl::ipv4_forwarding()),
            sysctl(Sysctl::ipv6_forwarding()),
        ]);
    }
    if case.foreign == Foreign::Adopt {
        let link = case.bridge();
        let added = case.gateways.iter().map(|a| Restore::Address {
            link,
            address: a.parse().unwrap(),
        });
        restore.extend(added);
        restore.push(Restore::Promiscuous { link });
    }
    let table = bulkhead_nft::Name::new("bh-blue").unwrap();
    Detached {
        port: case.port(),
        binding: Some(binding(case)),
        ifb: case.key().id().ifb(),
        host_ports: Some(vec![]),
        neighbours: addresses.map(|address| (case.bridge(), address)).collect(),
        network: Some(NetworkGone {
            bridge: Some(case.bridge()),
            tables: vec![bulkhead_nft::TableId {
                family: bulkhead_nft::TableFamily::Inet,
                name: table,
            }],
            restore,
            node_is_empty: true,
        }),
    }
}
