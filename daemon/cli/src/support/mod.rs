//! `bulkhead support-bundle`: one archive with what helps somebody who cannot look at the node. What is
//! secret stays out of it; what could not be had is named in it.

mod archive;
mod commands;
mod files;
mod redact;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bulkhead_ipam::wire::admin::{Progress, Reply, Request};
use clap::Args;
use serde::Serialize;

use self::archive::Archive;
use crate::daemon::{Bar, Socket};
use crate::failure::{Failure, Outcome, at, chain};
use crate::output::Format;
use crate::sources::Sources;
use crate::time;

#[derive(Args, Debug)]
pub(crate) struct SupportArgs {
    /// The archive; by default bulkhead-support-HOST-TIME.tar.gz in the present directory.
    #[arg(value_name = "FILE.tar.gz")]
    file: Option<PathBuf>,

    /// The node daemon's configuration.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/bulkhead/bulkheadd.toml"
    )]
    config: PathBuf,

    #[command(flatten)]
    socket: Socket,

    #[command(flatten)]
    sources: Sources,
}

/// What is in it.
#[derive(Debug, Default)]
struct Gathered {
    files: Vec<(String, Vec<u8>)>,
    /// What could not be had, and why.
    missing: Vec<String>,
}

/// What a program is told.
#[derive(Debug, Serialize)]
struct Made {
    file: PathBuf,
    files: usize,
    missing: Vec<String>,
}

pub(crate) fn run(args: &SupportArgs, format: Format) -> Outcome {
    let made = make(args);
    made.map(|made| {
        format.render(&made, |_| {
            format!(
                "{}: {} files, {} could not be had (missing.txt)\n",
                made.file.display(),
                made.files,
                made.missing.len()
            )
        })
    })
    .into()
}

fn make(args: &SupportArgs) -> Result<Made, Failure> {
    let now = time::now_unix_ms();
    let name = format!("bulkhead-support-{}-{}", host(), time::compact(now));
    let default = || PathBuf::from(format!("{name}.tar.gz"));
    let file = args.file.clone().unwrap_or_else(default);
    // Refused at once, not after everything was gathered.
    let beside = beside(&file);
    let output = open(&beside).map_err(at("write", &beside))?;
    let gathered = gather(args);
    let missing = gathered.missing;
    let mut archive = Archive::new(output, &name, now / 1000);
    let listed = gathered.files.len();
    let mut write = || -> io::Result<()> {
        for (path, bytes) in &gathered.files {
            archive.add(path, bytes)?;
        }
        archive.add("missing.txt", lines(&missing).as_bytes())?;
        archive.finish()
    };
    write().map_err(at("write", &beside))?;
    fs::rename(&beside, &file).map_err(at("replace", &file))?;
    Ok(Made {
        file,
        files: listed,
        missing,
    })
}

fn beside(file: &Path) -> PathBuf {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    beside.into()
}

/// Addresses, names of pods and of files are in it: for root alone.
fn open(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Gathers some of it.
type Part = fn(&SupportArgs, &mut Gathered);

fn gather(args: &SupportArgs) -> Gathered {
    let mut gathered = Gathered::default();
    let mut bar = Bar::new();
    let parts: [(&str, Part); 4] = [
        ("the daemon", of_daemon),
        ("files", files::gather),
        ("commands", commands::ours),
        ("the kernel", commands::of_node),
    ];
    for (nth, (what, part)) in (0..).zip(parts) {
        bar.show(&Progress {
            what: format!("gathering, {what}"),
            done: nth,
            total: Some(4),
        });
        part(args, &mut gathered);
    }
    gathered
}

/// What the daemon says helps.
fn of_daemon(args: &SupportArgs, gathered: &mut Gathered) {
    let daemon = match args.socket.named(&args.sources.state_dir) {
        Ok(Some(daemon)) => daemon,
        Ok(None) => return gathered.miss("daemon", "no node daemon has the state directory"),
        Err(failure) => return gathered.miss("daemon", &chain(&failure)),
    };
    let asked = daemon.ask(&Request::Support, |reply| {
        if let Reply::Piece(piece) = reply {
            gathered.append(&format!("daemon/{}", piece.file), piece.text.as_bytes());
        }
        Ok(())
    });
    if let Err(failure) = asked {
        gathered.miss("daemon", &chain(&failure));
    }
}

impl Gathered {
    fn add(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.push((inside(path), bytes));
    }

    /// Adds to the file of that name, if the last one is that.
    fn append(&mut self, path: &str, bytes: &[u8]) {
        let path = inside(path);
        match self.files.last_mut() {
            Some((last, text)) if *last == path => text.extend_from_slice(bytes),
            _ => self.files.push((path, bytes.to_vec())),
        }
    }

    fn miss(&mut self, what: &str, why: &str) {
        self.missing.push(format!("{what}: {why}"));
    }
}

/// A relative path that leads nowhere else.
fn inside(path: &str) -> String {
    let parts = path.split('/');
    let parts: Vec<_> = parts
        .filter(|part| !["", ".", ".."].contains(part))
        .collect();
    parts.join("/")
}

fn lines(texts: &[String]) -> String {
    texts.iter().map(|text| text.clone() + "\n").collect()
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    let name: String = name.trim().chars().filter(plain).collect();
    if name.is_empty() {
        "node".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_elsewhere_stays_inside_the_archive() {
        assert_eq!(inside("daemon/../../etc//passwd"), "daemon/etc/passwd");
        assert_eq!(inside("/etc/./x"), "etc/x");
    }

    #[test]
    fn parts_of_one_file_are_put_together() {
        let mut gathered = Gathered::default();
        gathered.append("daemon/a", b"1");
        gathered.append("daemon/a", b"2");
        gathered.append("daemon/b", b"3");
        let files = [("daemon/a", "12"), ("daemon/b", "3")];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        assert_eq!(gathered.files, files);
    }
}
