//! A whole namespace as comparable text, read by tools that share no code with ours.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Deserializer, Value};

use crate::noise;
use crate::ns::{Ns, NsError};
use crate::ruleset;
use crate::wait::wait_until;

/// What kind of thing an entry of a [`Snapshot`] is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Section {
    /// A link by name, with every attribute `ip -d link` knows.
    Link,
    /// An address on a link.
    Address,
    /// A route of any table and family.
    Route,
    /// A routing rule.
    Rule,
    /// A nexthop object.
    Nexthop,
    /// A neighbour entry that was set, not learned.
    Neighbour,
    /// An FDB entry that was set, not learned.
    Fdb,
    /// One nftables table, without counter values.
    Nft,
    /// A qdisc.
    Qdisc,
    /// A value below `/proc/sys/net`.
    Sysctl,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Address => "address",
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Nexthop => "nexthop",
            Self::Neighbour => "neighbour",
            Self::Fdb => "fdb",
            Self::Nft => "nft",
            Self::Qdisc => "qdisc",
            Self::Sysctl => "sysctl",
        })
    }
}

/// Everything that stood in a namespace at one moment, without what moves by itself (interface
/// indexes, timers, counters, learned neighbours and FDB entries).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    entries: BTreeMap<(Section, String), String>,
}

impl Snapshot {
    /// Reads `ns` with `ip`, `bridge`, `nft`, `tc` and `/proc/sys/net`.
    ///
    /// # Errors
    /// As [`Ns::run`]; `Json` when a tool's output is not JSON.
    pub fn take(ns: &Ns) -> Result<Self, NsError> {
        let mut entries = Entries::default();
        let both = "addr show\nroute show table all\nrule show\nneigh show nud all\nnexthop show\n";
        let [links, routes, rules, neighbours, nexthops] = json_arrays(ns, "ip -j -d -b -", both)?;
        let [rules6] = json_arrays(ns, "ip -6 -j -d -b -", "rule show\n")?;
        let [fdb] = json_arrays(ns, "bridge -j -b -", "fdb show\n")?;
        let [qdiscs] = json_arrays(ns, "tc -j -b -", "qdisc show\n")?;
        for link in links {
            entries.link(link);
        }
        entries.lines(Section::Route, routes);
        entries.lines(Section::Rule, rules);
        entries.lines(Section::Rule, rules6);
        entries.lines(Section::Nexthop, nexthops);
        let set = |entry: &Value| !noise::is_learned_neighbour(entry);
        entries.lines(Section::Neighbour, neighbours.into_iter().filter(set));
        let set = |entry: &Value| !noise::is_learned_fdb(entry);
        entries.lines(Section::Fdb, fdb.into_iter().filter(set));
        entries.lines(Section::Qdisc, qdiscs);
        for (table, body) in ruleset::read(ns)? {
            entries.0.insert((Section::Nft, table), body);
        }
        ns.enter(|| entries.sysctls(Path::new("/proc/sys/net")))?;
        Ok(Self { entries: entries.0 })
    }

    /// The namespace once the kernel has finished what somebody began there: link watch raises and
    /// lowers links after their carrier (`linkwatch_event`, `net/core/link_watch.c`), and an IPv6 address
    /// gets its local route from a work of its own (`addrconf_dad_work`, `net/ipv6/addrconf.c`). After
    /// `limit` as it is then: what never comes is for a comparison to name.
    ///
    /// # Errors
    /// As [`Snapshot::take`], of the last look.
    pub fn settled(ns: &Ns, limit: Duration) -> Result<Self, NsError> {
        let mut last = Self::take(ns);
        wait_until(limit, || {
            if !last.as_ref().is_ok_and(Self::is_settled) {
                last = Self::take(ns);
            }
            last.as_ref().is_ok_and(Self::is_settled).then_some(())
        });
        last
    }

    fn is_settled(&self) -> bool {
        let objects = |values: Vec<&str>| -> Vec<Value> {
            let parsed = values.into_iter().map(serde_json::from_str);
            parsed.map(Result::unwrap_or_default).collect()
        };
        let links = objects(self.section(Section::Link).map(|(_, link)| link).collect());
        let routes = objects(self.section(Section::Route).map(|(it, _)| it).collect());
        let has_route = |link: &str, address: &str| {
            routes.iter().any(|route| {
                route["type"] == "local" && route["dev"] == link && route["dst"] == address
            })
        };
        let is_usable = |key: &str, address: &str| {
            let Some((link, local)) = key.split_once(' ') else {
                return true;
            };
            let local = local.split('/').next().unwrap_or_default();
            !local.contains(':') || (has_route(link, local) && !address.contains("\"tentative\""))
        };
        links.iter().all(shows_its_carrier)
            && self
                .section(Section::Address)
                .all(|(key, address)| is_usable(key, address))
    }

    /// What `later` has more (`+`), less (`-`) or otherwise (`~`), one line each, in a fixed order;
    /// empty when both are the same.
    #[must_use]
    pub fn diff(&self, later: &Self) -> Vec<String> {
        self.diff_where(later, |_, _| true)
    }

    /// As [`Snapshot::diff`], only over entries whose section and key `concerned` accepts. Keys:
    /// the link name; `<link> <address>`; a route's or other object's JSON; `<family> <table>`; the
    /// path below `/proc/sys`.
    #[must_use]
    pub fn diff_where(
        &self,
        later: &Self,
        concerned: impl Fn(Section, &str) -> bool,
    ) -> Vec<String> {
        let before = self.entries.iter();
        let added = later.entries.iter();
        let gone_or_changed = before.filter_map(|(at, old)| match later.entries.get(at) {
            Some(new) if new == old => None,
            Some(new) => Some((at, changed(at, old, new))),
            None => Some((at, format!("- {} {} {old}", at.0, at.1))),
        });
        let new = added
            .filter(|(at, _)| !self.entries.contains_key(*at))
            .map(|(at, value)| (at, format!("+ {} {} {value}", at.0, at.1)));
        let mut lines: Vec<_> = gone_or_changed
            .chain(new)
            .filter(|(at, _)| concerned(at.0, &at.1))
            .collect();
        lines.sort();
        lines
            .into_iter()
            .map(|(_, line)| line.trim_end().to_owned())
            .collect()
    }

    /// What `ns` still has otherwise than here after at most `limit`; returns as soon as nothing
    /// differs. For effects that the kernel finishes behind the caller: a namespace that dies takes
    /// its veth peers along, carrier follows a port. Somebody may be at work there: what goes while it is
    /// looked at refuses that look alone.
    ///
    /// # Errors
    /// As [`Snapshot::take`], of the last look.
    pub fn left_in(&self, ns: &Ns, limit: Duration) -> Result<Vec<String>, NsError> {
        self.left_where(ns, limit, |_, _| true)
    }

    /// As [`Snapshot::left_in`], of what [`Snapshot::diff_where`] compares.
    ///
    /// # Errors
    /// As [`Snapshot::left_in`].
    pub fn left_where(
        &self,
        ns: &Ns,
        limit: Duration,
        concerned: impl Fn(Section, &str) -> bool,
    ) -> Result<Vec<String>, NsError> {
        let mut left = Ok(Vec::new());
        wait_until(limit, || {
            left = Self::take(ns).map(|now| self.diff_where(&now, &concerned));
            let nothing = left.as_ref().is_ok_and(Vec::is_empty);
            nothing.then_some(())
        });
        left
    }

    /// The entries of one section, key and value, sorted by key.
    pub fn section(&self, section: Section) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .filter(move |((s, _), _)| *s == section)
            .map(|((_, key), value)| (key.as_str(), value.as_str()))
    }

    /// The value under a section and key, if it stood there.
    #[must_use]
    pub fn value(&self, section: Section, key: &str) -> Option<&str> {
        let at = (section, key.to_owned());
        self.entries.get(&at).map(String::as_str)
    }
}

/// Whether a link that is up has the state that its carrier brings (RFC 2863 §3.1.14, `ifOperStatus`).
fn shows_its_carrier(link: &Value) -> bool {
    let flags = link["flags"].as_array();
    let has = |flag: &str| flags.is_some_and(|flags| flags.iter().any(|it| it == flag));
    let is_raised = ["UP", "UNKNOWN"].iter().any(|it| link["operstate"] == *it);
    !has("UP") || has("LOWER_UP") == is_raised
}

/// A changed value: of an object only the attributes that differ.
fn changed(at: &(Section, String), old: &str, new: &str) -> String {
    let head = format!("~ {} {}", at.0, at.1);
    let object = |text: &str| match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    };
    let (Some(old_map), Some(new_map)) = (object(old), object(new)) else {
        return format!("{head}: {old} -> {new}");
    };
    let mut keys: Vec<&String> = old_map.keys().chain(new_map.keys()).collect();
    keys.sort();
    keys.dedup();
    let none = Value::Null;
    let fields: Vec<String> = keys
        .into_iter()
        .map(|key| (key, old_map.get(key), new_map.get(key)))
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| {
            format!("{key} {} -> {}", old.unwrap_or(&none), new.unwrap_or(&none))
        })
        .collect();
    format!("{head}: {}", fields.join(", "))
}

/// Runs a batch of dump commands in one process; the answer to each is one array.
fn json_arrays<const N: usize>(
    ns: &Ns,
    tool: &str,
    script: &str,
) -> Result<[Vec<Value>; N], NsError> {
    let mut words = tool.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let text = ns.run(command.args(words), script.as_bytes())?;
    let json = |source| NsError::Json {
        ns: ns.name().to_owned(),
        command: format!("{tool} <<< {script:?}"),
        source,
    };
    let arrays: Vec<Vec<Value>> = Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(json)?;
    arrays.try_into().map_err(|arrays: Vec<_>| {
        let count = format!("{} arrays where {N} were asked for", arrays.len());
        json(serde::de::Error::custom(count))
    })
}

#[derive(Default)]
struct Entries(BTreeMap<(Section, String), String>);

impl Entries {
    fn link(&mut self, mut link: Value) {
        let addresses = link["addr_info"].take();
        noise::strip(&mut link);
        let name = link["ifname"].as_str().unwrap_or_default().to_owned();
        if let Some(map) = link.as_object_mut() {
            map.remove("addr_info");
            // The peer's name in another namespace: not this one's state.
            map.remove("link");
        }
        self.0
            .insert((Section::Link, name.clone()), link.to_string());
        for mut address in addresses.as_array().into_iter().flatten().cloned() {
            noise::strip(&mut address);
            let key = format!(
                "{name} {}/{}",
                address["local"].as_str().unwrap_or_default(),
                address["prefixlen"]
            );
            self.0.insert((Section::Address, key), address.to_string());
        }
    }

    /// Objects without a name of their own: the object is the key, the value how often it stands.
    fn lines(&mut self, section: Section, objects: impl IntoIterator<Item = Value>) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for mut object in objects {
            noise::strip(&mut object);
            *counts.entry(object.to_string()).or_default() += 1;
        }
        for (key, count) in counts {
            let value = if count == 1 {
                String::new()
            } else {
                format!("x{count}")
            };
            self.0.insert((section, key), value);
        }
    }

    fn sysctls(&mut self, directory: &Path) {
        // Interfaces may vanish while the tree is read; what is gone is not there.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.sysctls(&path);
                continue;
            }
            let key = path.strip_prefix("/proc/sys").unwrap_or(&path);
            let key = key.to_string_lossy().into_owned();
            if noise::is_noisy_sysctl(&key) {
                continue;
            }
            if let Ok(value) = fs::read_to_string(&path) {
                let value = value.trim().to_owned();
                self.0.insert((Section::Sysctl, key), value);
            }
        }
    }
}
