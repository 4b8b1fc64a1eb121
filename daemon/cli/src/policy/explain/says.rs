//! What policies say at one end, in words.

use bulkhead_policy::{
    Action, Considered, Decision, Direction, Outcome, Policy, PolicyId, Reason, Rule, Side, World,
};
use serde::Serialize;

/// A policy or a rule that was asked.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    pub(super) policy: String,
    tier: String,
    /// From 1, as people count.
    pub(super) rule: Option<usize>,
    pub(super) name: Option<String>,
    pub(super) place: Option<String>,
    pub(super) outcome: &'static str,
    /// What the rule is about.
    pub(super) about: Option<String>,
    /// What of it was not understood.
    pub(super) unread: Vec<String>,
}

/// What one end says, in a sentence.
pub(super) fn because(world: &World, side: &Side) -> String {
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
    pub(super) fn of(world: &World, side: &Side, seen: &Considered) -> Option<Self> {
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
                Outcome::Matched(Action::Allow) => "matches, allow",
                Outcome::Matched(Action::Deny) => "matches, deny",
                Outcome::Matched(Action::Pass) => "matches, pass",
                Outcome::OtherPeer => "about another peer",
                Outcome::OtherPort => "about other traffic",
                Outcome::Isolates => "isolates",
                Outcome::Silent => "silent about this direction",
                Outcome::Audited => "in audit, decides nothing",
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
