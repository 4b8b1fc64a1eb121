//! `bulkhead sg`: security groups, for people without Kubernetes. A group's rules say who may talk to its
//! members; endpoints are attached to it by name, before they are there or while they run.

mod rules;

use std::path::{Path, PathBuf};

use bulkhead_ipam::wire::admin::{
    EndpointName, GroupMember, ListedGroup, Must, ObjectName, PolicyFile, Reply, Request,
};
use clap::{Args, Subcommand};

use crate::daemon::Reach;
use crate::failure::{Failure, Outcome};
use crate::output::{Format, lines, or_dash, table, visible};
use crate::policies::{changes, stdin_or_file, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a group. Without a rule of a direction nothing is allowed in it.
    Create(RulesArgs),
    /// Give a group other rules, in place of those that it has. Its members follow at once.
    Update(RulesArgs),
    /// List the groups, with their members and who speaks of them.
    Ls(LsArgs),
    /// Show a group: its rules, its members and where they are.
    Inspect(NamedArgs),
    /// Remove groups that have no members and that nobody speaks of.
    Rm(RmArgs),
    /// Make endpoints members of a group. They need not be there yet.
    Attach(MembersArgs),
    /// Take endpoints out of a group.
    Detach(MembersArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RulesArgs {
    /// The group's name: lower-case letters, digits and dashes.
    #[arg(required_unless_present = "file")]
    group: Option<String>,

    /// Who may reach its members, `PEER [PORTS]`: any, group:NAME, network:NAME, own-node, any-node, world,
    /// gateway or a prefix; ports such as 80/tcp,8000-8080/udp, all of them by default. May be repeated.
    #[arg(long, value_name = "RULE", value_parser = rules::rule)]
    ingress: Vec<rules::Rule>,

    /// Whom its members may reach, in the same words. May be repeated.
    #[arg(long, value_name = "RULE", value_parser = rules::rule)]
    egress: Vec<rules::Rule>,

    /// A file that has the group as an object, or `-`, instead.
    #[arg(short = 'f', long, conflicts_with_all = ["group", "ingress", "egress"])]
    file: Option<PathBuf>,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct NamedArgs {
    /// The group's name.
    group: String,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct RmArgs {
    /// The groups' names.
    #[arg(required = true)]
    groups: Vec<String>,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct MembersArgs {
    /// The group's name.
    group: String,

    /// Endpoints: NAMESPACE/NAME of pods, NETWORK/CONTAINER of other containers; with @NETWORK on that
    /// network alone.
    #[arg(required = true, value_name = "ENDPOINT", value_parser = endpoint)]
    members: Vec<EndpointName>,

    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Create(args) => write(args, Must::Create, format),
        Command::Update(args) => write(args, Must::Change, format),
        Command::Ls(args) => ls(args, format),
        Command::Inspect(args) => inspect(args, format),
        Command::Rm(args) => change(&args.reach, &remove(&args.groups), format),
        Command::Attach(args) => {
            let request = Request::GroupAttach {
                group: args.group.clone(),
                members: args.members.clone(),
            };
            change(&args.reach, &request, format)
        }
        Command::Detach(args) => {
            let request = Request::GroupDetach {
                group: args.group.clone(),
                members: args.members.clone(),
            };
            change(&args.reach, &request, format)
        }
    }
    .into()
}

fn write(args: &RulesArgs, must: Must, format: Format) -> Result<String, Failure> {
    let file = match (&args.file, &args.group) {
        (Some(path), _) => stdin_or_file(Path::new(path))?,
        (None, group) => {
            let group = group.as_deref().unwrap_or_default();
            PolicyFile {
                name: "command line".to_owned(),
                text: rules::document(group, &args.ingress, &args.egress),
            }
        }
    };
    let request = Request::PolicyApply {
        files: vec![file],
        must,
        dry_run: false,
    };
    change(&args.reach, &request, format)
}

fn remove(groups: &[String]) -> Request {
    let object = |group: &String| ObjectName {
        kind: "SecurityGroup".to_owned(),
        namespace: None,
        name: group.clone(),
    };
    Request::PolicyDelete {
        objects: groups.iter().map(object).collect(),
        files: Vec::new(),
    }
}

fn change(reach: &Reach, request: &Request, format: Format) -> Result<String, Failure> {
    let changes = changes(&reach.daemon()?, request)?;
    Ok(format.render(&changes, |_| text(&changes)))
}

fn groups(reach: &Reach, group: Option<&String>) -> Result<Vec<ListedGroup>, Failure> {
    let request = Request::Groups {
        group: group.cloned(),
    };
    reach.daemon()?.all(&request, |reply| match reply {
        Reply::Groups { rows } => Some(rows),
        _ => None,
    })
}

fn ls(args: &LsArgs, format: Format) -> Result<String, Failure> {
    let rows = groups(&args.reach, None)?;
    Ok(format.render(&rows, |_| {
        let row = |group: &ListedGroup| {
            vec![
                group.group.clone(),
                group.revision.to_string(),
                lines(group.members.iter().map(|member| &member.endpoint)),
                lines(group.used_by.iter().map(spoken)),
            ]
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        table(&["GROUP", "REVISION", "MEMBERS", "USED BY"], &rows)
    }))
}

fn inspect(args: &NamedArgs, format: Format) -> Result<String, Failure> {
    let group = groups(&args.reach, Some(&args.group))?.into_iter().next();
    Ok(format.render(&group, |_| group.as_ref().map(shown).unwrap_or_default()))
}

fn shown(group: &ListedGroup) -> String {
    let row = |member: &GroupMember| {
        vec![
            member.endpoint.to_string(),
            lines(&member.addresses),
            or_dash(member.node.clone()),
        ]
    };
    let members: Vec<_> = group.members.iter().map(row).collect();
    let document = group.document.as_deref().unwrap_or_default().trim_end();
    let users = group.used_by.iter();
    let users = users.map(|user| {
        format!(
            "# used by {}
",
            spoken(user)
        )
    });
    let used = users.collect::<Vec<_>>().concat();
    let rules = visible(&format!(
        "# revision {}\n{used}{document}\n\n",
        group.revision
    ));
    rules + &table(&["MEMBER", "ADDRESSES", "NODE"], &members)
}

fn spoken(name: &ObjectName) -> String {
    match &name.namespace {
        Some(namespace) => format!("{} {namespace}/{}", name.kind, name.name),
        None => format!("{} {}", name.kind, name.name),
    }
}

/// `NAMESPACE/NAME` or `NETWORK/CONTAINER`, with or without `@NETWORK`.
fn endpoint(text: &str) -> Result<EndpointName, String> {
    let (endpoint, network) = match text.split_once('@') {
        Some((endpoint, network)) => (endpoint, Some(network.to_owned())),
        None => (text, None),
    };
    match endpoint.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(EndpointName {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                network,
            })
        }
        _ => Err("not an endpoint: write NAMESPACE/NAME, or NETWORK/CONTAINER".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_named_by_its_pod_or_its_container() {
        assert_eq!(endpoint("shop/cart-0").unwrap().to_string(), "shop/cart-0");
        let there = endpoint("shop/cart-0@blue").unwrap();
        assert_eq!(there.network.as_deref(), Some("blue"));
        for bad in ["cart-0", "/a", "a/", "a/b/c"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_group_is_shown_with_its_rules_and_members() {
        let group = ListedGroup {
            group: "db".to_owned(),
            revision: 6,
            members: vec![GroupMember {
                endpoint: endpoint("shop/db-0").unwrap(),
                addresses: Vec::new(),
                node: None,
            }],
            used_by: vec![ObjectName {
                kind: "SecurityGroup".to_owned(),
                namespace: None,
                name: "web".to_owned(),
            }],
            document: Some("kind: SecurityGroup\n".to_owned()),
        };
        assert_eq!(
            shown(&group),
            "\
# revision 6
# used by SecurityGroup web
kind: SecurityGroup

MEMBER     ADDRESSES  NODE
shop/db-0  -          -
"
        );
    }
}
