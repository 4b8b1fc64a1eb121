//! Listening to the kernel: somebody may change a device, an entry or a route of an overlay, or the link
//! below.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bulkhead_kernel::{Changes, IpsecChanges, NetlinkError};

use super::{Overlays, spawn};
use crate::node::Node;

/// How long a change is waited for before it is looked whether it is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait after the kernel has refused.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn start(node: &Arc<Node>) -> std::io::Result<()> {
    let of_links = Arc::clone(node);
    spawn("overlay-events", move || go_on(&of_links, listen))?;
    let of_ipsec = Arc::clone(node);
    spawn("overlay-ipsec", move || go_on(&of_ipsec, listen_to_ipsec))
}

fn go_on(node: &Node, listen: fn(&Overlays) -> Result<(), NetlinkError>) {
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

/// A kernel without `IPsec` has nothing to tell of it.
fn listen_to_ipsec(overlays: &Overlays) -> Result<(), NetlinkError> {
    let mut changes = match IpsecChanges::listen() {
        Err(NetlinkError::Socket(_)) => {
            thread::sleep(PAUSE);
            return Ok(());
        }
        changes => changes?,
    };
    overlays.hear_of_ipsec();
    while !overlays.ends() {
        if changes.next(PATIENCE)? {
            overlays.hear_of_ipsec();
        }
    }
    Ok(())
}

impl Overlays {
    /// Somebody may have changed states or policies.
    fn hear_of_ipsec(&self) {
        let mut state = self.state();
        let is_new = !std::mem::replace(&mut state.heard_ipsec, true);
        drop(state);
        if is_new {
            self.work.notify_all();
        }
    }

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
