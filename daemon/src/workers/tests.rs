//! Workers that meet bugs.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::thread;

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::config::Config;
use crate::{log, owner};

/// A node of a test's own.
struct Bed {
    dir: PathBuf,
    node: Arc<Node>,
    _sockets: Runtime,
}

impl Bed {
    fn new(threads: usize) -> Self {
        let dir = std::env::temp_dir().join(format!("bulkheadd-unit-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("bulkheadd.toml");
        let text = format!(
            "state_dir = \"{0}/state\"\nsocket = \"{0}/socket\"\nworkers.threads = {threads}\n",
            dir.display()
        );
        fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let threshold = log::start(config.log).unwrap();
        let sockets = Builder::new_current_thread().build().unwrap();
        let handle = sockets.handle().clone();
        let node = owner::take(config, &file, threshold, handle).unwrap();
        Self {
            dir,
            node: Arc::new(node),
            _sockets: sockets,
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_worker_that_met_a_bug_is_replaced_and_the_bug_is_told() {
    let bed = Bed::new(1);
    let workers = Workers::start(&bed.node).unwrap();
    let first = workers.run(|_| thread::current().id()).unwrap();
    assert_eq!(workers.run(|_| -> () { panic!("a bug") }), None);
    let next = workers.run(|_| thread::current().id()).unwrap();
    assert_ne!(first, next);
    assert_eq!(bed.node.metrics.panics.get(), 1);
    let failings = bed.node.failings.all();
    assert!(
        failings[0].text.starts_with("a chore met a bug"),
        "{}",
        failings[0].text
    );
    assert!(workers.answer(Duration::from_secs(20)));
    assert_eq!(workers.stop(Instant::now() + Duration::from_secs(20)), 0);
    assert_eq!(workers.run(|_| ()), None);
}

#[test]
fn workers_that_get_nothing_done_do_not_live() {
    let bed = Bed::new(2);
    let workers = Workers::start(&bed.node).unwrap();
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let held = Arc::new(held);
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let held = Arc::clone(&held);
            workers
                .begin(move |_| held.lock().unwrap().recv().ok())
                .unwrap()
        })
        .collect();
    assert!(!workers.answer(Duration::from_millis(50)));
    drop(release);
    for one in stuck {
        one.recv().unwrap();
    }
    assert!(workers.answer(Duration::from_secs(20)));
}

#[test]
fn the_worker_that_worked_last_is_the_one_that_is_woken() {
    const WORKERS: usize = 8;
    let bed = Bed::new(WORKERS);
    let workers = Workers::start(&bed.node).unwrap();
    let run = || {
        let by = workers.run(|_| thread::current().id()).unwrap();
        // Whoever has answered takes its seat a moment later.
        while workers.shared.queue.idle() < WORKERS {
            thread::yield_now();
        }
        by
    };
    run();
    let first = run();
    for _ in 0..100 {
        assert_eq!(run(), first);
    }
}
