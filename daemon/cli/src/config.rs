//! `bulkhead config`: the node daemon's configuration.

use bulkhead_ipam::wire::admin::{ReloadReport, Request, SettingChange};
use clap::Subcommand;

use crate::daemon::Reach;
use crate::failure::{Failure, Outcome};
use crate::output::{Format, visible};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Have the node daemon read its configuration file again.
    ///
    /// A file with an error changes nothing. What takes effect only when the daemon starts is named.
    Reload(Reach),
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    let Command::Reload(reach) = command;
    reload(reach, format).into()
}

fn reload(reach: &Reach, format: Format) -> Result<String, Failure> {
    let report = reach.daemon()?.reloaded(&Request::ConfigReload)?;
    Ok(format.render(&report, |_| text(&report)))
}

fn text(report: &ReloadReport) -> String {
    if report.applied.is_empty() && report.at_restart.is_empty() {
        return "nothing has changed\n".to_owned();
    }
    let lines = |changes: &[SettingChange], what: &str| -> String {
        let lines = changes.iter().map(|change| {
            let SettingChange { key, before, after } = change;
            let values = if before == after {
                // Of a secret neither is told.
                "changed".to_owned()
            } else {
                format!("{before} -> {after}")
            };
            visible(&format!("{what}  {key}: {values}")) + "\n"
        });
        lines.collect()
    };
    let mut text = lines(&report.applied, "applied   ");
    text += &lines(&report.at_restart, "at restart");
    if !report.at_restart.is_empty() {
        text += "systemctl restart bulkheadd applies the rest; no connection of a container is interrupted\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_and_what_will_is_told() {
        let change = |key: &str, before: &str, after: &str| SettingChange {
            key: key.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        let report = ReloadReport {
            applied: vec![
                change("log.level", "info", "debug"),
                change("etcd.password", "", ""),
            ],
            at_restart: vec![change("socket", "/a", "/b")],
        };
        assert_eq!(
            text(&report),
            "\
applied     log.level: info -> debug
applied     etcd.password: changed
at restart  socket: /a -> /b
systemctl restart bulkheadd applies the rest; no connection of a container is interrupted
"
        );
        assert_eq!(text(&ReloadReport::default()), "nothing has changed\n");
    }
}
