//! `bulkhead watch`: what happens, a line each, until the reader goes away.

use std::io::{self, Write};

use bulkhead_ipam::wire::admin::{Event, EventKind, Reply, Request};
use clap::Args;
use serde::Serialize;

use crate::daemon::{Daemon, Reach};
use crate::failure::{Failure, Outcome};
use crate::filter::FilterArgs;
use crate::output::{Format, visible};
use crate::time;

#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// End after so many events.
    #[arg(short, long, value_name = "EVENTS")]
    number: Option<u64>,

    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(args: &WatchArgs, format: Format) -> Outcome {
    let watched = args
        .reach
        .daemon()
        .and_then(|daemon| watch(&daemon, args, format));
    match watched {
        Err(Failure::Reader(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(String::new())
        }
        other => other.map(|()| String::new()),
    }
    .into()
}

fn watch(daemon: &Daemon, args: &WatchArgs, format: Format) -> Result<(), Failure> {
    let request = Request::Watch {
        filter: args.filter.filter(),
    };
    let mut left = args.number;
    daemon.ask_while(&request, |reply| {
        if let Reply::Event(event) = reply {
            let mut stdout = io::stdout().lock();
            let line = printed(event, format);
            stdout
                .write_all(line.as_bytes())
                .and_then(|()| stdout.flush())
                .map_err(Failure::Reader)?;
            left = left.map(|left| left.saturating_sub(1));
        }
        Ok(left != Some(0))
    })
}

/// An event, with its instant as text.
#[derive(Debug, Serialize)]
struct Row {
    at: String,
    #[serde(flatten)]
    event: Event,
}

fn printed(event: Event, format: Format) -> String {
    match format {
        Format::Table | Format::Wide | Format::Svg | Format::Html => line(&event, format) + "\n",
        Format::Json => {
            let text = serde_json::to_string(&row(event));
            text.expect("strings and numbers have a JSON form") + "\n"
        }
        // A stream of YAML is documents (YAML 1.2.2 §9.2).
        Format::Yaml => format!("---\n{}", format.render(&row(event), |_| String::new())),
    }
}

fn row(event: Event) -> Row {
    Row {
        at: time::millis(event.at_unix_ms),
        event,
    }
}

fn line(event: &Event, format: Format) -> String {
    let mut words = vec![
        time::millis(event.at_unix_ms),
        format!("{:<13}", kind(event.kind)),
    ];
    let named = |label: &str, text: &str| format!("{label}={text}");
    words.extend(event.node.as_ref().map(|node| named("node", &node.name)));
    words.extend(event.pool.as_ref().map(|pool| named("pool", pool)));
    let addresses: Vec<_> = event.addresses.iter().map(ToString::to_string).collect();
    if !addresses.is_empty() {
        words.push(addresses.join(","));
    }
    if let Some(pod) = &event.pod {
        words.push(named("pod", &crate::ipam::pod(pod)));
    }
    if let Some(key) = &event.attachment {
        let container = match format {
            Format::Wide => key.container.as_str(),
            _ => crate::ipam::short(&key.container),
        };
        words.push(format!("{}/{container}/{}", key.network, key.interface));
    }
    if !event.text.is_empty() {
        words.push(event.text.replace('\n', " "));
    }
    visible(words.join(" ").trim_end())
}

const fn kind(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Acquired => "acquired",
        EventKind::Released => "released",
        EventKind::Reclaimed => "reclaimed",
        EventKind::Claimed => "claimed",
        EventKind::Returned => "returned",
        EventKind::Ceded => "ceded",
        EventKind::NodeUp => "node-up",
        EventKind::NodeLost => "node-lost",
        EventKind::PoolChanged => "pool-changed",
        EventKind::StoreChanged => "store-changed",
        EventKind::Drift => "drift",
        EventKind::Mended => "mended",
        EventKind::Reloaded => "reloaded",
        EventKind::Missed => "missed",
        EventKind::Error => "error",
        EventKind::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::{NodeName, PodName};
    use bulkhead_model::AttachmentKey;

    use super::*;

    fn acquired() -> Event {
        Event {
            at_unix_ms: 1_772_352_000_123,
            kind: EventKind::Acquired,
            node: Some(NodeName {
                id: "ab".to_owned(),
                name: "node-1".to_owned(),
            }),
            pool: Some("default".to_owned()),
            addresses: vec!["10.4.0.9".parse().unwrap(), "fd00:4::9".parse().unwrap()],
            attachment: Some(AttachmentKey {
                network: "blue".parse().unwrap(),
                container: "5".repeat(64).parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            }),
            pod: Some(PodName {
                namespace: "web".to_owned(),
                name: "shop-0".to_owned(),
            }),
            text: String::new(),
        }
    }

    #[test]
    fn an_event_is_a_line() {
        assert_eq!(
            printed(acquired(), Format::Table),
            "2026-03-01T08:00:00.123Z acquired      node=node-1 pool=default 10.4.0.9,fd00:4::9 pod=web/shop-0 blue/555555555555/eth0\n"
        );
        let error = Event {
            kind: EventKind::Error,
            text: "etcd\nis \u{1b}[31m gone".to_owned(),
            node: None,
            pool: None,
            addresses: Vec::new(),
            attachment: None,
            pod: None,
            ..acquired()
        };
        assert_eq!(
            printed(error, Format::Table),
            "2026-03-01T08:00:00.123Z error         etcd is \u{fffd}[31m gone\n"
        );
    }

    #[test]
    fn programs_get_a_line_of_json_or_a_document_of_yaml() {
        let json = printed(acquired(), Format::Json);
        assert!(
            json.starts_with(
                r#"{"at":"2026-03-01T08:00:00.123Z","atUnixMs":1772352000123,"kind":"acquired""#
            ),
            "{json}"
        );
        assert_eq!(json.matches('\n').count(), 1);
        let yaml = printed(acquired(), Format::Yaml);
        assert!(
            yaml.starts_with("---\nat: \"2026-03-01T08:00:00.123Z\"\n")
                || yaml.starts_with("---\nat: 2026"),
            "{yaml}"
        );
        assert!(yaml.contains("\nkind: acquired\n"), "{yaml}");
    }
}
