//! Deleting links in a process that stays. The request blocks for the kernel's grace period, so that
//! threads wait there while calls go on: as many as are waiting, since each request waits anew, and past
//! [`MOST_THREADS`] many links by one request.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_model::{IfName, LinkGroup};

use crate::deletion::{delete_group, delete_now};
use crate::error::NetlinkError;
use crate::links::{RawLink, group_of};
use crate::request::{Links, get_links};
use crate::socket::{Socket, Subsystem};

/// At 20 ms each, 3,200 deletions a second go without waiting for another.
const MOST_THREADS: usize = 64;
/// What nobody waits for is collected for this long, or until there are so many.
const GATHERING: Duration = Duration::from_millis(30);
const GATHERED: usize = 64;
/// A thread with nothing to do ends.
const IDLE: Duration = Duration::from_secs(5);
/// What a thread needs is an answer's buffer, which is on the heap.
const STACK: usize = 64 << 10;

/// Threads that delete links. They run in the namespace of the threads that ask, which is the host's,
/// and end with the last handle, after their work.
#[derive(Clone)]
pub struct Reaper {
    shared: Arc<Shared>,
    _life: Arc<Life>,
}

/// The handles' end.
struct Life(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Indexes of links that somebody waits for.
    awaited: Vec<u32>,
    /// Of links in the doomed group that nobody waits for, and since when the first is there.
    doomed: Vec<u32>,
    since: Option<Instant>,
    /// Whether something may be left in the doomed group.
    leftovers: bool,
    threads: usize,
    idle: usize,
    ended: bool,
}

/// Whether somebody waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Haste {
    Awaited,
    Whenever,
}

impl Reaper {
    /// One without threads, which come with the work.
    #[must_use]
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        Self {
            _life: Arc::new(Life(Arc::clone(&shared))),
            shared,
        }
    }

    /// Deletes what is left in the doomed group of the calling thread's namespace, as far as it is a
    /// port or an ifb device by name and MAC; the names. For the start of a daemon: an earlier one may
    /// have ended in between.
    ///
    /// # Errors
    /// [`NetlinkError`] if the links cannot be listed or one cannot be deleted.
    pub fn sweep(&self) -> Result<Vec<IfName>, NetlinkError> {
        let mut socket = Socket::open(Subsystem::Route)?;
        let all = socket.list(&get_links(&Links::All))?;
        let bodies = all.iter().map(|message| &message.body);
        let doomed = bodies.filter(|body| group_of(body) == LinkGroup::DOOMED);
        let doomed: Vec<_> = doomed.map(|body| RawLink::decode(body)).collect();
        let ours = |link: &Option<RawLink>| link.clone().filter(is_ours);
        let links: Vec<RawLink> = doomed.iter().filter_map(ours).collect();
        // By the group only where nobody else's is in it.
        let at_once = if links.len() == doomed.len() {
            links.len()
        } else {
            1
        };
        let indexes: Vec<u32> = links.iter().map(|link| link.index).collect();
        for some in indexes.chunks(at_once.max(1)) {
            delete_now(&mut socket, some).map_err(|(_, error)| error)?;
        }
        Ok(links.iter().map(|link| link.name).collect())
    }

    /// Links that wait to be deleted.
    #[must_use]
    pub fn backlog(&self) -> usize {
        let queue = self.shared.lock();
        queue.awaited.len() + queue.doomed.len()
    }

    /// Leaves links to the reaper; false if it has no thread for them and cannot get one.
    pub(crate) fn take(&self, indexes: &[u32], haste: Haste) -> bool {
        let mut queue = self.shared.lock();
        if queue.idle == 0 && queue.threads < MOST_THREADS {
            if self.spawn() {
                queue.threads += 1;
            } else if queue.threads == 0 {
                return false;
            }
        }
        match haste {
            Haste::Awaited => queue.awaited.extend_from_slice(indexes),
            Haste::Whenever => {
                queue.doomed.extend_from_slice(indexes);
                queue.since.get_or_insert_with(Instant::now);
            }
        }
        drop(queue);
        self.shared.more.notify_one();
        true
    }

    fn spawn(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("reaper".to_owned());
        let spawned = thread.stack_size(STACK).spawn(move || shared.run());
        spawned.is_ok()
    }
}

impl Default for Reaper {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.shared.lock();
        f.debug_struct("Reaper")
            .field("threads", &queue.threads)
            .field("waiting", &(queue.awaited.len() + queue.doomed.len()))
            .finish_non_exhaustive()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.more.notify_all();
    }
}

/// By the names and MACs of `AttachmentId`.
fn is_ours(link: &RawLink) -> bool {
    link.name.is_of_attachment() && link.mac.is_some_and(|mac| mac.octets()[0] == 0xfe)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut socket = Socket::open(Subsystem::Route);
        while let Some((indexes, whole_group)) = self.next() {
            let done = match &mut socket {
                Ok(socket) => reap(socket, &indexes, whole_group),
                Err(_) => false,
            };
            // Who waits asks for itself in the end. What nobody waits for goes with the next.
            if !done {
                self.lock().leftovers = true;
                socket = Socket::open(Subsystem::Route);
            }
        }
    }

    /// What to delete next, and whether with all of the doomed group; `None` for a thread to end.
    fn next(&self) -> Option<(Vec<u32>, bool)> {
        let mut queue = self.lock();
        let until = Instant::now() + IDLE;
        loop {
            let now = Instant::now();
            if queue.is_due(now) {
                let mut indexes = std::mem::take(&mut queue.awaited);
                let whole_group = !queue.doomed.is_empty() || queue.leftovers;
                indexes.append(&mut queue.doomed);
                (queue.since, queue.leftovers) = (None, false);
                return Some((indexes, whole_group));
            }
            if queue.ended || now >= until {
                queue.threads -= 1;
                return None;
            }
            let gathered = queue.since.map(|since| since + GATHERING);
            let wait = gathered.unwrap_or(until).saturating_duration_since(now);
            queue.idle += 1;
            let woken = self.more.wait_timeout(queue, wait);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
            queue.idle -= 1;
        }
    }
}

impl Queue {
    fn is_due(&self, now: Instant) -> bool {
        let gathered = self.since.is_some_and(|since| now >= since + GATHERING);
        !self.awaited.is_empty()
            || gathered
            || self.doomed.len() >= GATHERED
            || self.ended && !self.doomed.is_empty()
    }
}

/// Whether all of them are gone.
fn reap(socket: &mut Socket, indexes: &[u32], whole_group: bool) -> bool {
    if whole_group {
        let gone = |answers: &Vec<Result<(), _>>| answers.last().is_some_and(Result::is_ok);
        return delete_group(socket, indexes).is_ok_and(|answers| gone(&answers));
    }
    delete_now(socket, indexes).is_ok()
}
