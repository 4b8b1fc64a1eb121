//! What a call needs of the process that serves it. There are two: the plugin's own, for one call, and
//! the node daemon's, for many.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_cni::exec::{Children, Delegates};
use bulkhead_cni::{Call, CniError};
use bulkhead_ipam::{Access, OpenError, StateDir};
use bulkhead_kernel::{Deletion, Kernel, Netns, NetnsError};

use crate::{Overlays, Policies, PoolLeases, UnderWay};

/// Where a call is served.
pub trait Host {
    /// The state directory at `path`, opened as `access` says.
    ///
    /// # Errors
    /// As [`StateDir::open`].
    fn state(&self, path: &Path, access: Access) -> Result<Arc<StateDir>, OpenError>;

    /// Refuses a container's namespace that is the node's own.
    ///
    /// # Errors
    /// As [`Call::check_netns`].
    fn refuse_own_netns(&self, call: &Call) -> Result<(), CniError>;

    /// The container's namespace; `path` is what the call says it is at.
    ///
    /// # Errors
    /// As [`Netns::open`].
    fn container(&self, path: &Path) -> Result<Netns, NetnsError>;

    /// The kernel. Which containers' namespaces it knows is the call's.
    fn kernel(&mut self) -> &mut Kernel;

    /// Who runs IPAM plugins that are not ours.
    fn delegates(&mut self) -> &mut dyn Delegates;

    /// The calls that this process serves; `None` if there is only one.
    fn under_way(&self) -> Option<UnderWay>;

    /// The addresses of the cluster's pools; `None` without a node daemon.
    fn pools(&self) -> Option<Arc<dyn PoolLeases>>;

    /// The node's ends of the networks that nodes have together; `None` without a node daemon.
    fn overlays(&self) -> Option<Arc<dyn Overlays>>;

    /// Who enforces policies on the node; `None` without a node daemon.
    fn policies(&self) -> Option<Arc<dyn Policies>> {
        None
    }

    /// Whether this process stays, and serves what networks need besides calls.
    fn is_daemon(&self) -> bool {
        false
    }

    /// A stage of the call took so long.
    fn spent(&self, _stage: Stage, _time: Duration) {}
}

/// A stage of a call, for whoever measures them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// An address of the cluster's pools is picked.
    Pick,
    /// The record of an attachment, with its lease, is made durable.
    Record,
    /// The record of a release is made durable.
    Release,
}

/// Does something, and tells `host` how long it took.
pub(crate) fn timed<T>(host: &dyn Host, stage: Stage, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    host.spent(stage, began.elapsed());
    done
}

/// The plugin's own process. What it opens ends with it.
#[derive(Debug)]
pub struct InProcess {
    deletion: fn() -> Deletion,
    kernel: Option<Kernel>,
    children: Children,
}

impl InProcess {
    /// For a plugin: a link's deletion is handed to a process of its own, so that the answer does not
    /// wait out the kernel's grace period.
    #[must_use]
    pub const fn plugin() -> Self {
        Self::with(|| std::env::current_exe().map_or(Deletion::Blocking, Deletion::HandOff))
    }

    /// For an operator's command, which may wait.
    #[must_use]
    pub const fn command() -> Self {
        Self::with(|| Deletion::Blocking)
    }

    const fn with(deletion: fn() -> Deletion) -> Self {
        Self {
            deletion,
            kernel: None,
            children: Children,
        }
    }
}

impl Host for InProcess {
    fn state(&self, path: &Path, access: Access) -> Result<Arc<StateDir>, OpenError> {
        StateDir::open(path, access).map(Arc::new)
    }

    fn refuse_own_netns(&self, call: &Call) -> Result<(), CniError> {
        call.check_netns()
    }

    fn container(&self, path: &Path) -> Result<Netns, NetnsError> {
        Netns::open(path)
    }

    fn kernel(&mut self) -> &mut Kernel {
        let deletion = self.deletion;
        self.kernel.get_or_insert_with(|| Kernel::new(deletion()))
    }

    fn delegates(&mut self) -> &mut dyn Delegates {
        &mut self.children
    }

    fn under_way(&self) -> Option<UnderWay> {
        None
    }

    fn pools(&self) -> Option<Arc<dyn PoolLeases>> {
        None
    }

    fn overlays(&self) -> Option<Arc<dyn Overlays>> {
        None
    }
}
