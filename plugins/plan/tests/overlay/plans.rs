//! The plans themselves, as golden files; `BULKHEAD_BLESS=1` rewrites them.

#![expect(clippy::disallowed_methods, reason = "golden plans are files")]

use std::path::Path;

use bulkhead_plan::{Tunnels, Want, World};

use crate::{
    converged, damaged, device, direct, gone, moved, narrow, node, over_ipv6, overlay, planned,
    told, tunnels, wanted,
};

#[track_caller]
pub(crate) fn reads(name: &str, world: &World, want: &Want) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/overlay/plans");
    let file = folder.join(format!("{name}.txt"));
    let text = planned(world, want).to_string();
    if std::env::var_os("BULKHEAD_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    let file = file.display();
    assert_eq!(text, golden, "{file} differs; BULKHEAD_BLESS=1 rewrites it");
}

#[test]
fn plans_read_as_the_lines_an_operator_would_type() {
    let stood = converged(&node(), &wanted(overlay()));
    reads("from-nothing", &node(), &wanted(overlay()));
    reads("over-ipv6", &node(), &wanted(over_ipv6()));
    reads("becomes-direct", &stood, &wanted(direct()));
    reads("block-moved", &stood, &wanted(moved()));
    reads("becomes-narrow", &stood, &wanted(narrow()));
    reads("gone", &converged(&node(), &wanted(direct())), &gone());
    for (name, world) in damaged() {
        if !["nothing-yet", "nothing", "moved"].contains(&name) {
            reads(&format!("mended-{name}"), &world, &wanted(overlay()));
        }
    }
}

#[test]
fn the_filter_reads_as_a_table_and_changes_by_element() {
    let stood = converged(&node(), &told(tunnels()));
    reads("filter", &node(), &told(tunnels()));
    let mut other = tunnels();
    other.known.pop_first();
    other.pools.pop_first();
    reads("filter-changed", &stood, &told(other));
    let mut clamped = tunnels();
    clamped.clamped = [device()].into();
    reads("filter-clamps", &stood, &told(clamped));
    let mut sealed = tunnels();
    sealed.sealed.insert(8472);
    reads("filter-seals", &stood, &told(sealed));
    reads("filter-gone", &stood, &told(Tunnels::default()));
}
