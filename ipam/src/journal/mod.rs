//! The append-only journal: one file, one `fdatasync` for each append. Who calls it holds the lock
//! that makes it the only writer.

pub(crate) mod crc;
pub(crate) mod frame;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{FileError, StoreError};
use frame::FrameError;

/// A journal open for appending, with the records from some place on.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    generation: u64,
    tail: Tail,
    settled: bool,
}

/// A journal's end: what no checkpoint has taken in.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Where it begins in the file.
    start: usize,
    bytes: Vec<u8>,
    bodies: Vec<Range<usize>>,
}

impl Tail {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the records' bodies are in them.
    pub(crate) fn bodies(&self) -> &[Range<usize>] {
        &self.bodies
    }

    /// Where a place in the bytes is in the file.
    pub(crate) fn in_file(&self, at: usize) -> u64 {
        offset(self.start + at)
    }

    fn push(&mut self, records: &[Vec<u8>]) {
        for body in records {
            let at = frame::push(&mut self.bytes, body);
            self.bodies.push(at);
        }
    }
}

impl Journal {
    /// Opens the journal at `path` and cuts off a torn tail. `start` says for its generation where
    /// the records begin that are wanted. `None` if there is no file or an empty one: nothing was
    /// ever acknowledged from it.
    pub(crate) fn open(
        path: &Path,
        start: impl FnOnce(u64) -> Result<u64, StoreError>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(file) = existing(OpenOptions::new().read(true).write(true), path)? else {
            return Ok(None);
        };
        let Some(generation) = generation_of(&file, path)? else {
            return Ok(None);
        };
        let (tail, torn) = tail_of(&file, path, start(generation)?)?;
        if torn {
            let end = tail.in_file(tail.bytes.len());
            cut(&file, end).map_err(FileError::at("truncate", path))?;
        }
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            generation,
            tail,
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
        let mut tail = Tail {
            start: frame::HEADER_LEN,
            ..Tail::default()
        };
        tail.push(records);
        let mut bytes = frame::header(generation);
        bytes.extend_from_slice(&tail.bytes);
        let file = replace_file(path, &bytes)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            generation,
            tail,
            settled: true,
        })
    }

    /// Which in the row of the journals at this path it is.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The records since it was opened, or since the last checkpoint.
    pub(crate) const fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Its length in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.tail.in_file(self.tail.bytes.len())
    }

    /// Lets go of the records so far: a checkpoint has them.
    pub(crate) fn forget_tail(&mut self) {
        self.tail = Tail {
            start: self.tail.start + self.tail.bytes.len(),
            ..Tail::default()
        };
    }

    /// Refuses every append from here on: another journal takes its place.
    pub(crate) const fn close(&mut self) {
        self.settled = false;
    }

    /// Whether it takes appends: every one that failed was taken back.
    pub(crate) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Appends the records and returns once they are on the disk. After an error none of them is
    /// there.
    pub(crate) fn append(&mut self, records: &[Vec<u8>]) -> Result<(), StoreError> {
        if !self.settled {
            return Err(StoreError::Unsettled(self.path.clone()));
        }
        let (length, count) = (self.tail.bytes.len(), self.tail.bodies.len());
        let written = self.write(records).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.tail.bytes.truncate(length);
            self.tail.bodies.truncate(count);
            self.settled = cut(&self.file, self.end()).is_ok();
            return Err(FileError::at("append to", &self.path)(error).into());
        }
        Ok(())
    }

    fn write(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        let (length, end) = (self.tail.bytes.len(), self.end());
        self.tail.push(records);
        self.file.write_all_at(&self.tail.bytes[length..], end)
    }

    /// As on a disk that takes nothing any more: every write fails, also the one that would take back
    /// what a failed one left.
    #[cfg(test)]
    pub(crate) fn refuse_writes(&mut self) {
        self.file = File::open(&self.path).expect("it is there");
    }

    /// An append that a crash may lose: for tests that only need a full store.
    #[cfg(test)]
    pub(crate) fn append_unsynced(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        self.write(records)
    }
}

/// A journal that somebody else may be appending to, open for reading.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    file: File,
    pub(crate) generation: u64,
}

impl Reader {
    /// `None` as [`Journal::open`].
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let Some(file) = existing(OpenOptions::new().read(true), path)? else {
            return Ok(None);
        };
        let generation = generation_of(&file, path)?;
        Ok(generation.map(|generation| Self {
            path: path.to_owned(),
            file,
            generation,
        }))
    }

    /// The whole records from `start` on.
    pub(crate) fn tail(&self, start: u64) -> Result<Tail, StoreError> {
        tail_of(&self.file, &self.path, start).map(|(tail, _)| tail)
    }
}

/// Where the first record of any journal stands.
pub(crate) fn first_record() -> u64 {
    offset(frame::HEADER_LEN)
}

fn existing(options: &OpenOptions, path: &Path) -> Result<Option<File>, FileError> {
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::at("open", path)(error)),
    }
}

/// `None` for an empty file.
fn generation_of(file: &File, path: &Path) -> Result<Option<u64>, StoreError> {
    let header = read_from(file, 0, frame::HEADER_LEN).map_err(FileError::at("read", path))?;
    if header.is_empty() {
        return Ok(None);
    }
    let generation = frame::generation(&header).map_err(|error| refused(path, error))?;
    Ok(Some(generation))
}

/// The whole records from `start` on, and whether a torn one follows.
fn tail_of(file: &File, path: &Path, start: u64) -> Result<(Tail, bool), StoreError> {
    let length = file.metadata().map_err(FileError::at("stat", path))?.len();
    let long = length
        .checked_sub(start)
        .and_then(|long| usize::try_from(long).ok());
    let long = long.ok_or_else(|| {
        let what = format!("it ends here, and a checkpoint holds it up to byte {start}");
        refused(path, FrameError::Damaged(index(length), what))
    })?;
    let start = index(start);
    let mut bytes = read_from(file, start, long).map_err(FileError::at("read", path))?;
    let parsed = frame::parse(&bytes, start).map_err(|error| refused(path, error))?;
    let torn = parsed.good_len < bytes.len();
    bytes.truncate(parsed.good_len);
    let tail = Tail {
        start,
        bytes,
        bodies: parsed.bodies,
    };
    Ok((tail, torn))
}

/// Up to `long` bytes; fewer at the file's end.
fn read_from(file: &File, start: usize, long: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; long];
    let mut have = 0;
    while have < long {
        match file.read_at(&mut bytes[have..], offset(start + have)) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(have);
    Ok(bytes)
}

fn refused(path: &Path, error: FrameError) -> StoreError {
    match error {
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
    }
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

fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.sync_data()
}

pub(crate) fn offset(at: usize) -> u64 {
    u64::try_from(at).expect("a length in memory fits 64 bits")
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("offsets of a journal are bounded by its rotation")
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
            let mut again = Journal::open(&path, |_| Ok(first_record()))
                .unwrap()
                .unwrap();
            assert_eq!(again.end(), offset(whole.len()), "cut at {cut}");
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
        journal.refuse_writes();
        assert!(matches!(
            journal.append(&[b"{}".to_vec()]),
            Err(StoreError::File(_))
        ));
        assert!(matches!(
            journal.append(&[b"{}".to_vec()]),
            Err(StoreError::Unsettled(_))
        ));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(journal.tail().bodies().is_empty());
    }
}
