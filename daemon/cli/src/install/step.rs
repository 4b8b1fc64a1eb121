//! What is done to the disk, one step after the other. After any of them the process may die: what
//! runtimes look at is whole then, old or new, and the next run completes it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bulkhead_ipam::FileError;

use crate::failure::at;

/// What begins the name of a file that is not in its place yet. Runtimes pass such names over: no
/// plugin is called so, and it does not end like a configuration.
const STAGED: &str = ".bulkhead-install-";

/// One operation.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes a new file, durably.
    Write {
        path: PathBuf,
        bytes: Rc<[u8]>,
        mode: u32,
    },
    /// Gives a file a second name.
    Link { from: PathBuf, to: PathBuf },
    /// Puts a file in its place; what was there is gone in the same instant.
    Rename { from: PathBuf, to: PathBuf },
    /// Removes a file; if it is gone already, good.
    Remove(PathBuf),
    /// Makes a directory's names durable.
    Sync(PathBuf),
}

impl Step {
    pub(crate) fn run(&self) -> Result<(), FileError> {
        match self {
            Self::Write { path, bytes, mode } => {
                write(path, bytes, *mode).map_err(at("write", path))
            }
            Self::Link { from, to } => fs::hard_link(from, to).map_err(at("link", to)),
            Self::Rename { from, to } => fs::rename(from, to).map_err(at("replace", to)),
            Self::Remove(path) => match fs::remove_file(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                other => other.map_err(at("remove", path)),
            },
            Self::Sync(dir) => sync(dir),
        }
    }
}

/// Runs all; stops at the first that is refused, and takes away what was not in its place yet.
pub(crate) fn run(steps: &[Step]) -> Result<(), FileError> {
    steps.iter().try_for_each(Step::run).inspect_err(|_| {
        for step in steps {
            let (Step::Write { path, .. } | Step::Link { to: path, .. }) = step else {
                continue;
            };
            // The first refusal is told; the next run removes what cannot be removed now.
            let _ = fs::remove_file(path);
        }
    })
}

/// An unused name in `dir`, different for each `nth`.
pub(crate) fn staged(dir: &Path, nth: usize) -> PathBuf {
    dir.join(format!("{STAGED}{}-{nth}", std::process::id()))
}

/// What runs that died left in `dir`. Nobody else may be at work there.
pub(crate) fn leftovers(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut paths = entries(dir)?;
    paths.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(STAGED))
    });
    Ok(paths)
}

/// The paths in `dir`, sorted; none if there is no such directory.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(at("list", dir))?,
    };
    let paths: Result<Vec<_>, _> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut paths = paths.map_err(at("list", dir))?;
    paths.sort();
    Ok(paths)
}

/// Makes `dir` and what is missing above it, durably.
pub(crate) fn make_dir(dir: &Path) -> Result<(), FileError> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        make_dir(above)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !dir.is_dir() => {
            return Err(at("create", dir)(error));
        }
        _ => {}
    }
    sync(above.unwrap_or(Path::new(".")))
}

/// Keeps other runs out of `dir` until dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, FileError> {
    let file = File::open(dir).map_err(at("open", dir))?;
    file.lock().map_err(at("lock", dir))?;
    Ok(file)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    // Whatever the umask says.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

fn sync(dir: &Path) -> Result<(), FileError> {
    let file = File::open(dir).map_err(at("open", dir))?;
    file.sync_all().map_err(at("sync", dir))
}
