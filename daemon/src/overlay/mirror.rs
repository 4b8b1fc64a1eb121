//! What the store says of networks that nodes have together, as it was heard last. Pure: rows in, and what
//! a network's end on this node should lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_ipam::cluster::geometry::{Block, Geometry, Subnet};
use bulkhead_ipam::cluster::schema::{
    FenceRow, FenceState, KeysRow, OverlayRow, Place, PoolRow, Schema, VtepRow,
};
use bulkhead_ipam::cluster::{
    Event, Key, KnownBlock, NodeId, OverlayName, OverlaysFile, PoolName, Row,
};
use bulkhead_model::{InterfaceAddress, NetworkName, Prefix};
use bulkhead_plan::{Peer, Station};

/// The kinds of rows that are followed.
pub(super) const KINDS: [&str; 6] = ["pools", "fences", "blocks", "overlays", "keys", "vteps"];

/// The rows, read.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    pools: BTreeMap<PoolName, PoolRow>,
    lost: BTreeSet<NodeId>,
    blocks: BTreeMap<(PoolName, u64), (Block, NodeId)>,
    overlays: BTreeMap<OverlayName, OverlayRow>,
    vteps: BTreeMap<OverlayName, BTreeMap<NodeId, VtepRow>>,
    keys: BTreeMap<OverlayName, KeysRow>,
    /// Kinds that were read whole.
    read: BTreeSet<&'static str>,
}

impl Mirror {
    /// What a node remembered: nothing of it was read.
    pub(super) fn remembered(file: OverlaysFile) -> Self {
        let block = |known: KnownBlock| {
            let block = known.block()?;
            Some(((known.pool, block.first()), (block, known.node)))
        };
        Self {
            pools: file.pools,
            lost: file.lost,
            blocks: file.blocks.into_iter().filter_map(block).collect(),
            overlays: file.overlays,
            vteps: file.vteps,
            // No secret is remembered.
            keys: BTreeMap::new(),
            read: BTreeSet::new(),
        }
    }

    /// What `node` has to remember of these networks.
    pub(super) fn to_remember<'n>(
        &self,
        networks: impl Iterator<Item = &'n OverlayName>,
        node: &NodeId,
        at_unix_ms: u64,
    ) -> OverlaysFile {
        let mut file = OverlaysFile::new(node.clone(), at_unix_ms);
        for network in networks {
            let Some(row) = self.overlays.get(network) else {
                continue;
            };
            file.overlays.insert(network.clone(), row.clone());
            let ends = self.vteps.get(network).cloned().unwrap_or_default();
            file.vteps.insert(network.clone(), ends);
            for (name, pool) in row
                .pools
                .iter()
                .filter_map(|it| self.pools.get_key_value(it))
            {
                file.pools.insert(name.clone(), pool.clone());
                let blocks = self.of_pool(name);
                let known =
                    blocks.map(|(block, node)| KnownBlock::new(name.clone(), *block, node.clone()));
                file.blocks.extend(known);
            }
        }
        file.lost.clone_from(&self.lost);
        file
    }

    /// The row of a network.
    pub(super) fn overlay(&self, network: &OverlayName) -> Option<&OverlayRow> {
        self.overlays.get(network)
    }

    /// Whether every kind was read whole once: before that, what is missing says nothing.
    pub(super) fn is_complete(&self) -> bool {
        self.read.len() == KINDS.len()
    }

    /// Takes in all rows of a kind.
    pub(super) fn list(&mut self, schema: &Schema, kind: &'static str, rows: &[Row]) {
        match kind {
            "pools" => self.pools.clear(),
            "fences" => self.lost.clear(),
            "blocks" => self.blocks.clear(),
            "overlays" => self.overlays.clear(),
            "keys" => self.keys.clear(),
            _ => self.vteps.clear(),
        }
        for row in rows {
            self.put(schema, row);
        }
        self.read.insert(kind);
    }

    /// Takes in changes.
    pub(super) fn observe(&mut self, schema: &Schema, events: &[Event]) {
        for event in events {
            match &event.row {
                Some(row) => self.put(schema, row),
                None => self.remove(schema, &event.key),
            }
        }
    }

    /// A row that is not understood changes nothing: what it said before goes on.
    fn put(&mut self, schema: &Schema, row: &Row) {
        let understood = match schema.place(&row.key) {
            Some(Place::Pool(pool)) => schema.read::<PoolRow>(row).map(|(_, value)| {
                self.pools.insert(pool, value);
            }),
            Some(Place::Fence(node)) => schema.read::<FenceRow>(row).map(|(_, value)| {
                if value.state == FenceState::Lost {
                    self.lost.insert(node);
                } else {
                    self.lost.remove(&node);
                }
            }),
            Some(Place::Block { .. }) => schema.read_block(row).map(|(pool, block, value)| {
                self.blocks
                    .insert((pool, block.first()), (block, value.node));
            }),
            Some(Place::Overlay(network)) => schema.read::<OverlayRow>(row).map(|(_, value)| {
                self.overlays.insert(network, value);
            }),
            Some(Place::Keys(network)) => schema.read::<KeysRow>(row).map(|(_, value)| {
                self.keys.insert(network, value);
            }),
            Some(Place::Vtep { network, node }) => schema.read::<VtepRow>(row).map(|(_, value)| {
                self.vteps.entry(network).or_default().insert(node, value);
            }),
            _ => Ok(()),
        };
        if let Err(error) = understood {
            tracing::warn!(%error, "a row of the store is passed over");
        }
    }

    fn remove(&mut self, schema: &Schema, key: &Key) {
        match schema.place(key) {
            Some(Place::Pool(pool)) => drop(self.pools.remove(&pool)),
            Some(Place::Fence(node)) => drop(self.lost.remove(&node)),
            Some(Place::Block { pool, first }) => drop(self.blocks.remove(&(pool, first))),
            Some(Place::Overlay(network)) => drop(self.overlays.remove(&network)),
            Some(Place::Keys(network)) => drop(self.keys.remove(&network)),
            Some(Place::Vtep { network, node }) => {
                if let Some(ends) = self.vteps.get_mut(&network) {
                    ends.remove(&node);
                }
            }
            _ => {}
        }
    }

    /// The prefixes of a network's pools.
    pub(super) fn prefixes(&self, pools: &[PoolName]) -> BTreeSet<Prefix> {
        let known = pools.iter().filter_map(|pool| self.geometry(pool));
        known.flat_map(Geometry::prefixes).collect()
    }

    /// What the network's row says its pools are; none without one.
    pub(super) fn pools_of(&self, network: &OverlayName) -> Option<&[PoolName]> {
        self.overlays
            .get(network)
            .map(|overlay| overlay.pools.as_slice())
    }

    /// The end that a node has of a network.
    pub(super) fn end(&self, network: &OverlayName, node: &NodeId) -> Option<&VtepRow> {
        self.vteps.get(network)?.get(node)
    }

    /// What a network is keyed by.
    pub(super) fn keys_of(&self, network: &OverlayName) -> Option<&KeysRow> {
        self.keys.get(network)
    }

    /// The ends of a network, but for the node's own and those of nodes that are declared lost.
    pub(super) fn others<'a>(
        &'a self,
        network: &OverlayName,
        own: &'a NodeId,
    ) -> impl Iterator<Item = (&'a NodeId, &'a VtepRow)> {
        let ends = self.vteps.get(network).into_iter().flatten();
        ends.filter(move |(node, _)| *node != own && !self.lost.contains(node))
    }

    /// Every network.
    pub(super) fn overlays(&self) -> impl Iterator<Item = (&OverlayName, &OverlayRow)> {
        self.overlays.iter()
    }

    /// Every end of a network.
    pub(super) fn ends(&self, network: &OverlayName) -> impl Iterator<Item = (&NodeId, &VtepRow)> {
        self.vteps.get(network).into_iter().flatten()
    }

    /// What is behind each of the others.
    pub(super) fn peers(
        &self,
        network: &OverlayName,
        own: &NodeId,
        pools: &[PoolName],
        direct: bool,
    ) -> Vec<Peer> {
        let mut prefixes = self.blocks_of(pools);
        let peer = |(node, row): (&NodeId, &VtepRow)| Peer {
            mac: row.mac,
            underlay: row.underlay,
            prefixes: prefixes.remove(node).unwrap_or_default(),
            direct,
            link_mac: row.link_mac,
            mtu: row.mtu,
        };
        self.others(network, own).map(peer).collect()
    }

    /// Who may be on a network's segment behind each of the others: whoever has or will have a place of
    /// their blocks.
    pub(super) fn stations(
        &self,
        network: &NetworkName,
        name: &OverlayName,
        own: &NodeId,
        pools: &[PoolName],
    ) -> Vec<Station> {
        let underlay: BTreeMap<&NodeId, IpAddr> = self
            .others(name, own)
            .map(|(node, row)| (node, row.underlay))
            .collect();
        let mut all = Vec::new();
        for pool in pools {
            let Some(geometry) = self.geometry(pool) else {
                continue;
            };
            let blocks = self.of_pool(pool);
            let blocks = blocks.filter_map(|(block, node)| Some((*block, *underlay.get(node)?)));
            for (block, underlay) in blocks {
                let used = block.ordinals().filter(|it| geometry.is_usable(*it));
                all.extend(used.map(|ordinal| {
                    let mac = network.station_mac(pool.as_str(), ordinal);
                    let mut addresses = geometry.addresses(ordinal);
                    addresses.push(mac.link_local().into());
                    Station {
                        mac,
                        underlay,
                        addresses,
                    }
                }));
            }
        }
        all
    }

    /// The gateways of a network's pools, with the length of their prefixes.
    pub(super) fn gateways(&self, pools: &[PoolName]) -> Vec<InterfaceAddress> {
        let known = pools.iter().filter_map(|pool| self.geometry(pool));
        let layouts = known.map(Geometry::layout);
        let subnets = layouts.flat_map(|layout| layout.v4.into_iter().chain(layout.v6));
        let gateway = |subnet: Subnet| InterfaceAddress::new(subnet.gateway?, subnet.prefix.len());
        subnets.filter_map(gateway).collect()
    }

    /// The addresses that a node has itself: those that its blocks keep for it.
    pub(super) fn own_addresses(&self, node: &NodeId, pools: &[PoolName]) -> BTreeSet<IpAddr> {
        let own = pools.iter().flat_map(|name| {
            let pool = self.geometry(name).into_iter();
            let blocks = pool.flat_map(move |pool| self.of_pool(name).map(move |it| (pool, it)));
            blocks.filter(|(_, (_, owner))| owner == node)
        });
        own.flat_map(|(pool, (block, _))| pool.node_addresses(*block))
            .collect()
    }

    fn geometry(&self, pool: &PoolName) -> Option<&Geometry> {
        self.pools.get(pool).map(|row| &row.geometry)
    }

    fn of_pool(&self, name: &PoolName) -> impl Iterator<Item = &(Block, NodeId)> {
        let of_pool = self.blocks.range((name.clone(), 0)..);
        of_pool
            .take_while(move |it| it.0.0 == *name)
            .map(|(_, it)| it)
    }

    /// The prefixes of each node's blocks.
    pub(super) fn blocks_of(&self, pools: &[PoolName]) -> BTreeMap<&NodeId, BTreeSet<Prefix>> {
        let mut all: BTreeMap<&NodeId, BTreeSet<Prefix>> = BTreeMap::new();
        for name in pools {
            let Some(pool) = self.geometry(name) else {
                continue;
            };
            for (block, node) in self.of_pool(name) {
                let prefixes = pool.prefixes_of(*block);
                all.entry(node).or_default().extend(prefixes);
            }
        }
        all
    }
}
