//! `IPsec`'s states and policies (`linux/xfrm.h`, over `NETLINK_XFRM`), as far as overlays need them. Of what
//! others have only that it is there is read, and no key ever.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::Family;
use bulkhead_plan::{
    ALGORITHM, Direction, IpsecState, KEY_LEN, Op, POLICY_PRIORITY, PolicyKey, PolicyState,
    REPLAY_WINDOW, REQID, Sa, SaKey, SaState,
};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rustix::io::Errno;

use crate::attributes::{attribute, find};
use crate::error::{NetlinkError, ObserveError, Refusal};
use crate::message::message;
use crate::place::{Kernel, Place, PlaceError};

const NEWSA: u16 = 0x10;
const DELSA: u16 = 0x11;
const GETSA: u16 = 0x12;
const NEWPOLICY: u16 = 0x13;
const DELPOLICY: u16 = 0x14;
const GETPOLICY: u16 = 0x15;
const XFRMA_TMPL: u16 = 5;
const XFRMA_ALG_AEAD: u16 = 18;
const XFRMA_REPLAY_ESN_VAL: u16 = 23;
/// `IPPROTO_ESP` and `IPPROTO_UDP` (`linux/in.h`).
const ESP: u8 = 50;
const UDP: u8 = 17;
const TRANSPORT: u8 = 0;
/// `XFRM_STATE_ESN`: sequence numbers of 64 bits, so that none comes round (RFC 4303 section 2.2.1).
const FLAG_ESN: u8 = 128;
/// Lengths of `struct xfrm_selector`, `xfrm_usersa_info`, `xfrm_userpolicy_info` and `xfrm_user_tmpl`.
const SELECTOR: usize = 56;
const USERSA: usize = 224;
const USERPOLICY: usize = 168;
const TEMPLATE: usize = 64;
/// Where a selector has the lengths of its prefixes.
const DESTINATION_LEN: usize = 42;
const SOURCE_LEN: usize = 43;
/// Of the proof at a packet's end, in bits (RFC 4106 section 6).
const ICV_BITS: u32 = 128;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// What the kernel lacks of the `IPsec` that encrypted overlays need.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoIpsec {
    /// No `IPsec` at all.
    #[error("it has no IPsec (CONFIG_XFRM_USER)")]
    Nothing,
    /// The algorithm.
    #[error("it has no {ALGORITHM} (CONFIG_CRYPTO_GCM, CONFIG_CRYPTO_SEQIV, CONFIG_CRYPTO_DRBG)")]
    Algorithm,
    /// The protocol.
    #[error("it has no ESP over {0} ({option})", option = match .0 { Family::V4 => "CONFIG_INET_ESP", Family::V6 => "CONFIG_INET6_ESP" })]
    Esp(Family),
}

impl Kernel {
    /// Whether the kernel can have states as encrypted overlays have them between addresses of that family,
    /// found out by having one, of no other address than a documentation one (RFC 5737, RFC 3849), for a
    /// moment.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn lacks_ipsec(&mut self, family: Family) -> Result<Option<NoIpsec>, ObserveError> {
        self.surveyed("IPsec", |place| probe(place, family))
    }
}

fn probe(place: &mut Place, family: Family) -> Result<Option<NoIpsec>, PlaceError> {
    let nobody: [IpAddr; 2] = match family {
        Family::V4 => [[192, 0, 2, 253].into(), [192, 0, 2, 254].into()],
        Family::V6 => [
            [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfd].into(),
            [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe].into(),
        ],
    };
    let [source, destination] = nobody;
    let sa = Sa {
        spi: REQID,
        key: SaKey::new([0; KEY_LEN]),
    };
    let socket = match place.xfrm() {
        Err(PlaceError::Netlink(NetlinkError::Socket(error)))
            if error.raw_os_error() == Some(Errno::PROTONOSUPPORT.raw_os_error()) =>
        {
            return Ok(Some(NoIpsec::Nothing));
        }
        socket => socket?,
    };
    let add = add_sa(source, destination, 0, &sa);
    let answers = socket.batch(&[add, del_sa(destination, sa.spi)])?;
    match answers.into_iter().next() {
        // Somebody asks at the same time, and gets the same answer.
        None | Some(Ok(())) => Ok(None),
        Some(Err(refusal)) => match read(&refusal, family) {
            Some(lacks) => Ok(Some(lacks)),
            None if refusal.errno == Errno::EXIST => Ok(None),
            None => Err(NetlinkError::from(refusal).into()),
        },
    }
}

/// What the kernel means (`xfrm_state_construct`, `net/xfrm/xfrm_user.c`; `__xfrm_init_state`,
/// `net/xfrm/xfrm_state.c`). The algorithm is looked for first.
fn read(refusal: &Refusal, family: Family) -> Option<NoIpsec> {
    match refusal.errno {
        // One, or a part of one that is known: the counter, the hash, the numbers that it begins with.
        Errno::NOSYS | Errno::NOENT => Some(NoIpsec::Algorithm),
        Errno::PROTONOSUPPORT => Some(NoIpsec::Esp(family)),
        _ => None,
    }
}

/// What there is; nothing where the kernel has no `IPsec`.
pub(crate) fn observe(place: &mut Place) -> Result<IpsecState, PlaceError> {
    let mut found = IpsecState::default();
    let socket = match place.xfrm() {
        Err(PlaceError::Netlink(NetlinkError::Socket(_))) => return Ok(found),
        socket => socket?,
    };
    socket.each(message(GETSA, 0, &[], []), |state| {
        if let Some((key, state)) = decode_state(&state.body) {
            found.states.insert(key, state);
        }
    })?;
    socket.each(message(GETPOLICY, 0, &[], []), |policy| {
        if let Some((key, state)) = decode_policy(&policy.body) {
            found.policies.insert(key, state);
        }
    })?;
    Ok(found)
}

/// An operation on states or policies as a request.
///
/// # Panics
/// Of another operation.
pub(crate) fn request(op: &Op) -> Vec<u8> {
    match op {
        Op::AddSa {
            source,
            destination,
            port,
            sa,
            ..
        } => add_sa(*source, *destination, *port, sa),
        Op::DelSa {
            destination, spi, ..
        } => del_sa(*destination, *spi),
        Op::AddPolicy { policy, .. } => add_policy(policy),
        Op::DelPolicy { policy, .. } => del_policy(policy),
        _ => unreachable!("apply hands on no other"),
    }
}

fn add_sa(source: IpAddr, destination: IpAddr, port: u16, sa: &Sa) -> Vec<u8> {
    let selector = selector(source, destination, port);
    let mut fixed = selector.to_vec();
    fixed.extend(raw(destination));
    fixed.extend(sa.spi.to_be_bytes());
    fixed.extend([ESP, 0, 0, 0]);
    fixed.extend(raw(source));
    fixed.extend(no_limits());
    // Current lifetimes (32), statistics (12), and a number of no request (4).
    fixed.resize(fixed.len() + 48, 0);
    fixed.extend(REQID.to_ne_bytes());
    fixed.extend(family(destination).to_ne_bytes());
    // The window is in an attribute of its own.
    fixed.extend([TRANSPORT, 0, FLAG_ESN]);
    fixed.resize(USERSA, 0);
    let attributes = [aead(sa), replay()];
    message(NEWSA, NLM_F_CREATE | NLM_F_EXCL, &fixed, attributes)
}

fn del_sa(destination: IpAddr, spi: u32) -> Vec<u8> {
    let mut fixed = raw(destination).to_vec();
    fixed.extend(spi.to_be_bytes());
    fixed.extend(family(destination).to_ne_bytes());
    fixed.extend([ESP, 0]);
    message(DELSA, 0, &fixed, [])
}

fn add_policy(policy: &PolicyKey) -> Vec<u8> {
    let mut fixed = selector_of(policy).to_vec();
    fixed.extend(no_limits());
    fixed.resize(fixed.len() + 32, 0);
    fixed.extend(POLICY_PRIORITY.to_ne_bytes());
    // An index of the kernel's choice.
    fixed.extend([0; 4]);
    fixed.extend([direction(policy.direction), 0, 0, 0]);
    fixed.resize(USERPOLICY, 0);
    let template = attribute(XFRMA_TMPL, &template(policy));
    message(NEWPOLICY, NLM_F_CREATE | NLM_F_EXCL, &fixed, [template])
}

fn del_policy(policy: &PolicyKey) -> Vec<u8> {
    let mut fixed = selector_of(policy).to_vec();
    fixed.extend([0; 4]);
    fixed.extend([direction(policy.direction), 0, 0, 0]);
    message(DELPOLICY, 0, &fixed, [])
}

/// `struct xfrm_selector`: UDP to one port, from one address to another.
fn selector(source: IpAddr, destination: IpAddr, port: u16) -> [u8; SELECTOR] {
    let mut bytes = [0; SELECTOR];
    bytes[..16].copy_from_slice(&raw(destination));
    bytes[16..32].copy_from_slice(&raw(source));
    bytes[32..34].copy_from_slice(&port.to_be_bytes());
    bytes[34..36].copy_from_slice(&[0xff, 0xff]);
    bytes[40..42].copy_from_slice(&family(destination).to_ne_bytes());
    bytes[DESTINATION_LEN] = Family::of(destination).bits();
    bytes[SOURCE_LEN] = Family::of(source).bits();
    bytes[44] = UDP;
    bytes
}

/// The same between the node's address and anybody.
fn selector_of(policy: &PolicyKey) -> [u8; SELECTOR] {
    let any = any(policy.local);
    let (source, destination, anybodys) = match policy.direction {
        Direction::In => (any, policy.local, SOURCE_LEN),
        Direction::Out => (policy.local, any, DESTINATION_LEN),
    };
    let mut bytes = selector(source, destination, policy.port);
    bytes[anybodys] = 0;
    bytes
}

/// `struct xfrm_user_tmpl`: in transport mode the addresses are the packet's (`xfrm_tmpl_resolve_one`,
/// `net/xfrm/xfrm_policy.c`).
fn template(policy: &PolicyKey) -> [u8; TEMPLATE] {
    let mut bytes = [0; TEMPLATE];
    bytes[20] = ESP;
    bytes[24..26].copy_from_slice(&family(policy.local).to_ne_bytes());
    bytes[44..48].copy_from_slice(&REQID.to_ne_bytes());
    bytes[48] = TRANSPORT;
    // Whichever algorithms the state has.
    bytes[52..].fill(0xff);
    bytes
}

/// `struct xfrm_lifetime_cfg`: what ends a state is a new one, and 2^64 packets are not sent.
fn no_limits() -> Vec<u8> {
    let mut bytes = [0xff; 32].to_vec();
    bytes.resize(64, 0);
    bytes
}

/// `struct xfrm_algo_aead`.
fn aead(sa: &Sa) -> Vec<u8> {
    let mut value = [0; 64].to_vec();
    value[..ALGORITHM.len()].copy_from_slice(ALGORITHM.as_bytes());
    let bits = u32::try_from(KEY_LEN * 8).expect("288");
    value.extend(bits.to_ne_bytes());
    value.extend(ICV_BITS.to_ne_bytes());
    value.extend(sa.key.expose());
    attribute(XFRMA_ALG_AEAD, &value)
}

/// `struct xfrm_replay_state_esn`, with nothing sent and nothing received.
fn replay() -> Vec<u8> {
    let words = REPLAY_WINDOW.div_ceil(32);
    let mut value = words.to_ne_bytes().to_vec();
    value.extend([0; 16]);
    value.extend(REPLAY_WINDOW.to_ne_bytes());
    let bitmap = usize::try_from(words).expect("a few") * 4;
    value.resize(value.len() + bitmap, 0);
    attribute(XFRMA_REPLAY_ESN_VAL, &value)
}

fn decode_state(body: &[u8]) -> Option<((IpAddr, u32), SaState)> {
    let family = u16_at(body, 212)?;
    let destination = address_at(body, SELECTOR, family)?;
    let spi = u32::from_be_bytes(body.get(72..76)?.try_into().ok()?);
    let source = address_at(body, 80, family)?;
    let reqid = u32::from_ne_bytes(body.get(208..212)?.try_into().ok()?);
    let aead = find(body.get(USERSA..)?, XFRMA_ALG_AEAD).unwrap_or_default();
    let is_ours = reqid == REQID
        && body[76] == ESP
        && body[214] == TRANSPORT
        && body[216] & FLAG_ESN != 0
        && crate::attributes::text(aead.get(..64).unwrap_or_default()) == Some(ALGORITHM);
    let port = u16::from_be_bytes(body.get(32..34)?.try_into().ok()?);
    let state = SaState {
        source,
        port: is_ours.then_some(port),
    };
    Some(((destination, spi), state))
}

/// A policy whose selector is one that ours have.
fn decode_policy(body: &[u8]) -> Option<(PolicyKey, PolicyState)> {
    let family = u16_at(body, 40)?;
    let (destination, source) = (address_at(body, 0, family)?, address_at(body, 16, family)?);
    let (direction, local) = match *body.get(160)? {
        0 => (Direction::In, destination),
        1 => (Direction::Out, source),
        _ => return None,
    };
    let key = PolicyKey {
        direction,
        local,
        port: u16::from_be_bytes(body.get(32..34)?.try_into().ok()?),
    };
    if body.get(..SELECTOR)? != selector_of(&key) {
        return None;
    }
    let priority = u32::from_ne_bytes(body.get(152..156)?.try_into().ok()?);
    let is_allowed = body.get(161)? == &0;
    let found = find(body.get(USERPOLICY..)?, XFRMA_TMPL);
    let is_ours = found.is_some_and(|found| is_template(found, &key));
    let state = if priority == POLICY_PRIORITY && is_allowed && is_ours {
        PolicyState::Ours
    } else {
        PolicyState::Foreign
    };
    Some((key, state))
}

/// Whether it is the one template that ours have. The kernel may say more of the algorithms.
fn is_template(found: &[u8], key: &PolicyKey) -> bool {
    const SAID: std::ops::Range<usize> = 0..52;
    found.len() == TEMPLATE && found[SAID] == template(key)[SAID]
}

fn u16_at(body: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(body.get(at..at + 2)?.try_into().ok()?))
}

/// `xfrm_address_t`.
fn address_at(body: &[u8], at: usize, family: u16) -> Option<IpAddr> {
    let bytes: [u8; 16] = body.get(at..at + 16)?.try_into().ok()?;
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = bytes;
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn raw(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn family(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

const fn direction(direction: Direction) -> u8 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(errno: Errno) -> Refusal {
        Refusal { errno, text: None }
    }

    #[test]
    fn what_a_kernel_lacks_is_named_by_its_option() {
        let lacks = |errno, family| read(&refusal(errno), family).map(|lacks| lacks.to_string());
        for (errno, family, expected) in [
            (
                Errno::NOSYS,
                Family::V4,
                "it has no rfc4106(gcm(aes)) (CONFIG_CRYPTO_GCM, CONFIG_CRYPTO_SEQIV, CONFIG_CRYPTO_DRBG)",
            ),
            (
                Errno::PROTONOSUPPORT,
                Family::V4,
                "it has no ESP over IPv4 (CONFIG_INET_ESP)",
            ),
            (
                Errno::PROTONOSUPPORT,
                Family::V6,
                "it has no ESP over IPv6 (CONFIG_INET6_ESP)",
            ),
        ] {
            assert_eq!(lacks(errno, family).as_deref(), Some(expected));
        }
        assert_eq!(lacks(Errno::PERM, Family::V4), None);
    }

    #[test]
    fn what_is_asked_for_is_what_is_recognised() {
        for (source, destination) in [
            ("192.0.2.1", "198.51.100.2"),
            ("2001:db8::1", "2001:db8:1::2"),
        ] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let sa = Sa {
                spi: 0x1234_5678,
                key: SaKey::new([7; KEY_LEN]),
            };
            let request = add_sa(source, destination, 4789, &sa);
            assert_eq!(request.len() % 4, 0);
            let state = SaState {
                source,
                port: Some(4789),
            };
            // Behind the netlink header as in an answer.
            let body = &request[16..];
            assert_eq!(decode_state(body), Some(((destination, sa.spi), state)));
            for direction in [Direction::In, Direction::Out] {
                let key = PolicyKey {
                    direction,
                    local: source,
                    port: 4789,
                };
                let mut request = add_policy(&key);
                let body = &request[16..];
                assert_eq!(decode_policy(body), Some((key, PolicyState::Ours)));
                // Of another priority, it is somebody else's.
                request[16 + 152] ^= 1;
                let body = &request[16..];
                assert_eq!(decode_policy(body), Some((key, PolicyState::Foreign)));
            }
        }
    }
}
