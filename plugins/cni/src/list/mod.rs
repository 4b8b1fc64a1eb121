//! The runtime's side: network lists, the chain of calls they ask for, and the result cache, all as
//! libcni does it. For our own runner; plugins use none of it.

mod cache;
mod load;
mod run;

pub use cache::{Cache, CacheError, CachedAttachment};
pub use load::{LoadError, load, load_all, load_bytes, load_file};
pub use run::{Attachment, OnFailure, RunError, Runtime};

use std::path::PathBuf;

use bulkhead_model::NetworkName;

use crate::CniVersion;
use crate::json::Value;

/// A network: plugins to be called one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkList {
    /// The network.
    pub name: NetworkName,
    /// The newest of `cniVersion` and `cniVersions` that we speak.
    pub version: CniVersion,
    /// CHECK is a no-op.
    pub disable_check: bool,
    /// GC is a no-op, as two runtimes that share a network name need.
    pub disable_gc: bool,
    /// The plugins, first called first.
    pub plugins: Vec<PluginConf>,
    /// The file it was read from.
    pub path: PathBuf,
    /// The file's own bytes, which the result cache keeps.
    pub bytes: Vec<u8>,
}

/// One plugin of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConf {
    /// The executable, `type`.
    pub plugin_type: String,
    /// The `capabilities` it declares as true.
    pub capabilities: Vec<String>,
    /// The plugin's configuration as written.
    pub config: Value,
}
