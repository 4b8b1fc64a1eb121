//! `bulkhead endpoint`: what goes through the ports of this node's attachments.

use bulkhead_ipam::wire::admin::ListedEndpoint;
use clap::{Args, Subcommand};

use crate::daemon::Reach;
use crate::failure::{Failure, Outcome};
use crate::filter::FilterArgs;
use crate::output::{Format, Width, columns, labels, or_dash};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the ports of this node's attachments, with what went through each since it was made.
    Ls(LsArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    let Command::Ls(args) = command;
    ls(args, format).into()
}

fn ls(args: &LsArgs, format: Format) -> Result<String, Failure> {
    let rows = args.reach.daemon()?.endpoints(&args.filter.filter())?;
    Ok(format.render(&rows, |width| text(&rows, width)))
}

const HEADINGS: [&str; 10] = [
    "ATTACHMENT",
    "POD",
    "LABELS",
    "PORT",
    "RECEIVED",
    "SENT",
    "RECEIVED DROPPED",
    "SENT DROPPED",
    "RECEIVED BYTES",
    "SENT BYTES",
];
/// Columns of a narrow table.
const NARROW: usize = 8;

fn text(rows: &[ListedEndpoint], width: Width) -> String {
    columns(&HEADINGS, NARROW, width, rows.iter().map(cells).collect())
}

fn cells(row: &ListedEndpoint) -> Vec<String> {
    let packets = |packets: u64, bytes: u64| format!("{packets} packets, {}", amount(bytes));
    vec![
        crate::ipam::name(&row.key),
        or_dash(row.pod.as_ref().map(crate::ipam::pod)),
        labels(&row.labels),
        row.port.to_string(),
        packets(row.received_packets, row.received_bytes),
        packets(row.sent_packets, row.sent_bytes),
        row.received_dropped.to_string(),
        row.sent_dropped.to_string(),
        row.received_bytes.to_string(),
        row.sent_bytes.to_string(),
    ]
}

/// Bytes in the largest unit of which there are ten.
fn amount(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut left = bytes;
    let mut nth = 0;
    while left >= 10 << 10 && nth + 1 < UNITS.len() {
        left >>= 10;
        nth += 1;
    }
    format!("{left} {}", UNITS[nth])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_row() {
        let row = ListedEndpoint {
            key: bulkhead_model::AttachmentKey {
                network: "blue".parse().unwrap(),
                container: "c1".parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            },
            pod: None,
            labels: [("app".to_owned(), "cart".to_owned())].into(),
            port: "bhpn7nyh4lwdprh".parse().unwrap(),
            received_packets: 12,
            received_bytes: 10_239,
            sent_packets: 3,
            sent_bytes: 300 << 20,
            received_dropped: 0,
            sent_dropped: 4,
        };
        assert_eq!(
            text(&[row], Width::Narrow),
            "\
ATTACHMENT    POD  LABELS    PORT             RECEIVED             SENT                RECEIVED DROPPED  SENT DROPPED
blue/c1/eth0  -    app=cart  bhpn7nyh4lwdprh  12 packets, 10239 B  3 packets, 300 MiB  0                 4
"
        );
        assert_eq!(amount(10 << 10), "10 KiB");
        assert_eq!(amount(u64::MAX), "16383 PiB");
    }
}
