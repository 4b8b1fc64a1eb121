//! Addresses, and own prefixes, whose endpoints are gone, while connections of theirs may stand: whoever is given one next must not
//! come into them. One empty file for each, `gone/<address>` or `gone/<address>-64` in the state directory, made by the DEL and removed by
//! whoever has cut them, so that a daemon that ends at any point in between, and the next one, know of it. Nothing
//! is synced: a machine that loses a file loses its connections too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bulkhead_model::{InterfaceAddress, Prefix};

/// The directory.
#[derive(Debug)]
pub(crate) struct Gone {
    dir: PathBuf,
    /// Since when.
    since: Mutex<BTreeMap<Prefix, Instant>>,
}

impl Gone {
    /// In that state directory, with what an earlier daemon has left to be done.
    ///
    /// # Errors
    /// If the directory can neither be read nor made.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let dir = state_dir.join("gone");
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let now = Instant::now();
        let mut since = BTreeMap::new();
        for entry in fs::read_dir(&dir)? {
            let name = entry?.file_name();
            if let Some(gone) = name.to_str().and_then(read) {
                since.insert(gone, now);
            }
        }
        Ok(Self {
            dir,
            since: Mutex::new(since),
        })
    }

    /// The endpoints that had these are gone.
    ///
    /// # Errors
    /// Those of the error are known as long as this process lives, and not after.
    pub(super) fn note(&self, had: &BTreeSet<Prefix>) -> io::Result<()> {
        let now = Instant::now();
        let mut since = self.since();
        since.extend(had.iter().map(|gone| (*gone, now)));
        let made = had.iter().map(|gone| {
            let mut file = fs::OpenOptions::new();
            let file = file.write(true).create(true).mode(0o600);
            file.open(self.path(*gone)).map(drop)
        });
        // Each is tried.
        made.fold(Ok(()), io::Result::and)
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeSet<Prefix> {
        self.since().keys().copied().collect()
    }

    /// Those of which `held` has something.
    pub(super) fn among(&self, held: &BTreeSet<Prefix>) -> BTreeSet<Prefix> {
        let since = self.since();
        let is_held = |gone: &&Prefix| held.iter().any(|one| one.overlaps(**gone));
        since.keys().filter(is_held).copied().collect()
    }

    /// Nothing stands of them any more, unless they have gone again after `asked`.
    pub(super) fn are_cut(&self, cut: &BTreeSet<Prefix>, asked: Instant) {
        for gone in cut {
            // One by one: a call may wait.
            let mut since = self.since();
            if since.get(gone).is_none_or(|since| *since > asked) {
                continue;
            }
            since.remove(gone);
            match fs::remove_file(self.path(*gone)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // Who starts next cuts once more.
                    tracing::warn!(%gone, %error, "its connections are cut, which is not noted");
                }
                _ => {}
            }
        }
    }

    fn path(&self, gone: Prefix) -> PathBuf {
        self.dir.join(called(gone))
    }

    fn since(&self) -> MutexGuard<'_, BTreeMap<Prefix, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of its file.
fn called(gone: Prefix) -> String {
    let address = gone.address();
    if InterfaceAddress::alone(address).prefix() == gone {
        address.to_string()
    } else {
        format!("{address}-{}", gone.len())
    }
}

/// What a file is about.
fn read(name: &str) -> Option<Prefix> {
    match name.split_once('-') {
        Some((address, len)) => Prefix::new(address.parse().ok()?, len.parse().ok()?),
        None => Some(InterfaceAddress::alone(name.parse::<IpAddr>().ok()?).prefix()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(of: &[&str]) -> Vec<Prefix> {
        of.iter().map(|prefix| prefix.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_gone_is_known_to_who_comes_after_until_it_is_cut() {
        let dir = std::env::temp_dir().join(format!("bulkhead-gone-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let gone = Gone::open(&dir).unwrap();
        let [one, six, inside] = prefixes(&["10.1.0.2/32", "fd00:1::/64", "fd00:1::2/128"])[..]
        else {
            unreachable!()
        };
        gone.note(&[one, six].into()).unwrap();
        fs::write(dir.join("gone/of-somebody-else"), "").unwrap();
        let next = || Gone::open(&dir).unwrap().all();
        assert_eq!(next(), [one, six].into());
        let asked = Instant::now();
        // It is given out, and its next holder goes too, while the first one's are cut.
        gone.note(&[six].into()).unwrap();
        gone.are_cut(&[one, six].into(), asked);
        assert_eq!((gone.all(), next()), ([six].into(), [six].into()));
        assert_eq!(gone.among(&[one, inside].into()), [six].into());
        gone.are_cut(&[six].into(), Instant::now());
        assert_eq!((gone.all(), next()), ([].into(), [].into()));
        // What cannot be noted is known, and told.
        fs::remove_dir_all(dir.join("gone")).unwrap();
        gone.note(&[one].into()).unwrap_err();
        assert_eq!(gone.all(), [one].into());
        fs::remove_dir(&dir).unwrap();
    }
}
