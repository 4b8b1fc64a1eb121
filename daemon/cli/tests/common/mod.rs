//! The built binary, directories of a test's own, and texts that a person has read.

#![allow(dead_code)] // each test file uses its part

pub(crate) mod daemon;
pub(crate) mod firewalld;
pub(crate) mod node;
pub(crate) mod ours;
pub(crate) mod scripted;
pub(crate) mod store;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use netns_fixtures::Ns;

pub(crate) const BULKHEAD: &str = env!("CARGO_BIN_EXE_bulkhead");

/// A directory of the test's own, removed with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cli-{}-{nth}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    pub(crate) fn text(&self, below: &str) -> String {
        self.path(below).display().to_string()
    }

    pub(crate) fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The names in a directory, sorted; none if there is no such directory.
    pub(crate) fn names(&self, below: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(below)).into_iter().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A run of `bulkhead` with the words of `line`, in which `$DIR` is this directory.
    pub(crate) fn bulkhead(&self, line: &str) -> Ran {
        self.run(Command::new(BULKHEAD), line)
    }

    /// The same in a namespace.
    pub(crate) fn bulkhead_in(&self, ns: &Ns, line: &str) -> Ran {
        self.run(ns.command(BULKHEAD), line)
    }

    /// The same by a command that will run `bulkhead`, however it wraps it.
    pub(crate) fn run(&self, mut command: Command, line: &str) -> Ran {
        let dir = self.0.display().to_string();
        let words = line
            .split_whitespace()
            .map(|word| word.replace("$DIR", &dir));
        let output = command.args(words).env_remove("CNI_PATH").output().unwrap();
        Ran::new(&output, &dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a run said, with the scratch directory written as `$DIR`.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn new(output: &Output, dir: &str) -> Self {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .unwrap()
                .replace(dir, "$DIR")
        };
        Self {
            code: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The standard output of a run that succeeded without a word.
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        self.stdout
    }

    /// The exit code and the standard error of a run that printed no result.
    pub(crate) fn refused(self) -> (i32, String) {
        assert_eq!(self.stdout, "", "{self:?}");
        (self.code, self.stderr)
    }
}

/// Compares with `tests/golden/<name>`; `BULKHEAD_BLESS` rewrites it, to be read in the diff.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("BULKHEAD_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name}");
}

/// Each nft script cut to the beginning of its first line: the planner's golden plans have the rest.
pub(crate) fn without_tables(script: &str) -> String {
    let mut text = String::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        text.extend([line, "\n"]);
        if line.ends_with("<<'END'") {
            let first = lines.by_ref().next().unwrap();
            let begins = first.split(" {").next().unwrap();
            text.extend([begins, " ...\nEND\n"]);
            lines.by_ref().find(|line| *line == "END").unwrap();
        }
    }
    text
}

/// The reference plugins as Debian installs them.
pub(crate) const REFERENCE: &str = "/usr/lib/cni";

/// The directory with all of `plugins`; `None`, and the skip on record, if one is missing.
pub(crate) fn plugins(test: &str, dir: Option<PathBuf>, plugins: &[&str]) -> Option<PathBuf> {
    let Some(dir) = dir else {
        skip(
            test,
            "BULKHEAD_BIN_DIR names no directory with our plugins, `make build` does",
        );
        return None;
    };
    let missing = plugins.iter().find(|name| !dir.join(name).exists());
    let Some(missing) = missing else {
        return Some(dir);
    };
    skip(
        test,
        &format!("there is no plugin {missing} in {}", dir.display()),
    );
    None
}

pub(crate) fn skip(test: &str, reason: &str) {
    let line = format!("SKIPPED {test}: {reason}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("BULKHEAD_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        // An unrecorded skip would pass for a success.
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}
