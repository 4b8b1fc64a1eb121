//! The node daemon of a state directory, and the clocks.

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_ipam::wire::admin::{Filter, ListedNode, Status};

use crate::coexist::tool::run;
use crate::daemon::{DaemonError, Socket};
use crate::failure::{Failure, chain};
use crate::time::now_unix_ms;

/// A daemon that has a state directory.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) dir: PathBuf,
    pub(crate) said: Said,
    /// Those of its cluster; empty if it cannot say.
    pub(crate) nodes: Vec<ListedNode>,
    /// By how much the wall clock was set forward since the daemon started, in milliseconds.
    pub(crate) jump_ms: Option<i64>,
}

/// What a daemon says of itself.
#[derive(Debug)]
pub(crate) enum Said {
    Status(Box<Status>),
    /// It gives no answer; why.
    Nothing(String),
}

/// The wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    pub(crate) now_unix_ms: u64,
    /// Whether something keeps it right; `None` if nothing tells, or nobody asked.
    pub(crate) synchronised: Option<bool>,
}

impl Watched {
    /// `None` if no daemon has the directory.
    pub(super) fn ask(socket: &Socket, dir: &Path, unread: &mut Vec<String>) -> Option<Self> {
        let daemon = match socket.owner(dir) {
            Ok(daemon) => daemon?,
            Err(failure) => {
                unread.push(chain(&failure));
                return None;
            }
        };
        let said = match daemon.status() {
            Ok(status) => Said::Status(Box::new(status)),
            Err(Failure::Daemon(error @ DaemonError::Client(_))) => Said::Nothing(chain(&error)),
            Err(failure) => {
                unread.push(chain(&failure));
                return None;
            }
        };
        let jump_ms = match &said {
            Said::Status(status) => jump_ms(status),
            Said::Nothing(_) => None,
        };
        // A store that cannot be reached is told of by the status.
        let nodes = match &said {
            Said::Status(_) => daemon.nodes(&Filter::default()).unwrap_or_default(),
            Said::Nothing(_) => Vec::new(),
        };
        Some(Self {
            dir: dir.to_owned(),
            said,
            nodes,
            jump_ms,
        })
    }
}

impl Clock {
    /// What keeps it right is asked for where nodes compare their clocks.
    pub(super) fn read(is_cluster: bool) -> Self {
        Self {
            now_unix_ms: now_unix_ms(),
            synchronised: if is_cluster { synchronised() } else { None },
        }
    }
}

fn synchronised() -> Option<bool> {
    let said = run(&[
        "timedatectl",
        "show",
        "--property=NTPSynchronized",
        "--value",
    ])
    .ok()?;
    match said.stdout.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The daemon's age by the wall clock, less that by the clock that nobody sets.
fn jump_ms(status: &Status) -> Option<i64> {
    let daemon = &status.daemon;
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid)).ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let age_ms = age_ms(&stat, &uptime)?;
    let wall_ms =
        i64::try_from(daemon.now_unix_ms).ok()? - i64::try_from(daemon.started_at_unix_ms).ok()?;
    Some(wall_ms - age_ms)
}

/// How long ago a process started (proc(5): `starttime` is the 22nd field, in ticks since the boot, of
/// which the kernel shows 100 a second whatever it counts itself).
fn age_ms(stat: &str, uptime: &str) -> Option<i64> {
    const TICK_MS: i64 = 10;
    // The second field, a name in parentheses, may have anything inside.
    let (_, after) = stat.rsplit_once(')')?;
    let started: i64 = after.split_whitespace().nth(19)?.parse().ok()?;
    let (secs, rest) = uptime.split_once('.')?;
    let hundredths = rest.split_whitespace().next()?;
    let up_ms = secs.parse::<i64>().ok()? * 1000 + hundredths.parse::<i64>().ok()? * 10;
    Some(up_ms - started * TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_an_age_by_the_clock_of_the_boot() {
        let stat = "812 (a) b) S 1 812 812 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 12345 1 2 3";
        assert_eq!(age_ms(stat, "1000.50 3000.00\n"), Some(1_000_500 - 123_450));
        assert_eq!(age_ms("nothing", "1.0 2.0"), None);
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let age = age_ms(&own, &uptime).unwrap();
        assert!((0..3_600_000).contains(&age), "{age}");
    }
}
