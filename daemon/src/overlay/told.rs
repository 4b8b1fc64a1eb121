//! What operators are told.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_attach::SegmentEnd;
use bulkhead_ipam::cluster::operations::{Filter, NodeListed};
use bulkhead_ipam::cluster::schema::{KeysRow, OverlayMode, OverlayRow, VtepRow};
use bulkhead_ipam::cluster::{KvError, NodeId, OverlayName};
use bulkhead_ipam::wire::admin::{
    ListedEnd, ListedOverlay, NodeState, Obstacle, OwnEnd, OwnSeal, OwnSegment, SealedPeer,
};
use bulkhead_model::{NetworkName, Prefix};
use bulkhead_plan::{Ns, Stranger};

use super::mirror::{KINDS, Mirror};
use super::seal::Shown;
use super::{Overlays, State, member};
use crate::admin::{node_name, node_state};

impl Overlays {
    /// Other nodes that each of the node's networks leads to.
    pub(crate) fn peers(&self) -> Vec<(NetworkName, usize)> {
        let state = self.state();
        let own = &self.cluster.node;
        let count = |network: &NetworkName| {
            let name: Option<OverlayName> = network.as_str().parse().ok();
            let known = name.zip(state.known());
            known.map_or(0, |(name, known)| known.others(&name, own).count())
        };
        let networks = state.members.keys();
        networks
            .map(|network| (network.clone(), count(network)))
            .collect()
    }

    /// The namespaces that networks of the node have for themselves.
    pub(crate) fn spaces(&self) -> BTreeSet<Ns> {
        let state = self.state();
        let ends = state.members.values().map(|member| &member.end);
        let segments = ends.filter_map(|end| end.segment.as_ref());
        segments.map(SegmentEnd::ns).collect()
    }

    /// Every network that nodes have together: as the store says now, else as it was heard last.
    ///
    /// # Errors
    /// The store does not answer, and nothing was heard of it.
    pub(crate) fn told(&self) -> Result<Vec<ListedOverlay>, KvError> {
        let nodes = self.nodes();
        let read = self.read();
        let state = self.state();
        match (read, state.known()) {
            (Ok(mirror), _) => Ok(self.rows(&state, &mirror, &nodes)),
            (Err(_), Some(known)) => Ok(self.rows(&state, known, &nodes)),
            (Err(error), None) => Err(error),
        }
    }

    fn read(&self) -> Result<Mirror, KvError> {
        let (store, schema) = (self.cluster.backend.store(), &self.cluster.schema);
        let mut mirror = Mirror::default();
        for kind in KINDS {
            let listing = store.range(&schema.kind(kind), 0)?;
            mirror.list(schema, kind, &listing.rows);
        }
        Ok(mirror)
    }

    /// What nodes say of themselves beside; nothing while the store is not there.
    fn nodes(&self) -> BTreeMap<NodeId, NodeListed> {
        let listed = self.cluster.operations().nodes(&Filter::default());
        let rows = listed.map(|listed| listed.rows).unwrap_or_default();
        rows.into_iter()
            .map(|row| (row.node.clone(), row))
            .collect()
    }

    fn rows(
        &self,
        state: &State,
        mirror: &Mirror,
        nodes: &BTreeMap<NodeId, NodeListed>,
    ) -> Vec<ListedOverlay> {
        let row = |(network, overlay): (&OverlayName, &OverlayRow)| {
            let mut blocks = mirror.blocks_of(&overlay.pools);
            let member = network.as_str().parse::<NetworkName>().ok();
            let member = member.and_then(|name| Some((name.clone(), state.members.get(&name)?)));
            let none = BTreeMap::new();
            let obstacles = member.as_ref().map_or(&none, |(_, it)| &it.obstacles);
            let ends = mirror.ends(network).map(|(node, row)| {
                let blocks: Vec<Prefix> = blocks.remove(node).into_iter().flatten().collect();
                ListedEnd {
                    obstacles: in_the_way(&blocks, obstacles),
                    ..end(node, row, nodes.get(node), blocks)
                }
            });
            let mut ends: Vec<ListedEnd> = ends.collect();
            ends.sort_by(|one, other| one.name.name.cmp(&other.name.name));
            ListedOverlay {
                network: network.to_string(),
                vni: overlay.vni,
                port: overlay.port,
                mode: overlay.mode.to_string(),
                pools: overlay.pools.iter().map(ToString::to_string).collect(),
                encryption: overlay.encryption,
                key_epoch: mirror
                    .keys_of(network)
                    .and_then(KeysRow::latest)
                    .map(|key| key.epoch),
                prefixes: mirror.prefixes(&overlay.pools).into_iter().collect(),
                ends,
                here: member.map(|(name, member)| OwnEnd {
                    name: node_name(&self.cluster.node, &self.cluster.name),
                    device: name.vxlan_device(),
                    segment: member.end.segment.as_ref().map(|it| OwnSegment {
                        netns: it.netns.clone(),
                        replication: it.replicate,
                    }),
                    local: member.end.local,
                    mtu: member::bounded(
                        &member.end,
                        state.least(&name, &member.end, &self.cluster.node),
                    )
                    .mtu,
                    addresses: if overlay.mode == OverlayMode::Bridged {
                        Vec::new()
                    } else {
                        let own = mirror.own_addresses(&self.cluster.node, &overlay.pools);
                        own.into_iter().collect()
                    },
                    direct_routing: member.end.direct,
                    mss_clamp: member.end.tuning.mss_clamp,
                    tx_checksum: !member.end.tuning.own_checksums,
                    stands: member.stands,
                    fault: member.fault.clone(),
                    mended: member.mended,
                    seal: member
                        .seal
                        .as_ref()
                        .map(|shown| seal_of(mirror, network, shown)),
                    store_read: state.mirror.is_complete(),
                    as_of_unix_ms: state.as_of_unix_ms(&name),
                }),
            }
        };
        mirror.overlays().map(row).collect()
    }
}

fn seal_of(mirror: &Mirror, network: &OverlayName, shown: &Shown) -> OwnSeal {
    let peers = shown.peers.iter().map(|(node, (epoch, inbound))| {
        let name = mirror.end(network, node).map_or("", |row| &row.name);
        SealedPeer {
            name: node_name(node, name),
            sent_by_epoch: *epoch,
            inbound: *inbound,
        }
    });
    OwnSeal {
        epoch: shown.epoch,
        peers: peers.collect(),
    }
}

fn end(
    node: &NodeId,
    row: &VtepRow,
    listed: Option<&NodeListed>,
    blocks: Vec<Prefix>,
) -> ListedEnd {
    ListedEnd {
        name: node_name(node, &row.name),
        state: listed.map_or(NodeState::Unknown, |listed| node_state(listed.state)),
        underlay: row.underlay,
        mac: row.mac,
        link_mac: row.link_mac,
        mtu: row.mtu,
        key_epoch: row.seal.map(|seal| seal.applied),
        version: row.version.clone(),
        at_unix_ms: row.at_unix_ms,
        seen_at_unix_ms: listed.and_then(|listed| listed.seen_at_unix_ms),
        held: listed.map_or(0, |listed| listed.held),
        blocks,
        obstacles: Vec::new(),
    }
}

/// Routes of others to one of these blocks.
fn in_the_way(blocks: &[Prefix], obstacles: &BTreeMap<Prefix, Stranger>) -> Vec<Obstacle> {
    let found = blocks.iter().filter_map(|block| obstacles.get(block));
    let obstacle = |route: &Stranger| Obstacle {
        route: route.to_string(),
        removal: route.removal(),
    };
    found.map(obstacle).collect()
}
