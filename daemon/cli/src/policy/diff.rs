//! `bulkhead policy diff`: what a change of policies means for who can talk to whom.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use bulkhead_ipam::wire::admin::{Reply, Request};
use bulkhead_model::{Family, Protocol};
use bulkhead_policy::classes::{What, Who};
use bulkhead_policy::diff::{Change, Difference, diff};
use bulkhead_policy::read::{Reader, Reading};
use bulkhead_policy::representatives::{Representatives, representatives};
use bulkhead_policy::{Decision, PortRange, World};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::PolicyError;
use super::objects::{outcome, read};
use crate::daemon::Reach;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Format;

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// Objects as they were: a file, or a directory with files.
    old: PathBuf,

    /// Objects as they are to be.
    new: PathBuf,

    /// Objects of both, such as the pods. May be given several times. Where there are no pods at all, everybody is
    /// compared whom the selectors of the policies can tell apart.
    #[arg(
        short = 'f',
        long = "file",
        visible_alias = "pods",
        value_name = "FILE"
    )]
    files: Vec<PathBuf>,

    /// Compare the endpoints that the node daemon knows, too.
    #[arg(long)]
    live: bool,

    #[command(flatten)]
    reach: Reach,

    /// Which differences end with exit code 5.
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum FailOn {
    /// Whatever is newly allowed or newly denied.
    #[default]
    Any,
    /// What is newly allowed.
    Allowed,
    /// What is newly denied.
    Denied,
    /// None.
    Never,
}

pub(crate) fn run(args: &DiffArgs, format: Format) -> Outcome {
    match Both::of(args) {
        Ok(both) => compared(args, &both, format),
        Err(failure) => Outcome::partial(String::new(), &[failure]),
    }
}

/// What is compared.
struct Both {
    old: Reading,
    new: Reading,
    /// Who stands for everybody, where nobody is among the objects.
    stand_ins: Option<Representatives>,
}

impl Both {
    /// The old objects and the new ones, each with those of both.
    fn of(args: &DiffArgs) -> Result<Self, Failure> {
        let with = |own: &PathBuf| read(&[&args.files[..], std::slice::from_ref(own)].concat());
        let mut both = Self {
            old: with(&args.old)?,
            new: with(&args.new)?,
            stand_ins: None,
        };
        if args.live {
            let known = args.known()?;
            let worlds = [&mut both.old.world, &mut both.new.world];
            for world in worlds {
                join(world, &known);
            }
        }
        let is_deserted = |reading: &Reading| reading.world.endpoints.is_empty();
        match (is_deserted(&both.old), is_deserted(&both.new)) {
            (false, false) => {}
            (true, true) => both.stand_in(),
            (is_old, _) => {
                let own = if is_old { &args.old } else { &args.new };
                return Err(PolicyError::Deserted(own.display().to_string()).into());
            }
        }
        Ok(both)
    }

    fn stand_in(&mut self) {
        let stand_ins = representatives(&[&self.old.world, &self.new.world]);
        stand_ins.stand_in(&mut self.old.world);
        stand_ins.stand_in(&mut self.new.world);
        self.stand_ins = Some(stand_ins);
    }

    /// Who was compared, in a word.
    const fn judged(&self) -> &'static str {
        match &self.stand_ins {
            None => "objects",
            Some(stand_ins) if stand_ins.is_whole() => "everybody-selectors-tell-apart",
            Some(_) => "some-of-whom-selectors-tell-apart",
        }
    }

    /// Traffic, by the names that ports have.
    fn said(&self, what: What) -> String {
        let name = self.stand_ins.as_ref().and_then(|it| it.name_of(what));
        name.unwrap_or_else(|| what.to_string())
    }
}

impl DiffArgs {
    /// Who is where, as the daemon knows it.
    fn known(&self) -> Result<World, Failure> {
        let request = Request::PolicySnapshot { about: None };
        let documents = self.reach.daemon()?.all(&request, |reply| match reply {
            Reply::Written { documents } => Some(documents),
            _ => None,
        })?;
        let file = "what the daemon knows".to_owned();
        let mut reader = Reader::new();
        let read = reader.read(&file, &documents.join("---\n"));
        read.map_err(|source| PolicyError::Syntax { file, source })?;
        Ok(reader.finish().world)
    }
}

/// Adds who is where; what the objects say themselves stays.
fn join(world: &mut World, known: &World) {
    let of = known.clone();
    for (id, endpoint) in of.endpoints {
        world.endpoints.entry(id).or_insert(endpoint);
    }
    for (name, namespace) in of.namespaces {
        world.namespaces.entry(name).or_insert(namespace);
    }
    for (name, node) in of.nodes {
        world.nodes.entry(name).or_insert(node);
    }
    for (name, network) in of.networks {
        world.networks.entry(name).or_insert(network);
    }
}

fn compared(args: &DiffArgs, both: &Both, format: Format) -> Outcome {
    let Both { old, new, .. } = both;
    let difference = diff(&old.world, &new.world);
    let told = Told::of(both, &difference);
    let mut outcome = outcome(format.render(&told, |_| text(both, &difference)), new);
    for complaint in &old.complaints {
        if !new.complaints.contains(complaint) {
            outcome.stderr.push(complaint.to_string());
        }
    }
    let is_failing = match args.fail_on {
        FailOn::Any => !difference.changes.is_empty(),
        FailOn::Allowed => !told.allowed.is_empty(),
        FailOn::Denied => !told.denied.is_empty(),
        FailOn::Never => false,
    };
    if outcome.exit == Exit::Done && is_failing {
        outcome.exit = Exit::Drift;
    }
    outcome
}

/// For programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// Who was compared.
    judged: &'static str,
    allowed: Vec<ToldChange>,
    denied: Vec<ToldChange>,
    only_old: Vec<String>,
    only_new: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldChange {
    source: Vec<String>,
    destination: Vec<String>,
    traffic: Vec<String>,
    families: Vec<&'static str>,
}

impl Told {
    fn of(both: &Both, difference: &Difference) -> Self {
        let of = |now| {
            let changes = difference.changes.iter().filter(|change| change.now == now);
            changes.map(|change| ToldChange::of(both, change)).collect()
        };
        Self {
            judged: both.judged(),
            allowed: of(Decision::Allow),
            denied: of(Decision::Deny),
            only_old: difference.gone.iter().map(ToString::to_string).collect(),
            only_new: difference.new.iter().map(ToString::to_string).collect(),
        }
    }
}

impl ToldChange {
    fn of(both: &Both, change: &Change) -> Self {
        let families = change.families.iter().map(|family| match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        });
        Self {
            source: named(&change.source),
            destination: named(&change.destination),
            traffic: change.what.iter().map(|what| both.said(*what)).collect(),
            families: families.collect(),
        }
    }
}

fn named(who: &Who) -> Vec<String> {
    match who.outside {
        Some(_) => vec![who.to_string()],
        None => who.members.iter().map(ToString::to_string).collect(),
    }
}

/// As a person reads it: for each destination and traffic, everybody.
fn text(both: &Both, difference: &Difference) -> String {
    let mut text = String::new();
    for (now, heading) in [
        (Decision::Allow, "newly allowed"),
        (Decision::Deny, "newly denied"),
    ] {
        let mut lines: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for change in difference.changes.iter().filter(|change| change.now == now) {
            let families = match change.families[..] {
                // What is outside is of one family anyway.
                [family]
                    if change.source.outside.is_none() && change.destination.outside.is_none() =>
                {
                    format!(" ({family})")
                }
                _ => String::new(),
            };
            let what = format!("{}{families}", traffic(both, &change.what));
            let key = (change.destination.to_string(), what);
            lines
                .entry(key)
                .or_default()
                .push(change.source.to_string());
        }
        if lines.is_empty() {
            continue;
        }
        // Writing to a string does not fail.
        let _ = writeln!(text, "{heading}");
        for ((destination, what), sources) in lines {
            let _ = writeln!(text, "  {} -> {destination}  {what}", sources.join(", "));
        }
    }
    for (ends, which) in [(&difference.gone, "OLD"), (&difference.new, "NEW")] {
        if !ends.is_empty() {
            let names: Vec<String> = ends.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "only in {which}, not compared: {}", names.join(", "));
        }
    }
    if text.is_empty() {
        text.push_str("no difference in who can talk to whom\n");
    }
    if let Some(stand_ins) = &both.stand_ins {
        text.push_str(if stand_ins.is_whole() {
            "there are no pods among the objects: compared is everybody whom the selectors can tell apart\n"
        } else {
            "there are no pods among the objects, and too many that the selectors can tell apart: compared are those with the fewest labels and groups; give pods with -f or --live\n"
        });
    }
    text
}

/// Kinds of traffic; `any traffic` if it is all there is.
fn traffic(both: &Both, what: &[What]) -> String {
    let is_whole = |protocol| what.contains(&What::Ports(protocol, PortRange::ALL));
    let is_all = Protocol::ALL.into_iter().all(is_whole) && what.contains(&What::Other(None));
    if is_all {
        return "any traffic".to_owned();
    }
    let said: Vec<String> = what.iter().map(|what| both.said(*what)).collect();
    said.join(", ")
}
