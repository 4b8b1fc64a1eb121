//! What happens, for whoever watches. Nobody who watches costs nothing.

use std::net::IpAddr;

use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::wire::admin::{Event, EventKind, PodName};
use bulkhead_model::AttachmentKey;
use tokio::sync::broadcast;

use crate::clock::unix_ms;

/// How far a watcher may be behind before it misses events.
const BEHIND: usize = 256;

/// The node's events.
#[derive(Debug)]
pub(crate) struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

impl Events {
    /// Tells every watcher; `event` is made only if there is one.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.0.receiver_count() > 0 {
            // The last one may have gone away in between.
            let _ = self.0.send(event());
        }
    }

    /// From now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}

/// An event of this moment.
pub(crate) fn event(kind: EventKind, text: impl Into<String>) -> Event {
    Event {
        at_unix_ms: unix_ms(),
        kind,
        node: None,
        pool: None,
        addresses: Vec::new(),
        attachment: None,
        pod: None,
        text: text.into(),
    }
}

/// An event about a recorded attachment.
pub(crate) fn of_record(kind: EventKind, record: &AttachmentRecord, text: String) -> Event {
    let addresses = record.addresses.iter();
    let pod = record.pod.as_ref().map(|pod| PodName {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    });
    Event {
        pool: record.pool.as_ref().map(|lease| lease.pool.clone()),
        addresses: addresses.map(|leased| leased.address.address()).collect(),
        pod,
        ..of_attachment(kind, &record.key, Vec::new(), text)
    }
}

/// An event about an attachment of which less is known.
pub(crate) fn of_attachment(
    kind: EventKind,
    key: &AttachmentKey,
    addresses: Vec<IpAddr>,
    text: String,
) -> Event {
    Event {
        attachment: Some(key.clone()),
        addresses,
        ..event(kind, text)
    }
}
