//! Golden cases. `golden/calls/<case>/` is one call of a plugin: `environment` (NAME=value lines)
//! and `stdin` go in, `answer` (exit code, stdout, stderr) comes out. `golden/results/<case>/` is
//! one result in 1.1.0 and what every version makes of it. `BLESS=1` rewrites the expectations; read
//! them in the diff.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bulkhead_cni::json::Value;
use bulkhead_cni::{
    Answer, Call, CniError, CniResult, CniVersion, Code, Environment, Verb, answer,
};

fn cases(kind: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(kind);
    let mut cases: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn expect(path: &Path, found: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; run with BLESS=1", path.display()));
    assert_eq!(found, expected, "{}", path.display());
}

/// Stands for a plugin: ADD returns prevResult and one address more, CHECK demands prevResult, GC
/// and STATUS fail with what they were told.
fn plugin(call: &Call) -> Result<Answer, CniError> {
    if matches!(call.verb, Verb::Add | Verb::Del) {
        call.check_netns()?;
    }
    match call.verb {
        Verb::Add => {
            let mut result = call.config.prev_result()?.unwrap_or_default();
            if call.config.ipam.is_some() {
                let ip = Value::parse(br#"{"ips":[{"address":"192.0.2.9/24"}]}"#).unwrap();
                let more = CniResult::parse("", &ip, CniVersion::NEWEST).unwrap();
                result.ips.extend(more.ips);
            }
            Ok(Answer::Result(result))
        }
        Verb::Check => call.config.required_prev_result().map(|_| Answer::Silent),
        Verb::Gc => Err(CniError::new(
            Code::DRIFT,
            format!("{:?}", call.config.valid_attachments),
        )),
        Verb::Status => Err(CniError::unavailable("the pool is empty").with_details("254 leases")),
        Verb::Del | Verb::Version => Ok(Answer::Silent),
    }
}

#[test]
fn a_call_is_answered_as_recorded() {
    for case in cases("calls") {
        let read = |name| std::fs::read_to_string(case.join(name)).unwrap();
        let environment = read("environment");
        let environment = Environment::new(
            environment
                .lines()
                .map(|line| line.split_once('=').unwrap()),
        );
        let stdin = read("stdin");
        let (name, about) = ("bulkhead-golden", "answers golden cases");
        let output = answer(name, about, environment, stdin.as_bytes(), plugin);
        let (stdout, stderr) = (output.stdout, output.stderr);
        let mut answer = format!("{:?}\n", ExitCode::from(output.exit));
        for (stream, bytes) in [("stdout", &stdout), ("stderr", &stderr)] {
            let text = std::str::from_utf8(bytes).unwrap();
            write!(answer, "--- {stream}\n{text}").unwrap();
        }
        // The release is not the same for ever.
        let named = format!("{name} {}", env!("CARGO_PKG_VERSION"));
        let answer = answer.replace(&named, &format!("{name} RELEASE"));
        expect(&case.join("answer"), &answer);
        if !stdout.is_empty() {
            Value::parse(&stdout).expect("stdout is exactly one JSON document");
        }
    }
}

#[test]
fn a_result_is_written_in_every_version() {
    for case in cases("results") {
        let text = std::fs::read(case.join("result.json")).unwrap();
        let value = Value::parse(&text).unwrap();
        let result = CniResult::parse("result", &value, CniVersion::NEWEST).unwrap();
        for version in CniVersion::ALL {
            let written = match result.to_json(version) {
                Ok(value) => {
                    let again = CniResult::parse("result", &value, version).unwrap();
                    assert_eq!(again.to_json(version).as_ref(), Ok(&value), "{version}");
                    format!("{value:#}\n")
                }
                Err(error) => format!("{error}\n"),
            };
            expect(&case.join(format!("{version}.json")), &written);
        }
        let newest = result.to_json(CniVersion::NEWEST).unwrap();
        let again = CniResult::parse("result", &newest, CniVersion::NEWEST).unwrap();
        assert_eq!(again, result);
    }
}

/// Who closed the pipe has not read the answer; the call has failed and nothing panics.
#[test]
fn a_closed_pipe_is_a_failure_and_no_panic() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for command in ["VERSION", "STATUS", ""] {
        let environment = Environment::new([("CNI_COMMAND", command)]);
        let output = answer("p", "a", environment, &b"{}"[..], plugin);
        let code = output.write(Closed, Closed);
        let expected = u8::from(!command.is_empty());
        assert_eq!(
            format!("{code:?}"),
            format!("{:?}", ExitCode::from(expected))
        );
    }
}
