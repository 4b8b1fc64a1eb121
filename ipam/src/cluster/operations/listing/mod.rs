//! Lists: nodes, pools, blocks, leases, reservations, and what is used. Rows are read one kind after the
//! other, so that a list of a busy cluster may be of several moments. A row that is not understood is
//! left out and told of.

mod find;
mod history;
mod survey;
mod usage;

use std::net::IpAddr;

use bulkhead_model::Prefix;

use super::rows::Owned;
use super::{Operations, reservations};
use crate::cluster::geometry::Block;
use crate::cluster::kv::{KvError, Row};
use crate::cluster::name::{NodeId, PoolName, ReservationName};
use crate::cluster::schema::{
    BlockRow, FenceRow, FenceState, Labels, LeaseRow, NodeRow, PoolRow, ReservationRow, RowError,
};
use crate::record::LeasedAddress;
pub use find::NodeError;
pub use history::{AddressHistory, Change, ChangeKind, Tenure, WhoError};
use survey::Survey;
pub use usage::ClusterUsage;

/// A list.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// What it is a list of.
    pub rows: Vec<T>,
    /// Rows of the store that are not understood, and may have been of it.
    pub unread: Vec<RowError>,
}

/// Of which rows a list is: those that have all of what is given.
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

/// What a node's fence says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NodeState {
    /// It may own blocks.
    Active,
    /// It was declared lost, and did not register since.
    Lost,
    /// It has no fence that is understood.
    Unknown,
}

/// A node.
#[derive(Clone, Debug)]
pub struct NodeListed {
    /// Its id.
    pub node: NodeId,
    /// What it is called; the id if nobody knows.
    pub name: String,
    /// What its fence says.
    pub state: NodeState,
    /// The epoch of its life in the cluster.
    pub epoch: u64,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The release of its daemon.
    pub version: String,
    /// Its labels.
    pub labels: Labels,
    /// When its daemon started, in milliseconds since 1970.
    pub started_at_unix_ms: Option<u64>,
    /// When it last gave a sign of life, in milliseconds since 1970. Decides nothing.
    pub seen_at_unix_ms: Option<u64>,
    /// Blocks of any size.
    pub blocks: u64,
    /// Ordinals in them.
    pub claimed: u64,
    /// Leases in them.
    pub held: u64,
    /// Who declared it lost, and why.
    pub statement: String,
}

/// A pool.
#[derive(Clone, Debug)]
pub struct PoolListed {
    /// Its name.
    pub pool: PoolName,
    /// It.
    pub row: PoolRow,
    /// What is used.
    pub usage: ClusterUsage,
    /// Nodes that have blocks of it.
    pub nodes: u64,
}

/// A block.
#[derive(Clone, Debug)]
pub struct BlockListed {
    /// Its pool.
    pub pool: PoolName,
    /// Its ordinals.
    pub block: Block,
    /// It.
    pub row: BlockRow,
    /// Its prefixes; none if its pool is not there.
    pub prefixes: Vec<Prefix>,
    /// What its owner is called.
    pub name: String,
    /// What its owner's fence says.
    pub owner: NodeState,
    /// Leases in it.
    pub held: u64,
    /// Ordinals that are never given out to anybody who does not ask for them.
    pub reserved: u64,
}

/// A lease as it is published.
#[derive(Clone, Debug)]
pub struct LeaseListed {
    /// Its pool.
    pub pool: PoolName,
    /// Its ordinal.
    pub ordinal: u64,
    /// It.
    pub row: LeaseRow,
    /// Its addresses with the lengths of their prefixes; none if its pool is not there.
    pub leased: Vec<LeasedAddress>,
    /// What its node is called.
    pub name: String,
    /// What its node's fence says.
    pub owner: NodeState,
    /// Whether the ordinal is kept for a name.
    pub sticky: bool,
}

/// A reservation.
#[derive(Clone, Debug)]
pub struct ReservationListed {
    /// Its name.
    pub name: ReservationName,
    /// It.
    pub row: ReservationRow,
    /// The pool that has its addresses; none if there is none any more.
    pub pool: Option<PoolName>,
    /// Ordinals in it.
    pub size: u64,
    /// Leases in it.
    pub held: u64,
}

impl Operations<'_> {
    /// The nodes that ever registered, by name.
    ///
    /// # Errors
    /// If the store gives no answer.
    pub fn nodes(&self, filter: &Filter) -> Result<Listed<NodeListed>, KvError> {
        let survey = self.survey()?;
        let known = survey.fences.keys().chain(survey.nodes.keys());
        let mut ids: Vec<&NodeId> = known
            .filter(|node| filter.node.as_ref().is_none_or(|only| only == *node))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let mut rows: Vec<NodeListed> = ids.into_iter().map(|id| survey.node(id)).collect();
        rows.sort_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
        Ok(Listed {
            rows,
            unread: survey.unread,
        })
    }

    /// The pools, by name.
    ///
    /// # Errors
    /// If the store gives no answer.
    pub fn pools(&self, filter: &Filter) -> Result<Listed<PoolListed>, KvError> {
        let survey = self.survey()?;
        let meant = |pool: &PoolName| filter.pool.as_ref().is_none_or(|only| only == pool);
        let pools = survey.pools.iter().filter(|(pool, _)| meant(pool));
        let rows = pools.map(|(pool, row)| survey.pool(pool, row)).collect();
        Ok(Listed {
            rows,
            unread: survey.unread,
        })
    }

    /// The blocks, by pool and first ordinal.
    ///
    /// # Errors
    /// If the store gives no answer.
    pub fn blocks(&self, filter: &Filter) -> Result<Listed<BlockListed>, KvError> {
        let survey = self.survey()?;
        let meant = |owned: &&Owned| {
            filter.pool.as_ref().is_none_or(|only| *only == owned.pool)
                && filter
                    .node
                    .as_ref()
                    .is_none_or(|only| *only == owned.row.node)
        };
        let blocks = survey.blocks.iter().filter(meant);
        let rows = blocks.map(|owned| survey.block(owned)).collect();
        Ok(Listed {
            rows,
            unread: survey.unread,
        })
    }

    /// Hands out the leases as they are published, by pool and ordinal, in pages of at most 2,000.
    ///
    /// # Errors
    /// If the store gives no answer.
    pub fn leases(
        &self,
        filter: &Filter,
        mut page: impl FnMut(Listed<LeaseListed>),
    ) -> Result<(), KvError> {
        let survey = self.survey_names()?;
        let range = match &filter.pool {
            Some(pool) => self.schema.of_pool("leases", pool),
            None => self.schema.kind("leases"),
        };
        self.pages(&range, |rows: Vec<Row>| {
            let mut listed = Listed {
                rows: Vec::new(),
                unread: Vec::new(),
            };
            for row in &rows {
                match self.leased(row) {
                    Ok(lease) if filter.has(&lease.row) => listed.rows.push(survey.lease(lease)),
                    Ok(_) => {}
                    Err(error) => listed.unread.push(error),
                }
            }
            page(listed);
            Ok(())
        })
    }

    /// The reservations, by name.
    ///
    /// # Errors
    /// If the store gives no answer.
    pub fn reservations(&self, filter: &Filter) -> Result<Listed<ReservationListed>, KvError> {
        let mut survey = self.survey()?;
        let mut listed = Vec::new();
        for row in self.all(&self.schema.kind("reservations"))? {
            match self.reservation(&row) {
                Ok((name, row)) => listed.push(survey.reservation(name, row)),
                Err(error) => survey.unread.push(error),
            }
        }
        if let Some(only) = &filter.pool {
            listed.retain(|row: &ReservationListed| row.pool.as_ref() == Some(only));
        }
        survey.unread.dedup();
        Ok(Listed {
            rows: listed,
            unread: survey.unread,
        })
    }
}

impl Filter {
    fn has(&self, lease: &LeaseRow) -> bool {
        let pod = lease.pod.as_ref();
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        self.node.as_ref().is_none_or(|only| *only == lease.node)
            && is(&self.namespace, pod.map(|pod| pod.namespace.as_str()))
            && is(&self.pod, pod.map(|pod| pod.name.as_str()))
            && is(&self.network, Some(lease.attachment.network.as_str()))
    }
}

impl Survey {
    fn state(&self, node: &NodeId) -> NodeState {
        match self.fences.get(node).map(|fence| fence.state) {
            Some(FenceState::Active) => NodeState::Active,
            Some(FenceState::Lost) => NodeState::Lost,
            None => NodeState::Unknown,
        }
    }

    fn node(&self, node: &NodeId) -> NodeListed {
        let fence = self.fences.get(node);
        let about = self
            .nodes
            .get(node)
            .cloned()
            .unwrap_or_else(NodeRow::default);
        let started = about.started_at_unix_ms;
        let own = || self.blocks.iter().filter(|owned| owned.row.node == *node);
        let held = own().map(|owned| self.leased_in(&owned.pool, &owned.block.ordinals()));
        NodeListed {
            node: node.clone(),
            name: self.name(node),
            state: self.state(node),
            epoch: fence.map_or(0, |fence| fence.epoch),
            addresses: about.addresses,
            version: about.version,
            labels: about.labels,
            started_at_unix_ms: (started > 0).then_some(started),
            seen_at_unix_ms: self.live.get(node).map(|live| live.at_unix_ms),
            blocks: count(own()),
            claimed: own().map(|owned| owned.block.size()).sum(),
            held: held.sum(),
            statement: fence.map(said).unwrap_or_default(),
        }
    }

    pub(super) fn block(&self, owned: &Owned) -> BlockListed {
        let pool = self.pools.get(&owned.pool);
        let prefixes = pool.map(|row| row.geometry.prefixes_of(owned.block));
        BlockListed {
            pool: owned.pool.clone(),
            block: owned.block,
            row: owned.row.clone(),
            prefixes: prefixes.unwrap_or_default(),
            name: self.name(&owned.row.node),
            owner: self.state(&owned.row.node),
            held: self.leased_in(&owned.pool, &owned.block.ordinals()),
            reserved: pool.map_or(0, |row| self.withheld(&owned.pool, row, owned.block)),
        }
    }

    pub(super) fn lease(&self, lease: super::rows::Leased) -> LeaseListed {
        let pool = self.pools.get(&lease.pool);
        let leased = pool.map(|row| row.geometry.leased(lease.ordinal));
        LeaseListed {
            leased: leased.unwrap_or_default(),
            name: self.name(&lease.row.node),
            owner: self.state(&lease.row.node),
            sticky: self.is_kept(&lease.pool, lease.ordinal),
            pool: lease.pool,
            ordinal: lease.ordinal,
            row: lease.row,
        }
    }

    fn reservation(&self, name: ReservationName, row: ReservationRow) -> ReservationListed {
        let parts = reservations::kept(&row, &self.pools);
        let held = parts.iter().map(|(pool, part)| self.leased_in(pool, part));
        ReservationListed {
            name,
            pool: parts.first().map(|(pool, _)| pool.clone()),
            size: parts.iter().map(|(_, part)| part.end - part.start).sum(),
            held: held.sum(),
            row,
        }
    }
}

fn said(fence: &FenceRow) -> String {
    match fence.state {
        FenceState::Lost => format!("{}: {}", fence.by, fence.statement),
        FenceState::Active => String::new(),
    }
}

pub(super) fn count(things: impl Iterator) -> u64 {
    u64::try_from(things.count()).expect("a count of things in memory fits 64 bits")
}
