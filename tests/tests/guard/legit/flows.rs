//! Traffic of ordinary programs.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use netns_fixtures::{
    EchoServer, Ns, Outside, Ping, Transport, path_mtu, tcp_echo, udp_echo, wait_for,
};

use crate::lab::{ETH0, LIMIT, Lab};

crate::on_each_ground! { lab:
    tcp_and_udp_between_containers,
    tcp_and_udp_to_the_node,
    tcp_and_udp_to_the_outside,
    tcp_and_udp_from_the_node,
    tcp_and_udp_from_the_outside,
    an_echo_to_everybody,
    an_echo_between_link_local_addresses,
    an_echo_of_3000_bytes_in_fragments,
    a_datagram_of_20000_bytes_in_fragments,
    a_refusal_of_a_closed_port,
    a_refusal_of_a_closed_port_to_the_outside,
    a_path_of_1400_bytes_is_found,
    a_neighbour_that_is_forgotten_is_found_again,
    an_address_that_is_probed_is_no_duplicate,
}

/// TCP with more than a window and UDP, from `from` to each of `addresses`, which `to` holds.
#[track_caller]
fn speak(from: &Ns, to: &Ns, addresses: &[IpAddr]) {
    let large = vec![b'x'; 200_000];
    for address in addresses {
        let any = SocketAddr::new(*address, 0);
        let tcp = EchoServer::start(to, Transport::Tcp, any).unwrap();
        tcp_echo(from, tcp.address(), &large, LIMIT).unwrap();
        let udp = EchoServer::start(to, Transport::Udp, any).unwrap();
        udp_echo(from, udp.address(), b"hello", LIMIT).unwrap();
    }
}

fn both(v4: std::net::Ipv4Addr, v6: std::net::Ipv6Addr) -> [IpAddr; 2] {
    [v4.into(), v6.into()]
}

const OUTSIDE: [IpAddr; 2] = [IpAddr::V4(Outside::V4), IpAddr::V6(Outside::V6)];

/// The node's own addresses that a container may speak to without a zone.
fn of_node(lab: &Lab) -> [IpAddr; 2] {
    both(lab.scene.node.0, lab.scene.node.1)
}

fn tcp_and_udp_between_containers(lab: &Lab) {
    let [me, one, two] = lab.seats();
    for (from, to) in [(me, one), (one, me), (one, two)] {
        speak(&from.ns, &to.ns, &both(to.station.v4, to.station.v6));
    }
}

fn tcp_and_udp_to_the_node(lab: &Lab) {
    speak(&lab.attacker.ns, &lab.node, &of_node(lab));
}

fn tcp_and_udp_to_the_outside(lab: &Lab) {
    speak(&lab.attacker.ns, &lab.outside, &OUTSIDE);
}

fn tcp_and_udp_from_the_node(lab: &Lab) {
    let me = lab.scene.me;
    speak(&lab.node, &lab.attacker.ns, &both(me.v4, me.v6));
}

fn tcp_and_udp_from_the_outside(lab: &Lab) {
    let me = lab.scene.me;
    speak(&lab.outside, &lab.attacker.ns, &both(me.v4, me.v6));
}

/// Everybody that the container may ping.
fn everybody(lab: &Lab) -> Vec<IpAddr> {
    let scene = &lab.scene;
    let groups = [both(scene.v1().v4, scene.v1().v6), of_node(lab), OUTSIDE];
    groups.concat()
}

fn an_echo_to_everybody(lab: &Lab) {
    for to in everybody(lab) {
        assert!(
            Ping::new(to).limit(LIMIT).from(&lab.attacker.ns).unwrap(),
            "{to}"
        );
    }
}

fn an_echo_between_link_local_addresses(lab: &Lab) {
    let ping = Ping::new(lab.scene.gateway.lla).via(ETH0).limit(LIMIT);
    assert!(ping.from(&lab.attacker.ns).unwrap());
}

fn an_echo_of_3000_bytes_in_fragments(lab: &Lab) {
    for to in everybody(lab) {
        let ping = Ping::new(to).packet_size(3000).limit(LIMIT);
        assert!(ping.from(&lab.attacker.ns).unwrap(), "{to}");
    }
}

fn a_datagram_of_20000_bytes_in_fragments(lab: &Lab) {
    let large = vec![b'y'; 20_000];
    let victim = &lab.victims[0];
    for to in both(victim.station.v4, victim.station.v6) {
        let server = EchoServer::start(&victim.ns, Transport::Udp, SocketAddr::new(to, 0)).unwrap();
        udp_echo(&lab.attacker.ns, server.address(), &large, LIMIT).unwrap();
    }
}

/// A datagram to a port that nobody listens on is refused, which needs the error of its receiver.
#[track_caller]
fn refused(from: &Ns, to: IpAddr) {
    let ask = || {
        let any: IpAddr = if to.is_ipv4() {
            [0; 4].into()
        } else {
            [0_u16; 8].into()
        };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket
            .set_read_timeout(Some(std::time::Duration::from_millis(300)))
            .unwrap();
        socket.connect((to, 9)).unwrap();
        // A refusal of the one before is told by the next call.
        drop(socket.send(b"anybody?"));
        socket.recv(&mut [0; 16]).unwrap_err().kind()
    };
    wait_for(&format!("a refusal by {to}"), LIMIT, || {
        let kind = from.enter(ask).unwrap();
        (kind == std::io::ErrorKind::ConnectionRefused).then_some(())
    });
}

fn a_refusal_of_a_closed_port(lab: &Lab) {
    let (me, victim) = (lab.scene.me, lab.scene.v1());
    for to in both(victim.v4, victim.v6) {
        refused(&lab.attacker.ns, to);
    }
    for to in both(me.v4, me.v6) {
        refused(&lab.victims[0].ns, to);
    }
}

fn a_refusal_of_a_closed_port_to_the_outside(lab: &Lab) {
    let me = lab.scene.me;
    for to in both(me.v4, me.v6) {
        refused(&lab.outside, to);
    }
    for to in OUTSIDE {
        refused(&lab.attacker.ns, to);
    }
}

fn a_path_of_1400_bytes_is_found(lab: &Lab) {
    lab.node.ip("link set uplink0 mtu 1400").unwrap();
    // An answer that a busy machine gives late is taken for a packet that was too long.
    for to in OUTSIDE {
        wait_for(&format!("a path of 1400 bytes to {to}"), LIMIT, || {
            let found = path_mtu(&lab.attacker.ns, to, 1500).unwrap();
            (found == Some(1400)).then_some(())
        });
    }
}

/// Both sides resolve each other anew.
fn a_neighbour_that_is_forgotten_is_found_again(lab: &Lab) {
    for seat in lab.seats() {
        seat.ns.ip(&format!("neigh flush dev {ETH0}")).unwrap();
    }
    lab.node
        .ip(&format!("neigh flush dev {}", lab.node_device()))
        .unwrap();
    an_echo_to_everybody(lab);
    tcp_and_udp_between_containers(lab);
}

/// The kernel's own probes, with a nonce, of addresses that are the container's.
fn an_address_that_is_probed_is_no_duplicate(lab: &Lab) {
    let ns = &lab.attacker.ns;
    for key in ["accept_dad", "dad_transmits"] {
        ns.set_sysctl(&format!("net/ipv6/conf/{ETH0}/{key}"), "1")
            .unwrap();
    }
    let own = lab.scene.me.v6;
    let shown = ns
        .ip_json(&format!("-6 addr show dev {ETH0} to {own}"))
        .unwrap();
    let length = shown[0]["addr_info"][0]["prefixlen"].as_u64().unwrap();
    ns.ip(&format!("addr del {own}/{length} dev {ETH0}"))
        .unwrap();
    ns.ip(&format!("addr add {own}/{length} dev {ETH0}"))
        .unwrap();
    wait_for("the end of duplicate address detection", LIMIT, || {
        let shown = ns.ip(&format!("-6 addr show dev {ETH0} to {own}")).unwrap();
        assert!(!shown.contains("dadfailed"), "{shown}");
        (!shown.contains("tentative")).then_some(())
    });
}
