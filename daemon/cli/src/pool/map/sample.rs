//! A pool for tests: a node with a block and a borrowed address, one that cools down, one that is new.

use bulkhead_ipam::wire::admin::{
    BlockState, ListedBlock, ListedPool, NodeName, PoolSpec, PoolState, PoolUsage,
};

pub(in crate::pool) fn pool() -> ListedPool {
    ListedPool {
        spec: PoolSpec {
            name: "default".to_owned(),
            v4: Some("10.4.0.0/22".parse().unwrap()),
            v6: Some("fd00:4::/118".parse().unwrap()),
            gateways: vec!["10.4.0.1".parse().unwrap(), "fd00:4::1".parse().unwrap()],
            block_bits: Some(6),
            node_labels: [("rack".to_owned(), "3".to_owned())].into(),
            namespaces: vec!["web".to_owned()],
            reserved: Vec::new(),
            priority: 0,
            cooldown_secs: Some(60),
            strict: false,
            node_addresses: false,
            tenant: None,
        },
        state: PoolState::Enabled,
        usage: PoolUsage {
            pool: "default".to_owned(),
            size: 1021,
            claimed: 193,
            held: 93,
            cooling: 5,
            reserved: 1,
            free: 94,
            borrowed: 1,
            leaked: 0,
            blocks: 4,
        },
        nodes: 3,
    }
}

pub(in crate::pool) fn blocks() -> Vec<ListedBlock> {
    let block = |first: u64, bits, node: &str, held, cooling| ListedBlock {
        pool: "default".to_owned(),
        first,
        bits,
        prefixes: Vec::new(),
        node: NodeName {
            id: format!("{node}-id"),
            name: node.to_owned(),
        },
        epoch: 1,
        claimed_at_unix_ms: 1_772_352_000_000,
        state: BlockState::Active,
        note: String::new(),
        held,
        cooling,
        reserved: u64::from(first == 0),
    };
    vec![
        block(0, 6, "node-1", 61, Some(2)),
        block(64, 6, "node-2", 30, Some(3)),
        block(192, 6, "node-3", 1, Some(0)),
        block(512, 0, "node-1", 1, None),
    ]
}
