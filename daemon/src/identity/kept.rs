//! A copy of what the store says, in the state directory: a daemon that starts while the store is away goes on
//! with what was known last. Made behind the changes; nobody waits for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bulkhead_ipam::cluster::operations::EndpointListed;
use bulkhead_ipam::cluster::schema::{EndpointRow, ObjectRow, Place, Schema, encode};
use bulkhead_ipam::cluster::{Event, Key, KeyRange, ObjectId, ObjectPart, Revision, Row};
use bulkhead_model::NetworkName;
use serde::{Deserialize, Serialize};

use super::mirror::{KINDS, Mark, Mirror};
use super::{Identities, spawn};
use crate::node::Node;

/// The file, in the state directory.
const FILE: &str = "policies";

/// How often it is looked whether the copy is behind.
const TICK: Duration = Duration::from_secs(1);

/// How long to wait after the disk has refused it.
const PAUSE: Duration = Duration::from_secs(10);

/// The rows.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<Key, Row>,
    is_behind: bool,
}

/// A line of the file.
#[derive(Deserialize, Serialize)]
struct Line {
    key: String,
    value: String,
    modified: u64,
}

impl Kept {
    /// All rows of a range are these.
    pub(super) fn list(&self, range: &KeyRange, rows: &[Row]) {
        let mut kept = self.rows();
        kept.rows.retain(|key, _| !range.contains(key));
        let rows = rows.iter().map(|row| (row.key.clone(), row.clone()));
        kept.rows.extend(rows);
        kept.is_behind = true;
    }

    /// Rows have changed.
    pub(super) fn observe(&self, events: &[Event]) {
        let mut kept = self.rows();
        for event in events {
            match &event.row {
                Some(row) => drop(kept.rows.insert(event.key.clone(), row.clone())),
                None => drop(kept.rows.remove(&event.key)),
            }
        }
        kept.is_behind = true;
    }

    /// All endpoints of a network are these.
    pub(super) fn endpoints(&self, schema: &Schema, network: &ObjectPart, all: &[EndpointListed]) {
        let row = |one: &EndpointListed| Row {
            key: schema.key(&Place::Endpoint {
                network: one.network.clone(),
                node: one.node.clone(),
                id: one.id.clone(),
            }),
            value: encode(&one.row),
            created: one.modified,
            modified: one.modified,
        };
        let rows: Vec<Row> = all.iter().map(row).collect();
        self.list(&schema.endpoints_of(network), &rows);
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn start(node: &Arc<Node>) -> io::Result<()> {
    spawn(node, "policy-kept", |node| {
        while !node.identities.ends() {
            thread::sleep(TICK);
            if let Err(error) = node.identities.keep() {
                node.failed("what policies are about is not kept on the disk", &error);
                thread::sleep(PAUSE);
            }
        }
    })
}

impl Identities {
    /// Writes the copy, if it is behind.
    fn keep(&self) -> io::Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let mut kept = self.kept.rows();
        if !std::mem::take(&mut kept.is_behind) {
            return Ok(());
        }
        let schema = &self.cluster.schema;
        let networks = self.look(Mirror::networks);
        kept.rows.retain(|key, _| match schema.place(key) {
            Some(Place::Endpoint { network, .. }) => networks
                .iter()
                .any(|known| known.as_str() == network.as_str()),
            _ => true,
        });
        let rows: Vec<Row> = kept.rows.values().cloned().collect();
        drop(kept);
        let written = write(&self.file(), &rows);
        if written.is_err() {
            // The disk may have room again before anything changes.
            self.kept.rows().is_behind = true;
        }
        written
    }

    /// The objects and their revision, as the store said when it was last heard of; `None` if it never was.
    pub(crate) fn kept_objects(&self) -> Option<(u64, Vec<(ObjectId, ObjectRow)>)> {
        let mark = self.read(Mark::default(), |_, changed| changed.mark)?;
        let schema = &self.cluster.schema;
        let kept = self.kept.rows();
        let object = |row: &Row| match schema.place(&row.key)? {
            Place::Object(id) => Some((id, schema.read::<ObjectRow>(row).ok()?.1)),
            _ => None,
        };
        let objects = kept.rows.values().filter_map(object).collect();
        Some((mark.policies, objects))
    }

    /// Takes in what was kept, until the store says what is.
    pub(super) fn recall(&self) {
        let rows = match read(&self.file()) {
            Ok(rows) => rows,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                return tracing::warn!(%error, "what was known of policies is not read, it is waited for the store");
            }
        };
        let schema = &self.cluster.schema;
        self.tell(|mirror| {
            for kind in KINDS {
                let range = schema.kind(kind);
                let of_kind: Vec<Row> = rows
                    .iter()
                    .filter(|row| range.contains(&row.key))
                    .cloned()
                    .collect();
                // A copy that was cut short says nothing about what is not in it.
                if !of_kind.is_empty() {
                    mirror.list(schema, kind, &of_kind);
                }
            }
            for network in mirror.networks() {
                let listed = listed(schema, &network, &rows);
                mirror.list_endpoints(&network, listed, Revision(0));
            }
        });
    }

    fn file(&self) -> PathBuf {
        self.state_dir.path().join(FILE)
    }
}

fn listed(schema: &Schema, network: &NetworkName, rows: &[Row]) -> Vec<EndpointListed> {
    let listed = |row: &Row| {
        let (place, value) = schema.read::<EndpointRow>(row).ok()?;
        let Place::Endpoint {
            network: of,
            node,
            id,
        } = place
        else {
            return None;
        };
        (of.as_str() == network.as_str()).then_some(EndpointListed {
            network: of,
            node,
            id,
            row: value,
            modified: row.modified,
        })
    };
    rows.iter().filter_map(listed).collect()
}

/// Beside, and then over the one before.
fn write(path: &Path, rows: &[Row]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = io::BufWriter::new(File::create(&beside)?);
    for row in rows {
        let line = Line {
            key: row.key.to_string(),
            value: String::from_utf8_lossy(&row.value).into_owned(),
            modified: row.modified.0,
        };
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(&beside, path)
}

fn read(path: &Path) -> io::Result<Vec<Row>> {
    let lines = BufReader::new(File::open(path)?).lines();
    let row = |line: io::Result<String>| {
        let line: Line = serde_json::from_str(&line?)?;
        let key = Key::new(line.key).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Row {
            key,
            value: line.value.into_bytes(),
            created: Revision(line.modified),
            modified: Revision(line.modified),
        })
    };
    lines.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_as_it_was() {
        let path = std::env::temp_dir().join(format!("bulkhead-kept-{}", std::process::id()));
        let row = |key: &str, value: &str, modified| Row {
            key: Key::new(key).unwrap(),
            value: value.as_bytes().to_vec(),
            created: Revision(modified),
            modified: Revision(modified),
        };
        let rows = vec![row("/a", "{\"v\":1}", 3), row("/b", "text: \"x\"\nü", 9)];
        write(&path, &rows).unwrap();
        assert_eq!(read(&path).unwrap(), rows);
        fs::write(&path, "{\"key\"").unwrap();
        assert!(read(&path).is_err());
        fs::remove_file(&path).unwrap();
    }
}
