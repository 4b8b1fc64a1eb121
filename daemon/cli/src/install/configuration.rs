//! The network configuration that comes with the plugins: read and found good before anything is
//! changed, and put where none of its network is.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bulkhead_cni::json::Value;
use bulkhead_cni::list::{LoadError, NetworkList, load_all, load_bytes};

use super::executable::Executable;
use super::{Action, InstallError};
use crate::failure::{at, chain};

/// The configuration that is written unless another one is named.
const DEFAULT_NAME: &str = "10-bulkhead.conflist";
const DEFAULT: &str = include_str!("../../../../deploy/cri/10-bulkhead.conflist");

/// A network configuration and where it belongs.
#[derive(Debug)]
pub(super) struct Configuration {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    list: NetworkList,
}

/// What is done about a configuration, and what there is to say about it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Decision {
    pub(super) action: Action,
    pub(super) note: Option<String>,
}

/// Whether a configuration that differs gives way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Existing {
    Keep,
    Replace,
}

/// What stands where the configuration is to be.
enum Found {
    Nothing,
    Same,
    Different(Vec<u8>),
}

impl Configuration {
    /// `file`, or the default, as the file of that name in `conf_dir`.
    ///
    /// # Errors
    /// It cannot be read, or libcni would refuse it there.
    pub(super) fn read(conf_dir: &Path, file: Option<&Path>) -> Result<Self, InstallError> {
        let (name, bytes) = match file {
            Some(file) => {
                let name = file.file_name().unwrap_or_default().to_owned();
                (name, fs::read(file).map_err(at("read", file))?)
            }
            None => (DEFAULT_NAME.into(), DEFAULT.as_bytes().to_owned()),
        };
        let path = conf_dir.join(name);
        let list = load_bytes(&path, bytes.clone())?;
        Ok(Self { path, bytes, list })
    }

    /// Every plugin it names must be there once `executable` is installed.
    ///
    /// # Errors
    /// The first that is not.
    pub(super) fn served_by(
        &self,
        executable: &Executable,
        bin_dir: &Path,
    ) -> Result<(), InstallError> {
        let is_there = |plugin: &str| {
            executable.names.iter().any(|name| name == plugin)
                || (!plugin.contains('/') && bin_dir.join(plugin).is_file())
        };
        match plugins(&self.list).find(|plugin| !is_there(plugin)) {
            Some(plugin) => Err(InstallError::NoPlugin {
                path: self.path.clone(),
                plugin: plugin.to_owned(),
                bin_dir: bin_dir.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// What is to be done in its directory as that is now.
    ///
    /// # Errors
    /// Something in the directory cannot be read, or cannot give way.
    pub(super) fn decide(&self, existing: Existing) -> Result<Decision, InstallError> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let files = load_all(dir)?;
        let mut others = files.iter().flatten();
        let other = others.find(|list| list.name == self.list.name && list.path != self.path);
        let action = match (self.found()?, existing, other) {
            (Found::Same, ..) => Action::Unchanged,
            (Found::Different(bytes), Existing::Keep, _) => return Ok(self.left(bytes)),
            (Found::Nothing, Existing::Keep, Some(other)) => {
                return Ok(Decision {
                    action: Action::Left,
                    note: Some(format!(
                        "not written: network {} is configured in {}",
                        other.name,
                        other.path.display()
                    )),
                });
            }
            (_, Existing::Replace, Some(other)) => {
                return Err(InstallError::Configured {
                    network: other.name.clone(),
                    path: other.path.clone(),
                });
            }
            (Found::Nothing, ..) => Action::Create,
            (Found::Different(_), ..) => Action::Replace,
        };
        let note = self.preceded_in(&files);
        Ok(Decision { action, note })
    }

    fn found(&self) -> Result<Found, InstallError> {
        match fs::read(&self.path) {
            Ok(bytes) if bytes == self.bytes => Ok(Found::Same),
            Ok(bytes) => Ok(Found::Different(bytes)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Ok(Found::Nothing),
                ErrorKind::IsADirectory => {
                    let found = vec![(self.path.clone(), "a directory")];
                    Err(InstallError::InTheWay(found))
                }
                _ => Err(at("read", &self.path)(error).into()),
            },
        }
    }

    /// The decision to leave what stands in its place.
    fn left(&self, found: Vec<u8>) -> Decision {
        let what = match load_bytes(&self.path, found) {
            Ok(_) => "differs from what would be written".to_owned(),
            Err(error) => chain(&error),
        };
        Decision {
            action: Action::Left,
            note: Some(format!("{what}; --force-conf replaces it")),
        }
    }

    /// Which other file runtimes attach pods to, if not this one.
    fn preceded_in(&self, files: &[Result<NetworkList, LoadError>]) -> Option<String> {
        let first = files.iter().flatten().next()?;
        let note = || {
            let first = first.path.display();
            format!("containerd and CRI-O attach pods to {first}, which they read first")
        };
        (first.path < self.path).then(note)
    }
}

/// The configurations of a directory that are about plugins which are to go.
#[derive(Debug, Default)]
pub(super) struct Abandoned {
    /// As they were written.
    pub(super) ours: Vec<PathBuf>,
    /// Somebody's own, each with a plugin it runs.
    pub(super) others: Vec<(PathBuf, String)>,
}

/// What was written by `install`: the default, and `file`.
///
/// # Errors
/// `file` cannot be read.
pub(super) fn written(file: Option<&Path>) -> Result<Vec<Vec<u8>>, InstallError> {
    let mut written = vec![DEFAULT.as_bytes().to_owned()];
    if let Some(file) = file {
        written.push(fs::read(file).map_err(at("read", file))?);
    }
    Ok(written)
}

/// What in `conf_dir` is one of `written`, under whatever name, or runs a plugin that is to go.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn abandoned(
    conf_dir: &Path,
    written: &[Vec<u8>],
    gone: &[String],
) -> Result<Abandoned, InstallError> {
    let mut abandoned = Abandoned::default();
    for list in load_all(conf_dir)?.into_iter().flatten() {
        if written.contains(&list.bytes) {
            abandoned.ours.push(list.path);
        } else if let Some(plugin) = one_of(&list, gone) {
            abandoned.others.push((list.path, plugin));
        }
    }
    Ok(abandoned)
}

fn one_of(list: &NetworkList, gone: &[String]) -> Option<String> {
    let mut plugins = plugins(list);
    let found = plugins.find(|plugin| gone.iter().any(|name| name == plugin));
    found.map(str::to_owned)
}

/// The plugins that a network runs, its IPAM plugins among them.
fn plugins(list: &NetworkList) -> impl Iterator<Item = &str> {
    list.plugins.iter().flat_map(|plugin| {
        let ipam = plugin.config.get("ipam").and_then(|ipam| ipam.get("type"));
        let ipam = ipam.and_then(Value::as_str).filter(|name| !name.is_empty());
        [Some(plugin.plugin_type.as_str()), ipam]
            .into_iter()
            .flatten()
    })
}
