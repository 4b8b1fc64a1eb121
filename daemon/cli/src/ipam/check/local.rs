//! The networks of a directory that no daemon has: each with ranges of its own, whose journal is the one
//! witness. What the kernel holds for each attachment is `bulkhead check`'s to compare.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_ipam::cluster::check::Rule;
use bulkhead_ipam::wire::admin::{CheckReport, Evidence, Violation, Witness};
use bulkhead_ipam::{AttachmentRecord, Ipam, Pool};
use bulkhead_model::NetworkName;

use crate::failure::{Failure, chain};
use crate::sources::Sources;

pub(super) fn report(sources: &Sources) -> Result<CheckReport, Failure> {
    let (networks, failures) = sources.select(None)?;
    let mut report = CheckReport {
        unread: failures.iter().map(|failure| chain(failure)).collect(),
        ..CheckReport::default()
    };
    for network in &networks {
        let read = network.read().and_then(|snapshot| {
            let Some(snapshot) = snapshot else {
                return Ok(None);
            };
            let records = snapshot.attachments().map_err(|source| Failure::Store {
                network: network.name.clone(),
                source,
            })?;
            Ok(Some((records, snapshot.pool().cloned())))
        });
        match read {
            Ok(Some((records, pool))) => {
                let place = network
                    .state_dir
                    .join("networks")
                    .join(network.name.as_str());
                let place = place.display().to_string();
                report.pools += u64::from(pool.is_some());
                report.attachments += u64::try_from(records.len()).unwrap_or(u64::MAX);
                report.leases += own(&records).count() as u64;
                report.violations.extend(of_network(
                    &network.name,
                    &place,
                    &records,
                    pool.as_ref(),
                ));
            }
            Ok(None) => {}
            Err(failure) => report.unread.push(chain(&failure)),
        }
    }
    Ok(report)
}

/// Those whose addresses the network's own ranges gave.
fn own(records: &[AttachmentRecord]) -> impl Iterator<Item = &AttachmentRecord> {
    let is_own = |record: &&AttachmentRecord| record.ipam == Ipam::Own && record.pool.is_none();
    records.iter().filter(is_own)
}

fn of_network(
    network: &NetworkName,
    place: &str,
    records: &[AttachmentRecord],
    pool: Option<&Pool>,
) -> Vec<Violation> {
    let mut holders: BTreeMap<IpAddr, Vec<&AttachmentRecord>> = BTreeMap::new();
    for record in own(records) {
        for leased in &record.addresses {
            holders
                .entry(leased.address.address())
                .or_default()
                .push(record);
        }
    }
    let says = |record: &&AttachmentRecord| Evidence {
        source: Witness::Journal,
        place: place.to_owned(),
        says: format!("{} has it", record.key),
    };
    let violation =
        |rule: Rule, address: &IpAddr, text: &str, of: &[&AttachmentRecord]| Violation {
            rule: rule.name().to_owned(),
            subject: format!("{address} of network {network}"),
            text: text.to_owned(),
            evidence: of.iter().map(says).collect(),
        };
    let mut violations = Vec::new();
    for (address, of) in &holders {
        if of.len() > 1 {
            let text = "several attachments hold it; delete all of these containers but one";
            violations.push(violation(Rule::AddressTwice, address, text, of));
        }
        if pool.is_some_and(|pool| pool.gateway_of(*address).is_some()) {
            let text = "it is the gateway's, and an attachment holds it; delete the container";
            violations.push(violation(Rule::AddressNeverGiven, address, text, of));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::{Range, RangeSet};
    use serde_json::json;

    use super::*;

    fn record(container: &str, address: &str) -> AttachmentRecord {
        let json = json!({
            "key": {"network": "blue", "container": container, "interface": "eth0"},
            "sequence": 1, "boot_id": "a", "created_at_unix_ms": 0, "kind": "bridge", "ipam": "own",
            "addresses": [{"address": address}],
        });
        serde_json::from_value(json).unwrap()
    }

    fn rules(records: &[AttachmentRecord]) -> Vec<String> {
        let pool = Pool {
            sets: vec![RangeSet {
                ranges: vec![Range::of("10.0.0.0/24".parse().unwrap())],
            }],
            ..Pool::default()
        };
        let network = "blue".parse().unwrap();
        let violations = of_network(&network, "/d", records, Some(&pool)).into_iter();
        violations
            .map(|violation| format!("{} {}", violation.rule, violation.subject))
            .collect()
    }

    #[test]
    fn an_address_of_two_and_a_gateway_that_is_held_are_violations() {
        let sound = [record("a", "10.0.0.2/24"), record("b", "10.0.0.3/24")];
        assert_eq!(rules(&sound), [""; 0]);
        let twice = [record("a", "10.0.0.2/24"), record("b", "10.0.0.2/24")];
        assert_eq!(rules(&twice), ["address-twice 10.0.0.2 of network blue"]);
        let gateway = [record("a", "10.0.0.1/24")];
        assert_eq!(
            rules(&gateway),
            ["address-never-given 10.0.0.1 of network blue"]
        );
        let mut foreign = [record("a", "10.0.0.2/24"), record("b", "10.0.0.2/24")];
        for record in &mut foreign {
            record.ipam = Ipam::None;
        }
        assert_eq!(
            rules(&foreign),
            [""; 0],
            "whose addresses are not ours to judge"
        );
    }
}
