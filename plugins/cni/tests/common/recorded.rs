//! The recorded calls of real runtimes, `tests/corpora`.

use std::path::{Path, PathBuf};

use bulkhead_cni::Environment;
use bulkhead_cni::json::{Object, Value};

/// A call of a real runtime.
pub(crate) struct Recorded {
    pub(crate) file: PathBuf,
    pub(crate) environment: Environment,
    pub(crate) stdin: Value,
    pub(crate) stdout: Value,
}

/// Every recorded call of podman and of a CRI runtime.
pub(crate) fn recorded() -> Vec<Recorded> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpora");
    let mut calls = Vec::new();
    for runtime in ["podman", "cri"] {
        for entry in std::fs::read_dir(corpora.join(runtime)).unwrap() {
            let file = entry.unwrap().path();
            let value = Value::parse(&std::fs::read(&file).unwrap()).unwrap();
            let env = Object::root(&value)
                .unwrap()
                .optional_object("env")
                .unwrap()
                .unwrap();
            let env = env
                .members()
                .map(|(name, field)| (name, field.str().unwrap().to_owned()));
            calls.push(Recorded {
                environment: Environment::new(env),
                stdin: value.get("stdin").unwrap().clone(),
                stdout: value.get("stdout").unwrap().clone(),
                file,
            });
        }
    }
    assert!(
        calls.len() > 60,
        "the corpora are incomplete: {} calls",
        calls.len()
    );
    calls
}
