//! Many processes at one store, as a runtime starts plugins: each call is a process of its own.
//! This test runs itself again as the callers; `BULKHEAD_CALLER` says which one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use bulkhead_ipam::{
    Access, Acquired, Draft, Labels, Names, NetworkStore, PoolConfig, Released, StateDir,
};
use bulkhead_model::{AttachmentKey, NetworkName};
use serde_json::json;

const CALLERS: usize = 8;
const ROUNDS: usize = 12;

fn network() -> NetworkName {
    "blue".parse().unwrap()
}

fn config() -> PoolConfig {
    let ipam = json!({
        "ranges": [[{"subnet": "10.1.0.0/27"}], [{"subnet": "fd00::/64"}]], "cooldownSecs": 0
    });
    PoolConfig::from_cni(&network(), &ipam, None, &[]).unwrap()
}

fn draft(container: &str) -> Draft {
    Draft {
        key: AttachmentKey {
            network: network(),
            container: container.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        },
        kind: "ipam".to_owned(),
        netns: None,
        names: Names::default(),
        config_digest: String::new(),
        pod: None,
        labels: Labels::new(),
        ports: Vec::new(),
        pool: None,
    }
}

/// Opens everything anew, as a process does.
fn acquire(dir: &Path, container: &str) -> Acquired {
    let state = StateDir::open(dir, Access::Add).unwrap();
    let mut store = state.network(&network()).lock().unwrap();
    store.acquire(draft(container), &config()).unwrap()
}

fn release(dir: &Path, container: &str, sequence: u64) {
    let state = StateDir::open(dir, Access::Shared).unwrap();
    let mut store = state.network(&network()).lock_existing().unwrap().unwrap();
    let released = store
        .release(&draft(container).key.id(), sequence, "del")
        .unwrap();
    assert!(matches!(released, Released::Freed(_)));
}

/// One caller: takes and gives back, and keeps the last. Before each change of what it holds it
/// makes, or after it removes, a file named by the address, which nobody else may have made.
fn call(dir: &Path, caller: &str) {
    let claims = dir.join("claims");
    for round in 0..ROUNDS {
        let container = format!("c{caller}-{round}");
        let acquired = acquire(dir, &container);
        let record = acquired.record();
        let files: Vec<PathBuf> = record
            .addresses
            .iter()
            .map(|held| claims.join(held.address.address().to_string()))
            .collect();
        for file in &files {
            fs::File::create_new(file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        if round + 1 < ROUNDS {
            for file in &files {
                fs::remove_file(file).unwrap();
            }
            release(dir, &container, record.sequence);
        }
    }
}

fn callers(dir: &Path, test: &str, count: usize) -> Vec<Child> {
    let start = |caller: usize| {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", test])
            .env("BULKHEAD_CALLER", caller.to_string())
            .env("BULKHEAD_CALLER_DIR", dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    (0..count).map(start).collect()
}

fn fresh(claim: &str) -> PathBuf {
    let dir = env::temp_dir().join(format!("bulkhead-ipam-{claim}-{}", process::id()));
    fs::create_dir_all(dir.join("claims")).unwrap();
    dir
}

/// Every address once, every lease where the store says.
fn check(dir: &Path) -> usize {
    let state = StateDir::open(dir, Access::Shared).unwrap();
    let store = state.network(&network()).lock().unwrap();
    let mut holders = BTreeMap::new();
    let all = store.attachments().unwrap();
    for record in &all {
        for held in &record.addresses {
            let address = held.address.address();
            let other = holders.insert(address, record.key.clone());
            assert!(
                other.is_none(),
                "{address} is held by {other:?} and {}",
                record.key
            );
            assert_eq!(store.holder(address).unwrap().unwrap().key, record.key);
        }
    }
    assert_eq!(store.live_count(), u64::try_from(all.len()).unwrap());
    assert_eq!(store.usage().unwrap()[0].held, store.live_count());
    all.len()
}

#[test]
fn many_processes_never_share_an_address_and_leave_none_behind() {
    if let Ok(caller) = env::var("BULKHEAD_CALLER") {
        return call(
            Path::new(&env::var("BULKHEAD_CALLER_DIR").unwrap()),
            &caller,
        );
    }
    let dir = fresh("processes");
    let test = "many_processes_never_share_an_address_and_leave_none_behind";
    for child in callers(&dir, test, CALLERS) {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    assert_eq!(check(&dir), CALLERS);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn processes_killed_at_any_moment_lose_and_invent_nothing() {
    if let Ok(caller) = env::var("BULKHEAD_CALLER") {
        let dir = PathBuf::from(env::var("BULKHEAD_CALLER_DIR").unwrap());
        let open = || {
            StateDir::open(&dir, Access::Add)
                .unwrap()
                .network(&network())
        };
        return call_and_tell(&dir, &caller, &open);
    }
    let dir = fresh("killed");
    let test = "processes_killed_at_any_moment_lose_and_invent_nothing";
    kill(&dir, test, CALLERS);
}

#[test]
fn a_process_of_many_threads_killed_at_any_moment_loses_and_invents_nothing() {
    if env::var("BULKHEAD_CALLER").is_ok() {
        let dir = PathBuf::from(env::var("BULKHEAD_CALLER_DIR").unwrap());
        let state = StateDir::open(&dir, Access::Exclusive).unwrap();
        let store = state.network(&network());
        return thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (dir, store) = (&dir, &store);
                scope.spawn(move || call_and_tell(dir, &caller.to_string(), &|| store.clone()));
            }
        });
    }
    let dir = fresh("killed-threads");
    let test = "a_process_of_many_threads_killed_at_any_moment_loses_and_invents_nothing";
    kill(&dir, test, 1);
}

/// Kills the callers again and again, and looks each time at what they left.
fn kill(dir: &Path, test: &str, count: usize) {
    for round in 1..=6 {
        let mut children = callers(dir, test, count);
        let begun = Instant::now();
        // Some of them have said something by now, and none is done: they go on until they are killed.
        while fs::read_dir(dir.join("claims")).unwrap().count() < round {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "the callers say nothing"
            );
            thread::yield_now();
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        check(dir);
        told(dir);
        for claim in fs::read_dir(dir.join("claims")).unwrap() {
            fs::remove_file(claim.unwrap().path()).unwrap();
        }
    }
    fs::remove_dir_all(dir).unwrap();
}

/// Acquires and releases without end; what it was told is written down after it was told, what it
/// gives back is struck out before it is given back.
fn call_and_tell(dir: &Path, caller: &str, open: &dyn Fn() -> NetworkStore) {
    let me = process::id();
    for nth in 0.. {
        let container = format!("k{caller}-{me}-{}", nth % 3);
        let file = dir.join("claims").join(&container);
        let acquired = open().lock().unwrap().acquire(draft(&container), &config());
        let sequence = acquired.unwrap().record().sequence;
        fs::write(&file, sequence.to_string()).unwrap();
        if nth % 3 != 0 {
            fs::remove_file(&file).unwrap();
            let mut store = open().lock_existing().unwrap().unwrap();
            let released = store.release(&draft(&container).key.id(), sequence, "del");
            assert!(matches!(released.unwrap(), Released::Freed(_)));
        }
    }
}

/// Every lease that somebody was told of is there; then all of them are given back.
fn told(dir: &Path) {
    let state = StateDir::open(dir, Access::Shared).unwrap();
    let mut store = state.network(&network()).lock().unwrap();
    for file in fs::read_dir(dir.join("claims")).unwrap() {
        let file = file.unwrap();
        let sequence = fs::read_to_string(file.path()).unwrap();
        let id = draft(file.file_name().to_str().unwrap()).key.id();
        let found = store.find(&id).unwrap();
        // A process killed between creating the file and writing to it told nothing.
        if !sequence.is_empty() {
            assert_eq!(found.unwrap().sequence.to_string(), sequence);
        }
    }
    for record in store.attachments().unwrap() {
        store.release(&record.id(), record.sequence, "gc").unwrap();
    }
    assert_eq!(store.live_count(), 0);
}
