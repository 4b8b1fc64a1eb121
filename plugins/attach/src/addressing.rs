//! Where an attachment's addresses come from, and where the store is.

use std::path::PathBuf;

use bulkhead_cni::json::{FieldError, Value};
use bulkhead_cni::{Call, CniError, Dns, Route};
use bulkhead_ipam::config::{self, AutomaticV6, PoolSource};
use bulkhead_ipam::{ClusterConfig, ConfigError, PoolConfig, Range};
use bulkhead_model::{Family, Prefix};

/// The state directory if no configuration names one.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/bulkhead";
/// Our own IPAM plugin's name: main plugins do its work in their own process.
pub(crate) const OWN_IPAM: &str = "bulkhead-ipam";

/// Where addresses come from.
#[derive(Clone, Debug)]
pub enum Addressing {
    /// Nowhere: layer 2 only.
    None,
    /// Our own IPAM.
    Own(Source),
    /// Another IPAM plugin.
    Delegated {
        /// Its `type`.
        plugin: String,
        /// Subnets its configuration names, as far as they can be told.
        subnets: Vec<Prefix>,
    },
}

/// Where our own IPAM takes them from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The network's own ranges, in the embedded store.
    Ranges(Box<PoolConfig>),
    /// Pools of the cluster, by way of the node daemon.
    Pools(Box<ClusterConfig>),
}

impl Addressing {
    /// Reads `ipam`, and what the runtime asks for.
    ///
    /// # Errors
    /// Code 7 naming the key.
    pub fn parse(call: &Call) -> Result<Self, CniError> {
        match &call.config.ipam {
            None => Ok(Self::None),
            Some(ipam) if ipam.plugin_type == OWN_IPAM => Ok(Self::Own(Source::parse(call)?)),
            Some(ipam) => {
                let (plugin, subnets) = (ipam.plugin_type.clone(), named_subnets(call)?);
                Ok(Self::Delegated { plugin, subnets })
            }
        }
    }

    /// The same, with an IPv6 prefix of `len` bits for each attachment instead of an address.
    ///
    /// # Errors
    /// Code 7 where none can be given: without our own ranges, or where they are too small.
    pub fn per_prefix(self, call: &Call, len: u8) -> Result<Self, CniError> {
        let refused = |error: ConfigError| CniError::invalid_config(error.to_string());
        let why = match &self {
            Self::Own(Source::Pools(_)) => "pools of the cluster give single addresses",
            Self::Delegated { .. } => "another IPAM plugin gives single addresses",
            Self::Own(Source::Ranges(_)) | Self::None => "there are no ranges",
        };
        match self {
            Self::Own(Source::Ranges(config)) => {
                let config = config.per_prefix(&call.config.name, len).map_err(refused)?;
                Ok(Self::Own(Source::Ranges(Box::new(config))))
            }
            Self::Own(Source::Pools(_)) | Self::Delegated { .. } | Self::None => {
                let shorter = len - 1;
                Err(CniError::invalid_config(format!(
                    "prefixPerContainer: {why}; name an IPv6 subnet of /{shorter} or shorter in \"ranges\" of \"type\": \"{OWN_IPAM}\""
                )))
            }
        }
    }

    /// Blocks that are this node's own: subnets that the network's ranges take whole. Where a range is a
    /// part of a subnet, somebody else may have the rest.
    #[must_use]
    pub fn own_blocks(&self, subnets: &[Prefix]) -> Vec<Prefix> {
        let Self::Own(Source::Ranges(own)) = self else {
            return Vec::new();
        };
        let is_whole = |range: &&Range| {
            let all = Range::of(range.subnet);
            let all = match range.prefix_len {
                Some(len) => all.of_prefixes(len),
                None => Some(all),
            };
            all.is_some_and(|all| all.span == range.span)
        };
        match &own.source {
            PoolSource::Automatic(_) => subnets.to_vec(),
            PoolSource::Named(pool) => {
                let ranges = pool.ranges().map(|(_, range)| range);
                ranges.filter(is_whole).map(|range| range.subnet).collect()
            }
        }
    }

    /// Whether attachments will have addresses of `family`, as far as the configuration tells.
    #[must_use]
    pub fn has_family(&self, family: Family) -> bool {
        match self {
            // What the cluster's pools are is not the configuration's to say.
            Self::None | Self::Own(Source::Pools(_)) => false,
            Self::Own(Source::Ranges(config)) => match &config.source {
                PoolSource::Named(pool) => pool.sets.iter().any(|set| set.family() == family),
                PoolSource::Automatic(auto) => match family {
                    Family::V4 => !auto.ipv4.is_empty(),
                    Family::V6 => auto.ipv6 != AutomaticV6::Off,
                },
            },
            Self::Delegated { subnets, .. } => {
                subnets.iter().any(|subnet| subnet.family() == family)
            }
        }
    }
}

impl Source {
    /// Reads our own IPAM's configuration.
    ///
    /// # Errors
    /// Code 7 naming the key.
    pub(crate) fn parse(call: &Call) -> Result<Self, CniError> {
        let root = call.config.root();
        let ipam = root.required("ipam", "an object with the ranges to take addresses from")?;
        let runtime = call.config.runtime_config()?;
        let ranges = runtime
            .optional("ipRanges")
            .map(|field| plain(field.value()));
        let requested = requested(call)?;
        let (name, ipam, ranges) = (&call.config.name, plain(ipam.value()), ranges.as_ref());
        let refused = |error: ConfigError| CniError::invalid_config(error.to_string());
        let cluster = ClusterConfig::from_cni(name, &ipam, ranges, &requested).map_err(refused)?;
        if let Some(cluster) = cluster {
            return Ok(Self::Pools(Box::new(cluster)));
        }
        let own = PoolConfig::from_cni(name, &ipam, ranges, &requested).map_err(refused)?;
        Ok(Self::Ranges(Box::new(own)))
    }

    /// The routes and resolver settings that come with an address.
    pub(crate) fn settings(&self) -> (Vec<Route>, Dns) {
        let (routes, dns) = match self {
            Self::Ranges(config) => (&config.routes, &config.dns),
            Self::Pools(config) => (&config.routes, &config.dns),
        };
        let route = |route: &config::Route| Route {
            dst: route.dst,
            gw: route.gw,
            mtu: route.mtu,
            advmss: route.advmss,
            priority: route.priority,
            table: route.table,
            scope: route.scope,
        };
        let dns = Dns {
            nameservers: dns.nameservers.clone(),
            domain: dns.domain.clone(),
            search: dns.search.clone(),
            options: dns.options.clone(),
        };
        (routes.iter().map(route).collect(), dns)
    }
}

/// `stateDir`, else `ipam.dataDir` where the IPAM is ours, else the default.
///
/// # Errors
/// One of the keys is no string.
pub fn state_dir(call: &Call) -> Result<PathBuf, FieldError> {
    let named = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(PathBuf::from);
    if let Some(path) = named(call.config.root().optional_string("stateDir")?) {
        return Ok(path);
    }
    let own = call
        .config
        .ipam
        .as_ref()
        .is_some_and(|ipam| ipam.plugin_type == OWN_IPAM);
    let data_dir = if own {
        named(call.config.ipam_object()?.optional_string("dataDir")?)
    } else {
        None
    };
    Ok(data_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_DIR)))
}

/// `runtimeConfig.ips`, then `args.cni.ips`, then `IP` of `CNI_ARGS`; each only for a family that none
/// before it names. nerdctl sends the IPv4 address in the last and the IPv6 address in the first.
fn requested(call: &Call) -> Result<Vec<String>, CniError> {
    let mut all = call.config.runtime_config()?.strings("ips")?;
    let args = call.config.args_cni()?.strings("ips")?;
    for source in [args, call.arg("IP").into_iter().collect()] {
        let is_v6 = |text: &String| text.contains(':');
        let mut named = [false; 2];
        for text in &all {
            named[usize::from(is_v6(text))] = true;
        }
        all.extend(
            source
                .into_iter()
                .filter(|text| !named[usize::from(is_v6(text))]),
        );
    }
    Ok(all)
}

/// The subnets that host-local's and whereabouts' keys name. What another plugin's configuration
/// means is its own business: what cannot be read is passed over.
fn named_subnets(call: &Call) -> Result<Vec<Prefix>, FieldError> {
    let ipam = call.config.ipam_object()?;
    let mut texts: Vec<String> = Vec::new();
    for key in ["subnet", "range"] {
        texts.extend(
            ipam.optional(key)
                .and_then(|f| f.value().as_str().map(str::to_owned)),
        );
    }
    for set in ipam.items("ranges").unwrap_or_default() {
        for range in set.items().unwrap_or_default() {
            let subnet = range
                .object()
                .ok()
                .and_then(|range| range.optional("subnet"));
            texts.extend(subnet.and_then(|f| f.value().as_str().map(str::to_owned)));
        }
    }
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

/// The same document in the IPAM's terms. Both sides print and read JSON (RFC 8259).
fn plain(value: &Value) -> serde_json::Value {
    serde_json::from_str(&value.to_string()).expect("a JSON value prints as JSON")
}
