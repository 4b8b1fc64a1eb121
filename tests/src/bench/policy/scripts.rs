//! The layouts that were not chosen, as nft reads them.

use std::fmt::Write;

use super::worlds::{PORTS, address, device, group_of, groups, receivers, senders};

const HOOK: &str =
    "type filter hook forward priority -10; policy accept;\n ct state established accept\n";

fn ports() -> String {
    PORTS.map(|port| port.to_string()).join(", ")
}

fn line(script: &mut String, text: impl AsRef<str>) {
    writeln!(script, "{}", text.as_ref()).expect("a text takes any length");
}

pub(super) fn tracked() -> String {
    format!("table inet bench {{ chain forward {{ {HOOK} }}\n}}\n")
}

/// One rule for each pair that may talk, the measured one in the middle.
pub(super) fn linear(endpoints: usize) -> String {
    let mut pairs = Vec::new();
    for to in 0..endpoints {
        let from = senders(group_of(to, endpoints), endpoints);
        let from = (0..endpoints).filter(|nth| from.contains(&group_of(*nth, endpoints)));
        pairs.extend(from.map(|from| (from, to)));
    }
    pairs.retain(|pair| *pair != (0, 1));
    pairs.insert(pairs.len() / 2, (0, 1));
    let mut script = format!("table inet bench {{ chain forward {{ {HOOK}");
    for (from, to) in pairs {
        let (from, to) = (address(from), address(to));
        line(
            &mut script,
            format!(
                "ip saddr {from} ip daddr {to} tcp dport {{ {} }} accept",
                ports()
            ),
        );
    }
    script + "drop\n }\n}\n"
}

/// As Calico's: a chain for each endpoint and direction, found by its device, which jumps to the policies about it;
/// a set for each selector; a bit of the mark says that one has allowed it.
pub(super) fn chains(endpoints: usize) -> String {
    let mut script = String::from("table inet bench {\n");
    for group in 0..groups(endpoints) {
        let members = (0..endpoints).filter(|nth| group_of(*nth, endpoints) == group);
        let members: Vec<String> = members.map(|nth| address(nth).to_string()).collect();
        line(
            &mut script,
            format!(
                "set s-{group} {{ type ipv4_addr; elements = {{ {} }}\n }}",
                members.join(", ")
            ),
        );
        for (word, field, peers) in [
            ("in", "saddr", senders(group, endpoints)),
            ("out", "daddr", receivers(group, endpoints)),
        ] {
            line(&mut script, format!("chain {word}-{group} {{"));
            for peer in peers {
                let ports = ports();
                line(
                    &mut script,
                    format!(
                        "ip {field} @s-{peer} tcp dport {{ {ports} }} meta mark set meta mark | 0x1 return"
                    ),
                );
            }
            line(&mut script, "}");
        }
    }
    let mut maps = [String::new(), String::new()];
    for nth in 0..endpoints {
        let group = group_of(nth, endpoints);
        for (map, word) in maps.iter_mut().zip(["out", "in"]) {
            line(
                &mut script,
                format!(
                    "chain {word}-of-{nth} {{ meta mark set meta mark & 0xfffffffe\n jump {word}-{group}\n \
                     meta mark & 0x1 == 0x1 return\n drop\n }}"
                ),
            );
            line(map, format!("\"{}\" : goto {word}-of-{nth},", device(nth)));
        }
    }
    let [from, to] = maps;
    line(
        &mut script,
        format!("map from {{ type ifname : verdict; elements = {{ {from} }}\n }}"),
    );
    line(
        &mut script,
        format!("map to {{ type ifname : verdict; elements = {{ {to} }}\n }}"),
    );
    line(&mut script, "chain leaving { iifname vmap @from\n drop\n }");
    line(&mut script, "chain arriving { oifname vmap @to\n drop\n }");
    line(
        &mut script,
        format!(
            "chain forward {{ {HOOK} iifname \"bhp*\" jump leaving\n oifname \"bhp*\" jump arriving\n }}\n}}"
        ),
    );
    script
}

/// A number for the labels of each end, and a set of pairs of numbers with protocol and port for each direction.
pub(super) fn pairs(endpoints: usize) -> String {
    let mut script = String::from("table inet bench {\n");
    let ids = |form: fn(usize) -> String| {
        let each = (0..endpoints)
            .map(|nth| format!("{} : {}", address(nth), form(group_of(nth, endpoints) + 1)));
        each.collect::<Vec<_>>().join(", ")
    };
    let (marks, classes) = (ids(|id| format!("0x{id:x}")), ids(|id| format!("0:{id:x}")));
    line(
        &mut script,
        format!("map senders {{ type ipv4_addr : mark; elements = {{ {marks} }}\n }}"),
    );
    line(
        &mut script,
        format!("map receivers {{ type ipv4_addr : classid; elements = {{ {classes} }}\n }}"),
    );
    let devices: Vec<String> = (0..endpoints)
        .map(|nth| format!("\"{}\"", device(nth)))
        .collect();
    line(
        &mut script,
        format!(
            "set policed {{ type ifname; elements = {{ {} }}\n }}",
            devices.join(", ")
        ),
    );
    for (set, is_out) in [("pairs-out", true), ("pairs-in", false)] {
        let mut elements = Vec::new();
        for group in 0..groups(endpoints) {
            let peers = if is_out { receivers } else { senders };
            for peer in peers(group, endpoints) {
                let (from, to) = if is_out { (group, peer) } else { (peer, group) };
                elements.extend(
                    PORTS.map(|port| format!("0x{:x} . 0:{:x} . tcp . {port}", from + 1, to + 1)),
                );
            }
        }
        line(
            &mut script,
            format!(
                "set {set} {{ type mark . classid . inet_proto . inet_service; elements = {{ {} }}\n }}",
                elements.join(", ")
            ),
        );
    }
    let judge = |set: &str, next: &str| {
        format!("meta mark . meta priority . meta l4proto . th dport @{set} {next}\n drop\n }}")
    };
    line(
        &mut script,
        format!("chain arriving {{ {}", judge("pairs-in", "accept")),
    );
    line(
        &mut script,
        format!(
            "chain leaving {{ meta mark set ip saddr map @senders\n meta priority set ip daddr map @receivers\n {}",
            judge("pairs-out", "goto arriving")
        ),
    );
    line(
        &mut script,
        format!("chain forward {{ {HOOK} iifname @policed goto leaving\n }}\n}}"),
    );
    script
}
