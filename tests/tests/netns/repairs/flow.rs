//! A flow of small packets that knows which of them were answered.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netns_fixtures::Ns;

/// How often a packet is sent.
const PACE: Duration = Duration::from_millis(1);
/// How many may be on their way: a machine without time for the test overflows no buffer.
const WINDOW: usize = 32;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// Packets to an echo server, each numbered, until it is ended.
pub(super) struct Flow {
    pub(super) name: &'static str,
    answered: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Flow {
    /// Sends from `ns` to an echo server.
    pub(super) fn start(name: &'static str, ns: &Ns, to: SocketAddr) -> Self {
        let any: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
            .parse()
            .unwrap();
        let socket = ns.enter(|| UdpSocket::bind(any).unwrap()).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PACE)).unwrap();
        let (answered, ending) = (Arc::default(), Arc::default());
        let (count, end) = (Arc::clone(&answered), Arc::clone(&ending));
        Self {
            name,
            answered,
            ending,
            thread: thread::spawn(move || run(&socket, &count, &end)),
        }
    }

    /// How many packets were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it; how many packets were never answered.
    pub(super) fn end(self) -> u64 {
        self.ending.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn run(socket: &UdpSocket, answered: &AtomicU64, ending: &AtomicBool) -> u64 {
    let mut waiting: BTreeMap<u64, Instant> = BTreeMap::new();
    let (mut next, mut lost) = (0_u64, 0);
    let mut buffer = [0; 64];
    loop {
        let ends = ending.load(Ordering::Relaxed);
        if ends && waiting.is_empty() {
            return lost;
        }
        if !ends && waiting.len() < WINDOW {
            // What is refused on the spot is lost like what is dropped on the way.
            let _ = socket.send(&next.to_be_bytes());
            waiting.insert(next, Instant::now());
            next += 1;
        }
        let until = Instant::now() + PACE;
        while Instant::now() < until {
            let Ok(length) = socket.recv(&mut buffer) else {
                continue;
            };
            // The server says first whom it saw.
            let number = buffer[..length].last_chunk().expect("what was sent");
            if waiting.remove(&u64::from_be_bytes(*number)).is_some() {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        let before = waiting.len();
        waiting.retain(|_, sent| sent.elapsed() < PATIENCE);
        lost += u64::try_from(before - waiting.len()).expect("a few");
    }
}
