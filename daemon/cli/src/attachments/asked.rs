//! The call that a runtime would make about a recorded attachment, made without one.

use std::path::{Path, PathBuf};

use bulkhead_attach::Successors;
use bulkhead_cni::json::Value;
use bulkhead_cni::list::{
    Attachment, Cache, CachedAttachment, NetworkList, PluginConf, Runtime, load_bytes,
};
use bulkhead_cni::{Call, CniVersion, Environment, Verb};

use super::{Found, Looked, kind};
use crate::failure::Failure;

/// A call, and what of it is known besides.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) call: Call,
    /// The plugins that come after ours.
    pub(crate) later: Vec<String>,
}

impl Asked {
    pub(super) fn successors(&self) -> Successors {
        if self.later.is_empty() {
            Successors::None
        } else {
            Successors::Some
        }
    }

    /// What could not be compared, since only a result of ADD would tell.
    pub(crate) fn blind_spot(&self) -> Option<String> {
        let is_cached = matches!(self.call.config.prev_result(), Ok(Some(_)));
        if is_cached || self.later.is_empty() {
            return None;
        }
        let later = self.later.join(", ");
        Some(format!(
            "MAC and MTU of the interface are taken as they stand: {later} may have changed them, \
             and no result of ADD is cached"
        ))
    }
}

impl Looked {
    /// The call that a runtime would make about `found`. Of a network that is configured no more, it
    /// carries the configuration that the runtime cached at ADD. A DEL goes on without either.
    ///
    /// # Errors
    /// There is no configuration, or the plugin that made the attachment is not in it any more; what
    /// the specification refuses of the call.
    pub(crate) fn call(&self, found: &Found, verb: Verb) -> Result<Asked, Failure> {
        let plugin = kind::plugin(&found.record.kind);
        let cache = Cache::new(&self.cache_dir);
        let cached = cache.load(found.key()).ok().flatten();
        let (list, place) = match configuration(found, cached.as_ref(), &plugin) {
            Ok(configured) => configured,
            Err(_) if verb == Verb::Del => (bare(found), 0),
            Err(failure) => return Err(failure),
        };
        let runtime = Runtime {
            plugin_dirs: self.bin_dirs.clone(),
            cache,
            environment: Environment::new(std::env::vars_os()),
        };
        let (args, capabilities) = match cached {
            Some(cached) => (cached.attachment.args, cached.attachment.capabilities),
            None => (Vec::new(), Vec::new()),
        };
        let netns = found.record.netns.as_ref();
        let attachment = Attachment {
            container: found.key().container.clone(),
            netns: netns.map(|netns| netns.path.clone()),
            interface: found.key().interface,
            args,
            capabilities,
            args_cni: Vec::new(),
        };
        let call = runtime.call(&list, &list.plugins[place], verb, &attachment);
        let later = list.plugins[place + 1..].iter();
        Ok(Asked {
            call: call.map_err(|source| Failure::attachment(found.key(), source))?,
            later: later.map(|plugin| plugin.plugin_type.clone()).collect(),
        })
    }
}

/// The network's list, and where in it the plugin is that made the attachment.
fn configuration(
    found: &Found,
    cached: Option<&CachedAttachment>,
    plugin: &str,
) -> Result<(NetworkList, usize), Failure> {
    let network = || found.key().network.clone();
    let list = found.list.clone().or_else(|| cached_list(cached?));
    let list = list.ok_or_else(|| Failure::NoConfiguration(network()))?;
    let place = list
        .plugins
        .iter()
        .position(|one| one.plugin_type == plugin);
    match place {
        Some(place) => Ok((list, place)),
        None => Err(Failure::NoPlugin {
            network: network(),
            plugin: plugin.to_owned(),
            file: list.path,
        }),
    }
}

fn cached_list(cached: &CachedAttachment) -> Option<NetworkList> {
    let bytes = &cached.config;
    // A runtime may have been given a list or one plugin alone.
    let read = |name: &str| load_bytes(Path::new(name), bytes.clone()).ok();
    read("cached.conflist").or_else(|| read("cached.conf"))
}

/// A list of the plugin alone, without any key of its own.
fn bare(found: &Found) -> NetworkList {
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
