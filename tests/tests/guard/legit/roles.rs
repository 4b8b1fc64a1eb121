//! What ports may send besides, because their configuration says so; and nothing more than that.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use netns_fixtures::packet::{
    Arp, Frame, Icmpv6, Ipv4, Ipv6, NdOption, Payload, RouterAdvertisement, Udp, multicast_mac,
};
use netns_fixtures::{BridgeNetfilter, Capture, Captured, Direction, Ns, PacketSocket, wait_for};
use serde_json::{Value, json};

use super::tools::Running;
use crate::ground::Ground;
use crate::lab::{ETH0, LIMIT, Lab};
use crate::shot::Shot;

crate::on_each_ground! { segments, ground:
    a_dhcp_client_is_answered_by_the_node,
    a_dhcp_client_is_answered_by_a_server_beside_it,
    a_router_announces_and_forwards_for_its_prefix_alone,
    an_allowed_address_moves_with_vrrp,
    a_private_mac_speaks_beside_the_own_one,
}

/// Of the pool, and held by no seat.
const VIRTUAL4: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 200);
const VIRTUAL6: Ipv6Addr = Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 0x200);
/// A prefix behind a router.
const BEHIND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0);
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x78, 0, 0, 0, 0, 0);

/// A lab whose attacker is wished this.
fn lab_of(ground: Ground, setting: BridgeNetfilter, first: Value, second: Value) -> Lab {
    Lab::with(ground, setting, &[first, second, Value::Null])
}

/// `yes` reaches victim 2 from the attacker's port, and of `no`, sent before, nothing does where the port
/// is guarded.
#[track_caller]
fn only(lab: &Lab, no: Vec<Frame>, yes: Vec<Frame>) {
    let capture = Capture::start(&lab.victims[1].ns, ETH0).unwrap();
    let socket = PacketSocket::open(&lab.attacker.ns, ETH0).unwrap();
    let refused: Vec<Shot> = no.into_iter().map(Shot::from).collect();
    for shot in &refused {
        socket.send_bytes(&shot.frames[0]).unwrap();
    }
    for frame in yes {
        let what = frame.to_string();
        socket.send(&frame).unwrap();
        let shot = Shot::from(frame);
        let is = |shot: &Shot, seen: &Captured| {
            seen.direction == Direction::In && shot.arrived(std::slice::from_ref(&seen.bytes))
        };
        let forbidden =
            |seen: &Captured| lab.ground.is_guarded() && refused.iter().any(|shot| is(shot, seen));
        capture
            .none_before(&what, LIMIT, forbidden, |seen| is(&shot, seen))
            .unwrap();
    }
}

fn datagram(name: &str) -> Udp {
    Udp {
        src_port: 9,
        dst_port: 9,
        data: name.as_bytes().to_vec(),
    }
}

/// The server of `busybox` offers the container's own address on `device` of `ns`.
fn server(lab: &Lab, ns: &Ns, device: &str) -> (Running, [std::path::PathBuf; 3]) {
    let file =
        |name: &str| std::env::temp_dir().join(format!("{}udhcpd.{name}", lab.sandbox.stem()));
    let files = ["conf", "leases", "pid"].map(file);
    let own = lab.scene.me.v4;
    let config = format!(
        "start {own}\nend {own}\ninterface {device}\nlease_file {}\npidfile {}\noption subnet 255.255.255.0\n",
        files[1].display(),
        files[2].display()
    );
    fs::write(&files[0], config).unwrap();
    fs::write(&files[1], "").unwrap();
    let path = files[0].to_string_lossy().into_owned();
    (
        Running::start(ns, "busybox", &["udhcpd", "-f", &path]),
        files,
    )
}

#[track_caller]
fn is_answered(lab: &Lab, ns: &Ns, device: &str) {
    let (server, files) = server(lab, ns, device);
    wait_for("a lease by DHCP", LIMIT, || {
        let mut client = Command::new("busybox");
        client.args([
            "udhcpc",
            "-i",
            ETH0,
            "-n",
            "-q",
            "-f",
            "-t",
            "3",
            "-T",
            "1",
            "-s",
            "/bin/true",
        ]);
        let output = lab
            .attacker
            .ns
            .output(&mut client, b"", LIMIT + Duration::from_secs(10))
            .unwrap();
        output.status.success().then_some(())
    });
    drop(server);
    for file in files {
        // The pid file is the server's to remove, if it gets to.
        drop(fs::remove_file(file));
    }
}

fn a_dhcp_client_is_answered_by_the_node(ground: Ground, setting: BridgeNetfilter) {
    let client = json!({"dhcpClient": true});
    let lab = lab_of(ground, setting, client, Value::Null);
    is_answered(&lab, &lab.node, lab.node_device());
}

fn a_dhcp_client_is_answered_by_a_server_beside_it(ground: Ground, setting: BridgeNetfilter) {
    let client = json!({"dhcpClient": true});
    let role = json!({"role": "dhcp-server"});
    let lab = lab_of(ground, setting, client, role);
    is_answered(&lab, &lab.victims[0].ns, ETH0);
}

fn announced(lab: &Lab, prefix: Ipv6Addr) -> Frame {
    let me = lab.scene.me;
    let message = RouterAdvertisement {
        hop_limit: 64,
        flags: 0,
        lifetime_secs: 1800,
        reachable_ms: 0,
        retrans_ms: 0,
        options: vec![
            NdOption::SourceMac(me.mac),
            NdOption::Mtu(1500),
            NdOption::Prefix {
                prefix,
                len: 64,
                flags: 0xc0,
                valid_secs: 7200,
                preferred_secs: 3600,
            },
        ],
    };
    Icmpv6::router_advertisement(me.mac, me.lla, message)
}

fn a_router_announces_and_forwards_for_its_prefix_alone(ground: Ground, setting: BridgeNetfilter) {
    let role = json!({"role": "router", "prefixes": [format!("{BEHIND}/64")]});
    let lab = lab_of(ground, setting, role, Value::Null);
    let forwarded = |prefix: Ipv6Addr, name| {
        let [a, b, c, d, ..] = prefix.segments();
        let host = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 5);
        let packet = Ipv6::new(host, lab.scene.v2().v6, datagram(name));
        Frame::new(lab.scene.me.mac, lab.scene.v2().mac, packet)
    };
    only(
        &lab,
        vec![
            announced(&lab, ELSEWHERE),
            forwarded(ELSEWHERE, "from elsewhere"),
        ],
        vec![announced(&lab, BEHIND), forwarded(BEHIND, "from behind")],
    );
}

/// As keepalived does without a MAC of its own for the virtual router.
fn an_allowed_address_moves_with_vrrp(ground: Ground, setting: BridgeNetfilter) {
    let pairs = json!({"allowedAddresses": [VIRTUAL4, VIRTUAL6]});
    let lab = lab_of(ground, setting, pairs, Value::Null);
    let (me, peer) = (lab.scene.me, lab.scene.v2());
    // Version 3, advertisement, router 7, priority 100, one address (RFC 9568 section 5.2).
    let advert = [
        [0x31, 7, 100, 1, 0, 100, 0, 0].as_slice(),
        &VIRTUAL4.octets(),
    ]
    .concat();
    let group = Ipv4Addr::new(224, 0, 0, 18);
    let mut packet = Ipv4::new(me.v4, group, Payload::other(112, &advert));
    packet.ttl = 255;
    let another4 = Ipv4Addr::new(10, 66, 0, 201);
    let data = |src, name| Frame::new(me.mac, peer.mac, Ipv4::new(src, peer.v4, datagram(name)));
    only(
        &lab,
        vec![
            Arp::announcement(me.mac, another4),
            Icmpv6::unsolicited(me.mac, Ipv6Addr::new(0xfd66, 0, 0, 0, 0, 0, 0, 0x201)),
            data(another4, "from another address"),
        ],
        vec![
            Frame::new(me.mac, multicast_mac(group.into()), packet),
            Arp::announcement(me.mac, VIRTUAL4),
            Icmpv6::unsolicited(me.mac, VIRTUAL6),
            data(VIRTUAL4, "from the virtual address"),
        ],
    );
}

fn a_private_mac_speaks_beside_the_own_one(ground: Ground, setting: BridgeNetfilter) {
    let (private, foreign) = ([2, 0, 0x5e, 0, 0, 7], [2, 0, 0x5e, 0, 0, 8]);
    let macs = json!({"macs": [netns_fixtures::packet::mac_text(private)]});
    let lab = lab_of(ground, setting, macs, Value::Null);
    let (me, peer) = (lab.scene.me, lab.scene.v2());
    let from = |mac, name| Frame::new(mac, peer.mac, Ipv4::new(me.v4, peer.v4, datagram(name)));
    only(
        &lab,
        vec![from(foreign, "from a foreign MAC")],
        vec![
            from(private, "from the private MAC"),
            from(me.mac, "from the own MAC"),
        ],
    );
}
