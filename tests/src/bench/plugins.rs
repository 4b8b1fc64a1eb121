//! Executables, called as a runtime calls them.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::contestant::Contestant;
use super::field::{Field, Slot};
use super::usage::{Whose, answer, peak_kib, reap_orphans};
use crate::Suite;

/// A bridge plugin with its IPAM plugin.
#[derive(Debug)]
pub struct Plugins {
    name: &'static str,
    suite: Suite,
    field: Field,
    config: String,
}

impl Plugins {
    /// The plugins of `suite` on `field`.
    #[must_use]
    pub fn new(name: &'static str, suite: Suite, field: Field) -> Self {
        let config = suite.dual_stack("1.0.0", "bench", field.state.path());
        Self {
            name,
            config: config.to_string(),
            suite,
            field,
        }
    }

    fn command(&self, verb: &str, slot: &Slot) -> Command {
        let mut command = Command::new(self.suite.bridge());
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", self.suite.dir())
            .env("CNI_CONTAINERID", &slot.id)
            .env("CNI_NETNS", slot.container.path())
            .env("CNI_IFNAME", &slot.ifname)
            .stderr(Stdio::null());
        command
    }

    fn call(&self, verb: &str, slot: &Slot) {
        drop(answer(&mut self.command(verb, slot), &self.config));
    }
}

impl Contestant for Plugins {
    fn name(&self) -> &str {
        self.name
    }

    fn field(&self) -> &Field {
        &self.field
    }

    fn add(&self, slot: &Slot) {
        self.call("ADD", slot);
    }

    fn del(&self, slot: &Slot) {
        self.call("DEL", slot);
    }

    fn drain(&self) {
        reap_orphans();
    }

    fn whose(&self) -> Whose {
        Whose::Children
    }

    fn version(&self) -> Option<Duration> {
        let mut command = Command::new(self.suite.bridge());
        command.env_clear().env("CNI_COMMAND", "VERSION");
        let started = Instant::now();
        drop(answer(&mut command, &self.config));
        Some(started.elapsed())
    }

    fn peaks(&self, slot: &Slot) -> Option<[u64; 3]> {
        let peak = |verb| peak_kib(&self.command(verb, slot), &self.config);
        Some(["VERSION", "ADD", "DEL"].map(peak))
    }
}
