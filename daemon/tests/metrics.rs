//! What is measured, as a reader of `OpenMetrics` gets it.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::openmetrics::{Families, read};
use common::{LIMIT, Node};
use netns_fixtures::wait_for;
use serde_json::json;

/// An HTTP answer: its head and its body.
fn get(mut stream: impl Read + Write, request: &str) -> (String, String) {
    write!(stream, "{request}\r\nHost: node\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn scraped(node: &Node) -> Families {
    let stream = UnixStream::connect(node.dir.path("metrics")).unwrap();
    let (head, body) = get(stream, "GET /metrics HTTP/1.1");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let media_type = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.lines().any(|line| line == media_type), "{head}");
    read(&body)
}

fn node() -> Node {
    let mut node = Node::stopped("");
    let path = node.dir.path("metrics");
    node.configure(&format!("metrics.listen = \"{}\"\n", path.display()));
    node.start_daemon();
    node
}

/// The value of the one sample that has these labels.
fn value(families: &Families, family: &str, suffix: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |found: &BTreeMap<String, String>| {
        labels
            .iter()
            .all(|(name, value)| found.get(*name).is_some_and(|found| found == value))
    };
    let mut samples = families[family].samples.iter();
    let found = samples.find(|(known, found, _)| known == suffix && has(found));
    found.map(|(_, _, value)| *value)
}

#[test]
fn calls_are_measured_by_verb_stage_and_code() {
    let node = node();
    let container = node.container("c");
    node.call("ADD", &container).unwrap().result();
    node.call_of("ADD", &container, &node.network(&json!({"mtu": -1})))
        .unwrap();
    let families = wait_for("both calls to be counted", LIMIT, || {
        let families = scraped(&node);
        let total = [("verb", "ADD"), ("stage", "total")];
        let count = value(&families, "bulkhead_call_seconds", "_count", &total);
        (count == Some(2.0)).then_some(families)
    });
    let failed = [("verb", "ADD"), ("code", "7")];
    assert_eq!(
        value(&families, "bulkhead_calls", "_total", &failed),
        Some(1.0)
    );
    let served = [("verb", "ADD"), ("code", "0")];
    assert_eq!(
        value(&families, "bulkhead_calls", "_total", &served),
        Some(1.0)
    );
    for stage in ["queue", "serve", "total"] {
        let labels = [("verb", "ADD"), ("stage", stage)];
        assert_eq!(
            value(&families, "bulkhead_call_seconds", "_count", &labels),
            Some(2.0)
        );
        assert!(value(&families, "bulkhead_call_seconds", "_sum", &labels).unwrap() > 0.0);
    }
    assert_eq!(value(&families, "bulkhead_attachments", "", &[]), Some(1.0));
    let held = [("pool", "blue/0"), ("state", "held")];
    assert_eq!(
        value(&families, "bulkhead_pool_addresses", "", &held),
        Some(1.0)
    );
    let resident = value(&families, "bulkhead_process_resident_memory_bytes", "", &[]);
    assert!(resident.unwrap() > 1e6);
}

#[test]
fn refusals_are_counted_by_reason() {
    let node = node();
    let mut stream = UnixStream::connect(node.socket()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    let refused = value(
        &scraped(&node),
        "bulkhead_connections_refused",
        "_total",
        &[("reason", "frame")],
    );
    assert_eq!(refused, Some(1.0));
}

#[test]
fn the_document_lists_every_metric_and_no_other() {
    let node = node();
    node.call("ADD", &node.container("c")).unwrap().result();
    let file = |path: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        fs::read_to_string(path).unwrap()
    };
    let document = file("../docs/metrics.md");
    let rows = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `bulkhead_"));
    let row = |row: &str| {
        let cells: Vec<_> = row.split(" | ").collect();
        (
            cells[0].trim_end_matches('`').to_owned(),
            cells[1].to_owned(),
        )
    };
    let documented: BTreeMap<String, String> = rows.map(row).collect();
    for (name, family) in scraped(&node) {
        let name = name.strip_prefix("bulkhead_").unwrap();
        assert_eq!(documented.get(name), Some(&family.kind), "{name}");
    }
    // What has no sample yet is not served: it is looked up in the source.
    let source = file("src/metrics/mod.rs");
    for name in documented.keys() {
        let name = name.trim_end_matches("_seconds").trim_end_matches("_bytes");
        assert!(
            source.contains(&format!("\"{name}\"")),
            "there is no {name}"
        );
    }
}

#[test]
fn readers_over_tcp_are_served_and_nothing_else_is() {
    let node = Node::start("metrics.listen = \"127.0.0.1:9465\"\n");
    let ask = |request: &str| {
        let request = request.to_owned();
        node.host.enter(move || {
            let stream = TcpStream::connect("127.0.0.1:9465").unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            get(stream, &request)
        })
    };
    read(&ask("GET /metrics HTTP/1.1").unwrap().1);
    let status = |request| ask(request).unwrap().0.lines().next().unwrap().to_owned();
    assert_eq!(status("GET / HTTP/1.1"), "HTTP/1.1 404 Not Found");
    assert_eq!(
        status("POST /metrics HTTP/1.1"),
        "HTTP/1.1 405 Method Not Allowed"
    );
    assert_eq!(status("garbage"), "HTTP/1.1 400 Bad Request");
}
