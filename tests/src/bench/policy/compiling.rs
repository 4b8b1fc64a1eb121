//! What it takes from a change to what is to be committed, and until that is done: where everything is compiled anew,
//! and where the change is followed.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_nft::{Command, change};
use bulkhead_policy::{
    Changes, Compiler, Endpoint, EndpointId, EndpointSelector, Labels, Local, Namespaces, NodeName,
    Peer, Place, Policy, PolicyId, Requirement, Selector, World,
};
use netns_fixtures::Sandbox;

use super::road::commit;
use super::worlds::{Size, allow, policy, policy_id, port};
use crate::bench::sample::Sample;

/// Endpoints of a namespace, and of them those of an application.
const OF_NAMESPACE: usize = 110;
const OF_APPLICATION: usize = 10;

/// One change, done again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) what: &'static str,
    /// Until it is known what is to be committed: the change alone, and all anew.
    pub(crate) followed: Sample,
    pub(crate) anew: Sample,
    /// From the first byte to the kernel's answer.
    pub(crate) committed: Sample,
    /// All of it, where the change is followed.
    pub(crate) whole: Sample,
}

/// A size, and what was measured of it.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) size: Size,
    pub(crate) scratch: Duration,
    /// MiB that the process had more when it was done than when the world was there.
    pub(crate) memory: f64,
    pub(crate) elements: usize,
    pub(crate) changes: Vec<Change>,
}

pub(super) fn compiled(sizes: &[(usize, Size)], count: usize) -> io::Result<Vec<Compiled>> {
    let all = sizes.iter().map(|(own, size)| {
        eprintln!("{size}, {own} of them here: compiled");
        let sandbox = Sandbox::new();
        let node = sandbox.ns("node").map_err(io::Error::other)?;
        let compile = || one(*own, *size, count);
        node.enter(compile).map_err(io::Error::other)?
    });
    all.collect()
}

fn one(own: usize, size: Size, count: usize) -> io::Result<Compiled> {
    let cluster = Cluster::new(own, size);
    let mut kernel = Kernel::new(Deletion::Blocking);
    let before = resident_mib();
    let began = Instant::now();
    let mut compiler = Compiler::default();
    let ruleset = compiler.compile(&cluster.world, &cluster.local);
    let scratch = began.elapsed();
    let memory = resident_mib() - before;
    let (mut table, mut outcomes) = (ruleset.table, ruleset.outcomes);
    let elements = table.sets.iter().map(|set| set.elements.len()).sum();
    commit(&mut kernel, vec![Command::AddTable(table.clone())])?;
    let mut changes = Vec::new();
    for step in cluster.steps() {
        let mut one = Change {
            what: step.what,
            ..Change::default()
        };
        let sides = [(&step.world, &step.local), (&cluster.world, &cluster.local)];
        for nth in 0..count * 2 {
            let (world, local) = sides[nth % 2];
            if nth < 4 {
                let began = Instant::now();
                let anew = Compiler::default().compile(world, local);
                drop(change(&table, &anew.table));
                one.anew.push(began.elapsed());
            }
            let began = Instant::now();
            let followed = compiler.follow(world, local, &step.changes);
            let followed = followed.ok_or_else(|| io::Error::other("it is to be compiled"))?;
            one.followed.push(began.elapsed());
            one.committed
                .push(commit(&mut kernel, followed.commands.clone())?);
            followed.apply(&mut table, &mut outcomes);
            one.whole.push(began.elapsed());
        }
        changes.push(one);
    }
    Ok(Compiled {
        size,
        scratch,
        memory,
        elements,
        changes,
    })
}

/// `VmRSS` of this process (proc(5)).
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

struct Cluster {
    size: Size,
    world: World,
    local: Local,
}

/// What is otherwise, and back again.
struct Step {
    what: &'static str,
    world: World,
    local: Local,
    changes: Changes,
}

fn namespace_of(nth: usize) -> String {
    format!("ns{}", nth / OF_NAMESPACE)
}

fn selector(namespace: usize, application: usize) -> EndpointSelector {
    let application = format!("a{}", application % (OF_NAMESPACE / OF_APPLICATION));
    EndpointSelector::Labelled {
        namespaces: Namespaces::Named(format!("ns{namespace}")),
        labels: Selector::from_iter([Requirement::equals("app", application)]),
    }
}

fn endpoint(nth: usize, node: &str) -> (EndpointId, Endpoint) {
    let id = EndpointId::new(namespace_of(nth), format!("e{nth}"));
    let host = u32::try_from(nth).expect("thousands of endpoints");
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + host);
    let application = nth % OF_NAMESPACE / OF_APPLICATION;
    let endpoint = Endpoint {
        labels: Labels::from_iter([
            ("app".to_owned(), format!("a{application}")),
            ("tier".to_owned(), format!("t{}", nth % 3)),
        ]),
        groups: std::collections::BTreeSet::new(),
        addresses: [IpAddr::from(address)].into(),
        prefixes: std::collections::BTreeSet::new(),
        ports: std::collections::BTreeSet::new(),
        node: Some(NodeName::new(node)),
        place: Place::Port,
    };
    (id, endpoint)
}

/// Policies of a namespace's applications in turn, each about one of them, of others of it and of another namespace.
fn written(nth: usize, namespaces: usize) -> (PolicyId, Policy) {
    let (namespace, turn) = (nth % namespaces, nth / namespaces);
    let other = (namespace + 1 + turn) % namespaces;
    let of = |step: usize| {
        let own = Peer::Endpoints(selector(namespace, turn + step));
        vec![own, Peer::Endpoints(selector(other, turn + step))]
    };
    let own_port = u16::try_from(1_000 + nth % 50_000).expect("below 51,000");
    let ingress = vec![
        allow(of(1), vec![port(80), port(own_port)]),
        allow(of(3), vec![port(9090)]),
    ];
    let egress = vec![allow(of(2), vec![port(443), port(80)])];
    (
        policy_id(&format!("ns{namespace}"), format!("p{nth}")),
        policy(selector(namespace, turn), Some(ingress), Some(egress)),
    )
}

impl Cluster {
    fn new(own: usize, size: Size) -> Self {
        let mut world = World::default();
        for nth in 0..size.endpoints {
            let node = if nth < own { "here" } else { "elsewhere" };
            world.endpoints.extend([endpoint(nth, node)]);
        }
        let namespaces = size.endpoints.div_ceil(OF_NAMESPACE);
        let policies = (0..size.policies).map(|nth| written(nth, namespaces));
        world.policies.extend(policies);
        let local = Local::of(&world, Some(&NodeName::new("here")));
        Self { size, world, local }
    }

    fn steps(&self) -> Vec<Step> {
        let step = |what| Step {
            what,
            world: self.world.clone(),
            local: self.local.clone(),
            changes: Changes::default(),
        };
        let (first, _) = written(0, self.size.endpoints.div_ceil(OF_NAMESPACE));
        let mut edited = step("a policy allows one more port");
        let policy = edited.world.policies.get_mut(&first);
        let rules = policy.and_then(|policy| policy.ingress.as_mut());
        rules.expect("it has rules")[0].ports.push(port(7_777));
        edited.changes.policies.insert(first.clone());
        let mut gone = step("a policy goes or comes");
        gone.world.policies.remove(&first);
        gone.changes.policies.insert(first);
        let mut here = step("an endpoint here comes or goes");
        let (id, newcomer) = endpoint(0, "here");
        let newcomer = Endpoint {
            addresses: [IpAddr::from(Ipv4Addr::new(10, 255, 0, 1))].into(),
            ..newcomer
        };
        let id = EndpointId::new(id.namespace, "newcomer");
        here.world.endpoints.insert(id.clone(), newcomer.clone());
        here.local
            .endpoints
            .insert(id.clone(), "bhpnewcomer".parse().expect("a name"));
        here.changes.endpoints.insert(id.clone());
        let mut elsewhere = step("an endpoint elsewhere comes or goes");
        elsewhere.world.endpoints.insert(id.clone(), newcomer);
        elsewhere.changes.endpoints.insert(id);
        vec![edited, gone, here, elsewhere]
    }
}
