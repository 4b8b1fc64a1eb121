use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::*;

const A: MacOctets = [2, 0, 0, 0, 0, 1];
const B: MacOctets = [2, 0, 0, 0, 0, 2];
const A4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const B4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const A6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

fn udp() -> Udp {
    Udp {
        src_port: 1000,
        dst_port: 53,
        data: b"odd".to_vec(),
    }
}

fn advertisement() -> RouterAdvertisement {
    RouterAdvertisement {
        hop_limit: 64,
        flags: 0x80,
        lifetime_secs: 1800,
        reachable_ms: 1,
        retrans_ms: 2,
        options: vec![
            NdOption::SourceMac(A),
            NdOption::Mtu(1400),
            NdOption::Prefix {
                prefix: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
                len: 64,
                flags: 0xc0,
                valid_secs: 7200,
                preferred_secs: 3600,
            },
            NdOption::Rdnss {
                lifetime_secs: 60,
                servers: vec![A6, B6],
            },
            NdOption::Nonce([1, 2, 3, 4, 5, 6]),
            NdOption::Other {
                kind: 99,
                bytes: vec![7; 14],
            },
        ],
    }
}

/// One frame of every shape.
fn every_frame() -> Vec<Frame> {
    let echo4 = Icmp::EchoRequest {
        id: 7,
        seq: 1,
        data: b"ping".to_vec(),
    };
    let echo6 = Icmpv6::EchoReply {
        id: 7,
        seq: 1,
        data: b"ping!".to_vec(),
    };
    let mut syn = Tcp::syn(40_000, 80);
    syn.options = vec![2, 4, 5, 0xb4];
    let mut fragment = Ipv4::new(A4, B4, Payload::other(17, b"part of it"));
    fragment.fragment = Fragment {
        id: 77,
        offset: 3,
        more: true,
    };
    let hidden = Ipv6::new(A6, B6, udp()).extended(Extension::Options {
        protocol: 60,
        bytes: vec![1, 4, 0, 0, 0, 0],
    });
    let piece = Ipv6::new(A6, B6, Payload::other(58, b"a piece.")).extended(Extension::Fragment(
        Fragment {
            id: 5,
            offset: 2,
            more: false,
        },
    ));
    let vlan = Vlan {
        protocol: 0x8100,
        tci: 0x2005,
    };
    vec![
        Arp::request(A, A4, B4),
        Arp::reply(B, B4, A, A4),
        Arp::announcement(A, A4),
        Frame::new(A, B, Ipv4::new(A4, B4, udp())),
        Frame::new(A, B, Ipv4::new(A4, B4, syn.clone())),
        Frame::new(A, B, Ipv4::new(A4, B4, echo4)),
        Frame::new(A, B, fragment),
        Frame::new(A, B, Ipv6::new(A6, B6, udp())).tagged(vlan),
        Frame::new(A, B, Ipv6::new(A6, B6, syn)),
        Frame::new(A, B, Ipv6::new(A6, B6, echo6)),
        Frame::new(A, B, hidden),
        Frame::new(A, B, piece),
        Icmpv6::solicitation(A, A6, B6),
        Icmpv6::unsolicited(A, A6),
        Icmpv6::router_solicitation(A, A6),
        Icmpv6::router_advertisement(A, A6, advertisement()),
        Frame::new(
            A,
            B,
            Body::Other {
                ethertype: 0x88cc,
                bytes: vec![1, 2, 3],
            },
        ),
    ]
}

#[test]
fn what_is_built_parses_to_the_same() {
    for frame in every_frame() {
        assert_eq!(Frame::parse(&frame.to_bytes()).as_ref(), Ok(&frame));
    }
}

#[test]
fn every_cut_is_an_error_and_never_a_panic() {
    for frame in every_frame() {
        let bytes = frame.to_bytes();
        for end in 0..bytes.len() {
            let cut = Frame::parse(&bytes[..end]);
            if !matches!(frame.body, Body::Other { .. }) || end < 14 {
                assert!(cut.is_err(), "{frame} cut at {end}: {cut:?}");
            }
        }
    }
}

#[test]
fn another_library_agrees_on_headers_and_checksums() {
    for frame in every_frame() {
        let bytes = frame.to_bytes();
        let other = SlicedPacket::from_ethernet(&bytes).unwrap();
        let (src, dst) = match &other.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                (header.source.into(), header.destination.into())
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header();
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                )
            }
            _ => continue,
        };
        assert_eq!(frame.addresses(), Some((src, dst)));
        check_transport(&frame, &other, src, dst);
    }
}

fn check_transport(frame: &Frame, other: &SlicedPacket, src: IpAddr, dst: IpAddr) {
    let (found, wanted) = match (&other.transport, src, dst) {
        (Some(TransportSlice::Udp(udp)), IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (header, data) = (udp.to_header(), udp.payload());
            let sum = header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), data);
            (header.checksum, sum.unwrap())
        }
        (Some(TransportSlice::Udp(udp)), IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (header, data) = (udp.to_header(), udp.payload());
            let sum = header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), data);
            (header.checksum, sum.unwrap())
        }
        (Some(TransportSlice::Tcp(tcp)), IpAddr::V4(src), IpAddr::V4(dst)) => {
            let sum = tcp.calc_checksum_ipv4(src.octets(), dst.octets());
            (tcp.checksum(), sum.unwrap())
        }
        (Some(TransportSlice::Tcp(tcp)), IpAddr::V6(src), IpAddr::V6(dst)) => {
            let sum = tcp.calc_checksum_ipv6(src.octets(), dst.octets());
            (tcp.checksum(), sum.unwrap())
        }
        (Some(TransportSlice::Icmpv6(icmp)), IpAddr::V6(src), IpAddr::V6(dst)) => {
            assert!(icmp.is_checksum_valid(src.octets(), dst.octets()));
            return;
        }
        (Some(TransportSlice::Icmpv4(icmp)), ..) => {
            let header = icmp.header();
            let sum = header.icmp_type.calc_checksum(icmp.payload());
            (header.checksum, sum)
        }
        (None, ..) => {
            assert!(matches!(frame.payload(), Some(Payload::Other { .. })));
            return;
        }
        _ => panic!("{frame}: {:?}", other.transport),
    };
    assert_eq!(found, wanted, "{frame}");
}

#[test]
fn a_flipped_bit_under_a_checksum_is_seen() {
    for frame in every_frame() {
        let checked = matches!(
            frame.payload(),
            Some(Payload::Udp(_) | Payload::Tcp(_) | Payload::Icmp(_) | Payload::Icmpv6(_))
        );
        let mut bytes = frame.to_bytes();
        *bytes.last_mut().unwrap() ^= 1;
        assert!(!checked || Frame::parse(&bytes).is_err(), "{frame}");
    }
}

#[test]
fn a_checksum_left_to_the_device_is_no_error() {
    let frame = Frame::new(A, B, Ipv4::new(A4, B4, udp()));
    let mut bytes = frame.to_bytes();
    let at = bytes.len() - udp().data.len() - 2;
    // 10.0.0.1 + 10.0.0.2 + protocol 17 + length 11, as 16-bit words.
    let sum: u16 = 0x0a00 + 1 + 0x0a00 + 2 + 17 + 11;
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(Frame::parse(&bytes), Ok(frame));
}

/// A neighbour solicitation byte by byte after RFC 4861 §4.3 and RFC 2464 §7.
#[test]
fn a_solicitation_is_what_the_rfc_draws() {
    let bytes = Icmpv6::solicitation(A, A6, B6).to_bytes();
    assert_eq!(bytes[..6], [0x33, 0x33, 0xff, 0, 0, 2]);
    assert_eq!(bytes[12..14], [0x86, 0xdd]);
    assert_eq!(bytes[20..22], [58, 255]);
    assert_eq!(bytes[54..56], [135, 0]);
    assert_eq!(bytes[62..78], B6.octets());
    assert_eq!(bytes[78..], [1, 1, 2, 0, 0, 0, 0, 1]);
}

#[test]
fn a_mac_is_text_both_ways() {
    assert_eq!(parse_mac("02:00:00:00:00:01"), Some(A));
    assert_eq!(mac_text(BROADCAST), "ff:ff:ff:ff:ff:ff");
    assert_eq!(parse_mac("02:00:00:00:00"), None);
}
