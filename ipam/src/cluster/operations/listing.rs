//! What there is: pools, nodes, blocks, leases.

use std::collections::BTreeMap;

use super::{OperationError, Operator};
use crate::cluster::geometry::{Block, Geometry};
use crate::cluster::name::{NodeId, PoolName};
use crate::cluster::schema::{
    BlockRow, FenceRow, LeaseRow, LiveRow, NodeRow, Place, PoolRow, Share,
};

/// Which rows: those that have all of what is given.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// A node.
    pub node: Option<NodeId>,
    /// A pool.
    pub pool: Option<PoolName>,
    /// The namespace of a pod.
    pub namespace: Option<String>,
    /// The name of a pod.
    pub pod: Option<String>,
    /// A network.
    pub network: Option<String>,
}

/// A pool, and what of it is used, in ordinals.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedPool {
    /// Its name.
    pub name: PoolName,
    /// It.
    pub row: PoolRow,
    /// That could be given out at all.
    pub size: u64,
    /// Blocks of it.
    pub blocks: u64,
    /// In blocks, also what is never given out.
    pub claimed: u64,
    /// Of these, never given out.
    pub reserved: u64,
    /// Leased, as published.
    pub held: u64,
    /// Freed, and not yet to be given out again, as the nodes last said.
    pub cooling: u64,
    /// In blocks that were ceded.
    pub borrowed: u64,
    /// Nodes that have blocks.
    pub nodes: u64,
}

/// A node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListedNode {
    /// Its fence.
    pub fence: FenceRow,
    /// What it says of itself.
    pub about: NodeRow,
    /// Its last sign of life.
    pub live: LiveRow,
    /// Its blocks.
    pub blocks: u64,
    /// Ordinals in them.
    pub claimed: u64,
    /// Leases that it published.
    pub held: u64,
}

/// A block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedBlock {
    /// The pool.
    pub pool: PoolName,
    /// Its ordinals.
    pub block: Block,
    /// It.
    pub row: BlockRow,
    /// Leases in it, as published.
    pub held: u64,
    /// Ordinals that are never given out.
    pub reserved: u64,
}

/// A lease.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedLease {
    /// The pool.
    pub pool: PoolName,
    /// The ordinal.
    pub ordinal: u64,
    /// It.
    pub row: LeaseRow,
}

impl Filter {
    /// Whether a lease of `pool` is meant.
    #[must_use]
    pub fn means(&self, pool: &PoolName, row: &LeaseRow) -> bool {
        let pod = row.pod.as_ref();
        let has = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        self.node.as_ref().is_none_or(|node| *node == row.node)
            && self.pool.as_ref().is_none_or(|wanted| wanted == pool)
            && has(&self.namespace, pod.map(|pod| pod.namespace.as_str()))
            && has(&self.pod, pod.map(|pod| pod.name.as_str()))
            && has(&self.network, Some(row.attachment.network.as_str()))
    }
}

impl Operator<'_> {
    /// Every pool, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub fn list_pools(&self) -> Result<Vec<ListedPool>, OperationError> {
        let blocks = self.list_blocks(&Filter::default())?;
        let live = self.shares()?;
        let pools = self.pools()?.into_iter();
        Ok(pools
            .map(|(name, row, _)| listed_pool(name, row, &blocks, &live))
            .collect())
    }

    /// Every node, by id.
    ///
    /// # Errors
    /// Those of the store.
    pub fn list_nodes(&self) -> Result<BTreeMap<NodeId, ListedNode>, OperationError> {
        let mut nodes: BTreeMap<NodeId, ListedNode> = BTreeMap::new();
        for (place, row, _) in self.all::<FenceRow>(&self.schema.kind("fences"))? {
            if let Place::Fence(node) = place {
                nodes.entry(node).or_default().fence = row;
            }
        }
        for (place, row, _) in self.all::<NodeRow>(&self.schema.kind("nodes"))? {
            if let Place::Node(node) = place {
                nodes.entry(node).or_default().about = row;
            }
        }
        for (place, row, _) in self.all::<LiveRow>(&self.schema.kind("live"))? {
            if let Place::Live(node) = place {
                nodes.entry(node).or_default().live = row;
            }
        }
        for block in self.list_blocks(&Filter::default())? {
            let node = nodes.entry(block.row.node).or_default();
            node.blocks += 1;
            node.claimed += block.block.size();
            node.held += block.held;
        }
        Ok(nodes)
    }

    /// The blocks of a pool and a node, in order.
    ///
    /// # Errors
    /// Those of the store.
    pub fn list_blocks(&self, filter: &Filter) -> Result<Vec<ListedBlock>, OperationError> {
        let range = |kind| match &filter.pool {
            Some(pool) => self.schema.of_pool(kind, pool),
            None => self.schema.kind(kind),
        };
        let geometries: BTreeMap<PoolName, Geometry> = self
            .pools()?
            .into_iter()
            .map(|(name, row, _)| (name, row.geometry))
            .collect();
        let mut blocks = Vec::new();
        for raw in self.range(&range("blocks"))?.rows {
            let (pool, block, row) = self.schema.read_block(&raw)?;
            let geometry = geometries.get(&pool);
            let usable = geometry.map_or(block.size(), |geometry| geometry.usable(block));
            blocks.push(ListedBlock {
                pool,
                block,
                row,
                held: 0,
                reserved: block.size() - usable,
            });
        }
        // Both are in the order of their keys.
        let mut at = 0;
        for raw in self.range(&range("leases"))?.rows {
            let Some(Place::Lease { pool, ordinal }) = self.schema.place(&raw.key) else {
                continue;
            };
            while at < blocks.len()
                && (&blocks[at].pool, blocks[at].block.end()) <= (&pool, ordinal)
            {
                at += 1;
            }
            if let Some(block) = blocks.get_mut(at)
                && block.pool == pool
                && block.block.contains(ordinal)
            {
                block.held += 1;
            }
        }
        let meant = |block: &ListedBlock| {
            filter
                .node
                .as_ref()
                .is_none_or(|node| *node == block.row.node)
        };
        blocks.retain(meant);
        Ok(blocks)
    }

    /// The leases that are meant, in order.
    ///
    /// # Errors
    /// Those of the store.
    pub fn list_leases(&self, filter: &Filter) -> Result<Vec<ListedLease>, OperationError> {
        let range = match &filter.pool {
            Some(pool) => self.schema.of_pool("leases", pool),
            None => self.schema.kind("leases"),
        };
        let all = self.all::<LeaseRow>(&range)?.into_iter();
        let leases = all.filter_map(|(place, row, _)| match place {
            Place::Lease { pool, ordinal } if filter.means(&pool, &row) => {
                Some(ListedLease { pool, ordinal, row })
            }
            _ => None,
        });
        Ok(leases.collect())
    }

    /// The node that is meant by its name, its id, or the beginning of its id.
    ///
    /// # Errors
    /// `UnknownNode`, `AmbiguousNode`, and those of the store.
    pub fn find_node(&self, text: &str) -> Result<NodeId, OperationError> {
        let all = self.all::<FenceRow>(&self.schema.kind("fences"))?;
        let named = all.into_iter().filter_map(|(place, row, _)| match place {
            Place::Fence(node) => Some((node, row.name)),
            _ => None,
        });
        let named: Vec<_> = named.collect();
        if let Some((node, _)) = named.iter().find(|(node, _)| node.as_str() == text) {
            return Ok(node.clone());
        }
        let meant = named.iter().filter(|(node, name)| {
            name == text || (!text.is_empty() && node.as_str().starts_with(text))
        });
        let meant: Vec<&NodeId> = meant.map(|(node, _)| node).collect();
        match meant[..] {
            [node] => Ok(node.clone()),
            [] => Err(OperationError::UnknownNode {
                node: text.to_owned(),
            }),
            _ => Err(OperationError::AmbiguousNode {
                node: text.to_owned(),
                those: super::pools::owners(meant.into_iter()),
            }),
        }
    }

    fn shares(&self) -> Result<Vec<BTreeMap<PoolName, Share>>, OperationError> {
        let live = self.all::<LiveRow>(&self.schema.kind("live"))?.into_iter();
        Ok(live.map(|(_, row, _)| row.pools).collect())
    }
}

fn listed_pool(
    name: PoolName,
    row: PoolRow,
    blocks: &[ListedBlock],
    live: &[BTreeMap<PoolName, Share>],
) -> ListedPool {
    let mut listed = ListedPool {
        size: row.geometry.usable(row.geometry.whole()),
        blocks: 0,
        claimed: 0,
        reserved: 0,
        held: 0,
        cooling: live
            .iter()
            .filter_map(|pools| pools.get(&name))
            .map(|share| share.cooling)
            .sum(),
        borrowed: 0,
        nodes: 0,
        row,
        name,
    };
    let mut nodes = std::collections::BTreeSet::new();
    for block in blocks.iter().filter(|block| block.pool == listed.name) {
        listed.blocks += 1;
        listed.claimed += block.block.size();
        listed.reserved += block.reserved;
        listed.held += block.held;
        if block.row.lender.is_some() {
            listed.borrowed += block.block.size();
        }
        nodes.insert(&block.row.node);
    }
    listed.nodes = nodes.len() as u64;
    listed
}
