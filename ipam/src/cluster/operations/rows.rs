//! Rows as the operations read them.

use std::collections::BTreeMap;

use super::{Operations, StoreTrouble};
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Key, KeyRange, KvError, Revision, Row};
use crate::cluster::name::PoolName;
use crate::cluster::schema::{BlockRow, LeaseRow, Place, PoolRow, RowError, Value};

/// Rows that are read at once where not all are needed together: a page of an admin reply.
pub(super) const PAGE: usize = 2000;

/// Every pool, with the last change of its row.
pub(super) type Pools = BTreeMap<PoolName, (PoolRow, Revision)>;

/// A block's row.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) pool: PoolName,
    pub(super) block: Block,
    pub(super) row: BlockRow,
    pub(super) revision: Revision,
}

/// A lease's row.
#[derive(Clone, Debug)]
pub(super) struct Leased {
    pub(super) pool: PoolName,
    pub(super) ordinal: u64,
    pub(super) row: LeaseRow,
}

impl Operations<'_> {
    /// The row under a key.
    pub(super) fn row(&self, key: &Key) -> Result<Option<Row>, KvError> {
        let listing = self.store.range(&KeyRange::one(key), 1)?;
        Ok(listing.rows.into_iter().next())
    }

    /// The value at a place and its last change; revision 0 if there is none.
    pub(super) fn one<T: Value>(
        &self,
        place: &Place,
    ) -> Result<(Option<T>, Revision), StoreTrouble> {
        match self.row(&self.schema.key(place))? {
            None => Ok((None, Revision(0))),
            Some(row) => Ok((Some(self.schema.read(&row)?.1), row.modified)),
        }
    }

    /// All rows of a range, at one revision.
    pub(super) fn all(&self, range: &KeyRange) -> Result<Vec<Row>, KvError> {
        self.store.range(range, 0).map(|listing| listing.rows)
    }

    /// Hands the rows of a range out in pages, each as it is when it is read.
    pub(super) fn pages<E: From<KvError>>(
        &self,
        range: &KeyRange,
        mut page: impl FnMut(Vec<Row>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = range.clone();
        loop {
            let listing = self.store.range(&rest, PAGE)?;
            match listing.rows.last() {
                Some(last) if listing.more => rest = range.after(&last.key),
                _ => return page(listing.rows),
            }
            page(listing.rows)?;
        }
    }

    /// The rows of a range as values, with their places and revisions.
    pub(super) fn values<T: Value>(
        &self,
        range: &KeyRange,
    ) -> Result<Vec<(Place, T, Revision)>, StoreTrouble> {
        let rows = self.all(range)?;
        let value = |row: &Row| {
            let (place, value) = self.schema.read(row)?;
            Ok((place, value, row.modified))
        };
        rows.iter().map(value).collect()
    }

    /// Every pool.
    pub(super) fn pools_now(&self) -> Result<Pools, StoreTrouble> {
        let rows = self.values::<PoolRow>(&self.schema.kind("pools"))?;
        let pool = |(place, row, revision)| match place {
            Place::Pool(name) => (name, (row, revision)),
            _ => unreachable!("a pool's row stands at a pool's place"),
        };
        Ok(rows.into_iter().map(pool).collect())
    }

    /// The blocks of a range of `blocks`.
    pub(super) fn blocks_in(&self, range: &KeyRange) -> Result<Vec<Owned>, StoreTrouble> {
        let owned = |row: &Row| Ok(self.owned(row)?);
        self.all(range)?.iter().map(owned).collect()
    }

    /// The leases of a range of `leases`.
    pub(super) fn leases_in(&self, range: &KeyRange) -> Result<Vec<Leased>, StoreTrouble> {
        let leased = |row: &Row| Ok(self.leased(row)?);
        self.all(range)?.iter().map(leased).collect()
    }

    pub(super) fn owned(&self, row: &Row) -> Result<Owned, RowError> {
        let (pool, block, value) = self.schema.read_block(row)?;
        Ok(Owned {
            pool,
            block,
            row: value,
            revision: row.modified,
        })
    }

    pub(super) fn leased(&self, row: &Row) -> Result<Leased, RowError> {
        let (place, value) = self.schema.read::<LeaseRow>(row)?;
        let Place::Lease { pool, ordinal } = place else {
            unreachable!("a lease's row stands at a lease's place");
        };
        Ok(Leased {
            pool,
            ordinal,
            row: value,
        })
    }
}
