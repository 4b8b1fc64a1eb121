//! Bytes and descriptors over a unix socket (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Most descriptors that a message has: a container's namespace and the caller's own.
const MOST: usize = 2;

/// What one read gave.
#[derive(Debug)]
pub struct Received {
    /// How many bytes; 0 at the end of the stream.
    pub length: usize,
    /// The descriptors that came with them, closed on exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Sends some of `bytes`, at least one, with at most two `descriptors` beside the first of them.
///
/// # Errors
/// What the system says; `WouldBlock` if the socket does not block or its time is over.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    // Alignment leaves the space room for one more.
    let fits = descriptors.len() <= MOST && (descriptors.is_empty() || control.push(rights));
    if !fits {
        let what = "more descriptors than a message has";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let bytes = [IoSlice::new(bytes)];
    Ok(rustix::io::retry_on_intr(|| {
        sendmsg(&socket, &bytes, &mut control, SendFlags::NOSIGNAL)
    })?)
}

/// Reads what there is, up to `buffer`'s length.
///
/// # Errors
/// What the system says; `WouldBlock` as [`send`]; `InvalidData` if more descriptors were sent than
/// a message has. They are closed then.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let mut bytes = [IoSliceMut::new(buffer)];
    let message = rustix::io::retry_on_intr(|| recvmsg(&socket, &mut bytes, &mut control, flags))?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors: Vec<OwnedFd> = rights.flatten().collect();
    if message.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > MOST {
        let what = "more descriptors than a message has";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(Received {
        length: message.bytes,
        descriptors,
    })
}

/// Whether the other end has closed the connection: nobody waits for an answer.
pub fn peer_is_gone(socket: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&socket, PollFlags::RDHUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let closed = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(closed)
}
