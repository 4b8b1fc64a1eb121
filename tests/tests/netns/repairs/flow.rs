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
/// How often one is sent beyond that, so that a flow whose packets were lost goes on.
const PROBE: Duration = Duration::from_millis(50);
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Packets to an echo server, each numbered, until it is ended.
pub(super) struct Flow {
    pub(super) name: &'static str,
    shared: Arc<Shared>,
    thread: JoinHandle<u64>,
}

#[derive(Default)]
struct Shared {
    answered: AtomicU64,
    /// Nothing more is sent.
    ending: AtomicBool,
    /// Nothing more is waited for.
    abandoned: AtomicBool,
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
        let shared = Arc::<Shared>::default();
        let its = Arc::clone(&shared);
        Self {
            name,
            shared,
            thread: thread::spawn(move || run(&socket, &its)),
        }
    }

    /// How many packets were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Ends it; how many packets were never answered.
    pub(super) fn end(self) -> u64 {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }

    /// Ends it without waiting for what may have been lost.
    pub(super) fn abandon(self) {
        self.shared.abandoned.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn run(socket: &UdpSocket, shared: &Shared) -> u64 {
    let mut waiting: BTreeMap<u64, Instant> = BTreeMap::new();
    let (mut next, mut lost) = (0_u64, 0);
    let mut buffer = [0; 64];
    loop {
        let ends = shared.ending.load(Ordering::Relaxed);
        if ends && waiting.is_empty() || shared.abandoned.load(Ordering::Relaxed) {
            return lost;
        }
        let is_due = || {
            waiting
                .last_key_value()
                .is_none_or(|(_, at)| at.elapsed() >= PROBE)
        };
        if !ends && (waiting.len() < WINDOW || is_due()) {
            // What is refused on the spot is lost like what is dropped on the way.
            let _ = socket.send(&next.to_be_bytes());
            waiting.insert(next, Instant::now());
            next += 1;
        }
        let until = Instant::now() + PACE;
        // All that is there: a machine that stood still has kept some.
        loop {
            let Ok(length) = socket.recv(&mut buffer) else {
                if Instant::now() < until {
                    continue;
                }
                break;
            };
            // The server says first whom it saw.
            let number = buffer[..length].last_chunk().expect("what was sent");
            if waiting.remove(&u64::from_be_bytes(*number)).is_some() {
                shared.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        let before = waiting.len();
        waiting.retain(|_, sent| sent.elapsed() < PATIENCE);
        lost += u64::try_from(before - waiting.len()).expect("a few");
    }
}
