//! A node with containers, made before anything is timed.

use netns_fixtures::{Container, Host, NsError, Sandbox};
use serde_json::Value;

use crate::Scratch;

/// How many interfaces a resident container carries: fewer namespaces for the same number of ports.
const RESIDENTS_PER_CONTAINER: usize = 100;

/// One place where an attachment goes.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Unique on its node, from 0.
    pub nth: usize,
    /// `CNI_CONTAINERID`.
    pub id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// The container.
    pub container: Container,
    /// What the runtime asks for it: `runtimeConfig`, an object by capability.
    pub runtime: Value,
}

/// A node of its own with slots that are timed and slots that stay.
#[derive(Debug)]
pub struct Field {
    /// The node.
    pub host: Host,
    /// Where the plugins keep their state: on the disk that `TMPDIR` is on.
    pub state: Scratch,
    /// The slots that are attached and detached all the time.
    pub timed: Vec<Slot>,
    /// Slots for attachments that stay; the first keeps the bridge alive.
    pub residents: Vec<Slot>,
    sandbox: Sandbox,
}

impl Field {
    /// A node with `timed` containers and room for `residents` attachments.
    ///
    /// # Errors
    /// As [`Sandbox::ns`].
    pub fn new(timed: usize, residents: usize) -> Result<Self, NsError> {
        let sandbox = Sandbox::new();
        let host = sandbox.host("node")?;
        let state = Scratch::new(&sandbox, "state");
        let mut field = Self {
            host,
            state,
            timed: Vec::new(),
            residents: Vec::new(),
            sandbox,
        };
        for nth in 0..timed {
            let container = field.sandbox.container(&format!("t{nth}"))?;
            field.timed.push(Slot {
                nth,
                id: format!("timed{nth}"),
                ifname: "eth0".to_owned(),
                container,
                runtime: Value::Null,
            });
        }
        field.make_residents(timed, residents)?;
        Ok(field)
    }

    /// The field with `runtime` asked for each slot, by its number.
    #[must_use]
    pub fn asking(mut self, runtime: impl Fn(usize) -> Value) -> Self {
        for slot in self.timed.iter_mut().chain(&mut self.residents) {
            slot.runtime = runtime(slot.nth);
        }
        self
    }

    fn make_residents(&mut self, first: usize, count: usize) -> Result<(), NsError> {
        let mut container = None;
        for nth in 0..count {
            let within = nth % RESIDENTS_PER_CONTAINER;
            if within == 0 {
                container = Some(self.sandbox.container(&format!("r{nth}"))?);
            }
            self.residents
                .extend(container.clone().map(|container| Slot {
                    nth: first + nth,
                    id: format!("resident{nth}"),
                    ifname: format!("e{within}"),
                    container,
                    runtime: Value::Null,
                }));
        }
        Ok(())
    }
}
