//! Addresses of the cluster's pools, as whoever keeps the node's share of them is asked and told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use bulkhead_attach::{PoolAsk, PoolGrant, PoolLeases};
use bulkhead_cni::{CniError, Code};
use bulkhead_ipam::{
    AttachmentRecord, LeasedAddress, Pool, PoolChoice, PoolLease, Range, RangeSet,
};
use bulkhead_model::AttachmentKey;
use netns_fixtures::Verb;
use serde_json::{Value, json};

use crate::bed::{Bed, refusal};

/// One pool, `default`, of two families.
#[derive(Default)]
struct Ledger {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    held: BTreeMap<AttachmentKey, u64>,
    /// What was asked and told, in order.
    told: Vec<String>,
    asked: Vec<PoolAsk>,
    is_full: bool,
}

const PREFIXES: [&str; 2] = ["10.99.0.0/16", "fd99::/64"];
/// This node's block of it.
const BLOCK: [&str; 2] = ["10.99.7.0/26", "fd99::7:0/122"];

fn address(ordinal: u64) -> Vec<LeasedAddress> {
    let last = u8::try_from(ordinal).unwrap();
    let of = |address: String, gateway: &str, range| LeasedAddress {
        address: address.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        range,
    };
    vec![
        of(format!("10.99.7.{last}/16"), "10.99.0.1", 0),
        of(format!("fd99::7:{last}/64"), "fd99::1", 1),
    ]
}

impl PoolLeases for Ledger {
    fn acquire(&self, ask: &PoolAsk) -> Result<PoolGrant, CniError> {
        let mut known = self.known.lock().unwrap();
        known.asked.push(ask.clone());
        known.told.push("acquire".to_owned());
        if known.is_full {
            return Err(CniError::new(
                Code::POOL_EXHAUSTED,
                "pool default is exhausted",
            ));
        }
        let ordinal = 2 + u64::try_from(known.held.len()).unwrap();
        known.held.insert(ask.key.clone(), ordinal);
        let set = |text: &&str| RangeSet {
            ranges: vec![Range::of(text.parse().unwrap())],
        };
        Ok(PoolGrant {
            lease: PoolLease {
                pool: "default".to_owned(),
                ordinal,
            },
            addresses: address(ordinal),
            block: BLOCK.map(|prefix| prefix.parse().unwrap()).into(),
            description: Pool {
                sets: PREFIXES.iter().map(set).collect(),
                ..Pool::default()
            },
        })
    }

    fn settle(&self, record: &AttachmentRecord) {
        let mut known = self.known.lock().unwrap();
        let lease = record.pool.as_ref().unwrap();
        assert_eq!(known.held[&record.key], lease.ordinal);
        known.told.push("settle".to_owned());
    }

    fn abandon(&self, key: &AttachmentKey) {
        let mut known = self.known.lock().unwrap();
        assert!(known.held.remove(key).is_some());
        known.told.push("abandon".to_owned());
    }

    fn released(&self, record: &AttachmentRecord, reason: &str) {
        let mut known = self.known.lock().unwrap();
        assert!(known.held.remove(&record.key).is_some());
        known.told.push(format!("released: {reason}"));
    }

    fn serves(&self, pools: &PoolChoice) -> Result<(), CniError> {
        if self.known.lock().unwrap().is_full {
            return Err(CniError::new(
                Code::POOL_EXHAUSTED,
                format!("{pools} is full"),
            ));
        }
        Ok(())
    }
}

impl Ledger {
    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.known.lock().unwrap().told)
    }
}

fn bed() -> (Bed, Arc<Ledger>, Value) {
    let ledger = Arc::new(Ledger::default());
    let bed = Bed::managed(Some(Arc::clone(&ledger) as Arc<dyn PoolLeases>));
    let config = bed.of_pool(json!({"pool": "default"}));
    (bed, ledger, config)
}

#[test]
fn an_address_of_a_pool_has_the_pools_prefix_and_gateway_and_ends_with_the_record() {
    let (bed, ledger, mut config) = bed();
    let result = bed.run(Verb::Add, &config).result();
    let ips = |key: &str| -> Vec<String> {
        let all = result["ips"].as_array().unwrap().iter();
        all.map(|ip| ip[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ips("address"), ["10.99.7.2/16", "fd99::7:2/64"]);
    assert_eq!(ips("gateway"), ["10.99.0.1", "fd99::1"]);
    let routes = result["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 2, "the default routes: {routes:?}");
    let addresses = bed.host.ip("-o addr show dev netbr").unwrap();
    assert!(addresses.contains("10.99.0.1/16") && addresses.contains("fd99::1/64"));
    assert_eq!(ledger.told(), ["acquire", "settle"]);

    // Again: the same, and nobody is asked.
    assert_eq!(bed.run(Verb::Add, &config).result(), result);
    assert_eq!(ledger.told(), [""; 0]);
    config["prevResult"] = result;
    assert!(bed.run(Verb::Check, &config).succeeded());
    let warm = bed.warm.as_ref().unwrap();
    let known = warm
        .state()
        .network(&"net".parse().unwrap())
        .read()
        .unwrap()
        .unwrap();
    let subnets: Vec<_> = known
        .pool()
        .unwrap()
        .ranges()
        .map(|(_, r)| r.subnet.to_string())
        .collect();
    assert_eq!(subnets, PREFIXES);
    assert_eq!(
        known.attachments().unwrap()[0]
            .pool
            .as_ref()
            .unwrap()
            .ordinal,
        2
    );

    assert!(bed.run(Verb::Del, &config).succeeded());
    assert_eq!(ledger.told(), ["released: del"]);
    bed.assert_nothing_left();
}

/// What is for the block and for nobody is stopped in front of the bridge, and there alone: an address of it
/// may go to another node, where ports have to reach it.
#[test]
fn the_block_of_an_address_is_this_node_s_in_front_of_the_bridge() {
    let (bed, _ledger, config) = bed();
    assert!(bed.run(Verb::Add, &config).succeeded());
    let listed = |set: &str| bed.host.nft(&format!("list set {set}")).unwrap();
    for (set, block) in ["blocks4", "blocks6"].into_iter().zip(BLOCK) {
        let (in_front, at_ports) = (
            listed(&format!("inet bulkhead-segments {set}")),
            listed(&format!("netdev bulkhead {set}")),
        );
        assert!(in_front.contains(block), "{in_front}");
        assert!(!at_ports.contains("elements"), "{at_ports}");
    }
    let held = listed("inet bulkhead-segments held4");
    assert!(held.contains("\"netbr\" . 10.99.7.2"), "{held}");
    assert!(bed.run(Verb::Del, &config).succeeded());
    bed.assert_nothing_left();
}

#[test]
fn a_pod_and_what_it_asks_for_are_passed_on() {
    let (bed, ledger, mut config) = bed();
    config["ipam"] = json!({"type": "bulkhead-ipam", "pool": ["a", "b"], "sticky": true});
    config["args"] = json!({"cni": {"labels": [{"key": "app", "value": "cart"}]}});
    let call = bed.call(Verb::Add, &config);
    let nameless = refusal(&call.run(&bed.host).unwrap());
    assert_eq!(nameless.0, 4);
    assert!(
        nameless
            .1
            .starts_with("CNI_ARGS: K8S_POD_NAMESPACE and K8S_POD_NAME are missing")
    );
    let call = call.args("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;IP=10.99.7.2");
    assert!(call.run(&bed.host).unwrap().succeeded());
    let known = ledger.known.lock().unwrap();
    let ask = &known.asked[0];
    assert_eq!(ask.pools.to_string(), "pools a, b");
    assert_eq!(ask.pod.as_ref().unwrap().name, "cart-0");
    assert_eq!(ask.labels, [("app".to_owned(), "cart".to_owned())]);
    assert_eq!(ask.requested, ["10.99.7.2".parse::<IpAddr>().unwrap()]);
    assert!(ask.sticky);
}

#[test]
fn what_fails_after_it_was_picked_is_given_back() {
    let (bed, ledger, config) = bed();
    // Recorded, and the kernel refuses: a link of somebody else has the bridge's name.
    bed.host
        .ip("link add netbr type veth peer name other")
        .unwrap();
    assert_eq!(refusal(&bed.run(Verb::Add, &config)).0, 102);
    assert_eq!(ledger.told(), ["acquire", "settle", "released: add failed"]);
    assert!(ledger.known.lock().unwrap().held.is_empty());
}

#[test]
fn a_full_pool_is_told_before_adds_fail() {
    let (bed, ledger, config) = bed();
    assert!(bed.run(Verb::Status, &config).succeeded());
    ledger.known.lock().unwrap().is_full = true;
    let (code, text) = refusal(&bed.run(Verb::Status, &config));
    assert_eq!((code, text.as_str()), (50, "pool default is full; "));
    assert_eq!(refusal(&bed.run(Verb::Add, &config)).0, 100);
    assert!(!bed.is_attached());
    bed.assert_nothing_left();
}

#[test]
fn garbage_collection_gives_a_pools_addresses_back() {
    let (bed, ledger, mut config) = bed();
    assert!(bed.run(Verb::Add, &config).succeeded());
    config["cni.dev/valid-attachments"] = json!([]);
    assert!(bed.run(Verb::Gc, &config).succeeded());
    let told = ledger.told();
    assert!(told[2].starts_with("released: gc: "), "{told:?}");
    bed.assert_nothing_left();
}

/// As an IPAM plugin for a main plugin of others.
#[test]
fn our_ipam_plugin_gives_addresses_of_pools_to_any_plugin() {
    let (bed, ledger, mut config) = bed();
    config["type"] = json!("bridge");
    config["cniVersion"] = json!("1.0.0");
    config["ipam"]["dataDir"] = json!(bed.state());
    let call = |verb| {
        netns_fixtures::CniCall::new(std::path::Path::new("/usr/lib/cni/bridge"), verb)
            .cni_path(&bed.suite.cni_path())
            .container_id("c1")
            .netns(bed.container.path())
            .ifname("eth0")
            .stdin(&config)
            .run(&bed.host)
            .unwrap()
    };
    let result = call(Verb::Add).result();
    assert_eq!(result["ips"][0]["address"], "10.99.7.2/16");
    assert!(call(Verb::Del).succeeded());
    assert_eq!(ledger.told(), ["acquire", "settle", "released: del"]);
}

/// Without a daemon there is nobody to ask.
#[test]
fn pools_of_the_cluster_need_the_daemon() {
    let bed = Bed::new();
    let config = bed.of_pool(json!({"pool": "*"}));
    let why = format!(
        "any pool: addresses of the cluster are given by the node daemon, and none manages state directory {}: start bulkheadd, or name ranges in \"ipam\"; ",
        bed.state().display()
    );
    for (verb, code) in [(Verb::Add, 11), (Verb::Status, 50)] {
        assert_eq!(refusal(&bed.run(verb, &config)), (code, why.clone()));
    }
    assert!(bed.run(Verb::Del, &config).succeeded());
    bed.assert_nothing_left();
}
