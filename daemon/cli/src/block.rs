//! `bulkhead block`: who owns which block of which pool.

use bulkhead_ipam::wire::admin::{BlockState, ListedBlock};
use clap::Subcommand;
use serde::Serialize;

use crate::daemon::Reach;
use crate::failure::{Failure, Outcome};
use crate::filter::PlaceArgs;
use crate::output::{Format, Width, columns, lines, or_dash};
use crate::time;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the blocks of the pools, with what is used of each.
    Ls {
        #[command(flatten)]
        filter: PlaceArgs,

        #[command(flatten)]
        reach: Reach,
    },
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    let Command::Ls { filter, reach } = command;
    ls(filter, reach, format).into()
}

fn ls(filter: &PlaceArgs, reach: &Reach, format: Format) -> Result<String, Failure> {
    let blocks = reach.daemon()?.blocks(&filter.filter())?;
    let rows: Vec<_> = blocks.into_iter().map(Row::from).collect();
    Ok(format.render(&rows, |width| text(&rows, width)))
}

/// A block, with its instant as text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    listed: ListedBlock,
    size: u64,
    free: Option<u64>,
    claimed_at: String,
}

impl From<ListedBlock> for Row {
    fn from(listed: ListedBlock) -> Self {
        Self {
            size: size(&listed),
            free: free(&listed),
            claimed_at: time::millis(listed.claimed_at_unix_ms),
            listed,
        }
    }
}

/// Number of its addresses; saturates.
pub(crate) fn size(block: &ListedBlock) -> u64 {
    1_u64.checked_shl(block.bits.into()).unwrap_or(u64::MAX)
}

/// What it has to give at once; `None` if only its owner knows.
fn free(block: &ListedBlock) -> Option<u64> {
    let used = block.held + block.reserved + block.cooling?;
    Some(size(block).saturating_sub(used))
}

const HEADINGS: [&str; 13] = [
    "POOL", "BLOCK", "NODE", "STATE", "SIZE", "HELD", "COOLING", "FREE", "CLAIMED", "NOTE",
    "ORDINAL", "EPOCH", "NODE ID",
];
/// Columns of a narrow table.
const NARROW: usize = 10;

fn text(rows: &[Row], width: Width) -> String {
    columns(&HEADINGS, NARROW, width, rows.iter().map(cells).collect())
}

fn cells(row: &Row) -> Vec<String> {
    let block = &row.listed;
    vec![
        block.pool.clone(),
        lines(&block.prefixes),
        block.node.name.clone(),
        state(block.state).to_owned(),
        row.size.to_string(),
        block.held.to_string(),
        or_dash(block.cooling.map(|number| number.to_string())),
        or_dash(row.free.map(|number| number.to_string())),
        time::seconds(block.claimed_at_unix_ms),
        or_dash(Some(block.note.clone())),
        block.first.to_string(),
        block.epoch.to_string(),
        block.node.id.clone(),
    ]
}

const fn state(state: BlockState) -> &'static str {
    match state {
        BlockState::Active => "active",
        BlockState::Returning => "returning",
        BlockState::Lost => "lost",
        BlockState::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::NodeName;

    use super::*;

    #[test]
    fn a_block_is_a_row() {
        let block = |first, bits, cooling, note: &str| ListedBlock {
            pool: "default".to_owned(),
            first,
            bits,
            prefixes: vec![
                "10.4.0.64/26".parse().unwrap(),
                "fd00:4::40/122".parse().unwrap(),
            ],
            node: NodeName {
                id: "ab".to_owned(),
                name: "node-1".to_owned(),
            },
            epoch: 2,
            claimed_at_unix_ms: 1_772_352_000_000,
            state: BlockState::Active,
            note: note.to_owned(),
            held: 10,
            cooling,
            reserved: 1,
        };
        let rows = [
            Row::from(block(64, 6, Some(3), "")),
            Row::from(block(128, 0, None, "ceded by node-2")),
            Row::from(block(0, 64, Some(0), "")),
        ];
        assert_eq!(rows[0].free, Some(50));
        assert_eq!((rows[1].size, rows[1].free), (1, None));
        assert_eq!(rows[2].size, u64::MAX);
        assert_eq!(
            text(&rows[..2], Width::Narrow),
            "\
POOL     BLOCK           NODE    STATE   SIZE  HELD  COOLING  FREE  CLAIMED               NOTE
default  10.4.0.64/26    node-1  active  64    10    3        50    2026-03-01T08:00:00Z  -
         fd00:4::40/122
default  10.4.0.64/26    node-1  active  1     10    -        -     2026-03-01T08:00:00Z  ceded by node-2
         fd00:4::40/122
"
        );
        assert!(text(&rows[..1], Width::All).contains("64       2      ab"));
    }
}
