//! Whether the daemon lives: its sockets are waited for, and its workers answer. Only then is systemd told
//! so.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::node::Node;
use crate::notify;
use crate::workers::Workers;

/// Stack of the thread, in bytes.
const STACK: usize = 128 << 10;

/// Begins to tell systemd, if it asks for that.
pub(super) fn start(workers: Arc<Workers>, node: &Arc<Node>) -> std::io::Result<()> {
    let Some(every) = notify::watchdog() else {
        return Ok(());
    };
    let (node, sockets) = (Arc::clone(node), node.sockets.clone());
    let thread = thread::Builder::new()
        .name("watchdog".to_owned())
        .stack_size(STACK);
    let watch = move || {
        let patience = every / 4;
        loop {
            if answers(&sockets, patience) && workers.answer(patience) {
                notify::alive();
            } else {
                node.failed(
                    "bulkheadd does not answer itself",
                    &"systemd restarts it if that stays",
                );
            }
            thread::sleep(patience);
        }
    };
    thread.spawn(watch).map(drop)
}

/// Whether the thread that waits for sockets takes up a task.
fn answers(sockets: &Handle, patience: Duration) -> bool {
    let (done, waiting) = mpsc::sync_channel(1);
    sockets.spawn(async move {
        let _ = done.send(());
    });
    waiting.recv_timeout(patience).is_ok()
}
