//! A small cluster in memory: one pool, two nodes, each with a block and leases.

use std::collections::BTreeMap;

use crate::PodRef;
use crate::cluster::MemoryStore;
use crate::cluster::geometry::{Block, Geometry, Layout, Subnet};
use crate::cluster::kv::{ClusterStore, Key, KeyRange, Row, Txn, Write};
use crate::cluster::name::{Attempt, NodeId, PoolName};
use crate::cluster::operations::Operator;
use crate::cluster::schema::{
    BlockRow, FenceRow, LeaseRow, MetaRow, NodeRow, Place, PoolRow, Schema, Value, decode, encode,
};

/// When everything begins.
pub(in crate::cluster) const NOW: u64 = 1_795_000_000_000;

pub(in crate::cluster) fn node(name: &str) -> NodeId {
    format!("{name}00000000000000").parse().unwrap()
}

pub(in crate::cluster) fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

pub(in crate::cluster) fn operator(attempt: &str) -> Operator {
    Operator {
        by: "ops".to_owned(),
        writer: node("n9"),
        at_unix_ms: NOW,
        attempt: Attempt(attempt.to_owned()),
    }
}

/// A pool of these prefixes.
pub(in crate::cluster) fn pool_row(prefixes: &[&str]) -> PoolRow {
    let mut layout = Layout {
        block_bits: 6,
        ..Layout::default()
    };
    for prefix in prefixes {
        let subnet = Subnet::of(prefix.parse().unwrap());
        let family = if prefix.contains(':') {
            &mut layout.v6
        } else {
            &mut layout.v4
        };
        *family = Some(subnet);
    }
    PoolRow::new(Geometry::new(layout).unwrap())
}

/// The `nth` lease of a node at an ordinal of a pool.
pub(in crate::cluster) fn lease(row: &PoolRow, ordinal: u64, owner: &str) -> LeaseRow {
    LeaseRow {
        attachment: bulkhead_model::AttachmentKey {
            network: "blue".parse().unwrap(),
            container: format!("c{ordinal}").parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        },
        node: node(owner),
        epoch: 1,
        sequence: ordinal,
        addresses: row.geometry.addresses(ordinal),
        pod: Some(PodRef {
            namespace: "team-a".to_owned(),
            name: format!("web-{ordinal}"),
            uid: None,
        }),
        labels: BTreeMap::new(),
        since_unix_ms: NOW - 60_000,
    }
}

pub(in crate::cluster) struct Cluster {
    pub(in crate::cluster) store: MemoryStore,
    pub(in crate::cluster) schema: Schema,
}

impl Cluster {
    /// Nothing but the store's own row.
    pub(in crate::cluster) fn empty() -> Self {
        let cluster = Self {
            store: MemoryStore::new(10_000),
            schema: Schema::default(),
        };
        cluster.put(
            &Place::Meta,
            &MetaRow {
                cluster: "6d1f8c52".to_owned(),
                created_at_unix_ms: NOW,
                ..MetaRow::default()
            },
        );
        cluster
    }

    /// Pool `default` of 10.4.0.0/16 and `fd00:4::/64`; n1 has ordinals 64 to 127 and leases at 65 and
    /// 66, n2 has 256 to 319 and a lease at 300.
    pub(in crate::cluster) fn new() -> Self {
        let cluster = Self::empty();
        let row = pool_row(&["10.4.0.0/16", "fd00:4::/64"]);
        cluster.put(&Place::Pool(pool("default")), &row);
        for name in ["n1", "n2"] {
            cluster.register(name);
        }
        cluster.block("default", 64, 6, "n1");
        cluster.block("default", 256, 6, "n2");
        for (ordinal, owner) in [(65, "n1"), (66, "n1"), (300, "n2")] {
            cluster.put(&lease_at("default", ordinal), &lease(&row, ordinal, owner));
        }
        cluster
    }

    pub(in crate::cluster) fn register(&self, name: &str) {
        let id = node(name);
        self.put(
            &Place::Fence(id.clone()),
            &FenceRow {
                name: name.to_owned(),
                epoch: 1,
                registered_at_unix_ms: NOW,
                ..FenceRow::default()
            },
        );
        self.put(
            &Place::Node(id),
            &NodeRow {
                name: name.to_owned(),
                version: "0.1.0".to_owned(),
                ..NodeRow::default()
            },
        );
    }

    pub(in crate::cluster) fn block(&self, of: &str, first: u64, bits: u8, owner: &str) {
        let block = Block::new(first, bits).unwrap();
        let row: PoolRow = self.value(&Place::Pool(pool(of))).unwrap();
        let prefixes = row.geometry.prefixes_of(block);
        let place = Place::Block {
            pool: pool(of),
            first,
        };
        self.put(
            &place,
            &BlockRow {
                bits,
                node: node(owner),
                epoch: 1,
                claimed_at_unix_ms: NOW - 120_000,
                attempt: Attempt(format!("{owner}-{first}")),
                lender: None,
                addresses: prefixes.iter().map(ToString::to_string).collect(),
            },
        );
    }

    /// With so many leases more, so that its rows fill several transactions.
    pub(in crate::cluster) fn with_leases(count: u64) -> Self {
        let cluster = Self::new();
        let row: PoolRow = cluster.value(&Place::Pool(pool("default"))).unwrap();
        for ordinal in 1024..1024 + count {
            cluster.put(&lease_at("default", ordinal), &lease(&row, ordinal, "n2"));
        }
        cluster
    }

    /// Without any row, under another prefix.
    pub(in crate::cluster) fn blank(prefix: &str) -> Self {
        Self {
            store: MemoryStore::new(10_000),
            schema: Schema::new(prefix).unwrap(),
        }
    }

    pub(in crate::cluster) fn put<T: Value>(&self, place: &Place, value: &T) {
        self.write(vec![Write::Put(self.schema.key(place), encode(value))]);
    }

    pub(in crate::cluster) fn put_raw(&self, key: &str, value: &[u8]) {
        let key = Key::new(format!("{}{key}", self.schema.root())).unwrap();
        self.write(vec![Write::Put(key, value.to_vec())]);
    }

    pub(in crate::cluster) fn delete(&self, place: &Place) {
        self.write(vec![Write::Delete(self.schema.key(place))]);
    }

    pub(in crate::cluster) fn write(&self, writes: Vec<Write>) {
        let when = Vec::new();
        self.store.commit(&Txn { when, writes }).unwrap();
    }

    pub(in crate::cluster) fn value<T: Value>(&self, place: &Place) -> Option<T> {
        let key = self.schema.key(place);
        let rows = self.store.range(&KeyRange::one(&key), 1).unwrap().rows;
        rows.first().map(|row| decode(&key, &row.value).unwrap())
    }

    /// Every row.
    pub(in crate::cluster) fn rows(&self) -> Vec<Row> {
        let everything = self.schema.everything();
        self.store.range(&everything, 0).unwrap().rows
    }

    /// Keys below the root with their values, without what differs between two ways of getting there.
    pub(in crate::cluster) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let root = self.schema.root();
        let rows = self.rows().into_iter();
        rows.map(|row| (row.key.as_str()[root.len()..].to_owned(), row.value))
            .collect()
    }
}

pub(in crate::cluster) fn lease_at(of: &str, ordinal: u64) -> Place {
    Place::Lease {
        pool: pool(of),
        ordinal,
    }
}
