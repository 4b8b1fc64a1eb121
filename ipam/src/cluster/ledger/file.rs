//! The ledger's file: what a node must know of its blocks when it starts while the store is away.
//!
//! It is replaced as a whole, and is JSON that people can read. What is not in it and what is more than
//! is in it are both known from the store at the next contact; what must never be missing is written
//! before it is relied on ([`super`]).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bulkhead_model::NetworkName;
use serde::{Deserialize, Serialize};

use super::Ledger;
use super::borrow::Asking;
use super::own::OwnBlock;
use crate::cluster::geometry::Block;
use crate::cluster::name::{Attempt, NodeId, PoolName, ReservationName, StickyId};
use crate::cluster::schema::{PoolRow, ReservationRow, SCHEMA};
use crate::error::FileError;
use crate::journal::replace_file;

/// What a node knows of its blocks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LedgerFile {
    /// The schema that it was written in.
    v: u32,
    pub(super) node: NodeId,
    pub(super) cluster: String,
    pub(super) epoch: u64,
    pub(super) pools: BTreeMap<PoolName, PoolRow>,
    #[serde(default)]
    pub(super) reservations: BTreeMap<ReservationName, ReservationRow>,
    pub(super) blocks: Vec<SavedBlock>,
    #[serde(default)]
    pub(super) kept: Vec<SavedKept>,
    #[serde(default)]
    pub(super) claiming: Vec<Claiming>,
    #[serde(default)]
    pub(super) asking: Vec<Asking>,
    #[serde(default)]
    pub(super) audited_until_unix_ms: u64,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct SavedBlock {
    pub(super) pool: PoolName,
    #[serde(flatten)]
    pub(super) block: SavedSpan,
    #[serde(default)]
    pub(super) claimed_at_unix_ms: u64,
    #[serde(default)]
    pub(super) epoch: u64,
    #[serde(default)]
    pub(super) attempt: Attempt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lender: Option<NodeId>,
    /// The part that is being given away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) leaving: Option<SavedSpan>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct SavedKept {
    pub(super) pool: PoolName,
    pub(super) ordinal: u64,
    pub(super) sticky: StickyId,
}

/// A block that may have become this node's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Claiming {
    pub(super) pool: PoolName,
    #[serde(flatten)]
    pub(super) block: SavedSpan,
    pub(super) attempt: Attempt,
}

/// A block in the file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "FirstBits", into = "FirstBits")]
pub(super) struct SavedSpan(pub(super) Block);

#[derive(Deserialize, Serialize)]
struct FirstBits {
    first: u64,
    bits: u8,
}

impl TryFrom<FirstBits> for SavedSpan {
    type Error = String;

    fn try_from(raw: FirstBits) -> Result<Self, String> {
        let block = Block::new(raw.first, raw.bits);
        let wrong = || format!("first {} and bits {} make no block", raw.first, raw.bits);
        block.map(Self).ok_or_else(wrong)
    }
}

impl From<SavedSpan> for FirstBits {
    fn from(saved: SavedSpan) -> Self {
        Self {
            first: saved.0.first(),
            bits: saved.0.bits(),
        }
    }
}

/// Why a ledger's file is not used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFileError {
    /// A later release wrote it.
    #[error(
        "the ledger's file has schema {found}, this release reads {SCHEMA}; use the later release"
    )]
    Newer {
        /// Its schema.
        found: u64,
    },
    /// It is not what was written.
    #[error(
        "the ledger's file is damaged: {what}; remove it while the cluster's store can be reached, which has the same"
    )]
    Damaged {
        /// What is wrong, and where.
        what: String,
    },
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is another node's.
    #[error(
        "the ledger's file is of node {found}, and this is node {node}; it was copied from there: remove it"
    )]
    Foreign {
        /// Whose it is.
        found: NodeId,
        /// Who reads it.
        node: NodeId,
    },
}

impl LedgerFile {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("it has text keys");
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`LedgerFile::encode`] wrote for `node`.
    ///
    /// # Errors
    /// [`LedgerFileError`].
    pub fn decode(bytes: &[u8], node: &NodeId) -> Result<Self, LedgerFileError> {
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        let damaged = |error: serde_json::Error| LedgerFileError::Damaged {
            what: error.to_string(),
        };
        let version: Version = serde_json::from_slice(bytes).map_err(damaged)?;
        if version.v > u64::from(SCHEMA) {
            return Err(LedgerFileError::Newer { found: version.v });
        }
        let file: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        if file.node != *node {
            return Err(LedgerFileError::Foreign {
                found: file.node,
                node: node.clone(),
            });
        }
        file.check()
            .map_err(|what| LedgerFileError::Damaged { what })?;
        Ok(file)
    }

    /// What is kept in a state directory; `None` if nothing was yet.
    ///
    /// # Errors
    /// [`LedgerFileError`].
    pub fn load(state_dir: &Path, node: &NodeId) -> Result<Option<Self>, LedgerFileError> {
        let path = Self::path(state_dir);
        match fs::read(&path) {
            Ok(bytes) => Self::decode(&bytes, node).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::at("read", &path)(error).into()),
        }
    }

    /// Keeps it in a state directory, durably.
    ///
    /// # Errors
    /// What the system refused; the one before is kept then.
    pub fn save(&self, state_dir: &Path) -> Result<(), FileError> {
        replace_file(&Self::path(state_dir), &self.encode()).map(drop)
    }

    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("ledger")
    }

    /// Which pool and ordinal an address is of that an attachment of the network had, as far as the file knows
    /// the pools: of its own as a tenant before all others', which no other tenant's is.
    #[must_use]
    pub fn place_of(&self, network: &NetworkName, address: IpAddr) -> Option<(PoolName, u64)> {
        let is_own = |row: &PoolRow| {
            let tenant = row.tenant.as_ref();
            tenant.map(|tenant| tenant.as_str() == network.as_str())
        };
        [Some(true), None].into_iter().find_map(|tenant| {
            let mut pools = self.pools.iter().filter(|(_, row)| is_own(row) == tenant);
            pools.find_map(|(name, row)| Some((name.clone(), row.geometry.ordinal(address)?)))
        })
    }

    /// Leases that ended until then, in milliseconds since 1970, are in the store's audit.
    #[must_use]
    pub const fn audited_until_unix_ms(&self) -> u64 {
        self.audited_until_unix_ms
    }

    /// What no reader could make sense of.
    fn check(&self) -> Result<(), String> {
        for (nth, saved) in self.blocks.iter().enumerate() {
            let (pool, block) = (&saved.pool, saved.block.0);
            if !self.pools.contains_key(pool) {
                return Err(format!(
                    "block {block} is of pool {pool}, which is not in it"
                ));
            }
            let mut others = self.blocks[..nth].iter();
            let twice = |other: &SavedBlock| other.pool == *pool && other.block.0.overlaps(block);
            if others.any(twice) {
                return Err(format!("blocks {block} of pool {pool} are in it twice"));
            }
        }
        Ok(())
    }
}

impl Ledger {
    /// What the file should hold now.
    #[must_use]
    pub fn file(&self) -> LedgerFile {
        self.file_of(|own| !own.fresh)
    }

    /// The file with those blocks that are `meant`.
    pub(super) fn file_of(&self, meant: impl Fn(&OwnBlock) -> bool) -> LedgerFile {
        let block = |(pool, own): (&PoolName, &OwnBlock)| SavedBlock {
            pool: pool.clone(),
            block: SavedSpan(own.block),
            claimed_at_unix_ms: own.claimed_at_unix_ms,
            epoch: own.epoch,
            attempt: own.attempt.clone(),
            lender: own.lender.clone(),
            leaving: own.leaving.map(SavedSpan),
        };
        let kept = self.pools.iter().flat_map(|(pool, side)| {
            side.kept.iter().map(|(ordinal, sticky)| SavedKept {
                pool: pool.clone(),
                ordinal: *ordinal,
                sticky: sticky.clone(),
            })
        });
        let known = self.own.all().filter(|(_, own)| meant(own));
        let pools = self.pools.iter();
        let pools = pools.filter(|(name, side)| !side.gone || self.own.has(name));
        LedgerFile {
            v: SCHEMA,
            node: self.node.clone(),
            cluster: self.link.cluster.clone(),
            epoch: self.link.compared_epoch,
            pools: pools
                .map(|(name, side)| (name.clone(), side.row.clone()))
                .collect(),
            reservations: self.reservations.clone(),
            blocks: known.map(block).collect(),
            kept: kept.collect(),
            claiming: self.claiming.clone(),
            asking: self.asking.clone(),
            audited_until_unix_ms: self.audited_until_unix_ms,
        }
    }
}
