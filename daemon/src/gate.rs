//! Who mends or reclaims an attachment outside its calls does it while no call is served: a DEL that has
//! unplugged its port and not yet ended its record would otherwise be undone in between. Such work is
//! rare; nobody waits for it, it waits for a moment without calls.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The gate.
#[derive(Debug, Default)]
pub(crate) struct Gate(RwLock<()>);

impl Gate {
    /// Passes with a call.
    pub(crate) fn pass(&self) -> RwLockReadGuard<'_, ()> {
        // A call that met a bug leaves nothing half done under the gate itself.
        self.0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Alone; `None` if calls went on for all of `patience`. A writer in the lock's queue would hold up
    /// every new call behind one that waits for a foreign plugin, so it is tried again instead.
    pub(crate) fn alone(&self, patience: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        let until = Instant::now() + patience;
        loop {
            match self.0.try_write() {
                Ok(alone) => return Some(alone),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => return None,
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_alone_while_a_call_is_served() {
        let gate = Gate::default();
        let calls = (gate.pass(), gate.pass());
        assert!(gate.alone(Duration::ZERO).is_none());
        drop(calls);
        assert!(gate.alone(Duration::ZERO).is_some());
    }
}
