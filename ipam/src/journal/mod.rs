//! The append-only journal: one file, one `fdatasync` for each append. Who calls it holds the lock
//! that makes it the only writer.

pub(crate) mod crc;
pub(crate) mod frame;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{FileError, StoreError};
use frame::{FrameError, Parsed};

/// A journal open for appending, with all it holds.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    generation: u64,
    bytes: Vec<u8>,
    bodies: Vec<Range<usize>>,
    settled: bool,
}

impl Journal {
    /// Opens the journal at `path` and cuts off a torn tail. `None` if there is no file or an empty
    /// one: nothing was ever acknowledged from it.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::at("open", path)(error).into()),
        };
        let mut bytes = Vec::with_capacity(1 << 16);
        (&file)
            .read_to_end(&mut bytes)
            .map_err(FileError::at("read", path))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let parsed = parse(path, &bytes)?;
        if parsed.good_len < bytes.len() {
            bytes.truncate(parsed.good_len);
            cut(&file, parsed.good_len).map_err(FileError::at("truncate", path))?;
        }
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            generation: parsed.generation,
            bytes,
            bodies: parsed.bodies,
            settled: true,
        }))
    }

    /// Puts a new journal with these records in the place of the one at `path`, if there is one:
    /// after a crash, either is there as a whole.
    pub(crate) fn replace(
        path: &Path,
        generation: u64,
        records: &[Vec<u8>],
    ) -> Result<Self, StoreError> {
        let mut bytes = frame::header(generation);
        let bodies = records.iter().map(|body| frame::push(&mut bytes, body));
        let bodies = bodies.collect();
        let file = replace_file(path, &bytes)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            generation,
            bytes,
            bodies,
            settled: true,
        })
    }

    /// Which checkpoint it goes on from.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Everything in the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the records' bodies are in it.
    pub(crate) fn bodies(&self) -> &[Range<usize>] {
        &self.bodies
    }

    /// Refuses every append from here on: another journal takes its place.
    pub(crate) const fn close(&mut self) {
        self.settled = false;
    }

    /// Appends the records and returns once they are on the disk. After an error none of them is
    /// there.
    pub(crate) fn append(&mut self, records: &[Vec<u8>]) -> Result<(), StoreError> {
        if !self.settled {
            return Err(StoreError::Unsettled(self.path.clone()));
        }
        let (length, count) = (self.bytes.len(), self.bodies.len());
        let written = self.write(records).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.bytes.truncate(length);
            self.bodies.truncate(count);
            self.settled = cut(&self.file, length).is_ok();
            return Err(FileError::at("append to", &self.path)(error).into());
        }
        Ok(())
    }
}

impl Journal {
    fn write(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        let length = self.bytes.len();
        for body in records {
            let at = frame::push(&mut self.bytes, body);
            self.bodies.push(at);
        }
        self.file
            .write_all_at(&self.bytes[length..], offset(length))
    }

    /// An append that a crash may lose: for tests that only need a full store.
    #[cfg(test)]
    pub(crate) fn append_unsynced(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        self.write(records)
    }
}

/// Reads a journal that somebody else may be appending to; a torn tail is left out. `None` as
/// [`Journal::open`].
pub(crate) fn read(path: &Path) -> Result<Option<(Vec<u8>, Parsed)>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::at("read", path)(error).into()),
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    let parsed = parse(path, &bytes)?;
    Ok(Some((bytes, parsed)))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Parsed, StoreError> {
    frame::parse(bytes).map_err(|error| match error {
        FrameError::Damaged(at, what) => StoreError::Damaged {
            path: path.to_owned(),
            offset: offset(at),
            what,
        },
        FrameError::Schema(found) => StoreError::Schema {
            path: path.to_owned(),
            found,
            supported: frame::SCHEMA,
        },
    })
}

/// Puts a file with this content in the place of the one at `path`: written beside it, synced,
/// renamed, the directory synced. After a crash either file is there as a whole.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<File, FileError> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        Ok(file)
    };
    let file = write().map_err(FileError::at("write", &beside))?;
    fs::rename(&beside, path).map_err(FileError::at("replace", path))?;
    sync_parent(path)?;
    Ok(file)
}

/// Makes names in `path`'s directory durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(FileError::at("sync", parent))
}

fn cut(file: &File, length: usize) -> io::Result<()> {
    file.set_len(offset(length))?;
    file.sync_data()
}

pub(crate) fn offset(at: usize) -> u64 {
    u64::try_from(at).expect("a length in memory fits 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_tail_is_cut_off_and_appended_over() {
        let dir = crate::testing::TempDir::new("torn");
        let path = dir.path().join("journal");
        let mut journal = Journal::replace(&path, 3, &[]).unwrap();
        journal.append(&[b"{\"a\":1}".to_vec()]).unwrap();
        let whole = fs::read(&path).unwrap();
        journal.append(&[b"{\"b\":2}".to_vec()]).unwrap();
        let both = fs::read(&path).unwrap();
        for cut in whole.len()..both.len() {
            fs::write(&path, &both[..cut]).unwrap();
            let mut again = Journal::open(&path).unwrap().unwrap();
            assert_eq!(again.bytes(), whole, "cut at {cut}");
            again.append(&[b"{\"b\":2}".to_vec()]).unwrap();
            assert_eq!(fs::read(&path).unwrap(), both, "cut at {cut}");
        }
    }

    #[test]
    fn an_append_that_the_disk_refuses_leaves_nothing() {
        // A descriptor that cannot be written stands for a full disk: the write is refused, and so
        // is the cut, so the handle must not be used again.
        let dir = crate::testing::TempDir::new("refused");
        let path = dir.path().join("journal");
        let mut journal = Journal::replace(&path, 1, &[]).unwrap();
        let before = fs::read(&path).unwrap();
        journal.file = File::open(&path).unwrap();
        assert!(matches!(
            journal.append(&[b"{}".to_vec()]),
            Err(StoreError::File(_))
        ));
        assert!(matches!(
            journal.append(&[b"{}".to_vec()]),
            Err(StoreError::Unsettled(_))
        ));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(journal.bodies().is_empty());
    }
}
