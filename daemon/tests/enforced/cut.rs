//! Connections that are no longer allowed.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bulkhead_ipam::wire::admin::{Reply, Request};
use bulkhead_kernel::{Deletion, Kernel};
use netns_fixtures::{wait_for, wait_until};
use serde_json::json;

use crate::common::{LIMIT, Node};
use crate::{FENCE, OPEN, PORT, Pod, QUICK, apply, delete, network};

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
