//! The mark of a daemon that owns a state directory: while it is there, no ADD runs in a process of its own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::FileError;
use crate::journal::{replace_file, sync_parent};
use crate::store::make_dir;

/// What the mark says. One that is empty, or that nobody understands, marks as well and says nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Managed {
    /// Where the daemon listens; `None` for the usual place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Of this content; 0 if it is not said.
    pub version: u32,
}

impl Managed {
    /// The version written by this release.
    pub const VERSION: u32 = 1;

    /// What a daemon that listens at `socket` writes.
    #[must_use]
    pub fn by(socket: &Path) -> Self {
        Self {
            socket: Some(socket.to_owned()),
            version: Self::VERSION,
        }
    }

    /// The mark of `state_dir`, if it has one.
    ///
    /// # Errors
    /// If there is one that cannot be read.
    pub fn read(state_dir: &Path) -> Result<Option<Self>, FileError> {
        let path = Self::path(state_dir);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::at("read", &path)(error)),
        }
    }

    /// Marks `state_dir`, which is made if it is missing; durable when this returns. A daemon does this
    /// before it locks the directory: who opens it afterwards for an ADD is refused and does not wait.
    ///
    /// # Errors
    /// If it cannot be written; an earlier mark stands then.
    pub fn mark(&self, state_dir: &Path) -> Result<(), FileError> {
        make_dir(state_dir)?;
        let mut bytes = serde_json::to_vec(self).expect("a mark has text keys");
        bytes.push(b'\n');
        replace_file(&Self::path(state_dir), &bytes).map(drop)
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

    pub(crate) fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("managed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::OpenError;
    use crate::store::{Access, StateDir};
    use crate::testing::TempDir;

    #[test]
    fn a_mark_refuses_adds_and_says_where_the_daemon_is() {
        let dir = TempDir::new("managed");
        let path = dir.path().join("made");
        assert_eq!(Managed::read(&path).unwrap(), None);
        let mark = Managed::by(Path::new("/run/bulkhead/bulkheadd.sock"));
        mark.mark(&path).unwrap();
        assert_eq!(
            fs::read_to_string(path.join("managed")).unwrap(),
            "{\"socket\":\"/run/bulkhead/bulkheadd.sock\",\"version\":1}\n"
        );
        assert_eq!(Managed::read(&path).unwrap(), Some(mark));
        let refused = StateDir::open(&path, Access::Add);
        assert!(matches!(refused, Err(OpenError::Managed(_))));
        // The daemon itself has nobody to leave it to.
        assert!(
            !StateDir::open(&path, Access::Exclusive)
                .unwrap()
                .is_managed()
        );
        assert!(StateDir::open(&path, Access::Shared).unwrap().is_managed());
        Managed::unmark(&path).unwrap();
        Managed::unmark(&path).unwrap();
        assert_eq!(Managed::read(&path).unwrap(), None);
        assert!(!StateDir::open(&path, Access::Add).unwrap().is_managed());
    }

    #[test]
    fn a_mark_of_another_release_marks_as_well() {
        let dir = TempDir::new("managed-other");
        for (content, socket) in [
            ("", None),
            ("1.2.3\n", None),
            ("{\"socket\":\"/s\",\"later\":[]}", Some("/s")),
        ] {
            fs::write(dir.path().join("managed"), content).unwrap();
            let read = Managed::read(dir.path()).unwrap().unwrap();
            assert_eq!(read.socket.as_deref(), socket.map(Path::new), "{content:?}");
        }
        fs::remove_file(dir.path().join("managed")).unwrap();
        fs::create_dir(dir.path().join("managed")).unwrap();
        let error = Managed::read(dir.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot read ") && error.ends_with("/managed"),
            "{error}"
        );
    }
}
