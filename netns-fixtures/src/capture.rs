//! Raw frames on one interface of one namespace: sending, and waiting for what must or must not
//! arrive. The kernel queues from the moment a socket is open, so nothing between opening and
//! looking is missed.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use crate::ns::{Ns, NsError};
use crate::packet::{Frame, PacketError};

/// Room for a burst while the test is busy elsewhere.
const QUEUE_BYTES: usize = 4 << 20;
/// The largest frame a veth with segmentation offload hands over.
const LARGEST_FRAME: usize = 1 << 17;
/// Frames that one call sends.
const MANY: usize = 64;
/// `PACKET_OUTGOING` (`if_packet.h`).
const OUTGOING: u8 = 4;

/// Why a frame could not be sent, or was or was not seen.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The namespace could not be entered.
    #[error("packet socket on {interface}")]
    Ns {
        /// The interface.
        interface: String,
        /// The reason.
        #[source]
        source: NsError,
    },
    /// The namespace has no such interface.
    #[error("{ns} has no interface {interface}")]
    NoInterface {
        /// The namespace.
        ns: String,
        /// The interface.
        interface: String,
    },
    /// The kernel refused an operation on the socket.
    #[error("packet socket on {interface}: {operation}")]
    System {
        /// The interface.
        interface: String,
        /// The operation.
        operation: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The awaited frame did not come.
    #[error("{interface}: waited {limit:?} in vain for {what}; seen:\n{seen}")]
    Missing {
        /// The interface.
        interface: String,
        /// What was awaited.
        what: String,
        /// For how long.
        limit: Duration,
        /// What came instead, one frame a line.
        seen: String,
    },
    /// A frame came that must not.
    #[error("{interface}: {what} must not come, but did: {frame}")]
    Unwanted {
        /// The interface.
        interface: String,
        /// What was forbidden.
        what: String,
        /// The frame.
        frame: String,
    },
}

/// Which way a frame passed the interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Received by the interface.
    In,
    /// Sent by the interface's own namespace.
    Out,
}

/// A frame that passed an interface.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Which way.
    pub direction: Direction,
    /// The bytes. The kernel takes the outermost VLAN tag off before a packet socket sees a
    /// received frame (`skb_vlan_untag`).
    pub bytes: Vec<u8>,
    /// The frame, or why the bytes are none.
    pub frame: Result<Frame, PacketError>,
}

impl Captured {
    /// The frame, if the bytes are one.
    #[must_use]
    pub fn ok(&self) -> Option<&Frame> {
        self.frame.as_ref().ok()
    }

    fn line(&self) -> String {
        match &self.frame {
            Ok(frame) => format!("{:?} {frame}", self.direction),
            Err(error) => format!("{:?} {error}: {:02x?}", self.direction, self.bytes),
        }
    }
}

/// An open `AF_PACKET` socket bound to one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    interface: String,
    index: usize,
}

impl PacketSocket {
    /// Opens a socket for every protocol, both directions, on `interface` of `ns`.
    ///
    /// # Errors
    /// `Ns`, `NoInterface` or `System`.
    pub fn open(ns: &Ns, interface: &str) -> Result<Self, CaptureError> {
        ns.enter(|| Self::open_here(ns, interface))
            .map_err(|source| CaptureError::Ns {
                interface: interface.to_owned(),
                source,
            })?
    }

    fn open_here(ns: &Ns, interface: &str) -> Result<Self, CaptureError> {
        let nix_refused = |operation| move |errno: nix::Error| refused(interface, operation, errno);
        // The only safe way to an AF_PACKET address is the kernel's own list; its protocol is 0,
        // for which bind keeps the socket's (packet_bind in net/packet/af_packet.c).
        let address = nix::ifaddrs::getifaddrs()
            .map_err(nix_refused("list interfaces"))?
            .filter(|entry| entry.interface_name == interface)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .ok_or_else(|| CaptureError::NoInterface {
                ns: ns.name().to_owned(),
                interface: interface.to_owned(),
            })?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket::socket(
            AddressFamily::Packet,
            SockType::Raw,
            flags,
            SockProtocol::EthAll,
        )
        .map_err(nix_refused("open"))?;
        set_socket_recv_buffer_size_force(&fd, QUEUE_BYTES)
            .map_err(|errno| refused(interface, "size the queue", errno))?;
        socket::bind(fd.as_raw_fd(), &address).map_err(nix_refused("bind"))?;
        Ok(Self {
            fd,
            interface: interface.to_owned(),
            index: address.ifindex(),
        })
    }

    /// Sends a frame as it is built.
    ///
    /// # Errors
    /// `System`, for example when the interface is down or the frame exceeds its MTU.
    pub fn send(&self, frame: &Frame) -> Result<(), CaptureError> {
        self.send_bytes(&frame.to_bytes())
    }

    /// Sends bytes, starting with the Ethernet header.
    ///
    /// # Errors
    /// As [`PacketSocket::send`].
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<(), CaptureError> {
        rustix::net::send(&self.fd, bytes, SendFlags::empty())
            .map(drop)
            .map_err(|errno| refused(&self.interface, "send", errno))
    }

    /// Sends the same bytes `count` times, many with a call.
    ///
    /// # Errors
    /// As [`PacketSocket::send`].
    pub fn send_many(&self, bytes: &[u8], count: usize) -> Result<(), CaptureError> {
        let iov = [IoSlice::new(bytes)];
        let mut left = count;
        while left > 0 {
            let mut controls: Vec<_> = (0..left.min(MANY)).map(|_| no_control()).collect();
            let messages = controls.iter_mut();
            let mut messages: Vec<_> = messages.map(|none| MMsgHdr::new(&iov, none)).collect();
            match sendmmsg(&self.fd, &mut messages, SendFlags::empty()) {
                Ok(sent) => left -= sent,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(refused(&self.interface, "send", errno)),
            }
        }
        Ok(())
    }

    /// The next frame that passes the interface; `None` when none does before `deadline`.
    ///
    /// # Errors
    /// `System`, for example when the interface is gone.
    pub fn receive(&self, deadline: Instant) -> Result<Option<Captured>, CaptureError> {
        let mut buffer = vec![0; LARGEST_FRAME];
        loop {
            match socket::recvfrom::<LinkAddr>(self.fd.as_raw_fd(), &mut buffer) {
                Ok((length, Some(from))) if from.ifindex() == self.index => {
                    return Ok(Some(captured(&buffer[..length], from)));
                }
                // Queued from another interface between open and bind.
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => {
                    if !self.readable(deadline)? {
                        return Ok(None);
                    }
                }
                Err(errno) => return Err(refused(&self.interface, "receive", errno)),
            }
        }
    }

    fn readable(&self, deadline: Instant) -> Result<bool, CaptureError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|source| CaptureError::System {
            interface: self.interface.clone(),
            operation: "reckon the deadline",
            source: io::Error::other(source),
        })?;
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(errno) => Err(refused(&self.interface, "wait", errno)),
        }
    }
}

fn no_control() -> SendAncillaryBuffer<'static, 'static, 'static> {
    SendAncillaryBuffer::default()
}

fn captured(bytes: &[u8], from: LinkAddr) -> Captured {
    Captured {
        direction: if from.pkttype() == OUTGOING {
            Direction::Out
        } else {
            Direction::In
        },
        frame: Frame::parse(bytes),
        bytes: bytes.to_vec(),
    }
}

fn refused(interface: &str, operation: &'static str, errno: impl Into<io::Error>) -> CaptureError {
    CaptureError::System {
        interface: interface.to_owned(),
        operation,
        source: errno.into(),
    }
}

/// Judgements over what passes one interface, in order of arrival; each frame is looked at once.
#[derive(Debug)]
pub struct Capture {
    socket: PacketSocket,
}

impl Capture {
    /// Starts capturing; what passes from now on is kept until it is looked at.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn start(ns: &Ns, interface: &str) -> Result<Self, CaptureError> {
        Ok(Self {
            socket: PacketSocket::open(ns, interface)?,
        })
    }

    /// The socket, to send from the same interface.
    #[must_use]
    pub fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// Skips frames until one satisfies `wanted`, and returns it.
    ///
    /// # Errors
    /// `Missing`, listing what came instead, when none does within `limit`; `System`.
    pub fn expect(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Captured) -> bool,
    ) -> Result<Captured, CaptureError> {
        let deadline = Instant::now() + limit;
        let mut seen = String::new();
        while let Some(frame) = self.socket.receive(deadline)? {
            if wanted(&frame) {
                return Ok(frame);
            }
            seen += &frame.line();
            seen.push('\n');
        }
        Err(CaptureError::Missing {
            interface: self.socket.interface.clone(),
            what: what.to_owned(),
            limit,
            seen,
        })
    }

    /// Demands that no frame satisfying `forbidden` passes within `window`. The whole window is
    /// waited; prefer [`Capture::none_before`] where an order is known.
    ///
    /// # Errors
    /// `Unwanted` with the frame; `System`.
    pub fn none_within(
        &self,
        what: &str,
        window: Duration,
        forbidden: impl Fn(&Captured) -> bool,
    ) -> Result<(), CaptureError> {
        let deadline = Instant::now() + window;
        while let Some(frame) = self.socket.receive(deadline)? {
            if forbidden(&frame) {
                return Err(self.unwanted(what, &frame));
            }
        }
        Ok(())
    }

    /// Demands that no frame satisfying `forbidden` passes before one that satisfies `sentinel`: a
    /// frame sent after the forbidden ones on the same path, which proves that the path delivers.
    ///
    /// # Errors
    /// `Unwanted` with the frame; `Missing` when the sentinel does not come within `limit`;
    /// `System`.
    pub fn none_before(
        &self,
        what: &str,
        limit: Duration,
        forbidden: impl Fn(&Captured) -> bool,
        sentinel: impl Fn(&Captured) -> bool,
    ) -> Result<(), CaptureError> {
        let either = |frame: &Captured| forbidden(frame) || sentinel(frame);
        let first = self.expect("the sentinel", limit, either)?;
        if forbidden(&first) {
            return Err(self.unwanted(what, &first));
        }
        Ok(())
    }

    fn unwanted(&self, what: &str, frame: &Captured) -> CaptureError {
        CaptureError::Unwanted {
            interface: self.socket.interface.clone(),
            what: what.to_owned(),
            frame: frame.line(),
        }
    }
}
