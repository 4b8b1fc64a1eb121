//! `make soak`'s last part: see [`bulkhead_tests::hammer`]. It works in mount and PID namespaces of its
//! own, in which it starts itself again.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bulkhead_tests::hammer::{Plan, run};

const USAGE: &str = "hammer [--seed N] [--duration 30s] [--nodes N] [--workers N]";
/// Set in the namespaces of its own.
const INSIDE: &str = "BULKHEAD_HAMMER_INSIDE";
/// What `ip netns` writes to a fixed place is the run's own.
const PREPARE: &str = r#"mount -t tmpfs tmpfs /run; mkdir /run/netns /run/lock; exec "$0" "$@""#;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = plan(&words) else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    if std::env::var_os(INSIDE).is_none() {
        let error = inside(&words);
        eprintln!("hammer: unshare: {error}");
        return ExitCode::FAILURE;
    }
    eprintln!("hammer: {plan:?}");
    match run(&plan) {
        Ok(verdict) => {
            verdict.evidence.iter().for_each(|line| println!("{line}"));
            println!("{verdict}");
            ExitCode::from(u8::from(!verdict.is_clean()))
        }
        Err(error) => {
            eprintln!("hammer: no verdict: {error}");
            ExitCode::from(2)
        }
    }
}

/// Does not return if it succeeds.
fn inside(words: &[String]) -> io::Error {
    let executable = match std::env::current_exe() {
        Ok(executable) => executable,
        Err(error) => return error,
    };
    // Killed, it takes every daemon with it, and its mounts and names are nobody else's.
    Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["sh", "-ec", PREPARE])
        .arg(executable)
        .args(words)
        .env(INSIDE, "1")
        .exec()
}

fn plan(words: &[String]) -> Option<Plan> {
    let mut plan = Plan::new(1, Duration::from_secs(30));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next()?;
        match word.as_str() {
            "--seed" => plan.seed = value.parse().ok()?,
            "--duration" => plan.duration = duration(value)?,
            "--nodes" => plan.nodes = value.parse().ok().filter(|n| (1..=50).contains(n))?,
            "--workers" => plan.workers = value.parse().ok().filter(|n| (1..=50).contains(n))?,
            _ => return None,
        }
    }
    Some(plan)
}

/// `30s`, `5m`, `1h`, or seconds.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let unit = match unit {
        "m" => 60,
        "h" => 3600,
        _ => 1,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)
        .map(Duration::from_secs)
}
