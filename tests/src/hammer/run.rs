//! A run from its first namespace to its verdict.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use netns_fixtures::{
    CniCall, End, Etcd, EtcdOptions, Host, Ns, Place, Sandbox, Verb, veth, wait_until,
};
use serde_json::Value;

use super::fault::{Faults, trouble_nodes, trouble_store};
use super::history::{Life, duplicates};
use super::node::Node;
use super::plan::{Choices, Plan};
use super::worker::{Shared, Worker};
use crate::Scratch;

/// The pool of all nodes: small, so that blocks change hands.
const POOL: &str = "hammer";
/// How long healing may take: every daemon has caught up with the store then.
const HEALING: Duration = Duration::from_secs(90);

/// What a run found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Calls of the plugin.
    pub operations: u64,
    /// Things that went wrong.
    pub faults: u64,
    /// Addresses that two had at once.
    pub duplicates: usize,
    /// Attachments that were acknowledged and are not there.
    pub lost: usize,
    /// Leases of attachments that are not there.
    pub leaked: usize,
    /// Each of those, told.
    pub evidence: Vec<String>,
}

impl Verdict {
    /// Whether nothing was found.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.duplicates == 0 && self.lost == 0 && self.leaked == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "soak: operations={} faults={} duplicates={} lost={} leaked={}",
            self.operations, self.faults, self.duplicates, self.lost, self.leaked
        )
    }
}

/// Runs `plan` in namespaces of its own.
///
/// # Errors
/// What kept the run from being made or judged: that is neither clean nor not.
pub fn run(plan: &Plan) -> io::Result<Verdict> {
    let sandbox = Sandbox::new();
    let scratch = Scratch::new(&sandbox, "hammer");
    let switch = sandbox.host("switch").map_err(io::Error::other)?;
    switch.bridge("fabric", &[]).map_err(io::Error::other)?;
    let places = places(&sandbox, &switch, plan)?;
    let mut etcd =
        Etcd::start(&sandbox, &places, EtcdOptions::default()).map_err(io::Error::other)?;
    let nodes = nodes(&sandbox, &switch, scratch.path(), plan, &etcd)?;
    let shared = Shared::new();
    let faults = Faults::default();
    let store = (&mut etcd, places.as_slice());
    hammer(plan, &sandbox, &nodes, store, &shared, &faults)?;
    let mut verdict = judge(&nodes, &shared)?;
    verdict.operations = shared.operations();
    verdict.faults = faults.count();
    for (why, times) in shared.failures() {
        eprintln!("hammer: {times} times {why}");
    }
    if !verdict.is_clean() {
        keep_logs(&nodes);
    }
    Ok(verdict)
}

/// A link to the switch, with an address.
fn plug(switch: &Host, ns: &Ns, name: &str, address: &str) -> io::Result<()> {
    let near = End::new(ns, "fab0").address(&format!("{address}/24"));
    veth(&near, &End::new(switch, name)).map_err(io::Error::other)?;
    let join = format!("link set dev {name} master fabric");
    switch.ip(&join).map_err(io::Error::other)?;
    Ok(())
}

/// Where the members of etcd live.
fn places(sandbox: &Sandbox, switch: &Host, plan: &Plan) -> io::Result<Vec<Place>> {
    let mut places = Vec::new();
    for nth in 0..plan.members {
        let name = format!("etcd{nth}");
        let ns = sandbox.ns(&name).map_err(io::Error::other)?;
        let address = format!("10.99.0.{}", 200 + nth);
        plug(switch, &ns, &name, &address)?;
        places.push((ns, address.parse::<IpAddr>().map_err(io::Error::other)?));
    }
    Ok(places)
}

fn nodes(
    sandbox: &Sandbox,
    switch: &Host,
    dir: &Path,
    plan: &Plan,
    etcd: &Etcd,
) -> io::Result<Vec<Node>> {
    let endpoints = etcd.urls();
    let mut nodes = Vec::new();
    for nth in 0..plan.nodes {
        let name = format!("node{nth}");
        let host = sandbox.host(&name).map_err(io::Error::other)?;
        plug(switch, &host, &name, &format!("10.99.0.{}", 10 + nth))?;
        nodes.push(Node::new(nth, host, &dir.join(name), &endpoints, POOL)?);
    }
    for node in &nodes {
        node.start()?;
    }
    for node in &nodes {
        node.await_ready()?;
    }
    let words = [
        "pool",
        "add",
        POOL,
        "--v4",
        "10.128.0.0/22",
        "--v6",
        "fd80::/118",
        "--block-size",
        "16",
        "--cooldown",
        "1",
    ];
    let (code, said) = nodes[0].ask(&words)?;
    if code != 0 {
        return Err(io::Error::other(format!("the pool is refused: {said}")));
    }
    Ok(nodes)
}

fn hammer(
    plan: &Plan,
    sandbox: &Sandbox,
    nodes: &[Node],
    (etcd, places): (&mut Etcd, &[Place]),
    shared: &Shared,
    faults: &Faults,
) -> io::Result<()> {
    let mut workers = Vec::new();
    for node in nodes {
        for nth in 0..plan.workers {
            let actor = (node.nth() * plan.workers + nth) as u64 + 16;
            let containers = (0..plan.namespaces)
                .map(|slot| sandbox.container(&format!("n{}w{nth}s{slot}", node.nth())))
                .collect::<Result<_, _>>()
                .map_err(io::Error::other)?;
            let choices = Choices::of(plan.seed, actor);
            workers.push(Worker::new(node, shared, nth, choices, containers));
        }
    }
    thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| worker.work());
        }
        let troubles = [
            scope.spawn(|| trouble_nodes(nodes, shared, faults, Choices::of(plan.seed, 1))),
            scope.spawn(|| trouble_nodes(nodes, shared, faults, Choices::of(plan.seed, 2))),
            scope.spawn(|| trouble_store(etcd, places, shared, faults, Choices::of(plan.seed, 3))),
        ];
        thread::sleep(plan.duration);
        shared.end();
        let ends = troubles.map(|trouble| trouble.join().expect("no fault panics"));
        ends.into_iter().collect::<io::Result<()>>()
    })
}

/// Heals everything, and looks at what is left.
fn judge(nodes: &[Node], shared: &Shared) -> io::Result<Verdict> {
    for node in nodes {
        node.heal()?;
    }
    for node in nodes {
        node.await_ready()?;
    }
    finish_deletions(nodes, shared)?;
    let lives = shared.lives();
    let mut verdict = Verdict::default();
    for found in duplicates(&lives) {
        verdict.duplicates += 1;
        verdict.evidence.push(format!("duplicate: {found}"));
    }
    settle(nodes, &lives)?;
    lost(nodes, &lives, &mut verdict)?;
    leaked(nodes, &lives, &mut verdict)?;
    proven(nodes, &mut verdict)?;
    Ok(verdict)
}

/// What failed half way is a runtime's to delete until that succeeds.
fn finish_deletions(nodes: &[Node], shared: &Shared) -> io::Result<()> {
    let half = |life: &&Life| !life.is_live() && life.deleted.is_none();
    for life in shared.lives().iter().filter(half) {
        let node = &nodes[life.node];
        let call = CniCall::new(node.plugin(), Verb::Del)
            .stdin(node.network())
            .container_id(&life.container)
            .ifname("eth0")
            .netns(format!("/run/netns/{}", life.netns));
        let answer = call.run(node.ns()).map_err(io::Error::other)?;
        if !answer.succeeded() {
            let text = format!(
                "DEL of {} fails on a healed node: {answer:?}",
                life.container
            );
            return Err(io::Error::other(text));
        }
    }
    Ok(())
}

/// The leases that the store lists, by container and address.
fn published(node: &Node) -> io::Result<BTreeSet<(String, IpAddr)>> {
    let (_, listed) = node.ask(&["ipam", "ls", "--pool", POOL])?;
    let mut leases = BTreeSet::new();
    for lease in listed.as_array().into_iter().flatten() {
        let container = lease["container"].as_str().unwrap_or_default();
        for address in lease["addresses"].as_array().into_iter().flatten() {
            let text = address.as_str().and_then(|text| text.split('/').next());
            if let Some(address) = text.and_then(|text| text.parse().ok()) {
                leases.insert((container.to_owned(), address));
            }
        }
    }
    Ok(leases)
}

fn expected(lives: &[Life]) -> BTreeSet<(String, IpAddr)> {
    let live = lives.iter().filter(|life| life.is_live());
    live.flat_map(|life| {
        let of = |address: &IpAddr| (life.container.clone(), *address);
        life.addresses.iter().map(of).collect::<Vec<_>>()
    })
    .collect()
}

/// Waits until the store says what the runtimes know, as long as that may take.
fn settle(nodes: &[Node], lives: &[Life]) -> io::Result<()> {
    let expected = expected(lives);
    let settled = wait_until(HEALING, || {
        published(&nodes[0])
            .is_ok_and(|found| found == expected)
            .then_some(())
    });
    if settled.is_none() {
        eprintln!("hammer: the store has not settled within {HEALING:?}");
    }
    published(&nodes[0]).map(drop)
}

/// Acknowledged attachments that are missing in the store or in the kernel.
fn lost(nodes: &[Node], lives: &[Life], verdict: &mut Verdict) -> io::Result<()> {
    let published = published(&nodes[0])?;
    for life in lives.iter().filter(|life| life.is_live()) {
        let inside = inside(&life.netns)?;
        for address in &life.addresses {
            let lease = published.contains(&(life.container.clone(), *address));
            let kernel = inside.contains(address);
            if !lease || !kernel {
                verdict.lost += 1;
                verdict.evidence.push(format!(
                    "lost: {address} of {} on node {}: in the store {lease}, in the kernel {kernel}",
                    life.container, life.node
                ));
            }
        }
    }
    Ok(())
}

/// Leases that nobody holds.
fn leaked(nodes: &[Node], lives: &[Life], verdict: &mut Verdict) -> io::Result<()> {
    let expected = expected(lives);
    for (container, address) in published(&nodes[0])?.difference(&expected) {
        verdict.leaked += 1;
        let text = format!("leaked: {address} is leased to {container}, which is gone");
        verdict.evidence.push(text);
    }
    Ok(())
}

/// Every daemon's own proof: journal, store and kernel agree.
fn proven(nodes: &[Node], verdict: &mut Verdict) -> io::Result<()> {
    for node in nodes {
        let (code, report) = node.ask(&["ipam", "check"])?;
        let violations = report["violations"].as_array().map_or(0, Vec::len);
        if code != 0 || violations > 0 {
            verdict.lost += violations.max(1);
            let text = format!("{}: ipam check: {}", node.name(), pretty(&report));
            verdict.evidence.push(text);
        }
    }
    Ok(())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// The addresses of a container's interface.
fn inside(netns: &str) -> io::Result<Vec<IpAddr>> {
    let ns = Ns::at(Path::new(&format!("/run/netns/{netns}")));
    let links = ns.ip_json("addr show").map_err(io::Error::other)?;
    let eth0 = links.as_array().into_iter().flatten();
    let infos = eth0
        .filter(|link| link["ifname"] == "eth0")
        .flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
    Ok(infos
        .filter_map(|info| info["local"].as_str()?.parse().ok())
        .collect())
}

/// The end of what each daemon said, before its directory goes.
fn keep_logs(nodes: &[Node]) {
    for node in nodes {
        let log = std::fs::read_to_string(node.log_path()).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(40).collect();
        eprintln!("== the last lines of {}", node.name());
        lines.iter().rev().for_each(|line| eprintln!("{line}"));
    }
}
