//! Where networks are known from: the configuration directory, and the state directories that its
//! networks name. Joined by name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bulkhead_cni::json::Value;
use bulkhead_cni::list::{LoadError, NetworkList, PluginConf, load_all};
use bulkhead_ipam::{Access, OpenError, Snapshot, StateDir};
use bulkhead_model::NetworkName;
use clap::Args;

use crate::failure::Failure;

/// The IPAM plugin whose `dataDir` is a state directory.
const OWN_IPAM: &str = "bulkhead-ipam";

/// The directories to look into.
#[derive(Args, Debug)]
pub(crate) struct Sources {
    /// Where network configurations are.
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub(crate) conf_dir: PathBuf,

    /// Where the store is, for networks whose configuration names no `stateDir` and no
    /// `ipam.dataDir`.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/bulkhead")]
    pub(crate) state_dir: PathBuf,
}

/// Everything known, in the order of the configuration files; networks without one follow.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) entries: Vec<Entry>,
    /// State directories that could not be listed.
    pub(crate) failures: Vec<Failure>,
}

/// A configuration file, or a network that has none.
#[derive(Debug)]
pub(crate) enum Entry {
    Network(Network),
    /// A file whose network is read from another one.
    Shadowed {
        list: NetworkList,
        by: PathBuf,
    },
    Broken(LoadError),
}

/// A network and where its records are.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) name: NetworkName,
    /// `None`: recorded, and configured no more.
    pub(crate) list: Option<NetworkList>,
    pub(crate) state_dir: PathBuf,
}

impl Sources {
    /// Reads the configuration directory and lists the state directories.
    ///
    /// # Errors
    /// The configuration directory exists and cannot be read. What is wrong with a file or a state
    /// directory is in the inventory.
    pub(crate) fn inventory(&self) -> Result<Inventory, Failure> {
        let mut entries = self.configured()?;
        let mut failures = Vec::new();
        for network in self.unconfigured(&entries, &mut failures) {
            entries.push(Entry::Network(network));
        }
        Ok(Inventory { entries, failures })
    }

    /// Reads the configuration directory alone: no state directory is looked at.
    ///
    /// # Errors
    /// As [`Sources::inventory`].
    pub(crate) fn configured(&self) -> Result<Vec<Entry>, Failure> {
        let loaded = load_all(&self.conf_dir)?;
        let used = used_files(&loaded);
        let entries = loaded.into_iter().map(|list| match list {
            Err(error) => Entry::Broken(error),
            Ok(list) => self.entry(list, &used),
        });
        Ok(entries.collect())
    }

    fn entry(&self, list: NetworkList, used: &[(NetworkName, PathBuf)]) -> Entry {
        let by = used.iter().find(|(name, _)| *name == list.name);
        match by {
            Some((_, by)) if *by != list.path => Entry::Shadowed {
                by: by.clone(),
                list,
            },
            _ => Entry::Network(Network {
                name: list.name.clone(),
                state_dir: state_dir_of(&list.plugins).unwrap_or_else(|| self.state_dir.clone()),
                list: Some(list),
            }),
        }
    }

    fn unconfigured(&self, entries: &[Entry], failures: &mut Vec<Failure>) -> Vec<Network> {
        let configured: Vec<_> = entries
            .iter()
            .filter_map(Entry::network)
            .map(|network| (&network.name, network.state_dir.as_path()))
            .collect();
        let mut dirs: BTreeSet<&Path> = configured.iter().map(|(_, dir)| *dir).collect();
        dirs.insert(&self.state_dir);
        let mut found = Vec::new();
        for dir in dirs {
            let names = recorded(dir).unwrap_or_else(|failure| {
                failures.push(failure);
                Vec::new()
            });
            let unknown = names
                .into_iter()
                .filter(|name| !configured.contains(&(name, dir)));
            found.extend(unknown.map(|name| Network {
                name,
                list: None,
                state_dir: dir.to_owned(),
            }));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Every network, or all that are called `only` (one configured, others recorded elsewhere),
    /// with the state directories that could not be listed.
    ///
    /// # Errors
    /// Nothing is called `only`; as [`Sources::inventory`].
    pub(crate) fn select(
        &self,
        only: Option<&NetworkName>,
    ) -> Result<(Vec<Network>, Vec<Failure>), Failure> {
        let Inventory { entries, failures } = self.inventory()?;
        let networks: Vec<_> = entries
            .into_iter()
            .filter_map(Entry::into_network)
            .filter(|network| only.is_none_or(|only| network.name == *only))
            .collect();
        match only {
            // A state directory that cannot be listed may hold it: that is then the error.
            Some(only) if networks.is_empty() && failures.is_empty() => Err(Failure::NoNetwork {
                network: only.clone(),
                conf_dir: self.conf_dir.clone(),
                state_dir: self.state_dir.clone(),
            }),
            _ => Ok((networks, failures)),
        }
    }
}

impl Entry {
    pub(crate) fn network(&self) -> Option<&Network> {
        match self {
            Self::Network(network) => Some(network),
            Self::Shadowed { .. } | Self::Broken(_) => None,
        }
    }

    fn into_network(self) -> Option<Network> {
        match self {
            Self::Network(network) => Some(network),
            Self::Shadowed { .. } | Self::Broken(_) => None,
        }
    }
}

impl Network {
    /// What is recorded of it now; `None` if nothing ever was.
    pub(crate) fn read(&self) -> Result<Option<Snapshot>, Failure> {
        let Some(store) = open(&self.state_dir)? else {
            return Ok(None);
        };
        let read = store.network(&self.name).read();
        read.map_err(|source| Failure::Store {
            network: self.name.clone(),
            source,
        })
    }
}

/// The file each network is read from: libcni looks at every `.conflist` before any `.conf` or
/// `.json`, each in lexicographic order.
fn used_files(loaded: &[Result<NetworkList, LoadError>]) -> Vec<(NetworkName, PathBuf)> {
    let is_list = |list: &&NetworkList| {
        let extension = list.path.extension();
        extension.is_some_and(|extension| extension == "conflist")
    };
    let all = || loaded.iter().filter_map(|list| list.as_ref().ok());
    let in_order = all()
        .filter(is_list)
        .chain(all().filter(|list| !is_list(list)));
    let mut used: Vec<(NetworkName, PathBuf)> = Vec::new();
    for list in in_order {
        if used.iter().all(|(name, _)| *name != list.name) {
            used.push((list.name.clone(), list.path.clone()));
        }
    }
    used
}

/// `stateDir`, else `ipam.dataDir` where the IPAM is ours, of the first plugin that says either.
fn state_dir_of(plugins: &[PluginConf]) -> Option<PathBuf> {
    let text = |value: Option<&Value>| {
        let text = value.and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(PathBuf::from)
    };
    plugins.iter().find_map(|plugin| {
        text(plugin.config.get("stateDir")).or_else(|| {
            let ipam = plugin.config.get("ipam")?;
            let own = ipam.get("type").and_then(Value::as_str) == Some(OWN_IPAM);
            if own { text(ipam.get("dataDir")) } else { None }
        })
    })
}

/// The networks with a record in a state directory.
pub(crate) fn recorded(dir: &Path) -> Result<Vec<NetworkName>, Failure> {
    match open(dir)? {
        Some(store) => Ok(store.networks()?),
        None => Ok(Vec::new()),
    }
}

/// A state directory that does not exist holds no record, which is no failure.
fn open(dir: &Path) -> Result<Option<StateDir>, Failure> {
    match StateDir::open(dir, Access::Look) {
        Ok(store) => Ok(Some(store)),
        Err(OpenError::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
