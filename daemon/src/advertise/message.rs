//! Router discovery on the wire (RFC 4861 section 4.1, 4.2): solicitations read, advertisements written.
//! The kernel fills in and checks the checksum (RFC 3542 section 3.1).

use std::net::Ipv6Addr;

use bulkhead_ipv6::{Advertisements, Domain, OwnAddresses, Preference};
use bulkhead_model::{Mac, Prefix};

/// The type of a router solicitation.
pub(super) const SOLICITATION: u8 = 133;
/// The type of a router advertisement.
const ADVERTISEMENT: u8 = 134;
/// A hop limit that no router has lowered (RFC 4861 section 6.1).
pub(super) const ONE_HOP: u8 = 255;
/// What hosts send with (IANA, IP option numbers: "Default TTL").
const HOP_LIMIT: u8 = 64;

const SOURCE_LINK_LAYER: u8 = 1;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;

/// Whether it is a solicitation that routers answer (RFC 4861 section 6.1.1), as the raw socket gave it.
pub(super) fn is_solicitation(message: &[u8], source: Ipv6Addr, hop_limit: Option<u8>) -> bool {
    let [SOLICITATION, 0, _, _, _, _, _, _, options @ ..] = message else {
        return false;
    };
    hop_limit == Some(ONE_HOP)
        && kinds(options)
            .is_some_and(|kinds| !(source.is_unspecified() && kinds.contains(&SOURCE_LINK_LAYER)))
}

/// The kinds of options; `None` if one has no length, or more than there is.
fn kinds(mut options: &[u8]) -> Option<Vec<u8>> {
    let mut kinds = Vec::new();
    while let [kind, eights, ..] = options {
        kinds.push(*kind);
        let length = usize::from(*eights) * 8;
        options = options.get(length..).filter(|_| length > 0)?;
    }
    options.is_empty().then_some(kinds)
}

/// What is advertised to the holder of `prefix`, from a port with this MAC.
pub(super) fn advertisement(said: &Advertisements, prefix: Option<Prefix>, port: Mac) -> Vec<u8> {
    let preference = match said.preference {
        Preference::High => 0b01,
        Preference::Medium => 0b00,
        Preference::Low => 0b11,
    };
    // One that is no default router prefers nothing (RFC 4191 section 2.2).
    let preference = if said.lifetime_secs == 0 {
        0
    } else {
        preference
    };
    let flags = u8::from(said.other) << 6 | preference << 3;
    let mut out = vec![ADVERTISEMENT, 0, 0, 0, HOP_LIMIT, flags];
    out.extend(said.lifetime_secs.to_be_bytes());
    // Reachable time and retransmission timer: nothing is said of them.
    out.extend([0; 8]);
    out.extend([SOURCE_LINK_LAYER, 1]);
    out.extend(port.octets());
    out.extend([MTU, 1, 0, 0]);
    out.extend(said.mtu.bytes().to_be_bytes());
    prefix_information(said, prefix, &mut out);
    let lifetime = u32::from(said.dns_lifetime_secs()).to_be_bytes();
    if !said.dns.is_empty() {
        let servers: Vec<u8> = said.dns.iter().flat_map(Ipv6Addr::octets).collect();
        option(
            RDNSS,
            &[&[0, 0], &lifetime[..], &servers].concat(),
            &mut out,
        );
    }
    if !said.search.is_empty() {
        let domains = domains(&said.search);
        option(
            DNSSL,
            &[&[0, 0], &lifetime[..], &domains].concat(),
            &mut out,
        );
    }
    out
}

/// Of the container's own prefix, which is never on the link (RFC 8273 section 4).
fn prefix_information(said: &Advertisements, prefix: Option<Prefix>, out: &mut Vec<u8>) {
    let (Some(how), Some(prefix)) = (said.prefix, prefix) else {
        return;
    };
    let std::net::IpAddr::V6(first) = prefix.address() else {
        return;
    };
    let autonomous = u8::from(how.addresses == OwnAddresses::Autonomous) << 6;
    let mut body = vec![prefix.len(), autonomous];
    body.extend(how.valid_secs.to_be_bytes());
    body.extend(how.preferred_secs.to_be_bytes());
    body.extend([0; 4]);
    body.extend(first.octets());
    option(PREFIX, &body, out);
}

/// An option, filled up to a multiple of eight bytes.
fn option(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    let eights = (body.len() + 2).div_ceil(8);
    out.extend([kind, u8::try_from(eights).expect("of 2 KiB at most")]);
    out.extend(body);
    out.resize(out.len() + eights * 8 - 2 - body.len(), 0);
}

/// Domain names one after another, none compressed (RFC 1035 section 3.1).
pub(super) fn domains(all: &[Domain]) -> Vec<u8> {
    let mut out = Vec::new();
    for domain in all {
        for label in domain.labels() {
            out.push(u8::try_from(label.len()).expect("63 at most"));
            out.extend(label.as_bytes());
        }
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use bulkhead_ipv6::OwnPrefix;
    use bulkhead_model::Mtu;
    use netns_fixtures::packet::{Body, Frame, Icmpv6, Ipv6, NdOption, Payload};

    use super::*;

    const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5);

    fn said() -> Advertisements {
        Advertisements {
            lifetime_secs: 1800,
            preference: Preference::High,
            other: true,
            prefix: None,
            mtu: Mtu::ETHERNET,
            dns: Vec::new(),
            search: Vec::new(),
            refresh_secs: None,
        }
    }

    fn mac() -> Mac {
        Mac::new([0xfe, 0x62, 0x68, 0, 0, 1]).unwrap()
    }

    /// What the fixtures' own reader makes of it, with the checksum that the kernel would fill in.
    fn read(mut message: Vec<u8>) -> netns_fixtures::packet::RouterAdvertisement {
        let (from, to) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), LINK_LOCAL);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let pseudo = [&from.octets()[..], &to.octets(), &length, &[0, 0, 0, 58]].concat();
        let mut sum: u32 = [pseudo, message.clone()]
            .concat()
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let checksum = !u16::try_from(sum).unwrap();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], 58, 255];
        packet.extend(from.octets());
        packet.extend(to.octets());
        packet.extend(message);
        let frame = [
            &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd],
            &packet[..],
        ]
        .concat();
        match Frame::parse(&frame).unwrap().body {
            Body::Ipv6(Ipv6 {
                payload: Payload::Icmpv6(Icmpv6::RouterAdvertisement(read)),
                ..
            }) => read,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_advertisement_has_these_bytes() {
        let bytes = [
            134, 0, 0, 0, 64, 0x48, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, // fixed part
            1, 1, 0xfe, 0x62, 0x68, 0, 0, 1, // source link-layer address
            5, 1, 0, 0, 0, 0, 0x05, 0xdc, // MTU 1500
        ];
        assert_eq!(advertisement(&said(), None, mac()), bytes);
    }

    #[test]
    fn another_reader_finds_every_option() {
        let said = Advertisements {
            prefix: Some(OwnPrefix {
                addresses: OwnAddresses::Autonomous,
                preferred_secs: 7200,
                valid_secs: u32::MAX,
            }),
            dns: vec![
                "2001:db8::53".parse().unwrap(),
                "2001:db8::54".parse().unwrap(),
            ],
            search: vec![
                Domain::new("example.org").unwrap(),
                Domain::new("bc").unwrap(),
            ],
            ..said()
        };
        let prefix = "2001:db8:5::/64".parse().unwrap();
        let read = read(advertisement(&said, Some(prefix), mac()));
        assert_eq!((read.hop_limit, read.lifetime_secs), (64, 1800));
        let search = [
            &[0, 0, 0, 0, 0x07, 0x08][..],
            b"\x07example\x03org\0\x02bc\0",
            &[0; 7],
        ];
        assert_eq!(
            read.options,
            [
                NdOption::SourceMac([0xfe, 0x62, 0x68, 0, 0, 1]),
                NdOption::Mtu(1500),
                NdOption::Prefix {
                    prefix: "2001:db8:5::".parse().unwrap(),
                    len: 64,
                    flags: 0x40,
                    valid_secs: u32::MAX,
                    preferred_secs: 7200,
                },
                NdOption::Rdnss {
                    lifetime_secs: 1800,
                    servers: said.dns.clone(),
                },
                NdOption::Other {
                    kind: DNSSL,
                    bytes: search.concat(),
                },
            ]
        );
    }

    #[test]
    fn a_router_for_nothing_prefers_nothing() {
        let said = Advertisements {
            lifetime_secs: 0,
            other: false,
            dns: vec!["2001:db8::53".parse().unwrap()],
            ..said()
        };
        let message = advertisement(&said, None, mac());
        assert_eq!(message[5..8], [0, 0, 0]);
        assert_eq!(message[36..40], 1800_u32.to_be_bytes(), "resolvers stay");
    }

    #[test]
    fn the_largest_one_fits_the_least_mtu() {
        let label = "a".repeat(63);
        let search = [label.as_str(), &label, &label, &"b".repeat(61)].join(".");
        let said = Advertisements {
            prefix: Some(OwnPrefix {
                addresses: OwnAddresses::Configured,
                preferred_secs: 0,
                valid_secs: 0,
            }),
            dns: vec![LINK_LOCAL; 8],
            search: vec![Domain::new(&search).unwrap(); 2],
            ..said()
        };
        let message = advertisement(&said, "fd00::/64".parse().ok(), mac());
        assert!(message.len() + 40 <= 1280, "{}", message.len());
    }

    #[test]
    fn a_solicitation_is_judged_as_routers_do() {
        let bare = [133, 0, 0, 0, 0, 0, 0, 0];
        let with = |options: &[u8]| [&bare[..], options].concat();
        let own_mac = with(&[1, 1, 2, 0, 0, 0, 0, 5]);
        let ask = |message: &[u8]| is_solicitation(message, LINK_LOCAL, Some(255));
        assert!(ask(&bare));
        assert!(ask(&own_mac));
        assert!(ask(&with(&[
            14, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 5
        ])));
        assert!(is_solicitation(&bare, Ipv6Addr::UNSPECIFIED, Some(255)));
        assert!(!is_solicitation(&own_mac, Ipv6Addr::UNSPECIFIED, Some(255)));
        assert!(
            !is_solicitation(&bare, LINK_LOCAL, Some(64)),
            "from elsewhere"
        );
        assert!(!is_solicitation(&bare, LINK_LOCAL, None));
        for wrong in [
            vec![],
            vec![133, 0, 0, 0, 0, 0, 0],
            vec![133, 1, 0, 0, 0, 0, 0, 0],
            vec![135, 0, 0, 0, 0, 0, 0, 0],
            with(&[1, 0, 2, 0, 0, 0, 0, 5]),
            with(&[1, 2, 2, 0, 0, 0, 0, 5]),
            with(&[1]),
        ] {
            assert!(!ask(&wrong), "{wrong:?}");
        }
    }
}
