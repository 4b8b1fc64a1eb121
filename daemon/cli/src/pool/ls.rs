//! `bulkhead pool ls`.

use bulkhead_ipam::wire::admin::{Filter, ListedPool, PoolState, PoolUsage};
use clap::Args;

use crate::daemon::Reach;
use crate::failure::Failure;
use crate::output::{Format, Width, columns, count, labels, lines, or_dash};

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Only this one.
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

pub(super) fn run(args: &LsArgs, format: Format) -> Result<String, Failure> {
    let filter = Filter {
        pool: args.pool.clone(),
        ..Filter::default()
    };
    let pools = args.reach.daemon()?.pools(&filter)?;
    Ok(format.render(&pools, |width| text(&pools, width)))
}

const HEADINGS: [&str; 19] = [
    "POOL",
    "STATE",
    "PREFIX",
    "BLOCK",
    "PRIORITY",
    "SIZE",
    "HELD",
    "COOLING",
    "FREE",
    "BLOCKS",
    "NODES",
    "CLAIMED",
    "RESERVED",
    "BORROWED",
    "LEAKED",
    "COOLDOWN",
    "STRICT",
    "NODE LABELS",
    "NAMESPACES",
];
/// Columns of a narrow table.
const NARROW: usize = 11;

fn text(pools: &[ListedPool], width: Width) -> String {
    columns(&HEADINGS, NARROW, width, pools.iter().map(cells).collect())
}

fn cells(pool: &ListedPool) -> Vec<String> {
    let (spec, usage) = (&pool.spec, &pool.usage);
    let block = spec
        .block_bits
        .and_then(|bits| 1_u64.checked_shl(bits.into()));
    vec![
        spec.name.clone(),
        state(pool.state).to_owned(),
        lines(spec.v4.iter().chain(&spec.v6)),
        or_dash(block.map(|size| size.to_string())),
        spec.priority.to_string(),
        count(usage.size.into()),
        usage.held.to_string(),
        usage.cooling.to_string(),
        count(free(usage).into()),
        usage.blocks.to_string(),
        pool.nodes.to_string(),
        count(usage.claimed.into()),
        usage.reserved.to_string(),
        usage.borrowed.to_string(),
        usage.leaked.to_string(),
        or_dash(spec.cooldown_secs.map(|secs| format!("{secs} s"))),
        if spec.strict { "yes" } else { "no" }.to_owned(),
        labels(&spec.node_labels),
        lines(&spec.namespaces),
    ]
}

/// What a pool has left to give, in blocks or not.
pub(super) const fn free(usage: &PoolUsage) -> u64 {
    usage
        .size
        .saturating_sub(usage.held)
        .saturating_sub(usage.cooling)
}

pub(super) const fn state(state: PoolState) -> &'static str {
    match state {
        PoolState::Enabled => "enabled",
        PoolState::Draining => "draining",
        PoolState::Disabled => "disabled",
        PoolState::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::map::sample;

    #[test]
    fn a_pool_is_a_row() {
        let pools = [sample::pool()];
        assert_eq!(
            text(&pools, Width::Narrow),
            "\
POOL     STATE    PREFIX        BLOCK  PRIORITY  SIZE  HELD  COOLING  FREE  BLOCKS  NODES
default  enabled  10.4.0.0/22   64     0         1021  93    5        923   4       3
                  fd00:4::/118
"
        );
        let wide = text(&pools, Width::All);
        assert!(
            wide.contains(
                "193      1         1         0       60 s      no      rack=3       web"
            ),
            "{wide}"
        );
    }
}
