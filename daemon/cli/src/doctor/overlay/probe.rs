//! Whether another node answers: over an overlay, with a packet as long as its MTU too, and beside it. All
//! of it are echo requests (RFC 792, RFC 4443 section 4.1), which the kernel answers without a daemon.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bulkhead_kernel::Netns;
use bulkhead_model::Mtu;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recvfrom, sendto,
    socket_with,
};

/// How long one request waits for its answer.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often one is sent before it counts as lost.
const TRIES: u16 = 3;
/// What IPv6 and `ICMPv6` take of a packet, in bytes.
const HEADERS_V6: u32 = 40 + 8;
/// What every IPv6 link carries (RFC 8200 section 5).
const LEAST: u32 = 1280;
/// What says that no packet can get there: the kernel knows already.
const NO_WAY: [Errno; 6] = [
    Errno::MSGSIZE,
    Errno::NETUNREACH,
    Errno::HOSTUNREACH,
    Errno::ADDRNOTAVAIL,
    Errno::NETDOWN,
    Errno::PERM,
];

/// How another node answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Probed {
    /// A short packet, over the overlay.
    pub(super) overlay: bool,
    /// One as long as the device's MTU.
    pub(super) whole: bool,
    /// The longest that was answered, in bytes, if a short one was and the whole one not.
    pub(super) longest: Option<u32>,
    /// A short packet to its address in the underlay.
    pub(super) underlay: bool,
}

/// By what a peer is asked over an overlay.
#[derive(Debug)]
pub(super) struct Way {
    /// The index of the link.
    pub(super) link: u32,
    /// The namespace that it is in, if that is the network's own, and which of the addresses there is this
    /// node's alone.
    pub(super) segment: Option<(Netns, Ipv6Addr)>,
}

impl Way {
    /// A socket that sends this way.
    fn open(&self, to: SocketAddr) -> io::Result<OwnedFd> {
        let Some((netns, own)) = &self.segment else {
            return open(to);
        };
        let socket = netns.within(|| open(to))??;
        bind(&socket, &SocketAddrV6::new(*own, 0, 0, self.link))?;
        Ok(socket)
    }
}

/// Asks a peer whose device has the link-local address `vtep`.
pub(super) fn probe(vtep: Ipv6Addr, way: &Way, mtu: Mtu, underlay: IpAddr) -> io::Result<Probed> {
    let over = SocketAddr::V6(SocketAddrV6::new(vtep, 0, 0, way.link));
    let asked = |data: u32| answers(&way.open(over)?, over, data);
    let of_size = |bytes: u32| asked(bytes.saturating_sub(HEADERS_V6));
    let overlay = asked(8)?;
    let whole = overlay && of_size(mtu.bytes())?;
    let longest = if overlay && !whole {
        longest(mtu.bytes(), of_size)?
    } else {
        None
    };
    Ok(Probed {
        overlay,
        whole,
        longest,
        underlay: {
            let beside = SocketAddr::new(underlay, 0);
            answers(&open(beside)?, beside, 8)?
        },
    })
}

/// The longest packet that is answered; `None` if not even the least is.
fn longest(mtu: u32, answered: impl Fn(u32) -> io::Result<bool>) -> io::Result<Option<u32>> {
    if mtu <= LEAST || !answered(LEAST)? {
        return Ok(None);
    }
    let (mut passes, mut fails) = (LEAST, mtu);
    while fails - passes > 1 {
        let middle = passes.midpoint(fails);
        if answered(middle)? {
            passes = middle;
        } else {
            fails = middle;
        }
    }
    Ok(Some(passes))
}

/// Whether an echo request with so many bytes of data is answered.
fn answers(socket: &OwnedFd, to: SocketAddr, data: u32) -> io::Result<bool> {
    let data = usize::try_from(data).expect("a packet fits memory");
    // The kernel hands every answer to every raw socket.
    let id = u16::try_from(std::process::id() & 0xffff).expect("16 bits");
    for sequence in 1..=TRIES {
        let request = request(to, id, sequence, data);
        match sendto(socket, &request, SendFlags::empty(), &to) {
            Err(error) if NO_WAY.contains(&error) => return Ok(false),
            sent => drop(sent?),
        }
        if await_answer(socket, to, id, data)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn open(to: SocketAddr) -> io::Result<OwnedFd> {
    let (family, protocol) = if to.is_ipv4() {
        (AddressFamily::INET, ipproto::ICMP)
    } else {
        (AddressFamily::INET6, ipproto::ICMPV6)
    };
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(family, SocketType::RAW, flags, Some(protocol))?)
}

fn request(to: SocketAddr, id: u16, sequence: u16, data: usize) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.resize(8 + data, 0x62);
    if to.is_ipv4() {
        // The kernel computes ICMPv6's, which has the addresses in it (RFC 3542 section 3.1).
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("it was folded")
}

fn await_answer(socket: &OwnedFd, to: SocketAddr, id: u16, data: usize) -> io::Result<bool> {
    let until = Instant::now() + PATIENCE;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // 0 would be without end.
        let left = left.max(Duration::from_millis(1));
        set_socket_timeout(socket, Timeout::Recv, Some(left))?;
        match recvfrom(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _, from)) => {
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                let is_its = from.is_some_and(|from| from.ip() == to.ip());
                if is_its && is_answer(&buffer[..length], to.is_ipv4(), id, data) {
                    return Ok(true);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) if NO_WAY.contains(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether it answers a request with this identifier and as much data. IPv4 comes with its header.
fn is_answer(bytes: &[u8], is_ipv4: bool, id: u16, data: usize) -> bool {
    let header = match (is_ipv4, bytes.first()) {
        (true, Some(first)) => usize::from(first & 0xf) * 4,
        _ => 0,
    };
    let kind = if is_ipv4 { 0 } else { 129 };
    bytes.get(header..).is_some_and(|message| {
        message.first() == Some(&kind)
            && message.get(4..6) == Some(&id.to_be_bytes()[..])
            && message.len() == 8 + data
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_found_to_the_byte() {
        for limit in [1280, 1281, 1400, 1449] {
            let found = longest(1450, |bytes| Ok(bytes <= limit)).unwrap();
            assert_eq!(found, Some(limit));
        }
        assert_eq!(longest(1450, |_| Ok(false)).unwrap(), None);
        assert_eq!(longest(1280, |_| Ok(true)).unwrap(), None);
    }

    #[test]
    fn a_request_has_its_checksum_and_an_answer_is_told_from_others() {
        let to = SocketAddr::new([192, 0, 2, 1].into(), 0);
        let sent = request(to, 7, 1, 3);
        assert_eq!((sent.len(), checksum(&sent)), (11, 0));
        let mut answer = vec![0x45; 20];
        answer.extend([0, 0, 0, 0, 0, 7, 0, 1, 0x62, 0x62, 0x62]);
        assert!(is_answer(&answer, true, 7, 3));
        assert!(!is_answer(&answer, true, 8, 3));
        assert!(!is_answer(&answer, true, 7, 4));
        assert!(!is_answer(&[], true, 7, 3));
        assert!(is_answer(&[129, 0, 0, 0, 0, 7, 0, 1], false, 7, 0));
        assert!(!is_answer(&[128, 0, 0, 0, 0, 7, 0, 1], false, 7, 0));
    }
}
