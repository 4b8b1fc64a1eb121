use super::cluster::pool_row;
use super::*;
use crate::cluster::name::ReservationName;
use crate::cluster::schema::{Beneficiary, LabelSelector, Place, PoolRow, ReservationRow};

fn name(text: &str) -> ReservationName {
    text.parse().unwrap()
}

fn draft(spans: &[&str]) -> ReservationDraft {
    ReservationDraft {
        spans: spans.iter().map(|span| span.parse().unwrap()).collect(),
        reason: "resolv.conf".to_owned(),
        ..ReservationDraft::default()
    }
}

fn pod(name: &str) -> Beneficiary {
    Beneficiary::Pod {
        namespace: "team-a".to_owned(),
        name: name.to_owned(),
    }
}

fn reserve(
    cluster: &Cluster,
    of: &str,
    draft: &ReservationDraft,
) -> Result<Vec<String>, ReserveError> {
    on(&cluster.store, &cluster.schema).reserve(&operator(of), &name(of), draft)
}

#[test]
fn a_reservation_names_the_leases_of_others_that_stand_in_it() {
    let cluster = Cluster::new();
    let draft = ReservationDraft {
        beneficiary: Some(pod("web-66")),
        ..draft(&["10.4.0.64/30"])
    };
    assert_eq!(
        reserve(&cluster, "dns", &draft).unwrap(),
        [
            "leased already, and stays until it ends: 10.4.0.65 and fd00:4::41 of team-a/web-65 on n1"
        ]
    );
    let row: ReservationRow = cluster.value(&Place::Reservation(name("dns"))).unwrap();
    assert_eq!(
        (row.by.as_str(), row.reason.as_str()),
        ("ops", "resolv.conf")
    );
}

#[test]
fn a_refused_reservation_says_what_to_write() {
    let cluster = Cluster::new();
    reserve(&cluster, "dns", &draft(&["10.4.0.53", "10.4.2.0/28"])).unwrap();
    let elsewhere = ReservationDraft {
        pool: Some(pool("web")),
        ..draft(&["10.4.0.54"])
    };
    let anybody = ReservationDraft {
        beneficiary: Some(Beneficiary::Labels(LabelSelector::default())),
        ..draft(&["10.4.0.54"])
    };
    for (of, draft, expected) in [
        (
            "dns",
            draft(&["10.4.0.54"]),
            "reservation dns exists already, for 10.4.0.53 and 10.4.2.0-10.4.2.15; choose another name, or end it first",
        ),
        (
            "a",
            draft(&[]),
            "reservation a names no addresses; name an address, a prefix or a span of a pool",
        ),
        (
            "a",
            anybody,
            "reservation a is for every pod, which is none; name a label that its pods have, or nobody",
        ),
        (
            "a",
            draft(&["10.3.255.0-10.4.0.9"]),
            "reservation a: 10.3.255.0-10.4.0.9 lies in no pool, or not whole; there is default with 10.4.0.0/16 and fd00:4::/64",
        ),
        (
            "a",
            elsewhere,
            "reservation a: 10.4.0.54 lies in no pool, or not whole; there is no pool web",
        ),
        (
            "a",
            draft(&["fd00:4::20-fd00:4::40"]),
            "reservation a: fd00:4::20-fd00:4::40 overlaps 10.4.0.53 of reservation dns; an address is kept for one: choose others, or end dns first",
        ),
    ] {
        let before = cluster.contents();
        let error = reserve(&cluster, of, &draft).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(cluster.contents(), before);
    }
}

#[test]
fn two_operators_cannot_keep_an_address_for_two() {
    let cluster = Cluster::new();
    let schema = cluster.schema.clone();
    let other = Box::new(move |store: &MemoryStore| {
        let operations = Operations::new(store, &schema);
        let theirs = draft(&["10.4.0.48/28"]);
        operations
            .reserve(&operator("other"), &name("theirs"), &theirs)
            .unwrap();
    });
    let fated = Fated::new(&cluster.store, [Fate::After(other)]);
    let error = on(&fated, &cluster.schema)
        .reserve(&operator("a"), &name("ours"), &draft(&["10.4.0.53"]))
        .unwrap_err();
    assert_eq!(error.reason(), Reason::Conflict);
}

#[test]
fn reservations_survive_lost_answers() {
    for fate in Fate::unanswered() {
        let cluster = Cluster::new();
        let fated = Fated::new(&cluster.store, [fate]);
        on(&fated, &cluster.schema)
            .reserve(&operator("a"), &name("dns"), &draft(&["10.4.0.53"]))
            .unwrap();
        assert!(cluster.contents().contains_key("reservations/dns"));
    }
    for fate in Fate::unanswered() {
        let cluster = Cluster::new();
        reserve(&cluster, "dns", &draft(&["10.4.0.53"])).unwrap();
        let fated = Fated::new(&cluster.store, [fate]);
        on(&fated, &cluster.schema)
            .unreserve(&operator("b"), &name("dns"))
            .unwrap();
        assert!(!cluster.contents().contains_key("reservations/dns"));
    }
}

#[test]
fn a_reservation_that_is_not_there_cannot_be_ended() {
    let cluster = Cluster::new();
    reserve(&cluster, "dns", &draft(&["10.4.0.53"])).unwrap();
    let error = on(&cluster.store, &cluster.schema)
        .unreserve(&operator("b"), &name("dsn"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no reservation dsn; there are: dns"
    );
}

/// Two tenants of one range, and nothing else that has it.
fn tenants() -> Cluster {
    let cluster = Cluster::empty();
    for tenant in ["blue", "red"] {
        let row = PoolRow {
            tenant: Some(tenant.parse().unwrap()),
            ..pool_row(&["10.4.0.0/16"])
        };
        let operations = on(&cluster.store, &cluster.schema);
        operations
            .pool_add(&operator(tenant), &pool(tenant), &row)
            .unwrap();
    }
    cluster
}

#[test]
fn of_tenants_with_the_same_addresses_one_is_named() {
    let cluster = tenants();
    let of = |pool_of: &str| ReservationDraft {
        pool: Some(pool(pool_of)),
        ..draft(&["10.4.0.8/29"])
    };
    assert_eq!(
        reserve(&cluster, "dns", &draft(&["10.4.0.8/29"]))
            .unwrap_err()
            .to_string(),
        "reservation dns: 10.4.0.8-10.4.0.15 lies in pools blue and red; say with --pool which it is of"
    );
    // What one keeps is not in the other's way.
    for tenant in ["red", "blue"] {
        assert_eq!(reserve(&cluster, tenant, &of(tenant)).unwrap(), [""; 0]);
    }
    let error = reserve(&cluster, "more", &of("red")).unwrap_err();
    assert!(error.to_string().contains("of reservation red"), "{error}");
    let operations = on(&cluster.store, &cluster.schema);
    let found = operations.who("10.4.0.9".parse().unwrap()).unwrap();
    let pools: Vec<_> = found.iter().map(|history| history.pool.as_str()).collect();
    assert_eq!(pools, ["blue", "red"]);
}
