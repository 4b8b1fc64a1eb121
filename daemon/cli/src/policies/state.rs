//! `bulkhead policy status|endpoints`.

use std::fmt::Write;

use bulkhead_ipam::wire::admin::{
    KnownEndpoint, NodeState, PolicyNode, PolicyState, Reply, Request,
};
use clap::Args;

use crate::daemon::Reach;
use crate::failure::Failure;
use crate::node::state;
use crate::output::{Format, Width, columns, labels, lines, or_dash, table, visible};
use crate::time::{ago, now_unix_ms};

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct SnapshotArgs {
    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct EndpointsArgs {
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn status(args: &StatusArgs, format: Format) -> Result<String, Failure> {
    let daemon = args.reach.daemon()?;
    let state = daemon.one(&Request::PolicyStatus, |reply| match reply {
        Reply::PolicyState(state) => Some(*state),
        _ => None,
    })?;
    Ok(format.render(&state, |_| text(&state, now_unix_ms())))
}

pub(super) fn snapshot(args: &SnapshotArgs, format: Format) -> Result<String, Failure> {
    let daemon = args.reach.daemon()?;
    let documents = daemon.all(
        &Request::PolicySnapshot { about: None },
        |reply| match reply {
            Reply::Written { documents } => Some(documents),
            _ => None,
        },
    )?;
    Ok(format.render(&documents, |_| {
        let begun = documents.iter().map(|document| {
            format!(
                "---
{document}"
            )
        });
        begun.collect::<Vec<_>>().concat()
    }))
}

pub(super) fn endpoints(args: &EndpointsArgs, format: Format) -> Result<String, Failure> {
    let rows = args
        .reach
        .daemon()?
        .all(&Request::Known, |reply| match reply {
            Reply::Known { rows } => Some(rows),
            _ => None,
        })?;
    Ok(format.render(&rows, |width| known(&rows, width)))
}

fn text(state: &PolicyState, now: u64) -> String {
    let mut text = format!(
        "enforced on {} of {} nodes at revision {}\n",
        state.enforced, state.enforcing, state.revision
    );
    // Writing to a string does not fail.
    if state.revision > 0 {
        let age = ago(state.at_unix_ms, now);
        let _ = writeln!(
            text,
            "last change: {} by {}, {age} ago",
            state.what, state.by
        );
    }
    let objects = state.objects.iter();
    let objects: Vec<_> = objects
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if !objects.is_empty() {
        let _ = writeln!(text, "objects: {}", objects.join(", "));
    }
    if let Some(slowest) = slowest(state) {
        let _ = writeln!(
            text,
            "slowest: {} at revision {}",
            slowest.name.name,
            slowest.revision.unwrap_or_default()
        );
    }
    let rows: Vec<_> = state.nodes.iter().map(|node| cells(node, now)).collect();
    if !rows.is_empty() {
        let _ = write!(
            text,
            "\n{}",
            table(&["NODE", "STATE", "REVISION", "SAID", "ERRORS"], &rows)
        );
    }
    visible(&text)
}

/// The node that is furthest behind, of those that enforce policies.
fn slowest(state: &PolicyState) -> Option<&PolicyNode> {
    let nodes = state
        .nodes
        .iter()
        .filter(|node| node.state == NodeState::Active);
    let behind = nodes.filter(|node| node.revision.is_some_and(|said| said < state.revision));
    behind.min_by_key(|node| (node.revision, node.at_unix_ms))
}

fn cells(node: &PolicyNode, now: u64) -> Vec<String> {
    vec![
        node.name.name.clone(),
        state(node.state).to_owned(),
        or_dash(node.revision.map(|said| said.to_string())),
        or_dash(node.at_unix_ms.map(|at| format!("{} ago", ago(at, now)))),
        lines(&node.errors),
    ]
}

const HEADINGS: [&str; 5] = ["ENDPOINT", "ADDRESSES", "LABELS", "GROUPS", "NODE"];

fn known(rows: &[KnownEndpoint], width: Width) -> String {
    let row = |known: &KnownEndpoint| {
        let addresses = known.addresses.iter().map(ToString::to_string);
        let prefixes = known.prefixes.iter().map(ToString::to_string);
        vec![
            known.endpoint.to_string(),
            lines(addresses.chain(prefixes)),
            labels(&known.labels),
            lines(&known.groups),
            or_dash(known.node.clone()),
        ]
    };
    columns(
        &HEADINGS,
        HEADINGS.len(),
        width,
        rows.iter().map(row).collect(),
    )
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::{EndpointName, NodeName};

    use super::*;

    fn node(name: &str, revision: Option<u64>) -> PolicyNode {
        PolicyNode {
            name: NodeName {
                id: name.to_owned(),
                name: name.to_owned(),
            },
            state: NodeState::Active,
            revision,
            at_unix_ms: revision.map(|_| 1_795_000_000_000),
            errors: Vec::new(),
        }
    }

    #[test]
    fn status_names_the_slowest_node() {
        let state = PolicyState {
            revision: 7,
            what: "2 objects applied".to_owned(),
            by: "ops".to_owned(),
            at_unix_ms: 1_795_000_000_000,
            objects: [("NetworkPolicy".to_owned(), 2)].into(),
            enforced: 1,
            enforcing: 2,
            nodes: vec![node("n1", Some(7)), node("n2", Some(6)), node("n3", None)],
        };
        assert_eq!(
            text(&state, 1_795_000_003_000),
            "\
enforced on 1 of 2 nodes at revision 7
last change: 2 objects applied by ops, 3 s ago
objects: 2 NetworkPolicy
slowest: n2 at revision 6

NODE  STATE   REVISION  SAID     ERRORS
n1    active  7         3 s ago  -
n2    active  6         3 s ago  -
n3    active  -         -        -
"
        );
    }

    #[test]
    fn an_endpoint_is_told_as_policies_see_it() {
        let row = KnownEndpoint {
            endpoint: EndpointName {
                namespace: "shop".to_owned(),
                name: "cart-0".to_owned(),
                network: Some("blue".to_owned()),
            },
            addresses: vec!["10.4.0.65".parse().unwrap(), "fd00:4::1".parse().unwrap()],
            prefixes: vec!["fd00:4::/64".parse().unwrap()],
            labels: [("app".to_owned(), "cart".to_owned())].into(),
            groups: vec!["db".to_owned()],
            node: Some("n1".to_owned()),
            apart: false,
        };
        assert_eq!(
            known(&[row], Width::Narrow),
            "\
ENDPOINT          ADDRESSES    LABELS    GROUPS  NODE
shop/cart-0@blue  10.4.0.65    app=cart  db      n1
                  fd00:4::1
                  fd00:4::/64
"
        );
    }
}
