//! One thing at a time: what the ledger has to do with the store and with its file is a job, and a job
//! is a sequence of calls that somebody else makes. Nothing here waits.
//!
//! A call whose answer did not come leaves a job in doubt, and every job leaves it in the same way: the
//! next job seals the fence, so that whatever was on its way has either arrived or never will, and
//! compares memory and store ([`super::sync`]). No job has to know how to go on.

use super::Ledger;
use super::adopt::Adopt;
use super::borrow::{Borrow, Poll};
use super::cede::Cede;
use super::claim::Claim;
use super::file::LedgerFile;
use super::give_back::GiveBack;
use super::grow::Grow;
use super::heartbeat::Heartbeat;
use super::link::Standing;
use super::publish::Publish;
use super::root::{Restamp, Root};
use super::sticky::{FetchSticky, LetGo};
use super::sync::Sync;
use super::want::Locate;
use crate::boot::Now;
use crate::cluster::kv::{Committed, KeyRange, KvError, Listing, Txn};

/// What is to be done for the ledger.
#[derive(Clone, Debug)]
pub enum Call {
    /// Replace the ledger's file, durably.
    Save(Box<LedgerFile>),
    /// Read these ranges, one after the other.
    Read(Vec<KeyRange>),
    /// Run this transaction.
    Commit(Txn),
}

/// What became of a call.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Of [`Call::Save`]; the error with its causes.
    Saved(Result<(), String>),
    /// Of [`Call::Read`]: a listing for each range.
    Read(Result<Vec<Listing>, KvError>),
    /// Of [`Call::Commit`].
    Committed(Result<Committed, KvError>),
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Make this call and tell what became of it.
    Call(Call),
    /// Nothing until then, on the boot's clock, or until something else happens.
    Idle {
        /// When to ask again; `None`: only if something happens.
        until_ms: Option<u64>,
    },
}

/// The good outcome of a call.
pub(super) enum Answer {
    Saved,
    Rows(Vec<Listing>),
    Committed(Committed),
}

impl Answer {
    pub(super) fn rows(self) -> Vec<Listing> {
        match self {
            Self::Rows(rows) => rows,
            _ => unreachable!("a read is answered by rows"),
        }
    }

    pub(super) fn committed(self) -> Committed {
        match self {
            Self::Committed(committed) => committed,
            _ => unreachable!("a transaction is answered by what it came to"),
        }
    }
}

/// How a job goes on.
pub(super) enum Flow {
    Then(Job, Call),
    End,
}

impl Flow {
    pub(super) fn then(job: impl Into<Job>, call: Call) -> Self {
        Self::Then(job.into(), call)
    }
}

macro_rules! jobs {
    ($($job:ident),+) => {
        /// What is being done.
        #[derive(Clone, Debug)]
        pub(super) enum Job {
            $($job(Box<$job>)),+
        }

        $(impl From<$job> for Job {
            fn from(job: $job) -> Self {
                Self::$job(Box::new(job))
            }
        })+

        impl Job {
            fn answered(self, ledger: &mut Ledger, answer: Answer, now: Now) -> Flow {
                match self {
                    $(Self::$job(job) => job.answered(ledger, answer, now)),+
                }
            }

            /// Puts things back: nothing was written, or it is in doubt.
            fn interrupted(self, ledger: &mut Ledger, fault: Fault, now: Now) {
                match self {
                    $(Self::$job(job) => job.interrupted(ledger, fault, now)),+
                }
            }
        }
    };
}

jobs!(
    Adopt,
    Borrow,
    Cede,
    Claim,
    FetchSticky,
    GiveBack,
    Grow,
    Heartbeat,
    LetGo,
    Locate,
    Poll,
    Publish,
    Restamp,
    Root,
    Sync
);

/// How a job ended that did not come to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// Nothing of its last call was done.
    Undone,
    /// Its last call may be done or not, or still be on its way.
    Doubt,
}

/// The one job, and whether a call of it is out.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    job: Option<Job>,
    /// The file is being saved for its own sake.
    saving: bool,
}

impl Lane {
    /// The job whose call is out.
    pub(super) const fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }
}

impl Ledger {
    /// What is to be done next. One call at a time: nothing until the last one's outcome is told.
    pub fn next(&mut self, now: Now) -> Next {
        if self.lane.job.is_some() || self.lane.saving {
            return Next::Idle { until_ms: None };
        }
        self.tick(now);
        if let Flow::Then(job, call) = self.next_job(now) {
            self.lane.job = Some(job);
            return Next::Call(call);
        }
        if self.unsaved_due(now) {
            self.lane.saving = true;
            return Next::Call(self.save());
        }
        Next::Idle {
            until_ms: self.due_ms(now),
        }
    }

    /// What became of the call. Another may follow at once.
    pub fn done(&mut self, outcome: Outcome, now: Now) -> Option<Call> {
        if std::mem::take(&mut self.lane.saving) {
            if let Outcome::Saved(Err(why)) = outcome {
                self.unsaved_since(now);
                self.fail(why, now);
            }
            return None;
        }
        let job = self.lane.job.take().expect("a call belongs to a job");
        let (fault, why) = match outcome {
            Outcome::Saved(Ok(())) => return self.go_on(job, Answer::Saved, now),
            Outcome::Read(Ok(rows)) => return self.go_on(job, Answer::Rows(rows), now),
            Outcome::Committed(Ok(committed)) => {
                self.counters.transactions += 1;
                return self.go_on(job, Answer::Committed(committed), now);
            }
            Outcome::Saved(Err(why)) => {
                self.unsaved_since(now);
                (Fault::Undone, why)
            }
            Outcome::Committed(Err(error @ KvError::Ambiguous { .. })) => {
                self.counters.ambiguous += 1;
                self.link.doubt = true;
                (Fault::Doubt, error.to_string())
            }
            Outcome::Read(Err(error)) | Outcome::Committed(Err(error)) => {
                (Fault::Undone, error.to_string())
            }
        };
        job.interrupted(self, fault, now);
        self.fail(why, now);
        None
    }

    fn go_on(&mut self, job: Job, answer: Answer, now: Now) -> Option<Call> {
        match job.answered(self, answer, now) {
            Flow::Then(job, call) => {
                self.lane.job = Some(job);
                Some(call)
            }
            Flow::End => None,
        }
    }

    /// The store does not serve, or what is needed before it may be written to does not.
    pub(super) fn fail(&mut self, why: String, now: Now) {
        let spread = self.mix("again", now.since_boot_ms);
        self.link.fail(why, now.since_boot_ms, spread);
    }

    /// The first job that there is something to do for. The order is that of urgency, and what decides
    /// whether anything may be written comes first.
    fn next_job(&mut self, now: Now) -> Flow {
        let waits = self.link.again_ms();
        if waits.is_some_and(|again| now.since_boot_ms < again) {
            return Flow::End;
        }
        if matches!(self.link.standing, Standing::Twin { .. }) {
            return Flow::End;
        }
        if !self.link.is_in_step() || !self.link.is_up() {
            return self.start_sync();
        }
        let starts = [
            Self::start_restamp,
            Self::start_root,
            Self::start_claim_for_waiters,
            Self::start_fetch_sticky,
            Self::start_locate,
            Self::start_cede,
            Self::start_publish,
            Self::start_poll,
            Self::start_borrow,
            Self::start_let_go,
            Self::start_claim_ahead,
            Self::start_give_back,
            Self::start_grow,
            Self::start_heartbeat,
        ];
        for start in starts {
            if let flow @ Flow::Then(..) = start(self, now) {
                return flow;
            }
        }
        Flow::End
    }

    /// When there is something to do next, on the boot's clock.
    fn due_ms(&self, now: Now) -> Option<u64> {
        if let Some(again) = self.link.again_ms() {
            let saves = self.unsaved_due_ms();
            return saves.into_iter().chain([again]).min();
        }
        let dues = [
            self.queue.due_ms(&self.tuning),
            self.unsaved_due_ms(),
            self.poll_due_ms(),
            self.want_due_ms(),
            self.claim_due_ms(now),
            self.tick_due_ms(),
            Some(self.beat_at_ms),
            Some(self.tidy_at_ms),
        ];
        dues.into_iter().flatten().min()
    }
}
