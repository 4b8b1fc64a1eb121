//! The file by which a daemon says that a state directory is its own, and where it listens.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::FileError;
use crate::journal::{replace_file, sync_parent};
use crate::store::make_dir;
use crate::wire::DEFAULT_SOCKET;

/// What `managed` in a state directory says. Unknown keys are ignored; a file that says nothing, or
/// what is not understood, stands for the defaults: that it exists is what counts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Managed {
    /// Where the daemon listens.
    pub socket: PathBuf,
    /// The file's own version.
    pub version: u32,
}

impl Default for Managed {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            version: 1,
        }
    }
}

impl Managed {
    /// Where it is.
    #[must_use]
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("managed")
    }

    /// `None` if no daemon owns the directory. Takes no lock.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, FileError> {
        let path = Self::path(state_dir);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::at("read", &path)(error)),
        }
    }

    /// Marks the directory, which is made if it is missing; to be done before it is locked, so that
    /// nobody waits for the lock. Durable when this returns.
    ///
    /// # Errors
    /// If it cannot be written; an earlier mark stands then.
    pub fn write(&self, state_dir: &Path) -> Result<(), FileError> {
        make_dir(state_dir)?;
        let text = serde_json::to_string(self).expect("a path that was configured is text");
        replace_file(&Self::path(state_dir), format!("{text}\n").as_bytes()).map(drop)
    }

    /// Takes the mark away, if there is one: calls run in processes of their own again.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn unmark(state_dir: &Path) -> Result<(), FileError> {
        let path = Self::path(state_dir);
        match fs::remove_file(&path) {
            Ok(()) => sync_parent(&path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(FileError::at("remove", &path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn what_is_not_said_is_the_default() {
        let dir = TempDir::new("managed-file");
        assert_eq!(Managed::read(dir.path()).unwrap(), None);
        for text in ["", "touched by hand", "{\"version\":1}", "[]"] {
            fs::write(Managed::path(dir.path()), text).unwrap();
            let managed = Managed::read(dir.path()).unwrap();
            assert_eq!(managed, Some(Managed::default()), "{text}");
        }
    }

    #[test]
    fn what_is_said_is_read_again() {
        let dir = TempDir::new("managed-file");
        let managed = Managed {
            socket: "/run/elsewhere.sock".into(),
            version: 1,
        };
        let path = dir.path().join("made");
        managed.write(&path).unwrap();
        assert_eq!(Managed::read(&path).unwrap(), Some(managed));
        for _ in 0..2 {
            Managed::unmark(&path).unwrap();
        }
        assert_eq!(Managed::read(&path).unwrap(), None);
    }
}
