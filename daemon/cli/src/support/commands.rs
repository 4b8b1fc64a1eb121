//! What our own commands say, and what the system's tools say of what is ours in the kernel.

use std::env;

use bulkhead_model::LinkGroup;

use super::{Gathered, SupportArgs};
use crate::coexist::tool::run;
use crate::failure::chain;

/// Ours, by the name of their file. None of them changes anything.
const OURS: [(&str, &str); 16] = [
    ("status", "status"),
    ("doctor", "doctor --all"),
    ("net", "net ls"),
    ("leases", "ipam ls"),
    ("ports", "ports ls"),
    ("check", "check"),
    ("dead", "ipam gc --dry-run"),
    ("coexist", "coexist ls"),
    ("nodes", "node ls"),
    ("pools", "pool ls"),
    ("blocks", "block ls"),
    ("reservations", "ipam reservations"),
    ("ipam-check", "ipam check"),
    ("endpoints", "endpoint ls"),
    ("map", "pool map"),
    ("version", "--version"),
];

/// Those that read the network configurations besides.
const OF_CONFIGURATIONS: [&str; 8] = [
    "doctor",
    "net",
    "leases",
    "ports",
    "check",
    "dead",
    "coexist",
    "ipam-check",
];

/// Those that ask the daemon.
const OF_DAEMON: [&str; 12] = [
    "status",
    "doctor",
    "leases",
    "check",
    "dead",
    "nodes",
    "pools",
    "blocks",
    "reservations",
    "ipam-check",
    "endpoints",
    "map",
];

pub(super) fn ours(args: &SupportArgs, gathered: &mut Gathered) {
    let program = match env::current_exe() {
        Ok(program) => program.display().to_string(),
        Err(error) => return gathered.miss("commands", &error.to_string()),
    };
    for (name, line) in OURS {
        let mut words = vec![program.clone()];
        words.extend(line.split_whitespace().map(str::to_owned));
        words.extend(places(args, name));
        let extension = if name == "version" { "txt" } else { "json" };
        said(&format!("commands/{name}.{extension}"), &words, gathered);
    }
}

/// Where it looks: where this command was told to.
fn places(args: &SupportArgs, name: &str) -> Vec<String> {
    if name == "version" {
        return Vec::new();
    }
    let mut words = vec!["--output".to_owned(), "json".to_owned()];
    let mut place = |option: &str, path: &std::path::Path| {
        words.extend([option.to_owned(), path.display().to_string()]);
    };
    place("--state-dir", &args.sources.state_dir);
    if OF_CONFIGURATIONS.contains(&name) {
        place("--conf-dir", &args.sources.conf_dir);
    }
    if let (Some(socket), true) = (args.socket.given(), OF_DAEMON.contains(&name)) {
        place("--socket", socket);
    }
    words
}

/// The log, and what is ours in the kernel. Foreign rules are not listed.
pub(super) fn of_node(_: &SupportArgs, gathered: &mut Gathered) {
    let group = LinkGroup::OWNED.0.to_string();
    let tools: [(&str, &[&str]); 9] = [
        (
            "logs/bulkheadd.txt",
            &[
                "journalctl",
                "--unit=bulkheadd",
                "--lines=20000",
                "--no-pager",
                "--output=short-iso-precise",
            ],
        ),
        (
            "logs/unit.txt",
            &["systemctl", "show", "--no-pager", "bulkheadd"],
        ),
        (
            "kernel/links.txt",
            &[
                "ip",
                "-details",
                "-statistics",
                "link",
                "show",
                "group",
                &group,
            ],
        ),
        (
            "kernel/addresses.txt",
            &["ip", "address", "show", "group", &group],
        ),
        ("kernel/bridge.txt", &["bridge", "-details", "link"]),
        ("kernel/routes4.txt", &["ip", "-4", "-details", "route"]),
        ("kernel/routes6.txt", &["ip", "-6", "-details", "route"]),
        (
            "kernel/forwarding.txt",
            &[
                "sysctl",
                "net.ipv4.ip_forward",
                "net.ipv6.conf.all.forwarding",
            ],
        ),
        ("node/disk.txt", &["df", "--portability"]),
    ];
    for (file, words) in tools {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        said(file, &words, gathered);
    }
    tables(gathered);
}

/// The rules of our tables.
fn tables(gathered: &mut Gathered) {
    let listed = match run(&["nft", "list", "tables"]) {
        Ok(listed) if listed.succeeded() => listed.stdout,
        Ok(listed) => return gathered.miss("kernel/rules", &listed.complaint()),
        Err(error) => return gathered.miss("kernel/rules", &chain(&error)),
    };
    for (family, name) in listed.lines().filter_map(our_table) {
        let words = ["nft", "list", "table", family, name].map(str::to_owned);
        said(
            &format!("kernel/rules/{family}-{name}.txt"),
            &words,
            gathered,
        );
    }
}

/// `table netdev bulkhead`: the filter, what leads to bridges, the host ports, and one for each network.
fn our_table(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace();
    let (Some("table"), Some(family), Some(name), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return None;
    };
    let is_ours = matches!(
        (family, name),
        ("netdev", "bulkhead") | ("inet", "bulkhead-ports" | "bulkhead-segments")
    );
    (is_ours || (family == "inet" && name.starts_with("bh-"))).then_some((family, name))
}

/// What a command says, with what it complains of.
fn said(file: &str, words: &[String], gathered: &mut Gathered) {
    match run(words) {
        Ok(said) => {
            if !said.stderr.is_empty() {
                let text = format!(
                    "{} ended with {}\n{}",
                    words.join(" "),
                    said.status,
                    said.stderr
                );
                gathered.add(&format!("{file}.stderr"), text.into_bytes());
            }
            if !said.stdout.is_empty() {
                gathered.add(file, said.stdout.into_bytes());
            }
        }
        Err(error) => gathered.miss(file, &chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_of_ours_are_listed() {
        let listed = [
            "table netdev bulkhead",
            "table inet bulkhead-ports",
            "table inet bulkhead-segments",
            "table inet bh-abcdefabcdef",
            "table ip filter",
            "table inet bulkhead-other",
            "table ip bh-abcdefabcdef",
            "",
        ];
        let ours: Vec<_> = listed.into_iter().filter_map(our_table).collect();
        assert_eq!(
            ours,
            [
                ("netdev", "bulkhead"),
                ("inet", "bulkhead-ports"),
                ("inet", "bulkhead-segments"),
                ("inet", "bh-abcdefabcdef")
            ]
        );
    }

    #[test]
    fn every_command_is_one() {
        for (name, line) in OURS {
            let words = ["bulkhead"].into_iter().chain(line.split_whitespace());
            let parsed = crate::command().try_get_matches_from(words);
            let kind = parsed.err().map(|error| error.kind());
            assert!(
                matches!(kind, None | Some(clap::error::ErrorKind::DisplayVersion)),
                "{name}: {kind:?}"
            );
        }
    }
}
