//! The `ipam` object of a network configuration: host-local's keys, so that a configuration moves
//! over by changing `type`, and our own.

mod automatic;
mod cluster;
mod object;
mod ranges;
mod routes;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use bulkhead_model::{Family, NetworkName, Prefix};
use serde_json::Value;

pub use self::cluster::{ClusterConfig, PoolChoice};
use self::object::Node;
use crate::pool::{Pool, RangeSet};
use crate::span::Span;

/// A parsed `ipam` object, with what the runtime added.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolConfig {
    /// Where the addresses come from.
    pub source: PoolSource,
    /// Routes for the container, as configured.
    pub routes: Vec<Route>,
    /// Name resolution, read from `resolvConf`; empty if none is named.
    pub dns: Dns,
    /// `dataDir`: the state directory to use instead of the default.
    pub data_dir: Option<PathBuf>,
    /// Addresses that the runtime asks for.
    pub requested: Vec<IpAddr>,
}

/// Where the addresses come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PoolSource {
    /// Named by the configuration.
    Named(Pool),
    /// Chosen once, away from the host's routes and other networks' pools, and remembered.
    Automatic(Automatic),
}

/// What an automatic pool is chosen from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Automatic {
    /// IPv4: the first free subnet of `ipv4_len` bits in the first of these that has one; empty for
    /// no IPv4.
    pub ipv4: Vec<Prefix>,
    /// Length of the IPv4 subnet.
    pub ipv4_len: u8,
    /// IPv6.
    pub ipv6: AutomaticV6,
    /// Never given out.
    pub exclude: Vec<Span>,
    /// How long a freed address is not given out again, in seconds.
    pub cooldown_secs: u64,
}

/// The IPv6 part of an automatic pool: a /64.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AutomaticV6 {
    /// None.
    Off,
    /// In a unique local /48 derived from the network's name (RFC 4193).
    UniqueLocal,
    /// In this prefix, at most 64 bits long.
    Inside(Prefix),
}

/// A route for the container (CNI spec 1.1.0, "Success", `routes`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Destination.
    pub dst: Prefix,
    /// Next hop; without one the gateway of the address's subnet.
    pub gw: Option<IpAddr>,
    /// Path MTU in bytes.
    pub mtu: Option<u32>,
    /// Maximum segment size to advertise, in bytes.
    pub advmss: Option<u32>,
    /// Metric; lower wins.
    pub priority: Option<u32>,
    /// Routing table.
    pub table: Option<u32>,
    /// `rtm_scope` (`linux/rtnetlink.h`): 0 global, 253 link, 254 host.
    pub scope: Option<u8>,
}

/// Name resolution (`resolv.conf(5)`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dns {
    /// Servers, in order.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// Search list.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

/// A configuration that cannot be used: where in it, what is wrong, what to do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("network {network}: {key}: {what}")]
pub struct ConfigError {
    /// The network.
    pub network: NetworkName,
    /// The key, as a path from the configuration's root: `ipam.ranges[0][1].gateway`.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
}

/// The same before it is said of which network.
#[derive(Debug)]
struct KeyError {
    key: String,
    what: String,
}

impl PoolConfig {
    /// Parses `ipam`. `runtime_ranges` is `runtimeConfig.ipRanges` and `requested` what the runtime
    /// asks for (`runtimeConfig.ips`, `args.cni.ips`, `CNI_ARGS` `IP`), each an address with or
    /// without prefix length. Keys are matched as Go matches them, without regard to case; unknown
    /// keys are passed over.
    ///
    /// # Errors
    /// Names the first key that cannot be used.
    pub fn from_cni(
        network: &NetworkName,
        ipam: &Value,
        runtime_ranges: Option<&Value>,
        requested: &[String],
    ) -> Result<Self, ConfigError> {
        Self::parse(ipam, runtime_ranges, requested).map_err(|error| error.of(network))
    }

    fn parse(
        ipam: &Value,
        runtime_ranges: Option<&Value>,
        asked: &[String],
    ) -> Result<Self, KeyError> {
        let ipam = Node::root("ipam", ipam);
        let sets = ranges::sets(&ipam, runtime_ranges)?;
        let config = Self {
            source: source(&ipam, sets)?,
            routes: routes::routes(&ipam)?,
            dns: dns(&ipam)?,
            data_dir: data_dir(&ipam)?,
            requested: requested(asked)?,
        };
        if let PoolSource::Named(pool) = &config.source {
            refuse_empty(pool)?;
        }
        Ok(config)
    }
}

/// The key by which a plugin asks for [`PoolConfig::per_prefix`].
const PER_PREFIX: &str = "prefixPerContainer";

impl PoolConfig {
    /// The same network with an IPv6 prefix of `len` bits for each attachment, instead of an address.
    ///
    /// # Errors
    /// If there is no IPv6 range, or one that does not hold two such prefixes.
    pub fn per_prefix(mut self, network: &NetworkName, len: u8) -> Result<Self, ConfigError> {
        let asked = prefixes(&mut self.source, len);
        asked.map_err(|error| error.of(network))?;
        Ok(self)
    }
}

fn prefixes(source: &mut PoolSource, len: u8) -> Result<(), KeyError> {
    let key = || PER_PREFIX.to_owned();
    let shorter = len - 1;
    let PoolSource::Named(pool) = source else {
        return Err(KeyError {
            key: key(),
            what: format!(
                "`auto` chooses one /64 for the whole network: name an IPv6 subnet of /{shorter} or shorter in `ranges`"
            ),
        });
    };
    if pool.sets.iter().all(|set| set.family() != Family::V6) {
        return Err(KeyError {
            key: key(),
            what: format!(
                "the network has no IPv6 range: name a subnet of /{shorter} or shorter in `ranges`"
            ),
        });
    }
    let sets = pool.sets.iter_mut();
    let of_v6 = sets.filter(|set| set.family() == Family::V6);
    for range in of_v6.flat_map(|set| &mut set.ranges) {
        let (span, subnet) = (range.span, range.subnet);
        *range = range.of_prefixes(len).ok_or_else(|| KeyError {
            key: key(),
            what: format!(
                "range {span} of {subnet} does not hold two prefixes of /{len}: name a subnet of /{shorter} or shorter"
            ),
        })?;
    }
    refuse_empty(pool)
}

/// Seconds until a freed address is given out again, unless the configuration says otherwise: longer
/// than neighbour entries and the shorter conntrack entries of its last user live.
const COOLDOWN_SECS: u64 = 10;

/// No cool-down is longer than a day: it would be a typing error.
const COOLDOWN_MAX_SECS: u64 = 86_400;

fn source(ipam: &Node<'_>, sets: Vec<RangeSet>) -> Result<PoolSource, KeyError> {
    let excluded = ranges::exclude(ipam)?;
    let cooldown_secs = match ipam.field("cooldownSecs")? {
        Some(node) => node.number(COOLDOWN_MAX_SECS)?,
        None => COOLDOWN_SECS,
    };
    let exclude = || excluded.iter().map(|(_, span)| *span).collect();
    match automatic::parse(ipam)? {
        Some(_) if !sets.is_empty() => {
            Err(ipam.error("`auto` stands beside ranges: keep one of them"))
        }
        Some(automatic) => Ok(PoolSource::Automatic(Automatic {
            exclude: exclude(),
            cooldown_secs,
            ..automatic
        })),
        None if sets.is_empty() => Err(ipam.error(
            "no addresses are named: give `ranges`, a `subnet`, a `pool` of the cluster, or `\"auto\": true` to have one chosen",
        )),
        None => {
            let within = |span: Span| {
                let mut ranges = sets.iter().flat_map(|set| &set.ranges);
                ranges.any(|range| Span::from(range.subnet).overlaps(span))
            };
            if let Some((key, span)) = excluded.iter().find(|(_, span)| !within(*span)) {
                return Err(KeyError {
                    key: key.clone(),
                    what: format!("{span} is in no subnet of the ranges: nothing is excluded by it"),
                });
            }
            Ok(PoolSource::Named(Pool {
                exclude: exclude(),
                sets,
                cooldown_secs,
                automatic: false,
            }))
        }
    }
}

/// A set with nothing to give out would fail every ADD.
fn refuse_empty(pool: &Pool) -> Result<(), KeyError> {
    for (nth, set) in pool.sets.iter().enumerate() {
        if pool.size(set) == 0 {
            let texts: Vec<String> = set.ranges.iter().map(|r| r.span.to_string()).collect();
            return Err(KeyError {
                key: "ipam".to_owned(),
                what: format!(
                    "range set {nth} ({}) has no address left to give out: widen it or exclude less",
                    texts.join(", ")
                ),
            });
        }
    }
    Ok(())
}

fn dns(ipam: &Node<'_>) -> Result<Dns, KeyError> {
    let Some(node) = ipam.field("resolvConf")? else {
        return Ok(Dns::default());
    };
    let path = node.text()?;
    if path.is_empty() {
        return Ok(Dns::default());
    }
    let text = fs::read_to_string(path)
        .map_err(|error| node.error(format!("cannot read {path}: {error}")))?;
    Ok(Dns::parse(&text))
}

fn data_dir(ipam: &Node<'_>) -> Result<Option<PathBuf>, KeyError> {
    let Some(node) = ipam.field("dataDir")? else {
        return Ok(None);
    };
    let text = node.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    if !text.starts_with('/') {
        return Err(node.error(format!("{text:?} is not an absolute path: begin it with /")));
    }
    Ok(Some(text.into()))
}

fn requested(texts: &[String]) -> Result<Vec<IpAddr>, KeyError> {
    let address = |text: &String| {
        ranges::requested(text).ok_or_else(|| KeyError {
            key: "requested address".to_owned(),
            what: format!("{text:?} is not an address such as 10.1.0.5, 10.1.0.5/24 or fd00::5"),
        })
    };
    texts.iter().map(address).collect()
}

impl KeyError {
    fn of(self, network: &NetworkName) -> ConfigError {
        ConfigError {
            network: network.clone(),
            key: self.key,
            what: self.what,
        }
    }
}

impl Dns {
    /// Reads the text of a `resolv.conf(5)`: comments and unknown words are passed over, the last
    /// `domain` and `search` count.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut dns = Self::default();
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            let Some(word) = words.next() else { continue };
            let mut rest = words.map(str::to_owned);
            match word {
                "nameserver" => dns.nameservers.extend(rest.next()),
                "domain" => dns.domain = rest.next().or(dns.domain),
                "search" => dns.search = rest.collect(),
                "options" => dns.options.extend(rest),
                _ => {}
            }
        }
        dns
    }
}
