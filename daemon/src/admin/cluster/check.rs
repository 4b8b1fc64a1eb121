//! Whether every address is given once, and to whom everybody says: the store at one revision, this
//! node's journals, its kernel.

use std::collections::BTreeSet;

use bulkhead_ipam::cluster::KvError;
use bulkhead_ipam::cluster::check::{self, Checked, Facts};
use bulkhead_ipam::cluster::ledger::Ledger;
use bulkhead_ipam::cluster::operations::Filter as Meant;
use bulkhead_ipam::wire::admin::{
    CheckReport, Evidence, Filter, PAGE_ROWS, Progress, Reply, RequestError, Violation, Witness,
};

use super::journal::Records;
use super::refusal::unanswered;
use crate::admin::{Admin, Replies};

/// One look at everything.
struct Look {
    checked: Checked,
    unread: Vec<String>,
    revision: u64,
}

impl Admin {
    pub(super) fn check(&self, filter: &Filter, replies: &Replies) -> Result<Reply, RequestError> {
        let meant = self.filter(filter)?;
        let mut look = self.look(replies).map_err(unanswered)?;
        if !look.checked.violations.is_empty() {
            // The witnesses are heard one after the other while the node goes on: what is wrong is so
            // twice.
            let seen: BTreeSet<_> = look.checked.violations.iter().map(name).collect();
            let mut again = self.look(replies).map_err(unanswered)?;
            let found = &mut again.checked.violations;
            found.retain(|violation| seen.contains(&name(violation)));
            look = again;
        }
        look.checked
            .violations
            .retain(|violation| is_of(violation, &meant));
        Ok(report(look, replies))
    }

    fn look(&self, replies: &Replies) -> Result<Look, KvError> {
        let step = |what: &str, done| {
            replies.say(Reply::Progress(Progress {
                what: what.to_owned(),
                done,
                total: Some(3),
            }));
        };
        let cluster = &self.node.cluster;
        let mut queued = self.unpublished();
        let before = self.records();
        step("witnesses heard", 0);
        let schema = &cluster.schema;
        let store = cluster.backend.store();
        let listing = store.range(&check::range(schema), 0)?;
        step("witnesses heard", 1);
        let after = self.records();
        queued.extend(self.unpublished());
        step("witnesses heard", 2);
        let kernel = self.kernel(&after);
        let (in_step, mut unread) = self.unread(&before, &after);
        if kernel.is_none() {
            unread.push("the kernel was not looked at: bulkheadd is stopping".to_owned());
        }
        let journal = self.journal(&before, &after, queued);
        let facts = Facts {
            schema,
            rows: &listing.rows,
            journals: if in_step {
                std::slice::from_ref(&journal)
            } else {
                &[]
            },
            kernels: kernel.as_slice(),
        };
        Ok(Look {
            checked: check::check(&facts),
            unread,
            revision: listing.revision.0,
        })
    }

    /// Whether the node's journals may be compared with the store, and what could not be read.
    fn unread(&self, before: &Records, after: &Records) -> (bool, Vec<String>) {
        let unread = [&before.unread[..], &after.unread[..]].concat();
        let unread: BTreeSet<String> = unread.into_iter().collect();
        let mut unread: Vec<String> = unread.into_iter().collect();
        let in_step = self.node.cluster.look(Ledger::is_synced);
        if !in_step {
            let text = "this node's leases are not compared: it has not been in step with the store since it was last reached, ask again when `bulkhead status` says that its rows are exact";
            unread.push(text.to_owned());
        }
        (
            in_step && before.unread.is_empty() && after.unread.is_empty(),
            unread,
        )
    }
}

fn name(violation: &check::Violation) -> (&'static str, String) {
    (violation.rule.name(), violation.subject.clone())
}

fn is_of(violation: &check::Violation, filter: &Meant) -> bool {
    let node = filter.node.as_ref();
    node.is_none_or(|node| violation.nodes.contains(node))
        && (filter.pool.is_none() || filter.pool == violation.pool)
}

fn report(look: Look, replies: &Replies) -> Reply {
    let checked = look.checked;
    let mut page = CheckReport {
        violations: checked.violations.into_iter().map(violation).collect(),
        unread: look.unread,
        revision: look.revision,
        pools: checked.pools,
        blocks: checked.blocks,
        leases: checked.leases,
        attachments: checked.attachments,
    };
    while page.violations.len() > PAGE_ROWS {
        let rest = page.violations.split_off(PAGE_ROWS);
        let next = CheckReport {
            violations: rest,
            unread: Vec::new(),
            ..page
        };
        replies.say(Reply::Check(page));
        page = next;
    }
    Reply::Check(page)
}

fn violation(found: check::Violation) -> Violation {
    Violation {
        rule: found.rule.name().to_owned(),
        subject: found.subject,
        text: found.text,
        evidence: found.evidence.into_iter().map(evidence).collect(),
    }
}

fn evidence(evidence: check::Evidence) -> Evidence {
    Evidence {
        source: match evidence.source {
            check::Witness::Journal => Witness::Journal,
            check::Witness::Store => Witness::Store,
            check::Witness::Kernel => Witness::Kernel,
        },
        place: evidence.place,
        says: evidence.says,
    }
}
