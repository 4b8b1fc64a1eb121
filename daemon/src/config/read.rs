//! From the text to the typed configuration. The files that it names must be there.

use std::cell::RefCell;
use std::time::Duration;

use bulkhead_attach::Underlay;
use bulkhead_ipam_etcd::{EtcdConfig, EtcdSettings};

use super::document::{Mistake, Section};
use super::values::{endpoint, established, is_label, is_node_name, level, listen, log_format};
use super::{
    Audit, Collector, Config, Established, Etcd, Listen, Log, LogFormat, Node, Server, Store,
};

/// Most threads that serve calls: each has a stack and sockets of its own.
const MOST_THREADS: u64 = 64;

const DAY: Duration = Duration::from_hours(24);

/// Reads a configuration; all mistakes, in the order of their lines.
pub(super) fn config(text: &str) -> Result<Config, Vec<Mistake>> {
    let mistakes = RefCell::new(Vec::new());
    let config = match Section::root(text, &mistakes) {
        Ok(root) => sections(root),
        Err(mistake) => return Err(vec![mistake]),
    };
    let mut mistakes = mistakes.into_inner();
    mistakes.sort_by_key(|mistake| mistake.line);
    if mistakes.is_empty() {
        Ok(config)
    } else {
        Err(mistakes)
    }
}

fn sections(mut root: Section<'_>) -> Config {
    let config = Config {
        state_dir: root
            .path("state_dir")
            .unwrap_or_else(|| "/var/lib/bulkhead".into()),
        socket: root
            .path("socket")
            .unwrap_or_else(|| bulkhead_ipam::wire::DEFAULT_SOCKET.into()),
        node: node(root.section("node")),
        store: store(root.section("store")),
        log: log(root.section("log")),
        metrics: metrics(root.section("metrics")),
        server: server(root.section("server")),
        threads: threads(root.section("workers")),
        collector: collector(root.section("collector")),
        reconcile: interval(root.section("reconcile"), 300),
        flows: interval(root.section("flows"), 15),
        established: policy(root.section("policy")),
        audit: audit(root.section("audit")),
        underlay: overlay(root.section("overlay")),
    };
    root.end();
    config
}

fn node(mut section: Section<'_>) -> Node {
    let name = section.text(
        "name",
        "a node's name: up to 253 lower-case letters, digits, dots and dashes",
        |text| is_node_name(text).then(|| text.to_owned()),
    );
    let labels = section.texts(
        "labels",
        "a table of labels, name = \"value\", of letters, digits and -_./",
        is_label,
    );
    section.end();
    Node {
        name,
        labels: labels.unwrap_or_default(),
    }
}

fn store(mut section: Section<'_>) -> Store {
    let line = section.line();
    let chosen = section.has("backend");
    let backend = section.text("backend", "\"embedded\" or \"etcd\"", |text| match text {
        "embedded" => Some(false),
        "etcd" => Some(true),
        _ => None,
    });
    let configured = section.has("etcd");
    let etcd = etcd(section.section("etcd"), backend == Some(true));
    if configured && backend == Some(false) {
        let text = "store.etcd: is configured, and store.backend is \"embedded\"; set backend to \"etcd\" or remove [store.etcd]";
        section.mistake(line, text.to_owned());
    }
    if configured && !chosen {
        let text = "store.backend: missing, set it to \"etcd\" if [store.etcd] is to be used";
        section.mistake(line, text.to_owned());
    }
    section.end();
    etcd.map_or(Store::Embedded, |etcd| Store::Etcd(Box::new(etcd)))
}

/// `None` if it is not used, or has a mistake.
fn etcd(mut section: Section<'_>, is_used: bool) -> Option<Etcd> {
    let before = section.mistakes();
    let endpoints = section.list("endpoints", "a list of URLs without a password", endpoint);
    let text = |text: &str| Some(text.to_owned());
    let settings = EtcdSettings {
        endpoints: endpoints.unwrap_or_default(),
        prefix: section.text("prefix", "a text", text).unwrap_or_default(),
        ca: section.file("ca"),
        cert: section.file("cert"),
        key: section.file("key"),
        user: section.text("user", "a user's name", text),
        password_file: section.file("password_file"),
        connect_timeout_ms: section.number("connect_timeout_ms", "milliseconds", 100..=60_000),
        timeout_ms: section.number("timeout_ms", "milliseconds", 100..=60_000),
    };
    let understood = EtcdConfig::try_from(settings.clone());
    if let (Err(error), true) = (&understood, is_used && section.mistakes() == before) {
        let text = error.to_string();
        let key = text.split(':').next().unwrap_or_default();
        section.mistake(section.line_of(key), format!("store.etcd.{text}"));
    }
    section.end();
    let config = understood.ok().filter(|_| is_used)?;
    Some(Etcd { settings, config })
}

fn log(mut section: Section<'_>) -> Log {
    let what = "\"text\", \"json\" or \"journald\"";
    let format = section.text("format", what, log_format);
    let what = "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
    let level = section.text("level", what, level);
    section.end();
    Log {
        format: format.unwrap_or(LogFormat::Text),
        level: level.unwrap_or(tracing::Level::INFO),
    }
}

fn metrics(mut section: Section<'_>) -> Option<Listen> {
    let what = "\"off\", an address as \"127.0.0.1:9465\" or the absolute path of a socket";
    let listen = section.text("listen", what, listen);
    section.end();
    listen.flatten()
}

fn server(mut section: Section<'_>) -> Server {
    let mut seconds = |key, range, otherwise| {
        Duration::from_secs(section.number(key, "seconds", range).unwrap_or(otherwise))
    };
    let read_timeout = seconds("read_timeout_secs", 1..=60, 5);
    let stop_timeout = seconds("stop_timeout_secs", 1..=300, 20);
    let connections = section.number("connections", "connections", 8..=4096);
    section.end();
    Server {
        connections: usize::try_from(connections.unwrap_or(512)).expect("in the range"),
        read_timeout,
        stop_timeout,
    }
}

fn threads(mut section: Section<'_>) -> usize {
    let threads = section.number("threads", "threads", 1..=MOST_THREADS);
    section.end();
    usize::try_from(threads.unwrap_or(8)).expect("in the range")
}

fn collector(mut section: Section<'_>) -> Collector {
    let interval = section.number("interval_secs", "seconds", 0..=86_400);
    let grace = section.number("grace_secs", "seconds", 1..=86_400);
    section.end();
    Collector {
        interval: some_secs(interval.unwrap_or(60)),
        grace: Duration::from_secs(grace.unwrap_or(120)),
    }
}

fn interval(mut section: Section<'_>, otherwise: u64) -> Option<Duration> {
    let interval = section.number("interval_secs", "seconds", 0..=86_400);
    section.end();
    some_secs(interval.unwrap_or(otherwise))
}

fn policy(mut section: Section<'_>) -> Established {
    let kept = section.text("established", "\"cut\" or \"keep\"", established);
    section.end();
    kept.unwrap_or_default()
}

fn audit(mut section: Section<'_>) -> Audit {
    let days = section.number("retention_days", "days", 1..=3650);
    let mebibytes = section.number("network_mib", "MiB", 1..=4096);
    section.end();
    Audit {
        age: DAY * u32::try_from(days.unwrap_or(90)).expect("in the range"),
        bytes: mebibytes.unwrap_or(64) << 20,
    }
}

fn overlay(mut section: Section<'_>) -> Option<Underlay> {
    let what = "an address of this node, or the name of a link that has one";
    let underlay = section.text("underlay", what, |text| text.parse().ok());
    section.end();
    underlay
}

/// 0 stands for never.
fn some_secs(secs: u64) -> Option<Duration> {
    (secs > 0).then(|| Duration::from_secs(secs))
}
