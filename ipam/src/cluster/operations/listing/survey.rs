//! What the lists are made from: every row but leases, and of those where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::cluster::kv::{KeyRange, KvError, Row};
use crate::cluster::name::{NodeId, PoolName};
use crate::cluster::operations::rows::Owned;
use crate::cluster::operations::{Operations, reservations};
use crate::cluster::schema::{
    FenceRow, LiveRow, NodeRow, Place, PoolRow, ReservationRow, RowError, Value,
};

/// The rows of a cluster, as far as they are understood.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) pools: BTreeMap<PoolName, PoolRow>,
    pub(super) fences: BTreeMap<NodeId, FenceRow>,
    pub(super) nodes: BTreeMap<NodeId, NodeRow>,
    pub(super) live: BTreeMap<NodeId, LiveRow>,
    /// By pool and first ordinal.
    pub(super) blocks: Vec<Owned>,
    /// The ordinals that are leased, in order.
    pub(super) leased: BTreeMap<PoolName, Vec<u64>>,
    /// The ordinals that are kept for names.
    pub(super) kept: BTreeMap<PoolName, BTreeSet<u64>>,
    /// The ordinals that reservations hold.
    pub(super) reserved: BTreeMap<PoolName, Vec<Range<u64>>>,
    pub(super) unread: Vec<RowError>,
}

impl Survey {
    /// What a node is called; its id if it is not known.
    pub(super) fn name(&self, node: &NodeId) -> String {
        let fence = self.fences.get(node).map(|fence| &fence.name);
        let own = self.nodes.get(node).map(|row| &row.name);
        let name = fence.into_iter().chain(own).find(|name| !name.is_empty());
        name.map_or_else(|| node.to_string(), Clone::clone)
    }

    /// Ordinals leased of a span of a pool's.
    pub(super) fn leased_in(&self, pool: &PoolName, span: &Range<u64>) -> u64 {
        let Some(leased) = self.leased.get(pool) else {
            return 0;
        };
        let before = |bound: u64| leased.partition_point(|ordinal| *ordinal < bound);
        let count = before(span.end).saturating_sub(before(span.start));
        u64::try_from(count).expect("a length in memory fits 64 bits")
    }

    pub(super) fn is_leased(&self, pool: &PoolName, ordinal: u64) -> bool {
        let leased = self.leased.get(pool);
        leased.is_some_and(|leased| leased.binary_search(&ordinal).is_ok())
    }

    pub(super) fn is_kept(&self, pool: &PoolName, ordinal: u64) -> bool {
        self.kept
            .get(pool)
            .is_some_and(|kept| kept.contains(&ordinal))
    }

    fn take<T>(&mut self, read: Result<T, RowError>) -> Option<T> {
        read.map_err(|error| self.unread.push(error)).ok()
    }
}

impl Operations<'_> {
    /// Everything.
    pub(super) fn survey(&self) -> Result<Survey, KvError> {
        let mut survey = self.survey_names()?;
        self.read_kind(&mut survey, "live", |survey, place, row: LiveRow| {
            if let Place::Live(node) = place {
                survey.live.insert(node, row);
            }
        })?;
        self.survey_reservations(&mut survey)?;
        for row in self.all(&self.schema.kind("blocks"))? {
            let owned = survey.take(self.owned(&row));
            survey.blocks.extend(owned);
        }
        self.survey_leases(&mut survey, &self.schema.kind("leases"))?;
        Ok(survey)
    }

    /// Pools, nodes and what is kept for names.
    pub(super) fn survey_names(&self) -> Result<Survey, KvError> {
        let mut survey = Survey::default();
        self.read_kind(&mut survey, "pools", |survey, place, row: PoolRow| {
            if let Place::Pool(pool) = place {
                survey.pools.insert(pool, row);
            }
        })?;
        self.read_kind(&mut survey, "fences", |survey, place, row: FenceRow| {
            if let Place::Fence(node) = place {
                survey.fences.insert(node, row);
            }
        })?;
        self.read_kind(&mut survey, "nodes", |survey, place, row: NodeRow| {
            if let Place::Node(node) = place {
                survey.nodes.insert(node, row);
            }
        })?;
        self.read_keys(&self.schema.kind("kept"), |place| {
            if let Place::Kept { pool, ordinal } = place {
                survey.kept.entry(pool).or_default().insert(ordinal);
            }
        })?;
        Ok(survey)
    }

    /// What reservations hold, of the pools that are known.
    pub(super) fn survey_reservations(&self, survey: &mut Survey) -> Result<(), KvError> {
        self.read_kind(survey, "reservations", |survey, _, row: ReservationRow| {
            for (pool, ordinals) in reservations::kept(&row, &survey.pools) {
                survey.reserved.entry(pool).or_default().push(ordinals);
            }
        })
    }

    /// Which ordinals are leased, of a range of leases.
    pub(super) fn survey_leases(
        &self,
        survey: &mut Survey,
        range: &KeyRange,
    ) -> Result<(), KvError> {
        self.read_keys(range, |place| {
            if let Place::Lease { pool, ordinal } = place {
                survey.leased.entry(pool).or_default().push(ordinal);
            }
        })
    }

    fn read_kind<T: Value>(
        &self,
        survey: &mut Survey,
        kind: &str,
        mut put: impl FnMut(&mut Survey, Place, T),
    ) -> Result<(), KvError> {
        for row in self.all(&self.schema.kind(kind))? {
            if let Some((place, value)) = survey.take(self.schema.read::<T>(&row)) {
                put(survey, place, value);
            }
        }
        Ok(())
    }

    /// Reads the keys of a range, in pages.
    fn read_keys(&self, range: &KeyRange, mut put: impl FnMut(Place)) -> Result<(), KvError> {
        self.pages(range, |rows: Vec<Row>| {
            let places = rows.iter().filter_map(|row| self.schema.place(&row.key));
            places.for_each(&mut put);
            Ok(())
        })
    }
}
