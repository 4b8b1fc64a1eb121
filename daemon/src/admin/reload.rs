//! Reading the configuration anew while the daemon runs.

use bulkhead_ipam::wire::admin::{EventKind, Reason, ReloadReport, RequestError, SettingChange};

use crate::config::{Change, Config, Effect};
use crate::events::event;
use crate::node::Node;

/// Reads the file again. What takes effect at once does; what does not is named, and stays as it was.
///
/// # Errors
/// `Invalid` with every mistake; nothing has changed then.
pub(crate) fn reload(node: &Node) -> Result<ReloadReport, RequestError> {
    let new = Config::load(&node.config_path).map_err(|error| {
        let text = crate::told::chain(&error);
        node.failed("the configuration stays as it was", &text);
        RequestError {
            code: Reason::Invalid,
            text,
        }
    })?;
    let old = node.config();
    let (now, later): (Vec<Change>, Vec<Change>) = old
        .changes(&new)
        .into_iter()
        .partition(|change| change.effect == Effect::Now);
    node.configure(old.with_what_takes_effect_now(&new));
    let report = ReloadReport {
        applied: now.into_iter().map(setting).collect(),
        at_restart: later.into_iter().map(setting).collect(),
    };
    for change in &report.applied {
        tracing::info!(
            key = change.key,
            from = change.before,
            to = change.after,
            "configured anew"
        );
    }
    for change in &report.at_restart {
        let (from, to) = (&change.before, &change.after);
        tracing::warn!(
            key = change.key,
            from,
            to,
            "takes effect when bulkheadd starts again"
        );
    }
    let text = format!("{} keys", report.applied.len() + report.at_restart.len());
    node.events.tell(|| event(EventKind::Reloaded, text));
    Ok(report)
}

fn setting(change: Change) -> SettingChange {
    SettingChange {
        key: change.key.to_owned(),
        before: change.from,
        after: change.to,
    }
}
