use std::net::IpAddr;

use super::cluster::{NOW, lease_at, pool_row};
use super::*;
use crate::cluster::geometry::Unusable;
use crate::cluster::name::StickyId;
use crate::cluster::schema::{
    AuditPlace, AuditRow, BlockRow, FenceRow, FenceState, Happened, JanitorRow, KeptRow, LiveRow,
    Place, PoolRow, ReservationRow, Share,
};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn reserve(cluster: &Cluster, name: &str, span: &str) {
    let row = ReservationRow {
        pool: None,
        spans: vec![span.parse().unwrap()],
        beneficiary: None,
        reason: String::new(),
        by: "ops".to_owned(),
        at_unix_ms: NOW,
    };
    cluster.put(&Place::Reservation(name.parse().unwrap()), &row);
}

fn keep(cluster: &Cluster, ordinal: u64) {
    let sticky = StickyId {
        namespace: "team-a".parse().unwrap(),
        name: format!("web-{ordinal}").parse().unwrap(),
        network: "blue".parse().unwrap(),
    };
    let place = Place::Kept {
        pool: pool("default"),
        ordinal,
    };
    cluster.put(&place, &KeptRow { sticky });
}

/// One lease's end, or what happened to a block.
fn audit(cluster: &Cluster, ordinal: u64, at_unix_ms: u64, row: AuditRow) {
    let place = AuditPlace {
        pool: pool("default"),
        ordinal,
        at_unix_ms,
        writer: "n1".to_owned(),
        nth: 0,
    };
    cluster.put(&Place::Audit(place), &AuditRow { at_unix_ms, ..row });
}

fn ended(ordinal: u64, sequence: u64, since_unix_ms: u64) -> AuditRow {
    let row = pool_row(&["10.4.0.0/16", "fd00:4::/64"]);
    let lease = lease(&row, ordinal, "n1");
    AuditRow {
        at_unix_ms: 0,
        what: Happened::Released,
        node: node("n1"),
        reason: "del".to_owned(),
        bits: None,
        attachment: Some(lease.attachment),
        sequence: Some(sequence),
        pod: lease.pod,
        since_unix_ms: Some(since_unix_ms),
    }
}

fn of_block(what: Happened, bits: u8) -> AuditRow {
    AuditRow {
        what,
        bits: Some(bits),
        attachment: None,
        sequence: None,
        pod: None,
        since_unix_ms: None,
        ..ended(0, 0, 0)
    }
}

#[test]
fn a_node_is_listed_with_what_it_has_and_when_it_was_seen() {
    let cluster = Cluster::new();
    let live = LiveRow {
        at_unix_ms: NOW,
        ..LiveRow::default()
    };
    cluster.put(&Place::Live(node("n1")), &live);
    let lost = FenceRow {
        name: "n2".to_owned(),
        epoch: 2,
        state: FenceState::Lost,
        by: "ops".to_owned(),
        statement: "burnt".to_owned(),
        ..FenceRow::default()
    };
    cluster.put(&Place::Fence(node("n2")), &lost);
    let listed = on(&cluster.store, &cluster.schema)
        .nodes(&Filter::default())
        .unwrap();
    let rows: Vec<_> = listed
        .rows
        .iter()
        .map(|n| {
            (
                n.name.as_str(),
                n.state,
                n.epoch,
                n.blocks,
                n.claimed,
                n.held,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("n1", NodeState::Active, 1, 1, 64, 2),
            ("n2", NodeState::Lost, 2, 1, 64, 1)
        ]
    );
    assert_eq!(listed.rows[0].seen_at_unix_ms, Some(NOW));
    assert_eq!(listed.rows[1].seen_at_unix_ms, None);
    assert_eq!(listed.rows[1].statement, "ops: burnt");
}

#[test]
fn each_claimed_ordinal_of_a_pool_counts_once() {
    let cluster = Cluster::new();
    cluster.block("default", 0, 6, "n1");
    reserve(&cluster, "dns", "10.4.0.53");
    // One of these is leased, the other lies in no block.
    reserve(&cluster, "held", "10.4.0.65");
    reserve(&cluster, "far", "10.4.200.1");
    keep(&cluster, 66);
    keep(&cluster, 67);
    let live = LiveRow {
        at_unix_ms: NOW,
        pools: [(
            pool("default"),
            Share {
                free: 9,
                cooling: 4,
            },
        )]
        .into(),
    };
    cluster.put(&Place::Live(node("n1")), &live);
    let place = Place::Block {
        pool: pool("default"),
        first: 256,
    };
    let row: BlockRow = cluster.value(&place).unwrap();
    let ceded = BlockRow {
        lender: Some(node("n1")),
        ..row
    };
    cluster.put(&place, &ceded);
    let listed = on(&cluster.store, &cluster.schema)
        .pools(&Filter::default())
        .unwrap();
    let listed = &listed.rows[0];
    // Ordinals 0 and 1 are the network's and the gateway; 53 is reserved, 67 kept.
    let expected = ClusterUsage {
        size: 65_536 - 3,
        claimed: 192,
        held: 3,
        cooling: 4,
        reserved: 4,
        free: 192 - 3 - 4 - 4,
        borrowed: 64,
        blocks: 3,
    };
    assert_eq!((listed.usage, listed.nodes), (expected, 2));
}

#[test]
fn blocks_and_leases_are_filtered() {
    let cluster = Cluster::new();
    let operations = on(&cluster.store, &cluster.schema);
    let of = |filter: &Filter| {
        let blocks = operations.blocks(filter).unwrap().rows;
        let mut leases = Vec::new();
        operations
            .leases(filter, |page| leases.extend(page.rows))
            .unwrap();
        (
            blocks.iter().map(|b| b.block.first()).collect::<Vec<_>>(),
            leases.iter().map(|l| l.ordinal).collect::<Vec<_>>(),
        )
    };
    let any = Filter::default();
    let n2 = Filter {
        node: Some(node("n2")),
        ..any.clone()
    };
    let pod = Filter {
        namespace: Some("team-a".to_owned()),
        pod: Some("web-66".to_owned()),
        network: Some("blue".to_owned()),
        ..any.clone()
    };
    let elsewhere = Filter {
        pool: Some(pool("web")),
        ..any.clone()
    };
    let red = Filter {
        network: Some("red".to_owned()),
        ..any.clone()
    };
    assert_eq!(of(&any), (vec![64, 256], vec![65, 66, 300]));
    assert_eq!(of(&n2), (vec![256], vec![300]));
    assert_eq!(of(&pod).1, [66]);
    assert_eq!(of(&elsewhere), (vec![], vec![]));
    assert_eq!(of(&red).1, [0; 0]);
}

#[test]
fn a_listed_lease_and_block_say_what_people_ask_for() {
    let cluster = Cluster::new();
    keep(&cluster, 65);
    let operations = on(&cluster.store, &cluster.schema);
    let block = operations
        .blocks(&Filter::default())
        .unwrap()
        .rows
        .remove(0);
    let prefixes: Vec<String> = block.prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.4.0.64/26", "fd00:4::40/122"]);
    assert_eq!(
        (block.name.as_str(), block.held, block.reserved),
        ("n1", 2, 0)
    );
    let mut leases = Vec::new();
    operations
        .leases(&Filter::default(), |page| leases.extend(page.rows))
        .unwrap();
    assert_eq!(leases[0].leased[0].address.to_string(), "10.4.0.65/16");
    assert_eq!((leases[0].sticky, leases[1].sticky), (true, false));
    assert_eq!(
        (leases[0].name.as_str(), leases[0].owner),
        ("n1", NodeState::Active)
    );
}

#[test]
fn a_reservation_is_listed_with_its_pool_and_what_is_leased_of_it() {
    let cluster = Cluster::new();
    reserve(&cluster, "dns", "10.4.0.64/30");
    reserve(&cluster, "old", "192.0.2.1");
    let listed = on(&cluster.store, &cluster.schema)
        .reservations(&Filter::default())
        .unwrap();
    let rows: Vec<_> = listed
        .rows
        .iter()
        .map(|row| (row.name.as_str(), row.pool.clone(), row.size, row.held))
        .collect();
    assert_eq!(
        rows,
        [("dns", Some(pool("default")), 4, 2), ("old", None, 0, 0)]
    );
}

#[test]
fn a_row_that_is_not_understood_is_left_out_of_a_list_and_told_of() {
    let cluster = Cluster::new();
    cluster.put_raw("leases/default/0000000000000043", b"{");
    cluster.put_raw("blocks/default/0000000000000800", b"[]");
    let operations = on(&cluster.store, &cluster.schema);
    let blocks = operations.blocks(&Filter::default()).unwrap();
    assert_eq!((blocks.rows.len(), blocks.unread.len()), (2, 1));
    let mut unread = Vec::new();
    operations
        .leases(&Filter::default(), |page| unread.extend(page.unread))
        .unwrap();
    assert_eq!(unread.len(), 1);
}

#[test]
fn many_leases_come_in_pages() {
    let cluster = Cluster::new();
    let row: PoolRow = cluster.value(&Place::Pool(pool("default"))).unwrap();
    for ordinal in 1000..4500 {
        cluster.put(&lease_at("default", ordinal), &lease(&row, ordinal, "n1"));
    }
    let mut pages = Vec::new();
    on(&cluster.store, &cluster.schema)
        .leases(&Filter::default(), |page| pages.push(page.rows.len()))
        .unwrap();
    assert_eq!(pages, [2000, 1503]);
}

/// 10.4.0.65 was c65's under sequence 1, then 2, and is now under 65; its block was claimed.
fn with_a_past() -> Cluster {
    let cluster = Cluster::new();
    audit(&cluster, 64, NOW - 900_000, of_block(Happened::Claimed, 6));
    audit(&cluster, 65, NOW - 700_000, ended(65, 1, NOW - 800_000));
    audit(&cluster, 65, NOW - 300_000, ended(65, 2, NOW - 600_000));
    // These are of other ordinals.
    audit(&cluster, 64, NOW - 500_000, ended(64, 9, NOW - 600_000));
    audit(&cluster, 0, NOW - 950_000, of_block(Happened::Claimed, 4));
    audit(&cluster, 0, NOW - 940_000, of_block(Happened::Returned, 8));
    cluster
}

/// What the one pool knows that has it.
fn only(found: Result<Vec<AddressHistory>, WhoError>) -> AddressHistory {
    let [history] = <[_; 1]>::try_from(found.unwrap()).unwrap();
    history
}

#[test]
fn who_had_an_address_when_is_answered_from_its_past_and_its_blocks() {
    let cluster = with_a_past();
    // A larger block than those of today covered it once.
    let place = Place::Pool(pool("default"));
    let mut row: PoolRow = cluster.value(&place).unwrap();
    row.largest_bits = 8;
    cluster.put(&place, &row);
    let operations = on(&cluster.store, &cluster.schema);
    for of in ["10.4.0.65", "fd00:4::41"] {
        let history = only(operations.who(address(of)));
        assert_eq!(
            history.addresses,
            [address("10.4.0.65"), address("fd00:4::41")]
        );
        assert_eq!(history.holder.as_ref().unwrap().row.sequence, 65);
        assert_eq!(history.block.as_ref().unwrap().block.first(), 64);
        let changes: Vec<_> = history
            .changes
            .iter()
            .map(|change| (NOW - change.at_unix_ms, change.what, change.sequence))
            .collect();
        let audited = ChangeKind::Audited;
        assert_eq!(
            changes,
            [
                (940_000, audited(Happened::Returned), None),
                (900_000, audited(Happened::Claimed), None),
                (800_000, ChangeKind::Acquired, Some(1)),
                (700_000, audited(Happened::Released), Some(1)),
                (600_000, ChangeKind::Acquired, Some(2)),
                (300_000, audited(Happened::Released), Some(2)),
                (60_000, ChangeKind::Acquired, Some(65)),
            ]
        );
        for (ago, sequence) in [
            (800_001, None),
            (800_000, Some(1)),
            (700_001, Some(1)),
            (700_000, None),
            (450_000, Some(2)),
            (0, Some(65)),
        ] {
            let had = history.at(NOW - ago);
            assert_eq!(had.first().map(|tenure| tenure.sequence), sequence, "{ago}");
        }
    }
}

#[test]
fn an_address_that_is_never_given_out_says_why() {
    let cluster = Cluster::new();
    let operations = on(&cluster.store, &cluster.schema);
    let history = only(operations.who(address("10.4.0.1")));
    assert_eq!(
        history.unusable,
        Some(Unusable::Gateway(address("10.4.0.1")))
    );
    assert!(history.block.is_none() && history.holder.is_none());
    assert_eq!(
        operations
            .who(address("192.0.2.1"))
            .unwrap_err()
            .to_string(),
        "192.0.2.1 is of no pool of the cluster; there are: default with 10.4.0.0/16 and fd00:4::/64"
    );
}

#[test]
fn what_is_not_kept_is_said() {
    let cluster = with_a_past();
    let operations = on(&cluster.store, &cluster.schema);
    assert_eq!(only(operations.who(address("10.4.0.65"))).since_unix_ms, 0);
    let janitor = JanitorRow {
        before_unix_ms: NOW - 5,
        ..JanitorRow::default()
    };
    cluster.put(&Place::Janitor, &janitor);
    assert_eq!(
        only(operations.who(address("10.4.0.65"))).since_unix_ms,
        NOW - 5
    );
}

#[test]
fn the_past_of_an_earlier_pool_of_the_name_is_not_told() {
    let cluster = with_a_past();
    let place = Place::Pool(pool("default"));
    let mut row: PoolRow = cluster.value(&place).unwrap();
    row.laid_out_at_unix_ms = NOW - 650_000;
    cluster.put(&place, &row);
    let history = only(on(&cluster.store, &cluster.schema).who(address("10.4.0.65")));
    let sequences: Vec<_> = history.tenures().iter().map(|t| t.sequence).collect();
    assert_eq!(sequences, [2, 65]);
}

#[test]
fn a_node_is_found_by_name_id_or_the_beginning_of_its_id() {
    let cluster = Cluster::new();
    let operations = on(&cluster.store, &cluster.schema);
    for text in ["n1", "n100000000000000", "n10"] {
        assert_eq!(operations.find_node(text).unwrap(), node("n1"));
    }
    let twin = FenceRow {
        name: "n1".to_owned(),
        ..FenceRow::default()
    };
    cluster.put(&Place::Fence(node("m7")), &twin);
    for (text, expected) in [
        (
            "n3",
            "there is no node \"n3\"; name one by its name, its id, or the beginning of its id",
        ),
        (
            "n1",
            "n1 may be any of nodes m700000000000000 (n1) and n100000000000000 (n1); say more of the id",
        ),
        (
            "n",
            "n may be any of nodes n100000000000000 (n1) and n200000000000000 (n2); say more of the id",
        ),
        (
            "",
            "there is no node \"\"; name one by its name, its id, or the beginning of its id",
        ),
    ] {
        assert_eq!(
            operations.find_node(text).unwrap_err().to_string(),
            expected
        );
    }
}
