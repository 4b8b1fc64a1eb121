//! Plugins on a node that a daemon serves.

use std::io;
use std::time::Duration;

use super::contestant::Contestant;
use super::field::{Field, Slot};
use super::plugins::Plugins;
use super::rounds::in_node;
use super::usage::{Whose, goes_on, reap_orphans, resident_kib};
use crate::{Daemon, Suite};

/// The same plugins, which hand every call to the node's daemon.
#[derive(Debug)]
pub struct Managed {
    // Before the field's directory goes.
    daemon: Daemon,
    plugins: Plugins,
}

impl Managed {
    /// Starts a daemon on the field of `plugins`.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn new(plugins: Plugins) -> io::Result<Self> {
        let field = plugins.field();
        let daemon = Daemon::start(&field.host, field.state.path(), "")?;
        goes_on(daemon.pid());
        Ok(Self { daemon, plugins })
    }

    /// The daemon's resident memory in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        resident_kib(self.daemon.pid()).unwrap_or_default()
    }
}

/// What the daemon occupies beside attachments.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// The attachments.
    pub beside: usize,
    /// Its resident memory in KiB.
    pub kib: u64,
}

/// Attaches as many residents as each of `counts` says, rising, to a node with a daemon, and looks at it.
///
/// # Errors
/// As [`Daemon::start`].
///
/// # Panics
/// When a call fails.
pub fn resident(counts: &[usize]) -> io::Result<Vec<Resident>> {
    let most = counts.iter().copied().max().unwrap_or_default();
    let field = Field::new(1, most).map_err(io::Error::other)?;
    let managed = Managed::new(Plugins::new("bulkhead, daemon", Suite::ours(), field))?;
    let mut attached = 0;
    let mut seen = Vec::new();
    for &beside in counts {
        in_node(&managed, || {
            for slot in &managed.field().residents[attached..beside] {
                managed.add(slot);
            }
        });
        attached = beside;
        let kib = managed.resident_kib();
        seen.push(Resident { beside, kib });
    }
    Ok(seen)
}

impl Contestant for Managed {
    fn name(&self) -> &str {
        self.plugins.name()
    }

    fn field(&self) -> &Field {
        self.plugins.field()
    }

    fn add(&self, slot: &Slot) {
        self.plugins.add(slot);
    }

    fn del(&self, slot: &Slot) {
        self.plugins.del(slot);
    }

    fn drain(&self) {
        reap_orphans();
    }

    fn whose(&self) -> Whose {
        Whose::ChildrenAnd(self.daemon.pid())
    }

    fn version(&self) -> Option<Duration> {
        self.plugins.version()
    }

    fn peaks(&self, slot: &Slot) -> Option<[u64; 3]> {
        self.plugins.peaks(slot)
    }
}
