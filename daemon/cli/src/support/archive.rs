//! The archive: a compressed tape archive (POSIX.1-1988 ustar) with one directory in it.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

/// An archive that is being written.
pub(super) struct Archive<W: Write> {
    builder: Option<Builder<GzEncoder<W>>>,
    dir: String,
    unix_secs: u64,
}

impl<W: Write> Archive<W> {
    /// Everything in it is below `dir`.
    pub(super) fn new(output: W, dir: &str, unix_secs: u64) -> Self {
        let encoder = GzEncoder::new(output, Compression::default());
        Self {
            builder: Some(Builder::new(encoder)),
            dir: dir.to_owned(),
            unix_secs,
        }
    }

    pub(super) fn add(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(u64::try_from(bytes.len()).map_err(io::Error::other)?);
        header.set_mode(0o600);
        header.set_mtime(self.unix_secs);
        let path = format!("{}/{path}", self.dir);
        match &mut self.builder {
            Some(builder) => builder.append_data(&mut header, path, bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends it; nothing can be added any more.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some(builder) = self.builder.take() else {
            return Ok(());
        };
        builder.into_inner()?.finish()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_was_added_is_read_again() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes, "bundle", 1_772_352_000);
        let long = format!("state/{}", "n".repeat(200));
        archive.add("a.txt", b"one").unwrap();
        archive.add(&long, b"").unwrap();
        archive.finish().unwrap();
        drop(archive);
        let mut read = tar::Archive::new(GzDecoder::new(bytes.as_slice()));
        let entries = read.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!(entry.header().mode().unwrap(), 0o600);
            (entry.path().unwrap().display().to_string(), text)
        });
        assert_eq!(
            entries.collect::<Vec<_>>(),
            [
                ("bundle/a.txt".to_owned(), "one".to_owned()),
                (format!("bundle/{long}"), String::new()),
            ]
        );
    }
}
