//! `bulkhead ipam who ADDRESS --at TIME`: who had an address at an instant, from the audit.

mod tenure;

use std::fmt::Write;
use std::net::IpAddr;

use bulkhead_ipam::wire::admin::{ChangeKind, ListedChange, NodeName, Reason};
use bulkhead_ipam::{Change, Event};
use clap::Args;
use serde::Serialize;

use self::tenure::Tenure;
use super::lease::short;
use crate::daemon::{Daemon, DaemonError, Socket};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, Width, lines, or_dash, table};
use crate::sources::{Network, Sources};
use crate::time::{self, When};

#[derive(Args, Debug)]
pub(crate) struct WhoArgs {
    /// The address.
    address: IpAddr,

    /// When: an instant (2026-03-01T08:00:00Z), or how long ago (`2 hours ago`, `90m`).
    #[arg(long, value_name = "TIME", default_value = "now")]
    at: When,

    #[command(flatten)]
    socket: Socket,

    #[command(flatten)]
    sources: Sources,
}

/// What one pool or network knows of the address.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    address: IpAddr,
    /// `pool default`, `network blue`.
    of: String,
    /// Those that are given together with it.
    addresses: Vec<IpAddr>,
    /// RFC 3339, UTC.
    at: String,
    /// Who had it then; several if clocks of nodes disagree.
    holders: Vec<Tenure>,
    /// Whether it is not known, since changes of that time are kept no more.
    forgotten: bool,
    /// Every change that is kept, oldest first.
    changes: Vec<Past>,
    #[serde(skip)]
    since_unix_ms: u64,
}

/// A change, with its instant as text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Past {
    at: String,
    #[serde(flatten)]
    change: ListedChange,
}

pub(super) fn run(args: &WhoArgs, format: Format) -> Outcome {
    let mut failures = Vec::new();
    let mut known = Vec::new();
    let at_unix_ms = args.at.unix_ms(time::now_unix_ms());
    match args.socket.named(&args.sources.state_dir) {
        Ok(Some(daemon)) => match of_pools(&daemon, args.address, at_unix_ms) {
            Ok(found) => known.extend(found),
            Err(failure) => failures.push(failure),
        },
        Ok(None) => {}
        Err(failure) => failures.push(failure),
    }
    match args.sources.select(None) {
        Ok((networks, unread)) => {
            failures.extend(unread);
            for network in &networks {
                match of_network(network, args.address, at_unix_ms) {
                    Ok(found) => known.extend(found),
                    Err(failure) => failures.push(failure),
                }
            }
        }
        Err(failure) => failures.push(failure),
    }
    if known.is_empty() && failures.is_empty() {
        failures.push(Failure::NoAddress(args.address));
    }
    let stdout = format.render(&known, |width| {
        let texts: Vec<_> = known.iter().map(|known| known.text(width)).collect();
        texts.join("\n")
    });
    Outcome::partial(stdout, &failures)
}

/// Nothing if no pool has it.
fn of_pools(daemon: &Daemon, address: IpAddr, at_unix_ms: u64) -> Result<Vec<Known>, Failure> {
    let found = match daemon.who(address) {
        Err(Failure::Daemon(DaemonError::Refused(error))) if error.code == Reason::NotFound => {
            Vec::new()
        }
        found => found?,
    };
    let known = found.into_iter().map(|history| {
        let of = format!("pool {}", history.pool);
        let (addresses, changes) = (history.addresses, history.changes);
        let since_unix_ms = history.since_unix_ms;
        Known::new((address, of), addresses, changes, since_unix_ms, at_unix_ms)
    });
    Ok(known.collect())
}

/// `None` if it never had anything to do with it. Networks keep their audit within bounds of bytes: what
/// is older than the oldest change is not known.
fn of_network(
    network: &Network,
    address: IpAddr,
    at_unix_ms: u64,
) -> Result<Option<Known>, Failure> {
    let Some(snapshot) = network.read()? else {
        return Ok(None);
    };
    let history = snapshot.history(address).map_err(|source| Failure::Store {
        network: network.name.clone(),
        source,
    })?;
    if history.is_empty() {
        return Ok(None);
    }
    let changes = history.into_iter().map(change).collect();
    let of = format!("network {}", network.name);
    Ok(Some(Known::new(
        (address, of),
        vec![address],
        changes,
        0,
        at_unix_ms,
    )))
}

fn change(event: Event) -> ListedChange {
    let (what, reason) = match event.change {
        Change::Acquired => (ChangeKind::Acquired, String::new()),
        Change::Released(reason) => (ChangeKind::Released, reason),
    };
    ListedChange {
        at_unix_ms: event.at_unix_ms,
        what,
        node: NodeName::default(),
        attachment: Some(event.key),
        pod: None,
        sequence: Some(event.sequence),
        reason,
    }
}

impl Known {
    fn new(
        (address, of): (IpAddr, String),
        addresses: Vec<IpAddr>,
        mut changes: Vec<ListedChange>,
        since_unix_ms: u64,
        at_unix_ms: u64,
    ) -> Self {
        changes.sort_by_key(|change| change.at_unix_ms);
        let tenures = Tenure::all(&changes);
        Self {
            address,
            of,
            addresses,
            at: time::millis(at_unix_ms),
            holders: tenures
                .into_iter()
                .filter(|tenure| tenure.covers(at_unix_ms))
                .collect(),
            forgotten: at_unix_ms < since_unix_ms,
            changes: changes
                .into_iter()
                .map(|change| Past {
                    at: time::millis(change.at_unix_ms),
                    change,
                })
                .collect(),
            since_unix_ms,
        }
    }

    fn text(&self, width: Width) -> String {
        let mut text = format!(
            "address    {}\nof         {}\nat         {}\n",
            lines(&self.addresses).replace('\n', " "),
            self.of,
            self.at,
        );
        for holder in &self.holders {
            text += &holder.text();
        }
        match (self.holders.is_empty(), self.forgotten) {
            (true, false) => text += "holder     nobody\n",
            (true, true) => {
                let since = time::seconds(self.since_unix_ms);
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "holder     not known: changes before {since} are not kept"
                );
            }
            (false, _) => {}
        }
        let shown = match width {
            Width::Narrow => self.changes.len().saturating_sub(LATEST),
            Width::All => 0,
        };
        if shown > 0 {
            let _ = writeln!(text, "\n{shown} earlier changes: -o wide");
        }
        if !self.changes.is_empty() {
            let rows: Vec<_> = self.changes[shown..]
                .iter()
                .map(|past| cells(&past.change))
                .collect();
            let _ = write!(text, "\n{}", table(&HEADINGS, &rows));
        }
        text
    }
}

/// Changes in a narrow table: a screen's worth.
const LATEST: usize = 20;

const HEADINGS: [&str; 6] = ["AT", "CHANGE", "ATTACHMENT", "POD", "NODE", "REASON"];

fn cells(change: &ListedChange) -> Vec<String> {
    let attachment = change.attachment.as_ref();
    vec![
        time::seconds(change.at_unix_ms),
        what(change.what).to_owned(),
        or_dash(attachment.map(|key| {
            format!(
                "{}/{}/{}",
                key.network,
                short(&key.container),
                key.interface
            )
        })),
        or_dash(change.pod.as_ref().map(super::pod)),
        or_dash(Some(change.node.name.clone())),
        or_dash(Some(change.reason.clone())),
    ]
}

const fn what(what: ChangeKind) -> &'static str {
    match what {
        ChangeKind::Acquired => "acquired",
        ChangeKind::Released => "released",
        ChangeKind::Reclaimed => "reclaimed",
        ChangeKind::Claimed => "block claimed",
        ChangeKind::Returned => "block returned",
        ChangeKind::Ceded => "block ceded",
        ChangeKind::Lost => "lost",
        ChangeKind::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::PodName;
    use bulkhead_model::AttachmentKey;

    use super::*;

    const MINUTE: u64 = 60_000;
    const START: u64 = 1_772_352_000_000;

    fn change(minute: u64, what: ChangeKind, container: &str, reason: &str) -> ListedChange {
        ListedChange {
            at_unix_ms: START + minute * MINUTE,
            what,
            node: NodeName {
                id: "ab".to_owned(),
                name: "node-1".to_owned(),
            },
            attachment: Some(AttachmentKey {
                network: "blue".parse().unwrap(),
                container: container.parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            }),
            pod: Some(PodName {
                namespace: "web".to_owned(),
                name: format!("{container}-0"),
            }),
            sequence: Some(minute),
            reason: reason.to_owned(),
        }
    }

    fn known(minute: u64, since_unix_ms: u64) -> Known {
        let changes = vec![
            change(0, ChangeKind::Acquired, "c1", ""),
            ListedChange {
                sequence: Some(0),
                ..change(10, ChangeKind::Released, "c1", "del")
            },
            change(20, ChangeKind::Acquired, "c2", ""),
        ];
        let address = "10.4.0.9".parse().unwrap();
        let addresses = vec![address, "fd00:4::9".parse().unwrap()];
        let of = (address, "pool default".to_owned());
        Known::new(
            of,
            addresses,
            changes,
            since_unix_ms,
            START + minute * MINUTE,
        )
    }

    #[test]
    fn who_had_it_is_told_with_from_and_until() {
        assert_eq!(
            known(5, 0).text(Width::Narrow),
            "\
address    10.4.0.9 fd00:4::9
of         pool default
at         2026-03-01T08:05:00.000Z
holder     blue/c1/eth0
pod        web/c1-0
node       node-1
from       2026-03-01T08:00:00Z
until      2026-03-01T08:10:00Z, released: del

AT                    CHANGE    ATTACHMENT    POD       NODE    REASON
2026-03-01T08:00:00Z  acquired  blue/c1/eth0  web/c1-0  node-1  -
2026-03-01T08:10:00Z  released  blue/c1/eth0  web/c1-0  node-1  del
2026-03-01T08:20:00Z  acquired  blue/c2/eth0  web/c2-0  node-1  -
"
        );
        let now = known(60, 0).text(Width::Narrow);
        assert!(now.contains("holder     blue/c2/eth0\npod        web/c2-0\nnode       node-1\nfrom       2026-03-01T08:20:00Z\nuntil      now\n"), "{now}");
    }

    #[test]
    fn nobody_is_an_answer_and_so_is_not_known() {
        assert!(
            known(15, 0)
                .text(Width::Narrow)
                .contains("holder     nobody\n")
        );
        let forgotten = known(0, START + MINUTE);
        let forgotten = Known {
            holders: Vec::new(),
            ..forgotten
        };
        assert!(
            forgotten.text(Width::Narrow).contains(
                "holder     not known: changes before 2026-03-01T08:01:00Z are not kept\n"
            )
        );
    }

    #[test]
    fn a_long_history_is_cut_for_a_narrow_screen() {
        let mut known = known(5, 0);
        let changes = (0..30).map(|minute| change(minute, ChangeKind::Claimed, "c1", ""));
        known.changes = changes
            .map(|change| Past {
                at: String::new(),
                change,
            })
            .collect();
        let narrow = known.text(Width::Narrow);
        assert!(narrow.contains("10 earlier changes: -o wide\n"), "{narrow}");
        assert_eq!(narrow.matches("block claimed").count(), LATEST);
        assert_eq!(known.text(Width::All).matches("block claimed").count(), 30);
    }
}
