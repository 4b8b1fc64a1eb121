//! Policies that the kernel enforces: from a container's first instruction on, through edits, restarts and other
//! people's hands, until nothing is left of it.

#[path = "../common/mod.rs"]
mod common;
mod cut;
mod fence;
mod known;
mod prefix;
mod restart;
mod soak;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use bulkhead_ipam::wire::admin::{Must, ObjectName, PolicyFile, PolicyVerified, Reply, Request};
use common::{LIMIT, Node};
use netns_fixtures::{Container, wait_for};
use rustix::net::sockopt::set_ipv6_freebind;
use rustix::net::{AddressFamily, SocketType, bind, socket};
use serde_json::{Value, json};

const QUICK: &str = "collector.interval_secs = 0\nreconcile.interval_secs = 1\n";
const PORT: u16 = 7000;
const FLOOD: &[u8] = b"flood";

/// Nobody reaches the servers but who may.
const FENCE: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: fenced, name: servers}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: friend}}}]
    ports: [{port: 7000}, {port: echo, protocol: UDP}]
";

/// A while ago anybody might.
const OPEN: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: fenced, name: everybody}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress:
  - ports: [{port: 7000}, {port: 7000, protocol: UDP}]
";

fn application(text: &str) -> Request {
    Request::PolicyApply {
        files: vec![PolicyFile {
            name: "policies.yaml".to_owned(),
            text: text.to_owned(),
        }],
        must: Must::Anything,
        dry_run: false,
    }
}

fn deletion(name: &str) -> Request {
    deletion_from("fenced", name)
}

fn deletion_from(namespace: &str, name: &str) -> Request {
    Request::PolicyDelete {
        objects: vec![ObjectName {
            kind: "NetworkPolicy".to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }],
        files: Vec::new(),
    }
}

fn apply(node: &Node, text: &str) {
    let request = application(text);
    wait_for("the policy to be taken", LIMIT, || {
        matches!(node.ask(&request).pop(), Some(Reply::PolicyChanged(_))).then_some(())
    });
}

fn delete(node: &Node, name: &str) {
    let last = node.ask(&deletion(name)).pop();
    assert!(matches!(last, Some(Reply::PolicyChanged(_))), "{last:?}");
}

/// A network on which policies are enforced, of links of their own or of a bridge.
fn network(node: &Node, app: &str, kind: &str) -> Value {
    let mut config = json!({
        "cniVersion": "1.1.0",
        "name": "fenced",
        "type": kind,
        "policy": true,
        "stateDir": node.state_dir(),
        "args": {"cni": {
            "labels": [{"key": "app", "value": app}],
            "ports": [{"name": "echo", "port": PORT, "protocol": "udp"}],
        }},
        "ipam": {
            "type": "bulkhead-ipam",
            "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
        },
    });
    if kind == "bulkhead-bridge" {
        config["bridge"] = json!("br-fenced");
        config["isDefaultGateway"] = json!(true);
        config["segmentation"] = json!("l3");
    }
    config
}

struct Pod {
    container: Container,
    config: Value,
    addresses: Vec<IpAddr>,
}

impl Pod {
    fn add(node: &Node, name: &str, app: &str, kind: &str) -> Self {
        Self::add_to(node, name, network(node, app, kind))
    }

    fn add_to(node: &Node, name: &str, config: Value) -> Self {
        let mut pod = Self {
            container: node.container(name),
            config,
            addresses: Vec::new(),
        };
        pod.attach(node);
        pod
    }

    fn attach(&mut self, node: &Node) {
        let said = node.call_of("ADD", &self.container, &self.config);
        let result = said.unwrap().result();
        let ips = result["ips"].as_array().expect("it has addresses");
        let address = |ip: &Value| {
            let (address, _) = ip["address"].as_str()?.split_once('/')?;
            address.parse().ok()
        };
        self.addresses = ips.iter().filter_map(address).collect();
    }

    fn del(&self, node: &Node) {
        let said = node.call_of("DEL", &self.container, &self.config);
        assert_eq!(said.unwrap().0.exit, 0);
    }

    fn at(&self, nth: usize) -> SocketAddr {
        SocketAddr::new(self.addresses[nth], PORT)
    }

    fn listens(&self) -> UdpSocket {
        let bind = || UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
        let socket = self.container.enter(bind).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    /// Whether a datagram of this one comes to the other.
    fn reaches(&self, to: SocketAddr, receiver: &UdpSocket) -> bool {
        let question = question();
        let send = || {
            let any: IpAddr = if to.is_ipv4() {
                std::net::Ipv4Addr::UNSPECIFIED.into()
            } else {
                std::net::Ipv6Addr::UNSPECIFIED.into()
            };
            UdpSocket::bind((any, 0)).unwrap().send_to(&question, to)
        };
        self.container.enter(send).unwrap().unwrap();
        came(receiver, question) > 0
    }
}

/// What no other datagram says: on a busy machine one may come long after it was sent, when it is asked about
/// others.
fn question() -> [u8; 8] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).to_ne_bytes()
}

/// How many datagrams that say `question` are there.
fn came(receiver: &UdpSocket, question: [u8; 8]) -> usize {
    let asked = |said: &[u8]| said == question;
    received(receiver, asked)
}

/// How many are there of a flood.
fn flooded(receiver: &UdpSocket) -> usize {
    received(receiver, |said| said == FLOOD)
}

/// Takes everything that is there; how much of it is meant.
fn received(receiver: &UdpSocket, is_meant: impl Fn(&[u8]) -> bool) -> usize {
    let mut buffer = [0; 64];
    let all = std::iter::from_fn(|| {
        let (length, _) = receiver.recv_from(&mut buffer).ok()?;
        Some(is_meant(&buffer[..length]))
    });
    all.filter(|meant| *meant).count()
}

/// A container that sends from its first instruction on, whether it has a link or not.
struct Flood {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Flood {
    fn start(container: &Container, to: Vec<SocketAddr>) -> Self {
        Self::run(container, to, || {
            vec![
                UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).unwrap(),
                UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)).unwrap(),
            ]
        })
    }

    /// From addresses that it may not have.
    fn from(container: &Container, from: Vec<IpAddr>, to: Vec<SocketAddr>) -> Self {
        let sockets = move || from.into_iter().map(bound).collect();
        Self::run(container, to, sockets)
    }

    fn run(
        container: &Container,
        to: Vec<SocketAddr>,
        sockets: impl FnOnce() -> Vec<UdpSocket> + Send + 'static,
    ) -> Self {
        let (ends, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (its_end, counted, ns) = (Arc::clone(&ends), Arc::clone(&sent), container.clone());
        let flood = move || {
            let sockets = sockets();
            while !its_end.load(Ordering::Relaxed) {
                for (socket, to) in sockets
                    .iter()
                    .flat_map(|one| to.iter().map(move |to| (one, to)))
                {
                    // Of the other family it sends nothing.
                    let is_sent = socket.send_to(FLOOD, to).is_ok();
                    counted.fetch_add(usize::from(is_sent), Ordering::Relaxed);
                }
            }
        };
        let thread = thread::spawn(move || ns.enter(flood).unwrap());
        Self { ends, sent, thread }
    }

    /// Waits until so many packets more have left the container, which has a link.
    fn goes_on(&self, packets: usize) {
        let before = self.sent.load(Ordering::Relaxed);
        wait_for("packets to leave the container", LIMIT, || {
            (self.sent.load(Ordering::Relaxed) >= before + packets).then_some(())
        });
    }

    /// How many packets left the container.
    fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// A socket that sends from an address, whether it is the container's or not.
fn bound(to: IpAddr) -> UdpSocket {
    let socket = socket(AddressFamily::INET6, SocketType::DGRAM, None).unwrap();
    set_ipv6_freebind(&socket, true).unwrap();
    bind(&socket, &SocketAddr::new(to, 0)).unwrap();
    socket.into()
}

fn verified(node: &Node) -> PolicyVerified {
    let request = Request::PolicyVerify;
    wait_for("the policies to be known", LIMIT, || {
        match node.ask(&request).pop() {
            Some(Reply::PolicyVerified(verified)) => Some(verified),
            _ => None,
        }
    })
}
