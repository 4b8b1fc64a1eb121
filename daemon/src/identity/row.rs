//! An attachment as policies see it: between its record, its row in the store, and the endpoint that it is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_attach::{OverlayEnd, own_prefixes};
use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::cluster::schema::EndpointRow;
use bulkhead_model::{InterfaceAddress, Prefix};
use bulkhead_policy::{
    Endpoint, EndpointId, GroupName, Labels, NamedPort, NodeName, OwnPrefix, Place, Space,
};

/// Where an attachment's addresses mean something: on a segment over all nodes, which has pools and a namespace of
/// its own, they may be another network's too, and are somebody else's there.
pub(super) fn space_of(record: &AttachmentRecord) -> Space {
    let segment = OverlayEnd::of_names(&record.names).and_then(|end| end.segment);
    match segment {
        Some(_) => Space::Network(record.key.network.clone()),
        None => Space::Node,
    }
}

/// The addresses of an endpoint, and the prefixes of which every address is its own too.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Held {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) prefixes: Vec<OwnPrefix>,
}

impl Held {
    /// An address alone.
    pub(super) fn address(address: IpAddr) -> Self {
        Self {
            addresses: vec![address],
            prefixes: Vec::new(),
        }
    }

    /// A prefix, and no address beside it.
    pub(super) fn prefix(own: OwnPrefix) -> Self {
        Self {
            addresses: Vec::new(),
            prefixes: vec![own],
        }
    }

    /// As prefixes, an address as one of its full length.
    pub(crate) fn all(&self) -> BTreeSet<Prefix> {
        let addresses = self.addresses.iter();
        let alone = addresses.map(|address| InterfaceAddress::alone(*address).prefix());
        let prefixes = self.prefixes.iter().map(|own| own.prefix());
        alone.chain(prefixes).collect()
    }

    /// What an attachment has.
    pub(crate) fn of(record: &AttachmentRecord) -> Self {
        Self::of_row(&row_of(record, 0))
    }

    /// What a row says. A prefix of another length than any that is given out is nobody's.
    pub(super) fn of_row(row: &EndpointRow) -> Self {
        let prefixes = row.prefixes.iter();
        Self {
            addresses: row.addresses.clone(),
            prefixes: prefixes
                .filter_map(|prefix| OwnPrefix::new(*prefix))
                .collect(),
        }
    }

    /// Whether both have an address.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let has = |one: &Self, address: &IpAddr| {
            let mut prefixes = one.prefixes.iter();
            one.addresses.contains(address) || prefixes.any(|own| own.contains(*address))
        };
        let mut prefixes = self.prefixes.iter();
        self.addresses.iter().any(|address| has(other, address))
            || other.addresses.iter().any(|address| has(self, address))
            || prefixes.any(|own| other.prefixes.contains(own))
    }
}

/// What is published of an attachment.
pub(super) fn row_of(record: &AttachmentRecord, epoch: u64) -> EndpointRow {
    let addresses = record.addresses.iter();
    EndpointRow {
        attachment: record.key.clone(),
        epoch,
        sequence: record.sequence,
        addresses: addresses.map(|leased| leased.address.address()).collect(),
        prefixes: own_prefixes(
            &record.names,
            record.addresses.iter().map(|leased| &leased.address),
        ),
        pod: record.pod.clone(),
        labels: record.labels.clone(),
        ports: record.ports.clone(),
        since_unix_ms: record.created_at_unix_ms,
    }
}

/// The name that policies and operators know it by: its pod's, or else its network's and its container's.
pub(super) fn id_of(row: &EndpointRow) -> EndpointId {
    let key = &row.attachment;
    let (namespace, name) = match &row.pod {
        Some(pod) => (pod.namespace.clone(), pod.name.clone()),
        None => (key.network.to_string(), key.container.to_string()),
    };
    EndpointId {
        namespace,
        name,
        network: Some(key.network.clone()),
    }
}

/// What is known of an endpoint, of all the rows that have its name, each with its node and what of its
/// addresses it has. Several there are where a pod has two interfaces on a network, and while it moves; the newest says
/// what it is, its addresses are those of all.
pub(super) fn endpoint_of(
    rows: &[(NodeName, &EndpointRow, Held)],
    groups: BTreeSet<GroupName>,
) -> Option<Endpoint> {
    let newest = |(_, row, _): &&(NodeName, &EndpointRow, Held)| (row.since_unix_ms, row.sequence);
    let (node, newest, _) = rows.iter().max_by_key(newest)?;
    let port = |port: &bulkhead_ipam::cluster::schema::PortName| {
        Some(NamedPort {
            name: port.name.clone(),
            protocol: port.protocol.parse().ok()?,
            port: port.port,
        })
    };
    Some(Endpoint {
        labels: newest.labels.iter().collect::<Labels>(),
        groups,
        addresses: rows
            .iter()
            .flat_map(|(_, _, held)| held.addresses.iter().copied())
            .collect(),
        prefixes: rows
            .iter()
            .flat_map(|(_, _, held)| held.prefixes.iter().copied())
            .collect(),
        ports: newest.ports.iter().filter_map(port).collect(),
        node: Some(node.clone()),
        place: Place::Port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_segment_mean_something_on_it_alone() {
        let record = |names: &str| -> AttachmentRecord {
            let text = format!(
                r#"{{"key": {{"network": "red", "container": "c1", "interface": "eth0"}},
                "sequence": 1, "boot_id": "7c0e7e26-9d1c-4d5e-8c5b-0c6c2a2c9a11",
                "created_at_unix_ms": 1, "kind": "vxlan", "ipam": "own", "names": {names}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let overlay = |segment: &str| {
            let end = format!(
                r#"{{"vni": 7, "port": 4789, "pools": ["red"], "local": "192.0.2.1", "mtu": 1450, "direct": false{segment}}}"#
            );
            serde_json::json!({"other": {"overlay": end}}).to_string()
        };
        let segment = r#", "segment": {"netns": "/run/bulkhead/red", "exit": 1, "v4": true, "v6": true, "replicate": true}"#;
        let red = Space::Network("red".parse().unwrap());
        assert_eq!(space_of(&record(&overlay(segment))), red);
        for names in [overlay(""), "{}".to_owned()] {
            assert_eq!(space_of(&record(&names)), Space::Node, "{names}");
        }
    }
}
