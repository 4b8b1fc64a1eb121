//! The store in the memory of one process: the same as the files say, shared by threads, durable before
//! anybody is told.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::model::Chance;
use super::*;
use crate::error::{AcquireError, StoreError};
use crate::journal::{Disk, Step};
use crate::store::dir::Reach;
use crate::store::warm::{Missing, Network};

/// Several /24s of each family.
fn wide() -> PoolConfig {
    config(&json!({"ranges": [[{"subnet": "10.4.0.0/16"}], [{"subnet": "fd00::/64"}]]}))
}

fn warm(dir: &Path, since_boot_ms: u64) -> StateDir {
    let now = Now {
        since_boot_ms,
        unix_ms: 1_000_000 + since_boot_ms,
    };
    StateDir::open_in(dir, Access::Exclusive, Boot::fixed("a", now)).unwrap()
}

/// The network behind a warm store, which is opened.
fn network(store: &NetworkStore) -> Arc<Network> {
    let Reach::Memory(warm) = &store.reach else {
        panic!("{store:?}");
    };
    warm.network(store, Missing::Make).unwrap().unwrap()
}

/// A disk that stops before each step until it is told to go on, and does what it is told.
struct Gate {
    reached: Receiver<Step>,
    go: Sender<io::Result<()>>,
}

fn gate() -> (Disk, Gate) {
    let ((tell, reached), (go, told)) = (channel(), channel());
    let (tell, told) = (Mutex::new(tell), Mutex::new(told));
    let disk = Disk(Some(Arc::new(move |step| {
        // A test that ended no longer asks.
        if tell.lock().unwrap().send(step).is_err() {
            return Ok(());
        }
        told.lock().unwrap().recv().unwrap_or(Ok(()))
    })));
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
fn it_says_the_same_as_files_do_after_every_call_and_every_opening() {
    for seed in 1..=4 {
        let (files, memory) = (TempDir::new("same-files"), TempDir::new("same-memory"));
        let mut chance = Chance::seeded(seed);
        let config = small();
        let mut open = warm(memory.path(), 0);
        for step in 0..200 {
            let name = format!("c{}", chance.below(9));
            let kind = chance.below(6);
            if kind == 0 {
                drop(open);
                open = warm(memory.path(), step);
            }
            let limits = Limits {
                tail_records: 5,
                journal_bytes: 2000,
                freed: 16,
            };
            let network = blue(&open).with_limits(limits);
            let mut stores = [store(files.path(), step, 7), network.lock().unwrap()];
            let told = stores.each_mut().map(|store| match kind {
                0..3 => format!("{:?}", release(store, &name)),
                _ => format!("{:?}", store.acquire(draft(&name), &config)),
            });
            // The clock stands still in a directory that stays open.
            let timeless = |text: &String| {
                let words = text.split(", ").filter(|word| !word.contains("unix_ms"));
                words.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(timeless(&told[0]), timeless(&told[1]), "{seed} {step}");
            let said = stores.each_ref().map(|store| timeless(&said(store)));
            assert_eq!(said[0], said[1], "{seed} {step}");
            let read = network.read().unwrap().unwrap();
            assert_eq!(timeless(&super::said(&read)), said[1], "{seed} {step}");
        }
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
fn whoever_starts_is_told_everything_of_every_network() {
    let dir = TempDir::new("everything");
    let red = |state: &StateDir| state.network(&"red".parse().unwrap());
    {
        let state = state(dir.path(), "earlier", 0);
        let mut store = blue(&state).lock().unwrap();
        acquire(&mut store, "rebooted", &small());
        release(&mut store, "rebooted");
    }
    {
        let state = state(dir.path(), "a", 100);
        let mut store = red(&state).lock().unwrap();
        store
            .record(draft("theirs"), Vec::new(), crate::Ipam::None)
            .unwrap();
    }
    for (step, tail_records) in [(0, 2), (1, 128)] {
        let limits = Limits {
            tail_records,
            ..Limits::FILES
        };
        let state = state(dir.path(), "a", 100);
        let mut store = blue(&state).with_limits(limits).lock().unwrap();
        for name in ["stays", "goes"] {
            acquire(&mut store, &format!("{name}{step}"), &small());
        }
        release(&mut store, &format!("goes{step}"));
    }
    fs::create_dir_all(dir.path().join("networks/torn")).unwrap();
    fs::write(dir.path().join("networks/torn/journal"), "nonsense").unwrap();
    fs::write(dir.path().join("networks/torn/lock"), "").unwrap();
    let told = |state: &StateDir| {
        let told = state.everything().unwrap().map(|one| match one {
            Ok(Recorded::Attachment(record)) => record.key.to_string(),
            Ok(Recorded::Freed(freed)) => {
                format!(
                    "{} {} {:?}",
                    freed.network, freed.address, freed.freed_ms_ago
                )
            }
            Err(error) => error
                .to_string()
                .split(';')
                .next()
                .unwrap()
                .replace(dir.path().to_str().unwrap(), ""),
        });
        let mut told: Vec<_> = told.collect();
        told.sort();
        told
    };
    let expected = [
        "/networks/torn/journal is damaged at byte 0: the first line is not a journal's",
        "blue 10.1.0.10 None",
        "blue 10.1.0.12 Some(400)",
        "blue 10.1.0.14 Some(400)",
        "blue fd00::10 None",
        "blue fd00::12 Some(400)",
        "blue fd00::14 Some(400)",
        "blue stays0 eth0",
        "blue stays1 eth0",
        "blue theirs eth0",
    ];
    assert_eq!(told(&state(dir.path(), "a", 500)), expected);
    assert_eq!(told(&warm(dir.path(), 500)), expected);
}

/// Takes and gives back at random, and keeps in `mine` what it has.
fn churn(store: &NetworkStore, worker: u64, told: &Mutex<BTreeMap<String, u64>>) {
    let mut chance = Chance::seeded(worker + 1);
    for _ in 0..150 {
        let name = format!("w{worker}-{}", chance.below(12));
        let mut store = store.lock().unwrap();
        let known = told.lock().unwrap().get(&name).copied();
        let id = draft(&name).key.id();
        match known {
            Some(sequence) if chance.below(2) == 0 => {
                told.lock().unwrap().remove(&name);
                let released = store.release(&id, sequence, "del").unwrap();
                assert!(
                    matches!(released, Released::Freed(_)),
                    "{name} {released:?}"
                );
            }
            known => {
                let acquired = store.acquire(draft(&name), &wide()).unwrap();
                let sequence = acquired.record().sequence;
                assert_eq!(known.unwrap_or(sequence), sequence, "{name}");
                told.lock().unwrap().insert(name, sequence);
            }
        }
    }
}

/// What was told before the look is there, whoever looks.
fn look(read: &dyn Fn() -> Option<Snapshot>, told: &Mutex<BTreeMap<String, u64>>) {
    let (before, snapshot) = (told.lock().unwrap().clone(), read());
    let after = told.lock().unwrap().clone();
    let Some(snapshot) = snapshot else {
        return assert!(before.is_empty());
    };
    let mut held = BTreeSet::new();
    for record in snapshot.attachments().unwrap() {
        for address in &record.addresses {
            assert!(held.insert(address.address), "{address:?} is held twice");
        }
    }
    for (name, sequence) in before {
        // Unless it was given back meanwhile.
        if after.get(&name) == Some(&sequence) {
            let record = snapshot.find(&draft(&name).key.id()).unwrap();
            assert_eq!(
                record.map(|record| record.sequence),
                Some(sequence),
                "{name}"
            );
        }
    }
}

#[test]
fn threads_checkpoints_and_readers_of_the_files_go_on_beside_each_other() {
    let dir = TempDir::new("churn");
    let state = warm(dir.path(), 0);
    let limits = Limits {
        tail_records: 20,
        journal_bytes: 8000,
        freed: 64,
    };
    let store = blue(&state).with_limits(limits);
    let beside = StateDir::open_in(dir.path(), Access::Look, state.boot().clone()).unwrap();
    let told = Mutex::default();
    thread::scope(|scope| {
        let workers = [0, 1, 2, 3, 4, 5].map(|worker| {
            let (store, told) = (&store, &told);
            scope.spawn(move || churn(store, worker, told))
        });
        while workers.iter().any(|worker| !worker.is_finished()) {
            look(&|| store.read().unwrap(), &told);
            look(&|| blue(&beside).read().unwrap(), &told);
        }
    });
    network(&store).rest();
    let told = told.into_inner().unwrap();
    let said = said(&store.read().unwrap().unwrap());
    let segments = fs::read_dir(dir.path().join("networks/blue/audit")).unwrap();
    assert!(segments.count() > 3);
    assert_eq!(super::said(&blue(&beside).read().unwrap().unwrap()), said);
    drop((store, state));
    let files = super::store(dir.path(), 0, 128);
    assert_eq!(super::said(&files), said);
    assert_eq!(files.live_count(), u64::try_from(told.len()).unwrap());
}
