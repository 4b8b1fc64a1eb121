//! The client against a daemon that is a thread.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::super::{
    Answer, CallFrame, Client, ClientError, Decoder, Delegate, Frame, Kind, Refusal, RefusalCode,
    Spoken, from_json, json, last, peer_is_gone, receive, send,
};
use super::call;
use crate::testing::TempDir;

/// Calls are answered, version by version, until one is.
pub(super) struct Daemon {
    _dir: TempDir,
    socket: PathBuf,
    seen: mpsc::Receiver<(u16, Option<u64>)>,
}

impl Daemon {
    pub(super) fn start(spoken: Spoken) -> Self {
        let (dir, socket, listener) = listener();
        let (told, seen) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                if let Some(call) = serve(stream, spoken) {
                    let _ = told.send(call);
                }
            }
        });
        Self {
            _dir: dir,
            socket,
            seen,
        }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn seen(&self) -> (u16, Option<u64>) {
        self.seen.recv_timeout(Duration::from_secs(10)).unwrap()
    }
}

fn serve(mut stream: UnixStream, spoken: Spoken) -> Option<(u16, Option<u64>)> {
    let (frame, _) = match read(&stream, spoken) {
        Ok(read) => read,
        Err(refusal) => {
            let frame = refusal.to_frame(Spoken::OURS).encode().unwrap();
            stream.write_all(&frame).unwrap();
            return None;
        }
    };
    let version = frame.version;
    let (call, _) = CallFrame::from_frame(frame).unwrap();
    let answer = Answer {
        stdout: b"served".to_vec(),
        ..Answer::default()
    };
    let frame = answer.to_frame(version, spoken, Kind::Answer);
    stream.write_all(&frame.encode().unwrap()).unwrap();
    Some((version, call.deadline_ms))
}

fn read(stream: &UnixStream, spoken: Spoken) -> Result<(Frame, Vec<OwnedFd>), Refusal> {
    let (mut decoder, mut beside) = (Decoder::new(spoken), Vec::new());
    let mut buffer = [0; 7];
    loop {
        match decoder.frame() {
            Ok(Some(frame)) => return Ok((frame, beside)),
            Ok(None) => {}
            Err(error) => {
                return Err(Refusal {
                    text: error.to_string(),
                    code: error.into(),
                    spoken,
                });
            }
        }
        let received = receive(stream, &mut buffer).unwrap();
        assert_ne!(received.length, 0, "the client has closed");
        beside.extend(received.descriptors);
        decoder.feed(&buffer[..received.length]);
    }
}

fn listener() -> (TempDir, PathBuf, UnixListener) {
    let dir = TempDir::new("wire");
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    (dir, socket, listener)
}

pub(super) fn own_netns() -> BorrowedFd<'static> {
    static OWN: LazyLock<File> = LazyLock::new(|| File::open("/proc/self/ns/net").unwrap());
    OWN.as_fd()
}

#[test]
fn descriptors_arrive_in_their_order_beside_a_call() {
    let (dir, socket, listener) = listener();
    let path = dir.path().join("file");
    std::fs::write(&path, "container").unwrap();
    let client = thread::spawn(move || {
        let container = File::open(&path).unwrap();
        let client = Client::connect(&socket, Some(Duration::from_secs(10))).unwrap();
        client.call(&call(), Some(container.as_fd()), own_netns(), |ask| {
            Answer {
                exit: 3,
                stdout: ask.plugin.clone().into_bytes(),
                ..Answer::default()
            }
        })
    });
    let (mut stream, _) = listener.accept().unwrap();
    let (frame, beside) = read(&stream, Spoken::OURS).unwrap();
    let (read_call, which) = CallFrame::from_frame(frame).unwrap();
    assert!(read_call == call() && which.container && which.own);
    let [container, own] = <[OwnedFd; 2]>::try_from(beside).unwrap();
    let mut text = String::new();
    File::from(container).read_to_string(&mut text).unwrap();
    assert_eq!(text, "container");
    let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
    assert_eq!(inode(own.as_fd()), inode(own_netns()));

    let ask = Delegate {
        plugin: "host-local".to_owned(),
        verb: "ADD".to_owned(),
        environment: Vec::new(),
    };
    let frame = ask.to_frame(2, Spoken::OURS).encode().unwrap();
    stream.write_all(&frame).unwrap();
    let (frame, _) = read(&stream, Spoken::OURS).unwrap();
    let delegated = Answer::from_frame(frame, Kind::Delegated).unwrap();
    assert_eq!(
        (delegated.exit, &*delegated.stdout),
        (3, &b"host-local"[..])
    );
    let answer = delegated.to_frame(2, Spoken::OURS, Kind::Answer);
    stream.write_all(&answer.encode().unwrap()).unwrap();
    assert_eq!(client.join().unwrap().unwrap(), delegated);
}

#[test]
fn more_descriptors_than_a_message_has_are_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let own = own_netns();
    assert!(send(&theirs, b"x", &[own, own, own]).is_err());
    send(&theirs, b"x", &[own, own]).unwrap();
    assert_eq!(receive(&ours, &mut [0; 8]).unwrap().descriptors.len(), 2);
    for many in [3, 9] {
        let many = vec![own; many];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(9))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
        let bytes = [IoSlice::new(b"x")];
        sendmsg(&theirs, &bytes, &mut control, SendFlags::empty()).unwrap();
        let error = receive(&ours, &mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn nobody_listens() {
    let dir = TempDir::new("wire");
    let socket = dir.path().join("socket");
    let error = Client::connect(&socket, None).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
    drop(UnixListener::bind(&socket).unwrap());
    let error = Client::connect(&socket, None).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error}");
}

#[test]
fn a_daemon_that_stands_still_is_silent_even_to_whoever_waits_at_the_door() {
    let (_dir, socket, _listener) = listener();
    let patience = Some(Duration::from_millis(20));
    let mut connected = Vec::new();
    let at_the_door = loop {
        match Client::connect(&socket, patience) {
            Ok(client) => connected.push(client),
            Err(error) => break error,
        }
    };
    assert!(matches!(at_the_door, ClientError::Silent { .. }));
    let client = connected.pop().unwrap();
    let error = client
        .call(&call(), None, own_netns(), |_| unreachable!())
        .unwrap_err();
    assert!(matches!(error, ClientError::Silent { .. }), "{error}");
}

#[test]
fn a_daemon_that_ends_half_way_breaks_the_call() {
    let (_dir, socket, listener) = listener();
    let client = Client::connect(&socket, None).unwrap();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read(&stream, Spoken::OURS).unwrap();
        let answer = Answer::default().to_frame(2, Spoken::OURS, Kind::Answer);
        stream.write_all(&answer.encode().unwrap()[..20]).unwrap();
    });
    let error = client
        .call(&call(), None, own_netns(), |_| unreachable!())
        .unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    daemon.join().unwrap();
}

#[test]
fn the_reason_is_read_even_if_the_door_was_shut_before_the_request_went_out() {
    let (_dir, socket, listener) = listener();
    let mut client = Client::connect(&socket, None).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let refusal = Refusal {
        code: RefusalCode::Busy,
        text: "64 callers at once".to_owned(),
        spoken: Spoken::OURS,
    };
    let frame = refusal.to_frame(Spoken::OURS).encode().unwrap();
    stream.write_all(&frame).unwrap();
    drop(stream);
    let error = client.ask::<u8>(&"x").unwrap_err();
    let ClientError::Refused { refusal: read, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(read, refusal);
}

#[test]
fn replies_come_until_the_last_one() {
    let (_dir, socket, listener) = listener();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (frame, _) = read(&stream, Spoken::OURS).unwrap();
        let many: u8 = from_json(frame, Kind::AdminRequest).unwrap();
        for nth in 0..many {
            let reply = json(2, Spoken::OURS, Kind::AdminReply, &nth);
            let reply = if nth + 1 == many { last(reply) } else { reply };
            stream.write_all(&reply.encode().unwrap()).unwrap();
        }
    });
    let client = Client::connect(&socket, None).unwrap();
    let replies = client.stream::<u8>(&3).unwrap();
    let replies: Vec<u8> = replies.map(Result::unwrap).collect();
    assert_eq!(replies, [0, 1, 2]);
    daemon.join().unwrap();
}

#[test]
fn replies_that_end_too_early_are_an_error() {
    let (_dir, socket, listener) = listener();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read(&stream, Spoken::OURS).unwrap();
        let reply = json(2, Spoken::OURS, Kind::AdminReply, &0);
        stream.write_all(&reply.encode().unwrap()).unwrap();
    });
    let client = Client::connect(&socket, None).unwrap();
    let mut replies = client.stream::<u8>(&3).unwrap();
    assert_eq!(replies.next().unwrap().unwrap(), 0);
    let error = replies.next().unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    assert!(replies.next().is_none());
    daemon.join().unwrap();
}

#[test]
fn each_reply_has_its_own_time_and_silence_is_an_error() {
    let (_dir, socket, listener) = listener();
    let (said, heard) = std::sync::mpsc::channel();
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read(&stream, Spoken::OURS).unwrap();
        let reply = |nth| json(2, Spoken::OURS, Kind::AdminReply, &nth).encode();
        let replies: Vec<Vec<u8>> = (0..3).map(|nth| reply(nth).unwrap()).collect();
        // At once: a machine that is busy may not come back to this thread in time.
        stream.write_all(&replies.concat()).unwrap();
        heard.recv().unwrap();
    });
    let client = Client::connect(&socket, Some(Duration::from_mins(1))).unwrap();
    let replies = client.stream::<u8>(&3).unwrap();
    let mut replies = replies.each_within(Duration::from_millis(20));
    for nth in 0..3 {
        assert_eq!(replies.next().unwrap().unwrap(), nth);
    }
    let error = replies.next().unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Silent { .. }), "{error}");
    said.send(()).unwrap();
    daemon.join().unwrap();
}

#[test]
fn a_caller_that_went_away_is_noticed() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert!(!peer_is_gone(&ours));
    drop(theirs);
    assert!(peer_is_gone(&ours));
}
