//! The files that objects are in.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bulkhead_ipam::wire::admin::{CIRCUMSTANCES, Circumstances};
use bulkhead_policy::read::{Effect, Fault, MAX_BYTES, Reader, Reading, SyntaxError};
use clap::Args;
use serde::Deserialize;

use super::PolicyError;
use crate::failure::{Exit, Failure, Outcome, at};

#[derive(Args, Debug)]
pub(super) struct Objects {
    /// Objects, YAML or JSON: a file, a directory with such files, or standard input (`-`). May be given
    /// several times.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Objects {
    pub(super) fn read(&self) -> Result<Reading, Failure> {
        read(&self.files)
    }
}

/// What the files say together.
pub(super) fn read(files: &[PathBuf]) -> Result<Reading, Failure> {
    let mut reader = Reader::new();
    for (file, text) in texts(files)? {
        let read = reader.read(&file, &text);
        read.map_err(|source| PolicyError::Syntax { file, source })?;
    }
    Ok(reader.finish())
}

/// The files' names and what is in them; of a directory those of objects.
pub(super) fn texts(files: &[PathBuf]) -> Result<Vec<(String, String)>, Failure> {
    let mut all = Vec::new();
    for path in files {
        if path.is_dir() {
            let files = within(path)?;
            if files.is_empty() {
                return Err(PolicyError::NoFiles(path.clone()).into());
            }
            for file in files {
                all.push(text_of(&file)?);
            }
        } else {
            all.push(text_of(path)?);
        }
    }
    Ok(all)
}

fn text_of(path: &Path) -> Result<(String, String), Failure> {
    let (file, read) = if path == Path::new("-") {
        let read = bounded(io::stdin().lock());
        ("standard input".to_owned(), read)
    } else {
        let read = fs::File::open(path).and_then(bounded);
        (path.display().to_string(), read)
    };
    let bytes = read.map_err(at("read", path))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok((file, text)),
        Err(error) => {
            let read = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let above = read.iter().filter(|b| **b == b'\n').count();
            let source = SyntaxError {
                line: u32::try_from(above + 1).unwrap_or(u32::MAX),
                fault: Fault::Encoding,
            };
            Err(PolicyError::Syntax { file, source }.into())
        }
    }
}

/// All that is there, and no more than it takes to see that it is too much: there are files without an end.
fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a node has seen, if the text is a snapshot of it.
pub(super) fn circumstances_in(text: &str) -> Option<Circumstances> {
    #[derive(Deserialize)]
    struct Object {
        kind: String,
        spec: Circumstances,
    }
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let mut meant = lines.filter(|line| line.contains(CIRCUMSTANCES));
    meant.find_map(|line| {
        let object: Object = serde_json::from_str(line).ok()?;
        (object.kind == CIRCUMSTANCES).then_some(object.spec)
    })
}

/// The files of a directory that are called as objects are, by name.
fn within(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(at("read", dir))? {
        let path = entry.map_err(at("read", dir))?.path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if matches!(kind, Some("yaml" | "yml" | "json")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A result about what was read, and what was wrong with that: what fails closed or is left out makes it
/// less than was asked for.
pub(super) fn outcome(stdout: String, reading: &Reading) -> Outcome {
    let complaints = reading.complaints.iter();
    let is_less = complaints.clone().any(|said| said.effect != Effect::Told);
    Outcome {
        stdout,
        stderr: complaints.map(ToString::to_string).collect(),
        exit: if is_less {
            Exit::Unreadable
        } else {
            Exit::Done
        },
    }
}
