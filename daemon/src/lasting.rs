//! Threads that last as long as the daemon: what follows something for as long as it runs must not end with a bug that
//! it meets once.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::node::Node;

/// How long to wait after a bug, which may be met again at once.
const PAUSE: Duration = Duration::from_secs(5);

/// Begins `run`, and begins it anew after a panic; it ends when that returns.
///
/// # Errors
/// There is no thread.
pub(crate) fn spawn(
    node: &Arc<Node>,
    name: &'static str,
    stack: usize,
    run: impl Fn(&Arc<Node>) + Send + 'static,
) -> io::Result<()> {
    let node = Arc::clone(node);
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(stack);
    let last = move || {
        until_it_ends(
            || run(&node),
            || {
                node.met_bug(name);
                thread::sleep(PAUSE);
            },
        );
    };
    thread.spawn(last).map(drop)
}

fn until_it_ends(run: impl Fn(), bug: impl Fn()) {
    while catch_unwind(AssertUnwindSafe(&run)).is_err() {
        bug();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn it_begins_anew_after_each_bug_and_ends_when_it_returns() {
        let (runs, bugs) = (Cell::new(0), Cell::new(0));
        let run = || {
            runs.set(runs.get() + 1);
            assert!(runs.get() > 2, "a bug");
        };
        until_it_ends(run, || bugs.set(bugs.get() + 1));
        assert_eq!((runs.get(), bugs.get()), (3, 2));
    }
}
