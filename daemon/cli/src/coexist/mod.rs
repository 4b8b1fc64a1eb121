//! `bulkhead coexist`: rules in firewalls of others, without which these would drop what a network
//! forwards. Only where an operator asks for it; recorded before they are added, and removed as they
//! were recorded.

mod change;
pub(crate) mod error;
pub(crate) mod firewall;
pub(crate) mod network;
pub(crate) mod record;
pub(crate) mod rule;
pub(crate) mod ruleset;
pub(crate) mod tool;
pub(crate) mod traffic;

use bulkhead_model::NetworkName;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use self::change::{add, rm, state_dirs};
use self::error::CoexistError;
use self::firewall::Firewall;
use self::record::Record;
use self::rule::{Rule, Standing};
use crate::failure::{Exit, Outcome, chain};
use crate::output::{Format, or_dash, table};
use crate::sources::Sources;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let a firewall of somebody else's pass what a network forwards.
    ///
    /// Adds the rules of the network to that firewall and records them; a second run adds what is
    /// missing. What the firewall's other rules say comes first.
    Add(AddArgs),
    /// List the rules that were added, and whether they stand.
    Ls(Sources),
    /// Remove the rules of a network.
    Rm {
        /// The network.
        network: NetworkName,

        #[command(flatten)]
        sources: Sources,
    },
}

#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// The network.
    network: NetworkName,

    /// Whose firewall; `auto` is every one that drops something now.
    #[arg(long, value_enum, default_value_t)]
    with: With,

    /// With ufw, which cannot tell a host port from anything else: let in whatever is routed to the
    /// network.
    #[arg(long)]
    inbound: bool,

    #[command(flatten)]
    sources: Sources,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum With {
    #[default]
    Auto,
    Docker,
    Firewalld,
    Ufw,
}

/// What is done to a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Add,
    Remove,
    /// It stands, or is gone, already.
    Unchanged,
    /// It is the operator's own.
    Left,
}

/// One rule in a table.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    network: NetworkName,
    with: Firewall,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<&'static str>,
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Add(args) => {
            let network = &args.network;
            let note =
                format!("nothing drops what network {network} forwards, so no rule is added");
            told(add(args), &note, format)
        }
        Command::Rm { network, sources } => {
            let note = format!("no rule is recorded of network {network}");
            told(rm(network, sources), &note, format)
        }
        Command::Ls(sources) => ls(sources, format),
    }
}

fn ls(sources: &Sources, format: Format) -> Outcome {
    let dirs = match state_dirs(sources) {
        Ok(dirs) => dirs,
        Err(failure) => return Err(failure).into(),
    };
    let mut rows = Vec::new();
    let mut stderr = Vec::new();
    for dir in dirs {
        let read = record::read_all(&dir).unwrap_or_else(|error| vec![Err(error.into())]);
        for record in read {
            match record {
                Ok(record) => rows.extend(record.rules.iter().map(|rule| listed(&record, rule))),
                Err(error) => stderr.push(chain(&error)),
            }
        }
    }
    let exit = if stderr.is_empty() {
        Exit::Done
    } else {
        Exit::Unreadable
    };
    Outcome {
        stdout: printed(&rows, format),
        stderr,
        exit,
    }
}

fn listed(record: &Record, rule: &Rule) -> Row {
    let (standing, note) = match rule.standing() {
        Standing::Present => ("present", None),
        Standing::Absent => ("missing", None),
        Standing::Unknown(why) => ("unknown", Some(why)),
    };
    Row {
        network: record.network.clone(),
        with: rule.firewall(),
        action: None,
        standing: Some(standing),
        rule: rule.line(),
        note,
    }
}

fn row(network: &NetworkName, rule: &Rule, action: Action, note: Option<&str>) -> Row {
    Row {
        network: network.clone(),
        with: rule.firewall(),
        action: Some(action),
        standing: None,
        rule: rule.line(),
        note: note.map(str::to_owned),
    }
}

/// `none` is what to say if there is no rule to speak of, which is no failure.
fn told(result: Result<Vec<Row>, CoexistError>, none: &str, format: Format) -> Outcome {
    match result {
        Ok(rows) => {
            let mut outcome = Outcome::from(Ok(String::new()));
            if rows.is_empty() {
                outcome.stderr.push(none.to_owned());
            }
            outcome.stdout = printed(&rows, format);
            outcome
        }
        Err(error) => Outcome {
            stdout: String::new(),
            stderr: vec![chain(&error)],
            exit: error.exit(),
        },
    }
}

fn printed(rows: &[Row], format: Format) -> String {
    format.render(rows, |_| {
        if rows.is_empty() {
            return String::new();
        }
        let rows: Vec<_> = rows.iter().map(cells).collect();
        table(&["NETWORK", "WITH", "STATE", "RULE", "NOTE"], &rows)
    })
}

fn cells(row: &Row) -> Vec<String> {
    let action = row.action.map(|action| match action {
        Action::Add => "added",
        Action::Remove => "removed",
        Action::Unchanged => "unchanged",
        Action::Left => "left",
    });
    let state = action.or(row.standing).map(str::to_owned);
    vec![
        row.network.to_string(),
        row.with.as_str().to_owned(),
        or_dash(state),
        row.rule.clone(),
        or_dash(row.note.clone()),
    ]
}
