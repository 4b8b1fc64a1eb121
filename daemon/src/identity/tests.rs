use std::collections::BTreeSet;

use bulkhead_ipam::PodRef;
use bulkhead_ipam::cluster::operations::{
    EndpointListed, ObjectDraft, Operations, Operator, PolicyChangeError, PolicyWrites,
};
use bulkhead_ipam::cluster::schema::{
    EndpointRow, FenceRow, FenceState, NodeRow, Place, PortName, Schema, Value, encode,
};
use bulkhead_ipam::cluster::{
    Attempt, ClusterStore, Event, Key, MemberId, MemoryStore, NodeId, ObjectId, Revision, Row,
};
use bulkhead_model::NetworkName;
use bulkhead_policy::{
    Changes, Decision, EndpointId, Local, Matcher, Network, NodeName, Packet, Space, Traffic,
    compile,
};

use bulkhead_policy::read::Reader;

use super::mirror::{Mark, Mirror};
use super::objects::{FileRefusal, read, spoken_of};

fn network() -> NetworkName {
    "blue".parse().unwrap()
}

fn node(name: &str) -> NodeId {
    format!("{name}00").parse().unwrap()
}

fn mirror() -> Mirror {
    let mut mirror = Mirror::new(node("n1"), "n1", &[], [].into());
    mirror.join(&network(), Network::default());
    mirror.list_endpoints(&network(), Vec::new(), Revision(10));
    for name in ["n1", "n2"] {
        fence(&mut mirror, name, 1, FenceState::Active);
    }
    mirror
}

fn row(container: &str, pod: &str, address: &str) -> EndpointRow {
    EndpointRow {
        attachment: bulkhead_model::AttachmentKey {
            network: network(),
            container: container.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        },
        epoch: 1,
        sequence: 1,
        addresses: vec![address.parse().unwrap()],
        prefixes: Vec::new(),
        pod: Some(PodRef {
            namespace: "shop".to_owned(),
            name: pod.to_owned(),
            uid: None,
        }),
        labels: [("app".to_owned(), container.to_owned())].into(),
        ports: Vec::new(),
        since_unix_ms: 5,
    }
}

fn stored<T: Value>(place: &Place, value: &T, revision: u64) -> Row {
    Row {
        key: Schema::default().key(place),
        value: encode(value),
        created: Revision(revision),
        modified: Revision(revision),
    }
}

fn put(row: Row) -> Event {
    Event {
        key: row.key.clone(),
        revision: row.modified,
        row: Some(row),
    }
}

fn gone(key: Key, revision: u64) -> Event {
    Event {
        key,
        row: None,
        revision: Revision(revision),
    }
}

fn fence(mirror: &mut Mirror, name: &str, epoch: u64, state: FenceState) {
    let row = FenceRow {
        name: name.to_owned(),
        epoch,
        state,
        ..FenceRow::default()
    };
    let event = put(stored(&Place::Fence(node(name)), &row, 1));
    mirror.observe(&Schema::default(), "fences", &[event]);
}

fn at(name: &str, container: &str) -> Place {
    Place::Endpoint {
        network: "blue".parse().unwrap(),
        node: node(name),
        id: container.parse().unwrap(),
    }
}

fn remote(mirror: &mut Mirror, name: &str, row: &EndpointRow, revision: u64) {
    let place = at(name, row.attachment.container.as_str());
    let event = put(stored(&place, row, revision));
    mirror.observe_endpoints(&Schema::default(), &[event]);
}

fn id(pod: &str) -> EndpointId {
    EndpointId {
        network: Some(network()),
        ..EndpointId::new("shop", pod)
    }
}

#[test]
fn an_endpoint_is_known_from_its_row_to_its_end() {
    let mut mirror = mirror();
    remote(&mut mirror, "n2", &row("c1", "cart-0", "10.4.0.5"), 11);
    let endpoint = &mirror.world().endpoints[&id("cart-0")];
    assert_eq!(endpoint.node, Some(NodeName::new("n2")));
    assert_eq!(endpoint.labels.of("app"), Some("c1"));
    assert_eq!(mirror.mark().store, 11);
    let key = Schema::default().key(&at("n2", "c1"));
    mirror.observe_endpoints(&Schema::default(), &[gone(key, 12)]);
    assert!(mirror.world().endpoints.is_empty());
    assert_eq!(mirror.mark().store, 12);
}

#[test]
fn rows_of_another_life_of_a_node_are_void() {
    let mut mirror = mirror();
    remote(&mut mirror, "n2", &row("c1", "cart-0", "10.4.0.5"), 11);
    fence(&mut mirror, "n2", 2, FenceState::Lost);
    assert!(mirror.world().endpoints.is_empty(), "declared lost");
    fence(&mut mirror, "n2", 2, FenceState::Active);
    assert!(mirror.world().endpoints.is_empty(), "of the life before");
    let again = EndpointRow {
        epoch: 2,
        ..row("c1", "cart-0", "10.4.0.6")
    };
    remote(&mut mirror, "n2", &again, 12);
    assert_eq!(mirror.world().endpoints.len(), 1);
    // A node that nobody has heard of.
    remote(&mut mirror, "n3", &row("c2", "cart-1", "10.4.0.7"), 13);
    assert_eq!(mirror.world().endpoints.len(), 1);
}

#[test]
fn what_is_of_no_network_of_the_node_is_not_kept() {
    let mut mirror = Mirror::new(node("n1"), "n1", &[], [].into());
    fence(&mut mirror, "n2", 1, FenceState::Active);
    remote(&mut mirror, "n2", &row("c1", "cart-0", "10.4.0.5"), 11);
    mirror.join(&network(), Network::default());
    // Before the network is listed, what a watch tells of it is in the list to come.
    remote(&mut mirror, "n2", &row("c1", "cart-0", "10.4.0.5"), 12);
    assert!(mirror.world().endpoints.is_empty());
    assert_eq!(mirror.unlisted(), [network()]);
    let listed = EndpointListed {
        network: "blue".parse().unwrap(),
        node: node("n2"),
        id: "c1".parse().unwrap(),
        row: row("c1", "cart-0", "10.4.0.5"),
        modified: Revision(12),
    };
    mirror.list_endpoints(&network(), vec![listed], Revision(14));
    assert_eq!(mirror.world().endpoints.len(), 1);
    // A watch that is behind the list.
    let key = Schema::default().key(&at("n2", "c1"));
    mirror.observe_endpoints(&Schema::default(), &[gone(key, 13)]);
    assert_eq!(mirror.world().endpoints.len(), 1);
    mirror.leave(&network());
    assert!(mirror.world().endpoints.is_empty() && mirror.world().networks.is_empty());
}

#[test]
fn a_pod_that_moves_is_where_its_newest_row_says_and_has_all_of_its_addresses() {
    let mut mirror = mirror();
    remote(&mut mirror, "n2", &row("old", "cart-0", "10.4.0.5"), 11);
    let new = EndpointRow {
        since_unix_ms: 9,
        ..row("new", "cart-0", "10.4.0.9")
    };
    assert_eq!(mirror.put_own(new), id("cart-0"));
    let endpoint = mirror.world().endpoints[&id("cart-0")].clone();
    assert_eq!(endpoint.node, Some(NodeName::new("n1")));
    assert_eq!(endpoint.labels.of("app"), Some("new"));
    assert_eq!(endpoint.addresses.len(), 2);
    let attachment = row("new", "cart-0", "10.4.0.9").attachment;
    mirror.remove_own(&network(), &attachment.id());
    let endpoint = &mirror.world().endpoints[&id("cart-0")];
    assert_eq!(endpoint.addresses.len(), 1);
}

#[test]
fn whoever_reads_the_world_hears_what_has_changed() {
    let mut mirror = mirror();
    let before = mirror.mark();
    remote(&mut mirror, "n2", &row("c1", "cart-0", "10.4.0.5"), 11);
    remote(&mut mirror, "n2", &row("c2", "cart-1", "10.4.0.6"), 12);
    let changed = mirror.since(before);
    assert!(!changed.everything);
    let both = Changes {
        endpoints: [id("cart-0"), id("cart-1")].into(),
        ..Changes::default()
    };
    assert_eq!(changed.changes, both);
    // The same again is no change.
    let before = mirror.mark();
    remote(&mut mirror, "n2", &row("c2", "cart-1", "10.4.0.6"), 13);
    assert!(!mirror.is_newer(before));
    let about = NodeRow {
        name: "n2".to_owned(),
        addresses: vec!["192.0.2.2".parse().unwrap()],
        ..NodeRow::default()
    };
    let event = put(stored(&Place::Node(node("n2")), &about, 14));
    mirror.observe(&Schema::default(), "nodes", &[event]);
    let changed = mirror.since(before);
    assert!(!changed.everything && changed.changes.nodes);
    assert_eq!(
        mirror.world().nodes[&NodeName::new("n2")].addresses.len(),
        1
    );
    // More than is remembered one by one.
    let before = mirror.mark();
    for nth in 0..5_000_u64 {
        let address = format!("10.5.{}.{}", nth % 16_384 / 256, nth % 256);
        remote(&mut mirror, "n2", &row("c1", "cart-0", &address), 20 + nth);
    }
    assert!(mirror.since(before).everything);
    assert!(mirror.since(Mark::default()).everything);
}

/// Whoever has the label may send to the database.
const WEB: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: shop, name: db}, spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: web}}}]}]}}";

#[test]
fn two_tenants_with_the_same_address_are_not_taken_for_each_other() {
    let red: NetworkName = "red".parse().unwrap();
    let mut mirror = mirror();
    let known = Network {
        space: Space::Network(red.clone()),
        pools: ["10.4.0.0/24".parse().unwrap()].into(),
        ..Network::default()
    };
    mirror.join(&red, known);
    // What is written of it says nothing of where its addresses mean something.
    let written = "{apiVersion: bulkhead/v1, kind: Network, metadata: {name: red}, spec: {pools: [10.4.0.0/16]}}";
    let store = MemoryStore::new(100);
    let schema = Schema::default();
    let object = |kind: &str, namespace: Option<&str>, name: &str, document: &str| ObjectDraft {
        id: ObjectId {
            kind: kind.parse().unwrap(),
            namespace: namespace.map(|it| it.parse().unwrap()),
            name: name.parse().unwrap(),
        },
        document: document.to_owned(),
        file: "f.yaml".to_owned(),
        line: 1,
    };
    let writes = PolicyWrites {
        put: vec![
            object("NetworkPolicy", Some("shop"), "db", WEB),
            object("Network", None, "red", written),
        ],
        ..PolicyWrites::default()
    };
    let made = Operations::new(&store, &schema).change_policies(&operator(), |_, _| {
        Ok::<_, PolicyChangeError>(writes.clone())
    });
    assert_eq!(made, Ok(1));
    let listing = store.range(&schema.kind("policy"), 0).unwrap();
    mirror.list(&schema, "policy", &listing.rows);
    assert_eq!(mirror.unread(), [""; 0]);
    let db = mirror.put_own(row("db", "db-0", "10.4.0.9"));
    let of_red = |app: &str, pod: &str, address: &str| {
        let mut row = row(pod, pod, address);
        row.attachment.network = red.clone();
        row.labels = [("app".to_owned(), app.to_owned())].into();
        row
    };
    // The tenant's web has the address of somebody on blue who may not.
    mirror.put_own(of_red("web", "web-0", "10.4.0.5"));
    mirror.put_own(row("other", "other-0", "10.4.0.5"));
    // And one that nobody on blue has; and the database's own.
    mirror.put_own(of_red("web", "web-1", "10.4.0.6"));
    mirror.put_own(of_red("db", "db-1", "10.4.0.9"));
    let world = mirror.world();
    let local = Local {
        endpoints: [(db, "bhp1".parse().unwrap())].into(),
        ..Local::default()
    };
    let (matcher, ruleset) = (Matcher::new(world), compile(world, &local));
    assert_eq!(ruleset.closed, []);
    let decided = |space: &Space, source: &str| {
        let packet = Packet {
            space: space.clone(),
            source: source.parse().unwrap(),
            destination: "10.4.0.9".parse().unwrap(),
            traffic: Traffic::Other(89),
        };
        let judged = ruleset.judge.decide(&packet);
        (matcher.evaluate(&packet).decision, judged)
    };
    for source in ["10.4.0.5", "10.4.0.6"] {
        let denied = (Decision::Deny, Decision::Deny);
        assert_eq!(decided(&Space::Node, source), denied, "{source}");
    }
    let own = Space::Network(red.clone());
    assert_eq!(decided(&own, "10.4.0.5").0, Decision::Allow);
    assert_eq!(decided(&own, "10.4.0.7").0, Decision::Deny);
    let listed = ruleset.table.to_string();
    assert!(!listed.contains("10.4.0.6"), "{listed}");
}

#[test]
fn an_address_of_the_nodes_own_is_nobodys_elsewhere() {
    let mut mirror = mirror();
    remote(&mut mirror, "n2", &row("c1", "web-0", "10.4.0.5"), 11);
    let has = |mirror: &Mirror, pod| {
        let known = &mirror.world().endpoints[&id(pod)];
        known.addresses.len()
    };
    assert_eq!(has(&mirror, "web-0"), 1);
    // Both nodes give out the same range.
    let own = row("c2", "other-0", "10.4.0.5");
    let attachment = own.attachment.clone();
    let before = mirror.mark();
    mirror.put_own(own.clone());
    assert_eq!((has(&mirror, "web-0"), has(&mirror, "other-0")), (0, 1));
    let both = BTreeSet::from([id("web-0"), id("other-0")]);
    assert_eq!(mirror.since(before).changes.endpoints, both);
    // In whatever order they come.
    remote(&mut mirror, "n2", &row("c3", "web-1", "10.4.0.5"), 12);
    assert_eq!(has(&mirror, "web-1"), 0);
    mirror.remove_own(&network(), &attachment.id());
    assert_eq!((has(&mirror, "web-0"), has(&mirror, "web-1")), (1, 1));
    // Of another space it is another address.
    let red: NetworkName = "red".parse().unwrap();
    let known = Network {
        space: Space::Network(red.clone()),
        ..Network::default()
    };
    mirror.join(&red, known);
    let mut elsewhere = own;
    elsewhere.attachment.network = red;
    mirror.put_own(elsewhere);
    assert_eq!((has(&mirror, "web-0"), has(&mirror, "web-1")), (1, 1));
}

#[test]
fn a_prefix_is_its_endpoints_but_where_the_node_has_it_or_some_of_it_itself() {
    let prefixed = |container: &str, pod: &str, address: &str, prefix: &str| EndpointRow {
        prefixes: vec![prefix.parse().unwrap()],
        ..row(container, pod, address)
    };
    let mut mirror = mirror();
    let theirs = prefixed("c1", "theirs", "fd00:0:0:1::1", "fd00:0:0:1::/64");
    remote(&mut mirror, "n2", &theirs, 11);
    let of = |mirror: &Mirror, pod: &str| mirror.world().endpoints.get(&id(pod)).cloned();
    let before = of(&mirror, "theirs").unwrap();
    assert!(before.holds("fd00:0:0:1::7".parse().unwrap()));
    // An address in it, and the prefix itself.
    for own in [
        row("c2", "own", "fd00:0:0:1::9"),
        prefixed("c2", "own", "fd00:0:0:1::1", "fd00:0:0:1::/64"),
    ] {
        let attachment = own.attachment.id();
        mirror.put_own(own);
        let theirs = of(&mirror, "theirs").unwrap();
        assert!(!theirs.holds("fd00:0:0:1::7".parse().unwrap()));
        mirror.remove_own(&network(), &attachment);
        assert_eq!(of(&mirror, "theirs").as_ref(), Some(&before));
        assert_eq!(of(&mirror, "own"), None);
    }
    // What others have in a prefix of the node's own.
    let own = prefixed("c2", "own", "fd00:0:0:2::1", "fd00:0:0:2::/64");
    let attachment = own.attachment.id();
    mirror.put_own(own);
    remote(&mut mirror, "n2", &row("c3", "other", "fd00:0:0:2::5"), 12);
    assert!(of(&mirror, "other").unwrap().addresses.is_empty());
    let had = mirror.remove_own(&network(), &attachment);
    assert_eq!(had.prefixes, ["fd00:0:0:2::/64".parse().unwrap()]);
    assert_eq!(of(&mirror, "other").unwrap().addresses.len(), 1);
    // None that is given out is of another length: nobody is known by it.
    let other = prefixed("c4", "odd", "fd00:0:0:4::1", "fd00:0:0:4::/80");
    remote(&mut mirror, "n2", &other, 13);
    assert!(of(&mirror, "odd").unwrap().prefixes.is_empty());
}

fn operator() -> Operator {
    Operator {
        by: "ops".to_owned(),
        writer: node("n1"),
        at_unix_ms: 1,
        attempt: Attempt("a".to_owned()),
    }
}

const GROUP: &str = "{apiVersion: bulkhead/v1, kind: SecurityGroup, metadata: {name: db}, spec: {ingress: [{from: [{group: web}]}]}}";

#[test]
fn members_and_objects_reach_the_world_together() {
    let store = MemoryStore::new(100);
    let schema = Schema::default();
    let operations = Operations::new(&store, &schema);
    let member = MemberId {
        group: "db".parse().unwrap(),
        namespace: "shop".parse().unwrap(),
        name: "cart-0".parse().unwrap(),
        network: None,
    };
    let draft = ObjectDraft {
        id: ObjectId {
            kind: "SecurityGroup".parse().unwrap(),
            namespace: None,
            name: "db".parse().unwrap(),
        },
        document: GROUP.to_owned(),
        file: "db.yaml".to_owned(),
        line: 7,
    };
    let writes = PolicyWrites {
        put: vec![draft],
        attach: vec![member],
        ..PolicyWrites::default()
    };
    let made = operations.change_policies(&operator(), |_, _| {
        Ok::<_, PolicyChangeError>(writes.clone())
    });
    assert_eq!(made, Ok(1));
    let mut mirror = mirror();
    assert!(!mirror.knows_policies());
    mirror.put_own(row("c1", "cart-0", "10.4.0.5"));
    let listing = store.range(&schema.kind("policy"), 0).unwrap();
    mirror.list(&schema, "policy", &listing.rows);
    assert!(mirror.knows_policies());
    assert_eq!(mirror.mark().policies, 1);
    let (policy_id, policy) = mirror.world().policies.first_key_value().unwrap();
    assert_eq!(policy_id.to_string(), "SecurityGroup db");
    assert_eq!(policy.origin.at(None).as_deref(), Some("db.yaml:7"));
    let groups = |mirror: &Mirror| mirror.world().endpoints[&id("cart-0")].groups.len();
    assert_eq!(groups(&mirror), 1);
    // A document that cannot be read changes nothing, and is told.
    let key = listing
        .rows
        .iter()
        .find(|row| row.key.as_str().contains("objects"));
    let mut damaged = key.unwrap().clone();
    let text = String::from_utf8(damaged.value).unwrap();
    damaged.value = text.replace("{apiVersion", "{{apiVersion").into_bytes();
    mirror.observe(&schema, "policy", &[put(damaged.clone())]);
    assert_eq!(mirror.world().policies.len(), 1);
    assert!(
        mirror.unread()[0].contains("SecurityGroup db is not read"),
        "{:?}",
        mirror.unread()
    );
    mirror.observe(&schema, "policy", &[gone(damaged.key, 9)]);
    assert_eq!(
        (mirror.world().policies.len(), mirror.unread().len()),
        (0, 0)
    );
    mirror.list(&schema, "policy", &[]);
    assert_eq!(groups(&mirror), 0);
}

#[test]
fn what_is_known_is_a_file_of_objects_that_says_the_same() {
    let mut mirror = mirror();
    mirror.join(
        &network(),
        Network {
            gateways: ["10.4.0.1".parse().unwrap()].into(),
            pools: ["10.4.0.0/24".parse().unwrap()].into(),
            ..Network::default()
        },
    );
    remote(&mut mirror, "n2", &row("c1", "cart-0", "10.4.0.5"), 11);
    let mut alone = row("c2", "", "10.4.0.6");
    alone.pod = None;
    alone.ports = vec![PortName {
        name: "http".to_owned(),
        protocol: "tcp".to_owned(),
        port: 80,
    }];
    alone.prefixes = vec!["fd00:4::/64".parse().unwrap()];
    mirror.put_own(alone);
    let mut reader = Reader::new();
    let text = super::told::objects(mirror.world(), |_| true).join("---\n");
    reader.read("snapshot", &text).unwrap();
    let reading = reader.finish();
    assert_eq!(reading.complaints, []);
    let world = mirror.world();
    assert_eq!(reading.world.endpoints, world.endpoints);
    assert_eq!(reading.world.nodes, world.nodes);
    assert_eq!(reading.world.networks, world.networks);
}

#[test]
fn files_are_taken_apart_into_the_objects_they_have() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "p"}, "status": {"podIPs": [{"ip": "10.0.0.1"}]}}
    ]}"#;
    let yaml = format!(
        "# ours\n{GROUP}\n---\n# nothing\n---\n{}",
        GROUP.replace("name: db", "name: web")
    );
    let files = read([("list.json", list), ("groups.yaml", yaml.as_str())]).unwrap();
    let objects: Vec<_> = files
        .objects
        .iter()
        .map(|object| (object.id.to_string(), object.line))
        .collect();
    let named = |name: &str, line| (name.to_owned(), line);
    assert_eq!(
        objects,
        [
            named("Namespace shop", 1),
            named("SecurityGroup db", 1),
            named("SecurityGroup web", 6)
        ]
    );
    assert_eq!(files.objects[1].document, format!("# ours\n{GROUP}\n"));
    assert!(
        files
            .notes
            .iter()
            .any(|note| note.starts_with("1 objects of other kinds"))
    );
    assert_eq!(
        spoken_of("f", 1, GROUP),
        BTreeSet::from(["db".to_owned(), "web".to_owned()])
    );
}

#[test]
fn a_file_is_refused_with_the_line() {
    let twice = format!("{GROUP}\n---\n{GROUP}\n");
    let list = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n";
    let typo = format!("---\n{}", GROUP.replace("ingress", "ingres"));
    for (text, said) in [
        (
            twice.as_str(),
            "f.yaml:3: SecurityGroup db is there twice, at f.yaml:1 before; leave one",
        ),
        (
            list,
            "f.yaml:1: a list of 2 objects in YAML; write each as a document of its own (`---`), or the list as JSON",
        ),
        (
            typo.as_str(),
            "f.yaml:2: SecurityGroup db: spec.ingres: unknown field; it fails closed",
        ),
        ("a: [", "f.yaml: not read"),
        (
            "# nothing\n",
            "no policy, security group, namespace or network is written there",
        ),
    ] {
        let error = read([("f.yaml", text)]).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(matches!(error, FileRefusal::Complaints(_)), text == typo);
    }
}
