//! Listening to the kernel: somebody may change a device, an entry or a route of an overlay, or the link
//! below.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bulkhead_kernel::{Changes, NetlinkError};

use super::{Overlays, spawn};
use crate::node::Node;

/// How long a change is waited for before it is looked whether it is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait after the kernel has refused.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn start(node: &Arc<Node>) -> std::io::Result<()> {
    let node = Arc::clone(node);
    spawn("overlay-events", move || go_on(&node))
}

fn go_on(node: &Node) {
    let overlays = &node.overlays;
    while !overlays.ends() {
        if let Err(error) = listen(overlays) {
            node.failed("changes of the kernel are not heard of at once", &error);
            thread::sleep(PAUSE);
        }
    }
}

fn listen(overlays: &Overlays) -> Result<(), NetlinkError> {
    let mut changes = Changes::listen()?;
    // What changed before is not heard.
    overlays.hear(&[], true);
    while !overlays.ends() {
        let heard = changes.next(PATIENCE)?;
        let links: Vec<u32> = heard.links.into_iter().collect();
        overlays.hear(&links, heard.lost);
    }
    Ok(())
}

impl Overlays {
    /// The kernel has told of changes, or some of what it told is lost.
    fn hear(&self, links: &[u32], lost: bool) {
        if links.is_empty() && !lost {
            return;
        }
        let mut state = self.state();
        let known = state.heard.len();
        state.heard.extend(links);
        state.missed |= lost;
        let is_new = lost || state.heard.len() > known;
        drop(state);
        if is_new {
            self.work.notify_all();
        }
    }
}
