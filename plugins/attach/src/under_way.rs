//! One call at a time for each attachment, where one process serves many. A runtime that has given up
//! an ADD calls DEL, while the ADD may still be served: what it makes is to be there to be taken down.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bulkhead_model::{AttachmentId, AttachmentKey};

/// The attachments that a call is being served for.
#[derive(Clone, Default)]
pub struct UnderWay(Arc<Shared>);

#[derive(Default)]
struct Shared {
    busy: Mutex<BTreeSet<AttachmentId>>,
    done: Condvar,
}

/// An attachment is this call's until it is dropped.
#[derive(Debug)]
pub struct Turn {
    of: UnderWay,
    id: AttachmentId,
}

impl UnderWay {
    /// Waits until no other call is about the attachment.
    #[must_use]
    pub fn begin(&self, key: &AttachmentKey) -> Turn {
        let id = key.id();
        let mut busy = self.lock();
        while !busy.insert(id) {
            busy = self
                .0
                .done
                .wait(busy)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(busy);
        Turn {
            of: self.clone(),
            id,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<AttachmentId>> {
        // A set is whole between any two operations on it.
        self.0.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnderWay").field(&*self.lock()).finish()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.lock().remove(&self.id);
        self.of.0.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_call_waits_for_one_about_the_same_attachment_and_for_no_other() {
        let key = |container: &str| AttachmentKey {
            network: "blue".parse().unwrap(),
            container: container.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        };
        let under_way = UnderWay::default();
        let first = under_way.begin(&key("a"));
        let (order, told) = mpsc::channel();
        let other = thread::spawn({
            let (under_way, order, key) = (under_way.clone(), order.clone(), key("a"));
            move || {
                let _turn = under_way.begin(&key);
                order.send("second").unwrap();
            }
        });
        drop(under_way.begin(&key("b")));
        order.send("first").unwrap();
        drop(first);
        other.join().unwrap();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), ["first", "second"]);
        assert!(under_way.lock().is_empty());
    }
}
