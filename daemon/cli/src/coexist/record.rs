//! Which rules are ours in firewalls of others: one file for each network, `coexist/<network>.json` of
//! its state directory. Written before a rule is added, so that none can stand unrecorded.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bulkhead_ipam::{Access, FileError, StateDir};
use bulkhead_model::{IfName, NetworkName};
use serde::{Deserialize, Serialize};

use super::error::CoexistError;
use super::rule::Rule;
use crate::failure::at;
use crate::install::step::{self, Step};

/// As of the store: for root alone.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// What is recorded of a network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Record {
    pub(crate) network: NetworkName,
    pub(crate) bridge: IfName,
    pub(crate) rules: Vec<Rule>,
}

/// The records of a state directory, kept from others until dropped.
#[derive(Debug)]
pub(crate) struct Records {
    dir: PathBuf,
    _alone: File,
}

/// A file that is no record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{} is no record of firewall rules: remove the rules of the network by hand, then the file",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// Every record of a state directory, or what is wrong with its file; without a lock.
pub(crate) fn read_all(state_dir: &Path) -> Result<Vec<Result<Record, RecordError>>, FileError> {
    let mut paths = step::entries(&state_dir.join("coexist"))?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    Ok(paths
        .iter()
        .filter_map(|path| read(path).transpose())
        .collect())
}

/// What is recorded of one network; without a lock.
pub(crate) fn read_one(
    state_dir: &Path,
    network: &NetworkName,
) -> Result<Option<Record>, RecordError> {
    read(&path_of(&state_dir.join("coexist"), network))
}

impl Records {
    /// Opens them to be changed; the directory is made if missing.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, CoexistError> {
        // What makes a state directory makes this one: its owner and mode are the store's.
        drop(StateDir::open(state_dir, Access::Add)?);
        let dir = state_dir.join("coexist");
        match DirBuilder::new().mode(DIR_MODE).create(&dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(at("create", &dir)(error).into());
            }
            _ => Step::Sync(state_dir.to_owned()).run()?,
        }
        Ok(Self {
            _alone: step::lock(&dir)?,
            dir,
        })
    }

    /// The same, `None` if nothing was ever recorded.
    pub(crate) fn open_existing(state_dir: &Path) -> Result<Option<Self>, CoexistError> {
        if state_dir.join("coexist").is_dir() {
            Self::open(state_dir).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn find(&self, network: &NetworkName) -> Result<Option<Record>, RecordError> {
        read(&path_of(&self.dir, network))
    }

    /// Puts the record in the place of the one before; durable when it returns.
    pub(crate) fn put(&self, record: &Record) -> Result<(), FileError> {
        let mut text = serde_json::to_string_pretty(record).expect("a record has text keys");
        text.push('\n');
        let bytes: Rc<[u8]> = text.into_bytes().into();
        let to = path_of(&self.dir, &record.network);
        let new = self.dir.join(format!("{}.new", record.network));
        // What a run that died left under this name is nobody's.
        Step::Remove(new.clone()).run()?;
        step::run(&[
            Step::Write {
                path: new.clone(),
                bytes,
                mode: FILE_MODE,
            },
            Step::Rename { from: new, to },
            Step::Sync(self.dir.clone()),
        ])
    }

    /// Forgets the network.
    pub(crate) fn remove(&self, network: &NetworkName) -> Result<(), FileError> {
        let path = path_of(&self.dir, network);
        step::run(&[Step::Remove(path), Step::Sync(self.dir.clone())])
    }
}

fn path_of(dir: &Path, network: &NetworkName) -> PathBuf {
    dir.join(format!("{network}.json"))
}

fn read(path: &Path) -> Result<Option<Record>, RecordError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(at("read", path))?,
    };
    let record = serde_json::from_slice(&bytes);
    record.map(Some).map_err(|source| RecordError::Damaged {
        path: path.to_owned(),
        source,
    })
}
