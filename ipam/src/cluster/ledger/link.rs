//! How this node stands with the store: what it may write, and whether it can.

use super::recast::Fate;
use crate::cluster::kv::Revision;

/// What this node knows of its place in the cluster.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The cluster's id; empty before the first contact ever.
    pub(super) cluster: String,
    /// The epoch of this node's life in the cluster; 0 before it ever registered.
    pub(super) epoch: u64,
    /// The epoch in which memory and store were last compared: the one that is saved, so that a process
    /// that dies in between compares them in the same way.
    pub(super) compared_epoch: u64,
    /// What it means, in the next comparison, that a block's row is not there.
    pub(super) fate: Fate,
    pub(super) standing: Standing,
    /// The last change of the store's own row, as every transaction compares it.
    pub(super) meta: Revision,
    /// The last change of this node's fence, as every transaction compares it.
    pub(super) fence: Revision,
    /// Whether this process wrote the fence: nothing of the one before can be on its way any more.
    pub(super) sealed: bool,
    /// Whether a transaction of this process may still be on its way.
    pub(super) doubt: bool,
    need: Need,
    /// What was read at this revision is known: older events are no news.
    pub(super) surveyed: Revision,
    /// Rises when the watches are to begin anew, at `surveyed`.
    pub(super) watches: u64,
    /// Whether those that were begun last go on.
    pub(super) watching: bool,
    condition: Condition,
}

/// What is to be done before anything else is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Need {
    /// Nothing: memory and store were compared, and nothing is in doubt since.
    Nothing,
    /// Fence and store are to be looked at.
    Look,
    /// Memory and store are to be compared.
    Compare,
    /// The same, and every block looked through for this node's: the file of them is lost.
    Adopt,
}

/// Whether this node may give anything out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// Not known: the store was not heard of since the start.
    Unverified,
    /// As far as this node knows.
    Good,
    /// No: it was declared lost.
    Fenced { by: String, statement: String },
    /// No: another process has the node's id.
    Twin { session: String },
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Condition {
    Up,
    Down {
        why: String,
        since_ms: u64,
        again_ms: u64,
        wait_ms: u64,
    },
}

impl Link {
    const FIRST_WAIT_MS: u64 = 100;
    const LONGEST_WAIT_MS: u64 = 5_000;
    /// How long an absence is taken for a short one.
    const HOPE_MS: u64 = 2_000;

    pub(super) fn new() -> Self {
        Self {
            cluster: String::new(),
            epoch: 0,
            compared_epoch: 0,
            fate: Fate::Intact,
            standing: Standing::Unverified,
            meta: Revision(0),
            fence: Revision(0),
            sealed: false,
            doubt: false,
            need: Need::Compare,
            surveyed: Revision(0),
            watches: 0,
            watching: false,
            condition: Condition::Up,
        }
    }

    /// Something is to be done first, and perhaps more than that already.
    pub(super) fn need(&mut self, need: Need) {
        self.need = need.max(self.need);
    }

    /// All of it is done.
    pub(super) fn done(&mut self) {
        self.need = Need::Nothing;
    }

    pub(super) fn is_in_step(&self) -> bool {
        self.need == Need::Nothing
    }

    /// Whether memory and store were compared, with nothing in doubt since.
    pub(super) fn is_compared(&self) -> bool {
        self.need < Need::Compare
    }

    /// Whether every block is to be looked through.
    pub(super) fn adopts(&self) -> bool {
        self.need == Need::Adopt
    }

    pub(super) fn is_up(&self) -> bool {
        self.condition == Condition::Up
    }

    /// Why the store does not serve; `None` if it does.
    pub(super) fn down_why(&self) -> Option<&str> {
        match &self.condition {
            Condition::Up => None,
            Condition::Down { why, .. } => Some(why),
        }
    }

    /// Whether an ask may wait for the store: it serves, or is away for a moment only.
    pub(super) const fn is_hopeful(&self, now_ms: u64) -> bool {
        match self.condition {
            Condition::Up => true,
            Condition::Down { since_ms, .. } => now_ms < since_ms + Self::HOPE_MS,
        }
    }

    /// When it is tried again, on the boot's clock; `None` if it serves.
    pub(super) const fn again_ms(&self) -> Option<u64> {
        match self.condition {
            Condition::Up => None,
            Condition::Down { again_ms, .. } => Some(again_ms),
        }
    }

    /// It does not serve. `spread` is the node's own, so that not all come back at the same moment.
    pub(super) fn fail(&mut self, why: String, now_ms: u64, spread: u64) {
        let (since_ms, wait_ms) = match self.condition {
            Condition::Up => (now_ms, Self::FIRST_WAIT_MS),
            Condition::Down {
                since_ms, wait_ms, ..
            } => (since_ms, (wait_ms * 2).min(Self::LONGEST_WAIT_MS)),
        };
        let again_ms = now_ms + wait_ms + spread % (wait_ms / 2);
        self.condition = Condition::Down {
            why,
            since_ms,
            again_ms,
            wait_ms,
        };
        // Whatever happened meanwhile is looked at before anything is written.
        self.need(Need::Compare);
        if self.standing == Standing::Unverified {
            self.standing = Standing::Good;
        }
    }

    /// It serves again.
    pub(super) fn serve(&mut self) {
        self.condition = Condition::Up;
    }
}
