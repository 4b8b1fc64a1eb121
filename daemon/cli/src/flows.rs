//! `bulkhead flows`: what policies allow and deny on this node, as it happens. The kernel's log has an entry
//! for what was denied, and for what is allowed as long as somebody asks for that; samples where there is much.
//! The daemon knows what each verdict stands for and who has which address.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_ipam::wire::admin::{KnownVerdict, Reply, Request};
use bulkhead_kernel::{LogListener, Logged};
use bulkhead_policy::OwnPrefix;
use bulkhead_policy::compile::{LOG_GROUP, OWN_NODE, STRANGER};
use clap::Args;
use serde::Serialize;

use crate::daemon::{Daemon, Reach};
use crate::failure::{Failure, Outcome};
use crate::guard::{duration, summary};
use crate::output::{Format, visible};
use crate::time;

/// Bytes of each packet: as many as the rules log.
const SNAPLEN: u32 = 128;
/// How long one wait for an entry is: then it is looked whether the daemon is still there.
const WAIT: Duration = Duration::from_secs(1);
/// What the rules' prefix begins with.
const PREFIX: &str = "bulkhead policy ";
/// How often the same flow is told at most.
const APART: Duration = Duration::from_secs(1);
/// Flows that are told apart before those of the last second are forgotten.
const MOST: usize = 10_000;

#[derive(Args, Debug)]
pub(crate) struct FlowsArgs {
    /// Only what was denied, or would be by a policy in audit.
    #[arg(long, conflicts_with = "allowed")]
    denied: bool,

    /// Only what was allowed.
    #[arg(long)]
    allowed: bool,

    /// End after so many lines.
    #[arg(short, long, value_name = "FLOWS")]
    count: Option<u64>,

    /// End after so long: 10s, 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    limit: Option<Duration>,

    #[command(flatten)]
    reach: Reach,
}

/// Packets of a flow that were told alike.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    at: String,
    /// `allow`, `deny`, or `audit` for what goes on and a policy in audit would have denied.
    verdict: String,
    /// Whose say it was, its sender's or its receiver's.
    direction: Option<String>,
    /// Who decided.
    cause: Option<String>,
    /// The policies in audit that would have denied it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would_deny: Vec<String>,
    from: String,
    to: String,
    /// What is sent.
    what: String,
    /// How many packets were logged alike since the last line about it.
    packets: u64,
}

pub(crate) fn run(args: &FlowsArgs, format: Format) -> Outcome {
    match listen(args, format) {
        Err(Failure::Reader(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(String::new())
        }
        other => other.map(|()| String::new()),
    }
    .into()
}

fn listen(args: &FlowsArgs, format: Format) -> Result<(), Failure> {
    let began = Instant::now();
    let heard = |source| Failure::Log {
        group: LOG_GROUP,
        source,
    };
    let mut known = Known::of(args.reach.daemon()?)?;
    let mut listener = LogListener::open(LOG_GROUP, SNAPLEN).map_err(heard)?;
    let telling = if args.denied {
        None
    } else {
        Some(Telling::begin(known.daemon.clone())?)
    };
    let mut told = Told::default();
    let mut left = args.count;
    while left != Some(0) {
        let patience = match args.limit {
            Some(limit) => limit.saturating_sub(began.elapsed()).min(WAIT),
            None => WAIT,
        };
        if patience.is_zero() {
            return Ok(());
        }
        let logged = listener.next(patience).map_err(heard)?;
        telling.as_ref().map_or(Ok(()), Telling::goes_on)?;
        let Some(logged) = logged else {
            continue;
        };
        // Somebody else's rules may log to the group too.
        let Some((verdict, id)) = entry(&logged.prefix) else {
            continue;
        };
        let is_allowed = verdict == "allow";
        if (args.denied && is_allowed) || (args.allowed && !is_allowed) {
            continue;
        }
        let row = known.row(verdict, id, logged.clone());
        let Some(packets) = told.count(&row, Instant::now()) else {
            continue;
        };
        print(&Row { packets, ..row }, format)?;
        left = left.map(|left| left.saturating_sub(1));
    }
    Ok(())
}

/// The word and the id of a verdict: `bulkhead policy deny 0f3a...`.
fn entry(prefix: &str) -> Option<(&str, &str)> {
    let said = prefix.strip_prefix(PREFIX)?.trim();
    if said == STRANGER.as_str() {
        return Some(("deny", said));
    }
    let (word, id) = said.split_once(' ')?;
    matches!(word, "allow" | "deny" | "audit").then_some((word, id))
}

/// That the kernel tells of what is allowed. The daemon sees to it for as long as it is asked to.
struct Telling(Receiver<Result<(), Failure>>);

impl Telling {
    /// Waits until it is so.
    fn begin(daemon: Daemon) -> Result<Self, Failure> {
        let (said, news) = mpsc::channel();
        // What the daemon says has to be read, or it takes us for gone.
        thread::spawn(move || keep(&daemon, &said));
        // The thread says how it ends.
        news.recv().unwrap_or(Ok(()))?;
        Ok(Self(news))
    }

    /// Why it is not so any more.
    fn goes_on(&self) -> Result<(), Failure> {
        self.0.try_recv().unwrap_or(Ok(()))
    }
}

/// Says that it has begun, and why it has ended.
fn keep(daemon: &Daemon, said: &Sender<Result<(), Failure>>) {
    let begun = |reply| match reply {
        Reply::TellsAllowed => {
            // Whoever listened is gone, and so are we then.
            let _ = said.send(Ok(()));
            Ok(true)
        }
        _ => Ok(false),
    };
    let kept = daemon.ask_while(&Request::TellAllowed, begun);
    let _ = said.send(kept);
}

/// The verdicts that are no policy's.
fn no_policy() -> [KnownVerdict; 2] {
    let stands_for = |id: &str, direction: &str, decision: &str, cause: &str| KnownVerdict {
        id: id.to_owned(),
        direction: direction.to_owned(),
        decision: decision.to_owned(),
        cause: cause.to_owned(),
        would_deny: Vec::new(),
    };
    let stranger = "no endpoint has that address on that device";
    [
        stands_for(OWN_NODE.as_str(), "ingress", "allow", "own node"),
        stands_for(STRANGER.as_str(), "-", "deny", stranger),
    ]
}

/// What the daemon knows, asked again when something is not among it.
struct Known {
    daemon: Daemon,
    verdicts: BTreeMap<String, KnownVerdict>,
    names: BTreeMap<IpAddr, String>,
    /// Of those who have all addresses of a prefix.
    prefixes: BTreeMap<OwnPrefix, String>,
    asked: Instant,
}

impl Known {
    fn of(daemon: Daemon) -> Result<Self, Failure> {
        let mut known = Self {
            daemon,
            verdicts: BTreeMap::new(),
            names: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            asked: Instant::now(),
        };
        known.ask()?;
        Ok(known)
    }

    fn ask(&mut self) -> Result<(), Failure> {
        let verdicts = self.daemon.all(&Request::Verdicts, |reply| match reply {
            Reply::Verdicts { rows } => Some(rows),
            _ => None,
        })?;
        let endpoints = self.daemon.all(&Request::Known, |reply| match reply {
            Reply::Known { rows } => Some(rows),
            _ => None,
        })?;
        let verdicts = verdicts.into_iter().chain(no_policy());
        self.verdicts = verdicts.map(|one| (one.id.clone(), one)).collect();
        // The kernel's log is of the node's own namespace.
        let known = || endpoints.iter().filter(|known| !known.apart);
        let prefixed = known().flat_map(|known| {
            let prefixes = known.prefixes.iter();
            let prefixes = prefixes.filter_map(|prefix| OwnPrefix::new(*prefix));
            prefixes.map(|own| (own, known.endpoint.to_string()))
        });
        self.prefixes = prefixed.collect();
        let named = known().flat_map(|known| {
            let addresses = known.addresses.iter();
            addresses.map(|address| (*address, known.endpoint.to_string()))
        });
        self.names = named.collect();
        self.asked = Instant::now();
        Ok(())
    }

    fn row(&mut self, verdict: &str, id: &str, logged: Logged) -> Row {
        let (from, to, what) = ends(logged);
        let is_known = |known: &Self| {
            let has = |end: &Result<IpAddr, String>| match end {
                Ok(address) => known.name_of(*address).is_some(),
                Err(_) => true,
            };
            known.verdicts.contains_key(id) && has(&from) && has(&to)
        };
        // What cannot be asked is told by its numbers.
        if !is_known(self) && self.asked.elapsed() >= APART {
            let _ = self.ask();
            self.asked = Instant::now();
        }
        let stands_for = self.verdicts.get(id);
        Row {
            at: time::millis(time::now_unix_ms()),
            verdict: verdict.to_owned(),
            direction: stands_for.map(|known| known.direction.clone()),
            cause: stands_for.map(|known| known.cause.clone()),
            would_deny: stands_for
                .map(|known| known.would_deny.clone())
                .unwrap_or_default(),
            from: self.name(&from),
            to: self.name(&to),
            what,
            packets: 1,
        }
    }

    /// Who has an address, by itself or with all of its prefix.
    fn name_of(&self, address: IpAddr) -> Option<&String> {
        let prefixed = || self.prefixes.get(&OwnPrefix::around(address)?);
        self.names.get(&address).or_else(prefixed)
    }

    fn name(&self, end: &Result<IpAddr, String>) -> String {
        match end {
            Ok(address) => match self.name_of(*address) {
                Some(name) => format!("{name} ({address})"),
                None => address.to_string(),
            },
            Err(text) => text.clone(),
        }
    }
}

/// From where to where, and what.
fn ends(mut logged: Logged) -> (Result<IpAddr, String>, Result<IpAddr, String>, String) {
    logged.header.clear();
    let text = summary(&logged);
    let mut words = text.splitn(4, ' ');
    let (from, _, to) = (words.next(), words.next(), words.next());
    let end = |word: Option<&str>| {
        let word = word.unwrap_or("?");
        word.parse().map_err(|_| word.to_owned())
    };
    match (end(from), end(to)) {
        (from @ Ok(_), to @ Ok(_)) => (from, to, words.next().unwrap_or_default().to_owned()),
        _ => (Err("?".to_owned()), Err("?".to_owned()), text),
    }
}

/// What was told lately.
#[derive(Default)]
struct Told(BTreeMap<String, (Instant, u64)>);

impl Told {
    /// How many packets a line about `row` stands for; `None` if there was one about its flow a moment ago.
    fn count(&mut self, row: &Row, now: Instant) -> Option<u64> {
        if self.0.len() > MOST {
            self.0.retain(|_, (at, _)| now.duration_since(*at) < APART);
        }
        // The sender's port is another one with every connection.
        let (what, port) = row.what.rsplit_once(" > ").unwrap_or((&row.what, ""));
        let kind = what.split(' ').next().unwrap_or_default();
        let whose = row.direction.as_deref().unwrap_or_default();
        let flow = format!(
            "{} {whose} {} {} {kind} {port}",
            row.verdict, row.from, row.to
        );
        match self.0.get_mut(&flow) {
            Some((at, waiting)) if now.duration_since(*at) < APART => {
                *waiting += 1;
                None
            }
            Some((at, waiting)) => {
                *at = now;
                Some(std::mem::take(waiting) + 1)
            }
            None => {
                self.0.insert(flow, (now, 0));
                Some(1)
            }
        }
    }
}

fn print(row: &Row, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Json => {
            let text = serde_json::to_string(row);
            text.expect("strings have a JSON form") + "\n"
        }
        // A stream of YAML is documents (YAML 1.2.2 §9.2).
        Format::Yaml => format!("---\n{}", format.render(row, |_| String::new())),
        _ => line(row) + "\n",
    };
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes());
    written
        .and_then(|()| stdout.flush())
        .map_err(Failure::Reader)
}

fn line(row: &Row) -> String {
    let direction = row.direction.as_deref().unwrap_or("-");
    let who = match (row.verdict.as_str(), &row.cause) {
        ("audit", _) if !row.would_deny.is_empty() => {
            format!("would be denied by {}", row.would_deny.join(", "))
        }
        (_, cause) => cause
            .clone()
            .unwrap_or_else(|| "a policy of before".to_owned()),
    };
    let times = match row.packets {
        1 => String::new(),
        packets => format!("  x{packets}"),
    };
    visible(&format!(
        "{}  {:<5}  {direction:<7}  {} > {}  {}  {who}{times}",
        row.at, row.verdict, row.from, row.to, row.what
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str) -> Row {
        Row {
            at: "2030-01-01T00:00:00.000Z".to_owned(),
            verdict: "deny".to_owned(),
            direction: Some("ingress".to_owned()),
            cause: Some("isolated by NetworkPolicy shop/db".to_owned()),
            would_deny: Vec::new(),
            from: "shop/web-0@blue (10.4.0.5)".to_owned(),
            to: "10.4.0.9".to_owned(),
            what: what.to_owned(),
            packets: 3,
        }
    }

    #[test]
    fn a_flow_is_a_line() {
        assert_eq!(
            line(&row("TCP 40000 > 5432")),
            "2030-01-01T00:00:00.000Z  deny   ingress  shop/web-0@blue (10.4.0.5) > 10.4.0.9  TCP 40000 > 5432  isolated by NetworkPolicy shop/db  x3"
        );
        assert_eq!(entry("bulkhead policy deny 0f3a"), Some(("deny", "0f3a")));
        for (prefix, verdict) in [
            ("bulkhead policy stranger", ("deny", "stranger")),
            ("bulkhead policy allow own-node", ("allow", "own-node")),
        ] {
            assert_eq!(entry(prefix), Some(verdict));
            assert!(no_policy().iter().any(|known| known.id == verdict.1));
        }
        for other in [
            "bulkhead arp",
            "bulkhead policy",
            "policy deny 1",
            "bulkhead policy pass 1",
        ] {
            assert_eq!(entry(other), None, "{other}");
        }
    }

    #[test]
    fn a_flow_is_told_once_a_second_with_what_was_not_told() {
        let (mut told, now) = (Told::default(), Instant::now());
        let late = now + APART;
        assert_eq!(told.count(&row("TCP 40000 > 5432"), now), Some(1));
        assert_eq!(told.count(&row("TCP 40001 > 5432"), now), None);
        assert_eq!(told.count(&row("TCP 40001 > 5433"), now), Some(1));
        assert_eq!(told.count(&row("TCP 40002 > 5432"), late), Some(2));
        assert_eq!(told.count(&row("TCP 40003 > 5432"), late + APART), Some(1));
        let sender = Row {
            direction: Some("egress".to_owned()),
            ..row("TCP 40003 > 5432")
        };
        assert_eq!(told.count(&sender, late + APART), Some(1), "its own say");
    }

    #[test]
    fn a_packet_is_told_by_its_ends() {
        let mut udp = vec![
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 5, 10, 1, 0, 1,
        ];
        udp.extend([0x10, 0x01, 0x12, 0xb5, 0, 8, 0, 0]);
        let logged = |payload: &[u8]| Logged {
            protocol: 0x0800,
            header: vec![0; 14],
            payload: payload.to_vec(),
            ..Logged::default()
        };
        let (from, to, what) = ends(logged(&udp));
        let ends_of = (from.unwrap().to_string(), to.unwrap().to_string());
        assert_eq!(ends_of, ("10.1.0.5".to_owned(), "10.1.0.1".to_owned()));
        assert_eq!(what, "UDP 4097 > 4789");
        let (from, _, what) = ends(logged(&udp[..7]));
        assert_eq!(
            (from.unwrap_err(), what.as_str()),
            ("?".to_owned(), "Ethernet type 0x0800, cut short")
        );
    }
}
