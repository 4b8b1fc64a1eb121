//! `bulkhead policy matrix`.

mod drawing;

use std::net::IpAddr;

use bulkhead_model::Family;
use bulkhead_policy::matrix::{Cell, End, Matrix, Probe, matrix};
use bulkhead_policy::{Decision, Engine, Interpreter, Matcher, Space, Traffic, World};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::PolicyError;
use super::objects::{Objects, outcome};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, Width, table};

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
        args.ports.clone()
    };
    let engine: Box<dyn Engine + '_> = match args.engine {
        Kind::Matcher => Box::new(Matcher::new(world)),
        Kind::Ruleset => Box::new(Interpreter::new(world)),
    };
    let matrix = matrix(world, &*engine, &args.outside, probes).map_err(PolicyError::from)?;
    Ok(match format {
        Format::Svg => drawing::svg(&matrix),
        Format::Html => drawing::html(&matrix),
        Format::Table | Format::Wide | Format::Json | Format::Yaml => {
            let told = Told::of(args.engine, world, &matrix);
            format.render(&told, |width| text(&matrix, width))
        }
    })
}

/// As a person reads it: a grid for all ports that have the same one.
fn text(matrix: &Matrix, width: Width) -> String {
    let mut text = String::new();
    if matrix.cells.is_empty() {
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
    for sheet in matrix.sheets() {
        let mut row_of = vec!["FROM \\ TO"];
        row_of.extend(headings.iter().map(String::as_str));
        let rows: Vec<Vec<String>> = matrix
            .ends
            .iter()
            .zip(&sheet.decisions)
            .enumerate()
            .map(|(nth, (end, row))| {
                let name = format!("{} {end}", nth + 1);
                let cells = row.iter().map(|decision| sign(*decision).to_owned());
                std::iter::once(name).chain(cells).collect()
            })
            .collect();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&matrix.heading(&sheet));
        text.push('\n');
        text.push_str(&table(&row_of, &rows));
    }
    text
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
struct Told {
    engine: &'static str,
    ports: Vec<String>,
    ends: Vec<ToldEnd>,
    allowed: usize,
    denied: usize,
    cells: Vec<ToldCell>,
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
struct ToldCell {
    source: String,
    destination: String,
    /// As it was asked for.
    probe: String,
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

impl Told {
    fn of(engine: Kind, world: &World, matrix: &Matrix) -> Self {
        let cells: Vec<ToldCell> = matrix
            .cells
            .iter()
            .map(|cell| ToldCell::of(matrix, cell))
            .collect();
        let allowed = cells.iter().filter(|cell| cell.allowed).count();
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
            denied: cells.len() - allowed,
            cells,
        }
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
                let endpoint = world.endpoints.get(id);
                let addresses = endpoint
                    .into_iter()
                    .flat_map(|endpoint| &endpoint.addresses);
                Self {
                    name,
                    namespace: Some(id.namespace.clone()),
                    pod: Some(id.name.clone()),
                    network: id.network.as_ref().map(ToString::to_string),
                    addresses: addresses.copied().collect(),
                }
            }
        }
    }
}

impl ToldCell {
    fn of(matrix: &Matrix, cell: &Cell) -> Self {
        let is = |decision: Decision| decision == Decision::Allow;
        let probe = &matrix.probes[cell.probe];
        let port = match cell.traffic {
            Some(Traffic::Port { port, .. }) => Some(port),
            _ => None,
        };
        Self {
            source: matrix.ends[cell.source].to_string(),
            destination: matrix.ends[cell.destination].to_string(),
            probe: probe.to_string(),
            protocol: match probe {
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
