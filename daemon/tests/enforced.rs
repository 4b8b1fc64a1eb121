//! Policies that the kernel enforces: from a container's first instruction on, through edits, restarts and other
//! people's hands, until nothing is left of it.

mod common;

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bulkhead_ipam::wire::admin::{
    Must, ObjectName, PolicyFile, PolicyVerified, RepairState, Reply, Request,
};
use bulkhead_ipam::wire::{Answer, Client, Delegate};
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::AttachmentKey;
use common::{LIMIT, Node};
use netns_fixtures::{Capture, Captured, Container, wait_for, wait_until};
use rustix::net::sockopt::set_ipv6_freebind;
use rustix::net::{AddressFamily, SocketType, bind, socket};
use rustix::process::{Signal, kill_process};
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

fn fences_every_pod(kind: &str) {
    let node = Node::start(QUICK);
    apply(&node, FENCE);
    let server = Pod::add(&node, "server", "server", kind);
    let friend = Pod::add(&node, "friend", "friend", kind);
    let stranger = Pod::add(&node, "stranger", "stranger", kind);
    let receiver = server.listens();
    for nth in [0, 1] {
        wait_for("a friend to be let in", LIMIT, || {
            friend.reaches(server.at(nth), &receiver).then_some(())
        });
        assert!(
            !stranger.reaches(server.at(nth), &receiver),
            "{}",
            server.at(nth)
        );
    }
    // Nor does a container say so itself, in the word that the table has for it.
    let claims = "table inet own {
        chain out { type filter hook output priority 0; meta priority set \"ffff:fffe\"; }
    }";
    stranger.container.nft(claims).unwrap();
    for nth in [0, 1] {
        assert!(!stranger.reaches(server.at(nth), &receiver));
    }
    // An edit is in force soon, also for who is there already.
    apply(&node, OPEN);
    wait_for("everybody to be let in", LIMIT, || {
        stranger.reaches(server.at(0), &receiver).then_some(())
    });
    delete(&node, "everybody");
    wait_for("strangers to be kept out again", LIMIT, || {
        (!stranger.reaches(server.at(1), &receiver)).then_some(())
    });
    // Nothing of an address is left once it is released.
    friend.del(&node);
    let table = node.host.sh("nft list table inet bulkhead-policy").unwrap();
    for address in &friend.addresses {
        assert!(
            !table.contains(&format!("{address} :")),
            "{address}: {table}"
        );
    }
    assert!(!stranger.reaches(server.at(0), &receiver));
    server.del(&node);
    stranger.del(&node);
    let tables = node.host.sh("nft list tables").unwrap();
    assert!(!tables.contains("bulkhead-policy"), "{tables}");
}

#[test]
fn pods_with_links_of_their_own_are_fenced_one_by_one() {
    fences_every_pod("bulkhead-ipv6");
}

#[test]
fn neighbours_on_a_bridge_are_fenced_one_by_one() {
    fences_every_pod("bulkhead-bridge");
}

/// A network whose containers have a whole /64 each.
fn prefixes(node: &Node, app: &str) -> Value {
    let mut config = network(node, app, "bulkhead-ipv6");
    config["name"] = json!("wide");
    config["prefixPerContainer"] = json!(true);
    config["ipam"]["ranges"] = json!([[{"subnet": "fd00:2::/48"}]]);
    config
}

/// Nobody reaches wide servers but who may, and the quiet ones reach nobody.
const WIDE: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: wide, name: servers}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: friend}}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: wide, name: quiet}
spec:
  podSelector: {matchLabels: {app: quiet}}
  policyTypes: [Egress]
";

/// Half of a prefix may reach friends, and nobody else.
fn half_of(address: IpAddr) -> String {
    let prefix = of_prefix(address)[0].to_string().replace("::7", "::/65");
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{namespace: wide, name: half}}
spec:
  podSelector: {{matchLabels: {{app: friend}}}}
  ingress:
  - from: [{{ipBlock: {{cidr: '{prefix}'}}}}]
"
    )
}

/// Addresses of the prefix that an address is in, two of each half.
fn of_prefix(address: IpAddr) -> [IpAddr; 4] {
    let IpAddr::V6(address) = address else {
        panic!("{address} is in no prefix");
    };
    let first = address.to_bits() & !u128::from(u64::MAX);
    [0x7, 0x0123_4567_89ab_cdef, 1 << 63, u64::MAX]
        .map(|low| Ipv6Addr::from_bits(first | u128::from(low)).into())
}

/// A socket that sends from an address, whether it is the container's or not.
fn bound(to: IpAddr) -> UdpSocket {
    let socket = socket(AddressFamily::INET6, SocketType::DGRAM, None).unwrap();
    set_ipv6_freebind(&socket, true).unwrap();
    bind(&socket, &SocketAddr::new(to, 0)).unwrap();
    socket.into()
}

/// How many of them come that are sent from each of the one's addresses to each of the other's.
fn crossed(from: &Pod, to: &Pod, receiver: &UdpSocket) -> usize {
    let question = question();
    let send = || {
        for source in of_prefix(from.addresses[0]) {
            let socket = bound(source);
            for address in of_prefix(to.addresses[0]) {
                let _ = socket.send_to(&question, SocketAddr::new(address, PORT));
            }
        }
    };
    from.container.enter(send).unwrap();
    came(receiver, question)
}

#[test]
fn a_container_with_a_prefix_is_fenced_at_each_of_its_addresses() {
    let node = Node::start(QUICK);
    apply(&node, WIDE);
    let pod = |app: &str| {
        let pod = Pod::add_to(&node, app, prefixes(&node, app));
        for address in of_prefix(pod.addresses[0]) {
            let line = format!("addr add {address}/128 dev eth0 nodad");
            pod.container.ip(&line).unwrap();
        }
        pod
    };
    let [friend, server, stranger, quiet] = ["friend", "server", "stranger", "quiet"].map(pod);
    let (receiver, friends) = (server.listens(), friend.listens());
    let all = of_prefix(server.addresses[0]).len().pow(2);
    wait_for(
        "a friend to be let in from and to everywhere",
        LIMIT,
        || (crossed(&friend, &server, &receiver) == all).then_some(()),
    );
    wait_for("what nobody fences to go on", LIMIT, || {
        (crossed(&stranger, &friend, &friends) == all).then_some(())
    });
    assert_eq!(crossed(&stranger, &server, &receiver), 0);
    assert_eq!(crossed(&quiet, &friend, &friends), 0);
    // A block may have a part of it.
    apply(&node, &half_of(stranger.addresses[0]));
    wait_for("half of a prefix to be let in", LIMIT, || {
        (crossed(&stranger, &friend, &friends) == all / 2).then_some(())
    });
    assert_eq!(verified(&node).differences, [""; 0]);
    node.ask(&deletion_from("wide", "half"));
    wait_for("all of it to be let in again", LIMIT, || {
        (crossed(&stranger, &friend, &friends) == all).then_some(())
    });
    assert_eq!(verified(&node).differences, [""; 0]);
    // From the first packet on: whatever prefix it is given, and whoever's it takes.
    let targets = of_prefix(server.addresses[0]).map(|address| SocketAddr::new(address, PORT));
    let container = node.container("hostile");
    let mut sent = 0;
    for _ in 0..4 {
        let mut hostile = Pod {
            container: container.clone(),
            config: prefixes(&node, "hostile"),
            addresses: Vec::new(),
        };
        let from = (4..8).map(|nth| format!("fd00:2:0:{nth}::77").parse().unwrap());
        let flood = Flood::from(&container, from.collect(), targets.into());
        hostile.attach(&node);
        flood.goes_on(30);
        hostile.del(&node);
        sent += flood.end();
        assert_eq!(flooded(&receiver), 0);
    }
    assert!(sent > 100, "{sent} packets left the container");
    // Nothing of a prefix is left once it is released, and whoever has it next is somebody else.
    let listing = || node.host.sh("nft list table inet bulkhead-policy").unwrap();
    let prefix = server.addresses[0].to_string().replace("::1", ":");
    assert!(listing().contains(&prefix));
    let tracked = |pod: &Pod| {
        let addresses = BTreeSet::from(of_prefix(pod.addresses[0]));
        let look = || Kernel::new(Deletion::Blocking).tracked(&addresses);
        node.host.enter(look).unwrap().unwrap()
    };
    wait_for("connections of the server's", LIMIT, || {
        (crossed(&friend, &server, &receiver) == all && !tracked(&server).is_empty()).then_some(())
    });
    server.del(&node);
    assert!(!listing().contains(&prefix), "{}", listing());
    let next = Pod::add_to(&node, "next", {
        let mut config = prefixes(&node, "other");
        config["capabilities"] = json!({"ips": true});
        config["runtimeConfig"] = json!({"ips": [server.addresses[0]]});
        config
    });
    assert_eq!(next.addresses, server.addresses);
    assert!(tracked(&next).is_empty(), "they were the server's");
    let line = format!(
        "addr add {}/128 dev eth0 nodad",
        of_prefix(next.addresses[0])[0]
    );
    next.container.ip(&line).unwrap();
    let receiver = next.listens();
    let at = SocketAddr::new(of_prefix(next.addresses[0])[0], PORT);
    wait_for("the next one to be open to everybody", LIMIT, || {
        stranger.reaches(at, &receiver).then_some(())
    });
    for pod in [&friend, &stranger, &quiet, &next] {
        pod.del(&node);
    }
    let tables = node.host.sh("nft list tables").unwrap();
    assert!(!tables.contains("bulkhead-policy"), "{tables}");
}

/// Who edits policies as fast as they are taken, none of which allows what is flooded.
struct Editor {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Editor {
    fn start(node: &Node) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (its_end, socket) = (Arc::clone(&ends), node.socket());
        let edits = [
            application(&OPEN.replace("7000", "7001")),
            deletion("everybody"),
        ];
        let is_taken = move |edit: &Request| {
            // The daemon is away now and then.
            let client = Client::connect(&socket, Some(LIMIT)).ok()?;
            let replies = client.stream::<Reply>(edit).ok()?;
            let taken = replies.filter_map(Result::ok).last()?;
            matches!(taken, Reply::PolicyChanged(_)).then_some(())
        };
        let edit = move || {
            let mut edits = edits.iter().cycle();
            let mut taken = 0;
            while !its_end.load(Ordering::Relaxed) {
                taken += edits.next().map_or(0, |edit| is_taken(edit).iter().count());
            }
            taken
        };
        Self {
            ends,
            thread: thread::spawn(edit),
        }
    }

    /// How many edits were taken.
    fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Kills the daemon a moment later.
fn kill_after(node: &Node, moment: Duration) -> JoinHandle<()> {
    let pid = node.pid();
    thread::spawn(move || {
        // Not a wait for anything: it shall happen in the middle of a call.
        thread::sleep(moment);
        kill_process(pid, Signal::KILL).unwrap();
    })
}

#[test]
fn soak_nothing_forbidden_is_delivered_from_the_first_instruction_on() {
    let is_soak = env::var_os("BULKHEAD_SOAK").is_some();
    let turns = if is_soak { 3_000 } else { 24 };
    let mut node = Node::start(QUICK);
    apply(&node, FENCE);
    let server = Pod::add(&node, "server", "server", "bulkhead-ipv6");
    let receiver = server.listens();
    let capture = Capture::start(&server.container, "eth0").unwrap();
    let is_flood = |frame: &Captured| frame.bytes.windows(FLOOD.len()).any(|bytes| bytes == FLOOD);
    let targets: Vec<SocketAddr> = [0, 1].map(|nth| server.at(nth)).into();
    let container = node.container("hostile");
    let editor = Editor::start(&node);
    let (mut sent, mut added, mut killed) = (0, 0, 0);
    for turn in 0..turns {
        let flood = Flood::start(&container, targets.clone());
        let hostile = Pod {
            config: network(&node, "hostile", "bulkhead-ipv6"),
            container: container.clone(),
            addresses: Vec::new(),
        };
        let moment = Duration::from_millis(turn * 7 % 16);
        let hand = (turn % 8 == 5).then(|| kill_after(&node, moment));
        let said = node.call_of("ADD", &hostile.container, &hostile.config);
        if let Some(hand) = hand {
            hand.join().unwrap();
            added += usize::from(said.is_ok_and(|said| said.0.exit == 0));
            killed += 1;
            node.kill();
            node.start_daemon();
        } else {
            said.unwrap().result();
            flood.goes_on(60);
            added += 1;
        }
        hostile.del(&node);
        sent += flood.end();
        assert_eq!(flooded(&receiver), 0, "turn {turn}");
        let seen = capture.none_within("a flood", Duration::ZERO, is_flood);
        seen.unwrap_or_else(|error| panic!("turn {turn}: {error}"));
    }
    let edits = editor.end();
    assert!(sent > 1_000, "{sent} packets left the container");
    assert!(edits > 0, "edits were in flight");
    println!("{added} ADDs, {killed} kills, {edits} edits: {sent} packets sent, none delivered");
}

/// Whether the other end of a connection is `own`. A listener of both families says IPv4 addresses in IPv6.
fn is_from(far: &TcpStream, own: SocketAddr) -> bool {
    let peer = far.peer_addr();
    peer.is_ok_and(|peer| (peer.ip().to_canonical(), peer.port()) == (own.ip(), own.port()))
}

/// The ends of a connection between two pods.
struct Connection {
    near: TcpStream,
    far: TcpStream,
}

impl Connection {
    fn of(pod: &Pod, server: &Pod, listener: &TcpListener) -> Option<Self> {
        let connect = || TcpStream::connect_timeout(&server.at(0), Duration::from_millis(300));
        let near = pod.container.enter(connect).unwrap().ok()?;
        let own = near.local_addr().unwrap();
        // One that was given up too late may be there before it.
        let mut accepted = listener.incoming().map(Result::unwrap);
        let far = accepted.find(|far| is_from(far, own))?;
        far.set_nonblocking(true).unwrap();
        Some(Self { near, far })
    }

    /// Whether something that is sent now comes.
    fn goes_on(&self, patience: Duration) -> bool {
        use std::io::{Read, Write};
        let (mut near, mut far) = (&self.near, &self.far);
        let mut buffer = [0; 64];
        let _ = far.read(&mut buffer);
        near.write_all(b"x").unwrap();
        wait_until(patience, || far.read(&mut buffer).ok()).is_some()
    }

    fn is_cut(&self) {
        wait_for("the connection to be cut", LIMIT, || {
            (!self.goes_on(Duration::from_millis(50))).then_some(())
        });
    }
}

#[test]
fn what_is_no_longer_allowed_is_cut_unless_it_is_to_be_kept() {
    let node = Node::start(QUICK);
    apply(&node, &format!("{FENCE}---\n{OPEN}"));
    let server = Pod::add(&node, "server", "server", "bulkhead-ipv6");
    let [friend, stranger] =
        ["friend", "stranger"].map(|app| Pod::add(&node, app, app, "bulkhead-ipv6"));
    let bind = || TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
    let listener = server.container.enter(bind).unwrap();
    let connect = |pod| {
        wait_for("a connection", LIMIT, || {
            Connection::of(pod, &server, &listener)
        })
    };
    let (friends, strangers) = (connect(&friend), connect(&stranger));
    assert!(friends.goes_on(LIMIT) && strangers.goes_on(LIMIT));
    delete(&node, "everybody");
    strangers.is_cut();
    assert!(friends.goes_on(LIMIT), "it is allowed");
    // The line comes behind what it tells of.
    wait_for("it to be told", LIMIT, || {
        node.log().contains("cut connections").then_some(())
    });

    let configured = |established: &str| {
        node.configure(&format!("{QUICK}policy.established = \"{established}\"\n"));
        let last = node.ask(&Request::ConfigReload).pop();
        assert!(matches!(last, Some(Reply::Reloaded(_))), "{last:?}");
    };
    configured("keep");
    apply(&node, OPEN);
    let strangers = connect(&stranger);
    delete(&node, "everybody");
    wait_for("new ones to be refused", LIMIT, || {
        let another = Connection::of(&stranger, &server, &listener);
        another.is_none().then_some(())
    });
    // It is looked once a second.
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(1200) {
        assert!(strangers.goes_on(LIMIT), "it is kept");
    }
    // What stands of an endpoint that is gone is not.
    let addresses: BTreeSet<IpAddr> = friend.addresses.iter().copied().collect();
    let tracked = || {
        let look = || Kernel::new(Deletion::Blocking).tracked(&addresses);
        node.host.enter(look).unwrap().unwrap()
    };
    assert!(!tracked().is_empty(), "the friend's stands");
    friend.del(&node);
    wait_for("it to be forgotten", LIMIT, || {
        tracked().is_empty().then_some(())
    });
    configured("cut");
    strangers.is_cut();
}

#[test]
fn what_was_to_be_cut_is_cut_by_the_next_daemon_before_anybody_has_the_address() {
    let mut node = Node::start(QUICK);
    apply(&node, &format!("{FENCE}---\n{OPEN}"));
    let server = Pod::add(&node, "server", "server", "bulkhead-ipv6");
    let stranger = Pod::add(&node, "stranger", "stranger", "bulkhead-ipv6");
    let bind = || TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
    let listener = server.container.enter(bind).unwrap();
    let strangers = wait_for("a connection", LIMIT, || {
        Connection::of(&stranger, &server, &listener)
    });
    let receiver = server.listens();
    let container = node.container("next");
    let next = |node: &Node, app: &str| {
        let mut config = network(node, app, "bulkhead-ipv6");
        config["runtimeConfig"] = json!({"ips": ["10.1.0.77", "fd00:1::77"]});
        let mut pod = Pod {
            container: container.clone(),
            config,
            addresses: Vec::new(),
        };
        pod.attach(node);
        pod
    };
    // Killed as soon as it has answered, a daemon has cut or not.
    let mut killed_before = 0;
    for turn in 0..12 {
        let friend = next(&node, "friend");
        wait_for("a friend to be let in", LIMIT, || {
            friend.reaches(server.at(1), &receiver).then_some(())
        });
        let addresses: BTreeSet<IpAddr> = friend.addresses.iter().copied().collect();
        let tracked = |node: &Node| {
            let look = || Kernel::new(Deletion::Blocking).tracked(&addresses);
            node.host.enter(look).unwrap().unwrap()
        };
        friend.del(&node);
        node.kill();
        let stood = !tracked(&node).is_empty();
        node.start_daemon();
        let other = next(&node, "stranger");
        assert_eq!(tracked(&node), [].into(), "turn {turn}");
        other.del(&node);
        killed_before += usize::from(stood);
        if killed_before == 2 {
            break;
        }
    }
    println!("killed {killed_before} times before anything was cut");
    // So is what a change of policies has forbidden.
    assert!(strangers.goes_on(LIMIT), "it is allowed");
    delete(&node, "everybody");
    node.kill();
    node.start_daemon();
    strangers.is_cut();
}

/// Comparing everything with what is known never makes an end of what has just begun, or the reverse.
#[test]
fn endpoints_are_known_as_calls_leave_them_while_all_are_compared() {
    let node = Node::start(QUICK);
    apply(&node, FENCE);
    let others: Vec<Pod> = (0..4)
        .map(|nth| Pod::add(&node, &format!("other{nth}"), "server", "bulkhead-ipv6"))
        .collect();
    let container = node.container("churned");
    let config = network(&node, "friend", "bulkhead-ipv6");
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut config = config.clone();
            let names = others.iter().map(|pod| pod.container.name());
            let valid = names.chain([container.name()]);
            config["cni.dev/valid-attachments"] = valid
                .map(|name| json!({"containerID": name, "ifname": "eth0"}))
                .collect();
            // A test that fails ends too.
            let until = Instant::now() + LIMIT;
            while !ends.load(Ordering::Relaxed) && Instant::now() < until {
                node.call_of("GC", &container, &config).unwrap().result();
            }
        });
        let is_known = || {
            let replies = node.ask(&Request::Known);
            let rows = replies.into_iter().flat_map(|reply| match reply {
                Reply::Known { rows } => rows,
                other => panic!("{other:?}"),
            });
            let names: Vec<String> = rows.map(|row| row.endpoint.name).collect();
            names.iter().any(|name| name == container.name())
        };
        let wrong = (0..25).find_map(|turn| {
            node.call_of("ADD", &container, &config).unwrap().result();
            let added = is_known();
            let said = node.call_of("DEL", &container, &config).unwrap();
            let seen = (added, said.0.exit, is_known());
            (seen != (true, 0, false)).then_some((turn, seen))
        });
        ends.store(true, Ordering::Relaxed);
        assert_eq!(
            wrong, None,
            "turn, known after ADD, DEL's exit, known after it"
        );
    });
}

#[test]
fn another_plugin_is_told_to_release_what_nothing_is_enforced_for_any_more() {
    // It is mended when that is asked for, and not before.
    let node = Node::start("collector.interval_secs = 0\nreconcile.interval_secs = 0\n");
    apply(&node, FENCE);
    let container = node.container("server");
    let mut config = network(&node, "server", "bulkhead-ipv6");
    config["ipam"] = json!({"type": "of-somebody-else"});
    let stands = || {
        let table = node.host.sh("nft list table inet bulkhead-policy");
        table.is_ok_and(|table| table.contains("10.1.0.9 :"))
    };
    let mut asked = Vec::new();
    let mut call = |verb: &str, exit: u8| {
        let client = Client::connect(&node.socket(), Some(LIMIT)).unwrap();
        let [netns, own] =
            [container.path(), node.host.path()].map(|path| File::open(path).unwrap());
        let call = common::call(verb, &container, &config);
        let delegated = |delegate: &Delegate| {
            asked.push((delegate.verb.clone(), stands()));
            let gives = r#"{"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24"}]}"#;
            let stdout = if delegate.verb == "ADD" { gives } else { "" };
            Answer {
                exit,
                stdout: stdout.into(),
                stderr: Vec::new(),
            }
        };
        let said = client.call(&call, Some(netns.as_fd()), own.as_fd(), delegated);
        assert_eq!(said.unwrap().exit == 0, exit == 0);
    };
    call("ADD", 0);
    assert!(stands());
    call("DEL", 1);
    assert!(!stands());
    // What is not released is still there, and what mends it does not give it a link without policies.
    let attachment = AttachmentKey {
        network: "fenced".parse().unwrap(),
        container: container.name().parse().unwrap(),
        interface: "eth0".parse().unwrap(),
    };
    match node.ask(&Request::Repair { attachment }).pop() {
        Some(Reply::Repair(report)) => assert_eq!(report.state, RepairState::Repaired),
        other => panic!("{other:?}"),
    }
    assert!(stands());
    call("DEL", 0);
    let asked: Vec<(&str, bool)> = asked
        .iter()
        .map(|(verb, stands)| (verb.as_str(), *stands))
        .collect();
    assert_eq!(asked, [("ADD", false), ("DEL", false), ("DEL", false)]);
}

#[test]
fn a_restart_changes_nothing_and_damage_is_put_right() {
    let mut node = Node::start(QUICK);
    apply(&node, FENCE);
    let server = Pod::add(&node, "server", "server", "bulkhead-ipv6");
    let stranger = Pod::add(&node, "stranger", "stranger", "bulkhead-ipv6");
    let receiver = server.listens();
    let before = node_listing(&node);
    node.kill();
    assert!(
        !stranger.reaches(server.at(0), &receiver),
        "it stands without a daemon"
    );
    node.start_daemon();
    let another = Pod::add(&node, "another", "stranger", "bulkhead-ipv6");
    another.del(&node);
    assert_eq!(node_listing(&node), before);
    let seen = verified(&node);
    assert_eq!((seen.endpoints, seen.healed), (2, 0));
    assert_eq!(seen.differences, [""; 0]);
    node.host
        .sh("nft flush chain inet bulkhead-policy forward")
        .unwrap();
    wait_for("it to be put right", LIMIT, || {
        node.log().contains("put right").then_some(())
    });
    assert!(!stranger.reaches(server.at(0), &receiver));
    let healed = || verified(&node).healed > 0;
    wait_for("it to be counted", LIMIT, || healed().then_some(()));
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

fn node_listing(node: &Node) -> Vec<String> {
    let text = node
        .host
        .sh("nft -s list table inet bulkhead-policy")
        .unwrap();
    let mut blocks: Vec<String> = text.split("\n\n").map(str::to_owned).collect();
    blocks.sort();
    blocks
}
