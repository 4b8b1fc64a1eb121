//! What the filter does to packets, by the interpreter of rules.

use std::net::IpAddr;

use bulkhead_nft as nft;
use bulkhead_plan::{Op, TunnelDrop, Tunnels};
use nft::{Hook, Packet, Policy};

use crate::{ip, name, node, planned, told, tunnels};

pub(crate) fn table(want: Tunnels) -> nft::Table {
    let plan = planned(&node(), &told(want));
    let [Op::Nft { transaction, .. }] = plan.ops() else {
        panic!("{plan}")
    };
    let [nft::Command::AddTable(table)] = transaction.0.as_slice() else {
        panic!("{plan}")
    };
    table.clone()
}

/// Whether it passes, or why not.
#[track_caller]
fn judged(hook: Hook, packet: &Packet) -> Result<(), TunnelDrop> {
    judged_by(&table(tunnels()), hook, packet)
}

#[track_caller]
pub(crate) fn judged_by(table: &nft::Table, hook: Hook, packet: &Packet) -> Result<(), TunnelDrop> {
    let found = nft::evaluate(table, hook, packet).unwrap();
    match found.verdict {
        Policy::Accept => Ok(()),
        Policy::Drop => {
            let last = found.trail.last().unwrap();
            let mut reasons = TunnelDrop::ALL.into_iter();
            let reason = reasons.find(|reason| reason.chain() == last.chain).unwrap();
            let tallies: Vec<_> = found.metered.iter().map(|(set, _)| set.clone()).collect();
            assert_eq!(tallies, [reason.tally()], "counted once");
            Err(reason)
        }
    }
}

/// An IP packet; `next` is its protocol.
pub(crate) fn packet(from: &str, to: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap();
    let mut bytes = match (ip(from), ip(to)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut bytes = vec![0x45, 0];
            bytes.extend((len + 20).to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, next, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend(len.to_be_bytes());
            bytes.extend([next, 64]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
            bytes
        }
        _ => panic!("{from} to {to}"),
    };
    bytes.extend(payload);
    bytes
}

pub(crate) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x30, 0x39];
    bytes.extend(port.to_be_bytes());
    bytes.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

pub(crate) fn vxlan(vni: u32) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes()].concat()
}

/// As it arrives at the node.
pub(crate) fn arriving(bytes: &[u8], on: &str) -> Packet {
    Packet::ip(bytes).unwrap().arriving_on(name(on))
}

#[test]
fn only_known_vteps_reach_a_judged_port_and_in_their_networks_alone() {
    let input = |from: &str, to: &str, payload: &[u8]| {
        judged(
            Hook::Input,
            &arriving(&packet(from, to, 17, payload), "eth0"),
        )
    };
    let (near, own) = ("192.0.2.2", "192.0.2.1");
    let unknown = Err(TunnelDrop::UnknownSource);
    let wrong = Err(TunnelDrop::WrongVni);
    assert_eq!(input(near, own, &udp(4789, &vxlan(7))), Ok(()));
    assert_eq!(input(near, own, &udp(4789, &vxlan(8))), wrong);
    assert_eq!(input("192.0.2.3", own, &udp(4789, &vxlan(7))), unknown);
    assert_eq!(
        input("127.0.0.1", "127.0.0.1", &udp(4789, &vxlan(7))),
        unknown
    );
    // Known, but by another port.
    assert_eq!(input(near, own, &udp(8472, &vxlan(7))), unknown);
    assert_eq!(input(near, own, &udp(8472, &vxlan(9))), unknown);
    let (six, own6) = ("2001:db8::2", "2001:db8::1");
    assert_eq!(input(six, own6, &udp(8472, &vxlan(9))), Ok(()));
    assert_eq!(input(six, own6, &udp(8472, &vxlan(7))), wrong);
    assert_eq!(input(six, own6, &udp(4789, &vxlan(7))), unknown);
    // Cut short, or with a reserved bit.
    assert_eq!(input(near, own, &udp(4789, &[8, 0, 0, 0])), wrong);
    assert_eq!(
        input(near, own, &udp(4789, &[8, 0, 0, 0, 0, 0, 7, 1])),
        wrong
    );
    // Other ports, and other protocols, are no affair of ours.
    assert_eq!(input("192.0.2.3", own, &udp(53, b"x")), Ok(()));
    let tcp = packet("192.0.2.3", own, 6, &udp(4789, &[0; 12]));
    assert_eq!(judged(Hook::Input, &arriving(&tcp, "eth0")), Ok(()));
}

#[test]
fn of_ipv6_fragments_the_first_is_judged() {
    let fragment = |from: &str, offset: u16, payload: &[u8]| {
        let mut bytes = vec![17, 0];
        bytes.extend((offset << 3 | 1).to_be_bytes());
        bytes.extend([0, 0, 0, 1]);
        bytes.extend(payload);
        arriving(&packet(from, "2001:db8::1", 44, &bytes), "eth0")
    };
    let header = udp(8472, &vxlan(9));
    assert_eq!(
        judged(Hook::Input, &fragment("2001:db8::2", 0, &header)),
        Ok(())
    );
    let unknown = Err(TunnelDrop::UnknownSource);
    assert_eq!(
        judged(Hook::Input, &fragment("2001:db8::3", 0, &header)),
        unknown
    );
    // Nothing but the header of UDP.
    let cut = fragment("2001:db8::2", 0, &header[..8]);
    assert_eq!(judged(Hook::Input, &cut), Err(TunnelDrop::WrongVni));
    assert_eq!(
        judged(Hook::Input, &fragment("2001:db8::3", 2, &header)),
        Ok(())
    );
}

#[test]
fn an_address_of_a_pool_comes_from_where_it_is_routed_to() {
    let judged = |packet: &Packet| judged(Hook::Prerouting, packet);
    let misrouted = Err(TunnelDrop::Misrouted);
    for (inside, outside, to) in [
        ("10.1.2.5", "10.2.2.5", "10.1.1.5"),
        ("fd01:0:0:2::5", "fd02::5", "fd01:0:0:1::5"),
    ] {
        for link in ["eth0", "bhv-blue", "bhpn7nyh4lwdprh"] {
            let from = |source| arriving(&packet(source, to, 6, &[0; 20]), link);
            assert_eq!(judged(&from(inside)), misrouted, "{inside} on {link}");
            assert_eq!(
                judged(&from(inside).routed_back()),
                Ok(()),
                "{inside} on {link}"
            );
            assert_eq!(judged(&from(outside)), Ok(()), "{outside} on {link}");
        }
        let own = arriving(&packet(inside, to, 6, &[0; 20]), "lo");
        assert_eq!(judged(&own), Ok(()));
    }
}

#[test]
fn by_a_link_of_peers_an_address_of_a_pool_comes_from_one_of_them_alone() {
    let arriving = |source: &str, mac: u8, on: &str| {
        let to = if source.contains(':') {
            "fd01:0:0:1::5"
        } else {
            "10.1.1.5"
        };
        let kind: [u8; 2] = if source.contains(':') {
            [0x86, 0xdd]
        } else {
            [8, 0]
        };
        let mut bytes = vec![2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, mac];
        bytes.extend(kind);
        bytes.extend(packet(source, to, 6, &[0; 20]));
        Packet::frame(&bytes, name(on)).unwrap().routed_back()
    };
    let judged = |packet: &Packet| judged(Hook::Prerouting, packet);
    for (inside, outside) in [("10.1.2.5", "10.2.2.5"), ("fd01:0:0:2::5", "fd02::5")] {
        assert_eq!(judged(&arriving(inside, 2, "eth1")), Ok(()));
        let stranger = arriving(inside, 3, "eth1");
        assert_eq!(judged(&stranger), Err(TunnelDrop::Misrouted), "{inside}");
        // A peer, with what is behind another one.
        let peer = arriving(inside, 4, "eth1");
        assert_eq!(judged(&peer), Err(TunnelDrop::Misrouted), "{inside}");
        // From elsewhere, and where no peer is near, is no affair of this.
        assert_eq!(judged(&arriving(outside, 3, "eth1")), Ok(()));
        assert_eq!(judged(&arriving(inside, 3, "eth0")), Ok(()));
    }
}

#[test]
fn a_container_sends_nothing_encapsulated_to_a_vtep() {
    let port = "bhpn7nyh4lwdprh";
    let from = |to: &str, payload: &[u8], on: &str| {
        let source = if to.contains(':') {
            "fd01:0:0:1::5"
        } else {
            "10.1.1.5"
        };
        arriving(&packet(source, to, 17, payload), on).routed_back()
    };
    let judged = |packet: &Packet| judged(Hook::Prerouting, packet);
    let dropped = Err(TunnelDrop::FromContainer);
    let inner = udp(4789, &vxlan(7));
    for vtep in ["192.0.2.2", "198.51.100.3", "2001:db8::2"] {
        assert_eq!(judged(&from(vtep, &inner, port)), dropped, "{vtep}");
        assert_eq!(
            judged(&from(vtep, &inner, "eth0")),
            Ok(()),
            "forwarded for others"
        );
        assert_eq!(judged(&from(vtep, &udp(53, b"x"), port)), Ok(()));
    }
    assert_eq!(judged(&from("192.0.2.1", &inner, port).for_host()), dropped);
    assert_eq!(
        judged(&from("192.0.2.99", &inner, port)),
        Ok(()),
        "nobody's VTEP"
    );
    // In fragments: without the first the others are nothing.
    let mut first = packet("10.1.1.5", "192.0.2.2", 17, &inner);
    first[6] = 0x20;
    assert_eq!(judged(&arriving(&first, port).routed_back()), dropped);
    let mut later = first.clone();
    later[7] = 4;
    assert_eq!(judged(&arriving(&later, port).routed_back()), Ok(()));
}

#[test]
fn of_tcp_what_begins_a_connection_over_a_clamped_device_is_clamped() {
    let mut want = tunnels();
    want.clamped = [name("bhv-blue")].into();
    let table = table(want);
    let clamps = |packet: &Packet| {
        let found = nft::evaluate(&table, Hook::Forward, packet).unwrap();
        assert_eq!(found.verdict, Policy::Accept);
        found.trail.iter().any(|step| {
            let chain = table.chains.iter().find(|chain| chain.name == step.chain);
            let rule = &chain.unwrap().rules[step.rule];
            rule.statements.contains(&nft::Statement::ClampMss)
        })
    };
    let tcp = |flags: u8| {
        let mut header = vec![0; 20];
        (header[12], header[13]) = (0x50, flags);
        header
    };
    for (from, to) in [("10.1.1.5", "10.1.2.5"), ("fd01::5", "fd01:0:0:2::5")] {
        let sent = |payload: &[u8]| Packet::ip(&packet(from, to, 6, payload)).unwrap();
        let (syn, syn_ack, ack, rst) = (tcp(2), tcp(0x12), tcp(0x10), tcp(6));
        for (flags, is_clamped) in [
            (syn.clone(), true),
            (syn_ack, true),
            (ack, false),
            (rst, false),
        ] {
            let arriving = sent(&flags).arriving_on(name("bhv-blue"));
            assert_eq!(clamps(&arriving), is_clamped, "{flags:?}");
            let leaving = sent(&flags)
                .arriving_on(name("eth0"))
                .leaving_by(name("bhv-blue"));
            assert_eq!(clamps(&leaving), is_clamped, "{flags:?}");
        }
        let elsewhere = sent(&syn)
            .arriving_on(name("eth0"))
            .leaving_by(name("eth1"));
        assert!(!clamps(&elsewhere));
        let datagram = packet(from, to, 17, &udp(53, &[2; 20]));
        let datagram = Packet::ip(&datagram).unwrap().arriving_on(name("bhv-blue"));
        assert!(!clamps(&datagram));
    }
    let mut later = packet("10.1.1.5", "10.1.2.5", 6, &tcp(2));
    later[7] = 4;
    assert!(!clamps(
        &Packet::ip(&later).unwrap().arriving_on(name("bhv-blue"))
    ));
}
