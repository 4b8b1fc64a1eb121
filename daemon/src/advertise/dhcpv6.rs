//! Stateless `DHCPv6` on the wire (RFC 8415): an Information-request read, a Reply written. Addresses are
//! nobody's business here.

use std::net::Ipv6Addr;

use bulkhead_ipv6::Advertisements;
use bulkhead_model::Mac;

use super::message::domains;

/// Where servers listen (section 7.2).
pub(super) const SERVER_PORT: u16 = 547;
/// Where clients do.
pub(super) const CLIENT_PORT: u16 = 546;
/// `All_DHCP_Relay_Agents_and_Servers` (section 7.1).
pub(super) const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

const REPLY: u8 = 7;
const INFORMATION_REQUEST: u8 = 11;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
/// Of addresses and prefixes: none is asked for with such a message (section 16.12).
const IA_NA: u16 = 3;
const IA_TA: u16 = 4;
const IA_PD: u16 = 25;
const ASKED: u16 = 6;
const DNS_SERVERS: u16 = 23;
const DOMAIN_LIST: u16 = 24;
const REFRESH_TIME: u16 = 32;

/// `DUID-LL` (section 11.4) of an Ethernet address.
const DUID_LL: [u8; 4] = [0, 3, 0, 1];

/// What a client asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Request<'a> {
    transaction: [u8; 3],
    client: Option<&'a [u8]>,
    /// Option codes; `None` if it names none.
    asked: Option<Vec<u16>>,
}

/// An Information-request that the server with this MAC answers (section 16.12, 18.3.6).
pub(super) fn request(message: &[u8], server: Mac) -> Option<Request<'_>> {
    let [INFORMATION_REQUEST, a, b, c, options @ ..] = message else {
        return None;
    };
    let mut options = options;
    let mut request = Request {
        transaction: [*a, *b, *c],
        ..Request::default()
    };
    while let [k0, k1, l0, l1, rest @ ..] = options {
        let body = rest.get(..usize::from(u16::from_be_bytes([*l0, *l1])))?;
        options = &rest[body.len()..];
        match u16::from_be_bytes([*k0, *k1]) {
            CLIENT_ID => request.client = Some(body),
            SERVER_ID if body != duid(server) => return None,
            IA_NA | IA_TA | IA_PD => return None,
            ASKED => {
                let codes = body.chunks_exact(2);
                let codes = codes.map(|code| u16::from_be_bytes([code[0], code[1]]));
                request.asked = Some(codes.collect());
            }
            _ => {}
        }
    }
    options.is_empty().then_some(request)
}

/// The answer; `refresh_secs` is when to ask again.
pub(super) fn reply(
    request: &Request<'_>,
    said: &Advertisements,
    refresh_secs: u32,
    server: Mac,
) -> Vec<u8> {
    let mut out = vec![REPLY];
    out.extend(request.transaction);
    option(SERVER_ID, &duid(server), &mut out);
    if let Some(client) = request.client {
        option(CLIENT_ID, client, &mut out);
    }
    let asks = |code| {
        request
            .asked
            .as_ref()
            .is_none_or(|asked| asked.contains(&code))
    };
    if !said.dns.is_empty() && asks(DNS_SERVERS) {
        let servers: Vec<u8> = said.dns.iter().flat_map(Ipv6Addr::octets).collect();
        option(DNS_SERVERS, &servers, &mut out);
    }
    if !said.search.is_empty() && asks(DOMAIN_LIST) {
        option(DOMAIN_LIST, &domains(&said.search), &mut out);
    }
    if asks(REFRESH_TIME) {
        option(REFRESH_TIME, &refresh_secs.to_be_bytes(), &mut out);
    }
    out
}

/// The same on every node, as the port's MAC is: a container that moves finds its server again.
fn duid(server: Mac) -> Vec<u8> {
    [DUID_LL.as_slice(), &server.octets()].concat()
}

fn option(code: u16, body: &[u8], out: &mut Vec<u8>) {
    out.extend(code.to_be_bytes());
    out.extend(
        u16::try_from(body.len())
            .expect("of a datagram")
            .to_be_bytes(),
    );
    out.extend(body);
}

#[cfg(test)]
mod tests {
    use bulkhead_ipv6::{Domain, Preference};
    use bulkhead_model::Mtu;

    use super::*;

    const HEAD: [u8; 4] = [INFORMATION_REQUEST, 0xab, 0xcd, 0xef];

    fn mac() -> Mac {
        Mac::new([0xfe, 0x62, 0x68, 0, 0, 1]).unwrap()
    }

    fn said() -> Advertisements {
        Advertisements {
            lifetime_secs: 1800,
            preference: Preference::Medium,
            other: true,
            prefix: None,
            mtu: Mtu::ETHERNET,
            dns: vec!["2001:db8::53".parse().unwrap()],
            search: vec![Domain::new("example.org").unwrap()],
            refresh_secs: Some(86400),
        }
    }

    fn with(options: &[&[u8]]) -> Vec<u8> {
        [&HEAD[..], &options.concat()].concat()
    }

    #[test]
    fn what_is_asked_for_is_answered() {
        let client = [0, 1, 0, 4, 9, 9, 9, 9];
        let elapsed = [0, 8, 0, 2, 0, 0];
        let asked = [0, 6, 0, 6, 0, 23, 0, 24, 0, 32];
        let message = with(&[&client, &elapsed, &asked]);
        let request = request(&message, mac()).unwrap();
        let mut expected = vec![7, 0xab, 0xcd, 0xef];
        expected.extend([0, 2, 0, 10, 0, 3, 0, 1, 0xfe, 0x62, 0x68, 0, 0, 1]);
        expected.extend(client);
        expected.extend([0, 23, 0, 16, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0x53]);
        expected.extend([0, 24, 0, 13]);
        expected.extend(b"\x07example\x03org\0");
        expected.extend([0, 32, 0, 4, 0, 1, 0x51, 0x80]);
        assert_eq!(reply(&request, &said(), 86400, mac()), expected);
    }

    #[test]
    fn nothing_is_answered_that_was_not_asked_for() {
        let message = with(&[&[0, 6, 0, 2, 0, 23]]);
        let request = request(&message, mac()).unwrap();
        let answer = reply(&request, &said(), 86400, mac());
        assert_eq!(answer.len(), 4 + 14 + 20);
    }

    #[test]
    fn what_is_of_addresses_or_another_server_is_passed_over() {
        let own = [&[0, 2, 0, 10][..], &duid(mac())].concat();
        assert!(request(&with(&[&own]), mac()).is_some());
        for wrong in [
            vec![],
            vec![1, 0, 0, 0],
            vec![INFORMATION_REQUEST, 0],
            with(&[&[0, 2, 0, 2, 0, 1]]),
            with(&[&[0, 3, 0, 0]]),
            with(&[&[0, 25, 0, 0]]),
            with(&[&[0, 1, 0, 9, 1]]),
            with(&[&[0, 1, 0]]),
        ] {
            assert_eq!(request(&wrong, mac()), None, "{wrong:?}");
        }
    }
}
