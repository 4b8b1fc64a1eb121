//! `bulkhead install` and `bulkhead uninstall`: the plugins in the directory where runtimes look for
//! them, and a network's configuration.
//!
//! What there is is looked at first; then it is decided what to do, as a list of [`Step`]s; then
//! that is done. A runtime that execs a plugin or reads a configuration meanwhile gets the old file
//! or the new one.

mod configuration;
mod executable;
mod place;
mod remove;
pub(crate) mod step;
mod sysctls;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use bulkhead_cni::list::LoadError;
use bulkhead_ipam::FileError;
use bulkhead_model::NetworkName;
use clap::Args;
use serde::Serialize;

use self::step::Step;
use crate::failure::{Exit, Failure, Outcome, chain};
use crate::output::{Format, or_dash, table};
use crate::sources::Sources;

#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    /// Where runtimes look for plugins.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: PathBuf,

    /// Where runtimes look for network configurations.
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    conf_dir: PathBuf,

    /// Where the plugin executable is, `bulkhead-cni` or `bulkhead-bridge`. Without it beside this
    /// command, else in --bin-dir.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// The configuration to write, under its own name; without it 10-bulkhead.conflist. It is
    /// written only if no file is about its network.
    #[arg(long, value_name = "FILE", value_parser = configuration_file)]
    conf: Option<PathBuf>,

    /// Write no configuration.
    #[arg(long, conflicts_with_all = ["conf", "force_conf"])]
    no_conf: bool,

    /// Replace a configuration of that name which differs.
    #[arg(long)]
    force_conf: bool,

    /// Write a file that makes room in the kernel's neighbour tables from the next boot on. Nothing is
    /// applied now.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = sysctls::DEFAULT
    )]
    sysctl: Option<PathBuf>,

    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct UninstallArgs {
    /// Where runtimes look for plugins.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: PathBuf,

    #[command(flatten)]
    sources: Sources,

    /// The configuration that was written by `install --conf`.
    #[arg(long, value_name = "FILE", value_parser = configuration_file)]
    conf: Option<PathBuf>,

    /// The file that `install --sysctl` wrote; removed if it is that.
    #[arg(long, value_name = "FILE", default_value = sysctls::DEFAULT)]
    sysctl: PathBuf,

    /// Remove the plugins although attachments are recorded, which nothing can detach then.
    #[arg(long)]
    force: bool,

    /// Say what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn install(args: &InstallArgs, format: Format) -> Outcome {
    told(place::install(args), format)
}

pub(crate) fn uninstall(args: &UninstallArgs, format: Format) -> Outcome {
    told(remove::uninstall(args), format)
}

/// What is done to one file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Create,
    Replace,
    Remove,
    /// It is as it should be.
    Unchanged,
    /// It is not ours to change.
    Left,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Plugin,
    Configuration,
    /// Settings of the kernel.
    Sysctl,
    /// What a run that died left.
    Leftover,
}

/// One file, and what is done to it.
#[derive(Debug, Eq, PartialEq, Serialize)]
struct Row {
    action: Action,
    kind: Kind,
    path: PathBuf,
    note: Option<String>,
}

/// What is to be done, and what there is to say about it.
#[derive(Debug, Default)]
struct Work {
    rows: Vec<Row>,
    steps: Vec<Step>,
}

impl Work {
    fn row(&mut self, action: Action, kind: Kind, path: PathBuf, note: Option<String>) {
        self.rows.push(Row {
            action,
            kind,
            path,
            note,
        });
    }

    fn remove(&mut self, kind: Kind, path: PathBuf) {
        self.steps.push(Step::Remove(path.clone()));
        self.row(Action::Remove, kind, path, None);
    }
}

/// Why nothing was done, or not all.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    /// Neither name of the plugin executable is in one of these directories.
    #[error(
        "there is no plugin executable bulkhead-cni or bulkhead-bridge in {}; name its directory by --from",
        .0.join(" or ")
    )]
    NoExecutable(Vec<String>),
    /// A file of that name that is something else.
    #[error("{} is no plugin executable of bulkhead; name another directory by --from", .0.display())]
    NotAPlugin(PathBuf),
    /// Names of ours that somebody else uses, each with what stands there.
    #[error("in the way and not ours: {}; move it away", listed(.0))]
    InTheWay(Vec<(PathBuf, &'static str)>),
    /// The configuration would fail every ADD.
    #[error(
        "{} names plugin {plugin:?}, which is not in {}: install it first, or correct the configuration",
        path.display(),
        bin_dir.display()
    )]
    NoPlugin {
        path: PathBuf,
        plugin: String,
        bin_dir: PathBuf,
    },
    /// A second file would be about the same network.
    #[error("network {network} is configured in {} too: remove that first, or leave out --force-conf", path.display())]
    Configured { network: NetworkName, path: PathBuf },
    /// Nothing could detach these any more.
    #[error(
        "{count} attachments are recorded: {names}; detach them first, or --force leaves them as they are"
    )]
    Attached { count: usize, names: String },
    /// Attachments that came while the configuration was taken away.
    #[error(
        "{count} attachments came while the configuration was removed: {names}; the plugins are left for their DEL, run the same command again when they are detached"
    )]
    AttachedMeanwhile { count: usize, names: String },
    /// A configuration.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is recorded could not be read.
    #[error(transparent)]
    Sources(#[from] Failure),
}

impl InstallError {
    fn exit(&self) -> Exit {
        match self {
            Self::NoExecutable(_) => Exit::NotFound,
            Self::InTheWay(_)
            | Self::NoPlugin { .. }
            | Self::Configured { .. }
            | Self::Attached { .. }
            | Self::AttachedMeanwhile { .. } => Exit::Failed,
            Self::NotAPlugin(_) | Self::Load(_) | Self::File(_) => Exit::Unreadable,
            Self::Sources(failure) => failure.exit(),
        }
    }
}

fn listed(found: &[(PathBuf, &'static str)]) -> String {
    let texts: Vec<_> = found
        .iter()
        .map(|(path, what)| format!("{} ({what})", path.display()))
        .collect();
    texts.join(", ")
}

fn told(result: Result<Work, InstallError>, format: Format) -> Outcome {
    let rows = match result {
        Ok(work) => work.rows,
        Err(error) => {
            return Outcome {
                stdout: String::new(),
                stderr: vec![chain(&error)],
                exit: error.exit(),
            };
        }
    };
    let stdout = format.render(&rows, |_| {
        let rows: Vec<_> = rows.iter().map(cells).collect();
        table(&["ACTION", "KIND", "PATH", "NOTE"], &rows)
    });
    Ok(stdout).into()
}

fn cells(row: &Row) -> Vec<String> {
    let action = match row.action {
        Action::Create => "create",
        Action::Replace => "replace",
        Action::Remove => "remove",
        Action::Unchanged => "unchanged",
        Action::Left => "left",
    };
    let kind = match row.kind {
        Kind::Plugin => "plugin",
        Kind::Configuration => "configuration",
        Kind::Sysctl => "sysctl",
        Kind::Leftover => "leftover",
    };
    vec![
        action.to_owned(),
        kind.to_owned(),
        row.path.display().to_string(),
        or_dash(row.note.clone()),
    ]
}

/// Runtimes read no other files of a configuration directory (libcni `ConfFiles`).
fn configuration_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("conflist" | "conf" | "json") => Ok(path),
        _ => Err("runtimes read files that end with .conflist, .conf or .json".to_owned()),
    }
}
