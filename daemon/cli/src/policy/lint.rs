//! `bulkhead policy lint`: what policies say in vain, against each other, or otherwise than they look.

use bulkhead_policy::lint::{Finding, lint};
use clap::Args;
use serde::Serialize;

use super::objects::{Objects, outcome};
use crate::failure::{Exit, Outcome};
use crate::output::Format;

#[derive(Args, Debug)]
pub(crate) struct LintArgs {
    #[command(flatten)]
    objects: Objects,
}

pub(crate) fn run(args: &LintArgs, format: Format) -> Outcome {
    let reading = match args.objects.read() {
        Ok(reading) => reading,
        Err(failure) => return Outcome::partial(String::new(), &[failure]),
    };
    let told: Vec<Told> = lint(&reading.world).iter().map(Told::of).collect();
    let text = || told.iter().map(Told::text).collect::<String>();
    let mut outcome = outcome(format.render(&told, |_| text()), &reading);
    if outcome.exit == Exit::Done && !told.is_empty() {
        outcome.exit = Exit::Drift;
    }
    outcome
}

/// For programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    place: Option<String>,
    policy: String,
    direction: Option<String>,
    /// From 1, as people count.
    rule: Option<usize>,
    matter: &'static str,
    says: String,
}

impl Told {
    fn of(finding: &Finding) -> Self {
        Self {
            place: finding.place.clone(),
            policy: finding.policy.to_string(),
            direction: finding.rule.map(|(direction, _)| direction.to_string()),
            rule: finding.rule.map(|(_, nth)| nth + 1),
            matter: finding.matter.name(),
            says: finding.matter.to_string(),
        }
    }

    fn text(&self) -> String {
        let place = self
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!("{place}: "));
        let rule = match (&self.direction, self.rule) {
            (Some(direction), Some(rule)) => format!(" {direction} rule {rule}"),
            _ => String::new(),
        };
        format!(
            "{place}{}{rule}: {} [{}]\n",
            self.policy, self.says, self.matter
        )
    }
}
