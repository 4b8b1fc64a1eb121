//! `pool` and `sticky`: addresses of a cluster's pools. Keys of our own, so they are read strictly.

use std::net::IpAddr;
use std::path::PathBuf;

use bulkhead_model::NetworkName;
use serde_json::Value;

use super::object::Node;
use super::{ConfigError, Dns, KeyError, Route, data_dir, dns, requested, routes};
use crate::cluster::PoolName;

/// A parsed `ipam` object that names pools of the cluster, with what the runtime added.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClusterConfig {
    /// Where the addresses come from.
    pub pools: PoolChoice,
    /// Whether a pod keeps its address for life, on whichever node it runs.
    pub sticky: bool,
    /// Routes for the container, as configured.
    pub routes: Vec<Route>,
    /// Name resolution, read from `resolvConf`; empty if none is named.
    pub dns: Dns,
    /// `dataDir`: the state directory to use instead of the default.
    pub data_dir: Option<PathBuf>,
    /// Addresses that the runtime asks for.
    pub requested: Vec<IpAddr>,
}

/// Which pools an address may come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PoolChoice {
    /// These, the first that has one.
    Named(Vec<PoolName>),
    /// Every enabled pool that is for the node and the pod, by priority.
    Any,
}

impl std::fmt::Display for PoolChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any pool"),
            Self::Named(names) => {
                let word = if names.len() == 1 { "pool" } else { "pools" };
                let names: Vec<_> = names.iter().map(ToString::to_string).collect();
                write!(f, "{word} {}", names.join(", "))
            }
        }
    }
}

/// What names addresses of the network's own, or settles what a pool settles.
const OWN_KEYS: [&str; 8] = [
    "ranges",
    "subnet",
    "rangeStart",
    "rangeEnd",
    "gateway",
    "auto",
    "exclude",
    "cooldownSecs",
];

impl ClusterConfig {
    /// Parses `ipam` as [`PoolConfig::from_cni`](super::PoolConfig::from_cni) does; `None` if it has no
    /// `pool`.
    ///
    /// # Errors
    /// Names the first key that cannot be used.
    pub fn from_cni(
        network: &NetworkName,
        ipam: &Value,
        runtime_ranges: Option<&Value>,
        requested: &[String],
    ) -> Result<Option<Self>, ConfigError> {
        Self::parse(ipam, runtime_ranges, requested).map_err(|error| error.of(network))
    }

    fn parse(
        ipam: &Value,
        runtime_ranges: Option<&Value>,
        asked: &[String],
    ) -> Result<Option<Self>, KeyError> {
        let ipam = Node::root("ipam", ipam);
        let sticky = sticky(&ipam)?;
        let Some(node) = ipam.field("pool")? else {
            return match ipam.field("sticky")?.filter(|_| sticky) {
                Some(node) => Err(node.error(
                    "only an address of a cluster's pool is kept for a pod: name a `pool`, or remove `sticky`",
                )),
                None => Ok(None),
            };
        };
        refuse_own(&ipam, runtime_ranges)?;
        Ok(Some(Self {
            pools: choice(&node)?,
            sticky,
            routes: routes::routes(&ipam)?,
            dns: dns(&ipam)?,
            data_dir: data_dir(&ipam)?,
            requested: requested(asked)?,
        }))
    }
}

fn refuse_own(ipam: &Node<'_>, runtime_ranges: Option<&Value>) -> Result<(), KeyError> {
    for key in OWN_KEYS {
        if let Some(own) = ipam.field(key)? {
            return Err(own.error(
                "`pool` stands beside it, and a pool of the cluster settles this itself (`bulkhead pool set`): keep one of them",
            ));
        }
    }
    let named =
        runtime_ranges.filter(|ranges| !ranges.is_null() && **ranges != Value::Array(Vec::new()));
    match named {
        Some(ranges) => Err(Node::root("runtimeConfig.ipRanges", ranges)
            .error("the network's addresses come from a pool of the cluster: ask for none here")),
        None => Ok(()),
    }
}

fn sticky(ipam: &Node<'_>) -> Result<bool, KeyError> {
    let Some(node) = ipam.field("sticky")? else {
        return Ok(false);
    };
    node.switch().ok_or_else(|| node.not("true or false"))
}

fn choice(node: &Node<'_>) -> Result<PoolChoice, KeyError> {
    let expected = "a pool's name, a list of them, or \"*\"";
    if let Ok(text) = node.text() {
        return match text {
            "*" => Ok(PoolChoice::Any),
            _ => Ok(PoolChoice::Named(vec![node.parse()?])),
        };
    }
    let items = node.list().map_err(|_| node.not(expected))?;
    let mut names: Vec<PoolName> = Vec::new();
    for item in items {
        let name: PoolName = item.parse()?;
        if names.contains(&name) {
            return Err(item.error(format!("pool {name} stands here twice: keep one")));
        }
        names.push(name);
    }
    if names.is_empty() {
        return Err(node.error("the list is empty: name a pool, or write \"*\" for every one"));
    }
    Ok(PoolChoice::Named(names))
}
