//! `bulkhead overlay peers`.

use bulkhead_ipam::wire::admin::{ListedEnd, ListedOverlay};
use serde::Serialize;

use super::state;
use crate::output::{Format, Width, columns, lines, or_dash};
use crate::time;

const HEADINGS: [&str; 12] = [
    "NETWORK",
    "NODE",
    "STATE",
    "UNDERLAY",
    "SEEN",
    "BLOCKS",
    "MTU",
    "VERSION",
    "MAC",
    "HELD",
    "SAID",
    "IN THE WAY",
];
/// Columns of a narrow table.
const NARROW: usize = 6;

/// An end, with its network.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    network: &'a str,
    /// Whether it is the asked node's own.
    here: bool,
    #[serde(flatten)]
    end: &'a ListedEnd,
}

pub(super) fn told(overlays: &[ListedOverlay], format: Format) -> String {
    let rows = rows(overlays);
    let now = time::now_unix_ms();
    format.render(&rows, |width| text(&rows, now, width))
}

fn rows(overlays: &[ListedOverlay]) -> Vec<Row<'_>> {
    overlays.iter().flat_map(of).collect()
}

fn of(overlay: &ListedOverlay) -> Vec<Row<'_>> {
    let own = overlay.here.as_ref().map(|own| &own.name.id);
    let mut rows = Vec::new();
    for end in &overlay.ends {
        rows.push(Row {
            network: &overlay.network,
            here: own == Some(&end.name.id),
            end,
        });
    }
    rows
}

fn text(rows: &[Row<'_>], now_unix_ms: u64, width: Width) -> String {
    let cells = rows.iter().map(|row| cells(row, now_unix_ms));
    columns(&HEADINGS, NARROW, width, cells.collect())
}

fn cells(row: &Row<'_>, now_unix_ms: u64) -> Vec<String> {
    let end = row.end;
    let ago = |at| format!("{} ago", time::ago(at, now_unix_ms));
    let routes: Vec<&str> = end.obstacles.iter().map(|it| it.route.as_str()).collect();
    let mark = if row.here { " (here)" } else { "" };
    vec![
        row.network.to_owned(),
        format!("{}{mark}", end.name.name),
        reached(end),
        end.underlay.to_string(),
        crate::node::seen_text(end.seen_at_unix_ms, now_unix_ms),
        lines(&end.blocks),
        end.mtu.to_string(),
        or_dash(Some(end.version.clone())),
        end.mac.to_string(),
        end.held.to_string(),
        ago(end.at_unix_ms),
        lines(&routes),
    ]
}

/// The node's state, marked if something else leads to what is behind it.
fn reached(end: &ListedEnd) -> String {
    let state = state(end.state);
    if end.obstacles.is_empty() {
        state.to_owned()
    } else {
        format!("{state}, hindered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::sample;

    #[test]
    fn a_node_to_which_somebody_elses_route_leads_is_marked() {
        let mut overlays = [sample::overlay()];
        overlays[0].ends[1].obstacles.push(sample::obstacle());
        let said = text(&rows(&overlays), sample::NOW, Width::All);
        assert!(
            said.contains("n2         active, hindered  192.0.2.12"),
            "{said}"
        );
        let route = "10.4.12.0/26 via 192.0.2.99 dev eth0 proto static metric 0";
        assert!(said.contains(route), "{said}");
    }

    #[test]
    fn a_node_is_a_row_for_each_network() {
        let overlays = [sample::overlay()];
        assert_eq!(
            text(&rows(&overlays), sample::NOW, Width::Narrow),
            "\
NETWORK  NODE       STATE   UNDERLAY    SEEN              BLOCKS
pods     n1 (here)  active  192.0.2.11  4 s ago           10.4.11.0/26
                                                          fd00:4::b00/122
pods     n2         active  192.0.2.12  not heard of yet  10.4.12.0/26
                                                          fd00:4::c00/122
"
        );
    }
}
