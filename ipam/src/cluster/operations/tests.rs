use super::*;
use crate::cluster::geometry::{Block, Geometry, Layout, Subnet};
use crate::cluster::memory::MemoryStore;
use crate::cluster::name::{Attempt, NodeId, PoolName, StickyId};
use crate::cluster::schema::{
    AuditPlace, AuditRow, Beneficiary, BlockRow, FenceRow, FenceState, Happened, KeptRow, LeaseRow,
    PoolRow, PoolState, ReservationRow, StickyHolder, StickyRow,
};
use crate::record::PodRef;

const NOW: u64 = 1_795_000_000_000;

struct Cluster {
    store: MemoryStore,
    schema: Schema,
}

impl Cluster {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(10_000),
            schema: Schema::default(),
        }
    }

    /// One with the pool `p`, which two nodes have blocks and leases of.
    fn used() -> Self {
        let cluster = Self::new();
        cluster
            .by()
            .pool_add(&pool("p"), &row("10.4.0.0/22", 6))
            .unwrap();
        for (node, first) in [("n1", 0), ("n1", 64), ("n2", 512)] {
            cluster.fence(node, 1, FenceState::Active);
            cluster.block(node, first, 6, 1);
        }
        for ordinal in 2..60 {
            cluster.lease("n1", ordinal, 1);
        }
        cluster.lease("n2", 520, 1);
        cluster
    }

    fn by(&self) -> Operator<'_> {
        self.at(NOW)
    }

    fn at(&self, now_unix_ms: u64) -> Operator<'_> {
        Operator {
            store: &self.store,
            schema: &self.schema,
            by: "ops",
            session: "operator-1",
            now_unix_ms,
        }
    }

    fn put<T: Value>(&self, place: &Place, value: &T) {
        let key = self.schema.key(place);
        let txn = Txn {
            when: vec![],
            writes: vec![Write::Put(key, encode(value))],
        };
        self.store.commit(&txn).unwrap();
    }

    fn fence(&self, node: &str, epoch: u64, state: FenceState) {
        let row = FenceRow {
            name: format!("name-of-{node}"),
            epoch,
            state,
            ..FenceRow::default()
        };
        self.put(&Place::Fence(id(node)), &row);
    }

    fn block(&self, node: &str, first: u64, bits: u8, epoch: u64) {
        let row = BlockRow {
            bits,
            node: id(node),
            epoch,
            claimed_at_unix_ms: NOW,
            attempt: Attempt::default(),
            lender: None,
            addresses: Vec::new(),
        };
        let pool = pool("p");
        self.put(&Place::Block { pool, first }, &row);
    }

    fn lease(&self, node: &str, ordinal: u64, epoch: u64) {
        let addresses = row("10.4.0.0/22", 6).geometry.addresses(ordinal);
        let row = LeaseRow {
            attachment: attachment(&format!("{node}-c{ordinal}")),
            node: id(node),
            epoch,
            sequence: ordinal,
            addresses,
            pod: Some(PodRef {
                namespace: "team-a".to_owned(),
                name: format!("pod-{ordinal}"),
                uid: None,
            }),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            since_unix_ms: NOW - 1_000,
        };
        let pool = pool("p");
        self.put(&Place::Lease { pool, ordinal }, &row);
    }

    fn count(&self, kind: &str) -> usize {
        self.store
            .range(&self.schema.kind(kind), 0)
            .unwrap()
            .rows
            .len()
    }

    fn refused<T: std::fmt::Debug>(&self, result: Result<T, OperationError>) -> String {
        let revision = self.store.range(&self.schema.everything(), 0).unwrap();
        let error = result.unwrap_err();
        let after = self.store.range(&self.schema.everything(), 0).unwrap();
        assert_eq!(revision, after);
        error.to_string()
    }
}

fn id(node: &str) -> NodeId {
    node.parse().unwrap()
}

fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

fn subnet(prefix: &str) -> Subnet {
    Subnet::of(prefix.parse().unwrap())
}

fn row(v4: &str, block_bits: u8) -> PoolRow {
    let layout = Layout {
        v4: Some(subnet(v4)),
        block_bits,
        ..Layout::default()
    };
    PoolRow::new(Geometry::new(layout).unwrap())
}

fn attachment(container: &str) -> bulkhead_model::AttachmentKey {
    bulkhead_model::AttachmentKey {
        network: "blue".parse().unwrap(),
        container: container.parse().unwrap(),
        interface: "eth0".parse().unwrap(),
    }
}

fn sticky_id() -> StickyId {
    StickyId {
        namespace: "team-a".parse().unwrap(),
        name: "web-0".parse().unwrap(),
        network: "blue".parse().unwrap(),
    }
}

fn wide(v4: &str) -> PoolChange {
    PoolChange {
        prefixes: Prefixes {
            v4: Some(subnet(v4)),
            v6: None,
        },
        ..PoolChange::default()
    }
}

#[test]
fn pools_that_overlap_are_refused_and_the_same_pool_twice_is_not() {
    let cluster = Cluster::new();
    let by = cluster.by();
    by.pool_add(&pool("a"), &row("10.4.0.0/16", 6)).unwrap();
    by.pool_add(&pool("a"), &row("10.4.0.0/16", 6)).unwrap();
    assert_eq!(
        cluster.refused(by.pool_add(&pool("b"), &row("10.4.128.0/17", 6))),
        "pool b: 10.4.128.0/17 overlaps 10.4.0.0/16 of pool a; choose another prefix, or remove that pool first"
    );
    assert_eq!(
        cluster.refused(by.pool_add(&pool("a"), &row("10.5.0.0/16", 6))),
        "pool a exists already, with other properties; change it with `bulkhead pool set`, or choose another name"
    );
}

/// Between what an operator read and what he writes, another adds a pool with the same addresses.
#[test]
fn of_two_operators_who_add_overlapping_pools_at_once_one_is_refused() {
    struct Slow<'a> {
        cluster: &'a Cluster,
        first: std::sync::atomic::AtomicBool,
    }
    impl ClusterStore for Slow<'_> {
        fn range(&self, range: &KeyRange, limit: usize) -> Result<Listing, KvError> {
            self.cluster.store.range(range, limit)
        }
        fn commit(&self, txn: &Txn) -> Result<crate::cluster::kv::Committed, KvError> {
            if self.first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                let other = row("10.4.0.0/24", 6);
                self.cluster.by().pool_add(&pool("z"), &other).unwrap();
            }
            self.cluster.store.commit(txn)
        }
        fn watch(
            &self,
            range: &KeyRange,
            after: Revision,
        ) -> Result<Box<dyn crate::cluster::kv::Watch>, KvError> {
            self.cluster.store.watch(range, after)
        }
        fn describe(&self) -> String {
            "slow store".to_owned()
        }
    }
    let cluster = Cluster::new();
    cluster
        .by()
        .pool_add(&pool("other"), &row("10.9.0.0/24", 6))
        .unwrap();
    let slow = Slow {
        cluster: &cluster,
        first: true.into(),
    };
    let by = Operator {
        store: &slow,
        ..cluster.by()
    };
    let error = by.pool_add(&pool("a"), &row("10.4.0.0/16", 6)).unwrap_err();
    assert!(matches!(error, OperationError::Overlap { .. }), "{error}");
    assert_eq!(cluster.count("pools"), 2);
}

#[test]
fn a_pool_does_not_shrink_or_move_under_its_blocks() {
    let cluster = Cluster::used();
    let by = cluster.by();
    assert_eq!(
        cluster.refused(by.pool_set(&pool("p"), &wide("10.4.0.0/23"))),
        "pool p cannot shrink to 10.4.0.0/23: 1 blocks of nodes n2 lie outside, with 1 leases; drain the pool, or move what runs there first"
    );
    assert_eq!(
        cluster.refused(by.pool_set(&pool("p"), &wide("10.8.0.0/22"))),
        "pool p begins at 10.4.0.0/22 and has 3 blocks, so it cannot begin at 10.8.0.0/22; keep its first address and families, or add a second pool and drain this one"
    );
    let mut gateway = wide("10.4.0.0/22");
    gateway.prefixes.v4.as_mut().unwrap().gateway = Some("10.4.0.9".parse().unwrap());
    assert_eq!(
        cluster.refused(by.pool_set(&pool("p"), &gateway)),
        "gateway 10.4.0.9 of pool p is in a block of node n1, which may have given it out; name an address outside every block, or drain the pool first"
    );
    by.pool_set(&pool("p"), &wide("10.4.0.0/21")).unwrap();
    by.pool_set(&pool("p"), &wide("10.4.0.0/22")).unwrap();
    gateway.prefixes.v4.as_mut().unwrap().gateway = Some("10.4.1.9".parse().unwrap());
    by.pool_set(&pool("p"), &gateway).unwrap();
}

/// A claim beyond the new end that is committed after the operator looked.
#[test]
fn shrinking_loses_to_a_claim_that_was_faster() {
    let cluster = Cluster::new();
    let by = cluster.by();
    by.pool_add(&pool("p"), &row("10.4.0.0/22", 6)).unwrap();
    let before = by.pools().unwrap();
    let after = row("10.4.0.0/23", 6);
    let when = by.unharmed(&pool("p"), &before[0].1, &after).unwrap();
    cluster.block("n1", 960, 6, 1);
    let txn = Txn {
        when,
        writes: vec![],
    };
    assert!(!cluster.store.commit(&txn).unwrap().held);
}

#[test]
fn other_block_sizes_and_reserved_spans_are_for_what_is_given_out_from_now_on() {
    let cluster = Cluster::used();
    let by = cluster.by();
    let change = PoolChange {
        block_bits: Some(4),
        reserve: vec!["10.4.0.8/29".parse().unwrap()],
        strict: Some(true),
        priority: Some(7),
        ..PoolChange::default()
    };
    let after = by.pool_set(&pool("p"), &change).unwrap();
    assert_eq!((after.geometry.block_bits(), after.largest_bits), (4, 6));
    assert_eq!(cluster.count("leases"), 59);
    let back = PoolChange {
        unreserve: vec!["10.4.0.9".parse().unwrap()],
        ..PoolChange::default()
    };
    assert_eq!(
        cluster.refused(by.pool_set(&pool("p"), &back)),
        "pool p does not reserve 10.4.0.9; it reserves 10.4.0.8-10.4.0.15: name one of these"
    );
    let larger = PoolChange {
        block_bits: Some(11),
        ..PoolChange::default()
    };
    let error = by.pool_set(&pool("p"), &larger).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        format!("{error}: {source}"),
        "pool p: its addresses cannot be so: a block of 2048 addresses (block_bits 11) is larger than the pool, which has 1024; choose block_bits 10 or less, or a larger prefix"
    );
    assert_eq!(
        cluster.refused(by.pool_set(&pool("q"), &change)),
        "there is no pool q; `bulkhead pool ls` lists those that there are"
    );
}

#[test]
fn a_pool_is_removed_when_nothing_of_it_is_used() {
    let cluster = Cluster::used();
    let by = cluster.by();
    by.pool_state(&pool("p"), PoolState::Draining).unwrap();
    by.pool_state(&pool("p"), PoolState::Draining).unwrap();
    assert_eq!(
        cluster.refused(by.pool_remove(&pool("p"))),
        "pool p has 3 blocks of nodes n1, n2; drain it with `bulkhead pool drain`, wait until `bulkhead block ls` lists none, and try again"
    );
    for node in ["n1", "n2"] {
        by.node_lost(&id(node), "gone", |_| {}).unwrap();
    }
    let kept = KeptRow {
        sticky: sticky_id(),
    };
    let place = Place::Kept {
        pool: pool("p"),
        ordinal: 9,
    };
    cluster.put(&place, &kept);
    assert_eq!(
        cluster.refused(by.pool_remove(&pool("p"))),
        "team-a/web-0/blue keeps an address of pool p, and 0 others do; release these with `bulkhead ipam release` and try again"
    );
    let sticky = StickyRow {
        pool: pool("p"),
        ordinal: 9,
        holder: None,
        attempt: Attempt::default(),
        changed_at_unix_ms: 0,
    };
    cluster.put(&Place::Sticky(sticky_id()), &sticky);
    by.forget_sticky(&sticky_id()).unwrap();
    assert_eq!(cluster.count("kept"), 0);
    by.pool_remove(&pool("p")).unwrap();
    assert_eq!(cluster.count("pools"), 0);
}

#[test]
fn a_lost_node_has_nothing_left_and_every_lease_is_audited() {
    let cluster = Cluster::used();
    let by = cluster.by();
    let sticky = StickyRow {
        pool: pool("p"),
        ordinal: 9,
        holder: Some(StickyHolder {
            node: id("n1"),
            epoch: 1,
            attachment: attachment("n1-c9"),
        }),
        attempt: Attempt::default(),
        changed_at_unix_ms: 0,
    };
    cluster.put(&Place::Sticky(sticky_id()), &sticky);
    let mut steps = 0;
    let report = by.node_lost(&id("n1"), "it burnt", |_| steps += 1).unwrap();
    assert_eq!(
        (report.fenced_epoch, report.blocks, report.leases),
        (1, 2, 58)
    );
    assert!(steps >= 3, "{steps}");
    assert_eq!((cluster.count("blocks"), cluster.count("leases")), (1, 1));
    assert_eq!(cluster.count("audit"), 58 + 2);
    let (_, fence) = by
        .one::<FenceRow>(&Place::Fence(id("n1")))
        .unwrap()
        .unwrap();
    assert_eq!((fence.epoch, fence.state), (2, FenceState::Lost));
    assert_eq!(
        (fence.by.as_str(), fence.statement.as_str()),
        ("ops", "it burnt")
    );
    let (_, sticky) = by
        .one::<StickyRow>(&Place::Sticky(sticky_id()))
        .unwrap()
        .unwrap();
    assert_eq!(sticky.holder, None);
    let again = by.node_lost(&id("n1"), "it burnt", |_| {}).unwrap();
    assert_eq!((again.fenced_epoch, again.blocks, again.leases), (1, 0, 0));
    assert_eq!(
        by.node_lost(&id("n9"), "x", |_| {})
            .unwrap_err()
            .to_string(),
        "there is no node n9; `bulkhead node ls` lists those that there are"
    );
}

#[test]
fn giving_up_is_resumed_and_stops_when_the_node_comes_back() {
    let cluster = Cluster::used();
    let by = cluster.by();
    let mut first = by.declare_lost(&id("n1"), "it burnt").unwrap();
    assert!(by.give_up_some(&mut first).unwrap());
    drop(first);
    let mut second = by.declare_lost(&id("n1"), "it burnt").unwrap();
    assert!(by.give_up_some(&mut second).unwrap());
    // Nothing is done by a step after the node has registered again.
    cluster.block("n1", 128, 6, 1);
    let mut third = by.declare_lost(&id("n1"), "it burnt").unwrap();
    cluster.fence("n1", 3, FenceState::Active);
    let blocks = cluster.count("blocks");
    let error = by.give_up_some(&mut third).unwrap_err();
    assert!(error.to_string().contains("has come back"), "{error}");
    assert_eq!(cluster.count("blocks"), blocks);
}

#[test]
fn reservations_are_kept_once_and_tell_who_stands_in_them() {
    let cluster = Cluster::used();
    let by = cluster.by();
    let reservation = |span: &str, beneficiary| ReservationRow {
        spans: vec![span.parse().unwrap()],
        beneficiary,
        reason: "why".to_owned(),
        by: "ops".to_owned(),
        at_unix_ms: NOW,
    };
    let name = "r".parse().unwrap();
    let nobody = reservation("10.4.0.0/29", None);
    let standing = by.reserve(&name, &nobody).unwrap();
    assert_eq!(
        standing.iter().map(|one| one.ordinal).collect::<Vec<_>>(),
        [2, 3, 4, 5, 6, 7]
    );
    by.reserve(&name, &nobody).unwrap();
    assert!(
        cluster
            .refused(by.reserve(&name, &reservation("10.4.0.8", None)))
            .contains("exists already")
    );
    let web = Beneficiary::Labels("app=web".parse().unwrap());
    let theirs = by.reserve(
        &"web".parse().unwrap(),
        &reservation("10.4.0.8/29", Some(web)),
    );
    assert_eq!(theirs.unwrap(), []);
    assert_eq!(
        cluster.refused(by.reserve(&"x".parse().unwrap(), &reservation("10.9.0.0/29", None))),
        "10.9.0.0-10.9.0.7 is in no pool; reserve addresses that a pool has"
    );
    let listed = by.reservations().unwrap();
    assert_eq!((listed[0].size, listed[0].held), (8, 6));
    by.unreserve(&name).unwrap();
    assert!(
        cluster
            .refused(by.unreserve(&name))
            .contains("there is no reservation r")
    );
}

#[test]
fn lists_count_what_is_there() {
    let cluster = Cluster::used();
    let by = cluster.by();
    let pools = by.list_pools().unwrap();
    let p = &pools[0];
    assert_eq!(
        (p.size, p.blocks, p.claimed, p.held, p.nodes),
        (1024 - 3, 3, 192, 59, 2)
    );
    assert_eq!(p.reserved, 2);
    let nodes = by.list_nodes().unwrap();
    assert_eq!((nodes[&id("n1")].blocks, nodes[&id("n1")].held), (2, 58));
    let blocks = by.list_blocks(&Filter::default()).unwrap();
    let held: Vec<u64> = blocks.iter().map(|block| block.held).collect();
    assert_eq!(held, [58, 0, 1]);
    let filter = Filter {
        pod: Some("pod-520".to_owned()),
        namespace: Some("team-a".to_owned()),
        network: Some("blue".to_owned()),
        ..Filter::default()
    };
    let leases = by.list_leases(&filter).unwrap();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].row.node, id("n2"));
    assert_eq!(by.find_node("name-of-n2").unwrap(), id("n2"));
    assert_eq!(by.find_node("n1").unwrap(), id("n1"));
    let error = by.find_node("n").unwrap_err().to_string();
    assert_eq!(
        error,
        "n may be any of the nodes n1, n2; name one by its id"
    );
}

#[test]
fn who_had_an_address_is_answered_for_every_time() {
    let cluster = Cluster::used();
    let by = cluster.by();
    let chapter = |since: u64, until: u64, container: &str| {
        let row = AuditRow {
            at_unix_ms: until,
            what: Happened::Released,
            node: id("n1"),
            reason: "del".to_owned(),
            bits: None,
            attachment: Some(attachment(container)),
            sequence: Some(since),
            pod: None,
            since_unix_ms: Some(since),
        };
        let place = AuditPlace {
            pool: pool("p"),
            ordinal: 9,
            at_unix_ms: until,
            writer: "n1".to_owned(),
            nth: since,
        };
        cluster.put(&Place::Audit(place), &row);
    };
    chapter(NOW - 9_000, NOW - 8_000, "older");
    chapter(NOW - 7_000, NOW - 6_000, "old");
    let claimed = AuditRow {
        what: Happened::Claimed,
        bits: Some(6),
        at_unix_ms: NOW - 10_000,
        node: id("n1"),
        reason: String::new(),
        attachment: None,
        sequence: None,
        pod: None,
        since_unix_ms: None,
    };
    let place = AuditPlace {
        pool: pool("p"),
        ordinal: 0,
        at_unix_ms: NOW - 10_000,
        writer: "n1".to_owned(),
        nth: 1,
    };
    cluster.put(&Place::Audit(place), &claimed);
    let history = by.who("10.4.0.9".parse().unwrap()).unwrap();
    assert_eq!((history.ordinal, history.chapters.len()), (9, 3));
    assert_eq!(history.block.as_ref().unwrap().0, Block::new(0, 6).unwrap());
    let at = |time: u64| {
        let holders = history.at(time).into_iter().map(|holder| match holder {
            Holder::Present(lease) => lease.attachment.container.to_string(),
            Holder::Past(chapter) => chapter.attachment.clone().unwrap().container.to_string(),
        });
        holders.collect::<Vec<_>>()
    };
    assert_eq!(at(NOW - 8_500), ["older"]);
    assert_eq!(at(NOW - 7_500), [] as [&str; 0]);
    assert_eq!(at(NOW - 6_500), ["old"]);
    assert_eq!(at(NOW), ["n1-c9"]);
    let gateway = by.who("10.4.0.1".parse().unwrap()).unwrap();
    assert_eq!(
        gateway.unusable.unwrap().to_string(),
        "10.4.0.1 is the gateway"
    );
    assert!(by.who("10.9.0.1".parse().unwrap()).is_err());
}

#[test]
fn old_chapters_are_removed_by_one_node_at_a_time() {
    let cluster = Cluster::used();
    for nth in 0..300 {
        let row = AuditRow {
            at_unix_ms: NOW - nth * 1_000,
            what: Happened::Released,
            node: id("n1"),
            reason: String::new(),
            bits: None,
            attachment: None,
            sequence: None,
            pod: None,
            since_unix_ms: None,
        };
        let place = AuditPlace {
            pool: pool("p"),
            ordinal: nth % 7,
            at_unix_ms: NOW - nth * 1_000,
            writer: "n1".to_owned(),
            nth,
        };
        cluster.put(&Place::Audit(place), &row);
    }
    let retention = Retention {
        keep_ms: 100_000,
        every_ms: 3_600_000,
    };
    let by = cluster.by();
    assert!(by.take_turn(&id("n1"), retention).unwrap());
    assert!(!by.take_turn(&id("n2"), retention).unwrap());
    assert!(
        cluster
            .at(NOW + 3_600_000)
            .take_turn(&id("n2"), retention)
            .unwrap()
    );
    let (mut after, mut removed) = (None, 0);
    loop {
        let pruned = by.prune(retention, after.as_ref()).unwrap();
        removed += pruned.removed;
        after = pruned.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(removed, 300 - 101);
    assert_eq!(cluster.count("audit"), 101);
}

#[test]
fn a_backup_is_restored_into_an_empty_store_and_resumed() {
    let cluster = Cluster::used();
    let (header, rows) = cluster.by().backup().unwrap();
    let text = header.write(&rows);
    let (header, rows) = BackupHeader::read(&text).unwrap();
    let other = Cluster::new();
    // The first attempt ends half way.
    other.by().begin_filling(&header.cluster).unwrap();
    other.by().fill(&rows[..20], true, &mut |_| {}).unwrap();
    let error = other
        .by()
        .pool_add(&pool("q"), &row("10.9.0.0/24", 6))
        .unwrap_err();
    assert!(error.to_string().contains("being filled"), "{error}");
    let restored = other.by().restore(&header.cluster, &rows, |_| {}).unwrap();
    assert_eq!(restored.differing, [] as [String; 0]);
    assert_eq!(restored.written + restored.same, header.rows - 1);
    let (_, again) = other.by().backup().unwrap();
    assert_eq!(again, rows);
}

#[test]
fn a_restore_writes_over_nothing() {
    let cluster = Cluster::used();
    let (header, rows) = cluster.by().backup().unwrap();
    cluster
        .by()
        .pool_state(&pool("p"), PoolState::Draining)
        .unwrap();
    cluster.by().node_lost(&id("n2"), "gone", |_| {}).unwrap();
    let restored = cluster
        .by()
        .restore(&header.cluster, &rows, |_| {})
        .unwrap();
    assert!(
        restored
            .differing
            .iter()
            .any(|key| key.ends_with("pools/p"))
    );
    assert_eq!(
        cluster.count("leases"),
        58,
        "leases are the nodes' own to publish"
    );
    // Somebody has a part of the block meanwhile.
    let cluster = Cluster::used();
    let (header, rows) = cluster.by().backup().unwrap();
    cluster.by().node_lost(&id("n2"), "gone", |_| {}).unwrap();
    cluster.block("n1", 520, 0, 1);
    let error = cluster
        .by()
        .restore(&header.cluster, &rows, |_| {})
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "block /bulkhead/v1/blocks/p/0000000000000200 of the backup overlaps a block that node n1 has now; leave it out, or declare that node lost first"
    );
    let stranger = Cluster::new();
    stranger.put(
        &Place::Meta,
        &MetaRow {
            cluster: "other".to_owned(),
            ..MetaRow::default()
        },
    );
    let error = stranger
        .by()
        .restore(&header.cluster, &rows, |_| {})
        .unwrap_err();
    assert!(error.to_string().contains("is of cluster other"), "{error}");
}

#[test]
fn a_backup_that_is_none_is_refused_by_its_line() {
    let cluster = Cluster::used();
    let (header, rows) = cluster.by().backup().unwrap();
    let text = header.write(&rows);
    let read = |text: &str| BackupHeader::read(text).map(drop).unwrap_err().to_string();
    assert!(read("").starts_with("line 1 of the backup: it is empty"));
    let cut = &text[..text.len() - 100];
    assert!(read(cut).starts_with(&format!("line {} of the backup", rows.len() + 1)));
    let lines: Vec<&str> = text.lines().collect();
    assert!(read(&lines[..30].join("\n")).contains("rows were to follow the header, and 29 do"));
    let mut wrong = rows.clone();
    wrong[3].key = "nothing/of/ours".to_owned();
    let other = Cluster::new();
    let error = other
        .by()
        .restore(&header.cluster, &wrong, |_| {})
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 5 of the backup: nothing/of/ours is no row's key; take another backup"
    );
}

#[test]
fn a_cluster_moves_to_another_store_and_nobody_writes_meanwhile() {
    let cluster = Cluster::used();
    let target = Cluster::new();
    let (revision, _) = cluster.by().one::<MetaRow>(&Place::Meta).unwrap().unwrap();
    let guard = Compare::Modified(cluster.schema.key(&Place::Meta), revision);
    // Interrupted after the source was frozen and some was copied.
    cluster
        .by()
        .set_meta(MetaState::Active, MetaState::Moving, "memory store")
        .unwrap();
    let node = Txn {
        when: vec![guard],
        writes: vec![],
    };
    assert!(
        !cluster.store.commit(&node).unwrap().held,
        "a node could still write"
    );
    let (header, rows) = cluster.by().backup().unwrap();
    target.by().begin_filling(&header.cluster).unwrap();
    target.by().fill(&rows[..10], true, &mut |_| {}).unwrap();
    let migrated = migrate(&cluster.by(), &target.by(), |_| {}).unwrap();
    assert_eq!(migrated.same + migrated.copied, header.rows - 1);
    assert!(migrated.same >= 9);
    let state = |of: &Cluster| {
        of.by()
            .one::<MetaRow>(&Place::Meta)
            .unwrap()
            .unwrap()
            .1
            .state
    };
    assert_eq!(
        (state(&cluster), state(&target)),
        (MetaState::Moved, MetaState::Active)
    );
    assert_eq!(
        migrate(&cluster.by(), &target.by(), |_| {}).unwrap(),
        Migrated::default()
    );
    assert!(resume_source(&cluster.by(), &target.by()).is_err());
}

#[test]
fn a_move_to_a_store_that_has_something_else_is_refused_and_undone() {
    let cluster = Cluster::used();
    let taken = Cluster::used();
    let error = migrate(&cluster.by(), &taken.by(), |_| {}).unwrap_err();
    assert!(matches!(error, OperationError::InUse { .. }), "{error}");
    let target = Cluster::new();
    target.put(&Place::Pool(pool("q")), &row("10.9.0.0/24", 6));
    let error = migrate(&cluster.by(), &target.by(), |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "memory store has 1 rows with other values, /bulkhead/v1/pools/q among them; empty it below /bulkhead/v1/, or name another store"
    );
    let error = cluster
        .by()
        .pool_state(&pool("p"), PoolState::Draining)
        .unwrap_err();
    assert!(
        error.to_string().contains("being copied to memory store"),
        "{error}"
    );
    resume_source(&cluster.by(), &target.by()).unwrap();
    cluster
        .by()
        .pool_state(&pool("p"), PoolState::Draining)
        .unwrap();
}
