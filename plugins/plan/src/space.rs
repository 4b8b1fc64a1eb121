//! Where an object lives: every object in a world, a want or an operation names its namespace.

use std::fmt;

/// A network namespace, by its role.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Ns {
    /// The node's own: ports, bridges, host tables.
    Host,
    /// A node-side namespace that one network has for itself.
    Network(String),
    /// A container's, by the path the runtime gave.
    Container(String),
}

impl fmt::Display for Ns {
    /// The prefix an `ip` line needs to act there: nothing, or `-n NAME `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => Ok(()),
            Self::Network(name) => write!(f, "-n {name} "),
            Self::Container(path) => write!(f, "-n {} ", last_component(path)),
        }
    }
}

impl Ns {
    /// The prefix a command other than `ip` needs to act there: nothing, or `ip netns exec NAME `.
    #[must_use]
    pub fn exec_prefix(&self) -> String {
        match self {
            Self::Host => String::new(),
            Self::Network(name) => format!("ip netns exec {name} "),
            Self::Container(path) => format!("ip netns exec {} ", last_component(path)),
        }
    }
}

fn last_component(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A path under `/proc/sys`, with slashes, so that interface names with dots are not ambiguous.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sysctl(String);

impl Sysctl {
    /// `net/ipv4/ip_forward`: forwarding of IPv4 on the whole namespace (`ip-sysctl.rst`).
    #[must_use]
    pub fn ipv4_forwarding() -> Self {
        Self("net/ipv4/ip_forward".to_owned())
    }

    /// `net/ipv6/conf/all/forwarding`: forwarding of IPv6 on the whole namespace.
    #[must_use]
    pub fn ipv6_forwarding() -> Self {
        Self("net/ipv6/conf/all/forwarding".to_owned())
    }

    /// `net/ipv4/conf/<link>/<leaf>`.
    #[must_use]
    pub fn ipv4_conf(link: &str, leaf: &str) -> Self {
        Self(format!("net/ipv4/conf/{link}/{leaf}"))
    }

    /// `net/ipv6/conf/<link>/<leaf>`.
    #[must_use]
    pub fn ipv6_conf(link: &str, leaf: &str) -> Self {
        Self(format!("net/ipv6/conf/{link}/{leaf}"))
    }

    /// A path read back from a record of ours. `None` unless it stays under `net/`.
    #[must_use]
    pub fn recorded(path: &str) -> Option<Self> {
        let inside = path.starts_with("net/") && !path.split('/').any(|part| part == "..");
        inside.then(|| Self(path.to_owned()))
    }

    /// The path below `/proc/sys`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
