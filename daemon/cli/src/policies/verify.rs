//! `bulkhead policy verify`.

use std::fmt::Write;

use bulkhead_ipam::wire::admin::{PolicyVerified, Reply, Request};
use clap::Args;

use crate::daemon::Reach;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Format, visible};

#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    reach: Reach,
}

pub(super) fn verify(args: &VerifyArgs, format: Format) -> Outcome {
    let verified = match asked(args) {
        Ok(verified) => verified,
        Err(failure) => return Err(failure).into(),
    };
    let text = format.render(&verified, |_| text(&verified));
    let mut outcome = Outcome::from(Ok(text));
    if !verified.differences.is_empty() {
        outcome.exit = Exit::Drift;
    }
    outcome
}

fn asked(args: &VerifyArgs) -> Result<PolicyVerified, Failure> {
    let daemon = args.reach.daemon()?;
    daemon.one(&Request::PolicyVerify, |reply| match reply {
        Reply::PolicyVerified(verified) => Some(verified),
        _ => None,
    })
}

fn text(verified: &PolicyVerified) -> String {
    let Some(revision) = verified.revision else {
        return "no endpoint of this node has policies enforced\n".to_owned();
    };
    let PolicyVerified {
        endpoints,
        differences,
        healed,
        cut,
        ..
    } = verified;
    let mut text = if differences.is_empty() {
        format!("the kernel enforces exactly revision {revision} for {endpoints} endpoints\n")
    } else {
        format!("the kernel does not enforce revision {revision} for {endpoints} endpoints:\n")
    };
    // Writing to a string does not fail.
    for difference in differences {
        let _ = writeln!(text, "  {}", visible(difference));
    }
    let _ = writeln!(
        text,
        "since bulkheadd started: put right {healed} times, {cut} connections cut"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_otherwise_is_told_line_by_line() {
        let mut verified = PolicyVerified {
            revision: Some(7),
            endpoints: 2,
            cut: 3,
            ..PolicyVerified::default()
        };
        assert_eq!(
            text(&verified),
            "the kernel enforces exactly revision 7 for 2 endpoints\n\
             since bulkheadd started: put right 0 times, 3 connections cut\n"
        );
        verified.differences = vec!["chain forward: has 2 rules, not 4".to_owned()];
        assert_eq!(
            text(&verified),
            "the kernel does not enforce revision 7 for 2 endpoints:\n  \
             chain forward: has 2 rules, not 4\n\
             since bulkheadd started: put right 0 times, 3 connections cut\n"
        );
    }
}
