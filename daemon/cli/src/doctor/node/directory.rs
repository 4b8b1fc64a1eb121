//! The directory of network configurations, as runtimes read it, and the plugins that it names.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bulkhead_cni::json::Value;
use bulkhead_cni::list::{NetworkList, PluginConf};

use super::super::Places;
use crate::coexist::tool::run;
use crate::failure::chain;
use crate::install::step::{entries as paths_in, leftovers};
use crate::sources::Entry;

/// What begins the names of our executables.
const OURS: &str = "bulkhead-";
/// A configuration is far shorter; of something else the beginning is enough to tell.
const LONGEST: u64 = 1 << 20;

/// The directory.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// As `Sources::configured`: in lexicographic order.
    pub(crate) entries: Vec<Entry>,
    /// Files that name a plugin of ours and that no runtime reads.
    pub(crate) ignored: Vec<PathBuf>,
    /// What an installation that died left.
    pub(crate) leftovers: Vec<PathBuf>,
    /// Plugins of the lists with one of ours, by `type`.
    pub(crate) plugins: BTreeMap<String, PluginFile>,
    /// The releases of our own that are there, by `type`.
    pub(crate) releases: BTreeMap<String, String>,
}

/// What is found of a plugin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum PluginFile {
    Missing,
    NotExecutable(PathBuf),
    /// It says which versions it speaks.
    Speaks(Vec<String>),
    /// It does not, and what it says instead.
    Silent(String),
}

impl Directory {
    pub(super) fn read(places: &Places, entries: Vec<Entry>, unread: &mut Vec<String>) -> Self {
        let path = places.sources.conf_dir.clone();
        let mut directory = Self {
            path,
            entries,
            ..Self::default()
        };
        match leftovers(&directory.path).and_then(|left| Ok((left, paths_in(&directory.path)?))) {
            Ok((left, all)) => {
                let is_left = |path: &PathBuf| left.contains(path);
                let others = all.into_iter().filter(|path| !is_left(path));
                directory.ignored = others.filter(|path| is_ignored(path)).collect();
                directory.leftovers = left;
            }
            Err(error) => unread.push(chain(&error)),
        }
        for plugin in plugins_of(&directory.entries) {
            let path = path_of(&plugin, &places.bin_dirs);
            let release = path.as_deref().filter(|_| plugin.starts_with(OURS));
            if let Some(release) = release.and_then(release_of) {
                directory.releases.insert(plugin.clone(), release);
            }
            let found = path.map_or(PluginFile::Missing, |path| look(&path));
            directory.plugins.insert(plugin, found);
        }
        directory
    }

    /// The lists in the order of their files: containerd and CRI-O take the first.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &NetworkList> {
        self.entries.iter().filter_map(list_of)
    }
}

/// The list that is read from a file.
pub(crate) fn list_of(entry: &Entry) -> Option<&NetworkList> {
    match entry {
        Entry::Network(network) => network.list.as_ref(),
        Entry::Shadowed { list, .. } => Some(list),
        Entry::Broken(_) => None,
    }
}

/// Whether a plugin of ours is in the list.
pub(crate) fn is_ours(list: &NetworkList) -> bool {
    let mut plugins = list.plugins.iter();
    plugins.any(|plugin| {
        let ipam = ipam_of(plugin);
        plugin.plugin_type.starts_with(OURS) || ipam.is_some_and(|ipam| ipam.starts_with(OURS))
    })
}

/// The plugins that must be there for a list: our main plugins do the work of our IPAM themselves.
pub(crate) fn needed(list: &NetworkList) -> Vec<String> {
    let mut needed = Vec::new();
    for plugin in &list.plugins {
        needed.push(plugin.plugin_type.clone());
        let ipam = ipam_of(plugin);
        let in_process =
            |ipam: &&str| plugin.plugin_type.starts_with(OURS) && ipam.starts_with(OURS);
        needed.extend(ipam.filter(|ipam| !in_process(ipam)).map(str::to_owned));
    }
    needed
}

fn ipam_of(plugin: &PluginConf) -> Option<&str> {
    let named = plugin
        .config
        .get("ipam")?
        .get("type")
        .and_then(Value::as_str);
    named.filter(|named| !named.is_empty())
}

fn plugins_of(entries: &[Entry]) -> Vec<String> {
    let lists = entries.iter().filter_map(list_of);
    let mut all: Vec<_> = lists
        .filter(|list| is_ours(list))
        .flat_map(needed)
        .collect();
    all.sort();
    all.dedup();
    all
}

/// A file that no runtime reads and that looks as if one should.
fn is_ignored(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    if matches!(extension, Some("conflist" | "conf" | "json")) || !path.is_file() {
        return false;
    }
    let is_short = fs::metadata(path).is_ok_and(|found| found.len() <= LONGEST);
    let bytes = if is_short {
        fs::read(path).unwrap_or_default()
    } else {
        Vec::new()
    };
    let text = String::from_utf8_lossy(&bytes);
    text.contains(OURS) && text.contains("\"type\"")
}

fn path_of(plugin: &str, dirs: &[PathBuf]) -> Option<PathBuf> {
    let mut paths = dirs.iter().map(|dir| dir.join(plugin));
    paths.find(|path| path.is_file())
}

fn look(path: &Path) -> PluginFile {
    let mode = fs::metadata(path).map(|found| found.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o111 == 0) {
        return PluginFile::NotExecutable(path.to_owned());
    }
    versions(path)
}

/// What one of ours says of itself when it is run by hand: `CNI plugin bulkhead-bridge 0.1.0: ...`.
fn release_of(path: &Path) -> Option<String> {
    let said = run(&["env", "-u", "CNI_COMMAND", &path.display().to_string()]).ok()?;
    let (first, _) = said.stderr.split_once(": ")?;
    let release = first.strip_prefix("CNI plugin ")?.split_once(' ')?.1;
    Some(release.to_owned())
}

/// `CNI_COMMAND=VERSION` changes nothing, whatever the plugin.
fn versions(path: &Path) -> PluginFile {
    let path = path.display().to_string();
    let words = ["env", "CNI_COMMAND=VERSION", &path];
    let said = match run(&words) {
        Ok(said) if said.succeeded() => said,
        Ok(said) => return PluginFile::Silent(said.complaint()),
        Err(error) => return PluginFile::Silent(chain(&error)),
    };
    let answer: Option<serde_json::Value> = serde_json::from_str(&said.stdout).ok();
    let listed = answer
        .as_ref()
        .and_then(|answer| answer["supportedVersions"].as_array());
    match listed {
        Some(listed) => PluginFile::Speaks(
            listed
                .iter()
                .filter_map(|version| version.as_str().map(str::to_owned))
                .collect(),
        ),
        None => PluginFile::Silent("its answer lists no versions".to_owned()),
    }
}
