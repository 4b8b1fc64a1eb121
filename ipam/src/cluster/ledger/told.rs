//! What a ledger holds, for lists and checks: as it is in memory, ahead of what is published.

use std::collections::BTreeSet;

use super::Ledger;
use crate::cluster::geometry::Block;
use crate::cluster::name::PoolName;
use crate::cluster::schema::LeaseRow;
use crate::record::LeasedAddress;

/// A block of this node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnedBlock {
    /// Its pool.
    pub pool: PoolName,
    /// Its ordinals.
    pub block: Block,
    /// Ordinals of it that attachments hold.
    pub held: u64,
    /// Freed, and not yet to be given out again.
    pub cooling: u64,
    /// Whether all of it is being given back or ceded.
    pub is_leaving: bool,
}

/// A lease whose record is durable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnLease {
    /// Its pool.
    pub pool: PoolName,
    /// Its ordinal.
    pub ordinal: u64,
    /// It, as it is published or will be.
    pub row: LeaseRow,
    /// Its addresses with the lengths of their prefixes.
    pub leased: Vec<LeasedAddress>,
    /// Whether the ordinal is kept for its holder's name.
    pub is_sticky: bool,
}

impl Ledger {
    /// The blocks, by pool and first ordinal.
    #[must_use]
    pub fn owned_blocks(&self) -> Vec<OwnedBlock> {
        let all = self.own.all().map(|(pool, own)| OwnedBlock {
            pool: pool.clone(),
            block: own.block,
            held: own.held(),
            cooling: own.cooling(),
            is_leaving: own.leaving == Some(own.block),
        });
        all.collect()
    }

    /// The leases whose records are durable, by pool and ordinal.
    #[must_use]
    pub fn own_leases(&self) -> Vec<OwnLease> {
        let leases = self.leases.values().filter_map(|lease| {
            Some(OwnLease {
                row: self.lease_row(&lease.pool, lease.ordinal)?,
                leased: self
                    .pools
                    .get(&lease.pool)?
                    .row
                    .geometry
                    .leased(lease.ordinal),
                pool: lease.pool.clone(),
                ordinal: lease.ordinal,
                is_sticky: self.sticky_of(lease).is_some(),
            })
        });
        let mut leases: Vec<OwnLease> = leases.collect();
        leases.sort_unstable_by(|a, b| (&a.pool, a.ordinal).cmp(&(&b.pool, b.ordinal)));
        leases
    }

    /// The ordinals of which the store has still to hear, with those of which it may be hearing now.
    #[must_use]
    pub fn unpublished_places(&self) -> BTreeSet<(PoolName, u64)> {
        let mut places = self.queue.places();
        places.extend(self.publishing());
        places
    }
}
