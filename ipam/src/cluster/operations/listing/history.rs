//! Who has an address, and who had it when.

use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use super::survey::Survey;
use super::{BlockListed, LeaseListed};
use crate::PodRef;
use crate::cluster::geometry::{Block, Unusable};
use crate::cluster::kv::{KeyRange, KvError};
use crate::cluster::name::{NodeId, PoolName};
use crate::cluster::operations::{Operations, Reason, StoreTrouble};
use crate::cluster::schema::{AuditRow, Happened, JanitorRow, Place, PoolRow, RowError};

/// What is known of an address.
#[derive(Clone, Debug)]
pub struct AddressHistory {
    /// Its pool.
    pub pool: PoolName,
    /// Its ordinal.
    pub ordinal: u64,
    /// Every address of the ordinal, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Why it is never given out.
    pub unusable: Option<Unusable>,
    /// The block that it lies in.
    pub block: Option<BlockListed>,
    /// Who has it, as it is published.
    pub holder: Option<LeaseListed>,
    /// What is kept of its past and its blocks', oldest first.
    pub changes: Vec<Change>,
    /// What happened before is not kept, in milliseconds since 1970; 0: all is.
    pub since_unix_ms: u64,
    /// Rows that may be of its past and are not understood.
    pub unread: Vec<RowError>,
}

/// Something that happened to an address or to a block that it lay in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// When, in milliseconds since 1970, by the clock of the node that it happened on.
    pub at_unix_ms: u64,
    /// What.
    pub what: ChangeKind,
    /// To which node.
    pub node: NodeId,
    /// What that is called.
    pub name: String,
    /// To which block, if it happened to one.
    pub block: Option<Block>,
    /// To which attachment.
    pub attachment: Option<AttachmentKey>,
    /// Its pod.
    pub pod: Option<PodRef>,
    /// The lease's sequence.
    pub sequence: Option<u64>,
    /// Why.
    pub reason: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChangeKind {
    /// A lease began.
    Acquired,
    /// Something that is audited.
    Audited(Happened),
}

/// Somebody's time with an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenure {
    /// Who.
    pub attachment: AttachmentKey,
    /// Its pod.
    pub pod: Option<PodRef>,
    /// On which node.
    pub node: NodeId,
    /// The lease's sequence.
    pub sequence: u64,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Until when, without it; none: it has it.
    pub until_unix_ms: Option<u64>,
}

/// Why nothing can be said of an address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WhoError {
    /// It is of no pool.
    #[error("{address} is of no pool of the cluster; there are: {pools}")]
    Elsewhere {
        /// It.
        address: IpAddr,
        /// The pools, with their prefixes.
        pools: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreTrouble),
}

impl WhoError {
    /// What kind of reason it is.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Elsewhere { .. } => Reason::NotFound,
            Self::Store(trouble) => trouble.reason(),
        }
    }
}

impl From<KvError> for WhoError {
    fn from(error: KvError) -> Self {
        Self::Store(error.into())
    }
}

impl AddressHistory {
    /// Who had it at a time, in milliseconds since 1970. More than one only if clocks differed.
    #[must_use]
    pub fn at(&self, unix_ms: u64) -> Vec<Tenure> {
        let mut tenures = self.tenures();
        tenures.retain(|tenure| {
            tenure.since_unix_ms <= unix_ms
                && tenure.until_unix_ms.is_none_or(|until| unix_ms < until)
        });
        tenures
    }

    /// Everybody who had it, as far as that is kept, and who has it; oldest first.
    #[must_use]
    pub fn tenures(&self) -> Vec<Tenure> {
        let ended = self.changes.iter().filter_map(|change| match change.what {
            ChangeKind::Acquired => None,
            ChangeKind::Audited(_) => Some(Tenure {
                attachment: change.attachment.clone()?,
                pod: change.pod.clone(),
                node: change.node.clone(),
                sequence: change.sequence?,
                since_unix_ms: self.began(change),
                until_unix_ms: Some(change.at_unix_ms),
            }),
        });
        let has = self.holder.iter().map(|lease| Tenure {
            attachment: lease.row.attachment.clone(),
            pod: lease.row.pod.clone(),
            node: lease.row.node.clone(),
            sequence: lease.row.sequence,
            since_unix_ms: lease.row.since_unix_ms,
            until_unix_ms: None,
        });
        ended.chain(has).collect()
    }

    /// When the lease began that ended with a change.
    fn began(&self, end: &Change) -> u64 {
        let same = |change: &&Change| {
            change.what == ChangeKind::Acquired
                && change.node == end.node
                && change.attachment == end.attachment
                && change.sequence == end.sequence
        };
        let began = self.changes.iter().find(same);
        began.map_or(end.at_unix_ms, |change| change.at_unix_ms)
    }
}

impl Operations<'_> {
    /// Who has an address and who had it, of each pool that has it: tenants' may have the same.
    ///
    /// # Errors
    /// [`WhoError`].
    pub fn who(&self, address: IpAddr) -> Result<Vec<AddressHistory>, WhoError> {
        let mut survey = self.survey_names()?;
        let pools = survey.pools.iter().filter_map(|(pool, row)| {
            let ordinal = row.geometry.ordinal(address)?;
            Some((pool.clone(), row.clone(), ordinal))
        });
        let found: Vec<_> = pools.collect();
        if found.is_empty() {
            return Err(WhoError::Elsewhere {
                address,
                pools: survey.described(),
            });
        }
        let histories = found
            .into_iter()
            .map(|place| self.history(&mut survey, place));
        histories.collect()
    }

    fn history(
        &self,
        survey: &mut Survey,
        (pool, row, ordinal): (PoolName, PoolRow, u64),
    ) -> Result<AddressHistory, WhoError> {
        let block = self.block_around(survey, &pool, &row, ordinal)?;
        let holder = self.lease_at(survey, &pool, ordinal)?;
        let (janitor, _) = self.one::<JanitorRow>(&Place::Janitor)?;
        let pruned = janitor.map_or(0, |janitor| janitor.before_unix_ms);
        let mut changes = self.audited(survey, &pool, &row, ordinal)?;
        changes.extend(holder.as_ref().map(Change::acquired));
        // Of one moment, what began comes first.
        changes.sort_by_key(|change| (change.at_unix_ms, change.what != ChangeKind::Acquired));
        Ok(AddressHistory {
            addresses: row.geometry.addresses(ordinal),
            unusable: row.geometry.unusable(ordinal),
            since_unix_ms: pruned.max(row.laid_out_at_unix_ms),
            pool,
            ordinal,
            block,
            holder,
            changes,
            unread: std::mem::take(&mut survey.unread),
        })
    }

    fn block_around(
        &self,
        survey: &mut Survey,
        pool: &PoolName,
        row: &PoolRow,
        ordinal: u64,
    ) -> Result<Option<BlockListed>, KvError> {
        let window = Block::around(ordinal, row.largest_bits);
        let from = window.map_or(0, Block::first);
        let range = self.schema.between("blocks", pool, from, ordinal + 1);
        let mut found = None;
        for row in self.all(&range)? {
            match self.owned(&row) {
                Ok(owned) if owned.block.contains(ordinal) => found = Some(owned),
                Ok(_) => {}
                Err(error) => survey.unread.push(error),
            }
        }
        let Some(owned) = found else {
            return Ok(None);
        };
        self.survey_reservations(survey)?;
        self.survey_leases(survey, &self.schema.within("leases", pool, owned.block))?;
        Ok(Some(survey.block(&owned)))
    }

    fn lease_at(
        &self,
        survey: &mut Survey,
        pool: &PoolName,
        ordinal: u64,
    ) -> Result<Option<LeaseListed>, KvError> {
        let pool = pool.clone();
        let Some(row) = self.row(&self.schema.key(&Place::Lease { pool, ordinal }))? else {
            return Ok(None);
        };
        match self.leased(&row) {
            Ok(lease) => Ok(Some(survey.lease(lease))),
            Err(error) => {
                survey.unread.push(error);
                Ok(None)
            }
        }
    }

    /// What is audited of an ordinal, and of the blocks that it lay in: those are audited under their
    /// first ordinals.
    fn audited(
        &self,
        survey: &mut Survey,
        pool: &PoolName,
        row: &PoolRow,
        ordinal: u64,
    ) -> Result<Vec<Change>, KvError> {
        let one = Block::one(ordinal);
        let wider = one
            .into_iter()
            .flat_map(|one| one.ancestors(row.largest_bits));
        let firsts = std::iter::once(ordinal).chain(wider.map(Block::first));
        let mut changes = Vec::new();
        for first in firsts {
            let range: KeyRange = self.schema.audit_of(pool, first);
            for kept in self.all(&range)? {
                match self.schema.read::<AuditRow>(&kept) {
                    Ok((_, audit)) if audit.at_unix_ms < row.laid_out_at_unix_ms => {}
                    Ok((_, audit)) => changes.extend(survey.changes(first, ordinal, &audit)),
                    Err(error) => survey.unread.push(error),
                }
            }
        }
        Ok(changes)
    }
}

impl Survey {
    /// What an audit row under `first` says of `ordinal`: nothing if it is of something else.
    fn changes(&self, first: u64, ordinal: u64, audit: &AuditRow) -> Vec<Change> {
        let block = audit.bits.and_then(|bits| Block::new(first, bits));
        let meant = match audit.bits {
            None => first == ordinal,
            Some(_) => block.is_some_and(|block| block.contains(ordinal)),
        };
        if !meant {
            return Vec::new();
        }
        let end = Change {
            at_unix_ms: audit.at_unix_ms,
            what: ChangeKind::Audited(audit.what),
            node: audit.node.clone(),
            name: self.name(&audit.node),
            block,
            attachment: audit.attachment.clone(),
            pod: audit.pod.clone(),
            sequence: audit.sequence,
            reason: audit.reason.clone(),
        };
        let began = audit.since_unix_ms.map(|since| Change {
            at_unix_ms: since,
            what: ChangeKind::Acquired,
            reason: String::new(),
            ..end.clone()
        });
        began.into_iter().chain([end]).collect()
    }

    fn described(&self) -> String {
        let pools = self.pools.iter().map(|(pool, row)| {
            let prefixes: Vec<String> = row.geometry.prefixes().map(|p| p.to_string()).collect();
            format!("{pool} with {}", prefixes.join(" and "))
        });
        let pools: Vec<String> = pools.collect();
        if pools.is_empty() {
            "none".to_owned()
        } else {
            pools.join(", ")
        }
    }
}

impl Change {
    fn acquired(lease: &LeaseListed) -> Self {
        Self {
            at_unix_ms: lease.row.since_unix_ms,
            what: ChangeKind::Acquired,
            node: lease.row.node.clone(),
            name: lease.name.clone(),
            block: None,
            attachment: Some(lease.row.attachment.clone()),
            pod: lease.row.pod.clone(),
            sequence: Some(lease.row.sequence),
            reason: String::new(),
        }
    }
}
