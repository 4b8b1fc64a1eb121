//! Group commit: on a disk that waits, and that refuses.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::warm::{network, warm, wide};
use super::*;
use crate::error::{AcquireError, StoreError};
use crate::journal::{Disk, Step};
use crate::store::warm::Network;

/// A disk that stops before each step until it is told to go on, and does what it is told.
struct Gate {
    reached: Receiver<Step>,
    go: Sender<io::Result<()>>,
}

fn gate() -> (Disk, Gate) {
    let ((tell, reached), (go, told)) = (channel(), channel());
    let (tell, told) = (Mutex::new(tell), Mutex::new(told));
    let disk = Disk::new(move |step| {
        // A test that ended no longer asks.
        if tell.lock().unwrap().send(step).is_err() {
            return Ok(());
        }
        told.lock().unwrap().recv().unwrap_or(Ok(()))
    });
    (disk, Gate { reached, go })
}

impl Gate {
    /// Waits for the step and leaves it waiting.
    fn wait_for(&self, step: Step) {
        assert_eq!(self.reached.recv().unwrap(), step);
    }

    fn pass(&self, step: Step) {
        self.wait_for(step);
        self.go.send(Ok(())).unwrap();
    }

    fn refuse(&self) {
        let eio = rustix::io::Errno::IO.raw_os_error();
        self.go
            .send(Err(io::Error::from_raw_os_error(eio)))
            .unwrap();
    }
}

/// Waits until `count` records gather for the next batch.
fn gathered(network: &Network, count: usize) {
    while network.waiting() < count {
        thread::yield_now();
    }
}

#[test]
fn threads_share_a_batch_and_nobody_waits_for_the_lock_meanwhile() {
    let dir = TempDir::new("batch");
    let state = warm(dir.path(), 0);
    let store = blue(&state);
    acquire(&mut store.lock().unwrap(), "first", &wide());
    let network = network(&store);
    let (disk, gate) = gate();
    network.set_disk(disk);
    let told = Mutex::new(Vec::new());
    let add = |name: String| {
        let addresses = acquire(&mut store.lock().unwrap(), &name, &wide());
        told.lock().unwrap().push(addresses);
    };
    thread::scope(|scope| {
        scope.spawn(|| add("lead".to_owned()));
        gate.wait_for(Step::Write);
        // While the first writes, others take their turns; what is read is what is durable.
        for nth in 0..7 {
            let add = &add;
            scope.spawn(move || add(format!("c{nth}")));
        }
        gathered(&network, 7);
        assert_eq!(store.lock().unwrap().live_count(), 9);
        assert_eq!(store.read().unwrap().unwrap().live_count(), 1);
        assert!(told.lock().unwrap().is_empty());
        gate.go.send(Ok(())).unwrap();
        gate.pass(Step::Sync);
        gate.wait_for(Step::Write);
        // All seven in one batch, and none before it is synced.
        assert_eq!(network.waiting(), 0);
        assert_eq!(store.read().unwrap().unwrap().live_count(), 2);
        gate.go.send(Ok(())).unwrap();
        gate.wait_for(Step::Sync);
        assert_eq!(store.read().unwrap().unwrap().live_count(), 2);
        gate.go.send(Ok(())).unwrap();
    });
    assert_eq!(store.read().unwrap().unwrap().live_count(), 9);
    let told: BTreeSet<_> = told.into_inner().unwrap().into_iter().flatten().collect();
    assert_eq!(told.len(), 8 * 2);
    drop((store, network, state));
    let files = blue(&super::state(dir.path(), "a", 0)).lock().unwrap();
    assert_eq!(files.live_count(), 9);
}

#[test]
fn a_refused_batch_is_told_to_all_who_built_on_it_and_is_forgotten() {
    for refused in [Step::Write, Step::Sync] {
        let dir = TempDir::new("refused-batch");
        let state = warm(dir.path(), 0);
        let store = blue(&state);
        let first = acquire(&mut store.lock().unwrap(), "first", &small());
        let before = said(&store.read().unwrap().unwrap());
        let network = network(&store);
        let (disk, gate) = gate();
        network.set_disk(disk);
        thread::scope(|scope| {
            let add = |name: &'static str| {
                let store = &store;
                scope.spawn(move || store.lock().unwrap().acquire(draft(name), &small()))
            };
            let lead = add("lead");
            gate.wait_for(Step::Write);
            let built = [add("c1"), add("c2")];
            gathered(&network, 2);
            // One has the lock when it happens, and has looked.
            let mut holder = store.lock().unwrap();
            assert_eq!(holder.live_count(), 4);
            if refused == Step::Sync {
                gate.go.send(Ok(())).unwrap();
                gate.wait_for(Step::Sync);
            }
            gate.refuse();
            gate.pass(Step::Cut);
            let [c1, c2] = built.map(|one| one.join().unwrap());
            // As far as it can tell, the lease is there already.
            let late = holder.acquire(draft("lead"), &small());
            for told in [lead.join().unwrap(), c1, c2, late] {
                let Err(AcquireError::Store(StoreError::File(told))) = told else {
                    panic!("{told:?}");
                };
                assert!(told.path.ends_with("networks/blue/journal"), "{told}");
                assert_eq!(told.source.raw_os_error(), Some(5));
            }
            assert_eq!(said(&holder), before);
        });
        assert_eq!(said(&store.read().unwrap().unwrap()), before);
        network.set_disk(Disk::default());
        assert_eq!(
            acquire(&mut store.lock().unwrap(), "first", &small()),
            first
        );
        acquire(&mut store.lock().unwrap(), "later", &small());
        let after = said(&store.read().unwrap().unwrap());
        drop((store, network, state));
        assert_eq!(said(&super::store(dir.path(), 0, 128)), after);
    }
}

#[test]
fn a_checkpoint_is_made_while_others_acquire() {
    let dir = TempDir::new("beside-checkpoint");
    let state = warm(dir.path(), 0);
    let limits = Limits {
        tail_records: 4,
        journal_bytes: 1000,
        freed: 16,
    };
    let store = blue(&state).with_limits(limits);
    let network = network(&store);
    let (disk, begun) = checkpoint_gate();
    network.set_disk(disk);
    let add = |nth: u32| acquire(&mut store.lock().unwrap(), &format!("c{nth}"), &wide());
    // The pool's record is the first.
    for nth in 0..3 {
        add(nth);
    }
    let go = begun.recv().unwrap();
    // It is not written until it is told to, and twenty go by.
    for nth in 3..23 {
        add(nth);
    }
    let files = dir.path().join("networks/blue");
    assert!(!files.join("checkpoint").exists());
    go.send(()).unwrap();
    network.rest();
    assert!(files.join("checkpoint").exists());
    let journal = fs::read_to_string(files.join("journal")).unwrap();
    assert!(journal.starts_with("bulkhead-journal 00000001 0000000000000002 "));
    // The next one has what came meanwhile.
    assert_eq!(journal.lines().count(), 1 + 20);
    let expected = said(&store.read().unwrap().unwrap());
    drop((store, network, state));
    assert_eq!(said(&super::store(dir.path(), 0, 128)), expected);
}

/// A disk that waits before the first checkpoint, and who tells it to go on.
fn checkpoint_gate() -> (Disk, Receiver<Sender<()>>) {
    let (tell, begun) = channel();
    let tell = Mutex::new(Some(tell));
    let disk = Disk::new(move |step| {
        let first = (step == Step::Checkpoint).then(|| tell.lock().unwrap().take());
        if let Some(tell) = first.flatten() {
            let (go, told) = channel();
            tell.send(go).unwrap();
            told.recv().unwrap();
        }
        Ok(())
    });
    (disk, begun)
}
