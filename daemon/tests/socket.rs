//! The socket against whoever speaks to it, and what is no frame.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::thread;

use bulkhead_ipam::wire::{
    CallFrame, ClientError, Decoder, Descriptors, Frame, Kind, Refusal, RefusalCode, Section,
    Spoken,
};
use common::{LIMIT, Node, call};
use netns_fixtures::wait_for;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use serde_json::json;

/// What the daemon says to these bytes, as long as the connection lasts.
fn answer(node: &Node, bytes: &[u8]) -> Refusal {
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // It may be refused before it is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let mut decoder = Decoder::new(Spoken::OURS);
    decoder.feed(&answer);
    Refusal::from_frame(decoder.frame().unwrap().expect("an answer")).unwrap()
}

fn still_serves(node: &Node) {
    let container = node.container("still");
    node.call("ADD", &container).unwrap().result();
    node.call("DEL", &container).unwrap().result();
}

fn call_bytes(node: &Node) -> Vec<u8> {
    let call = call("ADD", &node.host, &node.network(&json!({})));
    let frame = call.to_frame(2, Spoken::OURS, Descriptors::default());
    frame.encode().unwrap()
}

#[test]
fn what_is_no_frame_is_refused_and_the_daemon_stays() {
    let node = Node::start("");
    let call = call_bytes(&node);
    let mut long = call[..16].to_vec();
    long[12..16].copy_from_slice(&100_000_000_u32.to_le_bytes());
    long.resize(100_000_000, 0);
    let frames: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it begins with GET "),
        (&[0; 4096], "not a frame of bulkheadd's protocol"),
        (
            &call[..call.len() - 1],
            "the connection ended within a frame",
        ),
        (&call[..7], "the connection ended within a frame"),
        (&long, "a body of 100000000 bytes is announced"),
    ];
    for (bytes, why) in frames {
        let refusal = answer(&node, bytes);
        assert_eq!(refusal.code, RefusalCode::Frame);
        assert!(refusal.text.contains(why), "{}", refusal.text);
    }
    still_serves(&node);
}

#[test]
fn a_call_without_its_descriptors_is_refused() {
    let node = Node::start("");
    let refusal = answer(&node, &call_bytes(&node));
    assert!(
        refusal.text.contains("did not come with the call"),
        "{}",
        refusal.text
    );
    let announced = Descriptors {
        container: true,
        own: true,
    };
    let call = call("ADD", &node.host, &node.network(&json!({})));
    let frame = call.to_frame(2, Spoken::OURS, announced).encode().unwrap();
    let refusal = answer(&node, &frame);
    assert!(
        refusal.text.contains("did not come with it"),
        "{}",
        refusal.text
    );
}

#[test]
fn messages_that_are_not_for_a_daemon_are_refused() {
    let node = Node::start("");
    for kind in [
        Kind::Answer,
        Kind::AdminReply,
        Kind::Delegate,
        Kind::Delegated,
    ] {
        let frame = Frame::new(2, Spoken::OURS, kind, Vec::new());
        let refusal = answer(&node, &frame.encode().unwrap());
        assert!(
            refusal.text.contains("is not for bulkheadd"),
            "{}",
            refusal.text
        );
    }
    let mut unknown = CallFrame::default().to_frame(2, Spoken::OURS, Descriptors::default());
    unknown.sections.push(Section {
        tag: 77,
        critical: true,
        bytes: Vec::new(),
    });
    let refusal = answer(&node, &unknown.encode().unwrap());
    assert!(
        refusal.text.contains("critical section 77"),
        "{}",
        refusal.text
    );
}

#[test]
fn a_version_that_nobody_speaks_is_refused_with_those_that_are() {
    let node = Node::start("");
    let frame = Frame::new(
        9,
        Spoken {
            oldest: 8,
            newest: 9,
        },
        Kind::Call,
        Vec::new(),
    );
    let refusal = answer(&node, &frame.encode().unwrap());
    assert_eq!(
        (refusal.code, refusal.spoken),
        (RefusalCode::Version, Spoken::OURS)
    );
}

#[test]
fn another_user_may_not_speak_whatever_the_sockets_mode() {
    let node = Node::start("");
    let socket = node.socket();
    let mode = fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(node.dir.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    // The thread's own user, not the process's: `setresuid(2)`, "C library/kernel differences".
    let answer = thread::spawn(move || {
        let nobody = Uid::from_raw(65534);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut answer = Vec::new();
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.read_to_end(&mut answer).map(|_| answer)
    });
    let mut decoder = Decoder::new(Spoken::OURS);
    decoder.feed(&answer.join().unwrap().unwrap());
    let frame = decoder.frame().unwrap().expect("an answer");
    let refusal = Refusal::from_frame(frame).unwrap();
    assert_eq!(refusal.code, RefusalCode::NotPermitted);
    assert!(refusal.text.contains("user 65534"), "{}", refusal.text);
    still_serves(&node);
}

#[test]
fn who_says_half_of_something_is_refused_in_time() {
    let node = Node::start("server.read_timeout_secs = 1\n");
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    stream.write_all(b"bhd\n").unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let mut decoder = Decoder::new(Spoken::OURS);
    decoder.feed(&answer);
    let refusal = Refusal::from_frame(decoder.frame().unwrap().unwrap()).unwrap();
    assert_eq!(refusal.code, RefusalCode::TooSlow);
}

#[test]
fn callers_beyond_the_limit_are_told_to_try_again() {
    let node = Node::start("server.connections = 8\nserver.read_timeout_secs = 60\n");
    let mut open = Vec::new();
    let mut refused = || {
        open.push(UnixStream::connect(node.socket()).unwrap());
        match node.call("ADD", &node.host) {
            Err(ClientError::Refused { refusal, .. }) => refusal.code == RefusalCode::Busy,
            _ => false,
        }
    };
    wait_for("a caller to be refused", LIMIT, || refused().then_some(()));
    drop(open);
    let container = node.container("c");
    let served = || node.call("ADD", &container).ok();
    wait_for("room for a caller", LIMIT, served).result();
}
