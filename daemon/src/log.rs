//! The log: one line for each event, with fields.

use std::io;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

use crate::config::{Log, LogFormat};

/// The name that journald files our lines under.
const IDENTIFIER: &str = "bulkheadd";

/// What is told, to be changed while the daemon runs.
#[derive(Debug)]
pub(crate) struct Threshold(reload::Handle<Targets, Registry>);

impl Threshold {
    /// Tells events of `level` and worse from now on.
    pub(crate) fn set(&self, level: Level) {
        // It fails only once the log is gone.
        let _ = self.0.reload(threshold(level));
    }
}

/// Begins the log of this process.
///
/// # Errors
/// If journald is asked for and is not there.
pub(crate) fn start(log: Log) -> io::Result<Threshold> {
    let (threshold, handle) = reload::Layer::new(threshold(log.level));
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(false)
        .with_writer(io::stderr);
    let layer: Box<dyn Layer<_> + Send + Sync> = match log.format {
        LogFormat::Text => Box::new(lines),
        LogFormat::Json => Box::new(lines.json().flatten_event(true)),
        LogFormat::Journald => {
            let journald = tracing_journald::layer()?;
            let journald = journald.with_field_prefix(Some("BULKHEAD".to_owned()));
            Box::new(journald.with_syslog_identifier(IDENTIFIER.to_owned()))
        }
    };
    let subscriber = Registry::default().with(threshold).with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("the log is begun once");
    Ok(Threshold(handle))
}

/// Of ours what is asked for; of others what an operator has to know in any case.
fn threshold(level: Level) -> Targets {
    let others = level.min(Level::WARN);
    Targets::new()
        .with_target("bulkhead", level)
        .with_default(others)
}
