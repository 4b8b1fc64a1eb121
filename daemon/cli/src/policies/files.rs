//! Files of objects, as an operator names them.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bulkhead_ipam::wire::admin::PolicyFile;

use crate::failure::{Failure, at};

/// What a directory's files end in that are read.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The files; of a directory those of objects, by name. `-` is standard input.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<PolicyFile>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(stdin_or_file(path)?);
            continue;
        }
        let entries = fs::read_dir(path).map_err(at("read", path))?;
        let entries = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut found = entries
            .collect::<io::Result<Vec<_>>>()
            .map_err(at("read", path))?;
        found.retain(|path| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            ending.is_some_and(|ending| ENDINGS.contains(&ending)) && path.is_file()
        });
        found.sort();
        for path in &found {
            files.push(stdin_or_file(path)?);
        }
    }
    Ok(files)
}

/// A file, or standard input.
pub(crate) fn stdin_or_file(path: &Path) -> Result<PolicyFile, Failure> {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = io::stdin().read_to_string(&mut text);
        read.map_err(at("read", path))?;
        let name = "standard input".to_owned();
        return Ok(PolicyFile { name, text });
    }
    Ok(PolicyFile {
        name: path.display().to_string(),
        text: fs::read_to_string(path).map_err(at("read", path))?,
    })
}
