//! `bulkhead install`: what stands where, and the steps that put ours there.

use std::path::{Path, PathBuf};

use super::configuration::{Configuration, Existing};
use super::executable::{Executable, Found, found, is_ours_alone};
use super::step::{Step, leftovers, lock, make_dir, run, staged};
use super::{Action, InstallArgs, InstallError, Kind, Work, sysctls};
use crate::failure::at;

/// Who may read and run a plugin, and read a configuration: everybody, as in packages.
const PLUGIN_MODE: u32 = 0o755;
const CONFIGURATION_MODE: u32 = 0o644;

/// What `args` mean, read and found good.
pub(super) struct Order {
    pub(super) executable: Executable,
    pub(super) bin_dir: PathBuf,
    pub(super) configuration: Option<(Configuration, Existing)>,
    /// Where to write settings of the kernel, if anywhere.
    pub(super) sysctl: Option<PathBuf>,
}

pub(super) fn install(args: &InstallArgs) -> Result<Work, InstallError> {
    let order = order(args)?;
    if args.dry_run {
        return work(&order);
    }
    make_dir(&args.bin_dir)?;
    let _alone = lock(&args.bin_dir)?;
    let _alone = if args.no_conf {
        None
    } else {
        make_dir(&args.conf_dir)?;
        Some(lock(&args.conf_dir)?)
    };
    if let Some(dir) = order.sysctl.as_deref().and_then(Path::parent) {
        make_dir(dir)?;
    }
    let work = work(&order)?;
    run(&work.steps)?;
    Ok(work)
}

fn order(args: &InstallArgs) -> Result<Order, InstallError> {
    let existing = if args.force_conf {
        Existing::Replace
    } else {
        Existing::Keep
    };
    let configuration = if args.no_conf {
        None
    } else {
        let read = Configuration::read(&args.conf_dir, args.conf.as_deref())?;
        Some((read, existing))
    };
    Ok(Order {
        executable: executable(args)?,
        bin_dir: args.bin_dir.clone(),
        configuration,
        sysctl: args.sysctl.clone(),
    })
}

fn executable(args: &InstallArgs) -> Result<Executable, InstallError> {
    if let Some(dir) = &args.from {
        return Executable::find(&[dir]);
    }
    let own = Path::new("/proc/self/exe");
    let own = std::env::current_exe().map_err(at("read", own))?;
    let beside = own.parent().unwrap_or(Path::new("/"));
    Executable::find(&[beside, &args.bin_dir])
}

/// What is to be done in the directories as they are now: the plugins first, and durably, then the
/// configuration that names them.
pub(super) fn work(order: &Order) -> Result<Work, InstallError> {
    let mut work = Work::default();
    clear(&mut work, &order.bin_dir)?;
    place_plugins(&mut work, &order.executable, &order.bin_dir)?;
    if let Some((configuration, existing)) = &order.configuration {
        configuration.served_by(&order.executable, &order.bin_dir)?;
        place_configuration(&mut work, configuration, *existing)?;
    }
    if let Some(path) = &order.sysctl {
        sysctls::place(&mut work, path)?;
    }
    Ok(work)
}

fn clear(work: &mut Work, dir: &Path) -> Result<(), InstallError> {
    for path in leftovers(dir)? {
        work.remove(Kind::Leftover, path);
    }
    Ok(())
}

/// One file under every name.
fn place_plugins(
    work: &mut Work,
    executable: &Executable,
    bin_dir: &Path,
) -> Result<(), InstallError> {
    let (mut same, mut differing, mut foreign) = (None, Vec::new(), Vec::new());
    for name in &executable.names {
        let path = bin_dir.join(name);
        let (action, note) = match found(&path, executable)? {
            Found::Nothing => (Action::Create, None),
            Found::Ours => (Action::Replace, None),
            Found::Same => {
                same.get_or_insert_with(|| path.clone());
                (Action::Unchanged, None)
            }
            Found::Foreign(what) if is_ours_alone(name) => {
                foreign.push((path, what));
                continue;
            }
            Found::Foreign(what) => (Action::Left, Some(format!("{what} of another suite"))),
        };
        if matches!(action, Action::Create | Action::Replace) {
            differing.push(path.clone());
        }
        work.row(action, Kind::Plugin, path, note);
    }
    if !foreign.is_empty() {
        return Err(InstallError::InTheWay(foreign));
    }
    link(work, executable, bin_dir, same.as_deref(), &differing);
    Ok(())
}

/// Gives the file every name of `names`: the one that stands there already if there is one, else a
/// new one.
fn link(
    work: &mut Work,
    executable: &Executable,
    bin_dir: &Path,
    same: Option<&Path>,
    names: &[PathBuf],
) {
    let written = staged(bin_dir, 0);
    let is_new = same.is_none() && !names.is_empty();
    if is_new {
        work.steps.push(Step::Write {
            path: written.clone(),
            bytes: executable.bytes.as_slice().into(),
            mode: PLUGIN_MODE,
        });
    }
    for (nth, name) in (1..).zip(names) {
        let linked = staged(bin_dir, nth);
        work.steps.push(Step::Link {
            from: same.unwrap_or(&written).to_owned(),
            to: linked.clone(),
        });
        work.steps.push(Step::Rename {
            from: linked,
            to: name.clone(),
        });
    }
    if is_new {
        work.steps.push(Step::Remove(written));
    }
    // Also where a run that died had placed all.
    work.steps.push(Step::Sync(bin_dir.to_owned()));
}

fn place_configuration(
    work: &mut Work,
    configuration: &Configuration,
    existing: Existing,
) -> Result<(), InstallError> {
    let path = &configuration.path;
    let dir = path.parent().unwrap_or(Path::new("."));
    clear(work, dir)?;
    let decision = configuration.decide(existing)?;
    if matches!(decision.action, Action::Create | Action::Replace) {
        let written = staged(dir, 0);
        work.steps.extend([
            Step::Write {
                path: written.clone(),
                bytes: configuration.bytes.as_slice().into(),
                mode: CONFIGURATION_MODE,
            },
            Step::Rename {
                from: written,
                to: path.clone(),
            },
            Step::Sync(dir.to_owned()),
        ]);
    }
    work.row(
        decision.action,
        Kind::Configuration,
        path.clone(),
        decision.note,
    );
    Ok(())
}
