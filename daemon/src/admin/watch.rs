//! What happens from now on, told to one watcher.

use bulkhead_ipam::wire::admin::{Event, EventKind, Filter, Reply};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::Said;
use crate::events::event;
use crate::node::Node;

/// Tells `replies` of every event that `filter` lets pass, until nobody reads them any more.
pub(super) async fn watch(node: &Node, filter: Filter, replies: mpsc::Sender<Said>) {
    let mut events = node.events.listen();
    // From here on nothing is missed, and the watcher may know.
    let _ = replies.send(Said::More(Reply::Idle)).await;
    loop {
        let next = tokio::select! {
            next = events.recv() => next,
            () = replies.closed() => return,
        };
        let event = match next {
            Ok(event) if passes(&event, &filter) => event,
            Ok(_) => continue,
            Err(RecvError::Lagged(missed)) => {
                event(EventKind::Missed, format!("{missed} events were not told"))
            }
            Err(RecvError::Closed) => return,
        };
        if replies.send(Said::More(Reply::Event(event))).await.is_err() {
            return;
        }
    }
}

fn passes(event: &Event, filter: &Filter) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
    };
    let pod = event.pod.as_ref();
    let network = event.attachment.as_ref().map(|key| key.network.as_str());
    let node = filter.node.as_deref().is_none_or(|wanted| {
        let names = event.node.as_ref();
        names.is_some_and(|node| node.name == wanted || node.id.starts_with(wanted))
    });
    node && is(&filter.network, network)
        && is(&filter.pool, event.pool.as_deref())
        && is(&filter.namespace, pod.map(|pod| pod.namespace.as_str()))
        && is(&filter.pod, pod.map(|pod| pod.name.as_str()))
}
