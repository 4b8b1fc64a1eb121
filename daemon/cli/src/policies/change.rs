//! `bulkhead policy apply|delete`.

use std::path::PathBuf;

use bulkhead_ipam::wire::admin::{Must, ObjectName, ObjectOutcome, PolicyChanges, Reply, Request};
use clap::Args;

use super::files::read;
use super::kind::kind;
use super::list::object_name;
use crate::daemon::{Daemon, Reach};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, visible};

#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// A file, a directory of files, or `-` for standard input; may be repeated.
    #[arg(short = 'f', long = "file", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// What kind of objects: netpol, cnp, policy, sg, ns or net, or the kind's name.
    #[arg(value_parser = kind, requires = "names", required_unless_present = "files")]
    kind: Option<String>,

    /// Their names; of a netpol NAMESPACE/NAME.
    names: Vec<String>,

    /// And the objects that are written in this file, a directory of files, or `-`; may be repeated.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    reach: Reach,
}

pub(super) fn apply(args: &ApplyArgs, format: Format) -> Outcome {
    let applied = || {
        let request = Request::PolicyApply {
            files: read(&args.files)?,
            must: Must::Anything,
            dry_run: args.dry_run,
        };
        changes(&args.reach.daemon()?, &request)
    };
    applied()
        .map(|changes| format.render(&changes, |_| text(&changes)))
        .into()
}

pub(super) fn delete(args: &DeleteArgs, format: Format) -> Outcome {
    let deleted = || {
        let kind = args.kind.as_deref().unwrap_or_default();
        let names = args.names.iter().map(|name| object_name(kind, name));
        let request = Request::PolicyDelete {
            objects: names.collect::<Vec<ObjectName>>(),
            files: read(&args.files)?,
        };
        changes(&args.reach.daemon()?, &request)
    };
    deleted()
        .map(|changes| format.render(&changes, |_| text(&changes)))
        .into()
}

/// Asks for a change.
pub(crate) fn changes(daemon: &Daemon, request: &Request) -> Result<PolicyChanges, Failure> {
    daemon.one(request, |reply| match reply {
        Reply::PolicyChanged(changes) => Some(changes),
        _ => None,
    })
}

/// What became of each object, and the revision.
pub(crate) fn text(changes: &PolicyChanges) -> String {
    let line = |object: &bulkhead_ipam::wire::admin::ChangedObject| {
        let outcome = match object.outcome {
            ObjectOutcome::Created => "created",
            ObjectOutcome::Changed => "changed",
            ObjectOutcome::Unchanged => "unchanged",
            ObjectOutcome::Deleted => "deleted",
            ObjectOutcome::Other => "other",
        };
        format!("{}: {outcome}\n", shown(&object.name))
    };
    let objects: String = changes.objects.iter().map(line).collect();
    let notes = changes.notes.iter().map(|note| format!("note: {note}\n"));
    let notes: String = notes.collect();
    visible(&format!("{objects}{notes}revision {}\n", changes.revision))
}

/// `NetworkPolicy team-a/web`.
pub(super) fn shown(name: &ObjectName) -> String {
    match &name.namespace {
        Some(namespace) => format!("{} {namespace}/{}", name.kind, name.name),
        None => format!("{} {}", name.kind, name.name),
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::ChangedObject;

    use super::*;

    #[test]
    fn a_change_is_told_object_by_object() {
        let object = |name: &str, outcome| ChangedObject {
            name: object_name("NetworkPolicy", name),
            outcome,
        };
        let changes = PolicyChanges {
            revision: 7,
            objects: vec![
                object("team-a/web", ObjectOutcome::Created),
                object("team-a/db", ObjectOutcome::Unchanged),
            ],
            notes: vec!["look".to_owned()],
        };
        assert_eq!(
            text(&changes),
            "NetworkPolicy team-a/web: created\nNetworkPolicy team-a/db: unchanged\nnote: look\nrevision 7\n"
        );
    }
}
