//! What is known of a node whose daemon does not answer: its state directory.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_ipam::{Access, Managed, OpenError, Spool, StateDir};
use bulkhead_model::NetworkName;
use serde::Serialize;

use crate::failure::chain;
use crate::output::table;

/// A state directory, read without its daemon.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Local {
    state_dir: PathBuf,
    /// Whether a daemon has it: then ADD waits for the daemon, and DEL does not.
    managed: bool,
    node_id: Option<String>,
    /// Detachments that the daemon has still to take in.
    spooled: usize,
    networks: Vec<Recorded>,
    /// What could not be read.
    #[serde(skip)]
    pub(super) unread: Vec<String>,
}

/// A network with a record.
#[derive(Debug, Serialize)]
struct Recorded {
    network: NetworkName,
    attachments: u64,
}

impl Local {
    pub(super) fn read(state_dir: &Path) -> Self {
        let mut local = Self {
            state_dir: state_dir.to_owned(),
            managed: Managed::path(state_dir).exists(),
            node_id: fs::read_to_string(state_dir.join("node-id"))
                .ok()
                .map(|text| text.trim().to_owned()),
            spooled: 0,
            networks: Vec::new(),
            unread: Vec::new(),
        };
        match Spool::look(state_dir) {
            Ok(tombstones) => local.spooled = tombstones.len(),
            Err(error) => local.unread.push(chain(&error)),
        }
        match StateDir::open(state_dir, Access::Look) {
            Ok(state) => local.read_networks(&state),
            Err(OpenError::Missing(_)) => {}
            Err(error) => local.unread.push(chain(&error)),
        }
        local
    }

    fn read_networks(&mut self, state: &StateDir) {
        let names = match state.networks() {
            Ok(names) => names,
            Err(error) => {
                self.unread.push(chain(&error));
                return;
            }
        };
        for network in names {
            match state.network(&network).read() {
                Ok(snapshot) => self.networks.push(Recorded {
                    attachments: snapshot.map_or(0, |snapshot| snapshot.live_count()),
                    network,
                }),
                Err(error) => self
                    .unread
                    .push(format!("network {network}: {}", chain(&error))),
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let (daemon, effect) = if self.managed {
            (
                "does not answer",
                "containers that run go on; ADD is refused with code 11 until it answers; DEL works",
            )
        } else {
            (
                "none has this state directory",
                "plugins serve networks in their own processes; pools of a cluster need the daemon",
            )
        };
        let node_id = self.node_id.as_deref().unwrap_or("-");
        let mut text = format!(
            "daemon       {daemon}\neffect       {effect}\nstate dir    {}\nnode id      {node_id}\nspool        {} detachments wait for the daemon\n",
            self.state_dir.display(),
            self.spooled,
        );
        if !self.networks.is_empty() {
            let rows = self.networks.iter();
            let rows: Vec<_> = rows
                .map(|one| vec![one.network.to_string(), one.attachments.to_string()])
                .collect();
            // Writing to a string does not fail.
            let _ = write!(text, "\n{}", table(&["NETWORK", "ATTACHMENTS"], &rows));
        }
        text
    }
}
