//! The store against what can go wrong: a crash at every byte, between every two steps, in every
//! order of calls.

mod batches;
mod crash;
mod fuzz;
mod leases;
mod model;
mod pools;
mod warm;

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde_json::json;

use super::network::Limits;
use super::*;
use crate::boot::{Boot, Now};
use crate::config::PoolConfig;
use crate::record::{Draft, Labels, Names};
use crate::testing::TempDir;

/// A state directory in a boot, at a time.
fn state(dir: &Path, boot: &str, since_boot_ms: u64) -> StateDir {
    let now = Now {
        since_boot_ms,
        unix_ms: 1_000_000 + since_boot_ms,
    };
    StateDir::open_in(dir, Access::Add, Boot::fixed(boot, now)).unwrap()
}

fn blue(state: &StateDir) -> NetworkStore {
    state.network(&"blue".parse().unwrap())
}

/// The network `blue` in boot `a` at an instant, with few records between checkpoints and short journals.
fn store(dir: &Path, since_boot_ms: u64, tail_records: usize) -> LockedStore {
    let limits = Limits {
        tail_records,
        journal_bytes: 2000,
        ..Limits::FILES
    };
    let store = blue(&state(dir, "a", since_boot_ms));
    store.with_limits(limits).lock().unwrap()
}

fn config(ipam: &serde_json::Value) -> PoolConfig {
    PoolConfig::from_cni(&"blue".parse().unwrap(), ipam, None, &[]).unwrap()
}

/// Six addresses of each family, no cool-down.
fn small() -> PoolConfig {
    config(&json!({
        "ranges": [
            [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.10", "rangeEnd": "10.1.0.15"}],
            [{"subnet": "fd00::/64", "rangeStart": "fd00::10", "rangeEnd": "fd00::15"}]
        ],
        "cooldownSecs": 0
    }))
}

fn asking(config: &PoolConfig, addresses: &[&str]) -> PoolConfig {
    PoolConfig {
        requested: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..config.clone()
    }
}

fn draft(container: &str) -> Draft {
    Draft {
        key: bulkhead_model::AttachmentKey {
            network: "blue".parse().unwrap(),
            container: container.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        },
        kind: "bridge".to_owned(),
        netns: None,
        names: Names::default(),
        config_digest: String::new(),
        pod: None,
        labels: Labels::new(),
        ports: Vec::new(),
        pool: None,
    }
}

fn addresses(acquired: &Acquired) -> Vec<String> {
    let held = acquired.record().addresses.iter();
    held.map(|held| held.address.address().to_string())
        .collect()
}

fn acquire(store: &mut LockedStore, container: &str, config: &PoolConfig) -> Vec<String> {
    addresses(&store.acquire(draft(container), config).unwrap())
}

fn release(store: &mut LockedStore, container: &str) -> Released {
    let id = draft(container).key.id();
    let sequence = store.find(&id).unwrap().map_or(0, |record| record.sequence);
    store.release(&id, sequence, "del").unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Everything a snapshot says, to be compared.
fn said(store: &Snapshot) -> String {
    let usage = store.usage().unwrap();
    let all = store.attachments().unwrap();
    assert_eq!(u64::try_from(all.len()).unwrap(), store.live_count());
    for record in &all {
        assert_eq!(store.find(&record.id()).unwrap().as_ref(), Some(record));
    }
    format!("{:?} {usage:?} {all:?}", store.pool())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
