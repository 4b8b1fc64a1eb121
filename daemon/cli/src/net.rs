//! `bulkhead net`: networks.

use std::path::{Path, PathBuf};

use bulkhead_cni::json::{Object, Value};
use bulkhead_cni::list::{LoadError, NetworkList};
use bulkhead_model::NetworkName;
use clap::Subcommand;
use serde::Serialize;

use crate::failure::{Failure, Outcome, chain};
use crate::output::{Format, Usage, count, or_dash, table};
use crate::sources::{Entry, Network, Sources};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List every network that is configured or recorded.
    Ls {
        #[command(flatten)]
        sources: Sources,
    },
}

pub(crate) fn run(command: &Command, format: Format) -> Outcome {
    match command {
        Command::Ls { sources } => ls(sources, format),
    }
}

fn ls(sources: &Sources, format: Format) -> Outcome {
    let inventory = match sources.inventory() {
        Ok(inventory) => inventory,
        Err(failure) => return Err(failure).into(),
    };
    let mut failures = inventory.failures;
    let rows: Vec<_> = inventory
        .entries
        .iter()
        .map(|entry| row(entry, &mut failures))
        .collect();
    let stdout = format.render(&rows, |_| {
        let rows: Vec<_> = rows.iter().map(Row::cells).collect();
        table(&HEADINGS, &rows)
    });
    Outcome::partial(stdout, &failures)
}

const HEADINGS: [&str; 7] = [
    "NETWORK",
    "FILE",
    "PLUGINS",
    "CNI",
    "ATTACHMENTS",
    "ADDRESSES",
    "NOTE",
];

/// A file, or a network without one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    network: Option<NetworkName>,
    state: State,
    file: Option<PathBuf>,
    plugins: Vec<String>,
    /// Every version the file names, oldest first.
    cni_versions: Vec<String>,
    state_dir: Option<PathBuf>,
    /// `None`: nothing is recorded.
    attachments: Option<u64>,
    sets: Vec<Usage>,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Configured,
    NoConfiguration,
    Shadowed,
    Broken,
}

fn row(entry: &Entry, failures: &mut Vec<Failure>) -> Row {
    match entry {
        Entry::Network(network) => network_row(network, failures),
        Entry::Shadowed { list, by } => Row {
            network: Some(list.name.clone()),
            note: Some(format!("not used, {} is read first", file_name(by))),
            ..list_row(list, State::Shadowed)
        },
        Entry::Broken(error) => Row {
            file: broken_file(error),
            note: Some(chain(error)),
            ..empty_row(State::Broken)
        },
    }
}

fn network_row(network: &Network, failures: &mut Vec<Failure>) -> Row {
    let mut row = match &network.list {
        Some(list) => list_row(list, State::Configured),
        None => Row {
            note: Some("no configuration".to_owned()),
            ..empty_row(State::NoConfiguration)
        },
    };
    row.network = Some(network.name.clone());
    row.state_dir = Some(network.state_dir.clone());
    if let Err(failure) = count_recorded(network, &mut row) {
        row.note = Some(chain(&failure));
        failures.push(failure);
    }
    row
}

fn count_recorded(network: &Network, row: &mut Row) -> Result<(), Failure> {
    let Some(snapshot) = network.read()? else {
        return Ok(());
    };
    let usage = snapshot.usage().map_err(|source| Failure::Store {
        network: network.name.clone(),
        source,
    })?;
    row.attachments = Some(snapshot.live_count());
    row.sets = usage.into_iter().map(Usage::from).collect();
    Ok(())
}

fn list_row(list: &NetworkList, state: State) -> Row {
    let plugins = list.plugins.iter();
    Row {
        file: Some(list.path.clone()),
        plugins: plugins.map(|plugin| plugin.plugin_type.clone()).collect(),
        cni_versions: versions(list),
        ..empty_row(state)
    }
}

fn empty_row(state: State) -> Row {
    Row {
        network: None,
        state,
        file: None,
        plugins: Vec::new(),
        cni_versions: Vec::new(),
        state_dir: None,
        attachments: None,
        sets: Vec::new(),
        note: None,
    }
}

/// `cniVersion` and `cniVersions` as the file has them; the version it is run with if it has none.
pub(crate) fn versions(list: &NetworkList) -> Vec<String> {
    let document = Value::parse(&list.bytes).unwrap_or(Value::EMPTY);
    let mut versions = Vec::new();
    if let Ok(root) = Object::root(&document) {
        versions = root.strings("cniVersions").unwrap_or_default();
        let single = root.optional_string("cniVersion").ok().flatten();
        versions.extend(single.map(str::to_owned));
    }
    versions.retain(|version| !version.is_empty());
    versions.sort();
    versions.dedup();
    if versions.is_empty() {
        versions.push(list.version.to_string());
    }
    versions
}

fn broken_file(error: &LoadError) -> Option<PathBuf> {
    match error {
        LoadError::Read { path, .. }
        | LoadError::Json { path, .. }
        | LoadError::Field { path, .. }
        | LoadError::NoPlugins { path, .. } => Some(path.clone()),
        LoadError::NotFound { .. } => None,
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let sets: Vec<_> = self.sets.iter().map(addresses).collect();
        vec![
            or_dash(self.network.as_ref().map(ToString::to_string)),
            or_dash(self.file.as_deref().map(file_name)),
            or_dash(Some(self.plugins.join(" "))),
            or_dash(Some(self.cni_versions.join(" "))),
            or_dash(self.attachments.map(|number| number.to_string())),
            or_dash(Some(sets.join("\n"))),
            or_dash(self.note.clone()),
        ]
    }
}

fn addresses(set: &Usage) -> String {
    let held = format!(
        "{}: {} held, {} free",
        set.ranges,
        set.held,
        count(set.free)
    );
    if set.cooling == 0 {
        held
    } else {
        format!("{held}, {} cooling", set.cooling)
    }
}
