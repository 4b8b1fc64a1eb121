//! Every configuration that is refused, with its exact text: `tests/cases/<name>/bulkheadd.toml` and
//! `error.txt`, in which `$FILE` is the file. `BULKHEAD_BLESS=1` writes the texts anew; read them in the
//! diff.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{BULKHEADD, Scratch};

fn check(file: &Path) -> Output {
    let mut command = Command::new(BULKHEADD);
    command
        .arg("check-config")
        .arg("--config")
        .arg(file)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_refused_configuration_says_what_is_wrong() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut wrong = Vec::new();
    for case in fs::read_dir(cases).unwrap() {
        let case = case.unwrap().path();
        let file = case.join("bulkheadd.toml");
        let output = check(&file);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{} is accepted",
            case.display()
        );
        assert!(output.stdout.is_empty());
        let error = text(&output.stderr).replace(&file.display().to_string(), "$FILE");
        assert!(!error.contains("secret"), "a secret is told: {error}");
        let golden = case.join("error.txt");
        if std::env::var_os("BULKHEAD_BLESS").is_some() {
            fs::write(&golden, &error).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if error != expected {
            wrong.push(format!("{}:\n{expected}{error}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_daemon_with_a_refused_configuration_does_not_start() {
    let dir = Scratch::new();
    let file = dir.path("bulkheadd.toml");
    let state = dir.path("state");
    fs::write(
        &file,
        format!("state_dir = \"{}\"\nworker = 1\n", state.display()),
    )
    .unwrap();
    let output = Command::new(BULKHEADD)
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "bulkheadd: {}: line 2: worker: there is no such key, is workers meant?\n",
        file.display()
    );
    assert_eq!(text(&output.stderr), expected);
    assert!(!state.exists(), "something was made");
}

#[test]
fn what_is_in_force_is_printed_without_secrets() {
    let dir = Scratch::new();
    let (file, password) = (dir.path("bulkheadd.toml"), dir.path("password"));
    fs::write(&password, "hunter2\n").unwrap();
    let config = format!(
        "[node]\nlabels = {{ rack = \"3\" }}\n[store]\nbackend = \"etcd\"\n[store.etcd]\n\
         endpoints = [\"http://10.0.0.1:2379\"]\nuser = \"node\"\npassword_file = \"{}\"\n",
        password.display()
    );
    fs::write(&file, config).unwrap();
    let output = check(&file);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(!printed.contains("hunter2"));
    for line in [
        "state_dir = /var/lib/bulkhead",
        "node.labels = rack=3",
        "workers.threads = 8",
        "store.backend = etcd",
        "store.etcd.endpoints = http://10.0.0.1:2379",
        "metrics.listen = off",
    ] {
        assert!(
            printed.lines().any(|printed| printed == line),
            "{line} is not in:\n{printed}"
        );
    }
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let output = check(&PathBuf::from("/nonexistent/bulkheadd.toml"));
    assert_eq!(output.status.code(), Some(1));
    let expected = "configuration /nonexistent/bulkheadd.toml cannot be read: No such file or directory (os error 2)\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn the_command_line_is_explained() {
    let run = |args: &[&str]| Command::new(BULKHEADD).args(args).output().unwrap();
    let version = run(&["--version"]);
    assert_eq!(
        text(&version.stdout),
        format!("bulkheadd {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(text(&run(&["--help"]).stdout).starts_with("usage: bulkheadd"));
    let wrong = run(&["serve"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).starts_with("bulkheadd: \"serve\" is no argument\nusage:"));
}
