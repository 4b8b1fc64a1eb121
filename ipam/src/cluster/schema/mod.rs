//! The rows of a cluster's store, schema 1: what stands under which key. `docs/store.md` has an
//! example of each.
//!
//! Values are JSON that people read with `etcdctl`. Unknown keys are ignored and missing ones have
//! defaults, so that releases can be mixed; `v` is the schema, and a later one is refused. What is read
//! becomes a type that cannot be wrong, or an error that names the row. Nothing here panics, whatever
//! the bytes.

mod audit;
mod block;
mod change;
mod endpoint;
mod key;
mod lease;
mod node;
mod object;
mod overlay;
mod pool;
mod row;
mod seal;
mod selector;
#[cfg(test)]
mod tests;
mod text;

pub use audit::{AuditRow, Happened};
pub use block::{Answer, AskRow, BlockRow, Wanted};
pub use change::ChangeRow;
pub use endpoint::{AppliedRow, EndpointRow, PortName};
pub use key::{AskPlace, AuditPlace, Place, Schema};
pub use lease::{Beneficiary, KeptRow, LeaseRow, ReservationRow, StickyHolder, StickyRow};
pub use node::{FenceRow, FenceState, JanitorRow, LiveRow, MetaRow, MetaState, NodeRow, Share};
pub use object::{MemberRow, ObjectRow, RevisionRow};
pub use overlay::{OverlayMode, OverlayRow, VtepRow};
pub use pool::{PoolRow, PoolState};
pub use row::{RowError, Value, decode, encode};
pub use seal::{EpochKey, KeysRow, Salt, SealRow, Secret};
pub use selector::{LabelSelector, Labels, NamePattern, SelectorError};

/// The schema that this release writes, and the latest that it reads.
pub const SCHEMA: u32 = 1;

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &u64) -> bool {
    *value == 0
}
