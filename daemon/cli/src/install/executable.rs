//! The plugin executable as a file. Its names, and whose it is, are read from its bytes: a
//! stranger's executable is never run to find out.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::InstallError;
use super::step::entries;
use crate::failure::at;

/// The names an executable may have where it is taken from: as cargo builds it, and as installed.
pub(super) const SOURCES: [&str; 2] = ["bulkhead-cni", "bulkhead-bridge"];

/// What every plugin executable of ours holds in one line, before the names it answers to (`NAMES`
/// in plugins/cni-bin). In pieces, so that this command's own executable does not hold it.
const LINE: [&str; 3] = ["\nbulkhead-cni", " answers", " to:"];

/// Names that begin so belong to this project; others of ours are shipped by other suites as well.
const OURS: &str = "bulkhead-";

const ELF: &[u8] = b"\x7fELF";

/// The names the executable with these bytes answers to; `None` if it is not one of ours.
pub(super) fn names(bytes: &[u8]) -> Option<Vec<String>> {
    if !bytes.starts_with(ELF) {
        return None;
    }
    let line = LINE.concat();
    let found = bytes
        .windows(line.len())
        .position(|window| window == line.as_bytes())?;
    let rest = &bytes[found + line.len()..];
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    let names: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    let is_name = |name: &String| {
        name.bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (!names.is_empty() && names.iter().all(is_name)).then_some(names)
}

/// The executable that is to be installed.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) bytes: Vec<u8>,
    pub(super) names: Vec<String>,
}

impl Executable {
    /// The plugin executable of the first of `dirs` that has one.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it is somebody else's.
    pub(super) fn find(dirs: &[&Path]) -> Result<Self, InstallError> {
        let candidates = |dir: &&Path| SOURCES.map(|name| dir.join(name));
        let mut candidates = dirs.iter().flat_map(candidates);
        let Some(path) = candidates.find(|path| path.exists()) else {
            let dirs = dirs.iter().map(|dir| dir.display().to_string());
            return Err(InstallError::NoExecutable(dirs.collect()));
        };
        let bytes = fs::read(&path).map_err(at("read", &path))?;
        match names(&bytes) {
            Some(names) => Ok(Self { bytes, names }),
            None => Err(InstallError::NotAPlugin(path)),
        }
    }
}

/// What stands where a plugin is to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Nothing,
    /// The same bytes, executable.
    Same,
    /// Another release of ours, or one that nobody may execute.
    Ours,
    /// Not ours, and what it is.
    Foreign(&'static str),
}

/// What stands at `path`, as seen by who wants to put `executable` there.
pub(super) fn found(path: &Path, executable: &Executable) -> Result<Found, InstallError> {
    Ok(match entry(path)? {
        Entry::Nothing => Found::Nothing,
        Entry::Other(what) => Found::Foreign(what),
        Entry::File(bytes) if bytes == executable.bytes => {
            let metadata = fs::metadata(path).map_err(at("examine", path))?;
            let runs = metadata.mode() & 0o100 != 0;
            if runs { Found::Same } else { Found::Ours }
        }
        Entry::File(bytes) if names(&bytes).is_some() => Found::Ours,
        Entry::File(_) => Found::Foreign("a file"),
    })
}

/// What a name leads to.
enum Entry {
    Nothing,
    /// A regular file, and its bytes.
    File(Vec<u8>),
    Other(&'static str),
}

fn entry(path: &Path) -> Result<Entry, InstallError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Entry::Nothing),
        Err(error) => return Err(at("examine", path)(error).into()),
    };
    Ok(if kind.is_file() {
        Entry::File(fs::read(path).map_err(at("read", path))?)
    } else if kind.is_dir() {
        Entry::Other("a directory")
    } else if kind.is_symlink() {
        Entry::Other("a symbolic link")
    } else {
        Entry::Other("no regular file")
    })
}

/// Whether nobody else may have a plugin of that name.
pub(super) fn is_ours_alone(name: &str) -> bool {
    name.starts_with(OURS)
}

/// Every plugin of ours in `dir`, sorted: files that answer to the very name they have.
pub(super) fn installed(dir: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let mut plugins = Vec::new();
    for path in entries(dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if let Entry::File(bytes) = entry(&path)?
            && names(&bytes).is_some_and(|names| names.iter().any(|own| own == name))
        {
            plugins.push(path);
        }
    }
    Ok(plugins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(names: &str) -> Vec<u8> {
        [
            ELF,
            b"\0code",
            LINE.concat().as_bytes(),
            names.as_bytes(),
            b"\nmore",
        ]
        .concat()
    }

    #[test]
    fn an_executable_of_ours_says_its_names() {
        assert_eq!(
            names(&file(" bulkhead-bridge loopback")),
            Some(vec!["bulkhead-bridge".to_owned(), "loopback".to_owned()])
        );
    }

    #[test]
    fn what_is_not_an_executable_of_ours_has_no_names() {
        let ours = file(" bulkhead-bridge");
        for bytes in [
            &b""[..],
            b"\x7fELF and nothing of ours",
            &ours[4..],
            &ours[..ours.len() - 5],
            &file(""),
            &file(" ../escape"),
            &file(" bulkhead-bridge\0"),
        ] {
            assert_eq!(names(bytes), None, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    /// The tests' own executable holds all that this command's does.
    #[test]
    fn this_command_is_no_plugin() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(names(&own), None);
    }
}
