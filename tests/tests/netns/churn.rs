//! Many at once, on a node that has nothing yet, and processes that are killed in the middle.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netns_fixtures::{BridgeNetfilter, CniAnswer, Container, Ping, Snapshot, Verb};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{BRIDGE, GATEWAYS, LIMIT, NOTHING, Node, with};

const AT_ONCE: usize = 100;

claims! {
    a_hundred_at_once_come_and_go_on_a_cold_node,
    adds_and_dels_pass_each_other,
    an_add_races_the_last_del_and_both_succeed,
    two_networks_share_a_bridge_and_a_node,
}

fn network(node: &Node) -> Value {
    let mut config = node.config_with(json!({"ipMasq": true, "macspoofchk": true}));
    config["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/22"}], [{"subnet": "fd01::/64"}]]);
    config
}

fn containers(node: &Node, prefix: &str, count: usize) -> Vec<Container> {
    (0..count)
        .map(|nth| node.sandbox.container(&format!("{prefix}{nth}")).unwrap())
        .collect()
}

/// The same call for each container, all at once.
fn at_once(node: &Node, verb: Verb, config: &Value, containers: &[Container]) -> Vec<CniAnswer> {
    thread::scope(|scope| {
        let threads: Vec<_> = containers
            .iter()
            .map(|container| {
                let call = node.call(verb, config, container, "eth0");
                scope.spawn(move || node.run(&call))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

#[track_caller]
fn assert_all_succeeded(answers: &[CniAnswer]) {
    let failed: Vec<_> = answers.iter().filter(|a| !a.succeeded()).collect();
    assert!(
        failed.is_empty(),
        "{} failed: {:#?}",
        failed.len(),
        failed[0]
    );
}

/// The addresses of all answers, each of which was given once.
#[track_caller]
fn assert_distinct(answers: &[CniAnswer]) -> BTreeSet<IpAddr> {
    let mut all = BTreeSet::new();
    for answer in answers {
        for ip in answer.result()["ips"].as_array().unwrap() {
            let text = ip["address"].as_str().unwrap();
            let address = text.split('/').next().unwrap().parse().unwrap();
            assert!(all.insert(address), "{address} was given twice");
        }
    }
    all
}

fn a_hundred_at_once_come_and_go_on_a_cold_node(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = network(&node);
    let containers = containers(&node, "c", AT_ONCE);
    let fresh = Snapshot::take(&containers[0]).unwrap();
    for _ in 0..2 {
        let answers = at_once(&node, Verb::Add, &config, &containers);
        assert_all_succeeded(&answers);
        let addresses = assert_distinct(&answers);
        assert_eq!(addresses.len(), 2 * AT_ONCE);
        assert_eq!(node.leases(), addresses.into_iter().collect::<Vec<_>>());
        for container in containers.iter().step_by(17) {
            for gateway in GATEWAYS {
                let ping = Ping::new(gateway).limit(LIMIT);
                assert!(ping.from(container).unwrap(), "{gateway}");
            }
        }
        assert_all_succeeded(&at_once(&node, Verb::Del, &config, &containers));
        node.assert_nothing_left();
        for container in containers.iter().step_by(17) {
            assert_eq!(fresh.left_in(container, LIMIT).unwrap(), NOTHING);
        }
    }
}

fn adds_and_dels_pass_each_other(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = network(&node);
    let [mut there, mut away] = ["c", "d"].map(|prefix| containers(&node, prefix, 20));
    assert_all_succeeded(&at_once(&node, Verb::Add, &config, &there));
    for _ in 0..4 {
        let (gone, come) = thread::scope(|scope| {
            let dels = scope.spawn(|| at_once(&node, Verb::Del, &config, &there));
            let adds = scope.spawn(|| at_once(&node, Verb::Add, &config, &away));
            (dels.join().unwrap(), adds.join().unwrap())
        });
        assert_all_succeeded(&gone);
        assert_all_succeeded(&come);
        assert_eq!(node.leases().len(), assert_distinct(&come).len());
        std::mem::swap(&mut there, &mut away);
    }
    assert_all_succeeded(&at_once(&node, Verb::Del, &config, &there));
    node.assert_nothing_left();
}

fn an_add_races_the_last_del_and_both_succeed(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let config = network(&node);
    let mut pair = containers(&node, "c", 2);
    let add = |container: &Container| {
        let answer = node.run(&node.call(Verb::Add, &config, container, "eth0"));
        assert!(answer.succeeded(), "{answer:#?}");
        answer.result()
    };
    add(&pair[0]);
    for _ in 0..12 {
        let (leaves, comes) = (&pair[0], &pair[1]);
        let result = thread::scope(|scope| {
            let del = scope.spawn(|| node.run(&node.call(Verb::Del, &config, leaves, "eth0")));
            let result = add(comes);
            let deleted = del.join().unwrap();
            assert!(deleted.succeeded(), "{deleted:#?}");
            result
        });
        let checked = with(config.clone(), json!({"prevResult": result}));
        node.silent(&node.call(Verb::Check, &checked, comes, "eth0"));
        for gateway in GATEWAYS {
            assert!(Ping::new(gateway).limit(LIMIT).from(comes).unwrap());
        }
        pair.swap(0, 1);
    }
    node.silent(&node.call(Verb::Del, &config, &pair[0], "eth0"));
    node.assert_nothing_left();
}

fn two_networks_share_a_bridge_and_a_node(setting: BridgeNetfilter) {
    let node = Node::new(setting);
    let blue = network(&node);
    let green = node.network("green", BRIDGE, "10.2.0.0/24", "fd02::/64");
    let all = containers(&node, "c", 20);
    let (ours, theirs) = all.split_at(10);
    for _ in 0..3 {
        for verb in [Verb::Add, Verb::Del] {
            thread::scope(|scope| {
                let first = scope.spawn(|| at_once(&node, verb, &blue, ours));
                assert_all_succeeded(&at_once(&node, verb, &green, theirs));
                assert_all_succeeded(&first.join().unwrap());
            });
        }
        node.assert_nothing_left();
    }
}

/// Marsaglia's xorshift: enough to vary when a process dies.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Starts a call whose process the caller may kill: `nsenter` becomes the plugin.
fn start(node: &Node, verb: &str, config: &Value, container: &Container) -> Child {
    let plugin = bulkhead_tests::Suite::ours().bridge();
    let mut child = node
        .host
        .command(&plugin)
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", container.name())
        .env("CNI_NETNS", container.path())
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", plugin.parent().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that was killed before it read is no failure.
    let _ = std::io::Write::write_all(&mut stdin, config.to_string().as_bytes());
    child
}

/// Kills calls at random moments, then repeats them: what was half done is completed or taken back.
fn soak(setting: BridgeNetfilter, rounds: usize) {
    let node = Node::new(setting);
    let config = network(&node);
    let containers = containers(&node, "c", 8);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = u64::try_from(since.as_nanos() & u128::from(u64::MAX)).unwrap() | 1;
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    for _ in 0..rounds {
        let mut running: Vec<Child> = containers
            .iter()
            .map(|container| {
                let verb = ["ADD", "DEL"][usize::from(dice.below(3) == 0)];
                start(&node, verb, &config, container)
            })
            .collect();
        for child in &mut running {
            thread::sleep(Duration::from_micros(dice.below(4000)));
            // Already over is as good a moment as any.
            let _ = child.kill();
        }
        for child in &mut running {
            child.wait().unwrap();
        }
        if dice.below(2) == 0 {
            let answers = at_once(&node, Verb::Add, &config, &containers);
            assert_all_succeeded(&answers);
            assert_eq!(assert_distinct(&answers).len(), node.leases().len());
        } else {
            assert_all_succeeded(&at_once(&node, Verb::Del, &config, &containers));
            node.assert_nothing_left();
        }
    }
    assert_all_succeeded(&at_once(&node, Verb::Del, &config, &containers));
    node.assert_nothing_left();
}

/// How many rounds of killing: more where `BULKHEAD_SOAK` is set.
fn rounds() -> usize {
    if std::env::var_os("BULKHEAD_SOAK").is_some() {
        500
    } else {
        12
    }
}

#[test]
fn soak_killed_calls_are_completed_or_taken_back() {
    soak(BridgeNetfilter::Off, rounds());
}
