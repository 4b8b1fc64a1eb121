//! The `ipam` object of a network configuration: host-local's keys, so that a configuration moves
//! over by changing `type`, and our own.

use std::net::IpAddr;
use std::path::PathBuf;

use bulkhead_model::{NetworkName, Prefix};
use serde_json::Value;

use crate::pool::Pool;

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
    pub exclude: Vec<crate::Span>,
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
#[error("{key}: {what}")]
pub struct ConfigError {
    /// The key, as a path from the configuration's root: `ipam.ranges[0][1].gateway`.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
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
        let _ = (network, ipam, runtime_ranges, requested);
        todo!()
    }
}
