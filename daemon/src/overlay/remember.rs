//! What the node remembers of its networks over a boot: the rows that their ends follow from, as they were
//! when the store was heard last. It is used only where the store was not read yet and nothing of a
//! network stands, which is so after a boot; what an earlier daemon left in the kernel may be newer.

use std::time::{Duration, Instant};

use bulkhead_attach::{OverlayEnd, SegmentEnd};
use bulkhead_ipam::cluster::{NodeId, OverlayName, OverlaysFile};
use bulkhead_ipam::{FileError, StateDir};
use bulkhead_model::NetworkName;
use bulkhead_plan::Ns;

use super::agreed::{Agreed, Difference};
use super::member::Member;
use super::mirror::Mirror;
use super::{Overlays, State};
use crate::clock::unix_ms;
use crate::cluster::Cluster;
use crate::loops::stands_in;
use crate::node::Node;

/// How often it is written at most: while many nodes come and go, not for each of them.
const PAUSE: Duration = Duration::from_secs(2);

/// What was known, and when, in milliseconds since 1970.
pub(super) struct Memory {
    pub(super) mirror: Mirror,
    pub(super) at_unix_ms: u64,
}

/// What stands in the state directory. Without it the node waits for the store, as it did at its first boot.
pub(super) fn recall(cluster: &Cluster, state_dir: &StateDir) -> Option<Memory> {
    match OverlaysFile::load(state_dir.path(), &cluster.node) {
        Ok(file) => file.map(|file| Memory {
            at_unix_ms: file.at_unix_ms,
            mirror: Mirror::remembered(file),
        }),
        Err(error) => {
            let why = crate::told::chain(&error);
            tracing::warn!(why, "what was known of other nodes is not used");
            None
        }
    }
}

/// What of it is on the disk.
#[derive(Default)]
pub(super) struct Writer {
    last: Option<OverlaysFile>,
    /// Of what the last write knew.
    knew: u64,
    wrote_at: Option<Instant>,
}

impl Writer {
    /// Writes what is new, unless something was written just now; the next pass is at most a tick away.
    pub(super) fn write(&mut self, node: &Node) {
        let Some((wanted, file)) = node.overlays.to_remember(self.knew) else {
            return;
        };
        // With the last network the passes end, until there is another.
        let is_last = file.overlays.is_empty();
        if !is_last && self.wrote_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        match self.replace(node, file) {
            Ok(()) => self.knew = wanted,
            Err(error) => {
                self.wrote_at = Some(Instant::now());
                node.failed("what is known of other nodes is not kept", &error);
            }
        }
    }

    fn replace(&mut self, node: &Node, file: OverlaysFile) -> Result<(), FileError> {
        let dir = node.overlays.state_dir.path();
        if self.last.as_ref().is_some_and(|last| last.says_as(&file)) {
            return Ok(());
        }
        if file.overlays.is_empty() {
            OverlaysFile::remove(dir)?;
        } else {
            file.save(dir)?;
        }
        self.last = Some(file);
        self.wrote_at = Some(Instant::now());
        Ok(())
    }
}

/// What is remembered of an end that is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Remembered {
    /// The node had it when the store was heard last: the others lead to it still, and it may be had again
    /// while the store is away.
    Same,
    /// The node had none, or what is remembered is not gone by.
    Nothing,
    /// The network was another.
    Otherwise(Difference),
}

impl State {
    /// What is remembered of `node`'s end of a network.
    fn remembered(&self, network: &NetworkName, node: &NodeId, end: &OverlayEnd) -> Remembered {
        let others_stand = self.members.values().any(|member| !member.by_memory);
        let memory = self.memory.as_ref().filter(|_| !others_stand);
        let Some((memory, name)) = memory.zip(network.as_str().parse::<OverlayName>().ok()) else {
            return Remembered::Nothing;
        };
        let Some(row) = memory.mirror.overlay(&name) else {
            return Remembered::Nothing;
        };
        if let Some(differs) = Agreed::from(end).difference(row.into()) {
            return Remembered::Otherwise(differs);
        }
        let has_pools = end.pools.iter().all(|pool| row.pools.contains(pool));
        if has_pools && memory.mirror.end(&name, node).is_some() {
            Remembered::Same
        } else {
            Remembered::Nothing
        }
    }

    /// What the store says as far as it is known: read, or else remembered.
    pub(super) fn known(&self) -> Option<&Mirror> {
        if self.mirror.is_complete() {
            return Some(&self.mirror);
        }
        self.memory.as_ref().map(|memory| &memory.mirror)
    }

    /// Before the store was read, keeps every network by what is remembered if nothing of any stands: a
    /// filter that all of them share is not made by halves.
    pub(super) fn begin_by_memory(&mut self) {
        let is_away = |(network, member): (&NetworkName, &Member)| {
            let place = member.end.segment.as_ref().map(SegmentEnd::ns);
            let device = network.vxlan_device();
            member.by_memory
                || stands_in(place.as_ref().unwrap_or(&Ns::Host), device) == Some(false)
        };
        if self.memory.is_some() && self.members.iter().all(is_away) {
            let members = self.members.values_mut();
            members.for_each(|member| member.by_memory = true);
        }
    }

    /// Since when what is known of a network is not the store's word any more.
    pub(super) fn as_of_unix_ms(&self, network: &NetworkName) -> Option<u64> {
        let member = self.members.get(network)?;
        let memory = self.memory.as_ref().filter(|_| !self.mirror.is_complete());
        memory
            .filter(|_| member.by_memory)
            .map(|memory| memory.at_unix_ms)
    }
}

impl Overlays {
    /// What is remembered of an end that is asked for.
    pub(super) fn remembered(&self, network: &NetworkName, end: &OverlayEnd) -> Remembered {
        self.state().remembered(network, &self.cluster.node, end)
    }

    /// What is to be on the disk, and what it knows; `None` if that is what the writer knew, or not the
    /// store's word.
    fn to_remember(&self, knew: u64) -> Option<(u64, OverlaysFile)> {
        let state = self.state();
        let is_known = state.wanted == knew && !state.members.is_empty();
        if is_known || !state.mirror.is_complete() {
            return None;
        }
        let names: Vec<OverlayName> = state
            .members
            .keys()
            .filter_map(|network| network.as_str().parse().ok())
            .collect();
        let node = &self.cluster.node;
        let file = state.mirror.to_remember(names.iter(), node, unix_ms());
        Some((state.wanted, file))
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::cluster::schema::{OverlayMode, OverlayRow, VtepRow};
    use bulkhead_model::{Encryption, Mac, Mtu, Vni};

    use super::super::fixture::end;
    use super::*;

    fn row() -> OverlayRow {
        OverlayRow {
            vni: Vni::new(7).unwrap(),
            port: 4789,
            mode: OverlayMode::Routed,
            pools: vec!["default".parse().unwrap()],
            encryption: Encryption::None,
            by: node(),
            created_at_unix_ms: 0,
        }
    }

    fn node() -> NodeId {
        "n1".parse().unwrap()
    }

    /// What is in the state directory after a boot, with that row of network pods.
    fn after_boot(row: OverlayRow) -> State {
        let dir = std::env::temp_dir().join(format!("bulkhead-remembered-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut file = OverlaysFile::new(node(), 1);
        let name: OverlayName = "pods".parse().unwrap();
        let told = VtepRow {
            name: "one".to_owned(),
            epoch: 1,
            underlay: [192, 0, 2, 1].into(),
            mac: Mac::new([2, 0, 0, 0, 0, 1]).unwrap(),
            link_mac: None,
            mtu: Mtu::new(1450).unwrap(),
            seal: None,
            version: String::new(),
            at_unix_ms: 1,
            attempt: bulkhead_ipam::cluster::Attempt::default(),
        };
        file.vteps.insert(name.clone(), [(node(), told)].into());
        file.overlays.insert(name, row);
        file.save(&dir).unwrap();
        let file = OverlaysFile::load(&dir, &node()).unwrap().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let (at_unix_ms, mirror) = (file.at_unix_ms, Mirror::remembered(file));
        let memory = Some(Memory { mirror, at_unix_ms });
        State {
            memory,
            ..State::default()
        }
    }

    #[test]
    fn what_was_remembered_is_had_again_only_if_it_is_what_is_asked_for() {
        let network: NetworkName = "pods".parse().unwrap();
        let remembered = |row, end: &OverlayEnd| after_boot(row).remembered(&network, &node(), end);
        assert_eq!(remembered(row(), &end()), Remembered::Same);
        let bridged = OverlayRow {
            mode: OverlayMode::Bridged,
            ..row()
        };
        let sealed = OverlayRow {
            encryption: Encryption::Ipsec,
            ..row()
        };
        let other_port = OverlayRow {
            port: 4790,
            ..row()
        };
        for (row, key, known) in [
            (bridged, "mode", "bridged"),
            (sealed, "encryption", "ipsec"),
            (other_port, "port", "4790"),
        ] {
            let Remembered::Otherwise(differs) = remembered(row, &end()) else {
                panic!("{key} is another");
            };
            assert_eq!((differs.key, differs.known.as_str()), (key, known));
        }
        let other_pool = OverlayEnd {
            pools: vec!["another".parse().unwrap()],
            ..end()
        };
        assert_eq!(remembered(row(), &other_pool), Remembered::Nothing);
    }
}
