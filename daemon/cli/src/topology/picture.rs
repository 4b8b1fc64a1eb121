//! What is drawn, whatever it is drawn on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_ipam::wire::admin::{ListedEnd, ListedLease, ListedOverlay, NodeName, NodeState};
use bulkhead_model::{Mtu, Prefix};

use super::Topology;
use crate::time;

/// A daemon says that it lives far more often.
const SILENT_MS: u64 = 120_000;

/// The cluster.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    pub(super) networks: &'a [ListedOverlay],
    pub(super) nodes: Vec<Node<'a>>,
}

/// A node.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) name: &'a NodeName,
    pub(super) health: Health,
    /// When it was heard of, in words; none if it was not yet.
    pub(super) seen: Option<String>,
    pub(super) version: &'a str,
    /// Whether it was asked.
    pub(super) here: bool,
    pub(super) ends: Vec<End<'a>>,
}

/// How a node is, as far as the others know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Health {
    Alive,
    /// It has registered and not yet said that it lives.
    Expected,
    /// Nothing was heard of it for a while; what it has stays its own.
    Silent,
    Lost,
    /// The store does not answer.
    Unknown,
}

/// A node's end of a network.
#[derive(Debug)]
pub(super) struct End<'a> {
    /// Which of the networks.
    pub(super) network: usize,
    pub(super) underlay: IpAddr,
    pub(super) mtu: Mtu,
    pub(super) blocks: &'a [Prefix],
    pub(super) endpoints: Vec<&'a ListedLease>,
    /// What is wrong with it, if this is the asked node.
    pub(super) fault: Option<&'a str>,
}

impl Health {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Expected => "not heard of yet",
            Self::Silent => "silent",
            Self::Lost => "lost",
            Self::Unknown => "not known",
        }
    }

    fn of(state: NodeState, seen: Option<u64>, now_unix_ms: u64) -> Self {
        match (state, seen) {
            (NodeState::Lost, _) => Self::Lost,
            (_, None) => Self::Expected,
            (_, Some(at)) if now_unix_ms.saturating_sub(at) < SILENT_MS => Self::Alive,
            (_, Some(_)) => Self::Silent,
        }
    }
}

impl Node<'_> {
    /// What comes behind the word for its health.
    pub(super) fn since(&self) -> String {
        self.seen
            .as_ref()
            .map_or_else(String::new, |seen| format!(", {seen}"))
    }
}

impl<'a> Picture<'a> {
    pub(super) fn of(topology: &'a Topology, now_unix_ms: u64) -> Self {
        let mut nodes: BTreeMap<(&str, &str), Node<'a>> = BTreeMap::new();
        for listed in &topology.nodes {
            let seen = listed.seen_at_unix_ms;
            let node = node(
                &listed.name,
                &listed.version,
                (listed.state, seen),
                now_unix_ms,
            );
            nodes.insert((&listed.name.name, &listed.name.id), node);
        }
        for (nth, network) in topology.networks.iter().enumerate() {
            for end in &network.ends {
                let key = (end.name.name.as_str(), end.name.id.as_str());
                let its = nodes.entry(key).or_insert_with(|| {
                    let said = (end.state, end.seen_at_unix_ms);
                    node(&end.name, &end.version, said, now_unix_ms)
                });
                its.ends.push(end_of(nth, network, end, &topology.leases));
            }
        }
        if !topology.store_answers {
            for node in nodes.values_mut() {
                node.health = Health::Unknown;
                node.seen = Some("the store does not answer".to_owned());
            }
        }
        let own = topology.networks.iter().filter_map(|it| it.here.as_ref());
        let own: Vec<&str> = own.map(|own| own.name.id.as_str()).collect();
        let mut nodes: Vec<Node<'a>> = nodes.into_values().collect();
        for node in &mut nodes {
            node.here = own.contains(&node.name.id.as_str());
        }
        Self {
            networks: &topology.networks,
            nodes,
        }
    }

    /// In one line.
    pub(super) fn summary(&self) -> String {
        let endpoints: usize = self
            .nodes
            .iter()
            .flat_map(|node| &node.ends)
            .map(|end| end.endpoints.len())
            .sum();
        let counted = |count: usize, what: &str| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} {what}{plural}")
        };
        format!(
            "{}, {}, {}",
            counted(self.nodes.len(), "node"),
            counted(self.networks.len(), "network"),
            counted(endpoints, "endpoint")
        )
    }
}

fn node<'a>(
    name: &'a NodeName,
    version: &'a str,
    (state, seen): (NodeState, Option<u64>),
    now_unix_ms: u64,
) -> Node<'a> {
    Node {
        name,
        health: Health::of(state, seen, now_unix_ms),
        seen: seen.map(|at| format!("heard of {} ago", time::ago(at, now_unix_ms))),
        version,
        here: false,
        ends: Vec::new(),
    }
}

fn end_of<'a>(
    nth: usize,
    network: &'a ListedOverlay,
    end: &'a ListedEnd,
    leases: &'a [ListedLease],
) -> End<'a> {
    let own = network
        .here
        .as_ref()
        .filter(|own| own.name.id == end.name.id);
    let its = |lease: &&ListedLease| {
        lease.node.id == end.name.id && lease.key.network.as_str() == network.network
    };
    End {
        network: nth,
        underlay: end.underlay,
        mtu: end.mtu,
        blocks: &end.blocks,
        endpoints: leases.iter().filter(its).collect(),
        fault: own.and_then(|own| own.fault.as_deref()),
    }
}

/// What people call an endpoint: its pod, else its attachment.
pub(super) fn endpoint(lease: &ListedLease) -> String {
    lease.pod.as_ref().map_or_else(
        || {
            let (container, interface) = (&lease.key.container, lease.key.interface);
            format!("{container} {interface}")
        },
        crate::ipam::pod,
    )
}

/// Its addresses.
pub(super) fn addresses(lease: &ListedLease) -> String {
    let addresses = lease.addresses.iter().map(|at| at.address().to_string());
    addresses.collect::<Vec<_>>().join(" ")
}
