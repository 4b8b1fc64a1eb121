use serde_json::{Value, json};

use super::*;

fn read_request(value: &Value) -> Request {
    serde_json::from_slice(value.to_string().as_bytes()).unwrap()
}

fn read_reply(value: &Value) -> Reply {
    serde_json::from_slice(value.to_string().as_bytes()).unwrap()
}

#[test]
fn a_request_is_one_object_that_says_what_it_is() {
    let leases = Request::Leases {
        filter: Filter {
            node: Some("n1".to_owned()),
            ..Filter::default()
        },
    };
    let written = json!({"request": "leases", "filter": {"node": "n1"}});
    assert_eq!(serde_json::to_value(&leases).unwrap(), written);
    assert_eq!(read_request(&written), leases);
}

#[test]
fn keys_of_a_later_release_are_passed_over() {
    let status = json!({"request": "status", "detail": "all"});
    assert_eq!(read_request(&status), Request::Status);
    let nodes = json!({"request": "nodes", "filter": {"rack": 3}, "sorted": true});
    assert_eq!(
        read_request(&nodes),
        Request::Nodes {
            filter: Filter::default()
        }
    );
    let lost = json!({"reply": "lost", "nodeId": "ab", "node": "n1", "fencedEpoch": 3, "blocks": 1, "leases": 2, "pods": 7});
    assert!(matches!(read_reply(&lost), Reply::Lost(report) if report.fenced_epoch == 3));
}

#[test]
fn keys_of_an_earlier_release_may_be_missing() {
    let nodes = json!({"request": "nodes"});
    assert_eq!(
        read_request(&nodes),
        Request::Nodes {
            filter: Filter::default()
        }
    );
    let done = json!({"reply": "done"});
    assert_eq!(read_reply(&done), Reply::Done { notes: Vec::new() });
    let snapshot = json!({"request": "policy-snapshot"});
    let whole = Request::PolicySnapshot { about: None };
    assert_eq!(read_request(&snapshot), whole);
    assert_eq!(serde_json::to_value(whole).unwrap(), snapshot);
}

#[test]
fn circumstances_come_back_as_they_were() {
    let mut seen = Circumstances {
        node: NodeName {
            id: "ab".to_owned(),
            name: "n1".to_owned(),
        },
        revision: 7,
        ways: vec![
            SeenWay {
                to: "192.0.2.0/24".parse().unwrap(),
                leads: Leads::Out {
                    link: "eth0".parse().unwrap(),
                    gateway: None,
                },
            },
            SeenWay {
                to: "10.0.0.1/32".parse().unwrap(),
                leads: Leads::Here,
            },
        ],
        ..Circumstances::default()
    };
    let text = serde_json::to_string(&seen).unwrap();
    assert_eq!(serde_json::from_str::<Circumstances>(&text).unwrap(), seen);
    // A kind of route that is not known here yet.
    let later = text.replace("\"here\"", "\"there\"");
    seen.ways[1].leads = Leads::Other;
    assert_eq!(serde_json::from_str::<Circumstances>(&later).unwrap(), seen);
}

#[test]
fn what_a_later_release_calls_something_reads_as_other() {
    assert_eq!(
        read_reply(&json!({"reply": "weather", "rain": true})),
        Reply::Other
    );
    let refused = json!({"reply": "refused", "code": "too-wet", "text": "t"});
    assert!(matches!(read_reply(&refused), Reply::Refused(error) if error.code == Reason::Other));
}

#[test]
fn an_unknown_request_is_no_request() {
    let text = json!({"request": "weather"}).to_string();
    assert!(serde_json::from_str::<Request>(&text).is_err());
}

#[test]
fn a_row_has_its_names_beside_its_values() {
    let row = ListedLease {
        key: AttachmentKey {
            network: "blue".parse().unwrap(),
            container: "c1".parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        },
        pool: "default".to_owned(),
        ordinal: 10,
        addresses: vec![
            "10.4.0.10/16".parse().unwrap(),
            "fd00:4::a/64".parse().unwrap(),
        ],
        node: NodeName {
            id: "ab".to_owned(),
            name: "n1".to_owned(),
        },
        epoch: 1,
        sequence: 7,
        pod: Some(PodName {
            namespace: "web".to_owned(),
            name: "shop-0".to_owned(),
        }),
        labels: [("app".to_owned(), "shop".to_owned())].into(),
        since_unix_ms: 1_772_352_000_000,
        state: LeaseState::OtherBoot,
        published: true,
        sticky: false,
    };
    let reply = Reply::Leases { rows: vec![row] };
    let written = json!({"reply": "leases", "rows": [{
        "network": "blue", "container": "c1", "interface": "eth0",
        "pool": "default", "ordinal": 10, "addresses": ["10.4.0.10/16", "fd00:4::a/64"],
        "nodeId": "ab", "node": "n1", "epoch": 1, "sequence": 7,
        "pod": {"namespace": "web", "name": "shop-0"}, "labels": {"app": "shop"},
        "sinceUnixMs": 1_772_352_000_000_u64, "state": "other-boot", "published": true, "sticky": false,
    }]});
    assert_eq!(serde_json::to_value(&reply).unwrap(), written);
    assert_eq!(read_reply(&written), reply);
}

#[test]
fn a_pool_is_read_as_it_is_written() {
    let written = json!({"request": "pool-add", "pool": {
        "name": "default", "v4": "10.4.0.0/16", "v6": "fd00:4::/64", "blockBits": 5,
        "nodeLabels": {"rack": "3"}, "reserved": ["10.4.0.1-10.4.0.9"], "priority": -1, "strict": true,
    }});
    let Request::PoolAdd { pool } = read_request(&written) else {
        panic!("a pool is to be added");
    };
    assert_eq!(
        serde_json::to_value(Request::PoolAdd { pool }).unwrap(),
        written
    );
}

#[test]
fn a_change_of_nothing_is_empty() {
    assert_eq!(
        serde_json::to_value(PoolChange::default()).unwrap(),
        json!({})
    );
    let reserved_for = ReservedFor::Pod(PodName {
        namespace: "web".to_owned(),
        name: "db-0".to_owned(),
    });
    assert_eq!(
        serde_json::to_value(reserved_for).unwrap(),
        json!({"pod": {"namespace": "web", "name": "db-0"}})
    );
}
