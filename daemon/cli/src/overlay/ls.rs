//! `bulkhead overlay ls`.

use bulkhead_ipam::wire::admin::ListedOverlay;

use super::here;
use crate::output::{Format, Width, columns, lines};

const HEADINGS: [&str; 9] = [
    "NETWORK", "VNI", "NODES", "HERE", "MTU", "POOLS", "PORT", "MODE", "PREFIXES",
];
/// Columns of a narrow table.
const NARROW: usize = 6;

pub(super) fn told(rows: &[ListedOverlay], format: Format) -> String {
    format.render(rows, |width| text(rows, width))
}

fn text(rows: &[ListedOverlay], width: Width) -> String {
    columns(&HEADINGS, NARROW, width, rows.iter().map(cells).collect())
}

fn cells(row: &ListedOverlay) -> Vec<String> {
    let mtu = row.here.as_ref().map(|own| own.mtu.to_string());
    vec![
        row.network.clone(),
        row.vni.to_string(),
        row.ends.len().to_string(),
        here(row).to_owned(),
        crate::output::or_dash(mtu),
        lines(&row.pools),
        row.port.to_string(),
        row.mode.clone(),
        lines(&row.prefixes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::sample;

    #[test]
    fn a_network_is_a_row() {
        let elsewhere = ListedOverlay {
            network: "db".to_owned(),
            here: None,
            ..sample::overlay()
        };
        assert_eq!(
            text(&[sample::overlay(), elsewhere], Width::Narrow),
            "\
NETWORK  VNI   NODES  HERE    MTU   POOLS
pods     4096  2      stands  1450  default
db       4096  2      -       -     default
"
        );
    }
}
