//! CPU time and memory, as the kernel accounts them.

use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Whose CPU time is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whose {
    /// This process and its threads.
    Own,
    /// The processes that it started and waited for, and theirs.
    Children,
    /// All of these.
    Both,
    /// The processes that it started and waited for, and one that goes on, by its id.
    ChildrenAnd(u32),
}

/// User and system time so far.
///
/// # Panics
/// Never: the kernel refuses only unknown arguments (getrusage(2)).
pub(crate) fn cpu(whose: Whose) -> Duration {
    match whose {
        Whose::Own => accounted(UsageWho::RUSAGE_SELF),
        Whose::Children => accounted(UsageWho::RUSAGE_CHILDREN),
        Whose::Both => accounted(UsageWho::RUSAGE_SELF) + accounted(UsageWho::RUSAGE_CHILDREN),
        Whose::ChildrenAnd(pid) => accounted(UsageWho::RUSAGE_CHILDREN) + of_process(pid),
    }
}

fn accounted(who: UsageWho) -> Duration {
    let usage = getrusage(who).expect("both are known to every kernel");
    duration(usage.user_time()) + duration(usage.system_time())
}

/// User and system time of a process that runs (`/proc/pid/stat`, proc(5): fields 14 and 15, in
/// `USER_HZ`, which is 100 on every architecture we run on).
fn of_process(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field may have spaces, and ends with the last closing bracket.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// As [`cpu`], of a process that goes on to the nanosecond: what its threads that live have run
/// (`/proc/pid/task/tid/schedstat`). For single calls.
pub(crate) fn cpu_of_call(whose: Whose) -> Duration {
    match whose {
        Whose::ChildrenAnd(pid) => accounted(UsageWho::RUSAGE_CHILDREN) + of_threads(pid),
        whose => cpu(whose),
    }
}

fn of_threads(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let nanos = tasks.filter_map(|task| {
        let said = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        said.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Resident memory of a process in KiB (`VmRSS`).
pub(crate) fn resident_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn duration(time: TimeVal) -> Duration {
    let secs = u64::try_from(time.tv_sec()).unwrap_or_default();
    let micros = u64::try_from(time.tv_usec()).unwrap_or_default();
    Duration::from_secs(secs) + Duration::from_micros(micros)
}

/// Processes that go on, which nobody waits for.
static GOING_ON: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Keeps [`reap_orphans`] from waiting for a process that goes on.
pub(crate) fn goes_on(pid: u32) {
    let mut all = GOING_ON.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(pid);
}

/// Waits for every process that became ours by the death of its parent.
pub(crate) fn reap_orphans() {
    use rustix::process::{Pid, WaitOptions, waitpid};
    let going_on = GOING_ON.lock().unwrap_or_else(PoisonError::into_inner);
    for child in children().filter(|child| !going_on.contains(child)) {
        let child = i32::try_from(child).ok().and_then(Pid::from_raw);
        // Somebody else may have waited for it.
        let _ = child.map(|child| waitpid(Some(child), WaitOptions::empty()));
    }
}

/// The children of each thread of this process (proc(5), `/proc/pid/task/tid/children`).
fn children() -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let pids: Vec<u32> = lists
        .flat_map(|list| {
            let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
            pids.collect::<Vec<u32>>()
        })
        .collect();
    pids.into_iter()
}

/// Makes this process the parent of what its descendants leave behind, so that their work is
/// counted and can be waited for.
///
/// # Errors
/// What the kernel says.
pub fn adopt_orphans() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// What `command` says, and the peak memory in KiB of the largest process that it is or starts, as the
/// small program next to this one sees it.
///
/// # Panics
/// When the call fails.
pub(crate) fn peak_kib(command: &Command, stdin: &str) -> (Vec<u8>, u64) {
    let own = std::env::current_exe().expect("/proc is mounted");
    let mut small = Command::new(own.with_file_name("peak"));
    small.arg(command.get_program()).env_clear();
    let variables = command.get_envs();
    small.envs(variables.filter_map(|(name, value)| Some((name, value?))));
    let (answered, said) = answer(small.stderr(Stdio::piped()), stdin);
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().last().unwrap_or_default();
    let peak = last
        .parse()
        .unwrap_or_else(|_| panic!("{command:?}: {said}"));
    (answered, peak)
}

/// The smallest peak in KiB that [`peak_kib`] can see: that of a program that does nothing, which
/// is the small program without arguments.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn smallest_peak_kib() -> u64 {
    let own = std::env::current_exe().expect("/proc is mounted");
    let mut nested = Command::new(own.with_file_name("peak"));
    nested
        .arg(own.with_file_name("peak"))
        .stderr(Stdio::piped());
    let output = nested.output().expect("it is built with this one");
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines()
        .find_map(|line| line.parse().ok())
        .unwrap_or_default()
}

/// Runs `command` with `stdin` to its end, which must be a success; its two outputs.
pub(crate) fn answer(command: &mut Command, stdin: &str) -> (Vec<u8>, Vec<u8>) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    let mut input = child.stdin.take().expect("it is piped");
    // It fits into the pipe; a plugin that does not read it is in its right.
    let _ = input.write_all(stdin.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("a child can be waited for");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {said}");
    (output.stdout, output.stderr)
}
