//! The chain of calls a list asks for.

use std::path::PathBuf;

use bulkhead_model::{AttachmentKey, ContainerId, IfName, NetworkName};

use super::{Cache, CacheError, NetworkList, PluginConf};
use crate::exec::{ExecError, Plugin};
use crate::json::{FieldError, Value};
use crate::{Call, CniError, CniResult, ConvertError, Environment, GcAttachment, Verb};

/// Where plugins are, where results are kept, what plugins inherit.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Directories with plugins, `CNI_PATH`.
    pub plugin_dirs: Vec<PathBuf>,
    /// The result cache.
    pub cache: Cache,
    /// What plugins inherit, the `CNI_*` variables aside.
    pub environment: Environment,
}

/// One attachment as a runtime asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// The container.
    pub container: ContainerId,
    /// Its namespace; `None` for a DEL of a container whose namespace is gone.
    pub netns: Option<PathBuf>,
    /// The interface inside.
    pub interface: IfName,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Capability arguments; a plugin gets those it declares, as `runtimeConfig`.
    pub capabilities: Vec<(String, Value)>,
    /// `args.cni`, over what the list says itself.
    pub args_cni: Vec<(String, Value)>,
}

/// What to do with the plugins that have run when one of the chain fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFailure {
    /// Leave them: the caller runs DEL, as runtimes do over libcni.
    Leave,
    /// Run the whole chain for DEL.
    Undo,
}

/// A step of a list that failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A plugin.
    #[error("network {network}, {verb}")]
    Plugin {
        /// The network.
        network: NetworkName,
        /// The verb it was run for.
        verb: Verb,
        /// What it answered.
        #[source]
        source: Box<ExecError>,
    },
    /// The list's version has no such verb.
    #[error("network {network}: version {version} has no {verb}, set cniVersion to {} or later", verb.since())]
    Version {
        /// The network.
        network: NetworkName,
        /// Its version.
        version: crate::CniVersion,
        /// The verb.
        verb: Verb,
    },
    /// CHECK of what was never added.
    #[error("no result of ADD is recorded for {0}, add it first")]
    NotAdded(Box<AttachmentKey>),
    /// The cached result cannot be read.
    #[error("recorded result of {key}")]
    Recorded {
        /// Whose.
        key: Box<AttachmentKey>,
        /// What is wrong.
        #[source]
        source: FieldError,
    },
    /// The result cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The list's version cannot express a result.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// GC continues past failures and reports all of them.
    #[error("{} failures, the first: {}", .0.len(), .0.first().map_or_else(String::new, ToString::to_string))]
    Several(Vec<RunError>),
}

impl Attachment {
    /// Its key on `network`.
    #[must_use]
    pub fn key(&self, network: &NetworkName) -> AttachmentKey {
        AttachmentKey {
            network: network.clone(),
            container: self.container.clone(),
            interface: self.interface,
        }
    }
}

impl Runtime {
    /// Runs ADD through the list, each plugin with the result of the one before, and records the
    /// last result.
    ///
    /// # Errors
    /// The first plugin that fails, or a result that cannot be recorded.
    pub fn add(
        &self,
        list: &NetworkList,
        attachment: &Attachment,
        on_failure: OnFailure,
    ) -> Result<CniResult, RunError> {
        let added = self.add_chain(list, attachment);
        if added.is_err() && on_failure == OnFailure::Undo {
            // The ADD's error is the one that says what went wrong.
            let _ = self.del(list, attachment);
        }
        added
    }

    fn add_chain(
        &self,
        list: &NetworkList,
        attachment: &Attachment,
    ) -> Result<CniResult, RunError> {
        let environment = self.environment_for(Verb::Add, Some(attachment));
        let mut result = CniResult::default();
        let mut written = None;
        for plugin in &list.plugins {
            let stdin = stdin_for(list, plugin, written.as_ref(), Some(attachment));
            result = Plugin::find(&plugin.plugin_type, &self.plugin_dirs)
                .and_then(|found| found.run_for_result(&environment, &stdin, list.version))
                .map_err(|source| failed(list, Verb::Add, source))?;
            written = Some(result.to_json(list.version)?);
        }
        if let Some(written) = written {
            self.cache.store(list, attachment, &written)?;
        }
        Ok(result)
    }

    /// Runs DEL through the list, last plugin first, and forgets the result. Works without one.
    ///
    /// # Errors
    /// The first plugin that fails; those before it in the list have then not been run.
    pub fn del(&self, list: &NetworkList, attachment: &Attachment) -> Result<(), RunError> {
        // Since 0.4.0 DEL carries prevResult. One that cannot be read must not stop DEL.
        let recorded = if list.version >= Verb::Check.since() {
            self.recorded(list, attachment).unwrap_or_default()
        } else {
            None
        };
        for plugin in list.plugins.iter().rev() {
            self.step(list, plugin, Verb::Del, recorded.as_ref(), attachment)?;
        }
        Ok(self.cache.remove(&attachment.key(&list.name))?)
    }

    /// Runs CHECK through the list; nothing if it says `disableCheck`.
    ///
    /// # Errors
    /// The first plugin that fails; no result on record; a list older than 0.4.0.
    pub fn check(&self, list: &NetworkList, attachment: &Attachment) -> Result<(), RunError> {
        demand(list, Verb::Check)?;
        if list.disable_check {
            return Ok(());
        }
        let recorded = self
            .recorded(list, attachment)?
            .ok_or_else(|| RunError::NotAdded(Box::new(attachment.key(&list.name))))?;
        for plugin in &list.plugins {
            self.step(list, plugin, Verb::Check, Some(&recorded), attachment)?;
        }
        Ok(())
    }

    /// Runs DEL for every attachment on record that is not in `valid`, then GC through the list if
    /// its version has it; nothing if it says `disableGC`. Without `valid` nothing is deleted and
    /// the plugins get no list, upon which they collect what is provably dead (libcni would delete
    /// every attachment on record).
    ///
    /// # Errors
    /// All that failed.
    pub fn gc(&self, list: &NetworkList, valid: Option<&[GcAttachment]>) -> Result<(), RunError> {
        if list.disable_gc {
            return Ok(());
        }
        let mut failures = Vec::new();
        for entry in valid.map_or(Ok(Vec::new()), |_| self.cache.entries(&list.name))? {
            let attachment = entry.attachment;
            let lives = valid.unwrap_or_default().iter().any(|one| {
                one.container == attachment.container && one.interface == attachment.interface
            });
            if !lives {
                failures.extend(self.del(list, &attachment).err());
            }
        }
        if list.version >= Verb::Gc.since() {
            let environment = self.environment_for(Verb::Gc, None);
            for plugin in &list.plugins {
                let stdin = gc_stdin(list, plugin, valid);
                failures.extend(self.run(list, plugin, Verb::Gc, &environment, &stdin).err());
            }
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(RunError::Several(failures))
        }
    }

    /// Runs STATUS through the list.
    ///
    /// # Errors
    /// The first plugin that fails; a list older than 1.1.0.
    pub fn status(&self, list: &NetworkList) -> Result<(), RunError> {
        demand(list, Verb::Status)?;
        let environment = self.environment_for(Verb::Status, None);
        for plugin in &list.plugins {
            let stdin = stdin_for(list, plugin, None, None);
            self.run(list, plugin, Verb::Status, &environment, &stdin)?;
        }
        Ok(())
    }

    /// The recorded result in the list's version, which may have changed since ADD.
    fn recorded(
        &self,
        list: &NetworkList,
        attachment: &Attachment,
    ) -> Result<Option<Value>, RunError> {
        let key = attachment.key(&list.name);
        let Some(entry) = self.cache.load(&key)? else {
            return Ok(None);
        };
        let result = CniResult::parse("result", &entry.result, list.version).map_err(|source| {
            RunError::Recorded {
                key: Box::new(key),
                source,
            }
        })?;
        Ok(Some(result.to_json(list.version)?))
    }

    /// The call that `plugin` of the list would get for an attachment, with the recorded result of its
    /// ADD if there is one that can be read: for who does a plugin's work in a process of its own.
    ///
    /// # Errors
    /// As [`Call::read`].
    pub fn call(
        &self,
        list: &NetworkList,
        plugin: &PluginConf,
        verb: Verb,
        attachment: &Attachment,
    ) -> Result<Call, CniError> {
        let recorded = self.recorded(list, attachment).ok().flatten();
        let stdin = stdin_for(list, plugin, recorded.as_ref(), Some(attachment));
        Call::read(verb, self.environment_for(verb, Some(attachment)), stdin)
    }

    fn step(
        &self,
        list: &NetworkList,
        plugin: &PluginConf,
        verb: Verb,
        prev_result: Option<&Value>,
        attachment: &Attachment,
    ) -> Result<(), RunError> {
        let environment = self.environment_for(verb, Some(attachment));
        let stdin = stdin_for(list, plugin, prev_result, Some(attachment));
        self.run(list, plugin, verb, &environment, &stdin)
    }

    fn run(
        &self,
        list: &NetworkList,
        plugin: &PluginConf,
        verb: Verb,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<(), RunError> {
        Plugin::find(&plugin.plugin_type, &self.plugin_dirs)
            .and_then(|found| found.run(environment, stdin))
            .map(drop)
            .map_err(|source| failed(list, verb, source))
    }

    /// What plugins inherit, with the call's own `CNI_*` variables and none left over.
    fn environment_for(&self, verb: Verb, attachment: Option<&Attachment>) -> Environment {
        const CALL: [&str; 6] = [
            "CNI_COMMAND",
            "CNI_CONTAINERID",
            "CNI_NETNS",
            "CNI_IFNAME",
            "CNI_ARGS",
            "CNI_PATH",
        ];
        let inherited = self
            .environment
            .variables()
            .filter(|(name, _)| !CALL.iter().any(|c| c == name));
        let mut dirs = std::ffi::OsString::new();
        for dir in &self.plugin_dirs {
            if !dirs.is_empty() {
                dirs.push(":");
            }
            dirs.push(dir);
        }
        let environment = Environment::new(inherited)
            .with("CNI_COMMAND", verb.as_str())
            .with("CNI_PATH", dirs);
        let Some(attachment) = attachment else {
            return environment;
        };
        let args: Vec<_> = attachment
            .args
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        environment
            .with("CNI_CONTAINERID", attachment.container.as_str())
            .with("CNI_NETNS", attachment.netns.clone().unwrap_or_default())
            .with("CNI_IFNAME", attachment.interface.as_str())
            .with("CNI_ARGS", args.join(";"))
    }
}

fn failed(list: &NetworkList, verb: Verb, source: ExecError) -> RunError {
    RunError::Plugin {
        network: list.name.clone(),
        verb,
        source: Box::new(source),
    }
}

fn demand(list: &NetworkList, verb: Verb) -> Result<(), RunError> {
    if list.version >= verb.since() {
        return Ok(());
    }
    Err(RunError::Version {
        network: list.name.clone(),
        version: list.version,
        verb,
    })
}

/// A plugin's stdin: its part of the list, with what the list and the runtime add to it.
fn stdin_for(
    list: &NetworkList,
    plugin: &PluginConf,
    prev_result: Option<&Value>,
    attachment: Option<&Attachment>,
) -> Vec<u8> {
    let mut config = base(list, plugin);
    if let Some(prev_result) = prev_result {
        config.set("prevResult", prev_result.clone());
    }
    if let Some(attachment) = attachment {
        let provided = attachment.capabilities.iter();
        let declared = provided.filter(|(name, _)| plugin.capabilities.contains(name));
        let runtime: Vec<_> = declared.cloned().collect();
        if !runtime.is_empty() {
            config.set("runtimeConfig", Value::Object(runtime));
        }
        if !attachment.args_cni.is_empty() {
            let mut args = config.get("args").cloned().unwrap_or(Value::EMPTY);
            let mut cni = args.get("cni").cloned().unwrap_or(Value::EMPTY);
            for (name, value) in &attachment.args_cni {
                cni.set(name, value.clone());
            }
            args.set("cni", cni);
            config.set("args", args);
        }
    }
    config.to_string().into_bytes()
}

fn gc_stdin(list: &NetworkList, plugin: &PluginConf, valid: Option<&[GcAttachment]>) -> Vec<u8> {
    let mut config = base(list, plugin);
    if let Some(valid) = valid {
        let attachment = |one: &GcAttachment| {
            Value::Object(vec![
                ("containerID".to_owned(), one.container.as_str().into()),
                ("ifname".to_owned(), one.interface.as_str().into()),
            ])
        };
        let valid = Value::Array(valid.iter().map(attachment).collect());
        // The tag of 1.1.0 said `attachments`, the text since then `valid-attachments`.
        config.set("cni.dev/valid-attachments", valid.clone());
        config.set("cni.dev/attachments", valid);
    }
    config.to_string().into_bytes()
}

fn base(list: &NetworkList, plugin: &PluginConf) -> Value {
    let mut config = plugin.config.clone();
    config.set("name", list.name.as_str().into());
    config.set("cniVersion", list.version.as_str().into());
    config
}
