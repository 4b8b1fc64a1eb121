//! The command line of `bulkhead cni` and what it means to libcni.

use std::path::PathBuf;

use bulkhead_cni::json::Value;
use bulkhead_cni::list::{Attachment, Cache, Runtime};
use bulkhead_cni::{Environment, GcAttachment};
use bulkhead_model::{ContainerId, IfName, NetworkName};
use clap::Args;

use super::netns::{self, Existence};
use crate::failure::Failure;

const PLUGIN_DIR: &str = "/opt/cni/bin";

/// Where a runtime finds things and keeps them.
#[derive(Args, Debug)]
pub(super) struct RunnerArgs {
    /// Where network configurations are.
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub(super) conf_dir: PathBuf,

    /// Where plugins are; may be repeated. Without it `CNI_PATH`, else /opt/cni/bin.
    #[arg(long = "bin-dir", value_name = "DIR")]
    bin_dirs: Vec<PathBuf>,

    /// Where results are kept for CHECK and DEL, shared with every libcni runtime.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni")]
    cache_dir: PathBuf,
}

impl RunnerArgs {
    pub(super) fn runtime(&self, environment: Environment) -> Runtime {
        let mut plugin_dirs = self.bin_dirs.clone();
        if plugin_dirs.is_empty() {
            plugin_dirs = environment.plugin_dirs();
        }
        if plugin_dirs.is_empty() {
            plugin_dirs.push(PathBuf::from(PLUGIN_DIR));
        }
        Runtime {
            plugin_dirs,
            cache: Cache::new(&self.cache_dir),
            environment,
        }
    }
}

/// A namespace on a network.
#[derive(Args, Debug)]
pub(crate) struct AttachmentArgs {
    /// The network, the `name` in its configuration.
    pub(super) network: NetworkName,

    /// The namespace: a path, or a name as `ip netns` has it (/run/netns, then /var/run/netns).
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    netns: String,

    /// The interface in the namespace.
    #[arg(long, value_name = "NAME", default_value = "eth0")]
    ifname: IfName,

    /// The container id. Without it `cnitool-` and 20 hex digits of the SHA-512 of the namespace's
    /// path, as cnitool derives it.
    #[arg(long, value_name = "ID")]
    container_id: Option<ContainerId>,

    /// A pair of `CNI_ARGS`; may be repeated.
    #[arg(long = "arg", value_name = "KEY=VALUE", value_parser = cni_arg)]
    args: Vec<(String, String)>,

    /// A capability argument (`runtimeConfig`) for the plugins that declare it; may be repeated.
    #[arg(long = "cap", value_name = "NAME=JSON", value_parser = json_pair)]
    capabilities: Vec<(String, Value)>,

    /// A key of `args.cni` for every plugin; may be repeated.
    #[arg(long = "args-cni", value_name = "KEY=JSON", value_parser = json_pair)]
    args_cni: Vec<(String, Value)>,

    #[command(flatten)]
    pub(super) runner: RunnerArgs,
}

impl AttachmentArgs {
    /// What is asked for.
    ///
    /// # Errors
    /// The namespace must exist and does not, or its path cannot be made absolute.
    pub(super) fn attachment(self, existence: Existence) -> Result<Attachment, Failure> {
        let netns = netns::resolve(&self.netns, existence)?;
        let container = self
            .container_id
            .unwrap_or_else(|| netns::container(&netns));
        Ok(Attachment {
            container,
            netns: Some(netns),
            interface: self.ifname,
            args: self.args,
            capabilities: self.capabilities,
            args_cni: self.args_cni,
        })
    }
}

/// A network as a whole.
#[derive(Args, Debug)]
pub(crate) struct NetworkArgs {
    /// The network, the `name` in its configuration.
    pub(super) network: NetworkName,

    /// Not used; accepted so that only the verb differs from an ADD.
    #[arg(value_name = "NETNS")]
    _netns: Option<String>,

    #[command(flatten)]
    pub(super) runner: RunnerArgs,
}

/// What garbage collection must leave alone.
#[derive(Args, Debug)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    pub(super) network: NetworkArgs,

    /// An attachment that lives; every other one is deleted. May be repeated.
    #[arg(long, value_name = "CONTAINER:IFNAME", value_parser = kept)]
    keep: Vec<GcAttachment>,

    /// No attachment lives: all are deleted.
    #[arg(long, conflicts_with = "keep")]
    none_valid: bool,
}

impl GcArgs {
    /// The attachments that live; `None` if the command line does not say.
    pub(super) fn valid(&self) -> Option<Vec<GcAttachment>> {
        (self.none_valid || !self.keep.is_empty()).then(|| self.keep.clone())
    }
}

fn pair(text: &str) -> Result<(String, &str), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value)),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

fn cni_arg(text: &str) -> Result<(String, String), String> {
    let (key, value) = pair(text)?;
    if text.contains(';') {
        return Err("';' separates pairs in CNI_ARGS, repeat --arg for a second one".to_owned());
    }
    Ok((key, value.to_owned()))
}

fn json_pair(text: &str) -> Result<(String, Value), String> {
    let (key, value) = pair(text)?;
    let value = Value::parse(value.as_bytes()).map_err(|error| {
        format!("the value is not JSON ({error}); a string needs quotes: {key}='\"...\"'")
    })?;
    Ok((key, value))
}

fn kept(text: &str) -> Result<GcAttachment, String> {
    let (container, interface) = text.rsplit_once(':').ok_or("write CONTAINER:IFNAME")?;
    Ok(GcAttachment {
        container: container.parse().map_err(|e| format!("{e}"))?,
        interface: interface.parse().map_err(|e| format!("{e}"))?,
    })
}
