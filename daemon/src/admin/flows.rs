//! Having the kernel tell of what policies allow, while somebody listens: it costs nothing when nobody does, and
//! nobody has to remember to end it.

use std::sync::Arc;

use bulkhead_ipam::wire::admin::{Reason, Reply, RequestError};
use tokio::sync::mpsc;

use super::Said;
use crate::node::Node;
use crate::told::chain;

/// Has it told until nobody reads `replies` any more.
pub(super) async fn tell_allowed(node: Arc<Node>, replies: mpsc::Sender<Said>) {
    let its_node = Arc::clone(&node);
    let begun = tokio::task::spawn_blocking(move || {
        its_node.policy.listen().map_err(|trouble| RequestError {
            code: Reason::Unavailable,
            text: chain(&trouble),
        })
    });
    match begun.await {
        Ok(Ok(())) => drop(replies.send(Said::More(Reply::TellsAllowed)).await),
        Ok(Err(refused)) => {
            let _ = replies.send(Said::Last(Reply::Refused(refused))).await;
            return;
        }
        // A bug, which is in the log.
        Err(_) => return,
    }
    replies.closed().await;
    let ended = tokio::task::spawn_blocking(move || {
        if let Err(trouble) = node.policy.listen_no_more() {
            let why = chain(&trouble);
            node.failed("the kernel still tells of what policies allow", &why);
        }
    });
    // As above.
    let _ = ended.await;
}
