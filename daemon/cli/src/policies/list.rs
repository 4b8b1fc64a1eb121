//! `bulkhead policy ls|get`.

use bulkhead_ipam::wire::admin::{ListedObject, ObjectName, Reply, Request};
use clap::Args;
use serde::Serialize;

use super::kind::kind;
use crate::daemon::Reach;
use crate::failure::Failure;
use crate::output::{Format, Width, columns, or_dash};
use crate::time;

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Only objects of this kind.
    #[arg(long, value_parser = kind)]
    kind: Option<String>,

    /// Only objects of this namespace.
    #[arg(long)]
    namespace: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// What kind of object: netpol, cnp, policy, sg, ns or net, or the kind's name.
    #[arg(value_parser = kind)]
    kind: String,

    /// Its name; of a netpol NAMESPACE/NAME.
    name: String,

    #[command(flatten)]
    reach: Reach,
}

/// A name of a kind: NAMESPACE/NAME, or NAME where the kind has no namespaces.
pub(super) fn object_name(kind: &str, text: &str) -> ObjectName {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        // As `kubectl` would take it.
        None if kind == "NetworkPolicy" => (Some("default".to_owned()), text),
        None => (None, text),
    };
    ObjectName {
        kind: kind.to_owned(),
        namespace,
        name: name.to_owned(),
    }
}

/// An object, with its instant as text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    listed: ListedObject,
    at: String,
}

impl From<ListedObject> for Row {
    fn from(listed: ListedObject) -> Self {
        Self {
            at: time::seconds(listed.at_unix_ms),
            listed,
        }
    }
}

pub(super) fn ls(args: &LsArgs, format: Format) -> Result<String, Failure> {
    let request = Request::Policies {
        kind: args.kind.clone(),
        namespace: args.namespace.clone(),
    };
    let rows = args.reach.daemon()?.all(&request, objects)?;
    let rows: Vec<Row> = rows.into_iter().map(Row::from).collect();
    Ok(format.render(&rows, |width| text(&rows, width)))
}

pub(super) fn get(args: &GetArgs, format: Format) -> Result<String, Failure> {
    let request = Request::PolicyGet {
        object: object_name(&args.kind, &args.name),
    };
    let rows = args.reach.daemon()?.all(&request, objects)?;
    let row = rows.into_iter().next().map(Row::from);
    Ok(format.render(&row, |_| {
        let document = row.as_ref().and_then(|row| row.listed.document.clone());
        let mut document = document.unwrap_or_default();
        if !document.ends_with('\n') {
            document.push('\n');
        }
        document
    }))
}

fn objects(reply: Reply) -> Option<Vec<ListedObject>> {
    match reply {
        Reply::Objects { rows, .. } => Some(rows),
        _ => None,
    }
}

const HEADINGS: [&str; 8] = [
    "KIND",
    "NAMESPACE",
    "NAME",
    "REVISION",
    "ENFORCED",
    "FROM",
    "BY",
    "AT",
];
/// Columns of a narrow table.
const NARROW: usize = 6;

fn text(rows: &[Row], width: Width) -> String {
    columns(&HEADINGS, NARROW, width, rows.iter().map(cells).collect())
}

fn cells(row: &Row) -> Vec<String> {
    let listed = &row.listed;
    let from = (!listed.file.is_empty()).then(|| format!("{}:{}", listed.file, listed.line));
    vec![
        listed.name.kind.clone(),
        or_dash(listed.name.namespace.clone()),
        listed.name.name.clone(),
        listed.revision.to_string(),
        format!("{} of {} nodes", listed.enforced, listed.nodes),
        or_dash(from),
        or_dash(Some(listed.by.clone())),
        row.at.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_a_row() {
        let row = ListedObject {
            name: object_name("NetworkPolicy", "team-a/web"),
            revision: 7,
            file: "web.yaml".to_owned(),
            line: 3,
            by: "ops".to_owned(),
            at_unix_ms: 1_795_000_000_000,
            enforced: 2,
            nodes: 3,
            document: None,
        };
        assert_eq!(
            text(&[row.into()], Width::Narrow),
            "\
KIND           NAMESPACE  NAME  REVISION  ENFORCED      FROM
NetworkPolicy  team-a     web   7         2 of 3 nodes  web.yaml:3
"
        );
        assert_eq!(object_name("Policy", "web").namespace, None);
        let default = object_name("NetworkPolicy", "web").namespace;
        assert_eq!(default.as_deref(), Some("default"));
    }
}
