//! What an operator's command asks of the node daemon, and what it answers: one JSON object in each
//! frame.
//!
//! A request has one answer, or several: [`Reply::Progress`] and [`Reply::Idle`] while it lasts, lists in
//! pages of at most [`PAGE_ROWS`] rows, each a reply of the same kind, and [`Reply::Event`] until the
//! asker goes away. The frame says which reply is the last. [`Reply::Refused`] is always the last; what
//! came before it stands.
//!
//! Keys are only ever added: unknown ones are ignored, missing ones have a default. A state that the
//! reader does not know yet reads as `Other`. A request that the daemon does not know is refused as
//! [`Reason::Unsupported`].
//!
//! Instants are milliseconds since 1970 (`UnixMs`), durations are milliseconds (`Ms`) or seconds
//! (`Secs`). Addresses are counted as ordinals: the pair that a dual-stack pool gives counts once.

mod circumstances;
mod event;
mod findings;
mod overlays;
mod policies;
mod pools;
mod rows;
mod status;
mod store;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use bulkhead_model::AttachmentKey;
use serde::{Deserialize, Serialize};

pub use circumstances::{
    CIRCUMSTANCES, Circumstances, Established, Judged, Leads, Masqueraded, SeenAttachment,
    SeenLink, SeenWay,
};
pub use event::{Event, EventKind};
pub use findings::{
    ChangeKind, CheckReport, Evidence, GcState, History, ListedChange, ListedDead, RepairReport,
    RepairState, Violation, Witness,
};
pub use overlays::{ListedEnd, ListedOverlay, Obstacle, OwnEnd, OwnSeal, OwnSegment, SealedPeer};
pub use policies::{
    ChangedObject, EndpointName, GroupMember, IdentityStatus, KnownEndpoint, KnownVerdict,
    ListedGroup, ListedObject, Must, ObjectName, ObjectOutcome, PolicyChanges, PolicyFile,
    PolicyNode, PolicyState, PolicyVerified,
};
pub use pools::{
    ListedPool, ListedReservation, PoolChange, PoolSpec, PoolState, PoolUsage, Reservation,
    ReservedFor,
};
pub use rows::{
    BlockState, LeaseState, ListedBlock, ListedEndpoint, ListedLease, ListedNode, LostReport,
    NodeName, NodeState, PodName,
};
pub use status::{
    Condition, DaemonStatus, DriftStatus, EndpointHealth, Failing, NodeStatus, Progress,
    PublishStatus, SpoolStatus, Status, StoreKind, StoreStatus,
};
pub use store::{
    MigrateReport, Migration, ReloadReport, RestoreReport, SettingChange, StoredRow, SupportPiece,
};

/// Most rows in one reply of a list: far below a frame's 8 MiB with rows of 1 KiB.
pub const PAGE_ROWS: usize = 2000;

/// Longest silence of the daemon while a request lasts, in milliseconds: it says [`Reply::Idle`] then.
pub const IDLE_MS: u64 = 2000;

/// What is asked. Whoever may speak to the socket may ask all of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(
    tag = "request",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Request {
    /// How the daemon and what it depends on are. [`Reply::Status`], from memory, also when the store
    /// cannot be reached.
    Status,
    /// The nodes of the cluster. [`Reply::Nodes`].
    Nodes {
        /// Of these.
        #[serde(default)]
        filter: Filter,
    },
    /// A statement that a node is dead: it is fenced, and its blocks and leases are given up. Done again
    /// after an interruption, it goes on where it was. [`Reply::Lost`].
    ///
    /// Refused as `Invalid` for the asked daemon's own node, as `NotFound` or `Ambiguous` for the name.
    NodeLost {
        /// Its name, its id, or the beginning of its id that no other has.
        node: String,
        /// Who says so, for the audit.
        by: String,
        /// Why, for the audit.
        statement: String,
    },
    /// The pools, with what is used of them. [`Reply::Pools`].
    Pools {
        /// Of these: `pool`.
        #[serde(default)]
        filter: Filter,
    },
    /// A new pool. [`Reply::Done`]. Refused as `Conflict` if the name is taken or its addresses overlap
    /// another pool's.
    PoolAdd {
        /// It.
        pool: PoolSpec,
    },
    /// Another form of a pool, for what is claimed and given from now on. [`Reply::Done`].
    PoolSet {
        /// Its name.
        pool: String,
        /// What becomes different.
        change: PoolChange,
    },
    /// Whether a pool gives addresses. [`Reply::Done`].
    PoolState {
        /// Its name.
        pool: String,
        /// The state to be in.
        state: PoolState,
    },
    /// No more pool; refused as `Conflict` while it has blocks. [`Reply::Done`].
    PoolRemove {
        /// Its name.
        pool: String,
    },
    /// Who owns which block. [`Reply::Blocks`], by pool and first address.
    Blocks {
        /// Of these: `pool`, `node`.
        #[serde(default)]
        filter: Filter,
    },
    /// The leases of the cluster as published, the asked node's own as they are. [`Reply::Leases`], by
    /// pool and address.
    Leases {
        /// Of these.
        #[serde(default)]
        filter: Filter,
    },
    /// Who has an address, and who had it. [`Reply::History`], by pool; refused as `NotFound` if none has it.
    Who {
        /// It.
        address: IpAddr,
    },
    /// What is kept for somebody. [`Reply::Reservations`], by name.
    Reservations {
        /// Of these: `pool`.
        #[serde(default)]
        filter: Filter,
    },
    /// Keeps addresses for somebody, or for nobody. [`Reply::Done`], whose notes name the leases that
    /// stand in it: they stay. Refused as `Conflict` if the name is taken.
    Reserve {
        /// It.
        reservation: Reservation,
    },
    /// Ends a reservation. [`Reply::Done`].
    Unreserve {
        /// Its name.
        name: String,
    },
    /// Ends a lease by an operator's decision, kernel objects first. [`Reply::Done`]. Refused as
    /// `Conflict` for another node's, which the text names: it is for that node's daemon.
    Release {
        /// What.
        target: ReleaseTarget,
        /// Who says so, for the audit.
        by: String,
        /// Why, for the audit.
        reason: String,
    },
    /// Whether every address is given once and to whom everybody says: the node's journals, the store
    /// and the kernel. [`Reply::Check`].
    Check {
        /// Of these: `pool`, `node`.
        #[serde(default)]
        filter: Filter,
    },
    /// Ends what dead containers of this node left. [`Reply::Gc`].
    Gc {
        /// Say what would be ended, and end nothing.
        #[serde(default)]
        dry_run: bool,
        /// Of these: `network`, `pool`, `namespace`, `pod`.
        #[serde(default)]
        filter: Filter,
    },
    /// Makes the kernel hold what it should for one attachment of this node. [`Reply::Repair`].
    Repair {
        /// It.
        attachment: AttachmentKey,
    },
    /// What happens from now on. [`Reply::Event`] for each, [`Reply::Idle`] in between, without end.
    Watch {
        /// Of these.
        #[serde(default)]
        filter: Filter,
    },
    /// Packets and bytes of this node's ports. [`Reply::Endpoints`], by attachment.
    Endpoints {
        /// Of these.
        #[serde(default)]
        filter: Filter,
    },
    /// The networks that nodes have together. [`Reply::Overlays`], by name; from what the node heard last
    /// while the store cannot be reached.
    Overlays {
        /// Of these: `network`.
        #[serde(default)]
        filter: Filter,
    },
    /// What the node's kernel has of a network that nodes have together otherwise than it should.
    /// [`Reply::OverlayDiffers`]; nothing where the node has no end of it.
    OverlayDiffers {
        /// The network.
        network: String,
    },
    /// Writes objects about who may talk to whom, all of the files or nothing. [`Reply::PolicyChanged`].
    /// Refused as `Invalid` with file and line of whatever is not understood.
    PolicyApply {
        /// The files.
        files: Vec<PolicyFile>,
        /// What is demanded of the objects that are there; refused as `Conflict` or `NotFound`.
        #[serde(default)]
        must: Must,
        /// Say what would change, and change nothing.
        #[serde(default)]
        dry_run: bool,
    },
    /// Removes objects, all of them or none. [`Reply::PolicyChanged`]. Refused as `NotFound` if one is not
    /// there, as `Conflict` for a security group that has members or that others speak of.
    PolicyDelete {
        /// Which.
        #[serde(default)]
        objects: Vec<ObjectName>,
        /// And those that are written in these files.
        #[serde(default)]
        files: Vec<PolicyFile>,
    },
    /// The objects. [`Reply::Objects`], by kind and name.
    Policies {
        /// Of this kind.
        #[serde(default)]
        kind: Option<String>,
        /// Of this namespace.
        #[serde(default)]
        namespace: Option<String>,
    },
    /// One object with its text. [`Reply::Objects`] of one; refused as `NotFound`.
    PolicyGet {
        /// Which.
        object: ObjectName,
    },
    /// All that the node knows of who is where, who may talk to whom, and which way packets take, as a file of
    /// objects. [`Reply::Written`].
    PolicySnapshot {
        /// Only what a question is about, such as `web/a -> db/b:5432/tcp`, with what the kernel says to it.
        /// Refused as `NotFound` if it names nobody, as `Invalid` if it is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<String>,
    },
    /// Where policies are enforced. [`Reply::PolicyState`].
    PolicyStatus,
    /// Whether this node's kernel enforces exactly what it should. [`Reply::PolicyVerified`].
    PolicyVerify,
    /// Endpoints as policies see them, of the networks that this node is on. [`Reply::Known`], by name.
    Known,
    /// What the verdicts in the kernel's log stand for. [`Reply::Verdicts`], by id.
    Verdicts,
    /// Have what policies allow in the kernel's log too, beside what they deny, for as long as the connection
    /// stands. [`Reply::TellsAllowed`] once that is so, [`Reply::Idle`] in between, without end.
    TellAllowed,
    /// The security groups, or one with its rules. [`Reply::Groups`], by name; refused as `NotFound`.
    Groups {
        /// Only this one.
        #[serde(default)]
        group: Option<String>,
    },
    /// Makes endpoints members of a security group; they need not be there yet. [`Reply::PolicyChanged`].
    /// Refused as `NotFound` if there is no such group.
    GroupAttach {
        /// The group.
        group: String,
        /// The endpoints.
        members: Vec<EndpointName>,
    },
    /// Ends memberships. [`Reply::PolicyChanged`]. Refused as `NotFound` if one is no member.
    GroupDetach {
        /// The group.
        group: String,
        /// The endpoints.
        members: Vec<EndpointName>,
    },
    /// Another key for an encrypted network: a new epoch, which nodes go over to as they have it.
    /// [`Reply::Done`], whose note says which epoch. Refused as `Conflict` while they go over to the last one.
    OverlayRekey {
        /// The network.
        network: String,
    },
    /// Every row of the store as it is at one revision. [`Reply::Stored`], by key.
    StoreExport,
    /// Puts rows back, each only where there is none: one that is there with another value is named in
    /// the answer and left. [`Reply::Restored`]. Refused as `Conflict` while the store has blocks that
    /// the rows do not have.
    StoreRestore {
        /// At most [`PAGE_ROWS`].
        rows: Vec<StoredRow>,
        /// Whether these are the last ones.
        last: bool,
    },
    /// Copies the store into another one and closes it. The daemon serves from the other once it is
    /// configured for it and restarted. Done again after an interruption, it goes on where it was.
    /// [`Reply::Migrated`].
    StoreMigrate {
        /// Where to.
        to: Migration,
        /// Say what would be copied, and what stands in the way.
        #[serde(default)]
        dry_run: bool,
    },
    /// Reads the configuration file again. [`Reply::Reloaded`]; refused as `Invalid` with the file's
    /// error, and then nothing has changed.
    ConfigReload,
    /// What helps somebody who cannot look at the node. [`Reply::Piece`] for each, secrets left out.
    Support,
}

/// Of which rows something is asked: those that have all of what is given. Text is compared whole.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    /// A node's name, its id, or the beginning of its id that no other has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// A pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The namespace of a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name of a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// A network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// What an operator releases.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum ReleaseTarget {
    /// The lease of whoever has this address.
    Address {
        /// It.
        address: IpAddr,
    },
    /// An attachment's lease.
    Attachment {
        /// It.
        attachment: AttachmentKey,
    },
    /// The address that a name keeps while nobody has it.
    Sticky {
        /// Whose.
        pod: PodName,
        /// On which network.
        network: String,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(
    tag = "reply",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Reply {
    /// It is not done, or not all of it.
    Refused(RequestError),
    /// It takes a while.
    Progress(Progress),
    /// Nothing to say; the daemon is alive.
    Idle,
    /// It is done.
    Done {
        /// What the operator should know, a sentence each.
        #[serde(default)]
        notes: Vec<String>,
    },
    /// Of [`Request::Status`].
    Status(Box<Status>),
    /// Of [`Request::Nodes`].
    Nodes {
        /// By name.
        rows: Vec<ListedNode>,
    },
    /// Of [`Request::NodeLost`].
    Lost(LostReport),
    /// Of [`Request::Pools`].
    Pools {
        /// By name.
        rows: Vec<ListedPool>,
    },
    /// Of [`Request::Blocks`].
    Blocks {
        /// By pool and first address.
        rows: Vec<ListedBlock>,
    },
    /// Of [`Request::Leases`].
    Leases {
        /// By pool and address.
        rows: Vec<ListedLease>,
    },
    /// Of [`Request::Who`].
    History(Box<History>),
    /// Of [`Request::Reservations`].
    Reservations {
        /// By name.
        rows: Vec<ListedReservation>,
    },
    /// Of [`Request::Check`]; in pages, the violations of which belong together.
    Check(CheckReport),
    /// Of [`Request::Gc`].
    Gc {
        /// By attachment.
        rows: Vec<ListedDead>,
    },
    /// Of [`Request::Repair`].
    Repair(RepairReport),
    /// Of [`Request::Watch`].
    Event(Event),
    /// Of [`Request::Endpoints`].
    Endpoints {
        /// By attachment.
        rows: Vec<ListedEndpoint>,
    },
    /// Of [`Request::Overlays`]; a network with more nodes than fit comes again with the next ones.
    Overlays {
        /// By name.
        rows: Vec<ListedOverlay>,
    },
    /// Of [`Request::OverlayDiffers`].
    OverlayDiffers {
        /// The commands that would mend it.
        #[serde(default)]
        lines: Vec<String>,
    },
    /// Of [`Request::PolicyApply`], [`Request::PolicyDelete`], [`Request::GroupAttach`] and
    /// [`Request::GroupDetach`].
    PolicyChanged(PolicyChanges),
    /// Of [`Request::Policies`] and [`Request::PolicyGet`].
    Objects {
        /// The policies' revision.
        revision: u64,
        /// By kind and name.
        rows: Vec<ListedObject>,
    },
    /// Of [`Request::PolicySnapshot`].
    Written {
        /// Objects, a document each.
        documents: Vec<String>,
    },
    /// Of [`Request::PolicyStatus`].
    PolicyState(Box<PolicyState>),
    /// Of [`Request::PolicyVerify`].
    PolicyVerified(PolicyVerified),
    /// Of [`Request::Known`].
    Known {
        /// By name.
        rows: Vec<KnownEndpoint>,
    },
    /// Of [`Request::Verdicts`].
    Verdicts {
        /// By id.
        rows: Vec<KnownVerdict>,
    },
    /// Of [`Request::TellAllowed`].
    TellsAllowed,
    /// Of [`Request::Groups`].
    Groups {
        /// By name.
        rows: Vec<ListedGroup>,
    },
    /// Of [`Request::StoreExport`].
    Stored {
        /// The store's revision, the same in every page.
        revision: u64,
        /// By key.
        rows: Vec<StoredRow>,
    },
    /// Of [`Request::StoreRestore`].
    Restored(RestoreReport),
    /// Of [`Request::StoreMigrate`].
    Migrated(MigrateReport),
    /// Of [`Request::ConfigReload`].
    Reloaded(ReloadReport),
    /// Of [`Request::Support`].
    Piece(SupportPiece),
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// Why something is not done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{text}")]
#[serde(rename_all = "camelCase")]
pub struct RequestError {
    /// What kind of reason.
    pub code: Reason,
    /// Object, cause and remedy, one sentence with its causes.
    pub text: String,
}

/// A kind of reason. The text says the rest.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// What the request names does not exist.
    NotFound,
    /// A name in the request means several things; the text has them.
    Ambiguous,
    /// The request contradicts itself or a limit: it will never be served.
    Invalid,
    /// What there is stands in the way: another owner, an overlap, a lease.
    Conflict,
    /// The store cannot be reached: the same request may be served later.
    Unavailable,
    /// The store refuses the daemon: somebody has to do something first.
    Denied,
    /// Something on the node failed: a file, the kernel.
    Failed,
    /// The daemon does not know such a request: it is of an earlier release.
    Unsupported,
    /// Of a later release.
    #[serde(other)]
    Other,
}
