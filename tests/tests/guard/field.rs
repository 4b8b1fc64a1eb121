//! The lab prepared for attacks: victims as soft as any guest may be, everybody knowing everybody, a
//! capture wherever something may arrive, and a way back to that after an attack that worked.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use netns_fixtures::packet::{Arp, Frame, Ipv6, Udp};
use netns_fixtures::{BridgeNetfilter, Capture, Direction, Ns, Outside, PacketSocket, wait_for};

use crate::attacks::GROUPS;
use crate::ground::{Ground, Segment};
use crate::lab::{ETH0, LIMIT, Lab, Seat, neighbour_line};
use crate::state::{self, State};

/// Where frames may arrive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Victim1,
    Victim2,
    Node,
    Upstream,
    Remote,
    NodeOverlay,
    RemoteOverlay,
}

/// How long an awaited sentinel may take before its path counts as broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same where attacks do break paths, and that one is broken proves nothing.
const HASTE: Duration = Duration::from_millis(100);
/// What sentinels are known by; a number and the place that is to be reached follow.
const SENTINEL: &str = "sentinel of the suite ";
/// RFC 863.
const DISCARD: u16 = 9;

pub(crate) struct Field {
    pub(crate) lab: Lab,
    pub(crate) socket: PacketSocket,
    pub(crate) upstream: PacketSocket,
    captures: Vec<(Place, Capture)>,
    clean: Vec<State>,
    sent: u32,
}

/// What came of something that was sent.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// Everything that was received, by place.
    pub(crate) arrivals: Vec<(Place, Vec<Vec<u8>>)>,
    /// Places that a frame of the attacker no longer reached.
    pub(crate) unreached: Vec<Place>,
}

impl Field {
    pub(crate) fn new(ground: Ground, setting: BridgeNetfilter) -> Self {
        let lab = Lab::new(ground, setting);
        soften(&lab);
        join_overlay(&lab);
        let node = lab.node_tap();
        wait_for("the node's addresses not to be in question", LIMIT, || {
            let tentative = lab.home().ip("-6 addr show tentative").unwrap();
            tentative.is_empty().then_some(())
        });
        let spots: [(Place, &Ns, &str); 7] = [
            (Place::Victim1, &lab.victims[0].ns, ETH0),
            (Place::Victim2, &lab.victims[1].ns, ETH0),
            (Place::Node, lab.home(), node),
            (Place::Upstream, &lab.outside, "node1"),
            (Place::Remote, &lab.remote, Outside::UPLINK),
            (Place::NodeOverlay, lab.home(), &lab.vtep),
            (Place::RemoteOverlay, lab.far().0, &lab.vtep),
        ];
        let captures = spots
            .map(|(place, ns, interface)| (place, Capture::start(ns, interface).unwrap()))
            .into();
        let mut field = Self {
            socket: PacketSocket::open(&lab.attacker.ns, ETH0).unwrap(),
            upstream: PacketSocket::open(&lab.outside, "node1").unwrap(),
            lab,
            captures,
            clean: Vec::new(),
            sent: 0,
        };
        field.restore();
        // Addresses and routes come behind an ADD, and what legitimate traffic fills with the first.
        wait_for("everybody's state to settle", LIMIT, || {
            field.clean = field.states();
            let reached = field.settle().unreached.is_empty();
            std::thread::sleep(Duration::from_millis(50));
            (reached && field.effects().is_empty()).then_some(())
        });
        field.lab.leave_alone();
        field
    }

    /// The state of everybody, in a fixed order.
    pub(crate) fn states(&self) -> Vec<State> {
        let lab = &self.lab;
        let victims = lab.victims.iter().map(|seat| state::stack(&seat.ns, ETH0));
        let mut states: Vec<_> = victims.collect();
        states.push(state::stack(lab.home(), lab.node_device()));
        let (far, of_far) = lab.far();
        states.push(state::stack(far, of_far));
        if let Some(bridge) = lab.ground.bridge() {
            states.push(state::switch(lab.home(), bridge, &lab.attacker.port));
            if lab.ground.is_overlay() {
                states.push(too_many_groups(far, bridge, &lab.vtep));
            }
        }
        states
    }

    /// What differs from the prepared state, each line with whose it is.
    pub(crate) fn effects(&self) -> Vec<String> {
        let whose = [
            "victim1",
            "victim2",
            "node",
            "remote",
            "bridge",
            "remote bridge",
        ];
        let states = self.states();
        let pairs = self.clean.iter().zip(&states).zip(whose);
        pairs
            .flat_map(|((before, after), whose)| {
                let effects = state::effects(before, after);
                effects
                    .into_iter()
                    .map(move |line| format!("{whose}: {line}"))
            })
            .collect()
    }

    /// Sends a datagram of the attacker's own to everybody and collects what arrives until it does.
    pub(crate) fn settle(&mut self) -> Aftermath {
        self.sent += 1;
        let sent = self.sent;
        let mark = |place: Place| format!("{SENTINEL}{sent} to {place:?}.").into_bytes();
        let scene = &self.lab.scene;
        let targets = [
            (Place::Victim1, scene.towards(0), scene.v1().v6),
            (Place::Victim2, scene.towards(1), scene.v2().v6),
            (Place::Node, scene.gateway.mac, scene.gateway.v6),
            (Place::Upstream, scene.gateway.mac, scene.upstream.1),
            (Place::Remote, scene.gateway.mac, scene.remote.1),
        ];
        for (place, mac, to) in targets {
            let udp = Udp {
                src_port: DISCARD,
                dst_port: DISCARD,
                data: mark(place),
            };
            let source = if to.is_unicast_link_local() {
                scene.me.lla
            } else {
                scene.me.v6
            };
            let frame = Frame::new(scene.me.mac, mac, Ipv6::new(source, to, udp));
            // An attacker whose interface an attack took down is a broken path, told below.
            drop(self.socket.send(&frame));
        }
        let mut aftermath = Aftermath::default();
        let guarded = self.lab.ground.is_guarded();
        let deadline = Instant::now() + if guarded { PATIENCE } else { HASTE };
        for (place, capture) in &self.captures {
            let (arrivals, reached) = collect(capture, *place, &mark(*place), deadline);
            if !reached {
                aftermath.unreached.push(*place);
            }
            aftermath.arrivals.push((*place, arrivals));
        }
        aftermath
    }

    /// Has what is done to the first victim be done to the other one.
    pub(crate) fn change_victims(&mut self) {
        self.lab.victims.swap(0, 1);
        self.lab.scene.victims.swap(0, 1);
        self.clean.swap(0, 1);
        for (place, _) in &mut self.captures {
            *place = match *place {
                Place::Victim1 => Place::Victim2,
                Place::Victim2 => Place::Victim1,
                other => other,
            };
        }
    }

    /// Back to the prepared state.
    pub(crate) fn restore(&self) {
        let lab = &self.lab;
        for seat in &lab.victims {
            restore_victim(lab, seat);
        }
        restore_node(lab);
        restore_remote(lab);
        // The bridge learns again whose MAC is where.
        for seat in lab.seats() {
            let socket = PacketSocket::open(&seat.ns, ETH0).unwrap();
            let own = seat.station;
            socket
                .send(&Arp::reply(
                    own.mac,
                    own.v4,
                    lab.scene.gateway.mac,
                    lab.scene.gateway.v4,
                ))
                .unwrap();
        }
        // What that left in the captures is none of the next attack's.
        for (_, capture) in &self.captures {
            while capture.socket().receive(Instant::now()).unwrap().is_some() {}
        }
    }
}

/// A line if more groups are joined behind `port` than one port may join and everybody else has.
fn too_many_groups(ns: &Ns, bridge: &str, port: &str) -> State {
    let groups = state::switch(ns, bridge, port).len();
    let told = (groups > 2 * GROUPS).then(|| format!("{groups} groups behind {port}"));
    told.into_iter().collect()
}

/// What a capture received until the sentinel; the overlays have none, and are read last.
fn collect(
    capture: &Capture,
    place: Place,
    mark: &[u8],
    deadline: Instant,
) -> (Vec<Vec<u8>>, bool) {
    let overlay = matches!(place, Place::NodeOverlay | Place::RemoteOverlay);
    let deadline = if overlay { Instant::now() } else { deadline };
    let mut arrivals = Vec::new();
    while let Some(frame) = capture.socket().receive(deadline).unwrap() {
        if frame.direction != Direction::In {
            continue;
        }
        if contains(&frame.bytes, mark) {
            return (arrivals, true);
        }
        if !contains(&frame.bytes, SENTINEL.as_bytes()) {
            arrivals.push(frame.bytes);
        }
    }
    (arrivals, overlay)
}

pub(crate) fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// Tells the guard whose tunnels the node knows, as the daemon does where it has an overlay.
fn join_overlay(lab: &Lab) {
    if lab.ground.is_guarded() && !lab.ground.is_overlay() {
        let (v4, v6) = lab.scene.remote;
        lab.node
            .nft(&format!(
                "add element netdev bulkhead vteps4 {{ {v4} }}\nadd element netdev bulkhead vteps6 {{ {v6} }}\n"
            ))
            .unwrap();
    }
}

/// Settings under which a guest takes what it is told, and quickly.
fn soften(lab: &Lab) {
    for (nth, seat) in lab.victims.iter().enumerate() {
        for (key, value) in [
            ("net/ipv6/conf/eth0/accept_ra", "1"),
            ("net/ipv6/conf/eth0/autoconf", "1"),
            ("net/ipv6/conf/eth0/accept_ra_rt_info_max_plen", "128"),
            ("net/ipv6/conf/eth0/accept_redirects", "1"),
            ("net/ipv4/conf/eth0/accept_redirects", "1"),
            ("net/ipv4/conf/all/secure_redirects", "0"),
            ("net/ipv4/conf/eth0/secure_redirects", "0"),
            ("net/ipv6/conf/eth0/accept_dad", "1"),
            ("net/ipv6/conf/eth0/dad_transmits", "1"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/eth0/rp_filter", "0"),
        ] {
            seat.ns.set_sysctl(key, value).unwrap();
        }
        hasten(&seat.ns, ETH0);
        // Routers told by RA have their link-local address, and only of those redirects are taken
        // (RFC 4861 §8.1).
        if lab.ground.segment() == Segment::Shared {
            let gateway = lab.scene.gateway.lla;
            let line = format!("-6 route replace default via {gateway} dev {ETH0}");
            seat.ns.ip(&line).unwrap();
        }
        // RFC 6980 is the receiver's to keep; one of the two does not.
        let keeps = if nth == 0 { "1" } else { "0" };
        let key = "net/ipv6/conf/eth0/suppress_frag_ndisc";
        seat.ns.set_sysctl(key, keeps).unwrap();
    }
    hasten(lab.home(), lab.node_device());
    if !lab.ground.is_guarded() {
        let device = lab.node_device();
        for (key, value) in [("accept_ra", "2"), ("accept_redirects", "1")] {
            let key = format!("net/ipv6/conf/{device}/{key}");
            lab.home().set_sysctl(&key, value).unwrap();
        }
    }
}

/// Entries may be overwritten at once, and duplicate address detection is a matter of 0.3 s.
fn hasten(ns: &Ns, device: &str) {
    for (key, value) in [
        (format!("net/ipv4/neigh/{device}/locktime"), "0"),
        (format!("net/ipv6/neigh/{device}/retrans_time_ms"), "300"),
        (
            format!("net/ipv6/conf/{device}/router_solicitation_delay"),
            "0",
        ),
    ] {
        ns.set_sysctl(&key, value).unwrap();
    }
}

fn restore_victim(lab: &Lab, seat: &Seat) {
    let scene = &lab.scene;
    let mut lines = vec![
        format!("neigh flush dev {ETH0}"),
        format!("-6 neigh flush dev {ETH0}"),
        "-6 route flush proto ra".to_owned(),
        "-6 route flush root 2001:db8:bad::/48".to_owned(),
        "-6 route flush cache".to_owned(),
        "route flush cache".to_owned(),
        format!("-6 addr flush dev {ETH0} dynamic"),
    ];
    let know = lines_for;
    for address in scene.gateway.addresses() {
        lines.push(know(
            address,
            scene.gateway.mac,
            if address.is_ipv6() { "router" } else { "" },
        ));
    }
    if lab.ground.segment() == Segment::Shared {
        for other in lab.seats().iter().filter(|other| other.port != seat.port) {
            for address in other.station.addresses() {
                lines.push(know(address, other.station.mac, ""));
            }
        }
    }
    run(&seat.ns, &lines);
    reset(lab, &seat.ns, ETH0);
}

fn lines_for(address: IpAddr, mac: [u8; 6], more: &str) -> String {
    neighbour_line(address, mac, ETH0, more)
}

fn restore_node(lab: &Lab) {
    let device = lab.node_device();
    let mut lines = vec![
        format!("neigh flush dev {device}"),
        format!("-6 neigh flush dev {device}"),
        "-6 route flush proto ra".to_owned(),
        "-6 route flush root 2001:db8:bad::/48".to_owned(),
        "-6 route flush cache".to_owned(),
        "route flush cache".to_owned(),
        format!("-6 addr flush dev {device} dynamic"),
    ];
    if let Some(bridge) = lab.ground.bridge() {
        lines.push(format!("link set {bridge} type bridge fdb_flush"));
        lines.push(format!("link set {bridge} type bridge mcast_snooping 0"));
        lines.push(format!("link set {bridge} type bridge mcast_snooping 1"));
    }
    let known = if lab.ground.is_bridged_overlay() {
        lab.seats().into()
    } else {
        lab.near()
    };
    for seat in known {
        let device = lab.ground.bridge().unwrap_or(&seat.port);
        lines.extend(known_to(lab, lab.home(), device, &[seat]));
    }
    run(lab.home(), &lines);
    reset(lab, lab.home(), device);
}

/// Lines that have what plays the node's part know these: what the plugin set for good stays; everything else
/// is as if it had been asked.
fn known_to(lab: &Lab, node: &Ns, device: &str, seats: &[&Seat]) -> Vec<String> {
    let standing = node.ip("neigh show nud permanent").unwrap();
    let mut lines = Vec::new();
    for seat in seats {
        for address in seat.station.addresses() {
            let entry = format!("{address} dev {device} ");
            let line = neighbour_line(address, seat.station.mac, device, "");
            if !standing.lines().any(|line| line.starts_with(&entry)) {
                lines.push(line);
            } else if !lab.ground.is_guarded() {
                // An advertisement may have made it a router's.
                lines.push(line.replace("reachable", "permanent"));
            }
        }
    }
    lines
}

/// What an advertisement may set.
fn reset(lab: &Lab, ns: &Ns, device: &str) {
    for (key, value) in [
        ("conf/DEV/hop_limit", "64"),
        ("conf/DEV/mtu", lab.ground.mtu()),
        ("neigh/DEV/retrans_time_ms", "300"),
        ("neigh/DEV/base_reachable_time_ms", "30000"),
    ] {
        let key = format!("net/ipv6/{}", key.replace("DEV", device));
        ns.set_sysctl(&key, value).unwrap();
    }
}

fn restore_remote(lab: &Lab) {
    let (far, device) = lab.far();
    let mut lines = vec![
        "-6 route flush cache".to_owned(),
        "route flush cache".to_owned(),
    ];
    if let Some(bridge) = lab.ground.bridge().filter(|_| lab.ground.is_overlay()) {
        lines.extend([
            format!("neigh flush dev {device}"),
            format!("-6 neigh flush dev {device}"),
            format!("link set {bridge} type bridge mcast_snooping 0"),
            format!("link set {bridge} type bridge mcast_snooping 1"),
        ]);
        lines.extend(known_to(lab, far, device, &lab.seats()));
    }
    run(far, &lines);
}

/// `ip` lines of which some begin with a family; one process for each family.
fn run(ns: &Ns, lines: &[String]) {
    let (six, both): (Vec<&String>, Vec<&String>) =
        lines.iter().partition(|line| line.starts_with("-6 "));
    let six: Vec<&str> = six
        .into_iter()
        .map(|line| line.trim_start_matches("-6 "))
        .collect();
    for (tool, lines) in [
        ("-6", six),
        ("", both.into_iter().map(String::as_str).collect()),
    ] {
        let mut command = std::process::Command::new("ip");
        command.args(tool.split_whitespace()).args(["-b", "-"]);
        let script = lines.join("\n") + "\n";
        ns.run(&mut command, script.as_bytes()).unwrap();
    }
}
