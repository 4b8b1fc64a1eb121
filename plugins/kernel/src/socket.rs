//! One blocking netlink socket: requests in one send, every answer matched by sequence number.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST};
use netlink_sys::SocketAddr;
use netlink_sys::protocols::{NETLINK_GENERIC, NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::attributes::{find, text};
use crate::error::{NetlinkError, Refusal};

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Every answer of a batch waits here until it is read; past it the kernel drops answers.
const RECEIVE_BUFFER: usize = 4 << 20;
/// How many requests are under way at once. An answer takes less than 1 KiB of the receive buffer, which
/// has 208 KiB where nobody may enlarge it (`net.core.rmem_max`).
const BATCH: usize = 128;
/// No answer is longer: dumps come in pieces of at most 32 KiB (`netlink_dump`, `af_netlink.c`).
const LONGEST: usize = 64 << 10;
/// What `netlink_sendmsg` (`af_netlink.c`) wants free beside a message, and more.
const SPARE: usize = 4096;
/// A container's socket and one that listens are open at once.
const SPARE_BUFFERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const RTNLGRP_LINK: u32 = 1;
/// How often a listing is begun anew because objects changed under it.
const LISTINGS: u32 = 16;
/// Questions under way at once: their answers fit the buffer that any socket has without capabilities.
const QUESTIONS: usize = 64;

/// Which subsystem of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Subsystem {
    Route,
    Netfilter,
    Generic,
    Xfrm,
}

#[derive(Debug)]
pub(crate) struct Socket {
    inner: netlink_sys::Socket,
    subsystem: Subsystem,
    sequence: u32,
    buffer: Vec<u8>,
    /// Whether an exchange broke off: an answer to it may come yet, or has been dropped.
    broken: bool,
}

/// One message of an answer.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    /// What follows the netlink header.
    pub(crate) body: Vec<u8>,
}

/// How an answer ends.
#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    /// With its first message.
    First,
    /// With `NLMSG_DONE`.
    Done,
}

impl Socket {
    /// A socket in the calling thread's namespace.
    pub(crate) fn open(subsystem: Subsystem) -> Result<Self, NetlinkError> {
        Self::bound(subsystem, 0)
    }

    /// A socket that hears of every change to links in the calling thread's namespace. Bound: an
    /// unbound one misses multicasts that port id 0, the kernel, causes.
    pub(crate) fn listening_to_links() -> Result<Self, NetlinkError> {
        Self::listening(&[RTNLGRP_LINK])
    }

    /// The same, of every change that these groups of rtnetlink's are told of, numbered from 1 to 32
    /// (`RTNLGRP_*`, `linux/rtnetlink.h`).
    pub(crate) fn listening(groups: &[u32]) -> Result<Self, NetlinkError> {
        Self::bound(Subsystem::Route, mask(groups))
    }

    /// The same of `IPsec`'s (`enum xfrm_nlgroups`, `linux/xfrm.h`).
    pub(crate) fn listening_to_ipsec(groups: &[u32]) -> Result<Self, NetlinkError> {
        Self::bound(Subsystem::Xfrm, mask(groups))
    }

    fn bound(subsystem: Subsystem, groups: u32) -> Result<Self, NetlinkError> {
        let protocol = match subsystem {
            Subsystem::Route => NETLINK_ROUTE,
            Subsystem::Netfilter => NETLINK_NETFILTER,
            Subsystem::Generic => NETLINK_GENERIC,
            Subsystem::Xfrm => NETLINK_XFRM,
        };
        let mut socket = netlink_sys::Socket::new(protocol).map_err(NetlinkError::Socket)?;
        socket
            .bind(&SocketAddr::new(0, groups))
            .map_err(NetlinkError::Socket)?;
        // Both need 4.20 or earlier; without them errors lack their text and dumps their filter.
        socket.set_ext_ack(true).map_err(NetlinkError::Socket)?;
        socket.set_cap_ack(true).map_err(NetlinkError::Socket)?;
        if subsystem == Subsystem::Route {
            socket
                .set_netlink_get_strict_chk(true)
                .map_err(NetlinkError::Socket)?;
        }
        // Beyond net.core.rmem_max only with CAP_NET_ADMIN over the user namespace: best effort.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))
            .map_err(NetlinkError::Broken)?;
        Ok(Self {
            inner: socket,
            subsystem,
            sequence: 0,
            buffer: BUFFERS
                .with_borrow_mut(|spare| spare.pop().unwrap_or_else(|| vec![0; LONGEST])),
            broken: false,
        })
    }

    /// Whether it should be replaced before the next exchange.
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Reserves `count` consecutive sequence numbers and returns the first.
    pub(crate) fn reserve(&mut self, count: usize) -> u32 {
        let count = u32::try_from(count).expect("a batch has far fewer than 2^32 messages");
        // Begun anew rather than wrapped: nothing of the first ones is under way any more.
        if self.sequence > u32::MAX / 2 {
            self.sequence = 0;
        }
        let first = self.sequence + 1;
        self.sequence += count;
        first
    }

    /// Sends requests, made without header flags but their own, many in one piece. The kernel works on
    /// all of them, whatever became of those before; the answers come in their order.
    pub(crate) fn batch(
        &mut self,
        requests: &[Vec<u8>],
    ) -> Result<Vec<Result<(), Refusal>>, NetlinkError> {
        self.batch_with(requests, |_| ())
    }

    /// The same; `echoed` is given the objects that the kernel shows of those with `NLM_F_ECHO`.
    pub(crate) fn batch_with(
        &mut self,
        requests: &[Vec<u8>],
        mut echoed: impl FnMut(&Message),
    ) -> Result<Vec<Result<(), Refusal>>, NetlinkError> {
        let mut answers = Vec::with_capacity(requests.len());
        for some in requests.chunks(BATCH) {
            let first = self.send_all(some, NLM_F_REQUEST | NLM_F_ACK)?;
            let before = answers.len();
            while answers.len() < before + some.len() {
                for message in self.receive()? {
                    let nth = message.sequence.wrapping_sub(first) as usize;
                    if before + nth == answers.len() {
                        match message.verdict() {
                            Some(verdict) => answers.push(verdict),
                            None => echoed(&message),
                        }
                    }
                }
            }
        }
        Ok(answers)
    }

    /// As [`Socket::batch`] where only refusals are of interest, which come with the index of what is
    /// refused: the kernel acknowledges the last of each piece alone.
    pub(crate) fn batch_quietly(
        &mut self,
        mut requests: Vec<Vec<u8>>,
    ) -> Result<Vec<(usize, Refusal)>, NetlinkError> {
        let mut refusals = Vec::new();
        for (piece, some) in requests.chunks_mut(BATCH).enumerate() {
            if let Some(last) = some.last_mut() {
                stamp(last, NLM_F_ACK, 0);
            }
            let first = self.send_all(some, NLM_F_REQUEST)?;
            let last = self.sequence;
            let mut is_awaited = true;
            while is_awaited {
                for message in self.receive()? {
                    let nth = message.sequence.wrapping_sub(first) as usize;
                    let Some(verdict) = message.verdict().filter(|_| nth < some.len()) else {
                        continue;
                    };
                    is_awaited &= message.sequence != last;
                    refusals.extend(verdict.err().map(|refusal| (piece * BATCH + nth, refusal)));
                }
            }
        }
        Ok(refusals)
    }

    /// Sends requests in one piece, numbered from the number returned.
    fn send_all(&mut self, requests: &[Vec<u8>], flags: u16) -> Result<u32, NetlinkError> {
        let first = self.reserve(requests.len());
        let mut bytes = Vec::with_capacity(requests.iter().map(Vec::len).sum());
        for (request, sequence) in requests.iter().zip(first..=self.sequence) {
            let at = bytes.len();
            bytes.extend_from_slice(request);
            stamp(&mut bytes[at..], flags, sequence);
        }
        self.send(&bytes)?;
        Ok(first)
    }

    /// Asks for one object; `None` if the kernel says there is none.
    pub(crate) fn get(&mut self, mut request: Vec<u8>) -> Result<Option<Message>, NetlinkError> {
        if self.subsystem == Subsystem::Netfilter {
            // The object or the refusal is the answer: an acknowledgement would have to be read too.
            without_acknowledgement(&mut request);
        }
        match self.ask(request, NLM_F_REQUEST, End::First) {
            Ok(answer) => Ok(answer.into_iter().next()),
            Err(NetlinkError::Refused(refusal)) if is_absence(&refusal) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Socket::get`] for many objects: the questions go out together, and the answers come in their
    /// order.
    pub(crate) fn get_all(
        &mut self,
        mut requests: Vec<Vec<u8>>,
    ) -> Result<Vec<Result<Option<Message>, Refusal>>, NetlinkError> {
        let mut answers = Vec::with_capacity(requests.len());
        for requests in requests.chunks_mut(QUESTIONS) {
            if self.subsystem == Subsystem::Netfilter {
                for request in &mut *requests {
                    without_acknowledgement(request);
                }
            }
            let first = self.send_all(requests, NLM_F_REQUEST)?;
            let mut awaited = first..=self.sequence;
            while !awaited.is_empty() {
                for message in self.receive()? {
                    if Some(message.sequence) != awaited.clone().next() {
                        continue;
                    }
                    awaited.next();
                    answers.push(match message.verdict() {
                        None => Ok(Some(message)),
                        Some(Err(refusal)) if !is_absence(&refusal) => Err(refusal),
                        Some(_) => Ok(None),
                    });
                }
            }
        }
        Ok(answers)
    }

    /// Lists objects; the listing is of one moment.
    pub(crate) fn list(&mut self, request: &[u8]) -> Result<Vec<Message>, NetlinkError> {
        for _ in 0..LISTINGS {
            let answer = self.ask(request.to_vec(), NLM_F_REQUEST | NLM_F_DUMP, End::Done)?;
            if answer.iter().all(|m| m.flags & NLM_F_DUMP_INTR == 0) {
                return Ok(answer);
            }
        }
        Err(NetlinkError::Unsteady(LISTINGS))
    }

    /// Shows every object to `see` and keeps none: for listings of any length, of which nobody says that
    /// they are of one moment.
    pub(crate) fn each(
        &mut self,
        mut request: Vec<u8>,
        mut see: impl FnMut(&Message),
    ) -> Result<(), NetlinkError> {
        let sequence = self.reserve(1);
        stamp(&mut request, NLM_F_REQUEST | NLM_F_DUMP, sequence);
        self.send(&request)?;
        loop {
            for message in self.receive()? {
                if message.sequence != sequence {
                    continue;
                }
                if let Some(verdict) = message.verdict() {
                    return Ok(verdict?);
                }
                see(&message);
            }
        }
    }

    fn ask(
        &mut self,
        mut request: Vec<u8>,
        flags: u16,
        end: End,
    ) -> Result<Vec<Message>, NetlinkError> {
        let sequence = self.reserve(1);
        stamp(&mut request, flags, sequence);
        self.send(&request)?;
        let mut answer = Vec::new();
        loop {
            for message in self.receive()? {
                if message.sequence != sequence {
                    continue;
                }
                if let Some(verdict) = message.verdict() {
                    verdict?;
                    // The last message tells of an interruption too.
                    if end == End::Done && message.flags & NLM_F_DUMP_INTR != 0 {
                        answer.push(message);
                    }
                    return Ok(answer);
                }
                answer.push(message);
                if end == End::First {
                    return Ok(answer);
                }
            }
        }
    }

    /// Sends bytes that carry their own flags and sequence numbers, in one piece however many: a table
    /// that is loaded whole has an entry for every host port of the node.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let sent = self.sent(bytes);
        self.broken |= sent.is_err();
        sent
    }

    fn sent(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let mut room_was_made = false;
        loop {
            match send(&self.inner, bytes, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                // The kernel takes no message larger than the send buffer (`netlink_sendmsg`).
                Err(Errno::MSGSIZE) if !room_was_made => {
                    let room = bytes.len() + SPARE;
                    sockopt::set_socket_send_buffer_size_force(&self.inner, room)
                        .map_err(NetlinkError::Broken)?;
                    room_was_made = true;
                }
                Err(errno) => return Err(NetlinkError::Broken(errno)),
            }
        }
    }

    /// Waits for the next datagram and takes it apart.
    pub(crate) fn receive(&mut self) -> Result<Vec<Message>, NetlinkError> {
        let received = self.received(RecvFlags::empty());
        self.broken |= received.is_err();
        received
    }

    fn received(&mut self, flags: RecvFlags) -> Result<Vec<Message>, NetlinkError> {
        let len = loop {
            match recv(&self.inner, &mut self.buffer[..], RecvFlags::TRUNC | flags) {
                Ok((_, len)) => break len,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(NetlinkError::Silent),
                Err(errno) => return Err(NetlinkError::Broken(errno)),
            }
        };
        let datagram = self
            .buffer
            .get(..len)
            .ok_or_else(|| NetlinkError::Unreadable(format!("{len} bytes, more than {LONGEST}")))?;
        parse(datagram)
    }

    /// The next datagram if there is one already. One that was dropped for want of room is an error, and
    /// the socket serves on.
    pub(crate) fn receive_at_once(&mut self) -> Result<Option<Vec<Message>>, NetlinkError> {
        match self.received(RecvFlags::DONTWAIT) {
            Err(NetlinkError::Silent) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// How long [`Socket::receive`] waits before it says [`NetlinkError::Silent`].
    pub(crate) fn wait_at_most(&self, patience: Duration) -> Result<(), NetlinkError> {
        sockopt::set_socket_timeout(&self.inner, Timeout::Recv, Some(patience))
            .map_err(NetlinkError::Broken)
    }
}

thread_local! {
    /// Of sockets that were closed: a container's lives for one call.
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

impl Drop for Socket {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // A thread that ends has no use for it.
        let _ = BUFFERS.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_BUFFERS {
                spare.push(buffer);
            }
        });
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Message {
    /// What an acknowledgement, a refusal or the end of a listing says; `None` for an object.
    pub(crate) fn verdict(&self) -> Option<Result<(), Refusal>> {
        // After the number, an error holds the header of the request (NETLINK_CAP_ACK).
        let attributes_at = match self.kind {
            NLMSG_ERROR => 4 + HEADER,
            NLMSG_DONE => 4,
            _ => return None,
        };
        let code = self.body.get(..4).map_or(0, |bytes| {
            i32::from_ne_bytes(bytes.try_into().expect("four bytes"))
        });
        Some(if code == 0 {
            Ok(())
        } else {
            const NLMSGERR_ATTR_MSG: u16 = 1;
            let attributes = self.body.get(attributes_at..).unwrap_or_default();
            Err(Refusal {
                errno: Errno::from_raw_os_error(-code),
                text: find(attributes, NLMSGERR_ATTR_MSG)
                    .and_then(text)
                    .map(str::to_owned),
            })
        })
    }

    pub(crate) const fn sequence(&self) -> u32 {
        self.sequence
    }
}

/// Whether a refusal says that there is no such object.
fn is_absence(refusal: &Refusal) -> bool {
    matches!(refusal.errno, Errno::NODEV | Errno::NOENT)
}

fn mask(groups: &[u32]) -> u32 {
    groups.iter().fold(0, |mask, group| mask | 1 << (group - 1))
}

fn without_acknowledgement(request: &mut [u8]) {
    let own = u16::from_ne_bytes([request[6], request[7]]);
    request[6..8].copy_from_slice(&(own & !NLM_F_ACK).to_ne_bytes());
}

/// Adds to a request's flags and sets its sequence number (`struct nlmsghdr`, `linux/netlink.h`).
fn stamp(request: &mut [u8], flags: u16, sequence: u32) {
    let own = u16::from_ne_bytes([request[6], request[7]]);
    request[6..8].copy_from_slice(&(own | flags).to_ne_bytes());
    request[8..12].copy_from_slice(&sequence.to_ne_bytes());
}

fn parse(mut datagram: &[u8]) -> Result<Vec<Message>, NetlinkError> {
    let mut messages = Vec::new();
    while !datagram.is_empty() {
        let short = || NetlinkError::Unreadable(format!("message cut at {} bytes", datagram.len()));
        let header = datagram.get(..HEADER).ok_or_else(short)?;
        let u16_at = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let u32_at =
            |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let len = usize::try_from(u32_at(0)).unwrap_or(usize::MAX);
        let body = datagram.get(HEADER..len).ok_or_else(short)?;
        messages.push(Message {
            kind: u16_at(4),
            flags: u16_at(6),
            sequence: u32_at(8),
            body: body.to_vec(),
        });
        datagram = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(HEADER + body.len()).unwrap();
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 2]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_refusal_carries_the_kernels_explanation() {
        let mut body = (-17i32).to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        body.extend(8u16.to_ne_bytes());
        body.extend(1u16.to_ne_bytes());
        body.extend(b"no\0\0");
        let parsed = parse(&message(NLMSG_ERROR, 7, &body)).unwrap();
        let refusal = parsed[0].verdict().unwrap().unwrap_err();
        assert_eq!(refusal.errno, Errno::EXIST);
        assert_eq!(refusal.text.as_deref(), Some("no"));
    }

    #[test]
    fn messages_of_one_datagram_are_taken_apart() {
        let mut datagram = message(16, 1, &[1, 2, 3, 4, 5]);
        datagram.extend(message(NLMSG_DONE, 1, &0i32.to_ne_bytes()));
        let parsed = parse(&datagram).unwrap();
        assert_eq!(parsed[0].body, [1, 2, 3, 4, 5]);
        assert!(parsed[0].verdict().is_none());
        assert_eq!(parsed[1].verdict(), Some(Ok(())));
    }

    #[test]
    fn a_cut_message_is_an_error() {
        let whole = message(16, 1, &[0; 8]);
        for len in 1..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len}");
        }
    }
}
