use std::fmt::Debug;

use super::*;
use crate::cluster::geometry::Block;
use crate::cluster::kv::{Key, Revision, Row};

/// A row of every kind, as it stands in the store: key below the root, value.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "meta",
        r#"{"v":1,"cluster":"6d1f8c52","created_at_unix_ms":1795000000000,"state":"active"}"#,
    ),
    (
        "pools/default",
        r#"{"v":1,"v4":{"prefix":"10.4.0.0/16","gateway":"10.4.0.1"},"v6":{"prefix":"fd00:4::/64","gateway":"fd00:4::1"},"block_bits":6,"largest_bits":6,"reserved":["10.4.0.2-10.4.0.9"],"priority":0,"nodes":"zone=a","namespaces":["team-*"],"state":"enabled","cooldown_secs":30,"cooldown_max_secs":600,"strict":false}"#,
    ),
    (
        "fences/0f3a9c1e77d24b6e",
        r#"{"v":1,"name":"n1","epoch":1,"state":"active","session":"0f3a9c1e-5bd1-0","registered_at_unix_ms":1795000000000}"#,
    ),
    (
        "nodes/0f3a9c1e77d24b6e",
        r#"{"v":1,"name":"n1","addresses":["192.0.2.11"],"version":"0.1.0","labels":{"zone":"a"},"boot_id":"7c0e7e26-9d1c-4d5e-8c5b-0c6c2a2c9a11","started_at_unix_ms":1795000000000}"#,
    ),
    (
        "live/0f3a9c1e77d24b6e",
        r#"{"v":1,"at_unix_ms":1795000030000,"pools":{"default":{"free":52,"cooling":3}}}"#,
    ),
    (
        "blocks/default/0000000000000040",
        r#"{"v":1,"bits":6,"node":"0f3a9c1e77d24b6e","epoch":1,"claimed_at_unix_ms":1795000000100,"attempt":"0f3a9c1e-5bd1-1","addresses":["10.4.0.64/26","fd00:4::40/122"]}"#,
    ),
    (
        "leases/default/0000000000000041",
        r#"{"v":1,"attachment":{"network":"blue","container":"c1","interface":"eth0"},"node":"0f3a9c1e77d24b6e","epoch":1,"sequence":3,"addresses":["10.4.0.65","fd00:4::41"],"pod":{"namespace":"team-a","name":"web-0"},"labels":{"app":"web"},"since_unix_ms":1795000000200}"#,
    ),
    (
        "asks/0f3a9c1e77d24b6e/b2c4d6e8f0a1c3e5/default/any",
        r#"{"v":1,"epoch":1,"attempt":"b2c4d6e8-11fe-9","at_unix_ms":1795000000300,"bits":3,"answer":{"ceded":{"first":96,"bits":3}}}"#,
    ),
    (
        "sticky/team-a/web-0/blue",
        r#"{"v":1,"pool":"default","ordinal":65,"holder":{"node":"0f3a9c1e77d24b6e","epoch":1,"attachment":{"network":"blue","container":"c1","interface":"eth0"}},"attempt":"0f3a9c1e-5bd1-2","changed_at_unix_ms":1795000000200}"#,
    ),
    (
        "kept/default/0000000000000041",
        r#"{"v":1,"sticky":{"namespace":"team-a","name":"web-0","network":"blue"}}"#,
    ),
    (
        "reservations/dns",
        r#"{"v":1,"spans":["10.4.0.53"],"for":{"pod":{"namespace":"kube-system","name":"dns-0"}},"reason":"written into every resolv.conf","by":"ops","at_unix_ms":1795000000000}"#,
    ),
    (
        "overlays/pods",
        r#"{"v":1,"vni":4096,"port":4789,"mode":"routed","pools":["default"],"by":"0f3a9c1e77d24b6e","created_at_unix_ms":1795000000000}"#,
    ),
    (
        "vteps/pods/0f3a9c1e77d24b6e",
        r#"{"v":1,"name":"n1","epoch":1,"underlay":"192.0.2.11","mac":"02:5e:00:53:00:01","link_mac":"52:54:00:12:34:56","mtu":1450,"version":"0.1.0","at_unix_ms":1795000000000,"attempt":"0f3a9c1e-5bd1-4"}"#,
    ),
    (
        "endpoints/blue/0f3a9c1e77d24b6e/mfrggzdfmztwq2lknnwg23tpoa",
        r#"{"v":1,"attachment":{"network":"blue","container":"c1","interface":"eth0"},"epoch":1,"sequence":3,"addresses":["10.4.0.65","fd00:4::41"],"pod":{"namespace":"team-a","name":"web-0"},"labels":{"app":"web"},"since_unix_ms":1795000000200}"#,
    ),
    (
        "applied/0f3a9c1e77d24b6e",
        r#"{"v":1,"epoch":1,"revision":7,"store_revision":4711,"at_unix_ms":1795000031000}"#,
    ),
    (
        "policy/revision",
        r#"{"v":1,"revision":7,"attempt":"0f3a9c1e-5bd1-5","by":"ops","at_unix_ms":1795000000000,"what":"2 objects applied"}"#,
    ),
    (
        "policy/objects/NetworkPolicy/team-a/web",
        r#"{"v":1,"revision":7,"document":"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: team-a, name: web}\nspec: {podSelector: {}}\n","file":"web.yaml","line":1,"by":"ops","at_unix_ms":1795000000000}"#,
    ),
    (
        "policy/members/db/team-a/db-0/-",
        r#"{"v":1,"revision":6,"by":"ops","at_unix_ms":1795000000000}"#,
    ),
    (
        "overlays/secret",
        r#"{"v":1,"vni":4097,"port":4790,"mode":"routed","pools":["more"],"encryption":"ipsec","by":"0f3a9c1e77d24b6e","created_at_unix_ms":1795000000000}"#,
    ),
    (
        "vteps/secret/0f3a9c1e77d24b6e",
        r#"{"v":1,"name":"n1","epoch":1,"underlay":"192.0.2.11","mac":"02:5e:00:53:00:02","mtu":1416,"seal":{"salt":"000102030405060708090a0b0c0d0e0f","applied":1},"version":"0.1.0","at_unix_ms":1795000000000,"attempt":"0f3a9c1e-5bd1-5"}"#,
    ),
    (
        "keys/secret",
        r#"{"v":1,"epochs":[{"epoch":1,"secret":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f","by":"0f3a9c1e77d24b6e","at_unix_ms":1795000000000}],"attempt":"0f3a9c1e-5bd1-6"}"#,
    ),
    (
        "audit/default/0000000000000041/1795000900000-0f3a9c1e-17",
        r#"{"v":1,"at_unix_ms":1795000900000,"what":"released","node":"0f3a9c1e77d24b6e","reason":"del","attachment":{"network":"blue","container":"c1","interface":"eth0"},"sequence":3,"pod":{"namespace":"team-a","name":"web-0"},"since_unix_ms":1795000000200}"#,
    ),
    (
        "janitor",
        r#"{"v":1,"node":"0f3a9c1e77d24b6e","at_unix_ms":1795000000000,"before_unix_ms":1792408000000}"#,
    ),
    (
        "change",
        r#"{"v":1,"attempt":"0f3a9c1e-5bd1-3","by":"ops","at_unix_ms":1795000000000,"what":"pool default added"}"#,
    ),
];

fn row(key: &str, value: &[u8]) -> Row {
    Row {
        key: Key::new(format!("/bulkhead/v1/{key}")).unwrap(),
        value: value.to_vec(),
        created: Revision(2),
        modified: Revision(2),
    }
}

/// Reads whatever the row is and writes it again.
fn again(row: &Row) -> Result<Vec<u8>, RowError> {
    fn one<T: Value + Debug>(schema: &Schema, row: &Row) -> Result<Vec<u8>, RowError> {
        schema.read::<T>(row).map(|(_, value)| encode(&value))
    }
    let schema = Schema::default();
    match schema.place(&row.key) {
        Some(Place::Meta) => one::<MetaRow>(&schema, row),
        Some(Place::Janitor) => one::<JanitorRow>(&schema, row),
        Some(Place::Change) => one::<ChangeRow>(&schema, row),
        Some(Place::Pool(_)) => one::<PoolRow>(&schema, row),
        Some(Place::Fence(_)) => one::<FenceRow>(&schema, row),
        Some(Place::Node(_)) => one::<NodeRow>(&schema, row),
        Some(Place::Live(_)) => one::<LiveRow>(&schema, row),
        Some(Place::Block { .. }) => schema.read_block(row).map(|(_, _, value)| encode(&value)),
        Some(Place::Lease { .. }) => one::<LeaseRow>(&schema, row),
        Some(Place::Kept { .. }) => one::<KeptRow>(&schema, row),
        Some(Place::Ask(_)) => one::<AskRow>(&schema, row),
        Some(Place::Sticky(_)) => one::<StickyRow>(&schema, row),
        Some(Place::Reservation(_)) => one::<ReservationRow>(&schema, row),
        Some(Place::Overlay(_)) => one::<OverlayRow>(&schema, row),
        Some(Place::Vtep { .. }) => one::<VtepRow>(&schema, row),
        Some(Place::Endpoint { .. }) => one::<EndpointRow>(&schema, row),
        Some(Place::Applied(_)) => one::<AppliedRow>(&schema, row),
        Some(Place::PolicyRevision) => one::<RevisionRow>(&schema, row),
        Some(Place::Object(_)) => one::<ObjectRow>(&schema, row),
        Some(Place::Member(_)) => one::<MemberRow>(&schema, row),
        Some(Place::Keys(_)) => one::<KeysRow>(&schema, row),
        Some(Place::Audit(_)) | None => one::<AuditRow>(&schema, row),
    }
}

#[test]
fn every_row_is_written_as_it_is_read() {
    for (key, value) in EXAMPLES {
        let row = row(key, value.as_bytes());
        let place = Schema::default().place(&row.key).expect(key);
        assert_eq!(Schema::default().key(&place), row.key);
        let written = again(&row).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), *value, "{key}");
    }
}

#[test]
fn every_example_is_in_the_documentation() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/store.md");
    let document = std::fs::read_to_string(path).unwrap();
    for (key, value) in EXAMPLES {
        assert!(document.contains(key), "docs/store.md lacks {key}");
        assert!(document.contains(value), "docs/store.md lacks {value}");
    }
}

#[test]
fn unknown_keys_are_ignored_and_missing_ones_have_defaults() {
    let (_, pool): (_, PoolRow) = Schema::default()
        .read(&row(
            "pools/p",
            br#"{"v4":{"prefix":"10.4.0.0/24","colour":"red"},"later":[1,2]}"#,
        ))
        .unwrap();
    let layout = pool.geometry.layout();
    assert_eq!((layout.block_bits, pool.largest_bits), (6, 6));
    assert_eq!(layout.v4.unwrap().gateway, None);
    assert_eq!(pool.state, PoolState::Enabled);
    assert_eq!((pool.cooldown_secs, pool.cooldown_max_secs), (30, 600));
    let (_, audit): (_, AuditRow) = Schema::default()
        .read(&row(
            "audit/p/0000000000000001/1795000000000-n1-1",
            br#"{"at_unix_ms":1,"what":"painted","node":"n1"}"#,
        ))
        .unwrap();
    assert_eq!(audit.what, Happened::Unknown);
}

#[test]
fn a_later_schema_is_refused_by_name() {
    let error = again(&row("meta", br#"{"v":2,"cluster":7}"#)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "row /bulkhead/v1/meta has schema 2, this release reads 1; use the later release on every node"
    );
}

#[test]
fn a_damaged_row_is_named_with_what_is_wrong() {
    for (key, value, what) in [
        ("pools/p", "{}", "no prefix is named"),
        ("pools/p", "7", "invalid type"),
        ("pools/p", "", "EOF"),
        (
            "pools/p",
            r#"{"v4":{"prefix":"10.4.0.0/28"}}"#,
            "larger than the pool",
        ),
        (
            "pools/p",
            r#"{"v4":{"prefix":"10.4.0.1/24"}}"#,
            "10.4.0.1/24",
        ),
        (
            "pools/p",
            r#"{"v4":{"prefix":"10.4.0.0/24"},"nodes":"a=("}"#,
            "is no term",
        ),
        (
            "blocks/p/0000000000000020",
            r#"{"bits":6,"node":"n1","epoch":1}"#,
            "do not go with",
        ),
        (
            "blocks/p/0000000000000040",
            r#"{"bits":6,"epoch":1}"#,
            "node",
        ),
        (
            "blocks/p/0000000000000040",
            r#"{"bits":6,"node":"a/b","epoch":1}"#,
            "is not a node's id",
        ),
    ] {
        let error = again(&row(key, value.as_bytes())).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("row /bulkhead/v1/{key} is damaged: "))
                && error.contains(what),
            "{error}"
        );
    }
}

#[test]
fn a_place_has_one_key() {
    for other in [
        "blocks/p/40",
        "blocks/p/000000000000004A",
        "blocks/p/+000000000000040",
        "pools/p/q",
        "pools/",
        "metadata",
        "audit/p/0000000000000041/1795000900000-n1",
        "audit/p/0000000000000041/1795000900000-n1-007",
        "asks/a/b/p/7",
    ] {
        let row = row(other, b"{}");
        assert_eq!(Schema::default().place(&row.key), None, "{other}");
        assert!(matches!(again(&row), Err(RowError::Unknown { .. })));
    }
}

#[test]
fn ranges_hold_what_they_are_named_for() {
    let schema = Schema::new("/site-1/").unwrap();
    assert_eq!(schema.root(), "/site-1/bulkhead/v1/");
    let pool = "p".parse().unwrap();
    let block = Block::new(64, 6).unwrap();
    let lease = |ordinal| {
        let pool = "p".parse().unwrap();
        schema.key(&Place::Lease { pool, ordinal })
    };
    let range = schema.within("leases", &pool, block);
    let inside: Vec<u64> = (0..256).filter(|at| range.contains(&lease(*at))).collect();
    assert_eq!(inside, (64..128).collect::<Vec<_>>());
    assert!(schema.of_pool("leases", &pool).contains(&lease(7)));
    let other = Place::Lease {
        pool: "p2".parse().unwrap(),
        ordinal: 64,
    };
    assert!(
        !schema
            .of_pool("leases", &pool)
            .contains(&schema.key(&other))
    );
    assert!(schema.kind("leases").contains(&schema.key(&other)));
    assert!(schema.everything().contains(&schema.key(&Place::Meta)));
    for bad in ["a b", "ü", &"x".repeat(200)] {
        assert_eq!(Schema::new(bad), None, "{bad:?}");
    }
}

/// splitmix64: the same bytes for the same seed.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn no_bytes_make_a_parser_panic_and_what_it_reads_it_writes() {
    let mut state = 4;
    let mut below = |bound: usize| usize::try_from(random(&mut state) % bound as u64).unwrap();
    let splice: &[&[u8]] = &[
        b"18446744073709551615",
        b"-1",
        b"1e999",
        b"null",
        b"\"\"",
        b"{}",
        b"[",
        b"]",
        b"\\u0000",
        b"::/0",
        b"255",
        b"/129",
        b"\xff",
        b"40",
        b"0.0.0.0/1",
    ];
    let mut read = 0;
    for _ in 0..20_000 {
        let (key, value) = EXAMPLES[below(EXAMPLES.len())];
        let mut bytes = value.as_bytes().to_vec();
        for _ in 0..=below(4) {
            let at = below(bytes.len().max(1)).min(bytes.len());
            let to = (at + below(6)).min(bytes.len());
            match below(4) {
                0 if at < bytes.len() => bytes[at] = u8::try_from(below(256)).unwrap(),
                1 => drop(bytes.drain(at..to)),
                2 => bytes.truncate(at),
                _ => drop(bytes.splice(at..to, splice[below(splice.len())].iter().copied())),
            }
        }
        if let Ok(written) = again(&row(key, &bytes)) {
            read += 1;
            let twice = again(&row(key, &written)).unwrap();
            assert_eq!(written, twice, "{key} {}", String::from_utf8_lossy(&bytes));
        }
    }
    assert!(read > 500, "only {read} of the mutated rows were read");
}
