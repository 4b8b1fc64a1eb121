//! UDP flows that outlive what they led to: a client that keeps its source port is sent where the
//! mapping leads now.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netns_fixtures::{BridgeNetfilter, Ns, carries, wait_for, wait_until};
use serde_json::json;

use super::{INSIDE, PORT, assert_as_added, outsider, publishing, to, uplink};
use crate::claims;
use crate::node::{GATEWAYS, LIMIT, Node};

claims! {
    a_flow_follows_the_port_to_its_next_container,
    a_flow_begun_before_the_mapping_follows_it,
    other_flows_are_left_alone,
}

/// How long a socket is waited for before something else is looked at.
const TICK: Duration = Duration::from_millis(20);

/// Clients of the host port, each of which keeps one source port and sends its number.
struct Clients(Vec<UdpSocket>);

impl Clients {
    /// From the outside, from the host and from a container. One that connects to an IPv6 address of its
    /// own before that has its local route asks the link for it ever after.
    fn of(node: &Node, container: &Ns) -> Self {
        for ns in [&node.host, container] {
            carries(ns).unwrap();
        }
        let own = uplink(node);
        let [loopback, other] = ["127.0.0.1", "fd01::1"].map(|text| text.parse().unwrap());
        let asked: [(&Ns, IpAddr); 8] = [
            (&node.outside, own[0]),
            (&node.outside, own[1]),
            (&node.host, loopback),
            (&node.host, own[0]),
            (&node.host, other),
            (container, own[0]),
            (container, own[1]),
            (container, GATEWAYS[0]),
        ];
        Self(
            asked
                .map(|(from, address)| client(from, to(address, PORT)))
                .into(),
        )
    }

    fn send(&self) {
        for (nth, client) in self.0.iter().enumerate() {
            // An earlier datagram may have been refused.
            let _ = client.send(&[u8::try_from(nth).unwrap()]);
        }
    }

    /// Waits until the service has heard each of them; all of them keep sending.
    #[track_caller]
    fn assert_all_reach(&self, service: &UdpSocket) {
        let mut heard = BTreeSet::new();
        let all = wait_until(LIMIT, || {
            self.send();
            let mut buffer = [0; 1];
            while let Ok((1, _)) = service.recv_from(&mut buffer) {
                heard.insert(buffer[0]);
            }
            (heard.len() == self.0.len()).then_some(())
        });
        assert!(all.is_some(), "of eight clients only {heard:?} are heard");
    }
}

fn client(from: &Ns, to: SocketAddr) -> UdpSocket {
    let any: IpAddr = if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
    let bound = from.enter(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
    bound.connect(to).unwrap();
    bound
}

fn service(ns: &Ns, port: u16) -> UdpSocket {
    let any: SocketAddr = format!("[::]:{port}").parse().unwrap();
    let socket = ns.enter(|| UdpSocket::bind(any)).unwrap().unwrap();
    socket.set_read_timeout(Some(TICK)).unwrap();
    socket
}

fn udp(node: &Node) -> serde_json::Value {
    let mapping = json!({"hostPort": PORT, "containerPort": INSIDE, "protocol": "udp"});
    publishing(&node.config(), [mapping])
}

fn a_flow_follows_the_port_to_its_next_container(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let n = node.attach(&node.config(), "n");
    let clients = Clients::of(&node, &n.container);
    let a = node.attach(&udp(&node), "a");
    clients.assert_all_reach(&service(&a.container, INSIDE));
    let b = node.sandbox.container("b").unwrap();
    let inside = service(&b, INSIDE);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Under traffic: a flow can begin between any two operations.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                clients.send();
                thread::yield_now();
            }
        });
        node.detach(&a);
        let b = node.attach_to(&udp(&node), &b, "eth0");
        stop.store(true, Ordering::Relaxed);
        clients.assert_all_reach(&inside);
        assert_as_added(&node, &b);
    });
}

fn a_flow_begun_before_the_mapping_follows_it(setting: BridgeNetfilter) {
    for served in [false, true] {
        let node = Node::new(setting);
        let n = node.attach(&node.config(), "n");
        let clients = Clients::of(&node, &n.container);
        let own = served.then(|| service(&node.host, PORT));
        match &own {
            Some(own) => clients.assert_all_reach(own),
            None => clients.send(),
        }
        let a = node.attach(&udp(&node), "a");
        clients.assert_all_reach(&service(&a.container, INSIDE));
        node.detach(&a);
        if let Some(own) = &own {
            clients.assert_all_reach(own);
        }
    }
}

/// What connection tracking knows on the node: both tuples of each flow and whether it is assured,
/// without what moves by itself.
fn flows(node: &Node) -> BTreeSet<String> {
    let text = node.host.sh("cat /proc/net/nf_conntrack").unwrap();
    let of_ports = |line: &&str| line.contains(" tcp ") || line.contains(" udp ");
    let flow = |line: &str| {
        let words = line.split_whitespace();
        let kept = words.filter(|word| {
            word.starts_with("src=")
                || word.starts_with("dst=")
                || word.starts_with("sport=")
                || word.starts_with("dport=")
                || ["tcp", "udp", "[ASSURED]"].contains(word)
        });
        kept.collect::<Vec<_>>().join(" ")
    };
    text.lines().filter(of_ports).map(flow).collect()
}

fn other_flows_are_left_alone(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let other = json!({"hostPort": PORT + 1, "containerPort": INSIDE, "protocol": "udp"});
    let n = node.attach(&publishing(&node.config(), [other]), "n");
    let inside = service(&n.container, INSIDE);
    let outside = service(&node.outside, PORT);
    let own = service(&node.host, PORT + 2);
    let [own_address, _] = uplink(&node);
    let [gateway, _] = outsider(&node);
    let kept = [
        (client(&node.outside, to(own_address, PORT + 1)), &inside),
        (client(&node.host, to(own_address, PORT + 1)), &inside),
        // The number alone is not what makes it a flow to the host port.
        (client(&node.host, to(gateway, PORT)), &outside),
        (client(&node.outside, to(own_address, PORT + 2)), &own),
    ];
    for (client, service) in &kept {
        wait_for("a datagram", LIMIT, || {
            let _ = client.send(b"x");
            service.recv_from(&mut [0; 1]).ok()
        });
    }
    let listener = node.host.enter(|| TcpListener::bind(("0.0.0.0", PORT)));
    let listener = listener.unwrap().unwrap();
    let connection = node
        .outside
        .enter(|| TcpStream::connect((own_address, PORT)));
    let _connection = (connection.unwrap().unwrap(), listener.accept().unwrap());
    let before = flows(&node);
    assert_eq!(before.len(), kept.len() + 1, "{before:#?}");
    let stale = client(&node.outside, to(own_address, PORT));
    let _ = stale.send(b"x");
    wait_for("the flow", LIMIT, || {
        (flows(&node).len() > before.len()).then_some(())
    });
    let a = node.attach(&udp(&node), "a");
    assert_eq!(flows(&node), before);
    let led = service(&a.container, INSIDE);
    wait_for("a datagram", LIMIT, || {
        let _ = stale.send(b"x");
        led.recv_from(&mut [0; 1]).ok()
    });
    node.detach(&a);
    assert_eq!(flows(&node), before);
}
