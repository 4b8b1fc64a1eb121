use super::*;
use crate::cluster::geometry::{Geometry, Layout, Subnet};
use crate::cluster::kv::Revision;
use crate::cluster::name::{Attempt, StickyId};
use crate::cluster::schema::{
    BlockRow, FenceRow, FenceState, KeptRow, LeaseRow, Place, PoolRow, StickyRow, Value, encode,
};

/// A cluster in which everything is as it must be; tests spoil one thing each.
struct Cluster {
    schema: Schema,
    rows: BTreeMap<String, Row>,
    nodes: BTreeMap<NodeId, NodeFacts>,
}

fn id(node: &str) -> NodeId {
    node.parse().unwrap()
}

fn pool() -> PoolName {
    "p".parse().unwrap()
}

fn geometry() -> Geometry {
    Geometry::new(Layout {
        v4: Some(Subnet::of("10.4.0.0/24".parse().unwrap())),
        block_bits: 6,
        ..Layout::default()
    })
    .unwrap()
}

fn key(container: &str) -> AttachmentKey {
    AttachmentKey {
        network: "blue".parse().unwrap(),
        container: container.parse().unwrap(),
        interface: "eth0".parse().unwrap(),
    }
}

impl Cluster {
    fn sound() -> Self {
        let mut cluster = Self {
            schema: Schema::default(),
            rows: BTreeMap::new(),
            nodes: BTreeMap::new(),
        };
        cluster.put(&Place::Pool(pool()), &PoolRow::new(geometry()));
        for (node, first, ordinal) in [("n1", 0, 9), ("n2", 64, 70)] {
            let fence = FenceRow {
                epoch: 1,
                ..FenceRow::default()
            };
            cluster.put(&Place::Fence(id(node)), &fence);
            cluster.block(node, first, 6);
            cluster.lease(node, &format!("{node}-c"), ordinal);
            let blocks = vec![(pool(), Block::new(first, 6).unwrap())];
            let facts = cluster.nodes.entry(id(node)).or_default();
            facts.blocks = Some(blocks);
        }
        cluster
    }

    fn put<T: Value>(&mut self, place: &Place, value: &T) {
        let key = self.schema.key(place);
        let row = Row {
            value: encode(value),
            created: Revision(2),
            modified: Revision(2),
            key: key.clone(),
        };
        self.rows.insert(key.to_string(), row);
    }

    fn remove(&mut self, place: &Place) {
        let key = self.schema.key(place);
        self.rows.remove(key.as_str()).unwrap();
    }

    fn block(&mut self, node: &str, first: u64, bits: u8) {
        let row = BlockRow {
            bits,
            node: id(node),
            epoch: 1,
            claimed_at_unix_ms: 0,
            attempt: Attempt::default(),
            lender: None,
            addresses: Vec::new(),
        };
        let pool = pool();
        self.put(&Place::Block { pool, first }, &row);
    }

    /// A lease of a journal, its row and its kernel object.
    fn lease(&mut self, node: &str, container: &str, ordinal: u64) {
        let fact = LeaseFact {
            key: key(container),
            sequence: 1,
            pool: pool(),
            ordinal,
            addresses: geometry().addresses(ordinal),
            since_unix_ms: 0,
            pod: None,
            labels: BTreeMap::new(),
        };
        let row = LeaseRow {
            attachment: fact.key.clone(),
            node: id(node),
            epoch: 1,
            sequence: 1,
            addresses: fact.addresses.clone(),
            pod: None,
            labels: BTreeMap::new(),
            since_unix_ms: 0,
        };
        let pool = pool();
        self.put(&Place::Lease { pool, ordinal }, &row);
        let facts = self.nodes.entry(id(node)).or_default();
        facts.kernel.get_or_insert_default().push(KernelFact {
            place: "port bhpx".to_owned(),
            attachment: Some(fact.key.clone()),
            addresses: fact.addresses.clone(),
        });
        facts.leases.push(fact);
    }

    fn node(&mut self, node: &str) -> &mut NodeFacts {
        self.nodes.get_mut(&id(node)).unwrap()
    }

    fn found(&self) -> Vec<Violation> {
        let rows: Vec<Row> = self.rows.values().cloned().collect();
        check(&self.schema, &rows, &self.nodes).violations
    }

    fn rules(&self) -> Vec<&'static str> {
        self.found().iter().map(|found| found.rule.name()).collect()
    }
}

#[test]
fn a_sound_cluster_has_no_violations() {
    let cluster = Cluster::sound();
    assert_eq!(cluster.found(), []);
    let rows: Vec<Row> = cluster.rows.values().cloned().collect();
    let report = check(&cluster.schema, &rows, &cluster.nodes);
    assert_eq!((report.pools, report.blocks, report.leases), (1, 2, 2));
}

#[test]
fn an_address_twice_is_found_whoever_says_so() {
    // In two journals of one node.
    let mut cluster = Cluster::sound();
    let mut twice = cluster.node("n1").leases[0].clone();
    twice.key = key("other");
    cluster.node("n1").leases.push(twice);
    let found = cluster.found();
    assert_eq!(found[0].rule, Rule::AddressTwice);
    assert_eq!(found[0].subject, "address 10.4.0.9");
    assert_eq!(found[0].evidence.len(), 2);
    assert_eq!(found[0].evidence[0].witness, Witness::Journal);
    // In a journal, and in the row of a node that was not asked.
    let mut cluster = Cluster::sound();
    cluster.lease("n3", "third", 9);
    cluster.nodes.remove(&id("n3"));
    assert!(cluster.rules().contains(&"address-twice"));
    // What a node is about to publish is no second holder.
    let mut cluster = Cluster::sound();
    cluster.node("n1").leases[0].key = key("successor");
    cluster.node("n1").unpublished.push((pool(), 9));
    assert!(!cluster.rules().contains(&"address-twice"));
}

#[test]
fn a_lease_outside_its_nodes_blocks_is_found() {
    for ordinal in [70, 200] {
        let mut cluster = Cluster::sound();
        cluster.remove(&Place::Lease {
            pool: pool(),
            ordinal: 70,
        });
        cluster.nodes.remove(&id("n2"));
        cluster.lease("n1", "strange", ordinal);
        assert_eq!(cluster.rules(), ["lease-outside-block"]);
        let says = &cluster.found()[0].evidence[1].says;
        let expected = if ordinal == 70 {
            "are node n2's"
        } else {
            "is in no block"
        };
        assert!(says.contains(expected), "{says}");
    }
}

#[test]
fn blocks_that_overlap_or_leave_their_pool_are_found() {
    let mut cluster = Cluster::sound();
    cluster.nodes.clear();
    cluster.block("n2", 32, 5);
    assert_eq!(cluster.rules(), ["blocks-overlap"]);
    let mut cluster = Cluster::sound();
    cluster.nodes.clear();
    cluster.block("n2", 256, 6);
    assert_eq!(cluster.rules(), ["block-outside-pool"]);
    // A small block behind a large one that covers it and the next.
    let mut cluster = Cluster::sound();
    cluster.nodes.clear();
    cluster.block("n1", 0, 7);
    cluster.block("n2", 8, 0);
    assert_eq!(cluster.rules(), ["blocks-overlap", "blocks-overlap"]);
}

#[test]
fn journal_and_store_are_compared_both_ways() {
    let place = Place::Lease {
        pool: pool(),
        ordinal: 9,
    };
    let mut cluster = Cluster::sound();
    cluster.remove(&place);
    assert_eq!(cluster.rules(), ["unpublished"]);
    cluster.node("n1").unpublished.push((pool(), 9));
    assert_eq!(cluster.rules(), [] as [&str; 0]);
    let mut cluster = Cluster::sound();
    cluster.node("n1").leases.clear();
    cluster.node("n1").kernel = None;
    assert_eq!(cluster.rules(), ["published-unheld"]);
    let mut cluster = Cluster::sound();
    cluster.node("n1").leases[0].sequence = 2;
    assert_eq!(cluster.rules(), ["unpublished"]);
}

#[test]
fn journal_and_kernel_are_compared_both_ways() {
    let mut cluster = Cluster::sound();
    cluster.node("n1").kernel = Some(Vec::new());
    assert_eq!(cluster.rules(), ["not-in-kernel"]);
    let mut cluster = Cluster::sound();
    cluster
        .node("n1")
        .kernel
        .as_mut()
        .unwrap()
        .push(KernelFact {
            place: "port bhpy".to_owned(),
            attachment: None,
            addresses: vec!["10.4.0.33".parse().unwrap(), "192.0.2.1".parse().unwrap()],
        });
    assert_eq!(cluster.rules(), ["kernel-unrecorded"]);
    assert!(
        cluster.found()[0]
            .text
            .contains("remove it from port bhpy there")
    );
    // A gateway's address is the bridge's.
    cluster.node("n1").kernel.as_mut().unwrap()[1].addresses = vec!["10.4.0.1".parse().unwrap()];
    assert_eq!(cluster.rules(), [] as [&str; 0]);
}

#[test]
fn a_ledger_that_knows_other_blocks_than_the_store_is_found() {
    let mut cluster = Cluster::sound();
    cluster.block("n1", 128, 6);
    assert_eq!(cluster.rules(), ["block-unknown"]);
    let mut cluster = Cluster::sound();
    let more = (pool(), Block::new(128, 6).unwrap());
    cluster.node("n1").blocks.as_mut().unwrap().push(more);
    assert_eq!(cluster.rules(), ["block-unknown"]);
}

#[test]
fn rows_of_a_life_that_has_ended_are_found() {
    for fence in [
        None,
        Some(FenceRow {
            epoch: 2,
            state: FenceState::Lost,
            ..FenceRow::default()
        }),
        Some(FenceRow {
            epoch: 3,
            ..FenceRow::default()
        }),
    ] {
        let mut cluster = Cluster::sound();
        match fence {
            Some(fence) => cluster.put(&Place::Fence(id("n1")), &fence),
            None => cluster.remove(&Place::Fence(id("n1"))),
        }
        assert_eq!(cluster.rules(), ["stale-fence", "stale-fence"]);
    }
}

#[test]
fn identities_and_what_they_keep_are_compared() {
    let sticky = StickyId {
        namespace: "team-a".parse().unwrap(),
        name: "web-0".parse().unwrap(),
        network: "blue".parse().unwrap(),
    };
    let row = StickyRow {
        pool: pool(),
        ordinal: 9,
        holder: None,
        attempt: Attempt::default(),
        changed_at_unix_ms: 0,
    };
    let kept = Place::Kept {
        pool: pool(),
        ordinal: 9,
    };
    let mut cluster = Cluster::sound();
    cluster.put(&Place::Sticky(sticky.clone()), &row);
    assert_eq!(cluster.rules(), ["sticky"]);
    let keeps = KeptRow {
        sticky: sticky.clone(),
    };
    cluster.put(&kept, &keeps);
    assert_eq!(cluster.rules(), [] as [&str; 0]);
    cluster.remove(&Place::Sticky(sticky));
    assert_eq!(cluster.rules(), ["sticky"]);
}

#[test]
fn rows_that_are_not_understood_and_addresses_of_another_ordinal_are_found() {
    let mut cluster = Cluster::sound();
    let key = cluster.schema.key(&Place::Meta);
    let row = Row {
        value: b"{\"v\":9}".to_vec(),
        created: Revision(2),
        modified: Revision(2),
        key: crate::cluster::kv::Key::new(format!("{key}/x")).unwrap(),
    };
    cluster.rows.insert(row.key.to_string(), row);
    assert_eq!(cluster.rules(), ["row"]);
    let mut cluster = Cluster::sound();
    cluster.node("n1").leases[0].addresses = vec!["10.4.0.10".parse().unwrap()];
    cluster.node("n1").kernel = None;
    assert_eq!(cluster.rules(), ["lease-addresses"]);
}
