//! What host ports cost when there are many on a node: the first packet of a flow through one, and
//! the ADD and DEL of one more container with two.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use netns_fixtures::{NsError, Outside, Sandbox};

use super::asked::{Mapping, mappings};
use super::contestant::Contestant;
use super::field::{Field, Slot};
use super::plugins::Plugins;
use super::proof::Connection;
use super::rounds::in_node;
use super::sample::Sample;
use crate::Suite;

/// What a packet may take before the run is broken.
const LIMIT: Duration = Duration::from_secs(5);
/// Rounds before the first that counts: neighbours are resolved, caches warm.
const WARM_UP: u16 = 10;
/// Sources of datagrams, a new one each time.
const FIRST_SOURCE: u16 = 10_000;
/// The slots that have the host ports; the one after them comes and goes.
const HOLDERS: usize = 2;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Packets {
    /// Numbers of mapped ports, even, rising.
    pub mapped: Vec<usize>,
    /// First packets of each kind, below 50,000.
    pub flows: u16,
    /// Calls of each kind.
    pub calls: usize,
}

/// What was measured of one contestant beside one number of mapped ports.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Whose.
    pub name: &'static str,
    /// How many ports are mapped on the node; 0 where the container's own address is used.
    pub mapped: usize,
    /// ADDs of the containers that have them.
    pub filled: Sample,
    /// From the first datagram of a flow to the answer.
    pub udp: Sample,
    /// Connections, from the first packet to the last of the handshake.
    pub tcp: Sample,
    /// ADDs of one more container with two host ports.
    pub add: Sample,
    /// Its DELs.
    pub del: Sample,
}

impl Beside {
    fn new(name: &'static str, mapped: usize, filled: Sample) -> Self {
        Self {
            name,
            mapped,
            filled,
            udp: Sample::default(),
            tcp: Sample::default(),
            add: Sample::default(),
            del: Sample::default(),
        }
    }
}

/// Measures the reference, ours, and routing without host ports, taking turns at every packet.
///
/// # Errors
/// When the system refuses namespaces or sockets, or a packet is lost.
///
/// # Panics
/// When a call fails.
pub fn measure(packets: &Packets) -> io::Result<Vec<Beside>> {
    let sandbox = Sandbox::new();
    let outside = sandbox.outside("outside").map_err(io::Error::other)?;
    let mut cases = vec![Case::routed(&outside)?];
    for &mapped in &packets.mapped {
        for suite in [Suite::reference(), Suite::ours()] {
            let nth = u8::try_from(cases.len() + 1).expect("a handful");
            cases.push(Case::published(&outside, nth, suite, mapped)?);
        }
    }
    eprintln!("first packets, then calls");
    let run = || first_packets(&mut cases, packets.flows);
    outside.enter(run).map_err(io::Error::other)??;
    calls(&mut cases, packets.calls);
    Ok(cases.into_iter().map(|case| case.beside).collect())
}

fn first_packets(cases: &mut [Case], flows: u16) -> io::Result<()> {
    for nth in 0..WARM_UP + flows {
        let first = usize::from(nth) % cases.len();
        cases.rotate_left(first);
        for case in &mut *cases {
            let udp = case.first_datagram(FIRST_SOURCE + nth)?;
            let tcp = case.connection()?;
            if nth >= WARM_UP {
                case.beside.udp.push(udp);
                case.beside.tcp.push(tcp);
            }
        }
        cases.rotate_right(first);
    }
    Ok(())
}

fn calls(cases: &mut [Case], calls: usize) {
    for nth in 0..calls {
        let first = nth % cases.len();
        cases.rotate_left(first);
        for case in cases.iter_mut().filter(|case| case.beside.mapped > 0) {
            case.add_and_delete();
        }
        cases.rotate_right(first);
    }
}

/// A node with containers that serve, and the way to them.
struct Case {
    beside: Beside,
    plugins: Plugins,
    udp: (UdpSocket, SocketAddr),
    tcp: (TcpListener, SocketAddr),
    _connection: Connection,
}

impl Case {
    /// A container that is reached at its own address.
    fn routed(outside: &Outside) -> io::Result<Self> {
        let field = field(0).map_err(io::Error::other)?;
        let pair = outside.link(&field.host, 1).map_err(io::Error::other)?;
        let plugins = Plugins::new("routed, no host port", Suite::ours(), field).ipv4_only();
        let filled = fill(&plugins, 1);
        let address = address(&plugins.field().timed[0]).map_err(io::Error::other)?;
        outside
            .ip(&format!("route add {address} via {}", pair.node_v4))
            .map_err(io::Error::other)?;
        let services = [0, 1].map(|nth| {
            let mapping = Mapping::new(nth);
            (mapping, SocketAddr::new(address, mapping.container_port))
        });
        let beside = Beside::new(plugins.name, 0, filled);
        Self::serving(outside, beside, plugins, 0, services)
    }

    /// Two containers with `mapped` host ports, of which the last ones serve.
    fn published(outside: &Outside, nth: u8, suite: Suite, mapped: usize) -> io::Result<Self> {
        let field = field(mapped).map_err(io::Error::other)?;
        let pair = outside.link(&field.host, nth).map_err(io::Error::other)?;
        let plugins = publishing(suite, field);
        eprintln!("{}: {mapped} host ports", plugins.name);
        let filled = fill(&plugins, HOLDERS);
        let services = [mapped - 2, mapped - 1].map(|nth| {
            let mapping = Mapping::new(nth);
            (mapping, (pair.node_v4, mapping.host_port).into())
        });
        let beside = Beside::new(plugins.name, mapped, filled);
        Self::serving(outside, beside, plugins, HOLDERS - 1, services)
    }

    /// What listens are a TCP and a UDP socket of one holder.
    fn serving(
        outside: &Outside,
        beside: Beside,
        plugins: Plugins,
        holder: usize,
        [(tcp, tcp_at), (udp, udp_at)]: [(Mapping, SocketAddr); 2],
    ) -> io::Result<Self> {
        let container = &plugins.field().timed[holder].container;
        let any = |mapping: Mapping| (Ipv4Addr::UNSPECIFIED, mapping.container_port);
        // Sockets stay in the namespace they were made in.
        let listen = || Ok((TcpListener::bind(any(tcp))?, UdpSocket::bind(any(udp))?));
        let sockets: io::Result<_> = container.enter(listen).map_err(io::Error::other)?;
        let (listener, socket) = sockets?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(Self {
            _connection: Connection::new(outside, &listener, tcp_at)?,
            beside,
            plugins,
            udp: (socket, udp_at),
            tcp: (listener, tcp_at),
        })
    }

    /// Sent, received, answered and received by this thread, so that no other's waking up counts.
    fn first_datagram(&self, source: u16) -> io::Result<Duration> {
        let (server, at) = &self.udp;
        let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, source))?;
        client.set_read_timeout(Some(LIMIT))?;
        client.connect(at)?;
        let mut buffer = [0; 16];
        let started = Instant::now();
        client.send(b"first")?;
        let (length, peer) = server.recv_from(&mut buffer)?;
        server.send_to(&buffer[..length], peer)?;
        client.recv(&mut buffer)?;
        Ok(started.elapsed())
    }

    /// The kernel answers for the server.
    fn connection(&self) -> io::Result<Duration> {
        let (server, at) = &self.tcp;
        let started = Instant::now();
        let client = TcpStream::connect_timeout(at, LIMIT)?;
        let took = started.elapsed();
        drop(server.accept()?);
        drop(client);
        Ok(took)
    }

    fn add_and_delete(&mut self) {
        let slot = &self.plugins.field().timed[HOLDERS];
        let plugins = &self.plugins;
        let (add, del) = in_node(plugins, || {
            let started = Instant::now();
            plugins.add(slot);
            let added = started.elapsed();
            let started = Instant::now();
            plugins.del(slot);
            (added, started.elapsed())
        });
        plugins.drain();
        self.beside.add.push(add);
        self.beside.del.push(del);
    }
}

/// Holders of `mapped` host ports between them, and one more container with two.
fn field(mapped: usize) -> Result<Field, NsError> {
    let each = mapped / HOLDERS;
    let field = Field::new(HOLDERS + 1, 0)?;
    Ok(field.asking(|nth| {
        let count = if nth == HOLDERS { 2 } else { each };
        mappings((nth * each..nth * each + count).map(Mapping::new))
    }))
}

fn publishing(suite: Suite, field: Field) -> Plugins {
    let ours = suite.is_ours();
    let name = if ours { "bulkhead" } else { "reference" };
    let bridge = Plugins::new(name, suite, field).ipv4_only();
    let list = if ours { bridge } else { bridge.then("portmap") };
    list.declaring(&["portMappings"])
}

/// Attaches the first `count` slots.
fn fill(plugins: &Plugins, count: usize) -> Sample {
    let mut filled = Sample::default();
    for slot in &plugins.field().timed[..count] {
        let started = Instant::now();
        in_node(plugins, || plugins.add(slot));
        filled.push(started.elapsed());
    }
    filled
}

fn address(slot: &Slot) -> Result<IpAddr, NsError> {
    let show = format!("-4 addr show dev {}", slot.ifname);
    let links = slot.container.ip_json(&show)?;
    let local = links[0]["addr_info"][0]["local"].as_str();
    Ok(local
        .and_then(|text| text.parse().ok())
        .expect("an attached container has an address"))
}
