//! A disk that is full, that cannot be written, and files that cannot be read. The disk is a small file
//! system in a mount namespace of its own: the tests run themselves again in there.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs, process, thread};

use bulkhead_ipam::{
    Access, AttachmentRecord, Draft, HostChange, Labels, Managed, Names, NetworkStore, PoolConfig,
    Snapshot, StateDir, Tombstone,
};
use bulkhead_model::{AttachmentKey, NetworkName};
use serde_json::json;

const THREADS: usize = 8;

fn network() -> NetworkName {
    "blue".parse().unwrap()
}

fn config() -> PoolConfig {
    let ipam = json!({
        "ranges": [[{"subnet": "10.1.0.0/16"}], [{"subnet": "fd00::/64"}]], "cooldownSecs": 0
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

fn acquire(store: &NetworkStore, container: &str) -> Result<AttachmentRecord, String> {
    let acquired = store
        .lock()
        .map_err(|error| chain(&error))?
        .acquire(draft(container), &config());
    acquired
        .map(|acquired| acquired.record().clone())
        .map_err(|error| chain(&error))
}

/// An error with its causes, as a person reads it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Runs `inside` on a file system of that many KiB.
fn on_a_disk_of(kib: usize, test: &str, inside: impl FnOnce(&Path)) {
    if let Ok(dir) = env::var("BULKHEAD_SMALL_DISK") {
        return inside(Path::new(&dir));
    }
    let dir = env::temp_dir().join(format!("bulkhead-ipam-{test}-{}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    let script = format!("mount -t tmpfs -o size={kib}k tmpfs \"$0\" && exec \"$@\"");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(&dir)
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("BULKHEAD_SMALL_DISK", &dir)
        .output()
        .unwrap();
    fs::remove_dir(&dir).unwrap();
    let said = [output.stdout, output.stderr].map(|out| String::from_utf8_lossy(&out).into_owned());
    assert!(output.status.success(), "{}", said.concat());
}

fn sequences(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let records = snapshot.attachments().unwrap().into_iter();
    records
        .map(|record| (record.key.container.to_string(), record.sequence))
        .collect()
}

/// Threads acquire until the disk is full; what each was told and was refused.
fn fill(store: &NetworkStore, round: usize) -> (BTreeMap<String, u64>, Vec<String>) {
    let told = Mutex::new((BTreeMap::new(), Vec::new()));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let told = &told;
            scope.spawn(move || {
                for nth in 0.. {
                    let container = format!("r{round}t{thread}n{nth}");
                    match acquire(store, &container) {
                        Ok(record) => told.lock().unwrap().0.insert(container, record.sequence),
                        Err(refused) => return told.lock().unwrap().1.push(refused),
                    };
                }
            });
        }
    });
    told.into_inner().unwrap()
}

#[test]
fn a_full_disk_refuses_and_what_was_told_stays() {
    on_a_disk_of(2048, "a_full_disk_refuses_and_what_was_told_stays", |dir| {
        let state = StateDir::open(&dir.join("state"), Access::Exclusive).unwrap();
        let store = state.network(&network());
        let mut leased = BTreeMap::new();
        let ballast = [0, 1, 2, 3].map(|nth| dir.join(format!("ballast{nth}")));
        for file in &ballast {
            fs::write(file, vec![0; 400 << 10]).unwrap();
        }
        for (round, file) in ballast.iter().enumerate() {
            let (told, refused) = fill(&store, round);
            assert!(!told.is_empty());
            let journal = dir.join("state/networks/blue/journal");
            for text in &refused {
                let expected = format!("cannot append to {}: No space left", journal.display());
                assert!(text.starts_with(&expected), "{text}");
            }
            leased.extend(told);
            assert_eq!(sequences(&store.read().unwrap().unwrap()), leased);
            // Room again: the same store goes on.
            fs::remove_file(file).unwrap();
            let one = acquire(&store, &format!("room{round}")).unwrap();
            leased.insert(one.key.container.to_string(), one.sequence);
        }
        drop((store, state));
        let state = StateDir::open(&dir.join("state"), Access::Exclusive).unwrap();
        let snapshot = state.network(&network()).read().unwrap().unwrap();
        assert_eq!(sequences(&snapshot), leased);
        for record in snapshot.attachments().unwrap() {
            for held in &record.addresses {
                let holder = snapshot.holder(held.address.address()).unwrap();
                assert_eq!(holder.as_ref(), Some(&record), "an address is held twice");
            }
        }
    });
}

#[test]
fn a_read_only_disk_is_read_and_refuses_by_name() {
    on_a_disk_of(
        1024,
        "a_read_only_disk_is_read_and_refuses_by_name",
        |dir| {
            let path = dir.join("state");
            let record = {
                let state = StateDir::open(&path, Access::Add).unwrap();
                acquire(&state.network(&network()), "c0").unwrap()
            };
            let mounted = Command::new("mount")
                .args(["-o", "remount,ro"])
                .arg(dir)
                .status()
                .unwrap();
            assert!(mounted.success());
            let told = |refused: &dyn Error| chain(refused).replace(path.to_str().unwrap(), "");
            for access in [Access::Shared, Access::Look] {
                let state = StateDir::open(&path, access).unwrap();
                let read = state.network(&network()).read().unwrap().unwrap();
                assert_eq!(read.find(&record.id()).unwrap().as_ref(), Some(&record));
            }
            let state = StateDir::open(&path, Access::Shared).unwrap();
            let blue = state.network(&network());
            let change = HostChange {
                key: "net/ipv4/ip_forward".to_owned(),
                before: "0".to_owned(),
                set: "1".to_owned(),
            };
            let mark = Managed::default();
            let refused = [
                told(&blue.lock().unwrap_err()),
                told(&blue.lock_existing().unwrap_err()),
                told(
                    &state
                        .host()
                        .map(|mut host| host.claim(&network(), &change))
                        .unwrap_err(),
                ),
                told(
                    &state
                        .spool()
                        .map(|spool| spool.add(&tombstone(&record)))
                        .unwrap_err(),
                ),
                told(&mark.write(&path).unwrap_err()),
                told(&StateDir::open(&path, Access::Exclusive).unwrap_err()),
            ];
            let because = "Read-only file system (os error 30)";
            let expected = [
                format!("cannot open /networks/blue/lock: {because}"),
                format!("cannot open /networks/blue/journal: {because}"),
                format!("cannot create /host: {because}"),
                format!("cannot create /spool: {because}"),
                format!("cannot write /managed.new: {because}"),
                format!("cannot open /lock: {because}"),
            ];
            assert_eq!(refused, expected);
        },
    );
}

fn tombstone(record: &AttachmentRecord) -> Tombstone {
    Tombstone {
        key: record.key.clone(),
        sequence: Some(record.sequence),
        detached_at_unix_ms: 0,
    }
}

/// A state directory with a lease, in which something that cannot be read stands at `name`.
fn spoiled(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name.replace('/', "-"));
    let state = StateDir::open(&path, Access::Add).unwrap();
    acquire(&state.network(&network()), "c0").unwrap();
    let file = path.join(name);
    let _ = fs::remove_file(&file);
    fs::create_dir_all(&file).unwrap();
    path
}

#[test]
fn what_cannot_be_read_is_named_with_the_cause() {
    let dir = env::temp_dir().join(format!("bulkhead-ipam-unreadable-{}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    let because = "Is a directory (os error 21)";
    for (name, expected) in [
        ("networks/blue/journal", "open /networks/blue/journal"),
        ("networks/blue/checkpoint", "read /networks/blue/checkpoint"),
        ("networks/blue/lock", "open /networks/blue/lock"),
        ("host/journal", "open /host/journal"),
        ("spool/tombstone", "read /spool/tombstone"),
        ("managed", "read /managed"),
        ("node-id", "read /node-id"),
    ] {
        let path = spoiled(&dir, name);
        let told = |refused: &dyn Error| chain(refused).replace(path.to_str().unwrap(), "");
        for access in [Access::Shared, Access::Exclusive] {
            let state = StateDir::open(&path, access).unwrap();
            let refused = match name.split('/').next().unwrap() {
                "networks" => told(&state.network(&network()).lock().unwrap_err()),
                "host" => told(&state.host().unwrap_err()),
                "spool" => told(&state.spool().unwrap().tombstones().unwrap_err()),
                "managed" => told(&Managed::read(&path).unwrap_err()),
                _ => told(&state.node_id().unwrap_err()),
            };
            assert_eq!(
                refused,
                format!("cannot {expected}: {because}"),
                "{access:?}"
            );
        }
    }
    fs::remove_dir_all(&dir).unwrap();
}
