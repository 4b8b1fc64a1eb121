//! A network of `bulkhead-bridge` as the node sees it: its configuration, else what is recorded of it.

use std::collections::BTreeSet;
use std::ffi::OsString;

use std::path::{Path, PathBuf};

use bulkhead_attach::Network as _;
use bulkhead_bridge::{Config, Gateway};
use bulkhead_cni::list::{Attachment, Cache, NetworkList, PluginConf, Runtime};
use bulkhead_cni::{CniError, Environment, Verb};
use bulkhead_ipam::{AttachmentRecord, Pool, Snapshot, StoreError, Valid};
use bulkhead_model::{ContainerId, Family, IfName, NetworkName};

use crate::sources::Network;

/// The main plugin that makes bridges.
const PLUGIN: &str = "bulkhead-bridge";

/// A network with a bridge.
#[derive(Clone, Debug)]
pub(crate) struct Bridged {
    pub(crate) name: NetworkName,
    /// `None`: recorded, and configured no more.
    pub(crate) file: Option<PathBuf>,
    pub(crate) bridge: IfName,
    /// Whether the node forwards for it.
    pub(crate) routed: Routed,
    pub(crate) families: BTreeSet<Family>,
    pub(crate) host_ports: HostPorts,
    pub(crate) config: Option<Config>,
    /// Attachments that may be alive.
    pub(crate) live: Vec<AttachmentRecord>,
    pub(crate) pool: Option<Pool>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Routed {
    Yes,
    No,
}

/// Whether ports of the node lead to containers of the network, or can.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HostPorts {
    Declared,
    None,
}

/// What is recorded of a network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) live: Vec<AttachmentRecord>,
    /// Attachments that cannot be alive.
    pub(crate) dead: usize,
    pub(crate) pool: Option<Pool>,
}

impl Recorded {
    pub(crate) fn of(snapshot: &Snapshot) -> Result<Self, StoreError> {
        let dead = snapshot.stale(&Valid::Absent)?;
        let mut live = snapshot.attachments()?;
        live.retain(|record| dead.iter().all(|dead| dead.record.key != record.key));
        Ok(Self {
            live,
            dead: dead.len(),
            pool: snapshot.pool().cloned(),
        })
    }
}

impl Bridged {
    /// The network, with what its configuration or else its records say; `None` if it has no bridge
    /// of ours.
    ///
    /// # Errors
    /// What an ADD would answer to the configuration.
    pub(crate) fn of(network: &Network, recorded: Recorded) -> Result<Option<Self>, CniError> {
        let plugin = network.list.as_ref().and_then(|list| {
            let mut plugins = list.plugins.iter();
            let ours = plugins.find(|plugin| plugin.plugin_type == PLUGIN);
            ours.map(|plugin| (list, plugin))
        });
        let config = plugin.map(|(list, plugin)| config(list, plugin));
        let config = config.transpose()?;
        let bridge = match &config {
            Some(config) => Some(config.bridge),
            None => recorded.live.iter().find_map(|record| record.names.bridge),
        };
        Ok(bridge.map(|bridge| Self {
            name: network.name.clone(),
            file: network.list.as_ref().map(|list| list.path.clone()),
            bridge,
            routed: match config.as_ref().map(|config| config.gateway) {
                Some(Gateway::None) => Routed::No,
                Some(Gateway::OnLink | Gateway::Default) | None => Routed::Yes,
            },
            families: families(config.as_ref(), &recorded),
            host_ports: host_ports(plugin.map(|(_, plugin)| plugin), &recorded),
            config,
            live: recorded.live,
            pool: recorded.pool,
        }))
    }
}

fn host_ports(plugin: Option<&PluginConf>, recorded: &Recorded) -> HostPorts {
    let declares = |plugin: &PluginConf| {
        let mut declared = plugin.capabilities.iter();
        declared.any(|name| name == "portMappings")
    };
    let mut records = recorded.live.iter();
    if plugin.is_some_and(declares) || records.any(|record| !record.names.host_ports.is_empty()) {
        HostPorts::Declared
    } else {
        HostPorts::None
    }
}

fn families(config: Option<&Config>, recorded: &Recorded) -> BTreeSet<Family> {
    let held = recorded.live.iter().flat_map(|record| &record.addresses);
    let mut families: BTreeSet<_> = held.map(|leased| leased.address.family()).collect();
    if let Some(config) = config {
        let both = [Family::V4, Family::V6].into_iter();
        families.extend(both.filter(|family| config.addressing.has_family(*family)));
    }
    families
}

/// The configuration as an attachment's call would bring it.
fn config(list: &NetworkList, plugin: &PluginConf) -> Result<Config, CniError> {
    let nobody =
        || -> Option<(ContainerId, IfName)> { Some(("none".parse().ok()?, "eth0".parse().ok()?)) };
    let (container, interface) = nobody().expect("both are names");
    let runtime = Runtime {
        plugin_dirs: Vec::new(),
        cache: Cache::new(Path::new("")),
        environment: Environment::new(std::iter::empty::<(OsString, OsString)>()),
    };
    let attachment = Attachment {
        container,
        netns: None,
        interface,
        args: Vec::new(),
        capabilities: Vec::new(),
        args_cni: Vec::new(),
    };
    // DEL needs no namespace; keys mean the same to every verb.
    let call = runtime.call(list, plugin, Verb::Del, &attachment)?;
    Config::parse(&call)
}
