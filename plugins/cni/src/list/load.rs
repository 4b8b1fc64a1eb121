//! Reading network lists from a directory.

use std::io;
use std::path::{Path, PathBuf};

use bulkhead_model::NetworkName;

use super::{NetworkList, PluginConf};
use crate::CniVersion;
use crate::json::{Field, FieldError, Object, Value};

/// A network that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or directory cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not JSON.
    #[error("{}: not JSON", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A key is missing or wrong.
    #[error("{}: not a network", path.display())]
    Field {
        /// In which file.
        path: PathBuf,
        /// What.
        #[source]
        source: FieldError,
    },
    /// A list of nothing.
    #[error("{}: no plugins, neither in `plugins` nor in {}", path.display(), drop_in.display())]
    NoPlugins {
        /// In which file.
        path: PathBuf,
        /// Where else plugins were looked for.
        drop_in: PathBuf,
    },
    /// No file is about the network.
    #[error("no network {name} in {}", dir.display())]
    NotFound {
        /// The network.
        name: NetworkName,
        /// The directory.
        dir: PathBuf,
    },
}

/// The network `name` of `dir`: the first `.conflist` in lexicographic order that has the name,
/// else the first `.conf` or `.json`, taken as a list of one. A broken file hides no other; its
/// error is returned if the network is found nowhere else.
///
/// # Errors
/// [`LoadError::NotFound`], or what is wrong with a file.
pub fn load(dir: &Path, name: &NetworkName) -> Result<NetworkList, LoadError> {
    let mut broken = None;
    for extensions in [&["conflist"][..], &["conf", "json"]] {
        for path in files(dir, extensions)? {
            match load_file(&path) {
                Ok(list) if list.name == *name => return Ok(list),
                Ok(_) => {}
                Err(error) => broken = broken.or(Some(error)),
            }
        }
    }
    Err(broken.unwrap_or_else(|| LoadError::NotFound {
        name: name.clone(),
        dir: dir.to_owned(),
    }))
}

/// Every network of `dir` in lexicographic order of the files. The first that can be read is the
/// one containerd and CRI-O attach pods to.
///
/// # Errors
/// The directory exists and cannot be read; what is wrong with a file is in the list.
pub fn load_all(dir: &Path) -> Result<Vec<Result<NetworkList, LoadError>>, LoadError> {
    let files = files(dir, &["conflist", "conf", "json"])?;
    Ok(files.iter().map(|path| load_file(path)).collect())
}

/// One file, with the plugins of its drop-in directory `<dir>/<network>/*.conf` appended unless it
/// says `loadOnlyInlinedPlugins`.
///
/// # Errors
/// What is wrong with the file.
pub fn load_file(path: &Path) -> Result<NetworkList, LoadError> {
    let bytes = std::fs::read(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    load_bytes(path, bytes)
}

/// The same of a file that may not be there yet: what `path` would be with `bytes` in it.
///
/// # Errors
/// As [`load_file`].
pub fn load_bytes(path: &Path, bytes: Vec<u8>) -> Result<NetworkList, LoadError> {
    let document = parse(path, &bytes)?;
    let is_list = path
        .extension()
        .is_some_and(|extension| extension == "conflist");
    let field = |source| LoadError::Field {
        path: path.to_owned(),
        source,
    };
    let read = if is_list { read_list } else { read_single };
    let (mut list, inlined) = read(path, &document).map_err(field)?;
    list.bytes = bytes;
    let drop_in = path.with_file_name(list.name.as_str());
    if inlined == Plugins::InlinedAndDropIns {
        list.plugins.extend(drop_ins(&drop_in)?);
    }
    if list.plugins.is_empty() {
        return Err(LoadError::NoPlugins {
            path: path.to_owned(),
            drop_in,
        });
    }
    Ok(list)
}

/// Where a list's plugins come from.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Plugins {
    Inlined,
    InlinedAndDropIns,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Value, LoadError> {
    Value::parse(bytes).map_err(|source| LoadError::Json {
        path: path.to_owned(),
        source,
    })
}

fn read_list(path: &Path, document: &Value) -> Result<(NetworkList, Plugins), FieldError> {
    let root = Object::root(document)?;
    let only_inlined = root
        .optional_bool("loadOnlyInlinedPlugins")?
        .unwrap_or(false);
    let plugins = match root.optional("plugins") {
        None if only_inlined => root.required("plugins", "the list of plugins")?.items()?,
        None => Vec::new(),
        Some(field) => match field.items()? {
            items if items.is_empty() => return Err(field.invalid("a list with plugins")),
            items => items,
        },
    };
    let list = NetworkList {
        name: root.required("name", "the network's name")?.parse()?,
        version: version_of(&root)?,
        disable_check: root.optional_bool("disableCheck")?.unwrap_or(false),
        disable_gc: root.optional_bool("disableGC")?.unwrap_or(false),
        plugins: plugins.iter().map(read_plugin).collect::<Result<_, _>>()?,
        path: path.to_owned(),
        bytes: Vec::new(),
    };
    let source = if only_inlined {
        Plugins::Inlined
    } else {
        Plugins::InlinedAndDropIns
    };
    Ok((list, source))
}

/// A configuration of one plugin, deprecated since 1.0.0 and still in the field.
fn read_single(path: &Path, document: &Value) -> Result<(NetworkList, Plugins), FieldError> {
    let root = Object::root(document)?;
    let list = NetworkList {
        name: root.required("name", "the network's name")?.parse()?,
        version: version_of(&root)?,
        disable_check: false,
        disable_gc: false,
        plugins: vec![plugin_of(&root, document)?],
        path: path.to_owned(),
        bytes: Vec::new(),
    };
    Ok((list, Plugins::Inlined))
}

/// The newest we speak of `cniVersions` and `cniVersion`; others in the list are for newer runtimes.
fn version_of(root: &Object<'_>) -> Result<CniVersion, FieldError> {
    let single = root
        .optional("cniVersion")
        .filter(|field| field.value().as_str() != Some(""));
    let Some(many) = root.optional("cniVersions") else {
        return single.map_or(Ok(CniVersion::DEFAULT), |field| field.parse());
    };
    let mut texts = root.strings("cniVersions")?;
    if let Some(field) = &single {
        texts.push(field.str()?.to_owned());
    }
    let newest = texts.iter().filter_map(|text| text.parse().ok()).max();
    newest.ok_or_else(|| many.invalid("a list with a CNI version we speak, 0.1.0 to 1.1.0"))
}

fn read_plugin(field: &Field<'_>) -> Result<PluginConf, FieldError> {
    plugin_of(&field.object()?, field.value())
}

fn plugin_of(object: &Object<'_>, config: &Value) -> Result<PluginConf, FieldError> {
    let mut capabilities = Vec::new();
    if let Some(declared) = object.optional_object("capabilities")? {
        for (name, field) in declared.members() {
            if field.bool()? {
                capabilities.push(name.to_owned());
            }
        }
    }
    Ok(PluginConf {
        plugin_type: object
            .required_string("type", "the plugin's file name")?
            .to_owned(),
        capabilities,
        config: config.clone(),
    })
}

fn drop_ins(dir: &Path) -> Result<Vec<PluginConf>, LoadError> {
    let mut plugins = Vec::new();
    for path in files(dir, &["conf"])? {
        let bytes = std::fs::read(&path).map_err(|source| LoadError::Read {
            path: path.clone(),
            source,
        })?;
        let document = parse(&path, &bytes)?;
        let plugin = Object::root(&document).and_then(|root| plugin_of(&root, &document));
        plugins.push(plugin.map_err(|source| LoadError::Field { path, source })?);
    }
    Ok(plugins)
}

/// The files of `dir` with one of `extensions`, in lexicographic order; none if there is no `dir`.
fn files(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, LoadError> {
    let read = |source| LoadError::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|found| extensions.contains(&found)) && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
