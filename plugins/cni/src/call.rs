//! One call of a runtime, typed: after [`Call::read`] nothing the specification says about the
//! input can be wrong any more.

use std::path::{Path, PathBuf};

use bulkhead_model::{AttachmentKey, ContainerId, IfName};

use crate::{Args, ArgsError, CniError, Code, Environment, NetConf, Verb};

/// Whether a plugin refuses to work on the namespace it runs in itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NetnsCheck {
    /// The default.
    Refuse,
    /// `CNI_NETNS_OVERRIDE` is set.
    Allow,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is asked; never VERSION, which is answered before a plugin is.
    pub verb: Verb,
    /// `CNI_CONTAINERID`; `Some` for ADD, DEL and CHECK.
    pub container: Option<ContainerId>,
    /// `CNI_NETNS`; `Some` for ADD and CHECK, `None` for DEL if it is empty.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`; `Some` for ADD, DEL and CHECK.
    pub interface: Option<IfName>,
    /// `CNI_PATH`, where delegates are looked for.
    pub plugin_dirs: Vec<PathBuf>,
    /// Whether [`Call::check_netns`] refuses.
    pub netns_check: NetnsCheck,
    /// The network configuration.
    pub config: NetConf,
    /// stdin as it came, which is what delegates get.
    pub stdin: Vec<u8>,
    /// The environment as it came, which is what delegates get.
    pub environment: Environment,
}

impl Call {
    /// Reads a request for `verb`.
    ///
    /// # Errors
    /// Code 4 for a variable that is missing or malformed, and those of [`NetConf::parse`].
    pub fn read(verb: Verb, environment: Environment, stdin: Vec<u8>) -> Result<Self, CniError> {
        environment.require(verb)?;
        let named = verb.names_attachment();
        Ok(Self {
            verb,
            container: if named {
                parsed(&environment, "CNI_CONTAINERID")?
            } else {
                None
            },
            netns: environment
                .var("CNI_NETNS")
                .filter(|_| named)
                .map(PathBuf::from),
            interface: if named {
                parsed(&environment, "CNI_IFNAME")?
            } else {
                None
            },
            plugin_dirs: environment.plugin_dirs(),
            netns_check: if environment.overrides_netns_check() {
                NetnsCheck::Allow
            } else {
                NetnsCheck::Refuse
            },
            config: NetConf::parse(verb, &stdin)?,
            stdin,
            environment,
        })
    }

    /// The attachment the call is about.
    ///
    /// # Errors
    /// Code 4 for GC and STATUS, which name none.
    pub fn attachment(&self) -> Result<AttachmentKey, CniError> {
        match (&self.container, self.interface) {
            (Some(container), Some(interface)) => Ok(AttachmentKey {
                network: self.config.name.clone(),
                container: container.clone(),
                interface,
            }),
            _ => Err(CniError::missing_environment(&[
                "CNI_CONTAINERID",
                "CNI_IFNAME",
            ])),
        }
    }

    /// `CNI_ARGS`, parsed now.
    ///
    /// # Errors
    /// A pair without exactly one `=`.
    pub fn args(&self) -> Result<Args, ArgsError> {
        Args::parse(&self.args_text())
    }

    /// The value of one of `CNI_ARGS`, passing by whatever does not parse; `None` if it is empty.
    #[must_use]
    pub fn arg(&self, key: &str) -> Option<String> {
        let args = Args::lenient(&self.args_text());
        args.get(key)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }

    fn args_text(&self) -> std::borrow::Cow<'_, str> {
        self.environment
            .var("CNI_ARGS")
            .unwrap_or_default()
            .to_string_lossy()
    }

    /// Refuses a `CNI_NETNS` that is the namespace this thread runs in, before anything is touched:
    /// a plugin would otherwise reconfigure the host. A path that cannot be opened passes, as DEL
    /// must; ADD meets it when it enters.
    ///
    /// # Errors
    /// Code 8; code 5 if the thread's own namespace cannot be read.
    pub fn check_netns(&self) -> Result<(), CniError> {
        let Some(netns) = self
            .netns
            .as_deref()
            .filter(|_| self.netns_check == NetnsCheck::Refuse)
        else {
            return Ok(());
        };
        let Ok(theirs) = identity(netns) else {
            return Ok(());
        };
        let own = Path::new("/proc/thread-self/ns/net");
        let ours = identity(own)
            .map_err(|error| CniError::io(own.display(), &std::io::Error::from(error)))?;
        if ours == theirs {
            return Err(self.own_netns());
        }
        Ok(())
    }

    /// The refusal of a `CNI_NETNS` that is the node's own: code 8.
    #[must_use]
    pub fn own_netns(&self) -> CniError {
        let netns = self.netns.as_deref().unwrap_or(Path::new(""));
        CniError::new(
            Code::INVALID_NETNS,
            "plugin's netns and netns from CNI_NETNS should not be the same",
        )
        .with_details(format!(
            "CNI_NETNS is {}, set CNI_NETNS_OVERRIDE=1 if that is meant",
            netns.display()
        ))
    }
}

/// Device and inode name a namespace for as long as it is open or mounted.
fn identity(path: &Path) -> rustix::io::Result<(u64, u64)> {
    let stat = rustix::fs::stat(path)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn parsed<T: std::str::FromStr<Err = bulkhead_model::ParseError>>(
    environment: &Environment,
    name: &str,
) -> Result<Option<T>, CniError> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|e| CniError::invalid_environment(name, e))
    };
    environment.text(name)?.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &[u8] = br#"{"cniVersion":"1.0.0","name":"n","type":"t"}"#;

    fn environment() -> Environment {
        Environment::new([
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/proc/thread-self/ns/net"),
            ("CNI_IFNAME", "eth0"),
        ])
    }

    fn read(verb: Verb, environment: Environment) -> Result<Call, CniError> {
        Call::read(verb, environment, CONFIG.to_vec())
    }

    #[test]
    fn the_plugins_own_namespace_is_refused_unless_overridden() {
        let call = read(Verb::Add, environment()).unwrap();
        assert_eq!(call.check_netns().unwrap_err().code, Code::INVALID_NETNS);
        let call = read(Verb::Add, environment().with("CNI_NETNS_OVERRIDE", "1")).unwrap();
        assert_eq!(call.check_netns(), Ok(()));
        let call = read(
            Verb::Del,
            environment().with("CNI_NETNS", "/nonexistent/ns"),
        )
        .unwrap();
        assert_eq!(call.check_netns(), Ok(()));
    }

    #[test]
    fn names_are_checked_and_the_variable_named() {
        let error = read(Verb::Add, environment().with("CNI_CONTAINERID", "../x")).unwrap_err();
        assert_eq!(error.code, Code::INVALID_ENVIRONMENT);
        assert!(
            error
                .msg
                .starts_with("CNI_CONTAINERID: \"../x\" is not a container id")
        );
        let error = read(Verb::Del, environment().with("CNI_IFNAME", "a/b")).unwrap_err();
        assert!(
            error
                .msg
                .starts_with("CNI_IFNAME: \"a/b\" is not an interface name")
        );
    }

    #[test]
    fn del_does_without_a_namespace() {
        let call = read(Verb::Del, environment().with("CNI_NETNS", "")).unwrap();
        assert_eq!(call.netns, None);
        assert_eq!(call.attachment().unwrap().to_string(), "n c1 eth0");
    }

    #[test]
    fn args_that_do_not_parse_harm_only_who_uses_them() {
        let call = read(Verb::Add, environment().with("CNI_ARGS", "none")).unwrap();
        assert!(call.args().is_err());
        assert_eq!(call.arg("MAC"), None);
        let call = read(Verb::Add, environment().with("CNI_ARGS", "IP=10.0.0.9;x")).unwrap();
        assert_eq!(call.arg("IP").as_deref(), Some("10.0.0.9"));
    }
}
