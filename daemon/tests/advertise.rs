//! Router advertisements and stateless `DHCPv6` on the ports of containers that ask.

mod common;

use std::io::Write;
use std::net::Ipv6Addr;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bulkhead_model::Mac;
use common::{LIMIT, Node, Said};
use netns_fixtures::packet::{Body, Frame, Icmpv6, Ipv6, MacOctets, NdOption, Payload, Udp};
use netns_fixtures::{
    Capture, Captured, CniCall, Container, Direction, PacketSocket, Verb, wait_for,
};
use serde_json::{Value, json};

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Longer than an answer takes.
const QUIET: Duration = Duration::from_millis(500);
const PORT_MAC: MacOctets = [0xfe, 0x62, 0x68, 0, 0, 1];

/// A network that says everything.
fn everything(node: &Node) -> Value {
    network(
        node,
        &json!({
            "lifetime": 900, "preference": "high", "dhcpv6": true, "refreshTime": 1200,
            "dns": ["2001:db8::53", "2001:db8::54"], "search": ["example.org", "b.example"],
        }),
    )
}

fn network(node: &Node, said: &Value) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "routed", "type": "bulkhead-ipv6",
        "stateDir": node.state_dir(), "mtu": 1400, "routerAdvertisements": said,
        "ipam": {"type": "bulkhead-ipam", "ranges": [[{"subnet": "fd00:7::/64"}]]},
    })
}

fn attached(node: &Node, name: &str, config: &Value) -> Container {
    let container = node.container(name);
    node.call_of("ADD", &container, config).unwrap().result();
    container
}

/// What `rdisc6` is told.
fn rdisc(container: &Container) -> String {
    container.sh("rdisc6 -1 -r 3 -w 2000 eth0").unwrap()
}

/// A guest in a container whose own stack asks for no router any more: it has heard of one.
fn silent(container: &Container) -> Guest {
    // Sooner than the stack asks again, which has asked before the node listened.
    rdisc(container);
    advertised_route(container);
    container
        .set_sysctl("net/ipv6/conf/eth0/accept_ra", "0")
        .unwrap();
    Guest::of(container)
}

/// The default route that the container's own stack takes from the first advertisement that it is sent.
fn advertised_route(container: &Container) -> Value {
    wait_for("the advertised route", LIMIT, || {
        let routes = container.ip_json("-6 route show default").unwrap();
        let of_ra = |route: &&Value| route["protocol"] == "ra";
        routes.as_array()?.iter().find(of_ra).cloned()
    })
}

/// Who asks.
struct Guest {
    mac: MacOctets,
    link_local: Ipv6Addr,
    socket: PacketSocket,
    capture: Capture,
}

impl Guest {
    fn of(container: &Container) -> Self {
        let mac = container.mac("eth0").unwrap();
        let link_local = Mac::new(mac).unwrap().link_local();
        Self {
            mac,
            link_local,
            socket: PacketSocket::open(container, "eth0").unwrap(),
            capture: Capture::start(container, "eth0").unwrap(),
        }
    }

    fn frame(&self, from: Ipv6Addr, to: Ipv6Addr, hop_limit: u8, payload: Payload) -> Frame {
        let to_mac = netns_fixtures::packet::multicast_mac(to.into());
        let ip = Ipv6 {
            hop_limit,
            ..Ipv6::new(from, to, payload)
        };
        Frame::new(self.mac, to_mac, ip)
    }

    fn solicitation(&self, from: Ipv6Addr, hop_limit: u8, options: Vec<NdOption>) -> Frame {
        let message = Icmpv6::RouterSolicitation { options };
        self.frame(from, ROUTERS, hop_limit, Payload::Icmpv6(message))
    }

    fn asks(&self) -> Frame {
        self.solicitation(self.link_local, 255, vec![NdOption::SourceMac(self.mac)])
    }

    fn datagram(&self, message: Vec<u8>) -> Frame {
        let udp = Udp {
            src_port: 546,
            dst_port: 547,
            data: message,
        };
        self.frame(self.link_local, SERVERS, 1, Payload::Udp(udp))
    }

    fn send(&self, frame: &Frame) {
        self.socket.send(frame).unwrap();
    }
}

impl Guest {
    /// The next advertisement that comes in.
    #[track_caller]
    fn advertised(&self) -> Frame {
        let seen = self
            .capture
            .expect("a router advertisement", LIMIT, is_advertisement)
            .unwrap();
        seen.ok().unwrap().clone()
    }

    /// None of these is answered, and one after them is.
    #[track_caller]
    fn only_the_last_is_answered(&self, silent: &[Frame]) {
        for frame in silent {
            self.send(frame);
        }
        let nothing = self
            .capture
            .none_within("an answer", QUIET, is_advertisement);
        nothing.unwrap();
        self.send(&self.asks());
        self.advertised();
    }
}

fn is_advertisement(seen: &Captured) -> bool {
    let message = seen.ok().and_then(Frame::icmpv6);
    seen.direction == Direction::In && matches!(message, Some(Icmpv6::RouterAdvertisement(_)))
}

/// The samples of a family by outcome, as the daemon tells them.
fn counted(node: &Node, family: &str) -> String {
    let mut stream = UnixStream::connect(node.dir.path("metrics")).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    let text = common::read(stream);
    let lines = text
        .lines()
        .filter(|line| line.starts_with(&format!("bulkhead_{family}_total")));
    lines.collect::<Vec<_>>().join("\n")
}

fn measured() -> Node {
    let mut node = Node::stopped("");
    let path = node.dir.path("metrics");
    node.configure(&format!("metrics.listen = \"{}\"\n", path.display()));
    node.start_daemon();
    node
}

/// Gives the node an address that is reached by routing. The kernel takes it into its table behind the command.
fn has_address(node: &Node, address: &str) {
    let line = format!("addr add {address}/128 dev lo");
    node.host.ip(&line).unwrap();
    wait_for("the address to be the node's own", LIMIT, || {
        let routes = node.host.ip("-6 route show table local").unwrap();
        routes.contains(&format!("local {address} ")).then_some(())
    });
}

fn eth0(container: &Container, leaf: &str) -> String {
    container
        .sysctl(&format!("net/ipv6/conf/eth0/{leaf}"))
        .unwrap()
}

#[test]
fn a_guest_is_told_everything() {
    let node = Node::start("");
    let told = rdisc(&attached(&node, "c", &everything(&node)));
    for line in [
        "Hop limit                 :           64",
        "Stateful address conf.    :           No",
        "Stateful other conf.      :          Yes",
        "Router preference         :         high",
        "Router lifetime           :          900",
        "Source link-layer address: FE:62:68:00:00:01",
        "MTU                      :         1400 bytes",
        "Recursive DNS server     : 2001:db8::53",
        "Recursive DNS server     : 2001:db8::54",
        "DNS servers lifetime    :          900",
        "DNS search list          : example.org b.example",
        "from fe80::1",
    ] {
        assert!(told.contains(line), "{line}:\n{told}");
    }
    assert!(
        !told.contains("Prefix  "),
        "of a single address there is none:\n{told}"
    );
}

#[test]
fn an_answer_goes_to_who_asks_alone() {
    let node = Node::start("");
    let config = everything(&node);
    let [asker, other] = ["a", "b"].map(|name| attached(&node, name, &config));
    let [asker, other] = [silent(&asker), silent(&other)];
    asker.send(&asker.asks());
    let answer = asker.advertised();
    assert_eq!((answer.src, answer.dst), (PORT_MAC, asker.mac));
    let Body::Ipv6(ip) = &answer.body else {
        panic!("{answer}");
    };
    assert_eq!(
        (ip.src, ip.dst, ip.hop_limit),
        (ROUTER, asker.link_local, 255)
    );
    asker.send(&asker.solicitation(Ipv6Addr::UNSPECIFIED, 255, vec![]));
    let answer = asker.advertised();
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    assert!(
        matches!(&answer.body, Body::Ipv6(ip) if ip.dst == all),
        "{answer}"
    );
    other
        .capture
        .none_within("another one's advertisement", QUIET, is_advertisement)
        .unwrap();
}

#[test]
fn what_no_router_answers_is_passed_over_and_counted() {
    let node = measured();
    let mut config = everything(&node);
    // Where the port is guarded none of this comes as far.
    config["guard"] = json!(false);
    let container = attached(&node, "c", &config);
    let guest = silent(&container);
    let own = vec![NdOption::SourceMac(guest.mac)];
    guest.only_the_last_is_answered(&[
        guest.solicitation(guest.link_local, 64, own.clone()),
        guest.solicitation(guest.link_local, 254, vec![]),
        guest.solicitation(Ipv6Addr::UNSPECIFIED, 255, own),
    ]);
    let counted = counted(&node, "router_solicitations");
    assert!(counted.contains("{outcome=\"invalid\"} 3"), "{counted}");
}

#[test]
fn a_flood_is_answered_no_more_than_the_port_may_ask() {
    let node = measured();
    let mut config = everything(&node);
    config["guard"] = json!(false);
    let container = attached(&node, "c", &config);
    let guest = silent(&container);
    let began = Instant::now();
    for _ in 0..2000 {
        guest.send(&guest.asks());
    }
    // Everything has been judged once the last one is counted.
    let judged = || {
        let counted = counted(&node, "router_solicitations");
        let number = |outcome: &str| {
            let line = counted.lines().find(|line| line.contains(outcome));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let [answered, limited] = ["answered", "limited"].map(number);
        (answered + limited >= 100).then_some((answered, limited))
    };
    let (answered, limited) = wait_for("the flood to be judged", LIMIT, judged);
    let most = 6 + began.elapsed().as_secs();
    assert!(
        answered <= most && limited > 0,
        "{answered} answered, {limited} not"
    );
}

#[test]
fn a_container_takes_mtu_and_route_and_keeps_its_own() {
    let node = Node::start("");
    let container = attached(&node, "c", &everything(&node));
    let route = advertised_route(&container);
    assert_eq!(route["gateway"], "fe80::1");
    assert_eq!(
        (&route["metric"], &route["pref"]),
        (&json!(2048), &json!("high")),
        "{route}"
    );
    assert_eq!(eth0(&container, "mtu"), "1400");
    let routes = container.ip_json("-6 route show default").unwrap();
    let metrics: Vec<_> = routes
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["metric"].clone())
        .collect();
    assert_eq!(
        metrics,
        [json!(1024), json!(2048)],
        "its own goes first: {routes}"
    );
    let addresses = container
        .sh("ip -6 -o addr show dev eth0 scope global")
        .unwrap();
    assert_eq!(addresses.lines().count(), 1, "{addresses}");
    assert_eq!(
        [eth0(&container, "accept_ra"), eth0(&container, "autoconf")],
        ["1", "0"]
    );
    node.call_of("CHECK", &container, &with_result(&node, &container))
        .unwrap()
        .result();
}

/// The configuration with what the last ADD was answered.
fn with_result(node: &Node, container: &Container) -> Value {
    let mut config = everything(node);
    let answer: Said = node.call_of("ADD", container, &config).unwrap();
    config["prevResult"] = answer.result();
    config
}

#[test]
fn a_container_makes_addresses_of_its_own_prefix_and_may_use_them() {
    let node = Node::start("");
    let mut config = network(
        &node,
        &json!({"preferredLifetime": 3600, "validLifetime": 7200}),
    );
    config["prefixPerContainer"] = json!(true);
    config["ipam"]["ranges"] = json!([[{"subnet": "fd00:7::/48"}]]);
    let container = attached(&node, "c", &config);
    let made = || {
        let shown = container
            .ip_json("-6 addr show dev eth0 scope global")
            .unwrap();
        let all = shown[0]["addr_info"].as_array()?.clone();
        all.into_iter()
            .find(|address| address["dynamic"] == true && address["tentative"] != true)
    };
    let made = wait_for("an address of its own", LIMIT, made);
    assert!(made["valid_life_time"].as_u64().unwrap() <= 7200, "{made}");
    let address = made["local"].as_str().unwrap();
    has_address(&node, "2001:db8::9");
    container
        .sh(&format!("ping -6 -c 1 -W 5 -I {address} 2001:db8::9"))
        .unwrap();
    let told = rdisc(&container);
    for line in [
        "Prefix                   : fd00:7::/64",
        "On-link                 :           No",
        "Autonomous address conf.:          Yes",
        "Valid time              :         7200",
        "Pref. time              :         3600",
    ] {
        assert!(told.contains(line), "{line}:\n{told}");
    }
}

#[test]
fn without_the_daemon_nobody_is_told_and_nothing_else_changes() {
    let mut node = Node::start("");
    let container = attached(&node, "c", &everything(&node));
    has_address(&node, "2001:db8::9");
    let reaches = || container.sh("ping -6 -c 1 -W 5 2001:db8::9");
    reaches().unwrap();
    node.kill();
    assert!(container.sh("rdisc6 -1 -r 1 -w 500 eth0").is_err());
    reaches().unwrap();
    node.start_daemon();
    assert!(
        rdisc(&container).contains("from fe80::1"),
        "the record says so"
    );
}

#[test]
fn a_port_that_is_made_anew_is_served_and_one_that_is_gone_is_not() {
    let node = measured();
    let config = everything(&node);
    let container = attached(&node, "c", &config);
    for _ in 0..2 {
        node.call_of("DEL", &container, &config).unwrap().result();
        node.call_of("ADD", &container, &config).unwrap().result();
        assert!(rdisc(&container).contains("from fe80::1"));
        answered(&Guest::of(&container));
    }
    let groups = node.host.sh("ip -6 maddr show").unwrap();
    assert_eq!(groups.matches("ff02::1:2").count(), 1, "{groups}");
    node.call_of("DEL", &container, &config).unwrap().result();
    wait_for("port 547 to be closed", LIMIT, || {
        let open = node.host.sh("ss -Hlnu sport = 547").unwrap();
        open.trim().is_empty().then_some(())
    });
}

/// An Information-request of `guest` is answered.
#[track_caller]
fn answered(guest: &Guest) -> Vec<u8> {
    let transaction = [7, 7, 7];
    let client = [0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 5];
    let asked = [0, 6, 0, 6, 0, 23, 0, 24, 0, 32];
    let request = [
        &[11][..],
        &transaction,
        &client,
        &[0, 8, 0, 2, 0, 0],
        &asked,
    ]
    .concat();
    let reply = |seen: &Captured| {
        let udp = seen.ok().and_then(Frame::udp).cloned();
        udp.filter(|udp| seen.direction == Direction::In && udp.dst_port == 546)
    };
    // The node joins the port's group beside the call.
    wait_for("a reply", LIMIT, || {
        guest.send(&guest.datagram(request.clone()));
        let limit = Duration::from_millis(500);
        let seen = guest
            .capture
            .expect("a reply", limit, |seen| reply(seen).is_some());
        seen.ok().and_then(|seen| reply(&seen))
    })
    .data
}

#[test]
fn who_asks_by_dhcpv6_is_told_resolvers_and_domains() {
    let node = measured();
    let guest = Guest::of(&attached(&node, "c", &everything(&node)));
    let reply = answered(&guest);
    let server = [0, 2, 0, 10, 0, 3, 0, 1, 0xfe, 0x62, 0x68, 0, 0, 1];
    let client = [0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 5];
    let servers: [Ipv6Addr; 2] = [
        "2001:db8::53".parse().unwrap(),
        "2001:db8::54".parse().unwrap(),
    ];
    let expected = [
        &[7, 7, 7, 7][..],
        &server,
        &client,
        &[0, 23, 0, 32],
        &servers.map(|server| server.octets()).concat(),
        &[0, 24, 0, 24],
        b"\x07example\x03org\0\x01b\x07example\0",
        &[0, 32, 0, 4, 0, 0, 4, 0xb0],
    ];
    assert_eq!(reply, expected.concat());
    let counted = counted(&node, "information_requests");
    assert!(counted.contains("answered"), "{counted}");
}

#[test]
fn the_guard_lets_no_other_dhcp_pass() {
    let node = Node::start("");
    let container = attached(&node, "c", &everything(&node));
    let guest = Guest::of(&container);
    let port = node.host.ip_json("link show type veth").unwrap()[0]["ifname"].clone();
    let near = Capture::start(&node.host, port.as_str().unwrap()).unwrap();
    let dropped = || {
        node.host
            .sh("nft list chain netdev bulkhead drop-multicast")
            .unwrap()
    };
    assert!(dropped().contains("packets 0"), "{}", dropped());
    // Solicit, and a Request to the node's own address.
    guest.send(&guest.datagram(vec![1, 0, 0, 1]));
    wait_for("the drop to be counted", LIMIT, || {
        dropped().contains("packets 1").then_some(())
    });
    let udp = Udp {
        src_port: 546,
        dst_port: 547,
        data: vec![11, 0, 0, 1],
    };
    let mut frame = guest.frame(guest.link_local, ROUTER, 64, Payload::Udp(udp));
    frame.dst = PORT_MAC;
    guest.send(&frame);
    let of_dhcp = || {
        node.host
            .sh("nft list chain netdev bulkhead drop-dhcp")
            .unwrap()
    };
    wait_for("the drop to be counted", LIMIT, || {
        of_dhcp().contains("packets 1").then_some(())
    });
    drop(near);
}

#[test]
fn nobody_is_told_where_the_network_does_not_ask_for_it() {
    let node = Node::start("");
    let mut config = network(&node, &json!(false));
    let [asked, other] = ["a", "b"];
    let quiet = attached(&node, asked, &config);
    assert!(quiet.sh("rdisc6 -1 -r 1 -w 500 eth0").is_err());
    config["routerAdvertisements"] = json!(true);
    config["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}]]);
    let refused = node
        .call_of("ADD", &node.container(other), &config)
        .unwrap();
    assert_eq!(refused.code(), 7, "{:?}", refused.json());
}

#[test]
fn an_add_that_no_daemon_serves_is_refused() {
    let Some(dir) = common::plugins("an_add_that_no_daemon_serves_is_refused") else {
        return;
    };
    let node = Node::stopped("");
    let container = node.container("c");
    let call = |verb| {
        CniCall::new(dir.join("bulkhead-ipv6"), verb)
            .container_id(container.name())
            .netns(container.path())
            .ifname("eth0")
            .stdin(&everything(&node))
            .run(&node.host)
            .unwrap()
    };
    let refused = call(Verb::Add);
    let text = &refused.stdout;
    assert!(
        !refused.succeeded() && text.contains("start bulkheadd"),
        "{text}"
    );
    assert!(!container.has_link("eth0").unwrap());
    assert!(call(Verb::Del).succeeded());
}
