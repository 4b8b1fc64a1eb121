use super::*;
use crate::cluster::name::{MemberId, ObjectId};
use crate::cluster::schema::{Place, RevisionRow};

fn id(kind: &str, name: &str) -> ObjectId {
    ObjectId {
        kind: kind.parse().unwrap(),
        namespace: (kind == "NetworkPolicy").then(|| "team-a".parse().unwrap()),
        name: name.parse().unwrap(),
    }
}

fn draft(name: &str, document: &str) -> ObjectDraft {
    ObjectDraft {
        id: id("NetworkPolicy", name),
        document: document.to_owned(),
        file: "web.yaml".to_owned(),
        line: 3,
    }
}

fn member(name: &str) -> MemberId {
    MemberId {
        group: "db".parse().unwrap(),
        namespace: "team-a".parse().unwrap(),
        name: name.parse().unwrap(),
        network: None,
    }
}

fn put(drafts: Vec<ObjectDraft>) -> PolicyWrites {
    PolicyWrites {
        put: drafts,
        ..PolicyWrites::default()
    }
}

fn change(
    store: &dyn ClusterStore,
    schema: &Schema,
    attempt: &str,
    writes: &PolicyWrites,
) -> Result<u64, PolicyChangeError> {
    on(store, schema).change_policies(&operator(attempt), |_, _| Ok(writes.clone()))
}

#[test]
fn what_changes_together_has_one_revision() {
    let cluster = Cluster::empty();
    let change =
        |attempt, writes: &PolicyWrites| change(&cluster.store, &cluster.schema, attempt, writes);
    assert_eq!(
        change("1", &put(vec![draft("a", "x"), draft("b", "y")])),
        Ok(1)
    );
    let second = PolicyWrites {
        put: vec![draft("b", "z")],
        delete: vec![id("NetworkPolicy", "a")],
        attach: vec![member("db-0")],
        detach: vec![],
    };
    assert_eq!(change("2", &second), Ok(2));
    let rows = on(&cluster.store, &cluster.schema).policies().unwrap();
    assert_eq!(
        rows.last.what,
        "1 objects applied, 1 objects deleted, 1 members attached"
    );
    let [(found, row)] = &rows.objects[..] else {
        panic!("{:?}", rows.objects);
    };
    assert_eq!(*found, id("NetworkPolicy", "b"));
    assert_eq!(
        (
            row.revision,
            row.document.as_str(),
            row.file.as_str(),
            row.line
        ),
        (2, "z", "web.yaml", 3)
    );
    assert!(rows.is_member(&member("db-0")) && !rows.is_member(&member("db-1")));
    assert_eq!(change("3", &PolicyWrites::default()), Ok(2));
}

#[test]
fn what_the_store_has_no_room_for_is_refused_whole() {
    let cluster = Cluster::empty();
    let change = |writes: &PolicyWrites| change(&cluster.store, &cluster.schema, "1", writes);
    let drafts = |count: usize| put((0..count).map(|n| draft(&format!("p{n}"), "x")).collect());
    assert_eq!(change(&drafts(MOST_TOGETHER)), Ok(1));
    let error = change(&drafts(MOST_TOGETHER + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "119 objects change together, and the store takes 118 at most in one transaction; apply them in several files, one after another"
    );
    let long = put(vec![draft("long", &"x".repeat(LONGEST_DOCUMENT + 1))]);
    assert_eq!(
        change(&long).unwrap_err().to_string(),
        "NetworkPolicy team-a/long has 131073 bytes, 131072 at most; write it as several"
    );
    let much = (0..7).map(|n| draft(&format!("p{n}"), &"x".repeat(LONGEST_DOCUMENT)));
    let error = change(&put(much.collect())).unwrap_err();
    assert!(matches!(error, PolicyChangeError::Much { bytes } if bytes == 7 << 17));
    let rows = on(&cluster.store, &cluster.schema).policies().unwrap();
    assert_eq!((rows.last.revision, rows.objects.len()), (1, MOST_TOGETHER));
}

#[test]
fn two_changes_at_a_time_are_decided_one_after_the_other() {
    let cluster = Cluster::empty();
    let store = Fated::new(
        &cluster.store,
        [Fate::After(Box::new(|store: &MemoryStore| {
            let schema = Schema::default();
            let first = put(vec![draft("a", "first")]);
            change(store, &schema, "other", &first).unwrap();
        }))],
    );
    let mut seen = Vec::new();
    let changed = on(&store, &cluster.schema).change_policies(&operator("own"), |rows, tried| {
        seen.push((rows.objects.len(), tried));
        Ok::<_, PolicyChangeError>(put(vec![draft("b", "second")]))
    });
    assert_eq!(changed, Ok(2));
    assert_eq!(seen, [(0, Tried::No), (1, Tried::No)]);
}

#[test]
fn a_change_whose_answer_is_lost_is_made_once() {
    for fate in Fate::unanswered() {
        let cluster = Cluster::empty();
        let store = Fated::new(&cluster.store, [fate]);
        let once = put(vec![draft("a", "x")]);
        assert_eq!(change(&store, &cluster.schema, "own", &once), Ok(1));
        let last: Option<RevisionRow> = {
            let key = cluster.schema.key(&Place::PolicyRevision);
            let range = KeyRange::one(&key);
            let rows = store.range(&range, 1).unwrap().rows;
            rows.first().map(|row| cluster.schema.read(row).unwrap().1)
        };
        assert_eq!(last.unwrap().revision, 1);
    }
}
