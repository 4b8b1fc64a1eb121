//! Recorded attachments, as an operator names them, and the call a runtime would make about one.

mod kind;

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use bulkhead_cni::json::Value;
use bulkhead_cni::list::{Attachment, Cache, NetworkList, PluginConf, Runtime};
use bulkhead_cni::{Call, CniVersion, Environment, Verb};
use bulkhead_ipam::{AttachmentRecord, StaleReason, Valid};
use bulkhead_model::{AttachmentKey, NetworkName};
use clap::Args;

pub(crate) use kind::{collect, explain, inspect, repair};

use crate::failure::Failure;
use crate::sources::{Network, Sources};

/// How an operator names attachments: `CONTAINER`, `NETWORK/CONTAINER`, `NETWORK/CONTAINER/IFNAME`, where
/// the container may be the beginning of its id; a port's name; or an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    Address(IpAddr),
    Name(Vec<String>),
}

/// A text that names no attachment.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} names no attachment: give CONTAINER, NETWORK/CONTAINER or NETWORK/CONTAINER/IFNAME, a port or an address"
)]
pub(crate) struct NotASubject(String);

impl FromStr for Subject {
    type Err = NotASubject;

    fn from_str(text: &str) -> Result<Self, NotASubject> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let parts: Vec<_> = text.split('/').map(str::to_owned).collect();
        if parts.len() > 3 || parts.iter().any(String::is_empty) {
            return Err(NotASubject(text.to_owned()));
        }
        Ok(Self::Name(parts))
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(parts) => f.write_str(&parts.join("/")),
        }
    }
}

impl Subject {
    fn names(&self, record: &AttachmentRecord) -> bool {
        let key = &record.key;
        let is_container = |text: &str| key.container.as_str().starts_with(text);
        match self {
            Self::Address(address) => {
                let mut leased = record.addresses.iter();
                leased.any(|leased| leased.address.address() == *address)
            }
            Self::Name(parts) => match parts.as_slice() {
                [one] => {
                    let port = record.names.port.unwrap_or_else(|| record.id().port());
                    is_container(one) || port.as_str() == one
                }
                [network, container] => key.network.as_str() == network && is_container(container),
                [network, container, interface] => {
                    key.network.as_str() == network
                        && is_container(container)
                        && key.interface.as_str() == interface
                }
                _ => false,
            },
        }
    }
}

/// What a command about attachments needs to know besides.
#[derive(Args, Debug)]
pub(crate) struct Looked {
    #[command(flatten)]
    pub(crate) sources: Sources,

    /// Where runtimes keep the results of ADD (libcni's cache).
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni")]
    cache_dir: PathBuf,

    /// Where plugins are; may be repeated.
    #[arg(long = "bin-dir", value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dirs: Vec<PathBuf>,
}

/// A recorded attachment.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) record: AttachmentRecord,
    pub(crate) state_dir: PathBuf,
    /// Why it cannot be alive.
    pub(crate) death: Option<StaleReason>,
    list: Option<NetworkList>,
}

impl Found {
    pub(crate) const fn key(&self) -> &AttachmentKey {
        &self.record.key
    }

    /// Whether it is more than addresses.
    pub(crate) fn has_kernel_objects(&self) -> bool {
        !kind::has_addresses_only(self)
    }

    /// `NETWORK/CONTAINER/IFNAME`, which names it alone.
    pub(crate) fn name(&self) -> String {
        let AttachmentKey {
            network,
            container,
            interface,
        } = self.key();
        format!("{network}/{container}/{interface}")
    }
}

impl Looked {
    /// Every recorded attachment, or those that `only` names and `network` has, with what could not be
    /// read. In the order of their names.
    ///
    /// # Errors
    /// Nothing is called so; attachments of several containers are.
    pub(crate) fn select(
        &self,
        only: Option<&Subject>,
        network: Option<&NetworkName>,
    ) -> Result<(Vec<Found>, Vec<Failure>), Failure> {
        let (networks, mut failures) = self.sources.select(network)?;
        let mut all = Vec::new();
        for network in networks {
            match attachments_of(&network) {
                Ok(found) => all.extend(found),
                Err(failure) => failures.push(failure),
            }
        }
        all.sort_by_cached_key(Found::name);
        let Some(only) = only else {
            return Ok((all, failures));
        };
        all.retain(|found| only.names(&found.record));
        let mut containers: Vec<_> = all.iter().map(|found| &found.key().container).collect();
        containers.dedup();
        containers.sort_unstable();
        containers.dedup();
        match containers.len() {
            0 if failures.is_empty() => Err(Failure::NoAttachment(only.to_string())),
            0 | 1 => Ok((all, failures)),
            _ => Err(Failure::Ambiguous {
                text: only.to_string(),
                names: all.iter().map(Found::name).collect(),
            }),
        }
    }

    /// The call that a runtime would make about `found`; of a network that is configured no more, one
    /// with nothing in it but the network's name.
    ///
    /// # Errors
    /// What the specification refuses of it.
    pub(crate) fn call(&self, found: &Found, verb: Verb) -> Result<Call, Failure> {
        let plugin = kind::plugin(&found.record.kind);
        let bare;
        let list = if let Some(list) = &found.list {
            list
        } else {
            bare = unconfigured(found);
            &bare
        };
        let configured = list.plugins.iter().find(|one| one.plugin_type == plugin);
        let Some(configured) = configured else {
            return Err(Failure::NoPlugin {
                network: found.key().network.clone(),
                plugin,
                file: list.path.clone(),
            });
        };
        let runtime = Runtime {
            plugin_dirs: self.bin_dirs.clone(),
            cache: Cache::new(&self.cache_dir),
            environment: Environment::new(std::env::vars_os()),
        };
        let netns = found.record.netns.as_ref().map(|netns| netns.path.clone());
        let attachment = Attachment {
            container: found.key().container.clone(),
            netns,
            interface: found.key().interface,
            args: Vec::new(),
            capabilities: Vec::new(),
            args_cni: Vec::new(),
        };
        let call = runtime.call(list, configured, verb, &attachment);
        call.map_err(|source| Failure::attachment(found.key(), source))
    }
}

fn attachments_of(network: &Network) -> Result<Vec<Found>, Failure> {
    let Some(snapshot) = network.read()? else {
        return Ok(Vec::new());
    };
    let read = || {
        let dead = snapshot.stale(&Valid::Absent)?;
        let records = snapshot.attachments()?.into_iter();
        Ok(records
            .map(|record| {
                let mut dead = dead.iter();
                let death = dead.find(|dead| dead.record.key == record.key);
                Found {
                    death: death.map(|dead| dead.reason),
                    state_dir: network.state_dir.clone(),
                    list: network.list.clone(),
                    record,
                }
            })
            .collect())
    };
    read().map_err(|source| Failure::Store {
        network: network.name.clone(),
        source,
    })
}

fn unconfigured(found: &Found) -> NetworkList {
    let plugin_type = kind::plugin(&found.record.kind);
    let mut config = Value::EMPTY;
    config.set("type", plugin_type.as_str().into());
    NetworkList {
        path: PathBuf::new(),
        name: found.key().network.clone(),
        version: CniVersion::NEWEST,
        disable_check: false,
        disable_gc: false,
        plugins: vec![PluginConf {
            plugin_type,
            capabilities: Vec::new(),
            config,
        }],
        bytes: Vec::new(),
    }
}
