//! `bulkhead policy explain`: what becomes of one packet, who says so and where it is written, and the
//! smallest change that would turn it around.

use std::fmt::Write;
use std::net::IpAddr;

use bulkhead_model::Family;
use bulkhead_policy::edit::{Edit, flips};
use bulkhead_policy::matrix::End;
use bulkhead_policy::{
    Considered, Decision, Direction, Endpoint, Matcher, Outcome as Came, Packet, Policy, PolicyId,
    Question, Reason, Rule, Side, Verdict, World,
};
use clap::Args;
use serde::Serialize;

use super::PolicyError;
use super::objects::{Objects, outcome};
use crate::failure::{Failure, Outcome};
use crate::output::Format;

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// What is asked: `web/a to db/b:5432/tcp`, or `'web/a -> db/b:5432/tcp'` in quotes, since `>` is the
    /// shell's. An end is a pod or an address, `[ADDRESS]` where a port follows an IPv6 address.
    #[arg(required = true, value_name = "QUESTION")]
    question: Vec<String>,

    #[command(flatten)]
    objects: Objects,
}

pub(crate) fn run(args: &ExplainArgs, format: Format) -> Outcome {
    let reading = match args.objects.read() {
        Ok(reading) => reading,
        Err(failure) => return Outcome::partial(String::new(), &[failure]),
    };
    match told(args, &reading.world, format) {
        Ok(stdout) => outcome(stdout, &reading),
        Err(failure) => Outcome::partial(String::new(), &[failure]),
    }
}

fn told(args: &ExplainArgs, world: &World, format: Format) -> Result<String, Failure> {
    let text = args.question.join(" ");
    let question = Question::parse(&text, world).map_err(PolicyError::from)?;
    let answers: Vec<Answer> = [Family::V4, Family::V6]
        .into_iter()
        .filter_map(|family| Answer::of(world, &question, family))
        .collect();
    if answers.is_empty() {
        return Err(PolicyError::NoWay(question.to_string()).into());
    }
    let told = Told {
        question: question.to_string(),
        families: answers,
    };
    Ok(format.render(&told, |_| told.text()))
}

/// For programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    question: String,
    families: Vec<Answer>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    family: &'static str,
    source_address: IpAddr,
    destination_address: IpAddr,
    traffic: String,
    allowed: bool,
    path: Vec<Step>,
    /// Ways to have it otherwise, each a list of changes that do it together.
    flips: Vec<Vec<Change>>,
}

/// A place that the packet comes by.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    at: &'static str,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<bool>,
    considered: Vec<Asked>,
    would_deny: Vec<String>,
}

/// A policy or a rule that was asked.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    policy: String,
    tier: String,
    /// From 1, as people count.
    rule: Option<usize>,
    name: Option<String>,
    place: Option<String>,
    outcome: &'static str,
    /// What the rule is about.
    about: Option<String>,
    /// What of it was not understood.
    unread: Vec<String>,
}

#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    change: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<String>,
}

impl Answer {
    fn of(world: &World, question: &Question, family: Family) -> Option<Self> {
        let source = question.source.address(world, family)?;
        let destination = question.destination.address(world, family)?;
        let space = match &question.source {
            End::Endpoint(_) => question.source.space(world),
            End::Address(_) => question.destination.space(world),
        };
        let traffic = question
            .probe
            .traffic(world, &question.destination, family)?;
        let packet = Packet {
            space,
            source,
            destination,
            traffic,
        };
        let verdict = Matcher::new(world).evaluate(&packet);
        Some(Self {
            family: match family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            },
            source_address: source,
            destination_address: destination,
            traffic: traffic.to_string(),
            allowed: verdict.decision == Decision::Allow,
            path: path(world, question, &packet, &verdict),
            flips: flips(world, &packet, &verdict)
                .iter()
                .map(|edits| edits.iter().map(Change::of).collect())
                .collect(),
        })
    }
}

impl Change {
    fn of(edit: &Edit) -> Self {
        Self {
            change: edit.to_string(),
            write: edit.snippet(),
        }
    }
}

/// Where the packet comes by, in order.
fn path(world: &World, question: &Question, packet: &Packet, verdict: &Verdict) -> Vec<Step> {
    let is_self = question.source == question.destination;
    let step = |at, says: String| Step {
        at,
        says,
        allowed: None,
        considered: Vec::new(),
        would_deny: Vec::new(),
    };
    let mut path = Vec::new();
    path.push(step(
        "source",
        whose(world, &question.source, packet.source),
    ));
    if is_self {
        let says = "what a pod sends to itself never leaves it; the rest is about what comes back to it by way of a service";
        path.push(step("way", says.to_owned()));
    }
    for (direction, at) in [
        (Direction::Egress, "egress"),
        (Direction::Ingress, "ingress"),
    ] {
        if direction == Direction::Ingress && !is_self {
            path.push(step("way", way(world, question)));
        }
        let sides: Vec<&Side> = verdict
            .because
            .iter()
            .filter(|side| side.direction == direction)
            .collect();
        if sides.is_empty() {
            let says = "no endpoint is there, so no policy has a say";
            path.push(step(at, says.to_owned()));
        }
        for side in sides {
            path.push(Step {
                at,
                says: because(world, side),
                allowed: Some(side.decision == Decision::Allow),
                considered: side
                    .considered
                    .iter()
                    .filter_map(|seen| Asked::of(world, side, seen))
                    .collect(),
                would_deny: side.would_deny.iter().map(ToString::to_string).collect(),
            });
        }
    }
    path.push(step(
        "destination",
        whose(world, &question.destination, packet.destination),
    ));
    path
}

/// Whose an address is.
fn whose(world: &World, end: &End, address: IpAddr) -> String {
    let endpoint = match end {
        End::Endpoint(id) => world.endpoints.get(id),
        End::Address(_) => None,
    };
    let Some(endpoint) = endpoint else {
        let mut nodes = world.nodes.iter();
        let node = nodes.find(|(_, node)| node.addresses.contains(&address));
        let whose = node.map_or_else(
            || "no endpoint's".to_owned(),
            |(name, _)| format!("node {name}'s"),
        );
        return format!("{address} is {whose}");
    };
    let mut said = format!("{address} is {end}'s{}", on(endpoint));
    // Writing to a string does not fail.
    if !endpoint.labels.is_empty() {
        let _ = write!(said, ", labels {}", endpoint.labels);
    }
    for (nth, group) in endpoint.groups.iter().enumerate() {
        let _ = write!(said, "{}{group}", if nth == 0 { ", groups " } else { "," });
    }
    said
}

fn on(endpoint: &Endpoint) -> String {
    let is_host = endpoint.place == bulkhead_policy::Place::Host;
    match (&endpoint.node, is_host) {
        (Some(node), false) => format!(", on node {node}"),
        (Some(node), true) => format!(", on the network of node {node}"),
        (None, true) => ", on its node's network".to_owned(),
        (None, false) => String::new(),
    }
}

/// How it gets from one end to the other.
fn way(world: &World, question: &Question) -> String {
    let node = |end: &End| match end {
        End::Endpoint(id) => world.endpoints.get(id)?.node.clone(),
        End::Address(_) => None,
    };
    match (node(&question.source), node(&question.destination)) {
        (Some(from), Some(to)) if from == to => format!("within node {from}"),
        (Some(from), Some(to)) => format!("from node {from} to node {to}"),
        (Some(from), None) => format!("from node {from}"),
        (None, Some(to)) => format!("to node {to}"),
        (None, None) => "the objects name no nodes".to_owned(),
    }
}

/// What one end says, in a sentence.
fn because(world: &World, side: &Side) -> String {
    let Side {
        endpoint, decision, ..
    } = side;
    let verb = match decision {
        Decision::Allow => "allowed",
        Decision::Deny => "denied",
    };
    match &side.reason {
        Reason::Rule { policy, rule } => {
            let written = rule_of(world, policy, side.direction, *rule);
            let name = written.and_then(|rule| rule.name.as_ref());
            let name = name.map_or_else(String::new, |name| format!(" ({name})"));
            let place = place(world, policy, written.and_then(|rule| rule.line));
            let closed = if written.is_some_and(|rule| !rule.unread.is_empty()) {
                ", which was not understood"
            } else {
                ""
            };
            format!(
                "{verb} at {endpoint} by rule {}{name} of {policy}{place}{closed}",
                rule + 1
            )
        }
        Reason::Isolated(policies) => {
            let policies: Vec<String> = policies
                .iter()
                .map(|policy| format!("{policy}{}", place(world, policy, None)))
                .collect();
            format!(
                "{verb} at {endpoint}: isolated by {}, and none of their rules allows this",
                policies.join(", ")
            )
        }
        Reason::OwnNode => format!("{verb} at {endpoint} by own-node: its node always reaches it"),
        Reason::Discovery => {
            format!("{verb} at {endpoint} by discovery: neighbours always find each other")
        }
        Reason::Network(network) => {
            format!(
                "{verb} at {endpoint}: no policy decides, and network {network} is closed for those without labels"
            )
        }
        Reason::Nobody if side.considered.is_empty() => {
            format!("{verb} at {endpoint}: no policy is about it")
        }
        Reason::Nobody => format!("{verb} at {endpoint}: no policy decides"),
    }
}

fn rule_of<'w>(
    world: &'w World,
    policy: &PolicyId,
    direction: Direction,
    rule: usize,
) -> Option<&'w Rule> {
    world.policies.get(policy)?.rules(direction)?.get(rule)
}

fn place(world: &World, policy: &PolicyId, line: Option<u32>) -> String {
    let written = world.policies.get(policy);
    let at = written.and_then(|policy| policy.origin.at(line));
    at.map_or_else(String::new, |at| format!(" ({at})"))
}

impl Asked {
    fn of(world: &World, side: &Side, seen: &Considered) -> Option<Self> {
        let policy: &Policy = world.policies.get(&seen.policy)?;
        let rule = seen
            .rule
            .and_then(|rule| rule_of(world, &seen.policy, side.direction, rule));
        Some(Self {
            policy: seen.policy.to_string(),
            tier: policy.tier.to_string(),
            rule: seen.rule.map(|rule| rule + 1),
            name: rule.and_then(|rule| rule.name.clone()),
            place: policy.origin.at(rule.and_then(|rule| rule.line)),
            outcome: match seen.outcome {
                Came::Matched(bulkhead_policy::Action::Allow) => "matches, allow",
                Came::Matched(bulkhead_policy::Action::Deny) => "matches, deny",
                Came::Matched(bulkhead_policy::Action::Pass) => "matches, pass",
                Came::OtherPeer => "about another peer",
                Came::OtherPort => "about other traffic",
                Came::Isolates => "isolates",
                Came::Silent => "silent about this direction",
                Came::Audited => "in audit, decides nothing",
            },
            about: rule.map(|rule| about(side.direction, rule)),
            unread: rule.map_or_else(|| policy.unread.clone(), |rule| rule.unread.clone()),
        })
    }
}

/// Whom and what a rule is about.
fn about(direction: Direction, rule: &Rule) -> String {
    let listed = |items: Vec<String>| {
        if items.is_empty() {
            "nobody".to_owned()
        } else {
            items.join(" or ")
        }
    };
    let way = match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let peers = listed(rule.peers.iter().map(ToString::to_string).collect());
    if rule.ports.is_empty() {
        return format!("{way} {peers}");
    }
    let ports = listed(rule.ports.iter().map(ToString::to_string).collect());
    format!("{way} {peers}, {ports}")
}

impl Told {
    /// As a person reads it; once, if both families have the same answer.
    fn text(&self) -> String {
        let mut text = String::new();
        for (nth, answer) in self.families.iter().enumerate() {
            let verdict = if answer.allowed { "allowed" } else { "denied" };
            let family = match answer.family {
                "ipv4" => "IPv4",
                _ => "IPv6",
            };
            if nth == 1 && self.families[0].is_as(answer) {
                let _ = writeln!(
                    text,
                    "\nby IPv6 ({} -> {}) the same",
                    answer.source_address, answer.destination_address
                );
                continue;
            }
            if nth > 0 {
                text.push('\n');
            }
            let _ = writeln!(text, "{} by {family}: {verdict}", self.question);
            answer.body(&mut text);
        }
        text
    }
}

impl Answer {
    /// Whether it says what `other` says.
    fn is_as(&self, other: &Self) -> bool {
        let steps = || self.path.iter().zip(&other.path);
        self.allowed == other.allowed
            && self.path.len() == other.path.len()
            && steps().all(|(one, other)| {
                one.allowed == other.allowed && one.considered == other.considered
            })
    }

    fn body(&self, text: &mut String) {
        for step in &self.path {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {:<12} {}", step.at, step.says);
            for asked in &step.considered {
                let rule = asked
                    .rule
                    .map_or_else(String::new, |rule| format!(" rule {rule}"));
                let name = asked
                    .name
                    .as_ref()
                    .map_or_else(String::new, |name| format!(" ({name})"));
                let place = asked
                    .place
                    .as_ref()
                    .map_or_else(String::new, |place| format!("  {place}"));
                let about = asked
                    .about
                    .as_ref()
                    .map_or_else(String::new, |about| format!(": {about}"));
                let _ = writeln!(
                    text,
                    "               {}{rule}{name}{place}  {}{about}",
                    asked.policy, asked.outcome
                );
                for unread in &asked.unread {
                    let _ = writeln!(text, "                 not understood: {unread}");
                }
            }
            for policy in &step.would_deny {
                let _ = writeln!(
                    text,
                    "               {policy} would deny it, were it in force"
                );
            }
        }
        let wanted = if self.allowed {
            "to deny it"
        } else {
            "to allow it"
        };
        if self.flips.is_empty() {
            let _ = writeln!(text, "{wanted}: no single change does");
        }
        for (nth, changes) in self.flips.iter().enumerate() {
            let _ = writeln!(
                text,
                "{}",
                if nth == 0 {
                    format!("{wanted}:")
                } else {
                    "or:".to_owned()
                }
            );
            for change in changes {
                let _ = writeln!(text, "  {}", change.change);
                for line in change.write.iter().flat_map(|write| write.lines()) {
                    let _ = writeln!(text, "      {line}");
                }
            }
        }
    }
}
