//! What the kernel has of a network otherwise than it should, for whoever asks: by the same want and the same
//! plan as a pass, which mends it if it can.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bulkhead_cni::{CniError, Code};
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::NetworkName;
use bulkhead_plan::{Want, obstacles, plan, scope};

use super::Overlays;
use super::pass::Seen;

/// How long a pass is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most lines that are told.
const MOST: usize = 64;

impl Overlays {
    /// What it has otherwise now; nothing of a network that the node has no end of, or whose others are not
    /// known yet.
    ///
    /// # Errors
    /// Code 102 if something is in the way, 5 if the kernel does not say.
    pub(crate) fn differs_now(&self, network: &NetworkName) -> Result<Vec<String>, CniError> {
        let all = self.seen().unwrap_or_default();
        let Some(seen) = all.into_iter().find(|seen| seen.network == *network) else {
            return Ok(Vec::new());
        };
        let mut lines = self.compared(&seen)?;
        if lines.len() > MOST {
            let more = lines.len() - MOST;
            lines.truncate(MOST);
            lines.push(format!("# and {more} more"));
        }
        Ok(lines)
    }

    fn compared(&self, seen: &Seen) -> Result<Vec<String>, CniError> {
        let want = self.want(seen);
        let mut kernel = Kernel::new(Deletion::Blocking);
        let world = kernel.observe(&scope(&want));
        let world = world.map_err(|error| CniError::from_chain(Code::IO_FAILURE, &error))?;
        let planned = plan(&world, &want);
        let planned =
            planned.map_err(|error| CniError::from_chain(Code::FOREIGN_CONFLICT, &error))?;
        let lines = planned.ops().iter().map(ToString::to_string);
        let strangers = match &want {
            Want::Overlay(want) => obstacles(&world, want),
            _ => BTreeMap::new(),
        };
        let removals = strangers
            .into_values()
            .map(bulkhead_plan::Stranger::removal);
        Ok(lines.chain(removals).collect())
    }

    /// What it goes on to have otherwise, once a pass was over it.
    pub(super) fn differs_still(&self, network: &NetworkName) -> Result<Vec<String>, CniError> {
        if self
            .differs_now(network)
            .is_ok_and(|lines| lines.is_empty())
        {
            return Ok(Vec::new());
        }
        self.go_over(network);
        self.differs_now(network)
    }

    /// Has a pass go over everything, and waits for it; not for ever.
    pub(crate) fn go_over(&self, network: &NetworkName) {
        if !self.has(network) {
            return;
        }
        let until = Instant::now() + PATIENCE;
        let target = self.tell(|state| state.wanted);
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.passed >= target || left.is_zero() || self.ends() {
                return;
            }
            let waited = self.news.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
