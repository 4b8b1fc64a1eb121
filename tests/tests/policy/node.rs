//! A node with endpoints behind devices of their own, routed as layer 3 links are, and packets between them.

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
    Endpoint, EndpointId, Labels, Local, NamedPort, NodeName, Packet, Place as Attached, Space,
    Traffic, World,
};
use netns_fixtures::{Ns, Sandbox};

use crate::dice::Dice;

const NODE: &str = "n1";
const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PORTS: [u16; 2] = [80, 81];
/// What a handshake may take that is let through: it is done in the call that begins it.
const HANDSHAKE: Duration = Duration::from_millis(5);

pub(crate) struct Node {
    ns: Ns,
    ends: Vec<End>,
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

impl Node {
    pub(crate) fn new(ends: usize) -> Self {
        let sandbox = Sandbox::new();
        let ns = sandbox.ns("node").unwrap();
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            ns.set_sysctl(key, "1").unwrap();
        }
        let ends = (0..ends).map(|nth| End::new(&sandbox, &ns, nth)).collect();
        Self {
            ns,
            ends,
            _sandbox: sandbox,
        }
    }

    pub(crate) fn world(&self) -> World {
        let mut world = World::default();
        world
            .nodes
            .insert(NodeName::new(NODE), bulkhead_policy::Node::default());
        for nth in 0..self.ends.len() {
            let endpoint = Endpoint {
                labels: Labels::from_iter([("app", if nth % 2 == 0 { "a" } else { "b" })]),
                groups: BTreeSet::new(),
                addresses: [address(nth, false), address(nth, true)].into(),
                ports: [NamedPort {
                    name: "serve".to_owned(),
                    protocol: Protocol::Tcp,
                    port: PORTS[nth % 2],
                }]
                .into(),
                node: Some(NodeName::new(NODE)),
                place: Attached::Port,
            };
            world.endpoints.insert(id(nth), endpoint);
        }
        world
    }

    pub(crate) fn local(&self) -> Local {
        let each = (0..self.ends.len()).map(|nth| (id(nth), device(nth).parse().unwrap()));
        Local {
            endpoints: each.collect(),
            ..Local::default()
        }
    }

    pub(crate) fn commit(&self, commands: Vec<Command>) {
        let op = Op::Nft {
            ns: Place::Host,
            transaction: Transaction(commands),
            generation: None,
        };
        let apply = || Kernel::new(Deletion::Blocking).apply(&Plan::new(vec![op]));
        self.ns.enter(apply).unwrap().unwrap();
    }

    pub(crate) fn standing(&self) -> Option<Standing> {
        let read = || Kernel::new(Deletion::Blocking).standing(&table_id());
        self.ns.enter(read).unwrap().unwrap()
    }

    pub(crate) fn nft(&self, script: &str) {
        self.ns.nft(script).unwrap();
    }

    pub(crate) fn listing(&self) -> String {
        self.ns.sh("nft -s list ruleset").unwrap()
    }

    pub(crate) fn packet(&self, probe: &Probe) -> Packet {
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

    /// Whether it comes.
    pub(crate) fn send(&self, probe: &Probe) -> bool {
        let to = SocketAddr::new(address(probe.to, probe.is_six), PORTS[probe.port]);
        let (from, receiver) = (&self.ends[probe.from], &self.ends[probe.to]);
        match probe.protocol {
            Protocol::Udp => {
                let socket = &receiver.udp[probe.port];
                let mut buffer = [0; 8];
                from.senders[usize::from(probe.is_six)]
                    .send_to(b"probe", to)
                    .ok();
                // It is delivered, or dropped, in the call that sends it.
                match socket.recv_from(&mut buffer) {
                    Ok(_) => true,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                        false
                    }
                }
            }
            _ => {
                let connect = || TcpStream::connect_timeout(&to, HANDSHAKE);
                let connected = from.ns.enter(connect).unwrap();
                if connected.is_ok() {
                    receiver.tcp[probe.port].accept().unwrap();
                }
                connected.is_ok()
            }
        }
    }
}

impl End {
    fn new(sandbox: &Sandbox, node: &Ns, nth: usize) -> Self {
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
