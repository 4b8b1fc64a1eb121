//! Executables, called as a runtime calls them (libcni, `libcni/api.go`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::contestant::Contestant;
use super::field::{Field, Slot};
use super::usage::{Whose, answer, peak_kib, reap_orphans};
use crate::Suite;

const VERSION: &str = "1.0.0";
const NETWORK: &str = "bench";

/// A network list: a bridge plugin with its IPAM plugin, and what comes after it.
#[derive(Debug)]
pub struct Plugins {
    pub(super) name: &'static str,
    suite: Suite,
    field: Field,
    list: Vec<Plugin>,
    /// What ADD answered, by container: a runtime keeps it for DEL.
    answers: Mutex<BTreeMap<String, Value>>,
}

#[derive(Debug)]
struct Plugin {
    executable: PathBuf,
    config: Value,
}

impl Plugins {
    /// The bridge plugin of `suite` on `field`, alone.
    #[must_use]
    pub fn new(name: &'static str, suite: Suite, field: Field) -> Self {
        let bridge = Plugin {
            executable: suite.bridge(),
            config: suite.dual_stack(VERSION, NETWORK, field.state.path()),
        };
        Self {
            name,
            suite,
            field,
            list: vec![bridge],
            answers: Mutex::default(),
        }
    }

    /// The list with IPv4 addresses only.
    #[must_use]
    pub fn ipv4_only(mut self) -> Self {
        let ipam = &mut self.list[0].config["ipam"];
        for key in ["ranges", "routes"] {
            let first = ipam[key][0].take();
            ipam[key] = json!([first]);
        }
        self
    }

    /// The list with ports that are not judged.
    #[must_use]
    pub fn unguarded(mut self) -> Self {
        self.list[0].config["guard"] = json!(false);
        self
    }

    /// What the last ADD of a slot answered, until its DEL.
    pub(super) fn answer_of(&self, slot: &Slot) -> Option<Value> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(&slot.id).cloned()
    }

    /// The list with its last plugin declaring `capabilities`.
    #[must_use]
    pub fn declaring(mut self, capabilities: &[&str]) -> Self {
        let declared: Map<_, _> = capabilities
            .iter()
            .map(|name| ((*name).to_owned(), json!(true)))
            .collect();
        if let Some(last) = self.list.last_mut() {
            last.config["capabilities"] = declared.into();
        }
        self
    }

    /// The list with the plugin `kind` after it, with its defaults.
    #[must_use]
    pub fn then(mut self, kind: &str) -> Self {
        self.list.push(Plugin {
            executable: self.suite.dir().join(kind),
            config: json!({
                "cniVersion": VERSION,
                "name": NETWORK,
                "type": kind,
                // Of firewall, which otherwise may ask the machine's firewalld.
                "backend": "iptables",
                // Of tuning, which otherwise leaves files in /run.
                "dataDir": self.field.state.path(),
            }),
        });
        self
    }

    fn command(&self, plugin: &Plugin, verb: &str, slot: &Slot) -> Command {
        let mut command = Command::new(&plugin.executable);
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

    /// In order, each with the answer of the one before it.
    fn add_by(&self, slot: &Slot, mut run: impl FnMut(&mut Command, &str) -> Vec<u8>) {
        let mut previous = None;
        for plugin in &self.list {
            let input = plugin.input(slot, previous.as_ref());
            let said = run(&mut self.command(plugin, "ADD", slot), &input);
            previous = Some(serde_json::from_slice(&said).expect("ADD answers in JSON"));
        }
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.extend(previous.map(|last| (slot.id.clone(), last)));
    }

    /// In reverse, each with the last answer of ADD.
    fn del_by(&self, slot: &Slot, mut run: impl FnMut(&mut Command, &str) -> Vec<u8>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let last = answers.remove(&slot.id);
        drop(answers);
        for plugin in self.list.iter().rev() {
            let input = plugin.input(slot, last.as_ref());
            drop(run(&mut self.command(plugin, "DEL", slot), &input));
        }
    }
}

impl Plugin {
    /// Its configuration, with what it declared of what is asked.
    fn input(&self, slot: &Slot, previous: Option<&Value>) -> String {
        let mut input = self.config.clone();
        let declared = |name: &str| self.config["capabilities"][name] == true;
        let asked: Map<_, _> = slot.runtime.as_object().map_or_else(Map::new, |asked| {
            let mine = asked.iter().filter(|(name, _)| declared(name));
            mine.map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        });
        if !asked.is_empty() {
            input["runtimeConfig"] = asked.into();
        }
        if let Some(previous) = previous {
            input["prevResult"] = previous.clone();
        }
        input.to_string()
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
        self.add_by(slot, |command, input| answer(command, input).0);
    }

    fn del(&self, slot: &Slot) {
        self.del_by(slot, |command, input| answer(command, input).0);
    }

    fn drain(&self) {
        reap_orphans();
    }

    fn whose(&self) -> Whose {
        Whose::Children
    }

    fn version(&self) -> Option<Duration> {
        let bridge = &self.list[0];
        let mut command = Command::new(&bridge.executable);
        command.env_clear().env("CNI_COMMAND", "VERSION");
        let input = bridge.config.to_string();
        let started = Instant::now();
        drop(answer(&mut command, &input));
        Some(started.elapsed())
    }

    fn peaks(&self, slot: &Slot) -> Option<[u64; 3]> {
        let [mut version, mut add, mut del] = [0; 3];
        for plugin in &self.list {
            let command = self.command(plugin, "VERSION", slot);
            version = version.max(peak_kib(&command, &plugin.config.to_string()).1);
        }
        let watch = |largest: &mut u64, command: &Command, input: &str| {
            let (said, peak) = peak_kib(command, input);
            *largest = peak.max(*largest);
            said
        };
        self.add_by(slot, |command, input| watch(&mut add, command, input));
        self.del_by(slot, |command, input| watch(&mut del, command, input));
        Some([version, add, del])
    }
}
