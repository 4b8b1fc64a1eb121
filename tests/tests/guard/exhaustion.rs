//! A container that floods hurts only itself: while it does, the others go on opening connections. The
//! kernel's table of IPv6 neighbours is one for the whole machine, so that `.ci/nextest.toml` runs these
//! alone.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use netns_fixtures::packet::{Arp, Body, Frame, Icmpv6, Ipv6, Payload, mld2_report};
use netns_fixtures::{
    BridgeNetfilter, EchoServer, Ns, PacketSocket, Transport, tcp_echo, wait_for,
};

use crate::ground::{Ground, Segment};
use crate::lab::{ETH0, Lab};
use crate::scene::{Scene, nobody6};

/// How long a connection of somebody else's may take while there is a flood.
const LIMIT: Duration = Duration::from_secs(10);
/// Connections to each address.
const ROUNDS: usize = 12;
/// Frames that are sent before the first one.
const AHEAD: usize = 3_000;
/// Frames between two pauses, which leave the processor to those who are to go on.
const SPRINT: u16 = 64;
const PAUSE: Duration = Duration::from_millis(2);
/// Unresolved datagrams of the burst: one socket's send buffer holds some 250.
const SOCKETS: u16 = 15;
const DATAGRAMS: u16 = 100;

/// What a container's process without a raw socket sends to fill the kernel's one table of IPv6
/// neighbours: datagrams to link-local addresses that nobody holds.
fn fill_table(ns: &Ns) {
    ns.enter(|| {
        let index = nix::net::if_::if_nametoindex(ETH0).unwrap();
        for nth in 0..SOCKETS {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
            for host in 0..DATAGRAMS {
                let to = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xdead, 0, nth, host);
                // A full table is what it is about.
                drop(socket.send_to(b"x", SocketAddrV6::new(to, 9, 0, index)));
            }
        }
    })
    .unwrap();
}

/// One frame of each kind that fills something, the `nth` of its kind.
fn flood(s: &Scene, nth: u16) -> [Frame; 5] {
    let [high, low] = nth.to_be_bytes();
    let unknown = [0x02, 0xf1, 0x00, 0xd0, high, low];
    let nobody = Ipv6::new(
        s.me.v6,
        nobody6(nth),
        Payload::other(17, &[0, 9, 0, 9, 0, 8, 0, 0]),
    );
    let group = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0xbad, nth);
    let first =
        Ipv6::new(s.me.v6, s.v1().v6, Payload::other(17, &[0; 64])).split(nth.into(), 0, &[32]);
    [
        Frame::new(s.me.mac, s.gateway.mac, nobody),
        Arp::request(s.me.mac, s.me.v4, s.gateway.v4),
        mld2_report(s.me.mac, s.me.lla, &[group]),
        Frame::new(
            unknown,
            s.towards(0),
            Body::Other {
                ethertype: 0x88b5,
                bytes: vec![0; 46],
            },
        ),
        Frame::new(s.me.mac, s.towards(0), first[0].clone()),
    ]
}

/// Floods until told to stop, counting what is sent.
fn flood_until(lab: &Lab, stop: &AtomicBool, sent: &AtomicUsize) {
    let socket = PacketSocket::open(&lab.attacker.ns, ETH0).unwrap();
    let mut nth: u16 = 0;
    while !stop.load(Ordering::Relaxed) {
        if nth.is_multiple_of(1024) {
            fill_table(&lab.attacker.ns);
        }
        let more = Icmpv6::solicitation(lab.scene.me.mac, lab.scene.me.v6, lab.scene.gateway.v6);
        for frame in flood(&lab.scene, nth).into_iter().chain([more]) {
            // A full queue refuses some.
            sent.fetch_add(usize::from(socket.send(&frame).is_ok()), Ordering::Relaxed);
        }
        nth = nth.wrapping_add(1);
        if nth.is_multiple_of(SPRINT) {
            thread::sleep(PAUSE);
        }
    }
}

crate::on_each_ground! { ground: exhausting }

fn exhausting(ground: Ground, setting: BridgeNetfilter) {
    if ground.is_guarded() {
        others_go_on(ground, setting);
    } else {
        the_burst_starves_others(ground, setting);
    }
}

/// Opens connections from each victim to the node and to the other victim where the promise covers it:
/// by the gateway always, to a peer on one segment only where it need not be resolved anew.
fn others_go_on(ground: Ground, setting: BridgeNetfilter) {
    let lab = Lab::new(ground, setting);
    let [one, two] = &lab.victims;
    let node = [lab.scene.node.0.into(), lab.scene.node.1.into()];
    let mut servers: Vec<EchoServer> = node
        .map(|address| {
            EchoServer::start(&lab.node, Transport::Tcp, SocketAddr::new(address, 0)).unwrap()
        })
        .into();
    let peers: Vec<std::net::IpAddr> = match ground.segment() {
        Segment::Routed => vec![two.station.v4.into(), two.station.v6.into()],
        Segment::Shared => vec![two.station.v4.into()],
    };
    for address in peers {
        let any = SocketAddr::new(address, 0);
        servers.push(EchoServer::start(&two.ns, Transport::Tcp, any).unwrap());
    }
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failed = thread::scope(|scope| {
        let flood = scope.spawn(|| flood_until(&lab, &stop, &sent));
        wait_for("the flood to be under way", LIMIT, || {
            (sent.load(Ordering::Relaxed) > AHEAD).then_some(())
        });
        let mut failed = Vec::new();
        for round in 0..ROUNDS {
            // What a plugin set for good stays.
            forget(&one.ns);
            for server in &servers {
                if let Err(error) = tcp_echo(&one.ns, server.address(), b"still there?", LIMIT) {
                    failed.push(format!("round {round}: {error}"));
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        failed
    });
    let sent = sent.into_inner();
    assert!(
        failed.is_empty(),
        "{ground:?}, under {sent} frames:\n   {}",
        failed.join("\n   ")
    );
}

/// Makes a container resolve again whom it knows by resolution.
fn forget(ns: &Ns) {
    for family in ["-4", "-6"] {
        ns.ip(&format!("{family} neigh flush dev {ETH0}")).unwrap();
    }
}

/// What the burst does to somebody who has to resolve the gateway: the proof that it is an attack.
fn the_burst_starves_others(ground: Ground, setting: BridgeNetfilter) {
    let lab = Lab::new(ground, setting);
    let victim = &lab.victims[0].ns;
    let any = SocketAddr::new(lab.scene.node.1.into(), 0);
    let server = EchoServer::start(&lab.node, Transport::Tcp, any).unwrap();
    tcp_echo(victim, server.address(), b"before", LIMIT).unwrap();
    let starved = (0..20).any(|_| {
        fill_table(&lab.attacker.ns);
        victim.ip("neigh flush all").unwrap();
        victim.ip(&format!("-6 neigh flush dev {ETH0}")).unwrap();
        fill_table(&lab.attacker.ns);
        let patience = Duration::from_millis(300);
        tcp_echo(victim, server.address(), b"during", patience).is_err()
    });
    assert!(starved, "everybody could go on resolving the gateway");
}
