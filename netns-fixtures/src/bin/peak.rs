//! `peak <executable>`: runs it with this process' input, output and environment and prints, on standard
//! error, the peak resident KiB of the largest process of the call. Without one it does nothing.
//!
//! A program of its own because a process inherits its parent's peak over `execve` (`exec_mmap`,
//! fs/exec.c): nothing smaller than the parent can be seen, so the parent must be small.

use std::process::{Command, ExitCode};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

fn main() -> ExitCode {
    let Some(executable) = std::env::args_os().nth(1) else {
        // The smallest thing that can be measured with it.
        return ExitCode::SUCCESS;
    };
    match peak_kib(&executable) {
        Ok(peak) => {
            eprintln!("{peak}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", executable.display());
            ExitCode::FAILURE
        }
    }
}

fn peak_kib(executable: &std::ffi::OsStr) -> std::io::Result<i64> {
    set_child_subreaper(Some(getpid()))?;
    let status = Command::new(executable).status()?;
    // What it left behind is its own doing and counts.
    while let Ok(Some(_)) = wait(WaitOptions::empty()) {}
    if !status.success() {
        return Err(std::io::Error::other(status.to_string()));
    }
    Ok(getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss())
}
