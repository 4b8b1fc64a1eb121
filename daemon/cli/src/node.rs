//! `bulkhead node`: the nodes of the cluster, and the statement that one is dead.

use bulkhead_ipam::wire::admin::{Filter, ListedNode, LostReport, NodeState, Request};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::confirm::{Confirm, operator};
use crate::daemon::{Daemon, Reach};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, Width, columns, labels, lines, or_dash};
use crate::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the nodes of the cluster.
    Ls {
        /// Only this one: its name, its id, or the beginning of its id.
        #[arg(long, value_name = "NODE")]
        node: Option<String>,

        #[command(flatten)]
        reach: Reach,
    },
    /// Declare a node dead: its blocks and leases are given up, and it is fenced out of them.
    ///
    /// Nothing else ever takes a silent node's addresses: no timeout does. Say it only of a node that is
    /// off, or cut off from the network: if its containers still run, their addresses will be given to
    /// others. A node that comes back after that detaches every attachment whose address it does not own
    /// any more, and registers anew.
    Lost(LostArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LostArgs {
    /// The node: its name, its id, or the beginning of its id.
    node: String,

    /// Why, for the audit.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "declared lost by an operator"
    )]
    reason: String,

    #[command(flatten)]
    confirm: Confirm,

    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    let result = match command {
        Command::Ls { node, reach } => ls(node.as_ref(), reach, format),
        Command::Lost(args) => lost(args, format),
    };
    result.into()
}

fn ls(node: Option<&String>, reach: &Reach, format: Format) -> Result<String, Failure> {
    let filter = Filter {
        node: node.cloned(),
        ..Filter::default()
    };
    let nodes = reach.daemon()?.nodes(&filter)?;
    let rows: Vec<_> = nodes.into_iter().map(Row::from).collect();
    let now = time::now_unix_ms();
    Ok(format.render(&rows, |width| text(&rows, now, width)))
}

/// A node, with its instants as text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    listed: ListedNode,
    started_at: Option<String>,
    seen_at: Option<String>,
}

impl From<ListedNode> for Row {
    fn from(listed: ListedNode) -> Self {
        Self {
            started_at: listed.started_at_unix_ms.map(time::millis),
            seen_at: listed.seen_at_unix_ms.map(time::millis),
            listed,
        }
    }
}

const HEADINGS: [&str; 12] = [
    "NODE",
    "STATE",
    "ADDRESS",
    "VERSION",
    "SEEN",
    "BLOCKS",
    "ADDRESSES",
    "HELD",
    "ID",
    "EPOCH",
    "LABELS",
    "STATEMENT",
];
/// Columns of a narrow table.
const NARROW: usize = 8;

fn text(rows: &[Row], now_unix_ms: u64, width: Width) -> String {
    let cells = rows.iter().map(|row| cells(&row.listed, now_unix_ms));
    columns(&HEADINGS, NARROW, width, cells.collect())
}

fn cells(node: &ListedNode, now_unix_ms: u64) -> Vec<String> {
    let seen = node.seen_at_unix_ms;
    vec![
        node.name.name.clone(),
        state(node.state).to_owned(),
        lines(&node.addresses),
        or_dash(Some(node.version.clone())),
        seen_text(seen, now_unix_ms),
        node.blocks.to_string(),
        node.claimed.to_string(),
        node.held.to_string(),
        node.name.id.clone(),
        node.epoch.to_string(),
        labels(&node.labels),
        or_dash(Some(node.statement.clone())),
    ]
}

/// When a node last said that it lives.
pub(crate) fn seen_text(seen_at_unix_ms: Option<u64>, now_unix_ms: u64) -> String {
    seen_at_unix_ms.map_or_else(
        || "not heard of yet".to_owned(),
        |at| format!("{} ago", time::ago(at, now_unix_ms)),
    )
}

pub(crate) const fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Active => "active",
        NodeState::Lost => "lost",
        NodeState::Unknown => "unknown",
    }
}

fn lost(args: &LostArgs, format: Format) -> Result<String, Failure> {
    let daemon = args.reach.daemon()?;
    let node = one(&daemon, &args.node)?;
    let consequences = consequences(&node, time::now_unix_ms());
    args.confirm.ask(&consequences, &node.name.name)?;
    let report = daemon.lost(&Request::NodeLost {
        node: node.name.id,
        by: operator(),
        statement: args.reason.clone(),
    })?;
    Ok(format.render(&report, |_| told(&report)))
}

/// The node that is called so.
fn one(daemon: &Daemon, node: &str) -> Result<ListedNode, Failure> {
    let found = daemon.nodes(&Filter {
        node: Some(node.to_owned()),
        ..Filter::default()
    })?;
    let mut found = found.into_iter();
    found.next().ok_or_else(|| Failure::NoNode(node.to_owned()))
}

/// A daemon says that it lives far more often.
const ALIVE_MS: u64 = 120_000;

fn consequences(node: &ListedNode, now_unix_ms: u64) -> String {
    let seen = match node.seen_at_unix_ms {
        Some(at) => format!("last heard of {} ago", time::ago(at, now_unix_ms)),
        None => "never heard of".to_owned(),
    };
    let alive = node.seen_at_unix_ms.is_some_and(|at| {
        let silent = now_unix_ms.saturating_sub(at);
        silent < ALIVE_MS
    });
    let warning = if alive {
        "\n  IT SEEMS TO BE ALIVE. Switch it off first."
    } else {
        ""
    };
    format!(
        "Node {} ({}, {seen}) will be declared lost:{warning}
  Its {} blocks ({} addresses) and {} leases are given up at once, and their addresses given to others.
  Containers that still run on it keep theirs until the node hears of it: two would have one address.
  Be sure that it is off, or cut off from the network.
  When it comes back it detaches what it does not own any more, and registers anew.",
        node.name.name, node.name.id, node.blocks, node.claimed, node.held,
    )
}

fn told(report: &LostReport) -> String {
    format!(
        "node {}: lost, fenced out of epoch {}; {} blocks and {} leases were given up\n",
        report.name.name, report.fenced_epoch, report.blocks, report.leases,
    )
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::NodeName;

    use super::*;

    const NOW: u64 = 1_772_352_000_000;

    fn node(name: &str, seen_at_unix_ms: Option<u64>) -> ListedNode {
        ListedNode {
            name: NodeName {
                id: format!("{name}0123456789abcdef"),
                name: name.to_owned(),
            },
            state: NodeState::Active,
            epoch: 3,
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            version: "0.1.0".to_owned(),
            labels: [("rack".to_owned(), "3".to_owned())].into(),
            started_at_unix_ms: Some(NOW - 1000),
            seen_at_unix_ms,
            blocks: 2,
            claimed: 128,
            held: 110,
            statement: String::new(),
        }
    }

    #[test]
    fn a_node_is_a_row() {
        let rows: Vec<_> = [node("a", Some(NOW - 4000)), node("b", None)]
            .into_iter()
            .map(Row::from)
            .collect();
        assert_eq!(
            text(&rows, NOW, Width::Narrow),
            "\
NODE  STATE   ADDRESS   VERSION  SEEN              BLOCKS  ADDRESSES  HELD
a     active  10.0.0.1  0.1.0    4 s ago           2       128        110
              fd00::1
b     active  10.0.0.1  0.1.0    not heard of yet  2       128        110
              fd00::1
"
        );
        let wide = text(&rows, NOW, Width::All);
        assert!(
            wide.contains("a0123456789abcdef  3      rack=3  -"),
            "{wide}"
        );
        let json = Format::Json.render(&rows, |_| String::new());
        assert!(
            json.contains(r#""seenAt": "2026-03-01T07:59:56.000Z""#),
            "{json}"
        );
    }

    #[test]
    fn a_node_that_seems_alive_is_said_to() {
        let said = |silent_ms| consequences(&node("a", Some(NOW - silent_ms)), NOW);
        assert!(said(3000).contains("3 s ago) will be declared lost:\n  IT SEEMS TO BE ALIVE."));
        assert!(!said(600_000).contains("ALIVE"));
        assert!(consequences(&node("a", None), NOW).contains("never heard of"));
    }
}
