//! The node as it was seen, once. Nothing here changes anything, and nothing waits for long: a lock that
//! somebody holds, a tool that hangs and a file that cannot be read are answers too.

mod daemon;
mod directory;
mod linked;
mod software;
mod store;
mod sysctls;
mod tables;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use bulkhead_cni::CniError;
use bulkhead_ipam::{AttachmentRecord, Guards};
use bulkhead_kernel::{DefaultRoute, Deletion, HostLink, Kernel};
use bulkhead_model::{Family, IfName, NetworkName};
use bulkhead_plan::Features;

pub(super) use daemon::{Clock, Said, Watched};
pub(super) use directory::{Directory, PluginFile, is_ours, list_of, needed};
pub(super) use linked::Linked;
pub(super) use software::Software;
pub(super) use store::{Lock, Store};
pub(super) use sysctls::{Conf, Sysctls, command, path_of};
pub(super) use tables::{Table, Tables};

use super::Places;
use crate::coexist::network::Bridged;
use crate::coexist::record::{self, Record};
use crate::coexist::rule::{Rule, Standing};
use crate::coexist::ruleset::Rules;
use crate::coexist::traffic::Surroundings;
use crate::failure::chain;
use crate::sources::{Entry, Network};

/// Everything that is looked at.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// Networks with a bridge of ours, configured ones first.
    pub(super) networks: Vec<Bridged>,
    /// Networks whose containers have links of their own, with attachments.
    pub(super) linked: Vec<Linked>,
    /// Ports of other plugins' that are guarded.
    pub(super) guarded: Vec<AttachmentRecord>,
    /// Networks of ours that no ADD would accept.
    pub(super) refused: Vec<Refused>,
    pub(super) directory: Directory,
    pub(super) stores: Vec<Store>,
    /// Those that have a state directory.
    pub(super) daemons: Vec<Watched>,
    pub(super) clock: Clock,
    pub(super) coexist: Vec<Coexisting>,
    /// Records of foreign rules that are none, each told.
    pub(super) coexist_damaged: Vec<String>,
    pub(super) sysctls: Sysctls,
    pub(super) neighbours: Tables,
    /// What the kernel can do.
    pub(super) features: Option<Features>,
    pub(super) links: Vec<HostLink>,
    /// By family and priority.
    pub(super) routes: Vec<DefaultRoute>,
    pub(super) around: Surroundings,
    pub(super) rules: Rules,
    pub(super) software: Software,
    /// Leases of the reference IPAM plugin.
    pub(super) leases: Vec<Leases>,
    /// What could not be looked at, and why.
    pub(crate) unread: Vec<String>,
}

/// A configuration and what is wrong with it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) network: NetworkName,
    pub(super) file: Option<PathBuf>,
    pub(super) error: CniError,
}

/// Rules that were added to a foreign firewall.
#[derive(Debug)]
pub(super) struct Coexisting {
    pub(super) record: Record,
    pub(super) rules: Vec<(Rule, Standing)>,
}

/// A directory of host-local's.
#[derive(Debug)]
pub(super) struct Leases {
    pub(super) network: String,
    pub(super) dir: PathBuf,
    pub(super) addresses: usize,
}

impl Node {
    /// Looks at everything.
    pub(super) fn read(places: &Places) -> Self {
        let mut node = Self::default();
        let entries = match places.sources.configured() {
            Ok(entries) => entries,
            Err(failure) => {
                node.unread.push(chain(&failure));
                Vec::new()
            }
        };
        node.read_stores(places, &entries);
        node.ask_daemons(places);
        node.read_kernel();
        node.directory = Directory::read(places, entries, &mut node.unread);
        node.software = Software::read(&node.networks);
        node.read_coexist();
        node.read_leases(places);
        node
    }

    fn read_stores(&mut self, places: &Places, entries: &[Entry]) {
        let configured: Vec<&Network> = entries.iter().filter_map(Entry::network).collect();
        let mut dirs: BTreeSet<PathBuf> = configured
            .iter()
            .map(|network| network.state_dir.clone())
            .collect();
        dirs.insert(places.sources.state_dir.clone());
        let mut unconfigured = Vec::new();
        for dir in dirs {
            let guarded = Guards::of(&dir).all().map_err(|error| chain(&error));
            self.guarded.extend(or_unread(guarded, &mut self.unread));
            let store = Store::look(&dir);
            let names = store.networks().unwrap_or_else(|failure| {
                self.unread.push(chain(&failure));
                Vec::new()
            });
            let is_configured =
                |name: &NetworkName| configured.iter().any(|network| network.name == *name);
            unconfigured.extend(names.into_iter().filter(|name| !is_configured(name)).map(
                |name| Network {
                    name,
                    list: None,
                    state_dir: dir.clone(),
                },
            ));
            self.stores.push(store);
        }
        for network in configured.into_iter().chain(&unconfigured) {
            self.read_network(network);
        }
        let unread = self
            .stores
            .iter_mut()
            .flat_map(|store| store.unread.drain(..));
        self.unread.extend(unread);
    }

    fn ask_daemons(&mut self, places: &Places) {
        let dirs = self.stores.iter().map(|store| &store.dir);
        let watched = dirs.filter_map(|dir| Watched::ask(&places.socket, dir, &mut self.unread));
        self.daemons = watched.collect();
        self.clock = Clock::read(!self.daemons.is_empty());
    }

    fn read_network(&mut self, network: &Network) {
        let store = self
            .stores
            .iter_mut()
            .find(|store| store.dir == network.state_dir);
        let recorded = store.map(|store| store.read(network)).unwrap_or_default();
        self.linked.extend(Linked::of(&network.name, &recorded));
        match Bridged::of(network, recorded) {
            Ok(bridged) => self.networks.extend(bridged),
            Err(error) => self.refused.push(Refused {
                network: network.name.clone(),
                file: network.list.as_ref().map(|list| list.path.clone()),
                error,
            }),
        }
    }

    fn read_kernel(&mut self) {
        let mut kernel = Kernel::new(Deletion::Blocking);
        self.features = Some(kernel.features());
        self.neighbours = Tables::read();
        let unread = &mut self.unread;
        self.links = or_unread(kernel.host_links().map_err(|error| chain(&error)), unread);
        self.routes = or_unread(
            kernel.default_routes().map_err(|error| chain(&error)),
            unread,
        );
        self.rules = or_unread(
            Rules::read(&mut kernel).map_err(|error| chain(&error)),
            unread,
        );
        self.around = Surroundings::read(&self.routes);
        self.sysctls = Sysctls::read(&self.devices());
    }

    /// The devices whose settings matter: uplinks, bridges and links to containers that stand.
    fn devices(&self) -> BTreeSet<IfName> {
        let bridges = self.networks.iter().map(|network| network.bridge);
        let uplinks = self.routes.iter().map(|route| route.link);
        let ports = self
            .linked
            .iter()
            .flat_map(|linked| linked.ports(Family::V4));
        let standing: BTreeSet<_> = self.links.iter().map(|link| link.name).collect();
        let all = bridges.chain(uplinks).chain(ports);
        all.filter(|name| standing.contains(name)).collect()
    }

    fn read_coexist(&mut self) {
        for store in &self.stores {
            let records = match record::read_all(&store.dir) {
                Ok(records) => records,
                Err(error) => {
                    self.unread.push(chain(&error));
                    continue;
                }
            };
            for record in records {
                match record {
                    Ok(record) => {
                        let rules = record.rules.iter();
                        self.coexist.push(Coexisting {
                            rules: rules.map(|rule| (rule.clone(), rule.standing())).collect(),
                            record,
                        });
                    }
                    Err(error) => self.coexist_damaged.push(chain(&error)),
                }
            }
        }
    }

    fn read_leases(&mut self, places: &Places) {
        let Ok(networks) = fs::read_dir(places.cache_dir.join("networks")) else {
            return;
        };
        for network in networks.flatten() {
            let dir = network.path();
            let files = fs::read_dir(&dir).into_iter().flatten().flatten();
            let names = files.filter_map(|file| file.file_name().into_string().ok());
            self.leases.push(Leases {
                network: network.file_name().to_string_lossy().into_owned(),
                addresses: names.filter(|name| name.parse::<IpAddr>().is_ok()).count(),
                dir,
            });
        }
        self.leases.sort_by(|a, b| a.network.cmp(&b.network));
    }

    /// The link of that name.
    pub(super) fn link(&self, name: IfName) -> Option<&HostLink> {
        self.links.iter().find(|link| link.name == name)
    }
}

fn or_unread<T: Default>(read: Result<T, String>, unread: &mut Vec<String>) -> T {
    read.unwrap_or_else(|why| {
        unread.push(why);
        T::default()
    })
}
