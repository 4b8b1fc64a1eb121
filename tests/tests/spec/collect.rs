//! GC (CNI spec 1.1.0, "GC"): an absent list, an explicit null and an empty list are three things.

use bulkhead_tests::Suite;
use netns_fixtures::{Container, Verb};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{Node, silent};

claims! {
    both: ;
    ours:
        an_absent_list_collects_only_the_dead,
        an_empty_list_collects_all,
        a_null_list_collects_all,
        what_is_listed_stays,
        the_older_name_of_the_list_is_read,
        another_network_is_left_alone,
        nothing_to_collect_is_no_error,
}

const LIST: &str = "cni.dev/valid-attachments";
const OLDER: &str = "cni.dev/attachments";

/// Two attached containers: `c1` of the node, and `d1`.
struct Two {
    node: Node,
    other: Container,
    config: Value,
}

impl Two {
    fn new(suite: &Suite) -> Self {
        let node = Node::new(suite);
        let config = node.config("1.1.0");
        let other = node.sandbox.container("d").unwrap();
        node.add(&config);
        let call = node.call(Verb::Add, &config).container_id("d1");
        node.attach(&call.netns(other.path()));
        Self {
            node,
            other,
            config,
        }
    }

    fn collect(&self, key: &str, list: Option<Value>) {
        let mut config = self.config.clone();
        if let Some(list) = list {
            config[key] = list;
        }
        let call = self.node.call(Verb::Gc, &config);
        let call = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]
            .iter()
            .fold(call, |call, name| call.without(name));
        silent(&self.node.run(&call));
    }

    fn attached(&self) -> [bool; 2] {
        [
            self.node.is_attached(),
            self.other.has_link("eth0").unwrap(),
        ]
    }
}

fn an_absent_list_collects_only_the_dead(suite: &Suite) {
    let two = Two::new(suite);
    two.collect(LIST, None);
    assert_eq!(two.attached(), [true, true]);
    assert_eq!(two.node.leases().len(), 4);
    two.node.sandbox.remove(&two.node.container).unwrap();
    two.collect(LIST, None);
    assert!(two.other.has_link("eth0").unwrap());
    assert_eq!(two.node.leases().len(), 2);
}

fn an_empty_list_collects_all(suite: &Suite) {
    let two = Two::new(suite);
    two.collect(LIST, Some(json!([])));
    assert_eq!(two.attached(), [false, false]);
    two.node.assert_nothing_left();
}

fn a_null_list_collects_all(suite: &Suite) {
    let two = Two::new(suite);
    two.collect(LIST, Some(Value::Null));
    assert_eq!(two.attached(), [false, false]);
    two.node.assert_nothing_left();
}

fn what_is_listed_stays(suite: &Suite) {
    let two = Two::new(suite);
    // The same container under another interface name is another attachment.
    let list = json!([
        {"containerID": "d1", "ifname": "eth0"},
        {"containerID": "c1", "ifname": "eth1"},
    ]);
    two.collect(LIST, Some(list));
    assert_eq!(two.attached(), [false, true]);
    assert_eq!(two.node.leases().len(), 2);
}

fn the_older_name_of_the_list_is_read(suite: &Suite) {
    let two = Two::new(suite);
    let list = json!([{"containerID": "c1", "ifname": "eth0"}]);
    two.collect(OLDER, Some(list));
    assert_eq!(two.attached(), [true, false]);
}

fn another_network_is_left_alone(suite: &Suite) {
    let two = Two::new(suite);
    let state = two.node.state();
    let mut elsewhere = two.node.suite.dual_stack("1.1.0", "elsewhere", &state);
    elsewhere["ipam"]["ranges"] = json!([[{"subnet": "10.99.0.0/24"}]]);
    elsewhere[LIST] = json!([]);
    silent(&two.node.run(&two.node.call(Verb::Gc, &elsewhere)));
    assert_eq!(two.attached(), [true, true]);
}

fn nothing_to_collect_is_no_error(suite: &Suite) {
    let node = Node::new(suite);
    let mut config = node.config("1.1.0");
    config[LIST] = json!([]);
    silent(&node.run(&node.call(Verb::Gc, &config)));
    node.assert_nothing_left();
}
