//! `bulkhead policy matrix`.

mod drawing;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;

use bulkhead_model::Family;
use bulkhead_policy::matrix::{Cell, End, Matrix, Probe, matrix};
use bulkhead_policy::{Decision, EndpointId, Engine, Interpreter, Matcher, Space, Traffic, World};
use clap::{Args, ValueEnum};
use serde::{Serialize, Serializer};

use super::PolicyError;
use super::objects::{Objects, outcome};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, Width, visible};

#[derive(Args, Debug)]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    objects: Objects,

    /// Who decides: what is written, read word by word (`matcher`), or what would be loaded (`ruleset`).
    #[arg(long, value_enum, default_value_t, value_name = "ENGINE")]
    engine: Kind,

    /// What to ask about: `80/tcp`, `http/tcp`, `icmp`, `protocol/47`; several with commas. What policies
    /// and pods speak of if left out.
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    ports: Vec<Probe>,

    /// Addresses outside, which stand among the pods; several with commas.
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    outside: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Kind {
    #[default]
    Matcher,
    Ruleset,
}

pub(crate) fn run(args: &MatrixArgs, format: Format) -> Outcome {
    let reading = match args.objects.read() {
        Ok(reading) => reading,
        Err(failure) => return Outcome::partial(String::new(), &[failure]),
    };
    match told(args, &reading.world, format) {
        Ok(stdout) => {
            let mut outcome = outcome(stdout, &reading);
            if args.engine == Kind::Ruleset {
                outcome.stderr.extend(loaded_nowhere(&reading.world));
            }
            outcome
        }
        Err(failure) => Outcome::partial(String::new(), &[failure]),
    }
}

/// What is to be known of networks whose tables no node loads.
fn loaded_nowhere(world: &World) -> impl Iterator<Item = String> {
    let networks = world.networks.iter();
    let apart = networks.filter(|(_, network)| network.space != Space::Node);
    apart.map(|(name, _)| {
        format!(
            "network {name} has addresses of its own: it is compiled by itself, and no node loads that, since policies are not enforced on such networks"
        )
    })
}

fn told(args: &MatrixArgs, world: &World, format: Format) -> Result<String, Failure> {
    let probes = if args.ports.is_empty() {
        Probe::of_world(world)
    } else {
        let mut seen = BTreeSet::new();
        let asked = args.ports.iter().filter(|probe| seen.insert(*probe));
        asked.cloned().collect()
    };
    let engine: Box<dyn Engine + '_> = match args.engine {
        Kind::Matcher => Box::new(Matcher::new(world)),
        Kind::Ruleset => Box::new(Interpreter::new(world)),
    };
    let matrix = matrix(world, &*engine, &args.outside, probes).map_err(PolicyError::from)?;
    Ok(match format {
        Format::Svg => drawing::svg(&matrix),
        Format::Html => drawing::html(&matrix),
        Format::Table => text(&matrix, Width::Narrow),
        Format::Wide => text(&matrix, Width::All),
        Format::Json => {
            // Of 2,000 pods it has gigabytes, and nobody needs all of them at once.
            print(&Told::of(args.engine, world, &matrix))?;
            String::new()
        }
        Format::Yaml => format.render(&Told::of(args.engine, world, &matrix), |_| String::new()),
    })
}

/// Prints it as JSON at once. A reader that has gone away has seen enough.
fn print(told: &Told<'_>) -> Result<(), Failure> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut stdout, told).map_err(io::Error::from);
    let written = written
        .and_then(|()| stdout.write_all(b"\n"))
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Reader(error)),
        _ => Ok(()),
    }
}

/// As a person reads it: a grid for all ports that have the same one.
fn text(matrix: &Matrix, width: Width) -> String {
    let mut text = String::new();
    if matrix.asked() == 0 {
        return "no two pods have addresses of a family\n".to_owned();
    }
    let headings: Vec<String> = matrix
        .ends
        .iter()
        .enumerate()
        .map(|(nth, end)| match width {
            Width::All => end.to_string(),
            Width::Narrow => (nth + 1).to_string(),
        })
        .collect();
    let names: Vec<String> = matrix
        .ends
        .iter()
        .enumerate()
        .map(|(nth, end)| format!("{} {end}", nth + 1))
        .collect();
    for sheet in matrix.sheets() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&matrix.heading(&sheet));
        text.push('\n');
        let rows = names.iter().zip(&sheet.decisions);
        grid(
            &mut text,
            &headings,
            rows.map(|(name, row)| (name.as_str(), row.as_slice())),
        );
    }
    text
}

/// As [`crate::output::table`] would print it, whose cells are too large for millions of them.
fn grid<'m>(
    text: &mut String,
    headings: &[String],
    rows: impl Iterator<Item = (&'m str, &'m [Option<Decision>])> + Clone,
) {
    const CORNER: &str = "FROM \\ TO";
    let one_line = |name: &str| visible(name).replace('\n', "\u{fffd}");
    let length = |text: &str| text.chars().count();
    let headings: Vec<String> = headings.iter().map(|name| one_line(name)).collect();
    let widths: Vec<usize> = headings.iter().map(|heading| length(heading)).collect();
    let names = rows.clone().map(|(name, _)| length(name));
    let first = names.chain([length(CORNER)]).max().unwrap_or_default();
    let mut line = |name: &str, cells: &mut dyn Iterator<Item = &str>| {
        let mut line = format!("{name:first$}");
        for (cell, width) in cells.zip(&widths) {
            line.push_str("  ");
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(length(cell))));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(CORNER, &mut headings.iter().map(String::as_str));
    for (name, row) in rows {
        line(
            &one_line(name),
            &mut row.iter().map(|decision| sign(*decision)),
        );
    }
}

const fn sign(decision: Option<Decision>) -> &'static str {
    match decision {
        Some(Decision::Allow) => ".",
        Some(Decision::Deny) => "X",
        None => "",
    }
}

/// For programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'m> {
    engine: &'static str,
    ports: Vec<String>,
    ends: Vec<ToldEnd>,
    allowed: usize,
    denied: usize,
    cells: ToldCells<'m>,
}

/// The cells, each of which is told as it is printed.
#[derive(Debug)]
struct ToldCells<'m> {
    matrix: &'m Matrix,
    ends: Vec<String>,
    probes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldEnd {
    name: String,
    namespace: Option<String>,
    pod: Option<String>,
    network: Option<String>,
    addresses: Vec<IpAddr>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToldCell<'m> {
    source: &'m str,
    destination: &'m str,
    /// As it was asked for.
    probe: &'m str,
    protocol: String,
    port: Option<u16>,
    family: &'static str,
    source_address: IpAddr,
    destination_address: IpAddr,
    allowed: bool,
    egress: Option<bool>,
    ingress: Option<bool>,
    loopback: bool,
}

impl<'m> Told<'m> {
    fn of(engine: Kind, world: &World, matrix: &'m Matrix) -> Self {
        let allowed = matrix.allowed();
        Self {
            engine: match engine {
                Kind::Matcher => "matcher",
                Kind::Ruleset => "ruleset",
            },
            ports: matrix.probes.iter().map(ToString::to_string).collect(),
            ends: matrix
                .ends
                .iter()
                .map(|end| ToldEnd::of(world, end))
                .collect(),
            allowed,
            denied: matrix.asked() - allowed,
            cells: ToldCells {
                matrix,
                ends: matrix.ends.iter().map(ToString::to_string).collect(),
                probes: matrix.probes.iter().map(ToString::to_string).collect(),
            },
        }
    }
}

impl Serialize for ToldCells<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cells = self.matrix.cells();
        serializer.collect_seq(cells.map(|cell| self.told(&cell)))
    }
}

impl ToldEnd {
    fn of(world: &World, end: &End) -> Self {
        let name = end.to_string();
        match end {
            End::Address(address) => Self {
                name,
                namespace: None,
                pod: None,
                network: None,
                addresses: vec![*address],
            },
            End::Endpoint(id) => {
                let endpoint = world.endpoints.get(id).into_iter();
                let addresses = endpoint.flat_map(|endpoint| &endpoint.addresses);
                Self::of_endpoint(name, id, addresses.copied().collect())
            }
            End::Part(id, _) => {
                let addresses = [Family::V4, Family::V6].map(|family| end.address(world, family));
                Self::of_endpoint(name, id, addresses.into_iter().flatten().collect())
            }
        }
    }

    fn of_endpoint(name: String, id: &EndpointId, addresses: Vec<IpAddr>) -> Self {
        Self {
            name,
            namespace: Some(id.namespace.clone()),
            pod: Some(id.name.clone()),
            network: id.network.as_ref().map(ToString::to_string),
            addresses,
        }
    }
}

impl ToldCells<'_> {
    fn told(&self, cell: &Cell) -> ToldCell<'_> {
        let is = |decision: Decision| decision == Decision::Allow;
        let port = match cell.traffic {
            Some(Traffic::Port { port, .. }) => Some(port),
            _ => None,
        };
        ToldCell {
            source: &self.ends[cell.source],
            destination: &self.ends[cell.destination],
            probe: &self.probes[cell.probe],
            protocol: match &self.matrix.probes[cell.probe] {
                Probe::Port(protocol, _) | Probe::Named(protocol, _) => protocol.to_string(),
                Probe::Echo => "icmp".to_owned(),
                Probe::Protocol(number) => number.to_string(),
            },
            port,
            family: family(cell.family),
            source_address: cell.addresses.0,
            destination_address: cell.addresses.1,
            allowed: is(cell.judgement.decision),
            egress: cell.judgement.egress.map(is),
            ingress: cell.judgement.ingress.map(is),
            loopback: cell.is_loopback(),
        }
    }
}

const fn family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}
