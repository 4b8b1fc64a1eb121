//! The nftables of a namespace as text, one body per table.
//!
//! A table with a chain bound to a device-name prefix is read in netlink's own bytes: `nft` before
//! 1.1.6 cannot parse such a chain, takes that for an interrupted dump and lists for ever.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use crate::ns::{Ns, NsError};
use crate::prefix_chain::message;

/// `NFNL_SUBSYS_NFTABLES << 8` plus `NFT_MSG_GETTABLE`, `GETCHAIN` and `GETRULE` (`nf_tables.h`).
const GET_TABLE: u16 = 10 << 8 | 1;
const GET_CHAIN: u16 = 10 << 8 | 4;
const GET_RULE: u16 = 10 << 8 | 7;
/// `NLM_F_REQUEST | NLM_F_DUMP`, and the flag of a dump that a commit interrupted (netlink.h).
const DUMP: u16 = 0x301;
const INTERRUPTED: u16 = 0x10;
/// `NLMSG_ERROR` and `NLMSG_DONE` (netlink.h).
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLA_TYPE_MASK` (netlink.h).
const TYPE: u16 = 0x3fff;

/// Every table of `ns` by `<family> <name>`, without counter values. One that goes while it is read is
/// none.
pub(crate) fn read(ns: &Ns) -> Result<BTreeMap<String, String>, NsError> {
    let mut dump = dump_of(ns)?;
    loop {
        match listed(ns, &dump) {
            Ok(tables) => return Ok(tables),
            Err(error) => {
                let now = dump_of(ns)?;
                let stands = |table: &Object| now.tables.iter().any(|it| it.head() == table.head());
                if dump.tables.iter().all(stands) {
                    return Err(error);
                }
                dump = now;
            }
        }
    }
}

fn dump_of(ns: &Ns) -> Result<Dump, NsError> {
    ns.enter(dump)?
        .map_err(|source| ns.refused("dump nftables".to_owned(), source))
}

fn listed(ns: &Ns, dump: &Dump) -> Result<BTreeMap<String, String>, NsError> {
    let mut tables = BTreeMap::new();
    for table in &dump.tables {
        let body = if dump.has_prefix_chain(table) {
            let sets = ns.sh(&format!("nft -s list sets {}", table.family))?;
            format!(
                "{}\n{}",
                body_of(&sets, &table.head()),
                dump.bytes_of(table)
            )
        } else {
            let text = ns.sh(&format!("nft -s list table {}", table.head()))?;
            body_of(&text, &table.head())
        };
        tables.insert(table.head(), body);
    }
    Ok(tables)
}

/// What stands between `table <head> {` and the line that is exactly `}`.
fn body_of(text: &str, head: &str) -> String {
    let first = format!("table {head} {{");
    let inside = text.lines().skip_while(|line| *line != first).skip(1);
    let body: Vec<&str> = inside.take_while(|line| *line != "}").collect();
    without_dynamic(&body).join("\n")
}

/// What packets put into a set moves by itself.
fn without_dynamic<'b>(body: &[&'b str]) -> Vec<&'b str> {
    let (mut kept, mut dynamic, mut inside) = (Vec::new(), false, false);
    for line in body {
        if *line == "\t}" {
            (dynamic, inside) = (false, false);
        }
        dynamic |= line.trim_start().starts_with("flags dynamic");
        inside |= dynamic && line.trim_start().starts_with("elements = ");
        if !inside {
            kept.push(*line);
        }
    }
    kept
}

/// An object as the kernel describes it: its attributes by type.
struct Object {
    family: &'static str,
    attributes: Vec<(u16, Vec<u8>)>,
}

struct Dump {
    tables: Vec<Object>,
    chains: Vec<Object>,
    rules: Vec<Object>,
}

impl Object {
    fn attribute(&self, kind: u16) -> &[u8] {
        let found = self.attributes.iter().find(|(found, _)| *found == kind);
        found.map_or(&[], |(_, value)| value)
    }

    fn text(&self, kind: u16) -> String {
        String::from_utf8_lossy(self.attribute(kind))
            .trim_end_matches('\0')
            .to_owned()
    }

    /// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE` and `NFTA_RULE_TABLE` are all 1.
    fn head(&self) -> String {
        format!("{} {}", self.family, self.text(1))
    }
}

impl Dump {
    fn has_prefix_chain(&self, table: &Object) -> bool {
        let mut chains = of(&self.chains, table);
        // NFTA_CHAIN_HOOK > NFTA_HOOK_DEVS > NFTA_DEVICE_PREFIX.
        chains.any(|chain| {
            let hook = attributes(chain.attribute(4));
            let devices = hook.iter().filter(|(kind, _)| *kind == 4);
            let mut devices = devices.flat_map(|(_, devices)| attributes(devices));
            devices.any(|(kind, _)| kind == 2)
        })
    }

    /// The table's comment, its chains and their rules, without handles and counters.
    fn bytes_of(&self, table: &Object) -> String {
        // NFTA_TABLE_FLAGS and NFTA_TABLE_USERDATA.
        let mut out = format!("\t{} {}", hex(table.attribute(2)), hex(table.attribute(6)));
        for chain in of(&self.chains, table) {
            // NFTA_CHAIN_NAME, _HOOK, _POLICY, _TYPE.
            let definition = [4, 5, 7].map(|kind| hex(chain.attribute(kind))).join(" ");
            let name = chain.text(3);
            let _ = write!(out, "\n\tchain {name} {definition}");
            let rules = of(&self.rules, table);
            // NFTA_RULE_CHAIN.
            for rule in rules.filter(|rule| rule.text(2) == name) {
                let _ = write!(out, "\n\t\t{}", expressions(rule.attribute(4)));
            }
        }
        out
    }
}

/// Those of `objects` that are in `table`.
fn of<'d>(objects: &'d [Object], table: &'d Object) -> impl Iterator<Item = &'d Object> {
    let inside = |object: &&Object| object.head() == table.head();
    objects.iter().filter(inside)
}

/// `NFTA_RULE_EXPRESSIONS`: the name of each, and its data unless it counts.
fn expressions(bytes: &[u8]) -> String {
    let words = attributes(bytes).into_iter().map(|(_, expression)| {
        let parts = Object {
            family: "",
            attributes: attributes(&expression),
        };
        match parts.text(1).as_str() {
            "counter" => "counter".to_owned(),
            name => format!("{name} {}", hex(parts.attribute(2))),
        }
    });
    words.collect::<Vec<_>>().join("; ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Reads everything; again if a commit came in between.
fn dump() -> io::Result<Dump> {
    loop {
        let [tables, chains, rules] = [GET_TABLE, GET_CHAIN, GET_RULE].map(list);
        if let (Some(tables), Some(chains), Some(rules)) = (tables?, chains?, rules?) {
            return Ok(Dump {
                tables,
                chains,
                rules,
            });
        }
    }
}

/// One dump; `None` if it was interrupted.
fn list(kind: u16) -> io::Result<Option<Vec<Object>>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(NETFILTER),
    )?;
    let kernel = SocketAddrNetlink::new(0, 0);
    let request = message(kind, DUMP, 1, [0; 4], &[]);
    sendto(&socket, &request, SendFlags::empty(), &kernel)?;
    let mut buffer = vec![0; 1 << 17];
    let (mut objects, mut whole) = (Vec::new(), true);
    loop {
        let (length, _) = recv(&socket, &mut buffer, RecvFlags::empty())?;
        for (kind, flags, body) in messages(&buffer[..length]) {
            whole &= flags & INTERRUPTED == 0;
            match kind {
                DONE => return Ok(whole.then_some(objects)),
                ERROR => {
                    let errno = body
                        .first_chunk::<4>()
                        .map_or(0, |e| i32::from_ne_bytes(*e));
                    return Err(io::Error::from_raw_os_error(-errno));
                }
                _ => objects.extend(object(body)),
            }
        }
    }
}

/// Type, flags and body of each netlink message.
fn messages(mut bytes: &[u8]) -> Vec<(u16, u16, &[u8])> {
    let mut all = Vec::new();
    while let Some(head) = bytes.first_chunk::<16>() {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(body) = bytes.get(16..length) else {
            break;
        };
        let half = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        all.push((half(4), half(6), body));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

fn object(body: &[u8]) -> Option<Object> {
    let (head, rest) = body.split_at_checked(4)?;
    // NFPROTO_* (netfilter.h), by nft's words.
    let family = match head[0] {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    };
    Some(Object {
        family,
        attributes: attributes(rest),
    })
}

fn attributes(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(&[a, b, c, d]) = bytes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = bytes.get(4..length) else {
            break;
        };
        all.push((u16::from_ne_bytes([c, d]) & TYPE, value.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Feature;
    use crate::prefix_chain::try_create;
    use crate::sandbox::Sandbox;

    #[test]
    fn tables_are_read_beside_one_that_nft_cannot_read() {
        crate::skip_without!(Feature::PrefixChains);
        let sandbox = Sandbox::new();
        let ns = sandbox.ns("n").unwrap();
        assert!(ns.enter(try_create).unwrap().unwrap());
        let script = "add table ip t { comment \"c\"; }\nadd set netdev probe s { type ifname; elements = { \"x\" }; }";
        ns.nft(script).unwrap();
        let tables = read(&ns).unwrap();
        assert_eq!(tables.keys().collect::<Vec<_>>(), ["ip t", "netdev probe"]);
        assert_eq!(tables["ip t"], "\tcomment \"c\"");
        let probe = &tables["netdev probe"];
        // The prefix, in the chain's own bytes, and the set, in nft's words.
        assert!(
            probe.contains("chain ingress") && probe.contains(&hex(b"bhp\0")),
            "{probe}"
        );
        assert!(probe.contains("elements = { \"x\" }"), "{probe}");
    }

    #[test]
    fn a_rule_shows_what_it_does_and_not_what_it_counted() {
        crate::skip_without!(Feature::PrefixChains);
        let sandbox = Sandbox::new();
        let ns = sandbox.ns("n").unwrap();
        assert!(ns.enter(try_create).unwrap().unwrap());
        ns.nft("add chain netdev probe c\nadd rule netdev probe c counter packets 5 bytes 9 drop")
            .unwrap();
        let body = read(&ns).unwrap().remove("netdev probe").unwrap();
        let rule = body.lines().find(|line| line.contains("counter")).unwrap();
        assert!(rule.starts_with("\t\tcounter; immediate "), "{rule}");
    }
}
