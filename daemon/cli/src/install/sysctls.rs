//! Room in the neighbour tables: a file for sysctl.d(5), written on request alone. Nothing is applied.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::step::{Step, staged};
use super::{Action, InstallError, Kind, Work};
use crate::failure::at;

/// Where it is, unless somebody says otherwise.
pub(super) const DEFAULT: &str = "/etc/sysctl.d/60-bulkhead.conf";
/// What is written.
const TEXT: &str = include_str!("../../../../deploy/sysctl/60-bulkhead.conf");
/// How every release's begins.
const MARK: &str = "# Written by `bulkhead install --sysctl`.";
/// Everybody may read it, as in packages.
const MODE: u32 = 0o644;

/// What stands there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    Nothing,
    Same,
    Ours,
    Foreign,
}

/// What is to be done to write it.
pub(super) fn place(work: &mut Work, path: &Path) -> Result<(), InstallError> {
    let action = match found(path)? {
        Found::Nothing => Action::Create,
        Found::Ours => Action::Replace,
        Found::Same => Action::Unchanged,
        Found::Foreign => {
            let note = "somebody else's: give another one by --sysctl=FILE".to_owned();
            work.row(Action::Left, Kind::Sysctl, path.to_owned(), Some(note));
            return Ok(());
        }
    };
    if action != Action::Unchanged {
        let dir = path.parent().unwrap_or(Path::new("."));
        let written = staged(dir, 0);
        work.steps.extend([
            Step::Write {
                path: written.clone(),
                bytes: TEXT.as_bytes().into(),
                mode: MODE,
            },
            Step::Rename {
                from: written,
                to: path.to_owned(),
            },
            Step::Sync(dir.to_owned()),
        ]);
    }
    let note = format!(
        "for the next boot; sysctl -p {} applies it now",
        path.display()
    );
    work.row(action, Kind::Sysctl, path.to_owned(), Some(note));
    Ok(())
}

/// What is to be done to remove it; somebody else's is not looked at.
pub(super) fn remove(work: &mut Work, path: &Path) -> Result<(), InstallError> {
    if matches!(found(path)?, Found::Same | Found::Ours) {
        work.remove(Kind::Sysctl, path.to_owned());
        let dir = path.parent().unwrap_or(Path::new("."));
        work.steps.push(Step::Sync(dir.to_owned()));
    }
    Ok(())
}

fn found(path: &Path) -> Result<Found, InstallError> {
    match fs::read(path) {
        Ok(bytes) if bytes == TEXT.as_bytes() => Ok(Found::Same),
        Ok(bytes) if bytes.starts_with(MARK.as_bytes()) => Ok(Found::Ours),
        Ok(_) => Ok(Found::Foreign),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(Found::Foreign),
        Err(error) => Err(at("read", path)(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_known_again() {
        assert!(TEXT.starts_with(MARK));
    }
}
