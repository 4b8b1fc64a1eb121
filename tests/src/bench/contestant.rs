//! What takes part.

use std::time::Duration;

use super::field::Slot;
use super::usage::Whose;

/// A way to attach a slot of a field and to detach it again.
pub trait Contestant: Sync {
    /// What the tables call it.
    fn name(&self) -> &str;

    /// Where it runs.
    fn field(&self) -> &super::Field;

    /// Attaches `slot`; on a thread that is in the node's namespace.
    ///
    /// # Panics
    /// With what was refused: a benchmark of failures means nothing.
    fn add(&self, slot: &Slot);

    /// Detaches `slot`; likewise. What goes on behind the answer is waited for by `drain`.
    ///
    /// # Panics
    /// As `add`.
    fn del(&self, slot: &Slot);

    /// Waits until nothing that a call left behind runs any more.
    fn drain(&self);

    /// Whose CPU time a call costs.
    fn whose(&self) -> Whose;

    /// The time of one start that does nothing but answer VERSION; `None` for what starts no
    /// process.
    fn version(&self) -> Option<Duration>;

    /// The peak memory in KiB of the largest process of a VERSION, an ADD and a DEL; on a thread that
    /// is in the node's namespace. `None` for what starts no process.
    fn peaks(&self, slot: &Slot) -> Option<[u64; 3]>;
}
