//! Configurations, and the heads of the journals.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Gathered, SupportArgs, redact};
use crate::time;

/// Of a file of the state directory: its first line says what it is, its end what was last.
const HEAD: u64 = 4 << 10;
const TAIL: u64 = 64 << 10;
/// A configuration is far shorter.
const LONGEST: u64 = 1 << 20;
/// What of a state directory is looked into, the rest is listed: recorded calls carry configurations, and
/// those secrets.
const LOOKED_INTO: [&str; 7] = [
    "networks", "host", "spool", "coexist", "cluster", "managed", "node-id",
];
/// Of these, the most files.
const MOST: usize = 500;

pub(super) fn gather(args: &SupportArgs, gathered: &mut Gathered) {
    configuration(&args.config, gathered);
    networks(&args.sources.conf_dir, gathered);
    state(&args.sources.state_dir, gathered);
    for path in [
        "/etc/os-release",
        "/proc/version",
        "/proc/uptime",
        "/proc/meminfo",
        "/proc/loadavg",
    ] {
        match fs::read(path) {
            Ok(bytes) => gathered.add(
                &format!("node/{}", path.replace('/', "_").trim_start_matches('_')),
                bytes,
            ),
            Err(error) => gathered.miss(path, &error.to_string()),
        }
    }
}

fn configuration(path: &Path, gathered: &mut Gathered) {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => match redact::toml(&text) {
            Some(text) => gathered.add("config/bulkheadd.toml", text.into_bytes()),
            None => gathered.miss(
                &name,
                "it is no TOML, and so nothing tells what of it is secret",
            ),
        },
        Err(error) => gathered.miss(&name, &error.to_string()),
    }
}

fn networks(dir: &Path, gathered: &mut Gathered) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return gathered.miss(&dir.display().to_string(), &error.to_string()),
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.is_file()) {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let is_short = fs::metadata(path).is_ok_and(|found| found.len() <= LONGEST);
        let text = fs::read(path).ok().filter(|_| is_short);
        match text.and_then(|bytes| redact::json(&bytes)) {
            Some(text) => gathered.add(&format!("config/net.d/{file}"), text.into_bytes()),
            None => gathered.miss(
                &path.display().to_string(),
                "it is no JSON, and so nothing tells what of it is secret",
            ),
        }
    }
}

/// A list of every file, and of each its beginning and its end.
fn state(dir: &Path, gathered: &mut Gathered) {
    let mut paths = Vec::new();
    if let Err(error) = walk(dir, &mut paths) {
        gathered.miss(&dir.display().to_string(), &error.to_string());
    }
    paths.sort();
    let listed: String = paths.iter().map(|path| listed(dir, path)).collect();
    gathered.add("state/files.txt", listed.into_bytes());
    let known = paths.iter().filter_map(|path| {
        let below = path.strip_prefix(dir).ok()?.to_str()?;
        let first = below.split('/').next()?;
        (LOOKED_INTO.contains(&first) && path.is_file()).then_some((path, below))
    });
    let known: Vec<_> = known.collect();
    for (path, below) in known.iter().take(MOST) {
        match ends(path) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => gathered.add(&format!("state/{below}"), bytes),
            Err(error) => gathered.miss(&path.display().to_string(), &error.to_string()),
        }
    }
    if paths.len() > MOST {
        let why = format!(
            "only the first {MOST} of {} files were looked into",
            paths.len()
        );
        gathered.miss(&dir.display().to_string(), &why);
    }
}

fn walk(dir: &Path, paths: &mut Vec<std::path::PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), paths)?;
        } else {
            paths.push(entry.path());
        }
    }
    Ok(())
}

fn listed(dir: &Path, path: &Path) -> String {
    let below = path.strip_prefix(dir).unwrap_or(path).display();
    match fs::symlink_metadata(path) {
        Ok(found) => {
            let changed = u64::try_from(found.mtime()).unwrap_or_default();
            let (mode, uid, size) = (found.mode() & 0o7777, found.uid(), found.len());
            format!(
                "{mode:04o} {uid:>5} {size:>10} {} {below}\n",
                time::seconds(changed * 1000)
            )
        }
        Err(error) => format!("{below}: {error}\n"),
    }
}

/// All of a short file, else its head and its tail.
fn ends(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    if length <= HEAD + TAIL {
        file.read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    Read::by_ref(&mut file).take(HEAD).read_to_end(&mut bytes)?;
    let left = length - HEAD - TAIL;
    bytes.extend_from_slice(format!("\n[{left} bytes are left out]\n").as_bytes());
    file.seek(SeekFrom::End(
        -i64::try_from(TAIL).map_err(io::Error::other)?,
    ))?;
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(bytes)
}
