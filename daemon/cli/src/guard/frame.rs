//! One line about a frame, for a person. Whoever sent it meant no good, so every length is doubted.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use bulkhead_kernel::Logged;

/// The frame in one line: MACs, then what it carries, from the outside in.
pub(crate) fn summary(logged: &Logged) -> String {
    let mut text = String::new();
    if let (Some(to), Some(from)) = (logged.header.get(..6), logged.header.get(6..12)) {
        let _ = write!(text, "{} > {} ", mac(from), mac(to));
    }
    let payload = &logged.payload;
    let body = match logged.protocol {
        0x0800 => ipv4(payload),
        0x0806 => arp(payload),
        0x86dd => ipv6(payload),
        0x8100 | 0x88a8 => Some("VLAN tag".to_owned()),
        // Below 1536 it is the length of an LLC frame (IEEE 802.3 3.2.6).
        length @ 0..1536 => Some(format!("LLC, length {length}")),
        other => Some(format!("Ethernet type {other:#06x}")),
    };
    text + &body.unwrap_or_else(|| format!("Ethernet type {:#06x}, cut short", logged.protocol))
}

fn mac(bytes: &[u8]) -> String {
    let parts: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?.into())
}

fn v6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?.into())
}

/// RFC 826.
fn arp(bytes: &[u8]) -> Option<String> {
    let (sender, target) = (v4(bytes, 14)?, v4(bytes, 24)?);
    let at = mac(bytes.get(8..14)?);
    Some(match short(bytes, 6)? {
        1 => format!("ARP who has {target}, tell {sender} at {at}"),
        2 => format!("ARP {sender} is at {at}"),
        other => format!("ARP operation {other} of {sender} at {at}"),
    })
}

/// RFC 791 section 3.1.
fn ipv4(bytes: &[u8]) -> Option<String> {
    let length = usize::from(bytes.first()? & 0xf) * 4;
    let fragment = short(bytes, 6)?;
    let (protocol, from, to) = (*bytes.get(9)?, v4(bytes, 12)?, v4(bytes, 16)?);
    let offset = fragment & 0x1fff;
    let mut text = format!("{from} > {to} ");
    if length > 20 {
        text += "options ";
    }
    if offset > 0 || fragment & 0x2000 != 0 {
        let _ = write!(text, "fragment at {} ", u32::from(offset) * 8);
    }
    let inner = bytes.get(length.max(20)..).unwrap_or_default();
    text += &if offset > 0 {
        protocol_name(protocol)
    } else {
        carried(protocol, inner)
    };
    Some(text)
}

/// RFC 8200 sections 3 and 4.
fn ipv6(bytes: &[u8]) -> Option<String> {
    let (from, to) = (v6(bytes, 8)?, v6(bytes, 24)?);
    let mut text = format!("{from} > {to} ");
    let (mut next, mut rest) = (*bytes.get(6)?, bytes.get(40..)?);
    loop {
        let (name, length) = match next {
            0 => ("hop-by-hop", rest.get(1).map(|n| (usize::from(*n) + 1) * 8)),
            43 => ("routing", rest.get(1).map(|n| (usize::from(*n) + 1) * 8)),
            60 => (
                "destination options",
                rest.get(1).map(|n| (usize::from(*n) + 1) * 8),
            ),
            44 => ("fragment", Some(8)),
            _ => break,
        };
        text += name;
        if next == 44 {
            let offset = short(rest, 2).unwrap_or_default() & 0xfff8;
            let _ = write!(text, " at {offset}");
            if offset > 0 {
                let inner = rest.first().copied().unwrap_or_default();
                return Some(text + " " + &protocol_name(inner));
            }
        }
        text += " ";
        let Some((inner, after)) =
            length.and_then(|length| Some((*rest.first()?, rest.get(length..)?)))
        else {
            return Some(text + "cut short");
        };
        (next, rest) = (inner, after);
    }
    text += &carried(next, rest);
    Some(text)
}

/// What an IP packet carries.
fn carried(protocol: u8, bytes: &[u8]) -> String {
    let name = protocol_name(protocol);
    match protocol {
        1 | 58 => match (bytes.first(), bytes.get(1)) {
            (Some(kind), Some(code)) => icmp(protocol, *kind, *code, bytes),
            _ => name,
        },
        6 | 17 | 132 => match (short(bytes, 0), short(bytes, 2)) {
            (Some(from), Some(to)) => format!("{name} {from} > {to}"),
            _ => name,
        },
        _ => name,
    }
}

/// IANA's protocol numbers, of what a container might try.
fn protocol_name(protocol: u8) -> String {
    let name = match protocol {
        1 => "ICMP",
        2 => "IGMP",
        4 => "IPv4 in IP",
        6 => "TCP",
        17 => "UDP",
        41 => "IPv6 in IP",
        47 => "GRE",
        50 => "ESP",
        58 => "ICMPv6",
        59 => "no next header",
        112 => "VRRP",
        132 => "SCTP",
        _ => return format!("protocol {protocol}"),
    };
    name.to_owned()
}

/// IANA's types of ICMP and `ICMPv6` that are dropped most.
fn icmp(protocol: u8, kind: u8, code: u8, bytes: &[u8]) -> String {
    let target = |text: &str| match v6(bytes, 8) {
        Some(target) => format!("{text} {target}"),
        None => text.to_owned(),
    };
    match (protocol, kind) {
        (1, 3) => format!("ICMP unreachable, code {code}"),
        (1, 5) => "ICMP redirect".to_owned(),
        (1, 9) => "ICMP router advertisement".to_owned(),
        (58, 1) => format!("ICMPv6 unreachable, code {code}"),
        (58, 2) => "ICMPv6 packet too big".to_owned(),
        (58, 130) => "multicast listener query".to_owned(),
        (58, 133) => "router solicitation".to_owned(),
        (58, 134) => "router advertisement".to_owned(),
        (58, 135) => target("neighbour solicitation for"),
        (58, 136) => target("neighbour advertisement of"),
        (58, 137) => target("redirect to"),
        (1, _) => format!("ICMP type {kind} code {code}"),
        _ => format!("ICMPv6 type {kind} code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(protocol: u16, payload: &[u8]) -> String {
        summary(&Logged {
            protocol,
            payload: payload.to_vec(),
            ..Logged::default()
        })
    }

    fn v6_header(next: u8) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 0, next, 255];
        bytes.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes
    }

    #[test]
    fn an_arp_message_is_told_by_what_it_says() {
        let logged = Logged {
            protocol: 0x0806,
            header: [[0xff; 6], [2, 0, 0, 0, 0, 1]].concat(),
            payload: [
                &[0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 1, 0, 1][..],
                &[0; 6],
                &[10, 1, 0, 5],
            ]
            .concat(),
            ..Logged::default()
        };
        assert_eq!(
            summary(&logged),
            "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff ARP 10.1.0.1 is at 02:00:00:00:00:01"
        );
    }

    #[test]
    fn extension_headers_are_walked() {
        let bare = [v6_header(58), vec![134, 0, 0, 0]].concat();
        assert_eq!(
            said(0x86dd, &bare),
            "fe80::1 > ff02::1 router advertisement"
        );
        let hidden = [
            v6_header(60),
            vec![44, 0, 0, 0, 0, 0, 0, 0],
            vec![58, 0, 0, 1, 0, 0, 0, 1],
            vec![134, 0],
        ]
        .concat();
        assert_eq!(
            said(0x86dd, &hidden),
            "fe80::1 > ff02::1 destination options fragment at 0 router advertisement"
        );
        let later = [v6_header(44), vec![58, 0, 0, 8, 0, 0, 0, 1, 134, 0]].concat();
        assert_eq!(
            said(0x86dd, &later),
            "fe80::1 > ff02::1 fragment at 8 ICMPv6"
        );
    }

    #[test]
    fn ipv4_is_told_with_its_ports() {
        let mut udp = vec![
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 5, 10, 1, 0, 1,
        ];
        udp.extend([0x10, 0x01, 0x12, 0xb5, 0, 8, 0, 0]);
        assert_eq!(said(0x0800, &udp), "10.1.0.5 > 10.1.0.1 UDP 4097 > 4789");
    }

    #[test]
    fn whatever_is_cut_anywhere_is_told_somehow() {
        let whole = [
            v6_header(0),
            vec![43, 0, 0, 0, 0, 0, 0, 0],
            vec![44, 0, 0, 0, 0, 0, 0, 0],
            vec![58, 0, 0, 0, 0, 0, 0, 1, 137, 0, 0, 0],
        ]
        .concat();
        for protocol in [0, 26, 0x0800, 0x0806, 0x8100, 0x86dd, 0xffff] {
            for length in 0..=whole.len() {
                assert_ne!(said(protocol, &whole[..length]), "");
            }
        }
        assert_eq!(said(0x0806, &[0; 4]), "Ethernet type 0x0806, cut short");
    }
}
