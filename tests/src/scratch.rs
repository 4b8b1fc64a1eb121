//! A directory for the state of one test.

use std::fs;
use std::path::{Path, PathBuf};

use netns_fixtures::Sandbox;

/// A fresh directory that is removed, with all it holds, when the value is dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A directory called after the sandbox, whose name no other living process uses.
    ///
    /// # Panics
    /// When it cannot be created: the test has nowhere to put its state.
    #[must_use]
    pub fn new(sandbox: &Sandbox, name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{}{name}", sandbox.stem()));
        // What is there was left by a dead process that had our pid.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("create {}: {e}", path.display()));
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("remove {}: {error}", self.path.display());
        }
    }
}
