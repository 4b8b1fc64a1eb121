//! A node with two endpoints that are there, among many that are elements of its rules alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_nft::{Command, Transaction};
use bulkhead_plan::{Ns as Place, Op, Plan};
use bulkhead_policy::compile;
use netns_fixtures::{Ns, NsError, Sandbox};
use rustix::time::{ClockId, clock_gettime};

use super::worlds::{PORTS, Size, address, device, local, world};
use super::{Layout, changes, scripts};
use crate::bench::sample::Sample;

const LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Road {
    layout: Layout,
    size: Size,
    pub(super) node: Ns,
    pub(super) client: Ns,
    listener: TcpListener,
    at: SocketAddr,
    _sandbox: Sandbox,
}

impl Road {
    pub(super) fn new(layout: Layout, size: Size) -> io::Result<Self> {
        let sandbox = Sandbox::new();
        let build = || -> Result<[Ns; 3], NsError> {
            let node = sandbox.ns("node")?;
            node.set_sysctl("net/ipv4/ip_forward", "1")?;
            let ends = [0, 1].map(|nth| end(&sandbox, &node, nth));
            let [client, server] = ends;
            Ok([node, client?, server?])
        };
        let [node, client, server] = build().map_err(io::Error::other)?;
        let at = SocketAddr::new(address(1).into(), PORTS[0]);
        let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORTS[0]));
        let listener = server.enter(listen).map_err(io::Error::other)??;
        let road = Self {
            layout,
            size,
            node,
            client,
            listener,
            at,
            _sandbox: sandbox,
        };
        road.load()?;
        road.prove(&server)?;
        Ok(road)
    }

    fn load(&self) -> io::Result<()> {
        let script = match self.layout {
            Layout::Nothing => return Ok(()),
            Layout::Tracked => scripts::tracked(),
            Layout::Linear => scripts::linear(self.size.endpoints),
            Layout::Chains => scripts::chains(self.size.endpoints),
            Layout::Pairs => scripts::pairs(self.size.endpoints),
            Layout::Rulings => {
                let ruleset = compile(&world(self.size), &local(self.size.endpoints));
                return self
                    .node
                    .enter(|| {
                        commit(
                            &mut Kernel::new(Deletion::Blocking),
                            vec![Command::AddTable(ruleset.table)],
                        )
                    })
                    .map_err(io::Error::other)?
                    .map(drop);
            }
        };
        self.node.nft(&script).map(drop).map_err(io::Error::other)
    }

    /// What may be reached is, and what may not is not.
    fn prove(&self, server: &Ns) -> io::Result<()> {
        self.connect(1)?;
        if !self.layout.judges() {
            return Ok(());
        }
        let closed = PORTS[0] + 1;
        let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, closed));
        let _listener = server.enter(listen).map_err(io::Error::other)??;
        let at = SocketAddr::new(self.at.ip(), closed);
        let connect = || TcpStream::connect_timeout(&at, Duration::from_millis(50));
        match self.client.enter(connect).map_err(io::Error::other)? {
            Err(_) => Ok(()),
            Ok(_) => Err(io::Error::other(format!(
                "{}: a closed port was reached",
                self.layout
            ))),
        }
    }

    /// So many connections: CPU time of all, and what each took.
    pub(super) fn connect(&self, count: usize) -> io::Result<(Duration, Vec<Duration>)> {
        let connect = || -> io::Result<_> {
            let mut one = rustix::thread::CpuSet::new();
            one.set(0);
            rustix::thread::sched_setaffinity(None, &one)?;
            let mut took = Vec::with_capacity(count);
            let mut open = Vec::with_capacity(count);
            let before = spent();
            for _ in 0..count {
                let began = Instant::now();
                let stream = TcpStream::connect_timeout(&self.at, LIMIT)?;
                took.push(began.elapsed());
                open.push(stream);
            }
            let spent = spent().saturating_sub(before);
            for _ in 0..count {
                drop(self.listener.accept()?);
            }
            Ok((spent, took))
        };
        self.client.enter(connect).map_err(io::Error::other)?
    }

    /// So many changes of each kind, each taken back.
    pub(super) fn changes(&self, count: usize) -> io::Result<Vec<(&'static str, Sample)>> {
        let all = changes::of(self.layout, self.size);
        let measure = || -> io::Result<_> {
            let mut kernel = Kernel::new(Deletion::Blocking);
            let mut samples = Vec::new();
            for change in all {
                let mut sample = Sample::default();
                for _ in 0..count {
                    sample.push(commit(&mut kernel, change.there.clone())?);
                    commit(&mut kernel, change.back.clone())?;
                }
                samples.push((change.what, sample));
            }
            Ok(samples)
        };
        self.node.enter(measure).map_err(io::Error::other)?
    }
}

/// A namespace with an address behind a device of the node's.
fn end(sandbox: &Sandbox, node: &Ns, nth: usize) -> Result<Ns, NsError> {
    let ns = sandbox.ns(&format!("end{nth}"))?;
    let (device, address) = (device(nth), address(nth));
    let gateway = Ipv4Addr::from_bits(address.to_bits() - 1);
    node.ip(&format!(
        "link add {device} type veth peer name eth0 netns {}",
        ns.name()
    ))?;
    node.ip_batch(&[
        format!("addr add {gateway}/30 dev {device}"),
        format!("link set {device} up"),
    ])?;
    ns.ip_batch(&[
        format!("addr add {address}/30 dev eth0"),
        "link set eth0 up".to_owned(),
        format!("route add default via {gateway}"),
    ])?;
    Ok(ns)
}

/// From the first byte to the answer.
pub(super) fn commit(kernel: &mut Kernel, commands: Vec<Command>) -> io::Result<Duration> {
    let op = Op::Nft {
        ns: Place::Host,
        transaction: Transaction(commands),
        generation: None,
    };
    let plan = Plan::new(vec![op]);
    let began = Instant::now();
    kernel.apply(&plan).map_err(io::Error::other)?;
    Ok(began.elapsed())
}

fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
