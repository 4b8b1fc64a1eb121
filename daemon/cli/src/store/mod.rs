//! `bulkhead store`: the cluster's store as a whole: its rows in a file, out of a file, into another
//! store.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bulkhead_ipam::cluster::EmbeddedStore;
use bulkhead_ipam::cluster::operations::{self, Backup, Operations};
use bulkhead_ipam::cluster::schema::Schema;
use bulkhead_ipam::wire::admin::{
    Migration, PAGE_ROWS, Progress, Reply, Request, RestoreReport, StoredRow,
};
use clap::{Args, Subcommand};

use crate::confirm::Confirm;
use crate::daemon::{Bar, Daemon, Reach};
use crate::failure::{Exit, Failure, Outcome, at};
use crate::output::{Format, visible};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write every row of the store, as it is at one revision, to a file.
    Backup(BackupArgs),
    /// Put the rows of a backup back, each only where there is none: into a store that was lost.
    ///
    /// A row that is there with another value is named and left; the store must have no block that the
    /// backup does not have. Run again after an interruption, it goes on.
    Restore(RestoreArgs),
    /// Move the cluster's rows into an etcd, for daemons that are then configured for it.
    ///
    /// Rows are copied by transactions that only create, while nobody writes. Then the old store is closed:
    /// each daemon serves from the new one once it is configured for it and restarted, and goes on with the
    /// blocks that it has until then. Run again after an interruption, it goes on.
    Migrate(MigrateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// The file; `-` is standard output. It is replaced in one instant.
    file: PathBuf,

    #[command(flatten)]
    offline: Offline,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// A file of `backup`; `-` is standard input, and then --yes is needed.
    file: PathBuf,

    #[command(flatten)]
    offline: Offline,

    #[command(flatten)]
    confirm: Confirm,

    #[command(flatten)]
    reach: Reach,
}

/// Whether the daemon does it.
#[derive(Args, Clone, Copy, Debug)]
struct Offline {
    /// The daemon is stopped: work on the embedded store of the state directory.
    #[arg(long)]
    offline: bool,
}

#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    to: To,

    /// Say what would be copied and what stands in the way, and copy nothing.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    confirm: Confirm,

    #[command(flatten)]
    reach: Reach,
}

/// An etcd to move to.
#[derive(Args, Debug)]
struct To {
    /// A member of it, such as `https://10.0.0.1:2379`; may be repeated.
    #[arg(long = "to", value_name = "URL", required = true)]
    endpoints: Vec<String>,

    /// The authority that signed the members' certificates.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// The client certificate.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// The client certificate's key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// The user.
    #[arg(long, requires = "password_file")]
    user: Option<String>,

    /// The file with the user's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,

    /// What every key begins with there.
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Backup(args) => backup(args).into(),
        Command::Restore(args) => restore(args, format),
        Command::Migrate(args) => migrate(args, format),
    }
}

fn backup(args: &BackupArgs) -> Result<String, Failure> {
    let backup = if args.offline.offline {
        let store = embedded(&args.reach)?;
        operations(&store, &Schema::default()).backup()
    } else {
        let (rows, revision) = exported(&args.reach.daemon()?)?;
        Backup::of(rows, revision)
    };
    let backup = backup.map_err(|source| Failure::backup(&args.file, source))?;
    let mut text = Vec::new();
    backup.write(&mut text).map_err(at("write", &args.file))?;
    if args.file == Path::new("-") {
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
    replace(&args.file, &text)?;
    let head = backup.head();
    Ok(format!(
        "{}: {} rows of cluster {} at revision {}\n",
        args.file.display(),
        head.rows,
        head.cluster,
        head.revision
    ))
}

/// Every row and the revision, as the daemon says.
fn exported(daemon: &Daemon) -> Result<(Vec<operations::StoredRow>, u64), Failure> {
    let mut at = 0;
    let mut rows = Vec::new();
    daemon.ask(&Request::StoreExport, |reply| {
        if let Reply::Stored {
            revision,
            rows: page,
        } = reply
        {
            at = revision;
            rows.extend(page.into_iter().map(|row| operations::StoredRow {
                key: row.key,
                value: row.value.into_bytes(),
            }));
        }
        Ok(())
    })?;
    Ok((rows, at))
}

/// The store that the daemon has while it runs; nobody else may be at it.
fn embedded(reach: &Reach) -> Result<EmbeddedStore, Failure> {
    let dir = reach.state_dir.join("cluster");
    EmbeddedStore::open(&dir).map_err(Failure::Embedded)
}

fn operations<'a>(store: &'a EmbeddedStore, schema: &'a Schema) -> Operations<'a> {
    Operations::new(store, schema)
}

/// Whoever reads the file sees the old one or the whole new one, also after a power loss. It is its owner's
/// alone: the keys of encrypted networks are in it.
fn replace(file: &Path, text: &[u8]) -> Result<(), Failure> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || -> io::Result<()> {
        // One that was left by an interrupted run may be open to everybody.
        let _ = fs::remove_file(&beside);
        let mut new = File::options();
        let mut file = new.write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text)?;
        file.sync_all()
    };
    write().map_err(at("write", &beside))?;
    fs::rename(&beside, file).map_err(at("replace", file))?;
    Ok(())
}

fn read(file: &Path) -> Result<Backup, Failure> {
    let read = if file == Path::new("-") {
        Backup::read(&mut io::stdin().lock())
    } else {
        let open = File::open(file).map_err(at("open", file))?;
        Backup::read(&mut BufReader::new(open))
    };
    read.map_err(|source| Failure::backup(file, source))
}

fn restore(args: &RestoreArgs, format: Format) -> Outcome {
    let restored = read(&args.file).and_then(|backup| {
        let head = backup.head();
        let consequences = format!(
            "{} rows of cluster {}, of revision {}, are put into the store, each only where there is none.\n  Restore only a store that was lost: nodes have gone on since, and what they claimed is not in the backup.",
            head.rows, head.cluster, head.revision,
        );
        args.confirm.ask(&consequences, "restore")?;
        if args.offline.offline {
            put_here(&args.reach, &backup)
        } else {
            put(&args.reach.daemon()?, &rows_of(&backup))
        }
    });
    match restored {
        Ok(report) => Outcome {
            stdout: format.render(&report, |_| told(&report)),
            stderr: Vec::new(),
            exit: if report.differing.is_empty() {
                Exit::Done
            } else {
                Exit::Drift
            },
        },
        Err(failure) => Err(failure).into(),
    }
}

/// A daemon takes text; what is none was never written by one.
fn rows_of(backup: &Backup) -> Vec<StoredRow> {
    let rows = backup.rows().iter();
    rows.map(|row| StoredRow {
        key: row.key.clone(),
        value: String::from_utf8_lossy(&row.value).into_owned(),
    })
    .collect()
}

fn put_here(reach: &Reach, backup: &Backup) -> Result<RestoreReport, Failure> {
    let store = embedded(reach)?;
    let schema = Schema::default();
    let mut bar = Bar::new();
    let report = operations(&store, &schema).restore(backup, &mut |progress| {
        bar.show(&Progress {
            what: progress.what.to_owned(),
            done: progress.done,
            total: progress.total,
        });
    })?;
    Ok(RestoreReport {
        written: report.written,
        same: report.same,
        differing: report.left,
    })
}

/// In pages; what all of them did.
fn put(daemon: &Daemon, rows: &[StoredRow]) -> Result<RestoreReport, Failure> {
    let mut sum = RestoreReport::default();
    let mut pages = rows.chunks(PAGE_ROWS).peekable();
    loop {
        let page = pages.next().unwrap_or_default();
        let last = pages.peek().is_none();
        let report = daemon.restored(&Request::StoreRestore {
            rows: page.to_vec(),
            last,
        })?;
        sum.written += report.written;
        sum.same += report.same;
        sum.differing.extend(report.differing);
        if last {
            return Ok(sum);
        }
    }
}

fn told(report: &RestoreReport) -> String {
    let differing: String = report
        .differing
        .iter()
        .map(|key| visible(&format!("{key}: there with another value, left")) + "\n")
        .collect();
    format!(
        "{differing}{} rows written, {} were there, {} differ\n",
        report.written,
        report.same,
        report.differing.len(),
    )
}

fn migrate(args: &MigrateArgs, format: Format) -> Outcome {
    let migrated = || {
        let daemon = args.reach.daemon()?;
        if !args.dry_run {
            let consequences = format!(
                "The rows of the store are copied to {}, and the present store is closed for good.\n  From now on nodes have the addresses of their blocks alone, until bulkheadd is configured anew and restarted.",
                args.to.endpoints.join(" ")
            );
            args.confirm.ask(&consequences, "migrate")?;
        }
        daemon.migrated(&Request::StoreMigrate {
            to: args.to.migration(),
            dry_run: args.dry_run,
        })
    };
    let report = match migrated() {
        Ok(report) => report,
        Err(failure) => return Err(failure).into(),
    };
    let text = |_| {
        let verb = if args.dry_run { "to copy" } else { "copied" };
        let counted = format!(
            "{} rows {verb}, {} are there already\n",
            report.copied, report.same
        );
        let configuration = report.configuration.trim_end();
        if configuration.is_empty() {
            return counted;
        }
        format!(
            "{counted}what every node has to be configured with, and bulkheadd restarted, to serve from there:\n{configuration}\n"
        )
    };
    Outcome {
        stdout: format.render(&report, text),
        stderr: report.obstacles.clone(),
        exit: if report.obstacles.is_empty() {
            Exit::Done
        } else {
            Exit::Drift
        },
    }
}

impl To {
    fn migration(&self) -> Migration {
        Migration {
            endpoints: self.endpoints.clone(),
            ca_file: self.ca.clone(),
            cert_file: self.cert.clone(),
            key_file: self.key.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            prefix: self.prefix.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Migrate {
        #[command(flatten)]
        args: MigrateArgs,
    }

    fn parsed(line: &str) -> Result<Migration, clap::Error> {
        let words = ["migrate"].into_iter().chain(line.split_whitespace());
        let Migrate { args } = Migrate::try_parse_from(words)?;
        Ok(args.to.migration())
    }

    #[test]
    fn where_to_is_what_the_options_say() {
        let to = parsed("--to https://a:2379 --to https://b:2379 --ca /c --cert /d --key /e --user u --password-file /p --prefix /x").unwrap();
        assert_eq!(to.endpoints, ["https://a:2379", "https://b:2379"]);
        assert_eq!((to.user.as_deref(), to.prefix.as_str()), (Some("u"), "/x"));
        for line in [
            "",
            "--to a --cert /d",
            "--to a --user u",
            "--to a --password-file /p",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn rows_that_were_left_are_named() {
        let report = RestoreReport {
            written: 3,
            same: 2,
            differing: vec!["/bulkhead/v1/meta".to_owned()],
        };
        assert_eq!(
            told(&report),
            "/bulkhead/v1/meta: there with another value, left\n3 rows written, 2 were there, 1 differ\n"
        );
    }
}
