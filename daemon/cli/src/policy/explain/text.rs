//! The answer as a person reads it.

use std::fmt::Write;

use super::Told;
use super::answer::{Answer, Step};
use super::enforced::Enforced;
use super::says::Asked;
use crate::time::seconds;

/// Where what is said of a place begins.
const AT: usize = 12;
/// Where what belongs to it does.
const BELOW: &str = "               ";

impl Told {
    /// As a person reads it; once, if both families have the same answer.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (nth, answer) in self.families.iter().enumerate() {
            let family = match answer.family {
                "ipv4" => "IPv4",
                _ => "IPv6",
            };
            // Writing to a string does not fail.
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
            let verdict = answer.verdict();
            let _ = writeln!(text, "{} by {family}: {verdict}", self.question);
            answer.body(&mut text);
        }
        match &self.node {
            Some(node) => {
                let at = self.at_unix_ms.map(seconds).unwrap_or_default();
                let _ = writeln!(text, "\nas node {node} saw it at {at}");
            }
            None => {
                let _ = writeln!(
                    text,
                    "\nby the objects alone: ports, guards, routes and kernels are known to daemons and their snapshots"
                );
            }
        }
        for gap in &self.gaps {
            let _ = writeln!(text, "not read: {gap}");
        }
        text
    }
}

impl Answer {
    /// In a few words.
    fn verdict(&self) -> String {
        let written = if self.allowed { "allowed" } else { "denied" };
        let ends = self.path.iter().filter(|step| step.ends_it());
        let ends: Vec<&str> = ends.map(|step| step.at).collect();
        if ends.is_empty() {
            return if !self.allowed {
                "denied by what is written, and not enforced".to_owned()
            } else if self.path.iter().any(Step::is_in_doubt) {
                "allowed by what is written; see what is not known".to_owned()
            } else {
                written.to_owned()
            };
        }
        let is_policies = |at: &&str| matches!(*at, "egress" | "ingress");
        let (policies, others): (Vec<&str>, Vec<&str>) =
            ends.iter().partition(|at| is_policies(at));
        let mut said = Vec::new();
        if !policies.is_empty() {
            said.push(format!("denied at {}", policies.join(" and ")));
        }
        for at in others {
            said.push(match at {
                "guard" => "dropped by the guard".to_owned(),
                "way" => "no way leads there".to_owned(),
                at => format!("ends at {at}"),
            });
        }
        if policies.is_empty() {
            said.push(format!("{written} by policies"));
        }
        let enforced = self.path.iter().filter_map(|step| step.enforced.as_ref());
        let go_on: u64 = enforced.map(Enforced::go_on).sum();
        if go_on > 0 {
            said.push(format!("while {go_on} that stood before go on"));
        }
        said.join(", ")
    }

    /// Whether it says what `other` says, but for the addresses.
    fn is_as(&self, other: &Self) -> bool {
        let mut steps = self.path.iter().zip(&other.path);
        self.verdict() == other.verdict()
            && self.path.len() == other.path.len()
            && steps.all(|(one, the_other)| {
                let is_way = matches!(one.at, "way" | "masquerade");
                one.is_as(the_other)
                    && (!is_way || self.without_ends(one) == other.without_ends(the_other))
            })
    }

    fn without_ends(&self, step: &Step) -> String {
        let ends = [self.source_address, self.destination_address];
        let mut says = step.says.clone();
        for end in ends {
            says = says.replace(&end.to_string(), "it");
        }
        says
    }

    fn body(&self, text: &mut String) {
        for step in &self.path {
            step.text(text);
        }
        // What policies could say otherwise does not help who is stopped elsewhere.
        if self.delivered == Some(false) && self.allowed {
            return;
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
            let heading = if nth == 0 {
                format!("{wanted}:")
            } else {
                "or:".to_owned()
            };
            let _ = writeln!(text, "{heading}");
            for change in changes {
                let _ = writeln!(text, "  {}", change.change);
                for line in change.write.iter().flat_map(|write| write.lines()) {
                    let _ = writeln!(text, "      {line}");
                }
            }
        }
    }
}

impl Step {
    /// Whether what is written may not be what is done.
    fn is_in_doubt(&self) -> bool {
        let is_policies = matches!(self.at, "egress" | "ingress");
        is_policies && !self.unknown.is_empty()
    }

    /// Whether it says the same of the other family: addresses are others', and what is decided is not.
    fn is_as(&self, other: &Self) -> bool {
        self.at == other.at
            && self.allowed == other.allowed
            && self.considered == other.considered
            && self.enforced == other.enforced
            && self.unknown.len() == other.unknown.len()
    }

    fn text(&self, text: &mut String) {
        let _ = writeln!(text, "  {:<AT$} {}", self.at, self.says);
        for asked in &self.considered {
            asked.text(text);
        }
        for policy in &self.would_deny {
            let _ = writeln!(text, "{BELOW}{policy} would deny it, were it in force");
        }
        for note in &self.notes {
            let _ = writeln!(text, "{BELOW}{note}");
        }
        for unknown in &self.unknown {
            let _ = writeln!(text, "{BELOW}not known: {unknown}");
        }
    }
}

impl Asked {
    fn text(&self, text: &mut String) {
        let rule = self
            .rule
            .map_or_else(String::new, |rule| format!(" rule {rule}"));
        let of = |value: &Option<String>, before: &str, after: &str| {
            value
                .as_ref()
                .map_or_else(String::new, |value| format!("{before}{value}{after}"))
        };
        let (name, place) = (of(&self.name, " (", ")"), of(&self.place, "  ", ""));
        let about = of(&self.about, ": ", "");
        let _ = writeln!(
            text,
            "{BELOW}{}{rule}{name}{place}  {}{about}",
            self.policy, self.outcome
        );
        for unread in &self.unread {
            let _ = writeln!(text, "{BELOW}  not understood: {unread}");
        }
    }
}
