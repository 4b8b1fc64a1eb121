//! The append-only journal: one file, one `fdatasync` for each append. Who calls it is the only
//! writer.

pub(crate) mod crc;
#[cfg(test)]
mod disk;
pub(crate) mod frame;
mod tail;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{FileError, StoreError};
#[cfg(test)]
pub(crate) use disk::{Disk, Step};
use frame::FrameError;
pub(crate) use tail::{Piece, Tail};

/// A journal open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    generation: u64,
    end: u64,
    /// Where the file ends: behind the records stand zeros that are to be written over.
    length: u64,
    /// The file grows to multiples of so many bytes; 1 for as much as is needed.
    step: u64,
    owed: Owed,
    #[cfg(test)]
    pub(crate) disk: Disk,
}

/// What has to be done before the next append, because it could not be done when it was due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Owed {
    Nothing,
    /// Cut off what an append that was refused left behind the end.
    Cut,
    /// Make the name durable.
    Name,
}

impl Journal {
    /// Makes the first journal at `path`, empty.
    pub(crate) fn create(path: &Path) -> Result<Self, FileError> {
        let header = frame::header(1);
        let file = replace_file(path, &header)?;
        Ok(Self::new(path, file, 1, offset(header.len())))
    }

    /// Opens the journal at `path` and cuts off a torn tail. `start` says for its generation where
    /// the records begin that are wanted. `None` if there is no file or an empty one: nothing was
    /// ever acknowledged from it.
    pub(crate) fn open(
        path: &Path,
        start: impl FnOnce(u64) -> Result<u64, StoreError>,
    ) -> Result<Option<(Self, Tail)>, StoreError> {
        let Some(file) = existing(OpenOptions::new().read(true).write(true), path)? else {
            return Ok(None);
        };
        let Some(generation) = generation_of(&file, path)? else {
            return Ok(None);
        };
        let (tail, torn) = tail_of(&file, path, start(generation)?)?;
        let end = tail.end();
        let mut journal = Self::new(path, file, generation, end);
        if torn {
            journal.owed = Owed::Cut;
            journal.settle()?;
        }
        Ok(Some((journal, tail)))
    }

    fn new(path: &Path, file: File, generation: u64, end: u64) -> Self {
        Self {
            path: path.to_owned(),
            file,
            generation,
            end,
            length: end,
            step: 1,
            owed: Owed::Nothing,
            #[cfg(test)]
            disk: Disk::default(),
        }
    }

    /// From here on the file grows ahead of the records, by zeros, to multiples of `step` bytes. To write
    /// over them changes nothing of the file but its content, so that `fdatasync` need not wait for the
    /// file system's own journal. Whoever reads takes them for what a crash left: whole sectors that were
    /// never written.
    pub(crate) fn grow_by(&mut self, step: u64) {
        self.step = step.max(1);
    }

    /// Cuts off what the file has grown ahead, for a file that is kept as it is.
    pub(crate) fn trim(&mut self) -> Result<(), FileError> {
        if self.length > self.end {
            self.owed = Owed::Cut;
        }
        self.settle()
    }

    /// Which in the row of the journals at this path it is.
    pub(crate) const fn generation(&self) -> u64 {
        self.generation
    }

    /// Its length in bytes.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// The records from `start` on.
    pub(crate) fn tail(&self, start: u64) -> Result<Tail, StoreError> {
        tail_of(&self.file, &self.path, start).map(|(tail, _)| tail)
    }

    /// Appends the records as one batch and returns once they are on the disk. After an error none of
    /// them counts, and the next append makes sure that none is there.
    pub(crate) fn append<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), FileError> {
        self.settle()?;
        let mut bytes = Vec::new();
        frame::push(&mut bytes, records);
        let end = self.end + offset(bytes.len());
        let written = self
            .write_ahead(&mut bytes, end)
            .map_err(FileError::at("append to", &self.path));
        let synced = written.and_then(|()| self.sync().map_err(FileError::at("sync", &self.path)));
        if synced.is_err() {
            self.owed = Owed::Cut;
            // If this fails too, the next append tries again.
            let _ = self.settle();
        } else {
            self.end = end;
        }
        synced
    }

    /// Writes the records in `bytes`, which end at `end`, and zeros behind them if the file is full.
    fn write_ahead(&mut self, bytes: &mut Vec<u8>, end: u64) -> io::Result<()> {
        if end <= self.length || self.step == 1 {
            self.write(bytes)?;
            self.length = self.length.max(end);
            return Ok(());
        }
        let records = bytes.len();
        let length = end.next_multiple_of(self.step);
        bytes.resize(index(length - self.end), 0);
        if self.write(bytes).is_ok() {
            self.length = length;
        } else {
            // A disk that has no room for zeros may have some for the records.
            self.write(&bytes[..records])?;
            self.length = end;
        }
        Ok(())
    }

    /// Puts a journal of the next generation with these records in this one's place and goes on with
    /// it. After a crash either is there as a whole; after an error this one goes on, unless the next
    /// is there already.
    pub(crate) fn renew<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<(), FileError> {
        self.settle()?;
        let generation = self.generation + 1;
        let mut bytes = frame::header(generation);
        for record in records {
            frame::push(&mut bytes, &[record]);
        }
        self.file = put_beside(&self.path, &bytes)?;
        (self.generation, self.end) = (generation, offset(bytes.len()));
        self.length = self.end;
        self.owed = Owed::Name;
        self.settle()
    }

    /// Whether the file is as it should be: every append that failed was taken back.
    pub(crate) fn is_settled(&self) -> bool {
        self.owed == Owed::Nothing
    }

    fn settle(&mut self) -> Result<(), FileError> {
        match self.owed {
            Owed::Nothing => {}
            Owed::Cut => {
                let cut = self.cut(self.end);
                cut.map_err(FileError::at("truncate", &self.path))?;
                self.length = self.end;
            }
            Owed::Name => sync_parent(&self.path)?,
        }
        self.owed = Owed::Nothing;
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.disk.asked(Step::Write)?;
        self.file.write_all_at(bytes, self.end)
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.disk.asked(Step::Sync)?;
        self.file.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        self.disk.asked(Step::Cut)?;
        self.file.set_len(length)?;
        self.file.sync_data()
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
    Ok((Tail::new(start, bytes, parsed.bodies), torn))
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
    let file = put_beside(path, bytes)?;
    sync_parent(path)?;
    Ok(file)
}

/// The same, but for the directory: until it is synced, a crash may leave the file that was there.
fn put_beside(path: &Path, bytes: &[u8]) -> Result<File, FileError> {
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
    Ok(file)
}

/// Makes names in `path`'s directory durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(FileError::at("sync", parent))
}

pub(crate) fn offset(at: usize) -> u64 {
    u64::try_from(at).expect("a length in memory fits 64 bits")
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("offsets of a journal are bounded by its rotation")
}
