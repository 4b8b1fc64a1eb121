//! `"mode": "bridged"`: one segment over all nodes, in a namespace of its own on each.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use bulkhead_tests::nodes::{LIMIT, Node, Nodes, addresses};
use netns_fixtures::{
    Capture, Container, EchoServer, Ns, Outside, Ping, Snapshot, Transport, Verb, tcp_echo,
    udp_echo, wait_for,
};
use serde_json::{Value, json};

use super::{answers, is_mended, reaches};

/// An underlay of 1500 bytes over IPv4 leaves so many.
const MTU: usize = 1450;
/// And over IPv6 so many.
const MTU_OVER_V6: usize = 1430;

/// Two tenants with the same addresses.
const TENANTS: [&str; 2] = ["blue", "red"];

/// Nodes with a pool for each tenant. The namespaces that their networks had for themselves go with it.
pub(super) struct Bed {
    nodes: Nodes,
    named: RefCell<BTreeSet<String>>,
}

impl Deref for Bed {
    type Target = Nodes;

    fn deref(&self) -> &Nodes {
        &self.nodes
    }
}

impl DerefMut for Bed {
    fn deref_mut(&mut self) -> &mut Nodes {
        &mut self.nodes
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for node in &mut self.nodes.all {
            node.kill();
        }
        for path in self.named.borrow().iter() {
            let name = Path::new(path).file_name().expect("a name");
            // It may be gone, which is what some tests are about.
            let removed = std::process::Command::new("ip")
                .args(["netns", "del"])
                .arg(name)
                .stderr(std::process::Stdio::null())
                .status();
            drop(removed);
        }
    }
}

impl Bed {
    /// A pool of so many addresses, in blocks of so many, for each tenant.
    pub(super) fn start(count: u8, v4: &str, block: &str) -> Self {
        Self::start_with(count, v4, block, "")
    }

    /// The same; `settings` are lines of each daemon's configuration besides, complete tables.
    pub(super) fn start_with(count: u8, v4: &str, block: &str, settings: &str) -> Self {
        let nodes = Nodes::start_with(count, settings);
        for tenant in TENANTS {
            let pool = ["pool", "add", tenant, "--tenant", tenant, "--v4", v4];
            let rest = [
                "--v6",
                "fd00:9::/64",
                "--block-size",
                block,
                "--cooldown",
                "1",
            ];
            let _ = nodes.all[0].must_say(&[&pool[..], &rest[..]].concat());
        }
        Self {
            nodes,
            named: RefCell::default(),
        }
    }

    /// A container with an attachment of the network, and the addresses it has.
    pub(super) fn attached(
        &self,
        nth: usize,
        name: &str,
        network: &Value,
    ) -> (Container, Vec<IpAddr>) {
        let tenant = network["name"].as_str().expect("a name");
        let container = self.bare(nth, &format!("{tenant}-{name}"));
        let result = self.all[nth].call(Verb::Add, &container, network).result();
        if let Some(path) = result["interfaces"][0]["sandbox"].as_str() {
            self.named.borrow_mut().insert(path.to_owned());
        }
        (container, addresses(&result))
    }

    pub(super) fn container(
        &self,
        nth: usize,
        tenant: &str,
        name: &str,
    ) -> (Container, Vec<IpAddr>) {
        self.attached(nth, name, &segment(&self.all[nth], tenant))
    }
}

pub(super) fn segment(node: &Node, tenant: &str) -> Value {
    let mut network = node.network();
    network["name"] = json!(tenant);
    network["mode"] = json!("bridged");
    network["ipam"] = json!({"type": "bulkhead-ipam", "pool": tenant});
    network
}

fn shown(node: &Node, tenant: &str) -> Value {
    let told = node.must_say(&["-o", "json", "overlay", "show", tenant]);
    serde_json::from_str(&told).expect("JSON")
}

/// The namespace that the tenant has for itself on a node.
pub(super) fn inside(node: &Node, tenant: &str) -> Ns {
    let told = shown(node, tenant);
    let path = told["here"]["segment"]["netns"]
        .as_str()
        .expect("it has one");
    Ns::at(Path::new(path))
}

/// The MAC inside of an encapsulated frame.
fn inner(bytes: &[u8]) -> Option<[u8; 6]> {
    let (protocol, udp) = match bytes.get(12..14)? {
        [0x08, 0x00] => (23, 34),
        [0x86, 0xdd] => (20, 54),
        _ => return None,
    };
    let is_vxlan =
        bytes.get(protocol)? == &17 && bytes.get(udp + 2..udp + 4)? == 4789_u16.to_be_bytes();
    // Behind the headers of UDP and VXLAN.
    let mac = bytes.get(udp + 16..udp + 22)?;
    is_vxlan.then(|| mac.try_into().ok()).flatten()
}

#[test]
fn two_tenants_of_one_range_speak_every_protocol_beside_each_other() {
    // Of 13 addresses each tenant has seven: some are of both.
    let bed = Bed::start(3, "10.9.0.0/28", "4");
    let of = |tenant| -> Vec<_> {
        let names = [
            (0, "a"),
            (1, "a"),
            (2, "a"),
            (0, "b"),
            (1, "b"),
            (2, "b"),
            (0, "c"),
        ];
        let all = names.into_iter();
        all.map(|(nth, name)| bed.container(nth, tenant, name))
            .collect()
    };
    let [blue, red] = TENANTS.map(of);
    let common = |(_, at): &&(Container, Vec<IpAddr>)| red.iter().any(|(_, other)| at == other);
    let (shared, at) = blue.iter().find(common).expect("14 of 13");
    for containers in [&blue[..3], &red[..3]] {
        for (to, at) in containers {
            for address in at {
                let socket = SocketAddr::new(*address, 7777);
                let _tcp = EchoServer::start(to, Transport::Tcp, socket).unwrap();
                let _udp = EchoServer::start(to, Transport::Udp, socket).unwrap();
                let others = containers.iter();
                for (from, own) in others.filter(|(from, _)| from.name() != to.name()) {
                    reaches(from, &[*address]);
                    let same = |own: &&IpAddr| own.is_ipv4() == address.is_ipv4();
                    let own = *own.iter().find(same).unwrap();
                    assert_eq!(tcp_echo(from, socket, b"over tcp", LIMIT).unwrap(), own);
                    assert_eq!(udp_echo(from, socket, b"over udp", LIMIT).unwrap(), own);
                }
            }
        }
    }
    // What both have is found by each in its own.
    for address in at {
        let socket = SocketAddr::new(*address, 7778);
        let _of_blue = EchoServer::start(shared, Transport::Tcp, socket).unwrap();
        for (containers, finds) in [(&blue, true), (&red, false)] {
            let (from, _) = containers.iter().find(|(_, own)| own != at).unwrap();
            reaches(from, &[*address]);
            let limit = if finds {
                LIMIT
            } else {
                Duration::from_millis(300)
            };
            assert_eq!(tcp_echo(from, socket, b"who is it", limit).is_ok(), finds);
        }
    }
}

#[test]
fn a_packet_of_the_mtu_passes_whole_and_everybody_s_stay_on_the_node() {
    let bed = Bed::start(2, "10.9.0.0/20", "16");
    let capture = Capture::start(&bed.all[0].host, Outside::UPLINK).unwrap();
    for (tenant, mtu) in TENANTS.into_iter().zip([MTU, MTU_OVER_V6]) {
        let attached = |nth: usize, name| {
            let mut network = segment(&bed.all[nth], tenant);
            if mtu == MTU_OVER_V6 {
                network["underlay"] = json!(bed.all[nth].pair.node_v6);
            }
            bed.attached(nth, name, &network)
        };
        let all = [(0, "from"), (0, "near"), (1, "to")].map(|(nth, name)| attached(nth, name));
        let pairs = |(from, _): &(Container, Vec<IpAddr>)| {
            let others = all.iter().filter(|(to, _)| to.name() != from.name());
            for (_, at) in others {
                reaches(from, at);
            }
        };
        all.iter().for_each(pairs);
        let [(from, _), _, (_, at)] = &all;
        for address in at {
            assert!(Ping::new(*address).unfragmented(mtu).from(from).unwrap());
            let limit = Duration::from_secs(1);
            let longer = Ping::new(*address).unfragmented(mtu + 1).limit(limit);
            assert!(!longer.from(from).unwrap());
            let large = Ping::new(*address).packet_size(4000).limit(LIMIT);
            assert!(large.from(from).unwrap());
        }
        // The segment's is the least of its nodes', and nobody on it is told of more.
        let changes = [(1400, mtu - 100), (1500, mtu)];
        // A node tells the others every two seconds at most: once is enough.
        for (below, left) in changes.into_iter().filter(|_| mtu == MTU) {
            let line = format!("link set {} mtu {below}", Outside::UPLINK);
            bed.all[1].host.ip(&line).expect("ip does it");
            let has_it = |(container, _): &(Container, _)| {
                let shown = container.ip_json("link show eth0").expect("ip runs");
                shown[0]["mtu"] == left
            };
            wait_for("every container's MTU to follow", LIMIT, || {
                all.iter().all(has_it).then_some(())
            });
            for address in at {
                let whole = || Ping::new(*address).unfragmented(left).from(from).unwrap();
                wait_for("a packet of it to pass", LIMIT, || whole().then_some(()));
            }
        }
        // The gateway is at hand, and what nobody has is asked for by nobody but the node.
        reaches(
            from,
            &["10.9.0.1".parse().unwrap(), "fd00:9::1".parse().unwrap()],
        );
        for dead in ["10.9.15.9", "fd00:9::f09"] {
            assert!(!answers(from, dead.parse().unwrap()), "{dead} answers");
        }
        for everybody in ["-b 10.9.15.255", "-I eth0 ff02::1", "-I eth0 224.0.0.1"] {
            // Whether somebody near answers is of no account.
            drop(from.sh(&format!("ping -c 1 -W 0.2 {everybody}")));
        }
        // Duplicate address detection.
        from.ip("address add fd00:9::f0a/64 dev eth0")
            .expect("ip does it");
    }
    let found = "a frame of the segment for everybody";
    let limit = Duration::from_millis(300);
    capture
        .none_within(found, limit, |seen| {
            inner(&seen.bytes).is_some_and(|mac| mac[0] & 1 == 1)
        })
        .unwrap();
}

#[test]
fn what_leaves_the_segment_has_the_node_s_address_and_nothing_comes_in() {
    let bed = Bed::start(2, "10.9.0.0/20", "16");
    let outside = [IpAddr::V4(Outside::V4), IpAddr::V6(Outside::V6)];
    for tenant in TENANTS {
        let (container, at) = bed.container(0, tenant, "c");
        for address in outside {
            let socket = SocketAddr::new(address, 7777);
            let _server = EchoServer::start(&bed.outside, Transport::Tcp, socket).unwrap();
            let seen = tcp_echo(&container, socket, b"from a segment", LIMIT).unwrap();
            let pair = &bed.all[0].pair;
            assert!(
                seen == IpAddr::from(pair.node_v4) || seen == IpAddr::from(pair.node_v6),
                "{seen}"
            );
        }
        // Neither the node nor another container's host finds the way in.
        assert!(at.iter().all(|at| !answers(&bed.all[0].host, *at)));
    }
}

#[test]
fn a_container_that_is_born_while_etcd_is_down_is_reached_from_every_node() {
    let mut bed = Bed::start(3, "10.9.0.0/20", "16");
    let first: Vec<_> = (0..3)
        .map(|nth| bed.container(nth, "blue", "first"))
        .collect();
    for (from, _) in &first {
        for (_, at) in first.iter().filter(|(to, _)| to.name() != from.name()) {
            reaches(from, at);
        }
    }
    bed.etcd.kill(0);
    let second: Vec<_> = (0..3)
        .map(|nth| bed.container(nth, "blue", "second"))
        .collect();
    for (from, _) in first.iter().chain(&second) {
        for (_, at) in second.iter().filter(|(to, _)| to.name() != from.name()) {
            reaches(from, at);
        }
    }
    // Its daemon may end and begin as well.
    bed.all[0].kill();
    reaches(&second[0].0, &second[1].1);
    bed.all[0].start();
    let (third, _) = bed.container(0, "blue", "third");
    reaches(&third, &second[2].1);
}

#[test]
fn what_somebody_takes_away_comes_back_and_is_counted() {
    let bed = Bed::start(2, "10.9.0.0/20", "16");
    let (from, _) = bed.container(0, "blue", "from");
    let (_to, at) = bed.container(1, "blue", "to");
    reaches(&from, &at);
    let node = &bed.all[0];
    let mended = || {
        shown(node, "blue")["here"]["mended"]
            .as_u64()
            .expect("a count")
    };
    let (ns, device) = (inside(node, "blue"), node_device(node));
    let entries = ns.bridge_json(&format!("fdb show dev {device}")).unwrap();
    let entries = entries.as_array().unwrap().iter();
    let mut remote = entries.filter(|entry| entry.get("dst").is_some());
    let mac = remote.next().expect("a station")["mac"]
        .as_str()
        .unwrap()
        .to_owned();
    let exit = "exit0";
    let links = ns.ip_json("link show").unwrap();
    let names = links.as_array().unwrap().iter();
    let names = names.filter_map(|link| link["ifname"].as_str());
    let called = |prefix| names.clone().find(|name| name.starts_with(prefix)).unwrap();
    let (bridge, port) = (called("bhb"), called("bhp"));
    // Nothing is compared but what the kernel tells of: see the nodes' configuration.
    for damage in [
        format!("ip -n {{ns}} link delete {bridge}"),
        format!("ip -n {{ns}} link set {port} nomaster"),
        format!("ip -n {{ns}} link set {port} down"),
        format!("ip -n {{ns}} link set {bridge} down"),
        format!("ip -n {{ns}} link delete {device}"),
        format!("ip -n {{ns}} link set {device} down"),
        format!("ip -n {{ns}} link set {device} nomaster"),
        format!("ip -n {{ns}} neighbour flush dev {device} nud permanent"),
        format!("ip -n {{ns}} link set {device} mtu 1300"),
        format!("bridge -n {{ns}} fdb delete {mac} dev {device}"),
        format!("bridge -n {{ns}} fdb append 00:00:00:00:00:00 dev {device} dst 198.51.100.1"),
        format!("ip -n {{ns}} link delete {exit}"),
        "ip netns delete {ns}".to_owned(),
    ] {
        let name = Path::new(ns.path()).file_name().unwrap().to_str().unwrap();
        let line = damage.replace("{ns}", name);
        is_mended(
            &line,
            || node.host.sh(&line),
            mended,
            || at.iter().all(|at| answers(&from, *at)),
        );
        reaches(&from, &at);
    }
}

fn node_device(node: &Node) -> String {
    let told = shown(node, "blue");
    told["here"]["device"]
        .as_str()
        .expect("a device")
        .to_owned()
}

#[test]
fn a_node_that_is_not_reached_over_the_segment_is_told_of() {
    let bed = Bed::start(2, "10.9.0.0/20", "16");
    let (from, _) = bed.container(0, "blue", "from");
    let (_to, at) = bed.container(1, "blue", "to");
    reaches(&from, &at);
    let node = &bed.all[0];
    let found = |text: &str| {
        let mut last = String::new();
        wait_for(&format!("{text} to be said"), LIMIT, || {
            let said = node
                .say(&["doctor", "overlay", "blue", "--all"])
                .expect("it runs");
            last = String::from_utf8_lossy(&said.stdout).into_owned();
            last.contains(text).then_some(())
        });
    };
    found("every other node answers (1), also packets of 1450 bytes");
    let drop = "table inet block { chain forward { type filter hook forward priority 0; udp dport 4789 drop; }\n}";
    bed.outside.nft(drop).expect("nft loads it");
    found("n2 at 192.0.2.2 answers, but not over UDP port 4789");
    let shown = node.must_say(&["overlay", "show", "blue"]);
    assert!(shown.contains("mode            bridged\n"), "{shown}");
    // Its device under another name: what it is cannot be made a second time, so that what it lacks stays.
    let (ns, device) = (inside(node, "blue"), node_device(node));
    let named = Path::new(ns.path()).file_name().unwrap().to_str().unwrap();
    ns.ip_batch(&[
        format!("link set {device} down"),
        format!("link set {device} name stolen0"),
    ])
    .expect("ip does it");
    found(&format!("bridge -n {named} fdb "));
    found(&format!("ip -n {named} neigh"));
    let mut check = segment(node, "blue");
    check["prevResult"] = node.call(Verb::Add, &from, &segment(node, "blue")).result();
    let answer = node.call(Verb::Check, &from, &check);
    assert_eq!(answer.error_code(), Some(103), "{answer:?}");
    let said = format!("{answer:?}");
    assert!(
        said.contains(&format!("ip link add name {device} netns {named} ")),
        "{said}"
    );
    ns.ip("link delete stolen0").expect("ip does it");
    wait_for("CHECK to be content", LIMIT, || {
        node.call(Verb::Check, &from, &check)
            .succeeded()
            .then_some(())
    });
    let configured = node.state().with_extension("conf");
    std::fs::create_dir_all(&configured).expect("a directory");
    let list = json!({"cniVersion": "1.1.0", "name": "blue", "plugins": [segment(node, "blue")]});
    let file = configured.join("blue.conflist");
    std::fs::write(file, list.to_string()).expect("a file");
    let directory = configured.to_str().expect("text");
    let told = node.must_say(&["explain", from.name(), "--conf-dir", directory]);
    std::fs::remove_dir_all(&configured).expect("it was made");
    for part in ["port namespace", "port station", "gateway", "SHA-256"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn nothing_is_left_of_a_segment_that_is_gone() {
    let bed = Bed::start(1, "10.9.0.0/20", "16");
    let node = &bed.all[0];
    let before = Snapshot::take(&node.host).unwrap();
    let containers = TENANTS.map(|tenant| (tenant, bed.container(0, tenant, "c").0));
    let spaces = TENANTS.map(|tenant| inside(node, tenant));
    for (tenant, container) in &containers {
        let network = segment(node, tenant);
        let mut check = network.clone();
        check["prevResult"] = node.call(Verb::Add, container, &network).result();
        let answer = node.call(Verb::Check, container, &check);
        assert!(answer.succeeded(), "{answer:?}");
        let answer = node.call(Verb::Del, container, &network);
        assert!(answer.succeeded(), "{answer:?}");
    }
    wait_for("nothing to be left", LIMIT, || {
        spaces.iter().all(|ns| !ns.exists()).then_some(())
    });
    let left = before.left_in(&node.host, LIMIT).unwrap();
    assert_eq!(left, Vec::<String>::new());
}

/// Whether what a container sends to a group is heard by another one that has joined it.
fn is_heard(from: &Container, to: &Container) -> bool {
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
    let listening = to.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7979)).expect("a socket");
        let joined = socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED);
        joined.expect("the group is joined");
        let limit = Some(Duration::from_millis(100));
        socket.set_read_timeout(limit).expect("a limit");
        socket
    });
    let listening = listening.expect("the namespace is there");
    let sending = from.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket"));
    let sending = sending.expect("the namespace is there");
    (0..8).any(|_| {
        sending
            .send_to(b"to whom it may concern", (GROUP, 7979))
            .expect("it is sent");
        listening.recv(&mut [0; 64]).is_ok()
    })
}

#[test]
fn groups_reach_other_nodes_where_replication_is_on() {
    let bed = Bed::start(2, "10.9.0.0/20", "16");
    let network = |nth: usize| {
        let mut network = segment(&bed.all[nth], "blue");
        network["multicast"] = json!("all");
        network["replication"] = json!(true);
        network
    };
    let (from, _) = bed.attached(0, "from", &network(0));
    let (to, at) = bed.attached(1, "to", &network(1));
    reaches(&from, &at);
    wait_for("a group's datagram to arrive", LIMIT, || {
        is_heard(&from, &to).then_some(())
    });
    let (from, _) = bed.container(0, "red", "from");
    let (to, at) = bed.container(1, "red", "to");
    reaches(&from, &at);
    assert!(!is_heard(&from, &to));
}

#[test]
fn a_container_is_taken_down_without_the_daemon_and_the_rest_by_its_next() {
    let mut bed = Bed::start(2, "10.9.0.0/20", "16");
    let (from, _) = bed.container(0, "blue", "from");
    let (to, at) = bed.container(1, "blue", "to");
    reaches(&from, &at);
    let ns = inside(&bed.all[1], "blue");
    bed.all[1].kill();
    let network = segment(&bed.all[1], "blue");
    let answer = bed.all[1].call(Verb::Del, &to, &network);
    assert!(answer.succeeded(), "{answer:?}");
    assert!(!to.has_link("eth0").unwrap());
    assert!(!answers(&from, at[0]));
    assert!(ns.exists());
    bed.all[1].start();
    wait_for("the namespace to go", LIMIT, || {
        (!ns.exists()).then_some(())
    });
}

#[test]
fn what_a_runtime_does_not_list_and_what_is_dead_goes_from_a_segment() {
    let bed = Bed::start(2, "10.9.0.0/20", "16");
    let node = &bed.all[0];
    let [(stays, _), (unlisted, gone), (dead, _)] =
        ["stays", "unlisted", "dead"].map(|name| bed.container(0, "blue", name));
    let (far, _) = bed.container(1, "blue", "far");
    reaches(&far, &gone);
    let ns = inside(node, "blue");
    let ports = || {
        let links = ns.ip_json("link show type veth").expect("ip runs");
        let links = links.as_array().expect("links").iter();
        let is_port = |link: &&Value| {
            link["ifname"]
                .as_str()
                .is_some_and(|it| it.starts_with("bhp"))
        };
        links.filter(is_port).count()
    };
    assert_eq!(ports(), 3);
    let collect = |listed: &[&Container]| {
        let listed = listed.iter();
        let named = |it: &&Container| json!({"containerID": it.name(), "ifname": "eth0"});
        let mut network = segment(node, "blue");
        network["cni.dev/valid-attachments"] = listed.map(named).collect();
        let answer = node.call(Verb::Gc, &unlisted, &network);
        assert!(answer.succeeded(), "{answer:?}");
    };
    collect(&[&stays, &dead]);
    assert_eq!(ports(), 2);
    assert!(!unlisted.has_link("eth0").unwrap() && !answers(&far, gone[0]));
    // The container's namespace goes, and its port with it: what is left is for an operator's word.
    bed.sandbox.remove(&dead).expect("it goes");
    // Until the kernel has taken the port the container may live.
    wait_for("the dead container to be found", LIMIT, || {
        let told = node.must_say(&["ipam", "gc", "blue"]);
        told.contains(dead.name()).then_some(())
    });
    assert_eq!(ports(), 1);
    let leases = node.must_say(&["-o", "json", "ipam", "ls"]);
    assert!(
        !leases.contains(dead.name()) && leases.contains(stays.name()),
        "{leases}"
    );
    assert!(ns.exists());
    collect(&[]);
    wait_for("the namespace to go", LIMIT, || {
        (!ns.exists()).then_some(())
    });
}

#[test]
fn what_a_tenant_s_pool_is_not_for_is_refused_and_both_are_named() {
    let bed = Bed::start(1, "10.9.0.0/20", "16");
    let node = &bed.all[0];
    let refused = |keys: Value| {
        let mut network = segment(node, "blue");
        for (key, value) in keys.as_object().unwrap() {
            network[key] = value.clone();
        }
        let name = format!("refused-{}", nth());
        let answer = node.call(Verb::Add, &bed.bare(0, &name), &network);
        let error = answer.json.clone().unwrap_or_default();
        let text = error["msg"].as_str().unwrap_or_default().to_owned();
        (answer.error_code(), text)
    };
    for (keys, expected) in [
        (
            json!({"mode": "routed"}),
            "network blue: pool blue was added with --tenant, and may have the addresses of others",
        ),
        (
            json!({"ipam": {"type": "bulkhead-ipam", "pool": ["blue", "green"]}}),
            "network blue: ipam: with \"mode\": \"bridged\" a network has one pool",
        ),
        (
            json!({"name": "green"}),
            "network green: pool blue is of network blue alone",
        ),
        (
            json!({"type": "bulkhead-bridge", "isGateway": true}),
            "network blue: no pool is for this attachment: blue (10.9.0.0/20 and fd00:9::/64): it is the tenant's alone",
        ),
    ] {
        let (code, text) = refused(keys);
        assert_eq!(code, Some(7), "{text}");
        assert!(text.starts_with(expected), "{text}");
    }
    let (_fine, _) = bed.container(0, "blue", "fine");
    let (code, text) = refused(json!({"mode": "routed"}));
    assert_eq!(code, Some(7), "{text}");
    assert!(text.starts_with("mode: routed is asked for"), "{text}");
}

/// A number that no other call has had.
fn nth() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
