//! What was written, read: Kubernetes objects as they are, and our own, YAML and JSON. Nothing that is not
//! understood is passed over: it is told, and a policy fails closed for whom it selects.
//!
//! A reader makes a [`World`] and has no opinion about it; the linter has those.

mod cluster_policy;
mod complaint;
mod fields;
mod json;
mod network_policy;
mod node;
mod object;
mod own;
mod pods;
mod selectors;
mod snapshot;
mod syntax;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::{
    Action, Endpoint, EndpointId, Mode, NodeName, OwnPrefix, Peer, Place, Policy, Port, Rule,
    Space, Tier, World,
};

pub use complaint::{Complaint, Effect, Problem};
pub use snapshot::{SNAPSHOT, header};
pub use syntax::{Fault, MAX_BYTES, SyntaxError};

use fields::{At, Log};
use node::Node;
use object::Object;

/// Reads files, one after the other, into one world.
#[derive(Debug, Default)]
pub struct Reader {
    world: World,
    complaints: Vec<Complaint>,
    /// Where each object was read, by kind, namespace and name.
    seen: BTreeMap<String, String>,
    /// File and line of each endpoint.
    places: BTreeMap<EndpointId, (String, u32)>,
    /// Nodes as their pods tell of them, for files without nodes.
    told: BTreeMap<NodeName, Vec<IpAddr>>,
    /// Objects of kinds that say nothing about who may talk to whom.
    others: usize,
}

/// What was read.
#[derive(Debug)]
pub struct Reading {
    /// What it says.
    pub world: World,
    /// What is wrong with it, in the order of reading.
    pub complaints: Vec<Complaint>,
    /// How many objects say nothing about who may talk to whom.
    pub others: usize,
}

/// Where the mode of a Kubernetes policy is written, which has no field for it.
const MODE: &str = "bulkhead/mode";

impl Reader {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `text`, which messages call `file`: one document or several, objects or lists of them. What a snapshot
    /// has is told with the place where it was written.
    ///
    /// # Errors
    /// [`SyntaxError`] if it is neither JSON nor YAML, or beyond all measure; then nothing of it is taken.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), SyntaxError> {
        let Some(parts) = snapshot::parts(text) else {
            return self.take_in(file, text);
        };
        for (file, line, document) in parts.placed {
            let above = usize::try_from(line.saturating_sub(1)).unwrap_or_default();
            self.take_in(file, &("\n".repeat(above) + &document))?;
        }
        self.take_in(file, &parts.rest)
    }

    fn take_in(&mut self, file: &str, text: &str) -> Result<(), SyntaxError> {
        for document in syntax::parse(text)? {
            self.document(file, &document, None);
        }
        Ok(())
    }

    /// What all files say together.
    #[must_use]
    pub fn finish(mut self) -> Reading {
        self.shared();
        for (name, addresses) in self.told {
            let node = self.world.nodes.entry(name).or_default();
            // What a node says of itself counts, if it says anything.
            if node.addresses.is_empty() {
                node.addresses.extend(addresses);
            }
        }
        Reading {
            world: self.world,
            complaints: self.complaints,
            others: self.others,
        }
    }

    /// One document, or an item of the list of `listed`, a version and a kind.
    fn document(&mut self, file: &str, node: &Node, listed: Option<(&str, &str)>) {
        if node.value == node::Value::Null {
            return;
        }
        let mut log = Log::new(file, None, Effect::Ignored);
        let at = At::root(node);
        let of = |key| node.get(key).and_then(Node::text);
        let version = of("apiVersion").or(listed.map(|(version, _)| version));
        let kind = of("kind").or(listed.map(|(_, kind)| kind).filter(|kind| !kind.is_empty()));
        let (Some(version), Some(kind)) = (version, kind) else {
            at.not(&mut log, "an object with apiVersion and kind");
            self.complaints.extend(log.into_complaints());
            return;
        };
        if let Some(of) = kind.strip_suffix("List")
            && let Some(items) = node.get("items").and_then(Node::list)
        {
            // `kubectl get -o json` says the items' version and kind once, where it does not say List.
            let listed = (version, of);
            for item in items {
                self.document(file, item, Some(listed));
            }
            return;
        }
        let object = Object {
            node,
            file,
            version: version.to_owned(),
            kind: kind.to_owned(),
        };
        self.object(&object);
    }

    fn object(&mut self, object: &Object<'_>) {
        let called = object.called();
        let is_policy = object.kind.ends_with("Policy") || object.kind == "SecurityGroup";
        let effect = if is_policy {
            Effect::Closed
        } else {
            Effect::Ignored
        };
        let mut log = Log::new(object.file, Some(called.clone()), effect);
        if self.take(object, &mut log) {
            object.tell_of_twice(&mut log);
            let place = format!("{}:{}", object.file, object.line());
            if object.metadata("name").and_then(Node::text).is_none() {
                log.tell(object.line(), "metadata.name", Problem::Missing("a name"));
            }
            if let Some(before) = self.seen.insert(called, place) {
                log.tell(object.line(), "", Problem::Again(before));
            }
        }
        self.complaints.extend(log.into_complaints());
    }

    /// Takes what `object` says; false if it is of no concern.
    fn take(&mut self, object: &Object<'_>, log: &mut Log) -> bool {
        let (group, _) = object.version.rsplit_once('/').unwrap_or_default();
        match (object.version.as_str(), object.kind.as_str()) {
            ("v1", "Pod") => self.pod(object, log),
            ("v1", "Namespace") => {
                let (name, namespace) = pods::namespace(object, log);
                self.world.namespaces.insert(name, namespace);
            }
            ("v1", "Node") => {
                let (name, node) = pods::node(object, log);
                self.world.nodes.insert(name, node);
            }
            (_, kind) if is_kubernetes_policy(group, kind) => self.kubernetes_policy(object, log),
            (own::VERSION, "Policy" | "SecurityGroup") => {
                let (id, mut policy) = own::policy(object, log);
                policy.unread.extend(object.unread_metadata(log));
                if !policy.unread.is_empty() {
                    close(&mut policy);
                }
                self.world.policies.insert(id, policy);
            }
            (own::VERSION, "Network") => {
                self.world.networks.extend(own::network(object, log));
            }
            (own::VERSION, "Endpoint") => {
                if let Some((id, endpoint)) = own::endpoint(object, log) {
                    self.endpoint(object, id, endpoint);
                }
            }
            // What a node has seen is no object that anybody writes.
            (own::VERSION, "Circumstances") => {
                self.others += 1;
                return false;
            }
            (version, kind) if group == "bulkhead" => {
                object.say(
                    log,
                    Problem::Kind {
                        kind: kind.to_owned(),
                        version: version.to_owned(),
                        known: "Policy, SecurityGroup, Network and Endpoint of bulkhead/v1",
                    },
                );
            }
            (_, kind) if kind.ends_with("NetworkPolicy") => {
                // Somebody else's, such as Calico's and Cilium's: what it means is not ours to guess.
                log.leave(object.line(), "", unknown(object));
            }
            (version, kind) if is_misspelt(group, version, kind) => {
                let problem = Problem::Version {
                    kind: kind.to_owned(),
                    version: version.to_owned(),
                    known: "Pod, Namespace and Node of v1, NetworkPolicy of networking.k8s.io/v1 and ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2",
                };
                log.leave(object.line(), "", problem);
            }
            _ => {
                self.others += 1;
                return false;
            }
        }
        true
    }

    fn pod(&mut self, object: &Object<'_>, log: &mut Log) {
        let Some(pod) = pods::pod(object, log) else {
            return;
        };
        if let Some(node) = &pod.endpoint.node {
            let told = self.told.entry(node.clone()).or_default();
            told.extend(pod.host);
        }
        self.endpoint(object, pod.id, pod.endpoint);
    }

    fn endpoint(&mut self, object: &Object<'_>, id: EndpointId, endpoint: Endpoint) {
        let place = (object.file.to_owned(), object.line());
        self.places.insert(id.clone(), place);
        self.world.endpoints.insert(id, endpoint);
    }

    fn kubernetes_policy(&mut self, object: &Object<'_>, log: &mut Log) {
        let annotation = object.metadata("annotations").and_then(|all| all.get(MODE));
        let mode = annotation.map(|node| {
            let path = format!("metadata.annotations.{MODE}");
            log.watched(|log| own::mode_of(&At { node, path }, log)).0
        });
        let mode = mode.unwrap_or_default();
        let (id, mut policy) = if object.kind == "NetworkPolicy" {
            network_policy::read(object, mode, log)
        } else {
            cluster_policy::read(object, mode, log)
        };
        let is_known = KNOWN.contains(&(&object.version, &object.kind));
        if !is_known {
            let problem = unknown(object);
            policy.unread.insert(0, problem.to_string());
            object.say(log, problem);
        }
        policy.unread.extend(object.unread_metadata(log));
        if !policy.unread.is_empty() {
            close(&mut policy);
        }
        self.world.policies.insert(id, policy);
    }

    /// Tells of addresses that two endpoints have.
    fn shared(&mut self) {
        let endpoints = self.world.endpoints.iter();
        let endpoints = endpoints.filter(|(_, endpoint)| endpoint.place == Place::Port);
        let prefixes = endpoints.clone().flat_map(|(id, endpoint)| {
            let prefixes = endpoint.prefixes.iter().copied();
            prefixes.map(move |own| (id, Shared::Prefix(own)))
        });
        let addresses = endpoints.flat_map(|(id, endpoint)| {
            let addresses = endpoint.addresses.iter().copied();
            addresses.map(move |address| (id, Shared::Address(address)))
        });
        let mut holders: BTreeMap<(Space, Shared), &EndpointId> = BTreeMap::new();
        for (id, what) in prefixes.chain(addresses) {
            let space = self.world.space_of(id);
            let around = what.around().map(|around| (space.clone(), around));
            let around = around.and_then(|around| holders.get(&around).copied());
            let same = holders.insert((space, what), id);
            let Some(other) = same.or(around).filter(|other| *other != id) else {
                continue;
            };
            let (file, line) = self.places.get(id).cloned().unwrap_or_default();
            self.complaints.push(Complaint {
                file,
                line,
                object: Some(id.to_string()),
                path: String::new(),
                problem: Problem::Shared {
                    what: what.to_string(),
                    other: other.to_string(),
                },
                effect: Effect::Told,
            });
        }
    }
}

/// What two endpoints may both have.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Shared {
    Address(IpAddr),
    Prefix(OwnPrefix),
}

impl Shared {
    /// The prefix that an address would be in.
    fn around(self) -> Option<Self> {
        match self {
            Self::Address(address) => OwnPrefix::around(address).map(Self::Prefix),
            Self::Prefix(_) => None,
        }
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address {address}"),
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
        }
    }
}

/// The policies of Kubernetes that are read.
const KNOWN: [(&str, &str); 2] = [
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
];

/// Whether it is a policy of Kubernetes' own, of whatever version. Calico and Cilium have a
/// `NetworkPolicy` of theirs.
fn is_kubernetes_policy(group: &str, kind: &str) -> bool {
    let is_of_others = group.contains('.') && !group.ends_with("k8s.io");
    group == "policy.networking.k8s.io" || (kind == "NetworkPolicy" && !is_of_others)
}

/// Whether it is meant for something that is read, as far as can be told: what is passed over in silence must be of
/// no concern, and a policy that nobody reads is.
fn is_misspelt(group: &str, version: &str, kind: &str) -> bool {
    const READ: [&str; 5] = [
        "Pod",
        "Namespace",
        "Node",
        "NetworkPolicy",
        "ClusterNetworkPolicy",
    ];
    // What this group has (Kubernetes 1.34); of policies it is a list of none that comes here.
    const KINDS: [&str; 5] = [
        "Ingress",
        "IngressClass",
        "IPAddress",
        "NetworkPolicy",
        "ServiceCIDR",
    ];
    let is_like = |known: &str| known.eq_ignore_ascii_case(kind);
    match group {
        "networking.k8s.io" => {
            let kind = kind.strip_suffix("List").unwrap_or(kind);
            !KINDS.contains(&kind)
        }
        // The core's; and `apps/v1` and such, which have none of these.
        "" => !version.contains('/') && READ.iter().any(|known| is_like(known)),
        _ => !group.contains('.') && READ.iter().any(|known| is_like(known)),
    }
}

fn unknown(object: &Object<'_>) -> Problem {
    Problem::Version {
        kind: object.kind.clone(),
        version: object.version.clone(),
        known: "NetworkPolicy of networking.k8s.io/v1 and ClusterNetworkPolicy of policy.networking.k8s.io/v1alpha2",
    }
}

/// Makes a policy that was not understood let nothing through, to or from whom it is about.
fn close(policy: &mut Policy) {
    let rules = match policy.tier {
        // Isolated, and nothing allowed.
        Tier::Middle => Vec::new(),
        Tier::Admin(_) | Tier::Baseline(_) => vec![deny_all(policy.origin.line, &policy.unread)],
    };
    policy.mode = Mode::Enforce;
    policy.ingress = Some(rules.clone());
    policy.egress = Some(rules);
}

/// The rule that a deny or a pass becomes which was not understood.
fn deny_all(line: Option<u32>, unread: &[String]) -> Rule {
    Rule {
        action: Action::Deny,
        peers: vec![Peer::Any],
        ports: vec![Port::Any],
        name: None,
        line,
        unread: unread.to_vec(),
    }
}

/// The rule that an allow becomes which was not understood.
fn allow_none(line: Option<u32>, unread: &[String]) -> Rule {
    Rule {
        action: Action::Allow,
        peers: Vec::new(),
        ports: Vec::new(),
        ..deny_all(line, unread)
    }
}
