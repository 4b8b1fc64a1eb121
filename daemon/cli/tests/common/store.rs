//! A store with a known history, written by the store's own crate at instants of our choosing.

use std::path::Path;

use bulkhead_ipam::{Access, Boot, Draft, Ipam, Labels, Netns, Now, PoolConfig, StateDir};
use bulkhead_model::{AttachmentKey, NetworkName};

/// 2026-03-01T08:00:00Z.
const START_UNIX_MS: u64 = 1_772_352_000_000;

/// A network of a state directory.
pub(crate) struct Book<'a> {
    dir: &'a Path,
    network: NetworkName,
    config: Option<PoolConfig>,
}

/// The boot an entry is written in.
#[derive(Clone, Copy)]
pub(crate) enum When {
    ThisBoot,
    EarlierBoot,
}

impl<'a> Book<'a> {
    /// A network whose addresses come from the store.
    pub(crate) fn own(dir: &'a Path, network: &str, ipam: &str) -> Self {
        let network: NetworkName = network.parse().unwrap();
        let ipam = serde_json::from_str(ipam).unwrap();
        let config = PoolConfig::from_cni(&network, &ipam, None, &[]).unwrap();
        Self {
            dir,
            network,
            config: Some(config),
        }
    }

    /// A network whose addresses, if any, come from elsewhere.
    pub(crate) fn foreign(dir: &'a Path, network: &str) -> Self {
        Self {
            dir,
            network: network.parse().unwrap(),
            config: None,
        }
    }

    /// Records `container`'s eth0 at `minute` after the start; without a namespace its path leads
    /// nowhere.
    pub(crate) fn attach(&self, container: &str, netns: Option<&Path>, minute: u64, when: When) {
        let mut store = self.store(minute, when);
        let draft = Draft {
            key: self.key(container),
            kind: "bridge".to_owned(),
            netns: Some(netns.map_or_else(gone, here)),
            names: bulkhead_ipam::Names::default(),
            config_digest: String::new(),
            pod: None,
            labels: Labels::new(),
            ports: Vec::new(),
            pool: None,
        };
        match &self.config {
            Some(config) => drop(store.acquire(draft, config).unwrap()),
            None => drop(store.record(draft, Vec::new(), Ipam::None).unwrap()),
        }
    }

    /// Releases it.
    pub(crate) fn detach(&self, container: &str, minute: u64, reason: &str) {
        let mut store = self.store(minute, When::ThisBoot);
        let id = self.key(container).id();
        let sequence = store.find(&id).unwrap().unwrap().sequence;
        store.release(&id, sequence, reason).unwrap();
    }

    fn store(&self, minute: u64, when: When) -> bulkhead_ipam::LockedStore {
        // A cool-down runs on the clock of the boot, which cannot be ours to choose.
        let current = Boot::current().unwrap();
        let id = match when {
            When::ThisBoot => current.id().as_str().to_owned(),
            When::EarlierBoot => "00000000-0000-4000-8000-000000000000".to_owned(),
        };
        let now = Now {
            since_boot_ms: current.now().since_boot_ms,
            unix_ms: START_UNIX_MS + minute * 60_000,
        };
        let state = StateDir::open_in(self.dir, Access::Add, Boot::fixed(&id, now)).unwrap();
        state.network(&self.network).lock().unwrap()
    }

    fn key(&self, container: &str) -> AttachmentKey {
        AttachmentKey {
            network: self.network.clone(),
            container: container.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        }
    }
}

fn here(path: &Path) -> Netns {
    use std::os::unix::fs::MetadataExt;
    let led_to = std::fs::metadata(path).unwrap();
    Netns {
        path: path.to_owned(),
        device: Some(led_to.dev()),
        inode: Some(led_to.ino()),
    }
}

fn gone() -> Netns {
    Netns {
        path: "/run/netns/bulkhead-cli-gone".into(),
        device: Some(4),
        inode: Some(1),
    }
}
