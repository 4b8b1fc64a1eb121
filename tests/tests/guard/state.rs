//! What an attack could have changed in a namespace, as comparable lines, read by tools that share no
//! code with ours.

use std::collections::BTreeSet;
use std::process::Command;

use netns_fixtures::{Ns, Outside};
use serde_json::{Deserializer, Value};

/// The lines of one namespace.
pub(crate) type State = BTreeSet<String>;

/// What a router advertisement may set on an interface (RFC 4861 §6.3.4).
const KNOBS: [&str; 4] = [
    "conf/DEV/hop_limit",
    "conf/DEV/mtu",
    "neigh/DEV/retrans_time_ms",
    "neigh/DEV/base_reachable_time_ms",
];

/// Neighbours on `interface` with their MACs, addresses, routes but those that follow the addresses,
/// the ways to the outside with their MTU, and what an advertisement may set on `interface`.
pub(crate) fn stack(ns: &Ns, interface: &str) -> State {
    let script = format!(
        "neigh show dev {interface}\nroute show table all\naddr show\nroute get {}\nroute get {}\n",
        Outside::V4,
        Outside::V6
    );
    let mut lines = State::new();
    let kinds = [neighbour, route, address, way, way];
    for (objects, line) in arrays(ns, "ip", &script).iter().zip(kinds) {
        let all = objects.as_array().into_iter().flatten();
        lines.extend(all.filter_map(line));
    }
    for knob in KNOBS {
        let path = format!("net/ipv6/{}", knob.replace("DEV", interface));
        // Without a bridge or without IPv6 on it there is nothing to set.
        if let Ok(value) = ns.sysctl(&path) {
            lines.insert(format!("{path} = {value}"));
        }
    }
    lines
}

/// What the groups of a station's own addresses begin with (RFC 4291 §2.7.1): its kernel joins them by itself.
const SOLICITED: &str = "ff02::1:ff";

/// Learned FDB entries, the groups joined behind `port`, and the ports that multicast routers are
/// taken to be behind.
pub(crate) fn switch(ns: &Ns, bridge: &str, port: &str) -> State {
    let script = format!("fdb show br {bridge}\nmdb show dev {bridge}\n");
    let arrays = arrays(ns, "bridge", &script);
    let mut lines = State::new();
    for entry in arrays[0].as_array().into_iter().flatten() {
        let learned = entry["state"].as_str().is_none_or(str::is_empty);
        if learned && entry.get("master").is_some() {
            lines.insert(format!(
                "fdb {} behind {}",
                text(&entry["mac"]),
                text(&entry["ifname"])
            ));
        }
    }
    let Some(groups) = arrays.get(1).and_then(|groups| groups.get(0)) else {
        return lines;
    };
    for entry in groups["mdb"].as_array().into_iter().flatten() {
        let group = text(&entry["grp"]);
        if entry["port"] == port && !group.starts_with(SOLICITED) {
            lines.insert(format!("group {group} behind {port}"));
        }
    }
    for ports in groups["router"].as_object().into_iter().flatten() {
        for router in ports.1.as_array().into_iter().flatten() {
            lines.insert(format!("router behind {}", text(&router["port"])));
        }
    }
    lines
}

/// What came, and what became otherwise: an entry that only aged away is no effect.
pub(crate) fn effects(before: &State, after: &State) -> Vec<String> {
    let ages = |line: &&String| {
        let aged = ["neighbour ", "fdb ", "group ", "router behind "];
        aged.iter().any(|kind| line.starts_with(kind))
    };
    let came = after.difference(before).map(|line| format!("+ {line}"));
    let gone = before.difference(after).filter(|line| !ages(line));
    came.chain(gone.map(|line| format!("- {line}"))).collect()
}

fn neighbour(entry: &Value) -> Option<String> {
    let states = entry["state"].to_string();
    let at = format!("neighbour {}", text(&entry["dst"]));
    if states.contains("NOARP") {
        return None;
    }
    match entry["lladdr"].as_str() {
        Some(mac) => {
            let router = entry.get("router").map_or("", |_| ", a router");
            Some(format!("{at} is {mac}{router}"))
        }
        None if states.contains("INCOMPLETE") => Some(format!("{at} is asked for")),
        None => None,
    }
}

fn route(entry: &Value) -> Option<String> {
    let of_an_address = ["local", "anycast", "broadcast", "multicast"];
    if of_an_address.contains(&text(&entry["type"])) {
        return None;
    }
    let fields = ["type", "dst", "gateway", "via", "dev", "protocol", "metric"];
    let words: Vec<_> = fields
        .iter()
        .filter_map(|field| entry.get(*field).map(|value| format!("{field} {value}")))
        .collect();
    Some(format!("route {}", words.join(" ")))
}

fn address(entry: &Value) -> Option<String> {
    let list = entry["addr_info"].as_array()?;
    let lines: Vec<_> = list
        .iter()
        .map(|a| {
            let failed = a.get("dadfailed").map_or("", |_| " dadfailed");
            let dynamic = a.get("dynamic").map_or("", |_| " dynamic");
            format!("{}/{}{failed}{dynamic}", text(&a["local"]), a["prefixlen"])
        })
        .collect();
    Some(format!(
        "addresses of {}: {}",
        text(&entry["ifname"]),
        lines.join(", ")
    ))
}

#[expect(clippy::unnecessary_wraps, reason = "one of several kinds of lines")]
fn way(entry: &Value) -> Option<String> {
    let fields = ["dst", "gateway", "via", "dev", "metrics"];
    let words: Vec<_> = fields
        .iter()
        .filter_map(|field| entry.get(*field).map(|value| format!("{field} {value}")))
        .collect();
    Some(format!("way {}", words.join(" ")))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The answer to each line of `script`, an array each; a way that does not exist is an empty one.
fn arrays(ns: &Ns, tool: &str, script: &str) -> Vec<Value> {
    let mut command = Command::new(tool);
    command.args(["-j", "-d", "-force", "-b", "-"]);
    let limit = std::time::Duration::from_mins(1);
    let output = ns.output(&mut command, script.as_bytes(), limit).unwrap();
    let arrays = Deserializer::from_slice(&output.stdout).into_iter();
    let arrays: Result<Vec<Value>, _> = arrays.collect();
    arrays.unwrap_or_else(|error| panic!("{}: {tool}: {error}", ns.name()))
}
