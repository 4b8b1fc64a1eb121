//! The embedded store: the state directory of one node.

use std::net::IpAddr;
use std::ops::Deref;
use std::path::Path;

use bulkhead_model::{AttachmentId, AttachmentKey, ContainerId, IfName, NetworkName, Prefix};

use crate::boot::Boot;
use crate::config::PoolConfig;
use crate::error::{AcquireError, FileError, OpenError, StoreError};
use crate::pool::Pool;
use crate::record::{AttachmentRecord, Draft, Ipam, LeasedAddress};

/// What a state directory is opened for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// An ADD in this process: created if missing, refused if a daemon owns the directory.
    Add,
    /// Any other call in this process: not created.
    Shared,
    /// A daemon, for its life; or a repair that must be alone.
    Exclusive,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LockMode {
    /// With others that share it.
    Shared,
    /// Alone.
    Exclusive,
}

/// The state directory, locked.
#[derive(Debug)]
pub struct StateDir {}

/// A lock on a file, held until dropped.
#[derive(Debug)]
pub struct FileLock {}

impl StateDir {
    /// Opens and locks the directory.
    ///
    /// # Errors
    /// [`OpenError`]; `Missing` only for `Access::Shared`, `Managed` only for `Access::Add`.
    pub fn open(path: &Path, access: Access) -> Result<Self, OpenError> {
        let _ = (path, access);
        todo!()
    }

    /// The same under another boot, for tests and simulations.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    pub fn open_in(path: &Path, access: Access, boot: Boot) -> Result<Self, OpenError> {
        let _ = (path, access, boot);
        todo!()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        todo!()
    }

    /// This boot.
    #[must_use]
    pub fn boot(&self) -> &Boot {
        todo!()
    }

    /// Whether a daemon owns it.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        todo!()
    }

    /// The node's id, made on first use and kept.
    ///
    /// # Errors
    /// If it can be neither read nor made.
    pub fn node_id(&self) -> Result<String, FileError> {
        todo!()
    }

    /// One network's store; nothing is read yet.
    #[must_use]
    pub fn network(&self, name: &NetworkName) -> NetworkStore {
        let _ = name;
        todo!()
    }

    /// Every network with a record, by name.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn networks(&self) -> Result<Vec<NetworkName>, FileError> {
        todo!()
    }

    /// The lock of a bridge: shared while a port is plugged, exclusive while the bridge is removed.
    ///
    /// # Errors
    /// If the lock file cannot be made.
    pub fn bridge_lock(&self, bridge: &IfName, mode: LockMode) -> Result<FileLock, FileError> {
        let _ = (bridge, mode);
        todo!()
    }
}

/// One network's store.
#[derive(Clone, Debug)]
pub struct NetworkStore {}

impl NetworkStore {
    /// Locks it against every other writer and opens it, made if missing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lock(&self) -> Result<LockedStore, StoreError> {
        todo!()
    }

    /// The same, `None` if the network has no record; creates nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lock_existing(&self) -> Result<Option<LockedStore>, StoreError> {
        todo!()
    }

    /// What is recorded now, without any lock; `None` if nothing ever was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self) -> Result<Option<Snapshot>, StoreError> {
        todo!()
    }
}

/// What was recorded at one moment.
#[derive(Debug)]
pub struct Snapshot {}

impl Snapshot {
    /// The attachment's record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn find(&self, id: &AttachmentId) -> Result<Option<AttachmentRecord>, StoreError> {
        let _ = id;
        todo!()
    }

    /// Every attachment. Reads them all: for lists and garbage collection only.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn attachments(&self) -> Result<Vec<AttachmentRecord>, StoreError> {
        todo!()
    }

    /// Number of attachments.
    #[must_use]
    pub fn live_count(&self) -> u64 {
        todo!()
    }

    /// The network's pool as last used.
    #[must_use]
    pub fn pool(&self) -> Option<&Pool> {
        todo!()
    }

    /// Who holds `address`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn holder(&self, address: IpAddr) -> Result<Option<AttachmentRecord>, StoreError> {
        let _ = address;
        todo!()
    }

    /// How full each range set is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn usage(&self) -> Result<Vec<SetUsage>, StoreError> {
        todo!()
    }

    /// Attachments that garbage collection would detach, with the reason. Reads them all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stale(&self, valid: &Valid<'_>) -> Result<Vec<Stale>, StoreError> {
        let _ = valid;
        todo!()
    }

    /// What happened to `address`, oldest first, as far back as the audit log goes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn history(&self, address: IpAddr) -> Result<Vec<Event>, StoreError> {
        let _ = address;
        todo!()
    }
}

/// How full a range set is. All numbers saturate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetUsage {
    /// The set's number, from 0.
    pub set: u32,
    /// Its ranges, as text.
    pub ranges: String,
    /// Addresses that can be given out.
    pub size: u128,
    /// Addresses held.
    pub held: u64,
    /// Addresses that cool down.
    pub cooling: u64,
    /// Addresses neither held nor cooling.
    pub free: u128,
}

/// The attachments that the runtime says are alive (GC, `cni.dev/valid-attachments`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Valid<'a> {
    /// These, and no other of the network on this node.
    Listed(&'a [(ContainerId, IfName)]),
    /// The runtime did not say: only what is provably dead is stale.
    Absent,
}

/// An attachment that should not be there any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stale {
    /// Its record.
    pub record: AttachmentRecord,
    /// Why.
    pub reason: StaleReason,
}

/// Why an attachment is stale.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StaleReason {
    /// The runtime does not list it.
    NotListed,
    /// Its namespace is gone, or the path leads to another one.
    NetnsGone,
    /// It was made before the machine booted.
    OtherBoot,
}

/// A change of an address's lease.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The attachment.
    pub key: AttachmentKey,
    /// The lease's sequence.
    pub sequence: u64,
    /// What happened.
    pub change: Change,
}

/// What happened to a lease.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// It was given out.
    Acquired,
    /// It ended, for this reason.
    Released(String),
}

/// One network's store, locked against every other writer; unlocked when dropped.
#[derive(Debug)]
pub struct LockedStore {}

impl Deref for LockedStore {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        todo!()
    }
}

/// What `acquire` and `record` found or made. Durable when it is returned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Acquired {
    /// A new record.
    New(AttachmentRecord),
    /// The attachment had a record of another boot or another namespace: the addresses are kept, the
    /// record is new.
    Renewed(AttachmentRecord),
    /// The attachment's record, as it was.
    Existing(AttachmentRecord),
}

/// What `release` found. Durable when it is returned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Released {
    /// The record is gone, its addresses cool down.
    Freed(AttachmentRecord),
    /// There was none.
    Absent,
    /// The attachment has a newer lease, with this sequence, which stays.
    Superseded(u64),
}

impl LockedStore {
    /// Whether the configuration's pool is automatic and not chosen yet.
    #[must_use]
    pub fn needs_pool(&self, config: &PoolConfig) -> bool {
        let _ = config;
        todo!()
    }

    /// Chooses an automatic pool away from `avoid` (the host's routes; default routes are passed
    /// over) and from every other network's pool, and records it.
    ///
    /// # Errors
    /// `NoFreeSubnet`, or the store's.
    pub fn choose_pool(
        &mut self,
        config: &PoolConfig,
        avoid: &[Prefix],
    ) -> Result<(), AcquireError> {
        let _ = (config, avoid);
        todo!()
    }

    /// Gives the attachment its addresses, those of `config.requested` among them; an attachment
    /// that has a lease keeps it.
    ///
    /// # Errors
    /// [`AcquireError`]; nothing is recorded then.
    pub fn acquire(&mut self, draft: Draft, config: &PoolConfig) -> Result<Acquired, AcquireError> {
        let _ = (draft, config);
        todo!()
    }

    /// Records an attachment whose addresses, if any, come from elsewhere.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is recorded then.
    pub fn record(
        &mut self,
        draft: Draft,
        addresses: Vec<LeasedAddress>,
        ipam: Ipam,
    ) -> Result<Acquired, StoreError> {
        let _ = (draft, addresses, ipam);
        todo!()
    }

    /// Ends the lease that carries `sequence`; `reason` goes into the audit log (`del`, `gc: ...`).
    ///
    /// # Errors
    /// [`StoreError`]; nothing is released then.
    pub fn release(
        &mut self,
        id: &AttachmentId,
        sequence: u64,
        reason: &str,
    ) -> Result<Released, StoreError> {
        let _ = (id, sequence, reason);
        todo!()
    }
}
