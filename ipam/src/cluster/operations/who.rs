//! Who had an address, and when.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{OperationError, Operator};
use crate::cluster::geometry::{Block, Unusable};
use crate::cluster::kv::KeyRange;
use crate::cluster::name::PoolName;
use crate::cluster::schema::{AuditRow, BlockRow, LeaseRow, Place};

/// All that the store says of an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct History {
    /// Its pool.
    pub pool: PoolName,
    /// Its ordinal.
    pub ordinal: u64,
    /// Every address of the ordinal, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Why it is never given out; `None` if it may be.
    pub unusable: Option<Unusable>,
    /// The block that it lies in.
    pub block: Option<(Block, BlockRow)>,
    /// Who has it now.
    pub holder: Option<LeaseRow>,
    /// What happened to it and to its blocks, oldest first.
    pub chapters: Vec<Chapter>,
}

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chapter {
    /// What.
    pub row: AuditRow,
    /// The block, if it happened to one.
    pub block: Option<Block>,
}

/// Who had an address at some time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holder<'a> {
    /// Who has it now, too.
    Present(&'a LeaseRow),
    /// Who has it no more.
    Past(&'a AuditRow),
}

impl History {
    /// Who had the address at a time, in milliseconds since 1970, by the clocks of the nodes. Several if
    /// these do not agree; none if nobody had it, or if that is no longer kept.
    #[must_use]
    pub fn at(&self, at_unix_ms: u64) -> Vec<Holder<'_>> {
        let past = self.chapters.iter().filter(|chapter| {
            let since = chapter.row.since_unix_ms;
            since.is_some_and(|since| (since..=chapter.row.at_unix_ms).contains(&at_unix_ms))
        });
        let present = self
            .holder
            .iter()
            .filter(|lease| lease.since_unix_ms <= at_unix_ms);
        past.map(|chapter| Holder::Past(&chapter.row))
            .chain(present.map(Holder::Present))
            .collect()
    }
}

impl Operator<'_> {
    /// All that the store says of an address.
    ///
    /// # Errors
    /// `NoSuchAddress`, and those of the store.
    pub fn who(&self, address: IpAddr) -> Result<History, OperationError> {
        let pools = self.pools()?;
        let mut having = pools.iter().filter_map(|(name, row, _)| {
            let ordinal = row.geometry.ordinal(address)?;
            Some((name, row, ordinal))
        });
        let none = || OperationError::NoSuchAddress { address };
        let (pool, row, ordinal) = having.next().ok_or_else(none)?;
        let lease = Place::Lease {
            pool: pool.clone(),
            ordinal,
        };
        Ok(History {
            pool: pool.clone(),
            ordinal,
            addresses: row.geometry.addresses(ordinal),
            unusable: row.geometry.unusable(ordinal),
            block: self.block_around(pool, ordinal, row.largest_bits)?,
            holder: self.one::<LeaseRow>(&lease)?.map(|(_, lease)| lease),
            chapters: self.chapters(pool, ordinal, row.largest_bits)?,
        })
    }

    fn block_around(
        &self,
        pool: &PoolName,
        ordinal: u64,
        largest_bits: u8,
    ) -> Result<Option<(Block, BlockRow)>, OperationError> {
        for first in firsts(ordinal, largest_bits) {
            let pool = pool.clone();
            let key = self.key(&Place::Block { pool, first });
            for raw in self.range(&KeyRange::one(&key))?.rows {
                let (_, block, row) = self.schema.read_block(&raw)?;
                if block.contains(ordinal) {
                    return Ok(Some((block, row)));
                }
            }
        }
        Ok(None)
    }

    /// What happened to the ordinal, and to every block that it was in.
    fn chapters(
        &self,
        pool: &PoolName,
        ordinal: u64,
        largest_bits: u8,
    ) -> Result<Vec<Chapter>, OperationError> {
        let mut chapters = Vec::new();
        for first in firsts(ordinal, largest_bits) {
            for (_, row, _) in self.all::<AuditRow>(&self.schema.audit_of(pool, first))? {
                let block = row.bits.and_then(|bits| Block::new(first, bits));
                let concerns = match block {
                    Some(block) => block.contains(ordinal),
                    None => first == ordinal,
                };
                if concerns {
                    chapters.push(Chapter { row, block });
                }
            }
        }
        chapters.sort_by_key(|chapter| chapter.row.at_unix_ms);
        Ok(chapters)
    }
}

/// Where the blocks around an ordinal may begin.
fn firsts(ordinal: u64, largest_bits: u8) -> BTreeSet<u64> {
    let around = (0..=largest_bits).filter_map(|bits| Block::around(ordinal, bits));
    around.map(Block::first).collect()
}
