//! A disk that fails when a test wants it to.

use std::fmt;
use std::io;
use std::sync::Arc;

/// What is asked of the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Write,
    Sync,
    Cut,
    Checkpoint,
}

/// The disk as a test wants it: it is asked before each step, may wait, and may refuse.
#[derive(Clone, Default)]
pub(crate) struct Disk(Option<Arc<Asked>>);

type Asked = dyn Fn(Step) -> io::Result<()> + Send + Sync;

impl Disk {
    pub(crate) fn new(asked: impl Fn(Step) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(asked)))
    }

    pub(crate) fn asked(&self, step: Step) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |asked| asked(step))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Disk"
        } else {
            "Disk as it is"
        })
    }
}
