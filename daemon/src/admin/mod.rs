//! What operators ask over the socket (`bulkhead_ipam::wire::admin`). Each request has a thread of its
//! own while it lasts, because most of them read files, the kernel or the cluster's store.

mod cluster;
mod endpoints;
mod flows;
mod gc;
mod policies;
mod reload;
mod repair;
mod status;
mod support;
mod watch;

use std::sync::Arc;

use bulkhead_ipam::wire::admin::{Reason, Reply, Request, RequestError};
use tokio::sync::mpsc;

use crate::node::Node;
use crate::workers::Workers;

pub(crate) use cluster::{node_name, node_state};
pub(crate) use reload::reload;

/// A reply, and whether others follow.
#[derive(Debug)]
pub(crate) enum Said {
    More(Reply),
    Last(Reply),
}

/// Who answers.
pub(crate) struct Admin {
    node: Arc<Node>,
    workers: Arc<Workers>,
    restoring: cluster::Restoring,
}

/// Where the replies to one request go. Who asked may have gone away; what was begun is ended all the
/// same.
#[derive(Debug)]
pub(crate) struct Replies(mpsc::Sender<Said>);

impl Replies {
    /// Says something that is not the last.
    pub(crate) fn say(&self, reply: Reply) {
        let _ = self.0.blocking_send(Said::More(reply));
    }

    fn end(&self, reply: Reply) {
        let _ = self.0.blocking_send(Said::Last(reply));
    }
}

impl Admin {
    pub(crate) fn new(node: Arc<Node>, workers: Arc<Workers>) -> Self {
        Self {
            node,
            workers,
            restoring: cluster::Restoring::default(),
        }
    }

    /// Begins to serve a request.
    pub(crate) fn begin(self: Arc<Self>, request: Request, replies: mpsc::Sender<Said>) {
        if let Request::Watch { filter } = request {
            tokio::spawn(async move { watch::watch(&self.node, filter, replies).await });
            return;
        }
        if request == Request::TellAllowed {
            tokio::spawn(flows::tell_allowed(Arc::clone(&self.node), replies));
            return;
        }
        tokio::task::spawn_blocking(move || {
            let replies = Replies(replies);
            let last = self.answer(request, &replies);
            replies.end(last.unwrap_or_else(Reply::Refused));
        });
    }

    /// The last reply; those before it are said.
    fn answer(&self, request: Request, replies: &Replies) -> Result<Reply, RequestError> {
        match request {
            Request::Status => Ok(Reply::Status(Box::new(status::status(&self.node)))),
            Request::Gc { dry_run, filter } => self.gc(dry_run, &filter, replies),
            Request::Repair { attachment } => self.repair(&attachment),
            Request::Endpoints { filter } => self.endpoints(&filter, replies),
            Request::PolicyApply {
                files,
                must,
                dry_run,
            } => self.policy_apply(&files, must, dry_run),
            Request::PolicyDelete { objects, files } => self.policy_delete(&objects, &files),
            Request::Policies { kind, namespace } => {
                self.policies(kind.as_deref(), namespace.as_deref(), replies)
            }
            Request::PolicyGet { object } => self.policy_get(&object),
            Request::PolicySnapshot { about } => self.policy_snapshot(about.as_deref(), replies),
            Request::PolicyStatus => self.policy_status(),
            Request::PolicyVerify => self.policy_verify(),
            Request::Verdicts => Ok(self.verdicts(replies)),
            Request::Known => Ok(self.known(replies)),
            Request::Groups { group } => self.groups(group.as_deref(), replies),
            Request::GroupAttach { group, members } => self.group_attach(&group, &members),
            Request::GroupDetach { group, members } => self.group_detach(&group, &members),
            Request::ConfigReload => reload(&self.node).map(Reply::Reloaded),
            Request::Support => Ok(self.support(replies)),
            about_cluster => self.about_cluster(about_cluster, replies),
        }
    }
}

/// Something on the node failed.
fn failed(why: &dyn std::fmt::Display) -> RequestError {
    RequestError {
        code: Reason::Failed,
        text: why.to_string(),
    }
}
