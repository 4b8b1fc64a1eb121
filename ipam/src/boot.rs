//! The machine's boot and its clocks. A cool-down is measured on the boot's own clock, which no
//! administrator sets; the wall clock is recorded for people.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::error::FileError;
use crate::record::BootId;

/// Where the facts of the boot come from.
#[derive(Clone, Debug)]
pub struct Boot {
    id: BootId,
    clock: Clock,
}

/// An instant, on both clocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// Milliseconds since the machine booted, suspend included (`CLOCK_BOOTTIME`).
    pub since_boot_ms: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

#[derive(Clone, Debug)]
enum Clock {
    System,
    Fixed(Now),
}

impl Boot {
    /// This boot of this machine.
    ///
    /// # Errors
    /// If `/proc` is not mounted.
    pub fn current() -> Result<Self, FileError> {
        Self::from_file(Path::new("/proc/sys/kernel/random/boot_id"))
    }

    /// The boot whose id stands in `path`, on the system's clocks.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        let path: PathBuf = path.to_owned();
        let text = fs::read_to_string(&path).map_err(FileError::at("read", &path))?;
        Ok(Self {
            id: BootId(text.trim().to_owned()),
            clock: Clock::System,
        })
    }

    /// A boot with a clock that stands still, for tests and simulations.
    #[must_use]
    pub fn fixed(id: &str, now: Now) -> Self {
        Self {
            id: BootId(id.to_owned()),
            clock: Clock::Fixed(now),
        }
    }

    /// The kernel's id of the boot.
    #[must_use]
    pub const fn id(&self) -> &BootId {
        &self.id
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        match self.clock {
            Clock::Fixed(now) => now,
            Clock::System => Now {
                since_boot_ms: since_boot_ms(),
                unix_ms: unix_ms(),
            },
        }
    }
}

fn since_boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(time.tv_sec) * 1000 + part(time.tv_nsec) / 1_000_000
}

fn unix_ms() -> u64 {
    // A clock before 1970 is a broken one; the time is for people only.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
