//! The guard on the ports of a segment: what a container may not send is dropped in the namespace that the
//! network has for itself, and told and counted like what is dropped on the node's own ports.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};

use bulkhead_model::NetworkName;
use bulkhead_tests::Suite;
use bulkhead_tests::nodes::{LIMIT, Node};
use netns_fixtures::packet::{Arp, Frame, Ipv4, vxlan};
use netns_fixtures::{Container, Ns, PacketSocket, Ping, wait_for};
use serde_json::{Value, json};

use super::bridged::{Bed, inside, segment};
use super::{answers, reaches};

/// Where each node's daemon tells its metrics, in the node's own namespace.
const METRICS: &str = "127.0.0.1:9808";

#[test]
fn a_container_of_a_segment_sends_as_itself_alone_and_all_else_is_told_and_counted() {
    let settings = format!("[metrics]\nlisten = {METRICS:?}\n");
    let bed = Bed::start_with(2, "10.9.0.0/20", "16", &settings);
    let (from, own) = bed.container(0, "blue", "from");
    let (near, _) = bed.container(0, "blue", "near");
    let (_to, at) = bed.container(1, "blue", "to");
    let node = &bed.all[0];
    let mut unguarded = segment(node, "red");
    unguarded["guard"] = json!(false);
    let (open, _) = bed.attached(0, "open", &unguarded);
    reaches(&from, &at);
    reaches(&near, &at);
    gateway_answers(&inside(node, "blue"), &from);
    let name = format!("blue/{}/eth0", from.name());
    let netns = inside(node, "blue");
    listed(node, &name, &netns.path().to_string_lossy());
    let off = format!("\nGUARD OFF\nred/{}/eth0\n", open.name());
    assert!(node.must_say(&["status"]).ends_with(&off));

    let before = metric(node, "arp");
    let told = printed(drops(node), || claim(&from, Ipv4Addr::new(10, 9, 0, 1)));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&told["attachment"], &told["reason"]),
        (&json!(name), &json!("arp"))
    );
    for (spoofed, length, to) in [("10.9.15.77", 20, at[0]), ("fd00:9::f4d", 64, at[1])] {
        let extra = if length == 64 { " nodad" } else { "" };
        let line = format!("address add {spoofed}/{length} dev eth0{extra}");
        from.ip(&line).expect("ip does it");
        let asked = from.sh(&format!("ping -c 1 -W 0.5 -I {spoofed} {to}"));
        assert!(asked.is_err(), "{spoofed} is answered");
    }
    to_tunnel(&from, &own, bed.all[1].pair.node_v4);
    for (whose, reason) in [
        (name.as_str(), "arp"),
        (&name, "source4"),
        (&name, "source6"),
        ("blue/exit/exit0", "tunnel"),
    ] {
        wait_for(&format!("{reason} of {whose} to be counted"), LIMIT, || {
            let told = json_of(node, &["guard", "counters"]);
            let of_port = |row: &Value| row["attachment"] == whose && row["reason"] == reason;
            let in_all = |row: &Value| row["reason"] == reason;
            let has = |key: &str, is: &dyn Fn(&Value) -> bool| {
                told[key].as_array()?.iter().find(|row| is(row)).cloned()
            };
            has("ports", &of_port).and(has("totals", &in_all))
        });
    }
    let alone = json_of(node, &["guard", "counters", &name]);
    let rows = alone["ports"].as_array().unwrap();
    assert!(
        rows.iter().all(|row| row["attachment"] == json!(name)) && rows.len() == 3,
        "{alone}"
    );
    assert!(metric(node, "arp") > before);
    assert!(metric(node, "tunnel") >= 1.0);

    from.ip("link set eth0 address 02:00:00:00:00:99")
        .expect("ip does it");
    assert!(!answers(&from, at[0]));
    reaches(&near, &at[..1]);
    // Nor does it take another's.
    for own in &own {
        assert!(!answers(&near, *own));
    }
    netns.sh("nft flush set netdev bulkhead id4").unwrap();
    let shown = node.say(&["guard", "show", &name, "-o", "json"]).unwrap();
    assert_eq!(shown.status.code(), Some(5), "{shown:?}");
}

/// By the addresses of the link that it has: what is for another one there it does not take.
fn gateway_answers(netns: &Ns, from: &Container) {
    let network: NetworkName = "blue".parse().unwrap();
    let show = format!("-6 addr show dev {} scope link", network.segment_bridge());
    let shown = netns.ip_json(&show).unwrap();
    let addresses = shown[0]["addr_info"].as_array().unwrap().iter();
    for address in addresses.filter_map(|it| it["local"].as_str()) {
        let ping = Ping::new(address.parse::<IpAddr>().unwrap()).via("eth0");
        assert!(ping.from(from).unwrap(), "{address} does not answer");
    }
}

/// What is told of a guarded port, wherever it is.
fn listed(node: &Node, name: &str, netns: &str) {
    let rows = json_of(node, &["guard", "ls"]);
    let mut rows = rows.as_array().unwrap().iter();
    let row = rows.find(|row| row["attachment"] == name).expect(name);
    assert_eq!(
        (&row["guard"], &row["netns"]),
        (&json!("on"), &json!(netns))
    );
    let shown = json_of(node, &["guard", "show", name]);
    assert_eq!(
        (&shown[0]["stands"], &shown[0]["netns"]),
        (&json!(true), &json!(netns)),
        "{shown}"
    );
    let text = node.must_say(&["guard", "show", name]);
    assert!(text.contains(&format!(" in {netns}  guard on\n")), "{text}");
    let explained = node.must_say(&["guard", "explain", name]);
    assert!(
        explained.contains("send from another IPv4 address"),
        "{explained}"
    );
}

fn json_of(node: &Node, words: &[&str]) -> Value {
    let told = node.must_say(&[words, &["-o", "json"]].concat());
    serde_json::from_str(&told).expect("JSON")
}

/// Says by ARP that the container has the address.
fn claim(container: &Container, address: Ipv4Addr) {
    let mac = container.mac("eth0").unwrap();
    let socket = PacketSocket::open(container, "eth0").unwrap();
    socket.send(&Arp::announcement(mac, address)).unwrap();
}

/// Sends an encapsulated frame to another node's VTEP, by the gateway.
fn to_tunnel(container: &Container, own: &[IpAddr], vtep: Ipv4Addr) {
    let network: NetworkName = "blue".parse().unwrap();
    let IpAddr::V4(source) = own[0] else {
        panic!("{own:?} begins with another family");
    };
    let mac = container.mac("eth0").unwrap();
    let datagram = vxlan(network.vni().get(), 40_000, &Arp::announcement(mac, source));
    let packet = Ipv4::new(source, vtep, datagram);
    let frame = Frame::new(mac, network.gateway_mac().octets(), packet);
    let socket = PacketSocket::open(container, "eth0").unwrap();
    socket.send(&frame).unwrap();
}

/// `bulkhead guard drops` until it has told of one.
fn drops(node: &Node) -> Child {
    let mut command = node.host.command(Suite::ours().dir().join("bulkhead"));
    let words = [
        "guard",
        "drops",
        "--count",
        "1",
        "-o",
        "json",
        "--state-dir",
    ];
    command.args(words).arg(node.state());
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// What is printed until `child` ends; it is given something to print meanwhile.
fn printed(mut child: Child, meanwhile: impl Fn()) -> String {
    wait_for("the command to end", LIMIT, || {
        meanwhile();
        child.try_wait().unwrap()
    });
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// How many packets the node's daemon says that guards dropped for a reason.
fn metric(node: &Node, reason: &str) -> f64 {
    let asked = node.host.enter(|| -> std::io::Result<String> {
        let at: SocketAddr = METRICS.parse().expect("an address");
        let mut stream = TcpStream::connect(at)?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    let answer = asked.unwrap().unwrap();
    let sample = format!("bulkhead_guard_drops_total{{reason=\"{reason}\"}} ");
    let mut values = answer.lines().filter_map(|line| line.strip_prefix(&sample));
    values.next().map_or(0.0, |value| value.parse().unwrap())
}
