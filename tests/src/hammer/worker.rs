//! A runtime: one call at a time, containers that come and go, no patience with the node's troubles.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netns_fixtures::{CniAnswer, CniCall, Container, Verb};
use serde_json::Value;

use super::history::Life;
use super::node::Node;
use super::plan::Choices;

/// Longer than the plugin waits for a daemon that does not answer.
const CALL_LIMIT: Duration = Duration::from_secs(40);

/// What all actors of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    started: Instant,
    over: AtomicBool,
    operations: AtomicU64,
    failures: Mutex<std::collections::BTreeMap<String, u64>>,
    lives: Mutex<Vec<Life>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            over: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            failures: Mutex::default(),
            lives: Mutex::default(),
        }
    }

    /// The time since the run began.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// How often calls failed, by what they said.
    pub(super) fn failures(&self) -> Vec<(String, u64)> {
        let failures = self.failures.lock().expect("no holder panics");
        failures.iter().map(|(why, n)| (why.clone(), *n)).collect()
    }

    /// Every life there was so far.
    pub(super) fn lives(&self) -> Vec<Life> {
        self.lives.lock().expect("no holder panics").clone()
    }

    fn failed(&self, verb: Verb, answer: &CniAnswer) {
        let said = answer.json.as_ref();
        let code = answer.error_code();
        // What is in the way and what has drifted is worth more than a count.
        if matches!(code, Some(102 | 103)) {
            eprintln!(
                "hammer: {:8.3?} {}: {}",
                self.now(),
                verb.as_str(),
                answer.stdout
            );
        }
        let text = said.and_then(|json| json["msg"].as_str()).unwrap_or("-");
        let text: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let why = format!("{} code {code:?}: {text:.90}", verb.as_str());
        let mut failures = self.failures.lock().expect("no holder panics");
        *failures.entry(why).or_default() += 1;
    }

    /// A new life's place in the history.
    fn begin(&self, life: Life) -> usize {
        let mut lives = self.lives.lock().expect("no holder panics");
        lives.push(life);
        lives.len() - 1
    }

    fn note(&self, nth: usize, note: impl FnOnce(&mut Life)) {
        note(&mut self.lives.lock().expect("no holder panics")[nth]);
    }
}

/// A network namespace of a worker, and who is in it.
#[derive(Debug)]
struct Slot {
    container: Container,
    tenant: Option<Tenant>,
}

/// A container that was begun.
#[derive(Debug)]
struct Tenant {
    id: String,
    life: usize,
    /// What ADD answered, which a runtime keeps for the calls after it.
    result: Value,
    /// A DEL has begun, and may be half done.
    leaves: bool,
}

/// One worker of one node.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    node: &'a Node,
    shared: &'a Shared,
    name: String,
    choices: Choices,
    slots: Vec<Slot>,
    births: u64,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        node: &'a Node,
        shared: &'a Shared,
        nth: usize,
        choices: Choices,
        containers: Vec<Container>,
    ) -> Self {
        Self {
            node,
            shared,
            name: format!("n{}w{nth}", node.nth()),
            choices,
            slots: containers
                .into_iter()
                .map(|container| Slot {
                    container,
                    tenant: None,
                })
                .collect(),
            births: 0,
        }
    }

    /// Adds and deletes until the run is over; what is attached then stays, and what failed half way.
    pub(super) fn work(mut self) {
        while !self.shared.is_over() {
            let nth = self.choices.below(self.slots.len());
            match self.slots[nth].tenant.take() {
                None => self.add(nth),
                Some(tenant) if !tenant.leaves && self.choices.chance(10) => {
                    self.check(nth, tenant);
                }
                Some(tenant) => self.delete(nth, tenant),
            }
        }
    }

    fn call(&self, verb: Verb, nth: usize, tenant: &Tenant) -> CniCall {
        let id = &tenant.id;
        let mut config = self.node.network().clone();
        if !tenant.result.is_null() {
            config["prevResult"] = tenant.result.clone();
        }
        CniCall::new(self.node.plugin(), verb)
            .stdin(&config)
            .container_id(id)
            .ifname("eth0")
            .netns(self.slots[nth].container.path())
            .args(&format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=hammer;K8S_POD_NAME={id}"
            ))
            .limit(CALL_LIMIT)
    }

    /// `None` if the call did not end: its shim was killed then, as runtimes do.
    fn run(&self, verb: Verb, call: &CniCall) -> Option<CniAnswer> {
        self.shared.operations.fetch_add(1, Ordering::Relaxed);
        let answer = call.run(self.node.ns()).ok()?;
        if !answer.succeeded() {
            self.shared.failed(verb, &answer);
        }
        Some(answer)
    }

    fn add(&mut self, nth: usize) {
        self.births += 1;
        let id = format!("{}-{}", self.name, self.births);
        let netns = self.slots[nth].container.name().to_owned();
        let life = Life::new(self.node.nth(), id.clone(), netns);
        let mut tenant = Tenant {
            life: self.shared.begin(life),
            id,
            result: Value::Null,
            leaves: false,
        };
        let call = self.call(Verb::Add, nth, &tenant);
        match self.run(Verb::Add, &call) {
            Some(answer) if answer.succeeded() => {
                let now = self.shared.now();
                tenant.result = answer.json.unwrap_or_default();
                let given = addresses(&tenant.result);
                self.shared.note(tenant.life, |life| {
                    life.added = Some(now);
                    life.addresses = given;
                });
                self.slots[nth].tenant = Some(tenant);
            }
            // A runtime deletes what it could not add.
            _ => self.delete(nth, tenant),
        }
    }

    fn check(&mut self, nth: usize, tenant: Tenant) {
        let call = self.call(Verb::Check, nth, &tenant);
        drop(self.run(Verb::Check, &call));
        self.slots[nth].tenant = Some(tenant);
    }

    fn delete(&mut self, nth: usize, mut tenant: Tenant) {
        tenant.leaves = true;
        let now = self.shared.now();
        self.shared.note(tenant.life, |life| {
            life.leaving.get_or_insert(now);
        });
        let call = self.call(Verb::Del, nth, &tenant);
        if self.run(Verb::Del, &call).is_some_and(|a| a.succeeded()) {
            let now = self.shared.now();
            self.shared
                .note(tenant.life, |life| life.deleted = Some(now));
        } else {
            // DEL is repeated until it succeeds; nothing else happens in this namespace before.
            self.slots[nth].tenant = Some(tenant);
        }
    }
}

/// The addresses of a result.
pub(super) fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().into_iter().flatten();
    let texts = ips.filter_map(|ip| ip["address"].as_str()?.split('/').next());
    texts.filter_map(|text| text.parse().ok()).collect()
}
