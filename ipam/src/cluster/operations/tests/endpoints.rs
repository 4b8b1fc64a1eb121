use super::cluster::NOW;
use super::*;
use crate::cluster::kv::Revision;
use crate::cluster::name::ObjectPart;
use crate::cluster::schema::{AppliedRow, EndpointRow, FenceRow, FenceState, Place};

fn part(text: &str) -> ObjectPart {
    text.parse().unwrap()
}

fn endpoint(container: &str, epoch: u64) -> EndpointRow {
    EndpointRow {
        attachment: bulkhead_model::AttachmentKey {
            network: "blue".parse().unwrap(),
            container: container.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        },
        epoch,
        sequence: 1,
        addresses: vec!["10.4.0.65".parse().unwrap()],
        prefixes: Vec::new(),
        pod: None,
        labels: [("app".to_owned(), "web".to_owned())].into(),
        ports: Vec::new(),
        since_unix_ms: NOW,
    }
}

fn write(container: &str, seen: Revision, row: Option<EndpointRow>) -> EndpointWrite {
    EndpointWrite {
        network: part("blue"),
        id: part(container),
        seen,
        row,
    }
}

#[test]
fn a_node_publishes_while_its_fence_stands() {
    let cluster = Cluster::new();
    let operations = on(&cluster.store, &cluster.schema);
    let n1 = node("n1");
    let both = ["a", "b"].map(|name| write(name, Revision(0), Some(endpoint(name, 1))));
    let standing = operations.standing_as(&n1, 1).unwrap().unwrap();
    let Published::Made(made) = operations.publish_endpoints(&standing, &both).unwrap() else {
        panic!("nothing is in the way");
    };
    let (listed, _) = operations.endpoints_of(&part("blue"), None).unwrap();
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .all(|one| one.modified == made && one.node == n1)
    );
    // What is not as it was known to be.
    let stale = write("a", Revision(made.0 - 1), None);
    let published = operations.publish_endpoints(&standing, &[stale]);
    assert_eq!(published, Ok(Published::Unknown));
    let gone = write("a", made, None);
    assert!(matches!(
        operations.publish_endpoints(&standing, &[gone]),
        Ok(Published::Made(_))
    ));
    let (listed, _) = operations.endpoints_of(&part("blue"), Some(&n1)).unwrap();
    assert_eq!(listed.len(), 1);
    let other = operations.endpoints_of(&part("blue"), Some(&node("n2")));
    assert_eq!(other.unwrap().0, []);
    for (epoch, node) in [(2, "n1"), (1, "n7")] {
        let standing = operations.standing_as(&super::node(node), epoch);
        assert_eq!(standing, Ok(None), "{node}");
    }
    // Whoever writes the fence ends every publication that is still on its way.
    let fence = FenceRow {
        name: "n1".to_owned(),
        epoch: 1,
        ..FenceRow::default()
    };
    cluster.put(&Place::Fence(n1), &fence);
    let late = write("c", Revision(0), Some(endpoint("c", 1)));
    let published = operations.publish_endpoints(&standing, &[late]);
    assert_eq!(published, Ok(Published::Unknown));
}

#[test]
fn an_answer_that_does_not_come_says_nothing() {
    for fate in Fate::unanswered() {
        let cluster = Cluster::new();
        let store = Fated::new(&cluster.store, [fate]);
        let operations = on(&store, &cluster.schema);
        let one = write("a", Revision(0), Some(endpoint("a", 1)));
        let standing = operations.standing_as(&node("n1"), 1).unwrap().unwrap();
        let published = operations.publish_endpoints(&standing, &[one]);
        assert_eq!(published, Ok(Published::Unknown));
    }
}

#[test]
fn a_lost_node_s_endpoints_go_with_it() {
    let cluster = Cluster::new();
    let operations = on(&cluster.store, &cluster.schema);
    for (name, container) in [("n1", "a"), ("n2", "b")] {
        let one = write(container, Revision(0), Some(endpoint(container, 1)));
        let standing = operations.standing_as(&node(name), 1).unwrap().unwrap();
        operations.publish_endpoints(&standing, &[one]).unwrap();
        let row = AppliedRow {
            epoch: 1,
            ..AppliedRow::default()
        };
        assert!(operations.put_applied(&node(name), &row).unwrap());
    }
    operations
        .node_lost(&operator("lost"), &node("n1"), "burnt", &mut |_| ())
        .unwrap();
    let (listed, _) = operations.endpoints_of(&part("blue"), None).unwrap();
    let nodes: Vec<_> = listed.into_iter().map(|one| one.node).collect();
    assert_eq!(nodes, [node("n2")]);
    let applied = operations.applied().unwrap();
    let said: Vec<_> = applied
        .iter()
        .map(|one| (one.name.as_str(), one.state, one.row.is_some()))
        .collect();
    assert_eq!(
        said,
        [
            ("n1", FenceState::Lost, false),
            ("n2", FenceState::Active, true)
        ]
    );
}

#[test]
fn what_a_node_has_applied_counts_in_its_own_epoch_and_store() {
    let cluster = Cluster::new();
    let operations = on(&cluster.store, &cluster.schema);
    let said = |store_revision| AppliedRow {
        epoch: 1,
        revision: 7,
        store_revision,
        at_unix_ms: NOW,
        errors: Vec::new(),
    };
    let n1 = || {
        let applied = operations.applied().unwrap();
        applied.into_iter().find(|one| one.name == "n1").unwrap()
    };
    assert!(n1().has_passed(Revision(99)), "it enforces nothing");
    operations.put_applied(&node("n1"), &said(3)).unwrap();
    assert!(n1().has_passed(Revision(3)) && !n1().has_passed(Revision(4)));
    // Written in another store, whose revisions were higher.
    cluster.put(&Place::Applied(node("n1")), &said(1 << 40));
    assert!(!n1().has_passed(Revision(1)));
    let fence = FenceRow {
        name: "n1".to_owned(),
        epoch: 2,
        ..FenceRow::default()
    };
    cluster.put(&Place::Fence(node("n1")), &fence);
    assert_eq!(n1().row, None, "an earlier life said so");
    assert!(!operations.put_applied(&node("n1"), &said(5)).unwrap());
}
