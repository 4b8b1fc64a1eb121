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
    let mut optioned = Ipv4::new(A4, B4, udp());
    optioned.options = vec![0x83, 7, 4, 10, 0, 0, 9, 1];
    let authenticated =
        Ipv6::new(A6, B6, udp()).extended(Extension::Authentication { bytes: vec![7; 14] });
    let routed = Ipv6::new(A6, B6, udp()).extended(Extension::routing(
        0,
        1,
        &[[0; 4].as_slice(), &A6.octets()].concat(),
    ));
    vec![
        mld2_report(A, A6, &[B6, A6]),
        mld1_report(A, A6, B6),
        mld_query(A, A6),
        igmp3_report(A, A4, &[B4]),
        igmp_query(A, A4),
        Frame::new(A, B, optioned),
        Frame::new(A, B, authenticated),
        Frame::new(A, B, routed),
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
        (None | Some(TransportSlice::Igmp(_)), ..) => {
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

/// What a receiver makes of pieces: the fragmentable part, in the order of the offsets.
fn joined(pieces: &[(Fragment, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (nth, (fragment, bytes)) in pieces.iter().enumerate() {
        assert_eq!(usize::from(fragment.offset) * 8, out.len());
        assert_eq!(fragment.more, nth + 1 < pieces.len());
        out.extend(bytes);
    }
    out
}

fn carried(payload: &Payload) -> Vec<u8> {
    let Payload::Other { bytes, .. } = payload else {
        panic!("a piece carries bytes: {payload:?}");
    };
    bytes.clone()
}

#[test]
fn pieces_of_an_ipv6_packet_join_to_what_was_cut() {
    let big = Udp {
        data: vec![9; 40],
        ..udp()
    };
    let options = |protocol| Extension::Options {
        protocol,
        bytes: vec![1, 4, 0, 0, 0, 0],
    };
    let whole = Ipv6::new(A6, B6, big)
        .extended(options(0))
        .extended(options(60));
    let pieces: Vec<_> = whole
        .split(7, 1, &[8, 16])
        .into_iter()
        .map(|piece| {
            let parsed = Frame::parse(&Frame::new(A, B, piece.clone()).to_bytes()).unwrap();
            assert_eq!(parsed.body, Body::Ipv6(piece.clone()));
            let [
                Extension::Options { protocol: 0, .. },
                Extension::Fragment(fragment),
            ] = piece.extensions[..]
            else {
                panic!("{piece:?}");
            };
            assert_eq!(piece.payload.protocol(), 60);
            (fragment, carried(&piece.payload))
        })
        .collect();
    // Behind the fixed header of 40 bytes and the hop-by-hop header of 8.
    assert_eq!(joined(&pieces), whole.to_bytes()[48..]);
    let [atomic] = &whole.split(7, 2, &[])[..] else {
        panic!("one piece");
    };
    assert_eq!(carried(&atomic.payload), whole.to_bytes()[56..]);
}

#[test]
fn pieces_of_an_ipv4_packet_join_to_what_was_cut() {
    let whole = Ipv4::new(A4, B4, udp());
    let pieces: Vec<_> = whole
        .split(9, &[8])
        .into_iter()
        .map(|piece| (piece.fragment, carried(&piece.payload)))
        .collect();
    assert_eq!(joined(&pieces), whole.to_bytes()[20..]);
}

/// RFC 1042: length, LLC AA-AA-03, organisation 0, the `EtherType`, the packet.
#[test]
fn a_snap_frame_carries_the_same_packet() {
    let plain = Frame::new(A, B, Ipv6::new(A6, B6, udp()));
    let wrapped = plain.in_snap().to_bytes();
    let inner = &plain.to_bytes()[12..];
    assert_eq!(
        usize::from(u16::from_be_bytes([wrapped[12], wrapped[13]])),
        wrapped.len() - 14
    );
    assert_eq!(wrapped[14..20], [0xaa, 0xaa, 3, 0, 0, 0]);
    assert_eq!(&wrapped[20..], inner);
}

/// The header of RFC 7348 §5: flag I, the identifier in the upper 24 bits, then the frame.
#[test]
fn a_vxlan_datagram_carries_the_frame() {
    let inner = Icmpv6::unsolicited(A, A6);
    let datagram = vxlan(0x0012_3456, 7, &inner);
    assert_eq!(datagram.data[..8], [8, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
    assert_eq!(Frame::parse(&datagram.data[8..]), Ok(inner));
}

/// An `IGMPv3` report byte by byte after RFC 3376 §4.2, with the router alert of RFC 2113.
#[test]
fn a_membership_report_is_what_the_rfc_draws() {
    let bytes = igmp3_report(A, A4, &[Ipv4Addr::new(239, 1, 2, 3)]).to_bytes();
    assert_eq!(bytes[..6], [1, 0, 0x5e, 0, 0, 22]);
    assert_eq!(bytes[14], 0x46);
    assert_eq!(bytes[34..38], [0x94, 4, 0, 0]);
    assert_eq!(bytes[38], 0x22);
    assert_eq!(bytes[44..], [0, 1, 4, 0, 0, 0, 239, 1, 2, 3]);
    assert_eq!(bytes::checksum(&[&bytes[38..]]), 0);
}
