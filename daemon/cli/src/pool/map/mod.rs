//! `bulkhead pool map`: whose each block is, how full, and what cools down; for a terminal, or as a
//! drawing.

mod drawing;
#[cfg(test)]
pub(in crate::pool) mod sample;
mod svg;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_ipam::wire::admin::{Filter, ListedBlock, ListedPool};
use clap::Args;
use serde::Serialize;

use self::drawing::Drawing;
use crate::colour::Colour;
use crate::daemon::Reach;
use crate::failure::{Failure, at};
use crate::output::Format;

#[derive(Args, Debug)]
pub(crate) struct MapArgs {
    /// Only this pool.
    pool: Option<String>,

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
struct Map {
    pools: Vec<ListedPool>,
    blocks: Vec<ListedBlock>,
}

pub(super) fn run(args: &MapArgs, format: Format) -> Result<String, Failure> {
    let daemon = args.reach.daemon()?;
    let filter = Filter {
        pool: args.pool.clone(),
        ..Filter::default()
    };
    let map = Map {
        pools: daemon.pools(&filter)?,
        blocks: daemon.blocks(&filter)?,
    };
    if let (Some(pool), true) = (&args.pool, map.pools.is_empty()) {
        return Err(Failure::NoPool(pool.clone()));
    }
    match &args.svg {
        Some(file) if file.as_path() == Path::new("-") => Ok(svg::draw(&map.drawings())),
        Some(file) => {
            let drawn = svg::draw(&map.drawings());
            fs::write(file, drawn).map_err(at("write", file))?;
            Ok(String::new())
        }
        None => Ok(format.render(&map, |_| {
            terminal::draw(&map.drawings(), args.colour.paint())
        })),
    }
}

impl Map {
    fn drawings(&self) -> Vec<Drawing<'_>> {
        let pools = self.pools.iter();
        pools.map(|pool| Drawing::of(pool, &self.blocks)).collect()
    }
}
