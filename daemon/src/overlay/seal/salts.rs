//! The node's salts, and what the kernel was given that follows from them. Both outlive the daemon, in a file
//! for each network (`seals/<network>`), as the kernel's states do; neither outlives the boot. A daemon that
//! finds no such file, or one of another boot, makes up a new salt, and whatever the kernel had follows from
//! another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bulkhead_ipam::cluster::schema::{Salt, SealRow};
use bulkhead_ipam::{Boot, StateDir};
use bulkhead_model::NetworkName;
use serde::{Deserialize, Serialize};

use super::StateKey;

/// All of them.
#[derive(Debug)]
pub(crate) struct Salts {
    folder: PathBuf,
    boot: Option<String>,
    known: Mutex<BTreeMap<NetworkName, Kept>>,
}

/// One network's.
#[derive(Debug)]
struct Kept {
    row: SealRow,
    used: BTreeSet<StateKey>,
}

/// The same as a file.
#[derive(Deserialize, Serialize)]
struct File {
    boot: String,
    salt: Salt,
    /// States that the kernel was given: where to, and their index.
    used: Vec<(IpAddr, u32)>,
}

impl Salts {
    pub(crate) fn open(state_dir: &StateDir) -> Self {
        Self::at(
            &state_dir.path().join("seals"),
            Boot::current()
                .ok()
                .map(|boot| boot.id().as_str().to_owned()),
        )
    }

    fn at(folder: &Path, boot: Option<String>) -> Self {
        Self {
            folder: folder.to_owned(),
            boot,
            known: Mutex::default(),
        }
    }

    /// What the node says of its end of a network.
    pub(crate) fn row(&self, network: &NetworkName) -> SealRow {
        self.with(network, |kept| kept.row)
    }

    /// Another salt, of which the kernel has nothing.
    pub(crate) fn renew(&self, network: &NetworkName) {
        self.with(network, |kept| *kept = Kept::new());
    }

    /// The network's end receives by this epoch now.
    pub(crate) fn applied(&self, network: &NetworkName, epoch: u64) {
        self.with(network, |kept| kept.row.applied = epoch);
    }

    /// Whether the kernel was given such a state.
    pub(crate) fn has_used(&self, network: &NetworkName, key: StateKey) -> bool {
        self.with(network, |kept| kept.used.contains(&key))
    }

    /// The kernel is about to be given states: of which networks `owners` says.
    ///
    /// # Errors
    /// They cannot be noted, and must not be given.
    pub(crate) fn note(
        &self,
        owners: &BTreeMap<StateKey, NetworkName>,
        given: impl Iterator<Item = StateKey>,
    ) -> Result<(), NotNoted> {
        let mut changed = BTreeSet::new();
        for key in given {
            if let Some(network) = owners.get(&key) {
                self.with(network, |kept| kept.used.insert(key));
                changed.insert(network);
            }
        }
        changed.into_iter().try_for_each(|network| {
            let path = self.path(network);
            self.write(network, &path)
                .map_err(|source| NotNoted { path, source })
        })
    }

    /// Nothing of a network is in the kernel any more.
    pub(crate) fn forget(&self, network: &NetworkName) {
        self.known().remove(network);
        // Left behind, it is of no use to anybody, and of no harm.
        let _ = fs::remove_file(self.path(network));
    }

    fn with<T>(&self, network: &NetworkName, work: impl FnOnce(&mut Kept) -> T) -> T {
        let mut known = self.known();
        let kept = known
            .entry(network.clone())
            .or_insert_with(|| self.read(network).unwrap_or_else(Kept::new));
        work(kept)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<NetworkName, Kept>> {
        // Every change is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, network: &NetworkName) -> PathBuf {
        self.folder.join(network.as_str())
    }

    /// What an earlier daemon of this boot left.
    fn read(&self, network: &NetworkName) -> Option<Kept> {
        let text = fs::read(self.path(network)).ok()?;
        let file: File = serde_json::from_slice(&text).ok()?;
        (Some(&file.boot) == self.boot.as_ref()).then(|| Kept {
            row: SealRow {
                salt: file.salt,
                applied: 0,
            },
            used: file.used.into_iter().collect(),
        })
    }

    /// Whole or not at all. A crash of the machine may lose it, and then the kernel's states are lost too.
    fn write(&self, network: &NetworkName, path: &Path) -> io::Result<()> {
        let Some(boot) = self.boot.clone() else {
            return Ok(());
        };
        let file = self.with(network, |kept| File {
            boot,
            salt: kept.row.salt,
            used: kept.used.iter().copied().collect(),
        });
        fs::create_dir_all(&self.folder)?;
        let beside = self.folder.join(format!(".{network}.new"));
        fs::write(&beside, serde_json::to_vec(&file)?)?;
        fs::rename(&beside, path)
    }
}

/// Keys that the kernel is given are not noted, and so are not given.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written, and what is not noted there is not given to the kernel; make room, or see to its permissions", path.display())]
pub(crate) struct NotNoted {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Kept {
    fn new() -> Self {
        let row = SealRow {
            salt: Salt::new(random()),
            applied: 0,
        };
        Self {
            row,
            used: BTreeSet::new(),
        }
    }
}

/// Of the system's random source (getrandom(2)), which waits until it is seeded.
pub(crate) fn random<const LEN: usize>() -> [u8; LEN] {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut bytes = [0; LEN];
    let mut filled = 0;
    while filled < LEN {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => unreachable!("getrandom(2) refuses no plain request since 3.17: {errno}"),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("bulkhead-salts-{:08x}", u64::from_ne_bytes(random()));
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn network() -> NetworkName {
        "pods".parse().unwrap()
    }

    fn given(salts: &Salts, key: StateKey) {
        let owners = [(key, network())].into();
        salts.note(&owners, [key].into_iter()).unwrap();
    }

    #[test]
    fn a_daemon_that_starts_again_goes_on_and_a_machine_does_not() {
        let folder = Folder::new();
        let key = ([192, 0, 2, 2].into(), 4711);
        let open = |boot: &str| Salts::at(&folder.0, Some(boot.to_owned()));
        let first = open("one");
        given(&first, key);
        first.applied(&network(), 3);
        let again = open("one");
        assert_eq!(again.row(&network()).salt, first.row(&network()).salt);
        assert!(again.has_used(&network(), key));
        let after_boot = open("two");
        assert_ne!(after_boot.row(&network()).salt, first.row(&network()).salt);
        assert!(!after_boot.has_used(&network(), key));
    }

    #[test]
    fn what_is_not_there_or_not_whole_is_made_anew() {
        let folder = Folder::new();
        let open = || Salts::at(&folder.0, Some("one".to_owned()));
        let first = open();
        given(&first, ([192, 0, 2, 2].into(), 4711));
        let path = first.path(&network());
        let text = fs::read(&path).unwrap();
        for cut in [0, 1, text.len() / 2, text.len() - 1] {
            fs::write(&path, &text[..cut]).unwrap();
            assert_ne!(open().row(&network()).salt, first.row(&network()).salt);
        }
        first.forget(&network());
        assert!(!path.exists());
        assert_ne!(open().row(&network()).salt, open().row(&network()).salt);
    }

    #[test]
    fn a_new_salt_has_been_used_for_nothing() {
        let folder = Folder::new();
        let salts = Salts::at(&folder.0, Some("one".to_owned()));
        let key = ([192, 0, 2, 2].into(), 4711);
        given(&salts, key);
        let before = salts.row(&network());
        salts.renew(&network());
        assert_ne!(salts.row(&network()).salt, before.salt);
        assert!(!salts.has_used(&network(), key));
    }
}
