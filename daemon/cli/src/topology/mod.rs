//! `bulkhead topology`: the nodes, the networks that they have together, and what is on each; for a
//! terminal, or as a drawing.

mod picture;
#[cfg(test)]
mod sample;
mod svg;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_ipam::wire::admin::{Filter, ListedLease, ListedNode, ListedOverlay};
use clap::Args;
use serde::Serialize;

use self::picture::Picture;
use crate::colour::Colour;
use crate::daemon::Reach;
use crate::failure::{Exit, Failure, Outcome, at};
use crate::output::Format;
use crate::time;

#[derive(Args, Debug)]
pub(crate) struct TopologyArgs {
    /// Only this network.
    network: Option<String>,

    /// Write a drawing to this file instead (SVG), or to standard output (`-`).
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    #[command(flatten)]
    colour: Colour,

    #[command(flatten)]
    reach: Reach,
}

/// For programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Topology {
    nodes: Vec<ListedNode>,
    networks: Vec<ListedOverlay>,
    leases: Vec<ListedLease>,
    /// Whether the store answered: without it the networks are as they were heard of last, and nothing is
    /// known of who lives.
    store_answers: bool,
}

pub(crate) fn run(args: &TopologyArgs, format: Format) -> Outcome {
    told(args, format).into()
}

fn told(args: &TopologyArgs, format: Format) -> Result<String, Failure> {
    let topology = Topology::read(args)?;
    if let (Some(network), true) = (&args.network, topology.networks.is_empty()) {
        return Err(Failure::NoOverlay(network.clone()));
    }
    let picture = Picture::of(&topology, time::now_unix_ms());
    match &args.svg {
        Some(file) if file.as_path() == Path::new("-") => Ok(svg::draw(&picture)),
        Some(file) => {
            fs::write(file, svg::draw(&picture)).map_err(at("write", file))?;
            Ok(String::new())
        }
        None => Ok(format.render(&topology, |_| terminal::draw(&picture, args.colour.paint()))),
    }
}

impl Topology {
    fn read(args: &TopologyArgs) -> Result<Self, Failure> {
        let daemon = args.reach.daemon()?;
        let filter = Filter {
            network: args.network.clone(),
            ..Filter::default()
        };
        let networks = daemon.overlays(&filter)?;
        let nodes = if_store_answers(daemon.nodes(&Filter::default()))?;
        let leases = if_store_answers(daemon.leases(&filter))?;
        Ok(Self {
            store_answers: nodes.is_some() && leases.is_some(),
            nodes: nodes.unwrap_or_default(),
            leases: leases.unwrap_or_default(),
            networks,
        })
    }
}

/// The rows; `None` while the store is away.
fn if_store_answers<T>(rows: Result<Vec<T>, Failure>) -> Result<Option<Vec<T>>, Failure> {
    match rows {
        Err(failure) if failure.exit() == Exit::Unreadable => Ok(None),
        rows => rows.map(Some),
    }
}
