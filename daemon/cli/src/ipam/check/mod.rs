//! `bulkhead ipam check`: whether every address is given once, and to whom everybody says.

mod local;

use std::fmt::Write;

use bulkhead_ipam::wire::admin::{CheckReport, Evidence, Violation, Witness};
use clap::Args;

use crate::daemon::Socket;
use crate::failure::{Exit, Failure, Outcome};
use crate::filter::PlaceArgs;
use crate::output::{Format, visible};
use crate::sources::Sources;

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    filter: PlaceArgs,

    #[command(flatten)]
    socket: Socket,

    #[command(flatten)]
    sources: Sources,
}

pub(super) fn run(args: &CheckArgs, format: Format) -> Outcome {
    match report(args) {
        Ok(report) => outcome(&report, format),
        Err(failure) => Err(failure).into(),
    }
}

fn report(args: &CheckArgs) -> Result<CheckReport, Failure> {
    match args.socket.named(&args.sources.state_dir)? {
        Some(daemon) => daemon.check(&args.filter.filter()),
        None => local::report(&args.sources),
    }
}

fn outcome(report: &CheckReport, format: Format) -> Outcome {
    let exit = match (report.violations.is_empty(), report.unread.is_empty()) {
        (false, _) => Exit::Drift,
        (true, false) => Exit::Unreadable,
        (true, true) => Exit::Done,
    };
    Outcome {
        stdout: format.render(report, |_| text(report)),
        stderr: report.unread.clone(),
        exit,
    }
}

fn text(report: &CheckReport) -> String {
    let mut text = String::new();
    for violation in &report.violations {
        text += &told(violation);
        text.push('\n');
    }
    let found = match report.violations.len() {
        0 => "every address is given once".to_owned(),
        1 => "1 violation".to_owned(),
        many => format!("{many} violations"),
    };
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{found}: {} pools, {} blocks and {} leases at revision {}, {} attachments of this node compared",
        report.pools, report.blocks, report.leases, report.revision, report.attachments,
    );
    text
}

fn told(violation: &Violation) -> String {
    let Violation {
        rule,
        subject,
        text,
        evidence,
    } = violation;
    let mut told = format!("{rule}  {}\n  {}\n", visible(subject), visible(text));
    for Evidence {
        source,
        place,
        says,
    } in evidence
    {
        let place = if place.is_empty() {
            ""
        } else {
            &format!(" {place}")
        };
        let line = format!("  {}{place}: {says}", witness(*source));
        told += &visible(&line.replace('\n', " "));
        told.push('\n');
    }
    told
}

const fn witness(source: Witness) -> &'static str {
    match source {
        Witness::Journal => "journal",
        Witness::Store => "store",
        Witness::Kernel => "kernel",
        Witness::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> CheckReport {
        CheckReport {
            violations: vec![Violation {
                rule: "address-twice".to_owned(),
                subject: "10.4.0.9 of pool default".to_owned(),
                text: "two attachments hold it; delete one of the containers".to_owned(),
                evidence: vec![
                    Evidence {
                        source: Witness::Store,
                        place: "/bulkhead/v1/leases/default/0000000000000009".to_owned(),
                        says: "blue c1 eth0 on node-1\u{1b}".to_owned(),
                    },
                    Evidence {
                        source: Witness::Kernel,
                        place: String::new(),
                        says: "bhpabc\nhas it".to_owned(),
                    },
                ],
            }],
            unread: Vec::new(),
            revision: 812,
            pools: 1,
            blocks: 4,
            leases: 93,
            attachments: 61,
        }
    }

    #[test]
    fn a_violation_is_told_with_its_evidence_and_fails() {
        let outcome = outcome(&report(), Format::Table);
        assert_eq!(outcome.exit, Exit::Drift);
        assert_eq!(
            outcome.stdout,
            "\
address-twice  10.4.0.9 of pool default
  two attachments hold it; delete one of the containers
  store /bulkhead/v1/leases/default/0000000000000009: blue c1 eth0 on node-1\u{fffd}
  kernel: bhpabc has it

1 violation: 1 pools, 4 blocks and 93 leases at revision 812, 61 attachments of this node compared
"
        );
    }

    #[test]
    fn what_could_not_be_compared_is_no_success() {
        let sound = CheckReport {
            violations: Vec::new(),
            ..report()
        };
        assert_eq!(outcome(&sound, Format::Table).exit, Exit::Done);
        assert!(text(&sound).starts_with("every address is given once: "));
        let partial = CheckReport {
            unread: vec!["the kernel cannot be read".to_owned()],
            ..sound
        };
        let outcome = outcome(&partial, Format::Table);
        assert_eq!((outcome.exit, outcome.stderr.len()), (Exit::Unreadable, 1));
    }

    #[test]
    fn the_form_for_programs_is_the_daemons() {
        let json = outcome(&report(), Format::Json).stdout;
        let read: CheckReport = serde_json::from_str(&json).unwrap();
        assert_eq!(read, report());
    }
}
