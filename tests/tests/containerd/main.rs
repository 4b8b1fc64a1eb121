//! containerd, driven over the CRI as kubelet drives it and by its own `ctr`, runs pods on nothing
//! but our executables and the conflist we ship. What the reference plugins can do too is held
//! against them as well: that shows the harness to be right.

mod cri;
mod node;
mod recorder;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;

use bulkhead_tests::{IMAGE, Suite};
use netns_fixtures::{EchoServer, Ping, Sandbox, Transport, tcp_echo, udp_echo};
use serde_json::{Value, json};

use cri::{PodConfig, PortMapping, Protocol};
use node::{GATEWAYS, LIMIT, Node, Pod};
use recorder::Recorder;

const HELLO: &[u8] = b"hello";
/// How many pods start at the same time.
const CROWD: usize = 30;

fn port(protocol: Protocol, container_port: i32, host_port: i32) -> PortMapping {
    PortMapping {
        protocol: protocol.into(),
        container_port,
        host_port,
        host_ip: String::new(),
    }
}

/// kubelet's annotations of a pod with both limits.
fn limited(mut pod: PodConfig, ingress: &str, egress: &str) -> PodConfig {
    for (way, rate) in [("ingress", ingress), ("egress", egress)] {
        let key = format!("kubernetes.io/{way}-bandwidth");
        pod.annotations.insert(key, rate.to_owned());
    }
    pod
}

/// An echo server on any address of the pod.
fn serve(pod: &Pod, transport: Transport, port: u16) -> EchoServer {
    let any = SocketAddr::new("::".parse().unwrap(), port);
    EchoServer::start(&pod.netns, transport, any).unwrap()
}

fn a_pods_host_ports_answer_outside_and_the_node(suite: Suite) {
    let node = Node::new(suite);
    let cri = node.cri();
    let mut config = node.pod("web");
    config.port_mappings = vec![port(Protocol::Tcp, 80, 8080), port(Protocol::Udp, 53, 5353)];
    let pod = node.run(&cri, config);
    let servers = [
        serve(&pod, Transport::Tcp, 80),
        serve(&pod, Transport::Udp, 53),
    ];
    let clients: [IpAddr; 2] = [node.pair.gateway_v4.into(), node.pair.gateway_v6.into()];
    for (at, client) in node.addresses(8080).into_iter().zip(clients) {
        // The pod sees who asks.
        assert_eq!(tcp_echo(&node.outside, at, HELLO, LIMIT).unwrap(), client);
        tcp_echo(&node.host, at, HELLO, LIMIT).unwrap();
    }
    for (at, client) in node.addresses(5353).into_iter().zip(clients) {
        assert_eq!(udp_echo(&node.outside, at, HELLO, LIMIT).unwrap(), client);
        udp_echo(&node.host, at, HELLO, LIMIT).unwrap();
    }
    let localhost = (Ipv4Addr::LOCALHOST, 8080).into();
    tcp_echo(&node.host, localhost, HELLO, LIMIT).unwrap();
    drop(servers);
    pod.end(&cri);
    for at in node.addresses(8080) {
        assert!(tcp_echo(&node.outside, at, HELLO, LIMIT).is_err(), "{at}");
    }
    node.assert_nothing_left();
}

/// The token bucket filters of the node: rate in bits per second, bytes passed, packets that waited.
fn filters(node: &Node) -> Vec<[u64; 3]> {
    let text = node.host.sh("tc -j -s qdisc show").unwrap();
    let qdiscs: Value = serde_json::from_str(&text).unwrap();
    let filters = qdiscs.as_array().unwrap().iter();
    let mut filters: Vec<_> = filters
        .filter(|qdisc| qdisc["kind"] == "tbf")
        .map(|qdisc| {
            let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{qdisc:#}"));
            [
                number(&qdisc["options"]["rate"]) * 8,
                number(&qdisc["bytes"]),
                number(&qdisc["overlimits"]),
            ]
        })
        .collect();
    filters.sort_unstable();
    filters
}

fn annotated_bandwidth_is_shaped_both_ways(suite: Suite) {
    let is_ours = suite.is_ours();
    let node = Node::new(suite);
    let cri = node.cri();
    let pod = node.run(&cri, limited(node.pod("slow"), "8M", "16M"));
    let at = SocketAddr::new(netns_fixtures::Outside::V4.into(), 0);
    let server = EchoServer::start(&node.outside, Transport::Tcp, at).unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    tcp_echo(&pod.netns, server.address(), &megabyte, LIMIT).unwrap();
    let [ingress, egress] = filters(&node).try_into().unwrap();
    for ([rate, bytes, waited], asked) in [(ingress, 8_000_000), (egress, 16_000_000)] {
        assert_eq!(rate, asked);
        assert!(bytes > 1 << 20, "{bytes} bytes passed the filter of {rate}");
        // containerd asks for a burst of half a gigabyte, which the reference grants.
        assert!(!is_ours || waited > 0, "nothing waited at {rate}");
    }
    pod.end(&cri);
    assert_eq!(filters(&node), Vec::<[u64; 3]>::new());
    node.assert_nothing_left();
}

fn a_container_of_ctr_reaches_its_gateway(suite: Suite) {
    let node = Node::new(suite);
    let cgroup = format!("{}/c", node.containerd.cgroup());
    let [v4, v6] = GATEWAYS;
    let pings = format!("ping -c1 -w5 {v4} && ping -c1 -w5 {v6} && echo reached");
    let words = ["run", "--rm", "--cni", "--cgroup", &cgroup, IMAGE, "c"];
    let shell = ["/bin/sh", "-c", &pings];
    let said = node.containerd.ctr(&[&words[..], &shell].concat());
    assert!(said.ends_with("reached\n"), "{said}");
    node.assert_nothing_left();
}

#[test]
fn a_pod_is_detached_twice_and_both_succeed() {
    let sandbox = Sandbox::new();
    let suite = Suite::ours();
    let recorder = Recorder::new(&sandbox, &suite);
    let node = Node::with_plugins(suite, sandbox, &recorder.plugins());
    let cri = node.cri();
    let mut config = limited(node.pod("twice"), "1M", "2M");
    config.port_mappings = vec![PortMapping {
        host_ip: node.pair.node_v4.to_string(),
        ..port(Protocol::Udp, 53, 5353)
    }];
    let pod = node.run(&cri, config);
    let calls = recorder.calls();
    let asked = &calls[0].stdin["runtimeConfig"];
    // Written with capitals, and the burst of one whom nobody told any.
    let expected = json!({
        "portMappings": [{
            "HostPort": 5353, "ContainerPort": 53, "Protocol": "udp",
            "HostIP": node.pair.node_v4,
        }],
        "bandwidth": {
            "IngressRate": 1_000_000, "IngressBurst": u32::MAX,
            "EgressRate": 2_000_000, "EgressBurst": u32::MAX,
        },
        "dns": {
            "Servers": ["10.96.0.10"], "Searches": ["default.svc.cluster.local"],
            "Options": ["ndots:5"],
        },
    });
    assert_eq!(asked, &expected);
    pod.end(&cri);
    let calls: Vec<[String; 3]> = recorder
        .calls()
        .into_iter()
        .map(|call| [call.verb, call.netns, call.code])
        .collect();
    let netns = calls[0][1].as_str();
    assert!(netns.contains("/netns/"), "{netns}");
    // RemovePodSandbox detaches again, after StopPodSandbox removed the namespace.
    let expected = [["ADD", netns, "0"], ["DEL", netns, "0"], ["DEL", "", "0"]];
    assert_eq!(calls, expected);
    node.assert_nothing_left();
}

#[test]
fn pods_that_come_and_go_together_share_nothing_and_leave_nothing() {
    let node = Node::new(Suite::ours());
    let cri = node.cri();
    let pods: Vec<Pod> = thread::scope(|scope| {
        let start = |nth: usize| {
            let (node, cri) = (&node, &cri);
            scope.spawn(move || {
                let mut config = node.pod(&format!("pod{nth}"));
                let host_port = 9000 + i32::try_from(nth).unwrap();
                config.port_mappings = vec![port(Protocol::Tcp, 80, host_port)];
                node.run(cri, config)
            })
        };
        let starting: Vec<_> = (0..CROWD).map(start).collect();
        let started = starting.into_iter().map(|thread| thread.join().unwrap());
        started.collect()
    });
    let addresses: BTreeSet<IpAddr> = pods.iter().flat_map(|pod| pod.ips.clone()).collect();
    assert_eq!(addresses.len(), 2 * CROWD);
    for (nth, pod) in pods.iter().enumerate() {
        let next = &pods[(nth + 1) % CROWD];
        let _server = serve(next, Transport::Tcp, 80);
        for ip in &next.ips {
            let at = SocketAddr::new(*ip, 80);
            tcp_echo(&pod.netns, at, HELLO, LIMIT).unwrap();
        }
    }
    thread::scope(|scope| {
        for pod in &pods {
            scope.spawn(|| pod.end(&cri));
        }
    });
    node.assert_nothing_left();
}

#[test]
fn a_pod_outlives_its_killed_containerd_and_the_next_one_ends_it() {
    let mut node = Node::new(Suite::ours());
    let cri = node.cri();
    let mut config = node.pod("survivor");
    config.port_mappings = vec![port(Protocol::Tcp, 80, 8080)];
    let pod = node.run(&cri, config);
    let gone = node.run(&cri, node.pod("gone"));
    drop(cri);
    node.containerd.kill();
    let server = serve(&pod, Transport::Tcp, 80);
    for at in node.addresses(8080) {
        tcp_echo(&node.outside, at, HELLO, LIMIT).unwrap();
    }
    drop(server);
    // libcni does not sync its cache: after a power cut DEL may get no previous result.
    let cache = node.containerd.var_lib().join("cni/results");
    let entry = format!("bulkhead-{}-eth0", gone.id);
    std::fs::remove_file(cache.join(entry)).unwrap();
    node.containerd.restart();
    let cri = node.cri();
    for gateway in GATEWAYS {
        let ping = Ping::new(gateway.parse::<IpAddr>().unwrap());
        assert!(ping.from(&pod.netns).unwrap(), "{gateway}");
    }
    pod.end(&cri);
    gone.end(&cri);
    node.assert_nothing_left();
}

macro_rules! over_both {
    ($($claim:ident),* $(,)?) => {
        mod reference {
            use super::Suite;
            $(#[test] fn $claim() { super::$claim(Suite::reference()); })*
        }
        mod ours {
            use super::Suite;
            $(#[test] fn $claim() { super::$claim(Suite::ours()); })*
        }
    };
}

over_both!(
    a_pods_host_ports_answer_outside_and_the_node,
    annotated_bandwidth_is_shaped_both_ways,
    a_container_of_ctr_reaches_its_gateway,
);
