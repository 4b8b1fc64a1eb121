//! `bulkhead uninstall`: the configuration first, so that runtimes stop choosing it, then every
//! plugin of ours.

use std::fs::File;
use std::path::{Path, PathBuf};

use bulkhead_model::AttachmentKey;

use super::configuration::{abandoned, written};
use super::executable::installed;
use super::step::{Step, leftovers, lock, run};
use super::{Action, InstallError, Kind, UninstallArgs, Work, sysctls};
use crate::failure::Failure;
use crate::sources::Sources;

/// How many attachments an error names; `bulkhead ipam ls` lists all.
const NAMED: usize = 20;

pub(super) fn uninstall(args: &UninstallArgs) -> Result<Work, InstallError> {
    if !args.force {
        let (count, names) = attached(&args.sources)?;
        if count > 0 {
            return Err(InstallError::Attached { count, names });
        }
    }
    let _alone = locks(args)?;
    let plugins = installed(&args.bin_dir)?;
    let mut work = configurations(args, &plugins)?;
    let files = files(args, plugins)?;
    if !args.dry_run {
        run(&work.steps)?;
        if !args.force {
            let (count, names) = attached(&args.sources)?;
            if count > 0 {
                return Err(InstallError::AttachedMeanwhile { count, names });
            }
        }
        run(&files.steps)?;
    }
    work.rows.extend(files.rows);
    Ok(work)
}

/// The directories that are there, each for this process alone.
fn locks(args: &UninstallArgs) -> Result<Vec<File>, InstallError> {
    let dirs = [&args.bin_dir, &args.sources.conf_dir];
    let present = dirs.into_iter().filter(|dir| dir.is_dir() && !args.dry_run);
    Ok(present.map(|dir| lock(dir)).collect::<Result<_, _>>()?)
}

fn configurations(args: &UninstallArgs, plugins: &[PathBuf]) -> Result<Work, InstallError> {
    let dir = &args.sources.conf_dir;
    let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
    let gone: Vec<_> = plugins.iter().filter_map(name).collect();
    let mut work = Work::default();
    let found = abandoned(dir, &written(args.conf.as_deref())?, &gone)?;
    for path in found.ours {
        work.remove(Kind::Configuration, path);
    }
    for (path, plugin) in found.others {
        let note = format!("not as it was installed; runtimes that choose it find no {plugin}");
        work.row(Action::Left, Kind::Configuration, path, Some(note));
    }
    finish(&mut work, dir)?;
    sysctls::remove(&mut work, &args.sysctl)?;
    Ok(work)
}

fn files(args: &UninstallArgs, plugins: Vec<PathBuf>) -> Result<Work, InstallError> {
    let mut work = Work::default();
    for path in plugins {
        work.remove(Kind::Plugin, path);
    }
    finish(&mut work, &args.bin_dir)?;
    Ok(work)
}

/// Removes what runs that died left as well, and makes it all durable.
fn finish(work: &mut Work, dir: &Path) -> Result<(), InstallError> {
    for path in leftovers(dir)? {
        work.remove(Kind::Leftover, path);
    }
    if !work.steps.is_empty() {
        work.steps.push(Step::Sync(dir.to_owned()));
    }
    Ok(())
}

/// How many attachments are recorded, and the first of them by name.
fn attached(sources: &Sources) -> Result<(usize, String), InstallError> {
    let (networks, failures) = sources.select(None)?;
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure.into());
    }
    let mut keys: Vec<AttachmentKey> = Vec::new();
    for network in networks {
        let Some(snapshot) = network.read()? else {
            continue;
        };
        let recorded = snapshot.attachments().map_err(|source| Failure::Store {
            network: network.name.clone(),
            source,
        })?;
        keys.extend(recorded.into_iter().map(|record| record.key));
    }
    let mut names: Vec<_> = keys.iter().take(NAMED).map(ToString::to_string).collect();
    if keys.len() > NAMED {
        names.push("...".to_owned());
    }
    Ok((keys.len(), names.join(", ")))
}
