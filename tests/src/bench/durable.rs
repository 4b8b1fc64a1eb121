//! The least that a plugin with a node daemon can take: a static executable is started, one record is on
//! the disk before the answer, and the kernel gets its messages from a warm process.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::contestant::Contestant;
use super::field::{Field, Slot};
use super::floor::Floor;
use super::usage::{Whose, answer};

/// About what a record of an attachment is long.
const RECORD: [u8; 600] = [b'r'; 600];
const NO_CONFIG: &str = r#"{"cniVersion":"1.0.0","name":"floor","type":"floor"}"#;

/// The kernel's floor, with a start and a record for each call.
#[derive(Debug)]
pub struct Durable {
    name: &'static str,
    floor: Floor,
    executable: PathBuf,
    journal: Mutex<File>,
}

impl Durable {
    /// `executable` answers VERSION and does nothing else.
    ///
    /// # Panics
    /// When the journal cannot be made.
    #[must_use]
    pub fn new(name: &'static str, floor: Floor, executable: PathBuf) -> Self {
        let path = floor.field().state.path().join("journal");
        let journal = OpenOptions::new().create_new(true).append(true).open(&path);
        Self {
            name,
            floor,
            executable,
            journal: Mutex::new(journal.expect("the field's directory is new")),
        }
    }

    fn start(&self) {
        let mut command = Command::new(&self.executable);
        command.env_clear().env("CNI_COMMAND", "VERSION");
        drop(answer(&mut command, NO_CONFIG));
    }

    fn record(&self) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let written = journal
            .write_all(&RECORD)
            .and_then(|()| journal.sync_data());
        written.expect("the disk takes a record");
    }
}

impl Contestant for Durable {
    fn name(&self) -> &str {
        self.name
    }

    fn field(&self) -> &Field {
        self.floor.field()
    }

    fn add(&self, slot: &Slot) {
        self.start();
        self.record();
        self.floor.add(slot);
    }

    fn del(&self, slot: &Slot) {
        self.start();
        self.floor.del(slot);
        self.record();
    }

    fn drain(&self) {
        self.floor.drain();
    }

    fn whose(&self) -> Whose {
        Whose::Both
    }

    fn version(&self) -> Option<Duration> {
        None
    }

    fn peaks(&self, _: &Slot) -> Option<[u64; 3]> {
        None
    }
}
