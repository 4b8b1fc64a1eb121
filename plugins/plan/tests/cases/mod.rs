//! The cases the laws run over: one attachment each, and the world it comes to.

mod bandwidth;
mod host_ports;
pub(crate) mod point_to_point;
mod want;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use bulkhead_model::{
    AttachmentKey, Bandwidth, HostAddress, HostPort, IfName, Mac, Mtu, Prefix, Protocol,
};
use bulkhead_nft as nft;
use bulkhead_plan::{
    AddressState, Advertised, Binding, Dad, Features, Flow, Foreign, Forward, Guard, Hook,
    Identity, Link, LinkKind, MulticastRouter, NeighbourState, Ns, Op, PortFlags, Space,
    Surroundings, Sysctl, World, plan, segment_table,
};

pub(crate) use want::{attached, detached, unrecorded};

/// An address of the node of each family, beside its loopback's.
pub(crate) const OWN: [&str; 2] = ["192.0.2.1", "2001:db8::1"];

/// The MAC of the network's bridge.
const BRIDGE_MAC: &str = "02:00:00:00:00:01";

/// The port of an attachment that died without a DEL.
pub(crate) const DEAD: &str = "bhpaaaaaaaaaaaa";

/// One attachment on one network, and what there is before it.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the configuration's own"
)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What other programs made.
    pub(crate) ground: World,
    /// What we did to it since.
    pub(crate) history: Vec<Op>,
    /// The flows that began then.
    pub(crate) flows: Vec<Flow>,
    pub(crate) container: String,
    /// The name of its namespace.
    pub(crate) netns: String,
    pub(crate) addresses: Vec<&'static str>,
    pub(crate) gateways: Vec<&'static str>,
    /// Whether the container has a link of its own, and no bridge.
    pub(crate) own_link: bool,
    /// Blocks of the node's own, where there is no bridge.
    pub(crate) blackholes: Vec<&'static str>,
    /// Blocks of the node's own on the bridge.
    pub(crate) own_blocks: Vec<&'static str>,
    /// Those of the cluster's pools.
    pub(crate) shares: Vec<&'static str>,
    pub(crate) masquerade: bool,
    pub(crate) forwarding: bool,
    pub(crate) guard: Guarded,
    pub(crate) foreign: Foreign,
    pub(crate) hook: Hook,
    pub(crate) flags: PortFlags,
    pub(crate) up: bool,
    pub(crate) dad: Dad,
    pub(crate) advertised: Advertised,
    pub(crate) mtu: Option<u32>,
    pub(crate) promiscuous: bool,
    /// What of the host leads where: `udp 192.0.2.1:53` to `10.1.0.5:53`.
    pub(crate) host_ports: Vec<(&'static str, &'static str)>,
    pub(crate) bandwidth: Bandwidth,
    /// Another attachment of the network, which stands.
    pub(crate) company: Option<Box<Case>>,
}

/// How a case's port is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Guarded {
    Off,
    Mac,
    Unknown,
    On,
}

impl Guarded {
    fn of(self, case: &Case) -> Guard {
        match self {
            Self::Off => Guard::Off,
            Self::Mac => Guard::Mac(case.mac()),
            Self::Unknown => Guard::On(Identity::unknown([case.mac()])),
            Self::On => {
                let addresses = case.addresses.iter();
                let address = |text: &&str| text.split('/').next().unwrap().parse().unwrap();
                Guard::On(Identity::host([case.mac()], addresses.map(address)))
            }
        }
    }
}

impl Case {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.addresses.iter();
        addresses.map(|text| text.split('/').next().unwrap().parse().unwrap())
    }

    fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let gateways = self.gateways.iter();
        gateways.map(|text| text.split('/').next().unwrap().parse().unwrap())
    }

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

    /// Its interface's.
    pub(crate) fn mac(&self) -> Mac {
        self.key().id().interface_mac()
    }

    pub(crate) fn ifb(&self) -> IfName {
        self.key().id().ifb()
    }

    #[expect(
        clippy::unused_self,
        reason = "as a case that named another would need it"
    )]
    pub(crate) fn bridge(&self) -> IfName {
        "br-blue".parse().unwrap()
    }

    /// The node's link to the container.
    pub(crate) fn node_link(&self) -> IfName {
        if self.own_link {
            self.port()
        } else {
            self.bridge()
        }
    }

    pub(crate) fn container(&self) -> Ns {
        container(&self.netns)
    }

    pub(crate) fn binding(&self) -> Binding {
        let bridge_mac = (!self.own_link).then(|| BRIDGE_MAC.parse::<Mac>().unwrap());
        let link_local = |mac: &Mac| mac.link_local();
        Binding {
            port: self.port(),
            guard: self.guard.of(self),
            ifb: self.bandwidth.egress.map(|_| self.ifb()),
            around: Surroundings {
                gateways: self.gateways().collect(),
                granted: self.addresses().collect(),
                own_blocks: prefixes(&self.own_blocks),
                shares: prefixes(&self.shares),
                bridge: (!self.own_link).then(|| self.bridge()),
                node_macs: bridge_mac.into_iter().chain([self.port_mac()]).collect(),
                node_links: bridge_mac.iter().map(link_local).collect(),
                ..Surroundings::default()
            },
        }
    }

    pub(crate) fn forwards(&self) -> Vec<Forward> {
        let forward = |(host, to): &(&str, &str)| Forward {
            host: host_port(host),
            to: to.parse().unwrap(),
            owner: self.port(),
        };
        self.host_ports.iter().map(forward).collect()
    }

    /// The world its ADD comes to.
    pub(crate) fn before(&self) -> World {
        let mut world = self.ground.clone();
        for op in &self.history {
            let done = world.run(op);
            done.unwrap_or_else(|refusal| panic!("{}: {refusal}: {op}", self.name));
        }
        let flows = self.flows.iter().copied();
        host(&mut world).flows.extend(flows);
        world
    }

    /// Flows to its UDP host ports, as they are while it stands.
    pub(crate) fn flows_in(&self) -> Vec<Flow> {
        let forwards = self.forwards().into_iter();
        let udp = forwards.filter(|forward| forward.host.protocol == Protocol::Udp);
        udp.map(|forward| {
            let own = OWN.map(|own| own.parse::<IpAddr>().unwrap());
            let own = own[usize::from(forward.to.is_ipv6())];
            let address = match forward.host.address {
                HostAddress::One(one) => one,
                HostAddress::Any | HostAddress::Every(_) => own,
            };
            Flow {
                source: SocketAddr::new(own, 4001),
                destination: SocketAddr::new(address, forward.host.number.get()),
                answerer: forward.to,
            }
        })
        .collect()
    }

    /// The same network for another container.
    pub(crate) fn neighbour(&self) -> Case {
        let on_bridge = ["10.1.0.77/24", "fd01::77/64"];
        let mine = if self.own_link {
            ["10.1.0.77/32", "fd01::77/128"]
        } else {
            on_bridge
        };
        let ports = [
            ("tcp *:9090", "10.1.0.77:80"),
            ("tcp *:9090", "[fd01::77]:80"),
        ];
        let families = self.addresses.len();
        let with_ports = usize::from(!self.host_ports.is_empty());
        Case {
            container: "neighbour".to_owned(),
            netns: "neighbour".to_owned(),
            addresses: mine[..families].to_vec(),
            host_ports: ports[..families * with_ports].to_vec(),
            company: None,
            ..self.clone()
        }
    }

    /// After more has been done, which may depend on what there is.
    fn after(mut self, ops: impl FnOnce(&Case, &World) -> Vec<Op>) -> Self {
        let ops = ops(&self, &self.before());
        self.history.extend(ops);
        self
    }

    /// After its own ADD.
    fn added(self) -> Self {
        self.after(|case, world| plan(world, &attached(case)).unwrap().ops().to_vec())
    }

    /// After the ADD of another container.
    fn beside_another(self) -> Self {
        let other = self.neighbour();
        let add = |_: &Case, world: &World| plan(world, &attached(&other)).unwrap().ops().to_vec();
        Case {
            company: Some(Box::new(other.clone())),
            ..self.after(add)
        }
    }
}

fn prefixes(texts: &[&str]) -> BTreeSet<Prefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// `tcp *:80`, `udp [2001:db8::1]:53`.
fn host_port(text: &str) -> HostPort {
    let (protocol, rest) = text.split_once(' ').unwrap();
    let (address, number) = rest.rsplit_once(':').unwrap();
    HostPort {
        protocol: protocol.parse().unwrap(),
        address: address.parse().unwrap(),
        number: number.parse().unwrap(),
    }
}

pub(crate) fn host(world: &mut World) -> &mut Space {
    world.spaces.get_mut(&Ns::Host).unwrap()
}

fn container(netns: &str) -> Ns {
    Ns::Container(format!("/run/netns/{netns}"))
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
        local: ["127.0.0.1"]
            .iter()
            .chain(&OWN)
            .map(|own| own.parse().unwrap())
            .collect(),
        ..Space::default()
    };
    let inside = |netns| {
        let space = Space {
            ipv6: true,
            ..Space::default()
        };
        (container(netns), space)
    };
    let spaces = [(Ns::Host, host)]
        .into_iter()
        .chain(["c1", "earlier", "neighbour"].map(inside));
    World {
        features: Features {
            device_prefix,
            group_limit: device_prefix,
            ..Features::default()
        },
        spaces: spaces.collect(),
        named: [].into(),
    }
}

/// A link that somebody else made.
pub(crate) fn foreign(kind: LinkKind) -> Link {
    Link {
        kind,
        mac: "02:00:00:00:00:99".parse::<Mac>().ok(),
        mtu: Mtu::new(1400).unwrap(),
        up: true,
        promiscuous: false,
        group: bulkhead_model::LinkGroup(0),
        bridge: None,
        port: PortFlags::default(),
        forms_link_local: true,
        learns_link_local: true,
        shape: None,
    }
}

/// A node with a bridge that somebody else made, with these addresses.
fn bridged(addresses: &[&str], route_localnet: &str) -> World {
    let mut world = host_world(true);
    let bridge = "br-blue".parse().unwrap();
    let host = host(&mut world);
    host.links.insert(bridge, foreign(LinkKind::Bridge));
    for address in addresses {
        let address = (bridge, address.parse().unwrap());
        host.addresses.insert(address, AddressState::default());
    }
    let switch = Sysctl::ipv4_conf("br-blue", "route_localnet");
    host.sysctls.insert(switch, route_localnet.to_owned());
    world
}

fn commit(commands: impl IntoIterator<Item = nft::Command>) -> Op {
    Op::Nft {
        ns: Ns::Host,
        transaction: nft::Transaction(commands.into_iter().collect()),
        generation: None,
    }
}

/// `nft delete table` by somebody.
fn dropped(table: nft::TableId) -> Op {
    commit([nft::Command::DeleteTable(table)])
}

/// The network's own table.
pub(crate) fn network_table() -> nft::TableId {
    nft::TableId {
        family: nft::TableFamily::Inet,
        name: nft::Name::literal("bh-blue"),
    }
}

/// A dual-stack network whose bridge is the gateway.
pub(crate) fn dual() -> Case {
    Case {
        name: "dual-stack",
        ground: host_world(true),
        history: vec![],
        flows: vec![],
        container: "c1".to_owned(),
        netns: "c1".to_owned(),
        addresses: vec!["10.1.0.5/24", "fd01::5/64"],
        gateways: vec!["10.1.0.1/24", "fd01::1/64"],
        own_link: false,
        blackholes: vec![],
        own_blocks: vec![],
        shares: vec![],
        masquerade: true,
        forwarding: true,
        guard: Guarded::On,
        foreign: Foreign::Join,
        hook: Hook::Auto,
        flags: PortFlags::default(),
        up: true,
        dad: Dad::Skip,
        advertised: Advertised::Nothing,
        mtu: None,
        promiscuous: false,
        host_ports: vec![],
        bandwidth: Bandwidth::default(),
        company: None,
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut all = networks();
    all.extend(with_blocks());
    all.extend(host_ports::cases());
    all.extend(bandwidth::cases());
    all.extend(point_to_point::cases());
    all
}

/// The host still believes that somebody else has its address.
fn former_holder() -> Case {
    let mut ground = bridged(&["10.1.0.1/24"], "0");
    let address = ("br-blue".parse().unwrap(), "10.1.0.5".parse().unwrap());
    let mac = NeighbourState {
        mac: "02:00:00:00:00:77".parse().unwrap(),
        permanent: false,
    };
    host(&mut ground).neighbours.insert(address, mac);
    Case {
        name: "address-of-a-former-holder",
        ground,
        gateways: vec![],
        masquerade: false,
        forwarding: false,
        ..dual()
    }
}

/// Networks whose blocks are the node's own.
fn with_blocks() -> Vec<Case> {
    let blocks = Case {
        name: "own-blocks",
        own_blocks: vec!["10.1.0.0/24", "fd01::/64"],
        ..dual()
    };
    vec![
        blocks.clone(),
        Case {
            name: "own-blocks-beside-another",
            ..blocks.clone().beside_another()
        },
        Case {
            name: "own-blocks-known-no-more",
            ..blocks
                .clone()
                .beside_another()
                .after(|_, _| vec![dropped(segment_table())])
        },
        Case {
            name: "own-blocks-prefix-filter",
            hook: Hook::Prefix,
            ..blocks.clone()
        },
        Case {
            name: "own-blocks-guard-off",
            guard: Guarded::Off,
            ..blocks.clone()
        },
        Case {
            name: "share-of-a-pool",
            own_blocks: vec![],
            shares: vec!["10.1.0.0/26", "fd01::/122"],
            ..blocks
        },
    ]
}

fn networks() -> Vec<Case> {
    let flags = PortFlags {
        hairpin: true,
        isolated: true,
        multicast_router: MulticastRouter::Never,
        max_groups: NonZeroU32::new(32),
        ..PortFlags::default()
    };
    vec![
        dual(),
        Case {
            name: "prefix-filter",
            hook: Hook::Prefix,
            guard: Guarded::Mac,
            ..dual()
        },
        Case {
            name: "per-port-filter",
            hook: Hook::PerPort,
            guard: Guarded::Mac,
            ..dual()
        },
        Case {
            name: "port-limits",
            flags,
            ..dual()
        },
        Case {
            name: "old-kernel",
            ground: host_world(false),
            flags,
            ..dual()
        },
        Case {
            name: "guard-off",
            guard: Guarded::Off,
            ..dual()
        },
        Case {
            name: "layer-2-only",
            addresses: vec![],
            gateways: vec![],
            masquerade: false,
            forwarding: false,
            guard: Guarded::Unknown,
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
            guard: Guarded::Mac,
            mtu: Some(9000),
            ..dual()
        },
        Case {
            name: "joined-bridge",
            ground: bridged(&[], "0"),
            gateways: vec![],
            masquerade: false,
            forwarding: false,
            ..dual()
        },
        former_holder(),
        Case {
            name: "adopted-bridge",
            ground: bridged(&[], "0"),
            foreign: Foreign::Adopt,
            promiscuous: true,
            ..dual()
        },
    ]
}
