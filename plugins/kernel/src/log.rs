//! What rules log to an `nfnetlink_log` group (`linux/netfilter/nfnetlink_log.h`), heard as it happens.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_model::IfName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use crate::attributes::{attribute, find, text};
use crate::error::NetlinkError;
use crate::netns::{Identity, Netns};
use crate::nfnetlink::{NFGENMSG, request};
use crate::socket::{HEADER, Socket, Subsystem};

/// `NFNL_SUBSYS_ULOG` is 4; `NFULNL_MSG_PACKET` is 0 and `NFULNL_MSG_CONFIG` 1.
const PACKET: u16 = 4 << 8;
const CONFIG: u16 = PACKET | 1;
/// Most messages taken in of one namespace before the others are looked at.
const AT_ONCE: usize = 64;
const NFULA_CFG_CMD: u16 = 1;
const NFULA_CFG_MODE: u16 = 2;
const NFULA_CFG_QTHRESH: u16 = 5;
const NFULNL_CFG_CMD_BIND: u8 = 1;
const NFULNL_COPY_PACKET: u8 = 2;
const NFULA_PACKET_HDR: u16 = 1;
const NFULA_IFINDEX_INDEV: u16 = 4;
const NFULA_PAYLOAD: u16 = 9;
const NFULA_PREFIX: u16 = 10;
const NFULA_HWHEADER: u16 = 16;

/// A listener to one group, in the namespace of the thread that opened it and in others. A group has one at a
/// time in each.
#[derive(Debug)]
pub struct LogListener {
    group: u16,
    snaplen: u32,
    own: Ear,
    others: Vec<(Identity, Ear)>,
    heard: VecDeque<Logged>,
}

/// What hears in one namespace.
#[derive(Debug)]
struct Ear {
    socket: Socket,
    /// Tells what the namespace's devices are called.
    names: OwnedFd,
}

/// A frame that a rule logged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Logged {
    /// The rule's prefix.
    pub prefix: String,
    /// The device it came in by, while that is there.
    pub device: Option<IfName>,
    /// Its Ethernet type.
    pub protocol: u16,
    /// The link-layer header: of an Ethernet frame 14 bytes, without tags that the device took off.
    pub header: Vec<u8>,
    /// What follows it, cut to the rule's and the listener's length.
    pub payload: Vec<u8>,
}

impl LogListener {
    /// Listens to `group`, to the first `snaplen` bytes of each frame.
    ///
    /// # Errors
    /// [`NetlinkError`]: `EBUSY` if somebody else listens to the group, `EPERM` without the right to.
    pub fn open(group: u16, snaplen: u32) -> Result<Self, NetlinkError> {
        Ok(Self {
            group,
            snaplen,
            own: Ear::open(group, snaplen)?,
            others: Vec::new(),
            heard: VecDeque::new(),
        })
    }

    /// Listens in these namespaces besides its own, and no more in any other.
    ///
    /// # Errors
    /// As [`LogListener::open`], of one that was not listened in before.
    pub fn follow(&mut self, others: &[Netns]) -> Result<(), NetlinkError> {
        let is_wanted = |of: Identity| others.iter().any(|other| other.identity() == of);
        self.others.retain(|(of, _)| is_wanted(*of));
        for other in others {
            let of = other.identity();
            if self.others.iter().all(|(known, _)| *known != of) {
                let opened = other.within(|| Ear::open(self.group, self.snaplen));
                let opened = opened.map_err(|source| NetlinkError::Socket(source.into()))?;
                self.others.push((of, opened?));
            }
        }
        Ok(())
    }

    /// The next frame; `None` if none came within `patience`.
    ///
    /// # Errors
    /// [`NetlinkError`]. Frames that came faster than they were read are lost without one.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Logged>, NetlinkError> {
        let began = Instant::now();
        while self.heard.is_empty() {
            let left = patience.saturating_sub(began.elapsed());
            if !self.wait(left)? {
                return Ok(None);
            }
            let Self {
                own, others, heard, ..
            } = self;
            let others = others.iter_mut().map(|(_, ear)| ear);
            for ear in std::iter::once(own).chain(others) {
                ear.hear(heard)?;
            }
        }
        Ok(self.heard.pop_front())
    }

    /// Whether something came within `patience`.
    fn wait(&self, patience: Duration) -> Result<bool, NetlinkError> {
        let others = self.others.iter().map(|(_, ear)| ear);
        let ears = std::iter::once(&self.own).chain(others);
        let mut asked: Vec<PollFd<'_>> = ears
            .map(|ear| PollFd::from_borrowed_fd(ear.socket.as_fd(), PollFlags::IN))
            .collect();
        let limit = Timespec::try_from(patience).ok();
        match poll(&mut asked, limit.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            // The caller sees how much of its time is left.
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(NetlinkError::Broken(error)),
        }
    }
}

impl Ear {
    /// Opens one in the calling thread's namespace.
    fn open(group: u16, snaplen: u32) -> Result<Self, NetlinkError> {
        let mut socket = Socket::open(Subsystem::Netfilter)?;
        let mode = [&snaplen.to_be_bytes()[..], &[NFULNL_COPY_PACKET, 0]].concat();
        let requests = [
            (NFULA_CFG_CMD, vec![NFULNL_CFG_CMD_BIND]),
            (NFULA_CFG_MODE, mode),
            // Each frame at once.
            (NFULA_CFG_QTHRESH, 1_u32.to_be_bytes().to_vec()),
        ];
        for (kind, value) in requests {
            let mut message = request(CONFIG, 0, [attribute(kind, &value)]);
            // `res_id` of `struct nfgenmsg` is the group.
            message[HEADER + 2..HEADER + NFGENMSG].copy_from_slice(&group.to_be_bytes());
            for answer in socket.batch(&[message])? {
                answer?;
            }
        }
        let names = socket_with(
            AddressFamily::UNIX,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        );
        let names = names.map_err(|source| NetlinkError::Socket(source.into()))?;
        Ok(Self { socket, names })
    }

    /// Takes in what came, without waiting.
    fn hear(&mut self, heard: &mut VecDeque<Logged>) -> Result<(), NetlinkError> {
        for _ in 0..AT_ONCE {
            match self.socket.receive_at_once() {
                Ok(None) => return Ok(()),
                Ok(Some(messages)) => {
                    let packets = messages.iter().filter(|message| message.kind == PACKET);
                    let names = self.names.as_fd();
                    heard
                        .extend(packets.filter_map(|message| Logged::decode(&message.body, names)));
                }
                Err(NetlinkError::Broken(Errno::NOBUFS)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Logged {
    /// `names` is a socket of the namespace that it was logged in.
    fn decode(body: &[u8], names: BorrowedFd<'_>) -> Option<Self> {
        let rest = body.get(NFGENMSG..)?;
        let bytes = |kind| find(rest, kind).map(<[u8]>::to_vec).unwrap_or_default();
        let short = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?));
        let index = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?));
        let device = find(rest, NFULA_IFINDEX_INDEV).and_then(index);
        Some(Self {
            prefix: find(rest, NFULA_PREFIX)
                .and_then(text)?
                .trim_end()
                .to_owned(),
            device: device.and_then(|index| name_of(index, names)),
            protocol: find(rest, NFULA_PACKET_HDR).and_then(short)?,
            header: bytes(NFULA_HWHEADER),
            payload: bytes(NFULA_PAYLOAD),
        })
    }
}

/// The name that a device has now.
fn name_of(index: u32, names: BorrowedFd<'_>) -> Option<IfName> {
    let name = netdevice::index_to_name(names, index).ok()?;
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_and_what_is_none_is_passed_over() {
        let parts = [
            attribute(NFULA_PACKET_HDR, &[0x08, 0x06, 5, 0]),
            attribute(NFULA_PREFIX, b"bulkhead arp \0"),
            attribute(NFULA_IFINDEX_INDEV, &0_u32.to_be_bytes()),
            attribute(NFULA_HWHEADER, &[0xff; 14]),
            attribute(NFULA_PAYLOAD, &[1, 2, 3]),
        ];
        let body = [vec![0, 0, 6, 0xfe], parts.concat()].concat();
        let read = Logged {
            prefix: "bulkhead arp".to_owned(),
            device: None,
            protocol: 0x0806,
            header: vec![0xff; 14],
            payload: vec![1, 2, 3],
        };
        let names = std::os::unix::net::UnixDatagram::unbound().unwrap();
        assert_eq!(Logged::decode(&body, names.as_fd()), Some(read));
        assert_eq!(Logged::decode(&[0, 0], names.as_fd()), None);
    }
}
