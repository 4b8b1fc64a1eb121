//! One node or two with endpoints behind devices of their own, routed as layer 3 links are, and packets between
//! them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::Protocol;
use bulkhead_nft::{Command, Standing, Transaction};
use bulkhead_plan::{Ns as Place, Op, Plan};
use bulkhead_policy::compile::table_id;
use bulkhead_policy::{
    Decision, Endpoint, EndpointId, Labels, Local, NamedPort, NodeName, Packet, Place as Attached,
    Space, Traffic, World,
};
use netns_fixtures::{Ns, Sandbox, carries, wait_until};

use crate::dice::Dice;

const NODES: [&str; 2] = ["n1", "n2"];
const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PORTS: [u16; 2] = [80, 81];
/// Longer than anything takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(40);
/// How long it is looked whether a handshake is done that should not be.
const HANDSHAKE: Duration = Duration::from_millis(5);

pub(crate) struct Nodes {
    sides: Vec<Ns>,
    ends: Vec<End>,
    /// Datagrams so far, each of which has a number.
    sent: Cell<u64>,
    _sandbox: Sandbox,
}

struct End {
    ns: Ns,
    /// Sends datagrams.
    senders: [UdpSocket; 2],
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    from: usize,
    to: usize,
    is_six: bool,
    protocol: Protocol,
    /// Of [`PORTS`].
    port: usize,
}

impl Probe {
    pub(crate) fn any(dice: &mut Dice, ends: usize) -> Self {
        let from = dice.below(ends);
        let to = (from + 1 + dice.below(ends - 1)) % ends;
        Self {
            from,
            to,
            is_six: dice.percent(50),
            protocol: dice.one(&[Protocol::Tcp, Protocol::Udp]),
            port: dice.below(PORTS.len()),
        }
    }

    pub(crate) const fn datagram(from: usize, to: usize) -> Self {
        Self {
            from,
            to,
            is_six: false,
            protocol: Protocol::Udp,
            port: 0,
        }
    }
}

fn address(nth: usize, is_six: bool) -> IpAddr {
    let host = u16::try_from(nth + 2).expect("a few endpoints");
    if is_six {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into()
    } else {
        let [_, low] = host.to_be_bytes();
        Ipv4Addr::new(10, 0, 0, low).into()
    }
}

fn device(nth: usize) -> String {
    format!("bhp{nth:012}")
}

fn id(nth: usize) -> EndpointId {
    EndpointId::new(NAMESPACES[nth % 3], format!("e{nth}"))
}

impl Nodes {
    /// So many nodes, one or two, which have so many endpoints in turn.
    pub(crate) fn new(nodes: usize, ends: usize) -> Self {
        let sandbox = Sandbox::new();
        let sides: Vec<Ns> = NODES[..nodes]
            .iter()
            .map(|name| sandbox.ns(name).unwrap())
            .collect();
        for ns in &sides {
            for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
                ns.set_sysctl(key, "1").unwrap();
            }
        }
        if let [one, other] = sides.as_slice() {
            join(one, other);
        }
        let ends: Vec<_> = (0..ends)
            .map(|nth| End::new(&sandbox, &sides, nth))
            .collect();
        for ns in sides.iter().chain(ends.iter().map(|end| &end.ns)) {
            carries(ns).unwrap();
        }
        Self {
            sides,
            ends,
            sent: Cell::new(0),
            _sandbox: sandbox,
        }
    }

    pub(crate) fn sides(&self) -> std::ops::Range<usize> {
        0..self.sides.len()
    }

    fn side_of(&self, end: usize) -> usize {
        end % self.sides.len()
    }

    pub(crate) fn world(&self) -> World {
        let mut world = World::default();
        for (nth, name) in NODES.iter().enumerate().take(self.sides.len()) {
            let node = bulkhead_policy::Node {
                addresses: [false, true].map(|is_six| between(nth, is_six)).into(),
                ..bulkhead_policy::Node::default()
            };
            world.nodes.insert(NodeName::new(*name), node);
        }
        for nth in 0..self.ends.len() {
            let endpoint = Endpoint {
                labels: Labels::from_iter([("app", if nth % 2 == 0 { "a" } else { "b" })]),
                groups: BTreeSet::new(),
                addresses: [address(nth, false), address(nth, true)].into(),
                prefixes: BTreeSet::new(),
                ports: [NamedPort {
                    name: "serve".to_owned(),
                    protocol: Protocol::Tcp,
                    port: PORTS[nth % 2],
                }]
                .into(),
                node: Some(NodeName::new(NODES[self.side_of(nth)])),
                place: Attached::Port,
            };
            world.endpoints.insert(id(nth), endpoint);
        }
        world
    }

    pub(crate) fn local(&self, side: usize) -> Local {
        let there = (0..self.ends.len()).filter(|nth| self.side_of(*nth) == side);
        let each = there.map(|nth| (id(nth), device(nth).parse().unwrap()));
        Local {
            endpoints: each.collect(),
            ..Local::default()
        }
    }

    pub(crate) fn commit(&self, side: usize, commands: Vec<Command>) {
        let op = Op::Nft {
            ns: Place::Host,
            transaction: Transaction(commands),
            generation: None,
        };
        let apply = || Kernel::new(Deletion::Blocking).apply(&Plan::new(vec![op]));
        self.sides[side].enter(apply).unwrap().unwrap();
    }

    pub(crate) fn standing(&self, side: usize) -> Option<Standing> {
        let read = || Kernel::new(Deletion::Blocking).standing(&table_id());
        self.sides[side].enter(read).unwrap().unwrap()
    }

    pub(crate) fn nft(&self, script: &str) {
        self.sides[0].nft(script).unwrap();
    }

    pub(crate) fn listing(&self) -> String {
        self.sides[0].sh("nft -s list ruleset").unwrap()
    }

    pub(crate) fn packet(probe: &Probe) -> Packet {
        Packet {
            space: Space::Node,
            source: address(probe.from, probe.is_six),
            destination: address(probe.to, probe.is_six),
            traffic: Traffic::Port {
                protocol: probe.protocol,
                port: PORTS[probe.port],
            },
        }
    }

    /// Whether it comes, which is waited for where it should. What came although it should not is found by
    /// whoever reads the same socket next.
    pub(crate) fn send(&self, probe: &Probe, should: Decision) -> bool {
        let to = SocketAddr::new(address(probe.to, probe.is_six), PORTS[probe.port]);
        let (from, receiver) = (&self.ends[probe.from], &self.ends[probe.to]);
        let patience = match should {
            Decision::Allow => LIMIT,
            Decision::Deny => HANDSHAKE,
        };
        if probe.protocol != Protocol::Udp {
            let connect = || TcpStream::connect_timeout(&to, patience);
            let connected = from.ns.enter(connect).unwrap();
            if connected.is_ok() {
                receiver.tcp[probe.port].accept().unwrap();
            }
            return connected.is_ok();
        }
        let number = self.sent.get() + 1;
        self.sent.set(number);
        let sender = &from.senders[usize::from(probe.is_six)];
        sender.send_to(&number.to_be_bytes(), to).ok();
        let socket = &receiver.udp[probe.port];
        let mut buffer = [0; 8];
        let came = || match socket.recv_from(&mut buffer) {
            Ok(_) => {
                assert_eq!(
                    u64::from_be_bytes(buffer),
                    number,
                    "an earlier one came late"
                );
                Some(())
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                None
            }
        };
        match should {
            Decision::Allow => wait_until(LIMIT, came).is_some(),
            Decision::Deny => wait_until(Duration::from_millis(1), came).is_some(),
        }
    }
}

/// A node's address on the link between two.
fn between(side: usize, is_six: bool) -> IpAddr {
    let host = u16::try_from(side + 1).expect("two nodes");
    if is_six {
        Ipv6Addr::new(0xfd00, 0xff, 0, 0, 0, 0, 0, host).into()
    } else {
        let [_, low] = host.to_be_bytes();
        Ipv4Addr::new(10, 255, 0, low).into()
    }
}

/// A link between two nodes.
fn join(one: &Ns, other: &Ns) {
    one.ip(&format!(
        "link add up0 type veth peer name up0 netns {}",
        other.name()
    ))
    .unwrap();
    for (side, ns) in [one, other].into_iter().enumerate() {
        let [v4, v6] = [false, true].map(|is_six| between(side, is_six));
        ns.ip_batch(&[
            format!("addr add {v4}/30 dev up0"),
            format!("addr add {v6}/126 dev up0 nodad"),
            "link set up0 up".to_owned(),
        ])
        .unwrap();
    }
}

impl End {
    fn new(sandbox: &Sandbox, sides: &[Ns], nth: usize) -> Self {
        let node = &sides[nth % sides.len()];
        let ns = sandbox.ns(&format!("end{nth}")).unwrap();
        let device = device(nth);
        let (v4, v6) = (address(nth, false), address(nth, true));
        let macs = [0xfe, 0x02].map(|first: u8| format!("{first:02x}:00:00:00:00:{:02x}", nth + 1));
        let [port, inside] = &macs;
        node.ip(&format!(
            "link add {device} address {port} type veth peer name eth0 address {inside} netns {}",
            ns.name()
        ))
        .unwrap();
        ns.ip_batch(&[
            format!("addr add {v4}/32 dev eth0"),
            format!("addr add {v6}/128 dev eth0 nodad"),
            "link set eth0 up".to_owned(),
        ])
        .unwrap();
        node.ip_batch(&[
            format!("link set {device} up"),
            format!("neigh add {v4} lladdr {inside} dev {device} nud permanent"),
            format!("neigh add {v6} lladdr {inside} dev {device} nud permanent"),
            format!("route add {v4}/32 dev {device}"),
            format!("route add {v6}/128 dev {device}"),
        ])
        .unwrap();
        for (side, other) in sides.iter().enumerate() {
            if side != nth % sides.len() {
                let [by4, by6] = [false, true].map(|is_six| between(nth % sides.len(), is_six));
                other
                    .ip_batch(&[
                        format!("route add {v4}/32 via {by4}"),
                        format!("route add {v6}/128 via {by6}"),
                    ])
                    .unwrap();
            }
        }
        ns.ip_batch(&[
            format!("neigh add 169.254.1.1 lladdr {port} dev eth0 nud permanent"),
            format!("neigh add fe80::1 lladdr {port} dev eth0 nud permanent"),
            "route add 169.254.1.1 dev eth0".to_owned(),
            "route add default via 169.254.1.1".to_owned(),
            "route add ::/0 via fe80::1 dev eth0".to_owned(),
        ])
        .unwrap();
        let sockets = || {
            let any = |port: u16| (Ipv6Addr::UNSPECIFIED, port);
            let udp = PORTS.map(|port| {
                let socket = UdpSocket::bind(any(port)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            });
            let tcp = PORTS.map(|port| TcpListener::bind(any(port)).unwrap());
            let senders = [
                UdpSocket::bind((v4, 0)).unwrap(),
                UdpSocket::bind((v6, 0)).unwrap(),
            ];
            (senders, udp.into(), tcp.into())
        };
        let (senders, udp, tcp) = ns.enter(sockets).unwrap();
        Self {
            ns,
            senders,
            udp,
            tcp,
        }
    }
}
