//! `bulkhead guard drops`: what is dropped, as it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use bulkhead_kernel::{LogListener, Logged, Netns, NetnsError, ObserveError};
use bulkhead_model::IfName;
use bulkhead_plan::{LOG_GROUP, Ns, Reason};
use clap::Args;
use serde::Serialize;

use super::counters::all_names;
use super::frame::summary;
use super::spaces;
use crate::attachments::ports;
use crate::failure::{Failure, Outcome};
use crate::output::{Format, visible};
use crate::sources::Sources;
use crate::time;

/// Bytes of each frame: as many as the rules log.
const SNAPLEN: u32 = 256;
/// How often it is looked whether there are networks in other namespaces than before.
const LOOK: Duration = Duration::from_secs(5);
/// What the rules' prefix begins with.
const PREFIX: &str = "bulkhead ";

#[derive(Args, Debug)]
pub(crate) struct DropsArgs {
    /// End after so many.
    #[arg(short, long, value_name = "DROPS")]
    count: Option<u64>,

    /// End after so long: 10s, 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    limit: Option<Duration>,

    #[command(flatten)]
    sources: Sources,
}

/// A dropped frame.
#[derive(Debug, Serialize)]
struct Row {
    at: String,
    port: Option<IfName>,
    attachment: Option<String>,
    reason: String,
    frame: String,
}

pub(super) fn run(args: &DropsArgs, format: Format) -> Outcome {
    match listen(args, format) {
        Err(Failure::Reader(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(String::new())
        }
        other => other.map(|()| String::new()),
    }
    .into()
}

fn listen(args: &DropsArgs, format: Format) -> Result<(), Failure> {
    let began = Instant::now();
    let heard = |source| Failure::Log {
        group: LOG_GROUP,
        source,
    };
    let mut listener = LogListener::open(LOG_GROUP, SNAPLEN).map_err(heard)?;
    let mut known = Known::new(&args.sources);
    listener.follow(&known.netns()?).map_err(heard)?;
    let mut left = args.count;
    while left != Some(0) {
        let patience = match args.limit {
            Some(limit) => limit.saturating_sub(began.elapsed()).min(LOOK),
            None => LOOK,
        };
        if patience.is_zero() {
            return Ok(());
        }
        if known.read_at.elapsed() >= LOOK {
            known.read();
            listener.follow(&known.netns()?).map_err(heard)?;
        }
        let Some(logged) = listener.next(patience).map_err(heard)? else {
            continue;
        };
        // Somebody else's rules may log to the group too.
        let Some(reason) = reason(&logged) else {
            continue;
        };
        let row = Row {
            at: time::millis(time::now_unix_ms()),
            port: logged.device,
            attachment: logged.device.and_then(|port| known.of(port)),
            reason,
            frame: summary(&logged),
        };
        print(&row, format)?;
        left = left.map(|left| left.saturating_sub(1));
    }
    Ok(())
}

/// A word of ours; one of another release is told as it is.
fn reason(logged: &Logged) -> Option<String> {
    let word = logged.prefix.strip_prefix(PREFIX)?.trim();
    let ours = Reason::of_word(word).map(Reason::word);
    Some(ours.unwrap_or(word).to_owned())
}

/// Which attachment has which port, and where ports are; read anew where a port is not among them.
struct Known<'a> {
    sources: &'a Sources,
    names: BTreeMap<IfName, String>,
    spaces: BTreeSet<Ns>,
    read_at: Instant,
}

impl<'a> Known<'a> {
    fn new(sources: &'a Sources) -> Self {
        let mut known = Self {
            sources,
            names: BTreeMap::new(),
            spaces: BTreeSet::new(),
            read_at: Instant::now(),
        };
        known.read();
        known
    }

    fn read(&mut self) {
        self.read_at = Instant::now();
        // What cannot be read is told by the port alone.
        if let Ok((found, _)) = ports(self.sources, None) {
            (self.names, self.spaces) = (all_names(&found), spaces(&found));
        }
    }

    fn of(&mut self, port: IfName) -> Option<String> {
        if !self.names.contains_key(&port) {
            self.read();
        }
        self.names.get(&port).cloned()
    }

    /// The namespaces that networks have for themselves; one that is gone is none.
    fn netns(&self) -> Result<Vec<Netns>, Failure> {
        let opened = self.spaces.iter().filter_map(|ns| match ns {
            Ns::Network(path) => Some(Netns::open(path)),
            Ns::Host | Ns::Container(_) => None,
        });
        let there = opened.filter_map(|opened| match opened {
            Err(NetnsError::Missing { .. } | NetnsError::NotANamespace { .. }) => None,
            opened => Some(opened.map_err(|error| Failure::Kernel(ObserveError::Named(error)))),
        });
        there.collect()
    }
}

fn print(row: &Row, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Table | Format::Wide | Format::Svg | Format::Html => line(row) + "\n",
        Format::Json => {
            let text = serde_json::to_string(row);
            text.expect("strings have a JSON form") + "\n"
        }
        // A stream of YAML is documents (YAML 1.2.2 §9.2).
        Format::Yaml => format!("---\n{}", format.render(row, |_| String::new())),
    };
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written
        .and_then(|()| stdout.flush())
        .map_err(Failure::Reader)
}

fn line(row: &Row) -> String {
    let port = row
        .port
        .map_or_else(|| "-".to_owned(), |port| port.to_string());
    let attachment = row.attachment.as_deref().unwrap_or("-");
    visible(&format!(
        "{}  {port}  {attachment}  {:<9}  {}",
        row.at, row.reason, row.frame
    ))
}

/// A number and `ms`, `s`, `m` or `h`; seconds without a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = digits.parse::<u64>().ok().zip(unit);
    let millis = millis.and_then(|(number, unit)| number.checked_mul(unit));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "a time is a number and ms, s, m or h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_of_seconds() {
        for (text, millis) in [("10s", 10_000), ("10", 10_000), ("5m", 300_000), ("7ms", 7)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["", "s", "1d", "-1s", "99999999999999999999h", "1.5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_drop_is_a_line() {
        let row = Row {
            at: "2030-01-01T00:00:00.000Z".to_owned(),
            port: "bhpn7nyh4lwdprh".parse().ok(),
            attachment: Some("blue/c1/eth0".to_owned()),
            reason: "arp".to_owned(),
            frame: "ARP".to_owned(),
        };
        assert_eq!(
            line(&row),
            "2030-01-01T00:00:00.000Z  bhpn7nyh4lwdprh  blue/c1/eth0  arp        ARP"
        );
    }
}
