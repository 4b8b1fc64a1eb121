//! A small cluster, for tests.

use bulkhead_ipam::wire::admin::{
    LeaseState, ListedEnd, ListedLease, ListedNode, ListedOverlay, NodeName, NodeState, OwnEnd,
    PodName,
};
use bulkhead_model::{AttachmentKey, Encryption, Mtu, VXLAN_PORT, Vni};

use super::Topology;

pub(super) const NOW: u64 = 1_772_352_000_000;

fn name(name: &str) -> NodeName {
    NodeName {
        id: format!("{name}0123456789abcdef"),
        name: name.to_owned(),
    }
}

fn node(called: &str, state: NodeState, seen_at_unix_ms: Option<u64>) -> ListedNode {
    ListedNode {
        name: name(called),
        state,
        epoch: 1,
        addresses: Vec::new(),
        version: "0.1.0".to_owned(),
        labels: [].into(),
        started_at_unix_ms: None,
        seen_at_unix_ms,
        blocks: 1,
        claimed: 64,
        held: 2,
        statement: String::new(),
    }
}

fn end(called: &str, last: u8, blocks: &[&str]) -> ListedEnd {
    ListedEnd {
        name: name(called),
        state: NodeState::Active,
        underlay: [192, 0, 2, last].into(),
        mac: format!("02:5e:00:53:00:{last:02x}").parse().unwrap(),
        mtu: Mtu::new(1450).unwrap(),
        link_mac: None,
        key_epoch: None,
        version: "0.1.0".to_owned(),
        at_unix_ms: NOW,
        seen_at_unix_ms: None,
        blocks: blocks.iter().map(|block| block.parse().unwrap()).collect(),
        held: 0,
        obstacles: Vec::new(),
    }
}

fn lease(container: &str, nth: u8, pod: Option<PodName>) -> ListedLease {
    ListedLease {
        key: AttachmentKey {
            network: "pods".parse().unwrap(),
            container: container.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        },
        pool: "default".to_owned(),
        ordinal: nth.into(),
        addresses: vec![
            format!("10.4.11.{nth}/16").parse().unwrap(),
            format!("fd00:4::b{nth:02x}/64").parse().unwrap(),
        ],
        node: name("n1"),
        epoch: 1,
        sequence: 1,
        pod,
        labels: [].into(),
        since_unix_ms: NOW,
        state: LeaseState::Live,
        published: true,
        sticky: false,
    }
}

/// Three nodes, of which one has just registered and one is lost; asked on the first.
pub(super) fn topology() -> Topology {
    let shop = PodName {
        namespace: "web".to_owned(),
        name: "shop-0".to_owned(),
    };
    Topology {
        nodes: vec![
            node("n1", NodeState::Active, Some(NOW - 4000)),
            node("n2", NodeState::Active, None),
            node("n3", NodeState::Lost, Some(NOW - 600_000)),
        ],
        networks: vec![ListedOverlay {
            network: "pods".to_owned(),
            vni: Vni::new(4096).unwrap(),
            port: VXLAN_PORT,
            mode: "routed".to_owned(),
            encryption: Encryption::None,
            key_epoch: None,
            pools: vec!["default".to_owned()],
            prefixes: vec![
                "10.4.0.0/16".parse().unwrap(),
                "fd00:4::/64".parse().unwrap(),
            ],
            ends: vec![
                end("n1", 11, &["10.4.11.0/26", "fd00:4::b00/122"]),
                end("n2", 12, &[]),
            ],
            here: Some(OwnEnd {
                name: name("n1"),
                device: "bhxn7nyh4lwdprh".parse().unwrap(),
                segment: None,
                local: [192, 0, 2, 11].into(),
                mtu: Mtu::new(1450).unwrap(),
                addresses: Vec::new(),
                direct_routing: false,
                mss_clamp: false,
                tx_checksum: true,
                stands: true,
                fault: None,
                mended: 0,
                store_read: true,
                as_of_unix_ms: None,
                seal: None,
            }),
        }],
        leases: vec![lease("c1", 1, Some(shop)), lease("c2", 2, None)],
        store_answers: true,
    }
}
