//! Edits, kills and floods at a time.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bulkhead_ipam::wire::Client;
use bulkhead_ipam::wire::admin::{Reply, Request};
use netns_fixtures::{Capture, Captured};
use rustix::process::{Signal, kill_process};

use crate::common::{LIMIT, Node};
use crate::{
    FENCE, FLOOD, Flood, OPEN, Pod, QUICK, application, apply, deletion, flooded, network,
};

/// Who edits policies as fast as they are taken, none of which allows what is flooded.
struct Editor {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Editor {
    fn start(node: &Node) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (its_end, socket) = (Arc::clone(&ends), node.socket());
        let edits = [
            application(&OPEN.replace("7000", "7001")),
            deletion("everybody"),
        ];
        let is_taken = move |edit: &Request| {
            // The daemon is away now and then.
            let client = Client::connect(&socket, Some(LIMIT)).ok()?;
            let replies = client.stream::<Reply>(edit).ok()?;
            let taken = replies.filter_map(Result::ok).last()?;
            matches!(taken, Reply::PolicyChanged(_)).then_some(())
        };
        let edit = move || {
            let mut edits = edits.iter().cycle();
            let mut taken = 0;
            while !its_end.load(Ordering::Relaxed) {
                taken += edits.next().map_or(0, |edit| is_taken(edit).iter().count());
            }
            taken
        };
        Self {
            ends,
            thread: thread::spawn(edit),
        }
    }

    /// How many edits were taken.
    fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Kills the daemon a moment later.
fn kill_after(node: &Node, moment: Duration) -> JoinHandle<()> {
    let pid = node.pid();
    thread::spawn(move || {
        // Not a wait for anything: it shall happen in the middle of a call.
        thread::sleep(moment);
        kill_process(pid, Signal::KILL).unwrap();
    })
}

#[test]
fn soak_nothing_forbidden_is_delivered_from_the_first_instruction_on() {
    let is_soak = env::var_os("BULKHEAD_SOAK").is_some();
    let turns = if is_soak { 3_000 } else { 24 };
    let mut node = Node::start(QUICK);
    apply(&node, FENCE);
    let server = Pod::add(&node, "server", "server", "bulkhead-ipv6");
    let receiver = server.listens();
    let capture = Capture::start(&server.container, "eth0").unwrap();
    let is_flood = |frame: &Captured| frame.bytes.windows(FLOOD.len()).any(|bytes| bytes == FLOOD);
    let targets: Vec<SocketAddr> = [0, 1].map(|nth| server.at(nth)).into();
    let container = node.container("hostile");
    let editor = Editor::start(&node);
    let (mut sent, mut added, mut killed) = (0, 0, 0);
    for turn in 0..turns {
        let flood = Flood::start(&container, targets.clone());
        let hostile = Pod {
            config: network(&node, "hostile", "bulkhead-ipv6"),
            container: container.clone(),
            addresses: Vec::new(),
        };
        let moment = Duration::from_millis(turn * 7 % 16);
        let hand = (turn % 8 == 5).then(|| kill_after(&node, moment));
        let said = node.call_of("ADD", &hostile.container, &hostile.config);
        if let Some(hand) = hand {
            hand.join().unwrap();
            added += usize::from(said.is_ok_and(|said| said.0.exit == 0));
            killed += 1;
            node.kill();
            node.start_daemon();
        } else {
            said.unwrap().result();
            flood.goes_on(60);
            added += 1;
        }
        hostile.del(&node);
        sent += flood.end();
        assert_eq!(flooded(&receiver), 0, "turn {turn}");
        let seen = capture.none_within("a flood", Duration::ZERO, is_flood);
        seen.unwrap_or_else(|error| panic!("turn {turn}: {error}"));
    }
    let edits = editor.end();
    assert!(sent > 1_000, "{sent} packets left the container");
    assert!(edits > 0, "edits were in flight");
    println!("{added} ADDs, {killed} kills, {edits} edits: {sent} packets sent, none delivered");
}
