//! Packets and bytes of the node's ports, as the kernel counts them (`/proc/net/dev`, proc(5)). What a
//! port receives, its container has sent.

use std::collections::HashMap;
use std::fs;

use bulkhead_ipam::wire::admin::{Filter, ListedEndpoint, PAGE_ROWS, Reply, RequestError};

use super::gc::{is_of, pod};
use super::{Admin, Replies, failed};

/// The file, of the thread's own namespace.
const COUNTERS: &str = "/proc/thread-self/net/dev";

/// What a port received and sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counters {
    received: Direction,
    sent: Direction,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Direction {
    bytes: u64,
    packets: u64,
    dropped: u64,
}

impl Admin {
    pub(super) fn endpoints(
        &self,
        filter: &Filter,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let text = fs::read_to_string(COUNTERS);
        let text = text.map_err(|error| failed(&format!("{COUNTERS}: {error}")))?;
        let counters = counters(&text);
        let mut rows = Vec::new();
        let state = &self.node.state;
        for network in state
            .networks()
            .map_err(|error| failed(&crate::told::chain(&error)))?
        {
            let known = state.network(&network).read();
            let records = known.and_then(|known| known.map_or(Ok(Vec::new()), |k| k.attachments()));
            for record in records.map_err(|error| failed(&crate::told::chain(&error)))? {
                let port = record.names.port.filter(|_| is_of(&record, filter));
                let counted = port.and_then(|port| Some((port, counters.get(port.as_str())?)));
                rows.extend(counted.map(|(port, counted)| ListedEndpoint {
                    pod: pod(&record),
                    labels: record.labels.clone(),
                    key: record.key.clone(),
                    port,
                    received_packets: counted.sent.packets,
                    received_bytes: counted.sent.bytes,
                    sent_packets: counted.received.packets,
                    sent_bytes: counted.received.bytes,
                    received_dropped: counted.sent.dropped,
                    sent_dropped: counted.received.dropped,
                }));
            }
        }
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        while rows.len() > PAGE_ROWS {
            let rest = rows.split_off(PAGE_ROWS);
            replies.say(Reply::Endpoints { rows });
            rows = rest;
        }
        Ok(Reply::Endpoints { rows })
    }
}

/// By interface: receive bytes, packets, errs, drop, fifo, frame, compressed, multicast, then transmit
/// bytes, packets, errs, drop.
fn counters(text: &str) -> HashMap<&str, Counters> {
    text.lines().filter_map(counted).collect()
}

fn counted(line: &str) -> Option<(&str, Counters)> {
    let (name, numbers) = line.split_once(':')?;
    let numbers = numbers.split_whitespace().map_while(|n| n.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    let direction = |at: usize| {
        Some(Direction {
            bytes: *numbers.get(at)?,
            packets: *numbers.get(at + 1)?,
            dropped: *numbers.get(at + 3)?,
        })
    };
    let counters = Counters {
        received: direction(0)?,
        sent: direction(8)?,
    };
    Some((name.trim(), counters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_interface() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
             lo: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n\
             bhpx: 10 20 0 1 0 0 0 0 30 40 0 2 0 0 0 0\n";
        let counters = counters(text);
        assert_eq!(counters.len(), 2);
        let port = counters["bhpx"];
        assert_eq!(
            (
                port.received.bytes,
                port.received.packets,
                port.received.dropped
            ),
            (10, 20, 1)
        );
        assert_eq!(
            (port.sent.bytes, port.sent.packets, port.sent.dropped),
            (30, 40, 2)
        );
    }
}
