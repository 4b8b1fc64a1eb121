//! Directories for the crate's own tests.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

/// An empty directory, removed when dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(claim: &str) -> Self {
        Self::make(&env::temp_dir(), claim)
    }

    /// In `parent` if there is such a directory, else where the others are.
    pub(crate) fn inside(parent: &Path, claim: &str) -> Self {
        if parent.is_dir() {
            Self::make(parent, claim)
        } else {
            Self::new(claim)
        }
    }

    fn make(parent: &Path, claim: &str) -> Self {
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("bulkhead-ipam-{claim}-{}-{nth}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
