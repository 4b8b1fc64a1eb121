//! What is read anew whenever somebody reads the metrics or asks for the status.

use std::fs;

use crate::metrics::{PoolLabels, set};
use crate::node::Node;

/// Sets every gauge to what is.
pub(crate) fn refresh(node: &Node) {
    let metrics = &node.metrics;
    let attachments = i64::try_from(node.attachments()).unwrap_or(i64::MAX);
    metrics.attachments.set(attachments);
    let resident = i64::try_from(resident_kib() * 1024).unwrap_or(i64::MAX);
    metrics.resident.set(resident);
    for network in node.state.networks().unwrap_or_default() {
        let known = node.state.network(&network).read().ok().flatten();
        let Some(usage) = known.and_then(|known| known.usage().ok()) else {
            continue;
        };
        for set_usage in usage {
            let state = |state, value: u128| {
                let labels = PoolLabels {
                    pool: format!("{network}/{}", set_usage.set),
                    state,
                };
                set(
                    &metrics.addresses,
                    &labels,
                    u64::try_from(value).unwrap_or(u64::MAX),
                );
            };
            state("held", u128::from(set_usage.held));
            state("cooling", u128::from(set_usage.cooling));
            state("free", set_usage.free);
        }
    }
}

/// Memory that the process occupies (`VmRSS` of proc(5)), in KiB; 0 without a `/proc`.
pub(crate) fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
