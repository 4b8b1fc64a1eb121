//! The crates depend on each other as the table in docs/architecture.md says, and on nothing that
//! would give a pure crate hands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bulkhead_tests::workspace::{Graph, Kind, Package, root};

/// Crates that decide and never act.
const PURE: &[&str] = &[
    "bulkhead-model",
    "bulkhead-nft",
    "bulkhead-plan",
    "bulkhead-policy",
];

/// What every crate that reaches the system ends at.
const SYSTEM: &[&str] = &[
    "libc",
    "rustix",
    "linux-raw-sys",
    "nix",
    "mio",
    "socket2",
    "tokio",
];

/// What an executable that runs for a millisecond must not carry.
const HEAVY: &[&str] = &["tokio", "async-std", "smol", "futures-executor", "clap"];

/// What is asynchronous, and the clients made of it.
const ASYNC: &[&str] = &["tokio", "tonic", "etcd-client"];

/// Crates that may have it: the daemon's sockets, and etcd.
const MAY_BE_ASYNC: &[&str] = &["bulkhead-daemon", "bulkhead-ipam-etcd"];

/// What tests of any crate may use besides the crate's own dependencies.
const FOR_TESTS: &str = "netns-fixtures";

struct Row {
    directory: String,
    package: String,
    may: BTreeSet<String>,
}

/// A crate as the table's last column calls it.
fn short(package: &str) -> &str {
    package.strip_prefix("bulkhead-").unwrap_or(package)
}

/// The rows of the table with the heading `may depend on`.
fn table(document: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let lines = document
        .lines()
        .skip_while(|line| !line.contains("| may depend on |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    for line in lines {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [directory, package, _, may] = cells[..] else {
            panic!("not four cells: {line}");
        };
        let may = match may {
            "nothing of ours" => BTreeSet::new(),
            // The executable is the plugins linked together: it sees what they see.
            "all of the above" | "the plugins" => rows
                .iter()
                .map(|row| short(&row.package).to_owned())
                .collect(),
            "any" => BTreeSet::from(["any".to_owned()]),
            list => list.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        rows.push(Row {
            directory: directory.trim_matches('`').to_owned(),
            package: package.trim_matches('`').to_owned(),
            may,
        });
    }
    rows
}

fn rows() -> Vec<Row> {
    let path = root().join("docs/architecture.md");
    let document = fs::read_to_string(path).expect("docs/architecture.md is in the repository");
    let rows = table(&document);
    assert!(rows.len() > 5, "the table of crates was not found");
    rows
}

#[test]
fn the_table_lists_exactly_the_crates_there_are() {
    let listed: BTreeMap<String, String> = rows()
        .into_iter()
        .map(|row| (row.package, row.directory))
        .collect();
    let graph = Graph::load();
    let present: BTreeMap<String, String> = graph
        .members()
        .map(|p| (p.name.clone(), p.directory.clone().unwrap_or_default()))
        .collect();
    assert_eq!(listed, present, "left: the table; right: the workspace");
}

#[test]
fn the_table_names_only_crates_that_it_lists() {
    let rows = rows();
    let known: BTreeSet<&str> = rows.iter().map(|row| short(&row.package)).collect();
    for row in &rows {
        for name in row.may.iter().filter(|name| *name != "any") {
            assert!(known.contains(name.as_str()), "{}: {name:?}", row.package);
        }
    }
}

fn strays(graph: &Graph, row: &Row) -> Vec<String> {
    let package = graph.member(&row.package);
    let may = |name: &str| row.may.contains("any") || row.may.contains(short(name));
    let ours = |(_, to): &(Kind, &Package)| to.directory.is_some();
    graph
        .dependencies(package)
        .filter(ours)
        .filter(|(kind, to)| !(may(&to.name) || (*kind == Kind::Dev && to.name == FOR_TESTS)))
        .map(|(kind, to)| format!("{} -> {} ({kind:?})", package.name, to.name))
        .collect()
}

#[test]
fn every_edge_between_our_crates_is_in_the_table() {
    let graph = Graph::load();
    let strays: Vec<String> = rows().iter().flat_map(|row| strays(&graph, row)).collect();
    assert!(
        strays.is_empty(),
        "not in the table of docs/architecture.md:\n{}",
        strays.join("\n")
    );
}

#[test]
fn pure_crates_reach_no_system_call() {
    let graph = Graph::load();
    let paths: Vec<String> = PURE
        .iter()
        .filter_map(|name| graph.path_to(graph.member(name), SYSTEM))
        .map(|path| path.join(" -> "))
        .collect();
    assert!(paths.is_empty(), "{}", paths.join("\n"));
}

#[test]
fn pure_crates_are_linted_against_files_clocks_sockets_and_processes() {
    let graph = Graph::load();
    for name in PURE {
        let directory = graph.member(name).directory.clone().unwrap_or_default();
        let path = root().join(directory).join("clippy.toml");
        let rules = fs::read_to_string(&path).unwrap_or_default();
        for banned in [
            "std::fs::",
            "std::process::",
            "std::env::",
            "std::time::Instant",
            "std::net::",
        ] {
            assert!(
                rules.contains(banned),
                "{}: no rule for {banned}",
                path.display()
            );
        }
    }
}

#[test]
fn the_plugin_executable_carries_no_runtime() {
    let graph = Graph::load();
    let path = graph.path_to(graph.member("bulkhead-cni-bin"), HEAVY);
    assert_eq!(path, None);
}

#[test]
fn only_the_daemon_and_the_etcd_backend_are_asynchronous() {
    let graph = Graph::load();
    // What one of ours gets through another is that one's: the table says who may.
    let of_others = |package| {
        let edges = graph.dependencies(package);
        edges.filter(|(kind, to)| *kind == Kind::Normal && to.directory.is_none())
    };
    let asynchronous: BTreeSet<&str> = graph
        .members()
        .filter(|package| of_others(package).any(|(_, to)| graph.path_to(to, ASYNC).is_some()))
        .map(|package| package.name.as_str())
        .collect();
    let strays: Vec<&&str> = asynchronous
        .iter()
        .filter(|name| !MAY_BE_ASYNC.contains(name))
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
    assert!(asynchronous.contains("bulkhead-ipam-etcd"));
}

#[test]
fn a_path_to_a_forbidden_crate_is_found() {
    let graph = Graph::load();
    let path = graph.path_to(graph.member("netns-fixtures"), SYSTEM);
    assert!(path.is_some_and(|path| path.first().is_some_and(|name| name == "netns-fixtures")));
}

#[test]
fn the_table_is_read_as_it_stands() {
    let rows = table(
        "| directory | crate | what it is | may depend on |\n|---|---|---|---|\n\
         | `a` | `bulkhead-a` | x | nothing of ours |\n\
         | `b` | `bulkhead-b` | y | a |\n\
         | `c` | `c` | z | all of the above |\n\n| not | in | the | table |\n",
    );
    let may: Vec<Vec<&str>> = rows
        .iter()
        .map(|row| row.may.iter().map(String::as_str).collect())
        .collect();
    assert_eq!(may, [vec![], vec!["a"], vec!["a", "b"]]);
    assert_eq!(rows[2].package, "c");
}
