//! Where an object lives: every object in a world, a want or an operation names its namespace.

use std::fmt;

use bulkhead_model::IfName;

/// A network namespace, by its role.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Ns {
    /// The node's own: ports, bridges, host tables.
    Host,
    /// A node-side namespace that one network has for itself, by its path.
    Network(String),
    /// A container's, by the path the runtime gave.
    Container(String),
}

/// How tools call a namespace.
enum Called<'n> {
    /// They are in it already.
    Here,
    /// By the name `ip netns` has for it.
    Name(&'n str),
    /// By its path, as a word of the shell's.
    Path(String),
}

impl Ns {
    /// What a line begins with that runs `tool` there, one of iproute2's that knows `-n`.
    pub(crate) fn tool(&self, tool: &str) -> String {
        match self.called() {
            Called::Here => tool.to_owned(),
            Called::Name(name) => format!("{tool} -n {name}"),
            Called::Path(path) => format!("nsenter --net={path} -- {tool}"),
        }
    }

    /// What a line begins with that runs any other command there: nothing, or ends with a blank.
    pub(crate) fn enter(&self) -> String {
        match self.called() {
            Called::Here => String::new(),
            Called::Name(name) => format!("ip netns exec {name} "),
            Called::Path(path) => format!("nsenter --net={path} -- "),
        }
    }

    /// What `ip link add` is told of it: nothing, or begins with a blank.
    pub(crate) fn operand(&self) -> String {
        match self.called() {
            Called::Here => String::new(),
            Called::Name(name) => format!(" netns {name}"),
            Called::Path(path) => format!(" netns {path}"),
        }
    }

    /// What `ip netns` calls it: its path where it has no other name.
    pub(crate) fn name(&self) -> String {
        match self.called() {
            Called::Here => String::new(),
            Called::Name(name) => name.to_owned(),
            Called::Path(path) => path,
        }
    }

    fn called(&self) -> Called<'_> {
        let (Self::Network(path) | Self::Container(path)) = self else {
            return Called::Here;
        };
        let mut mounted = ["/run/netns/", "/var/run/netns/"].iter();
        let name = mounted.find_map(|dir| path.strip_prefix(dir));
        let name = name.or((!path.contains('/')).then_some(path));
        match name.filter(|name| is_plain(name) && !name.contains('/')) {
            Some(name) => Called::Name(name),
            None if is_plain(path) => Called::Path(path.clone()),
            None => Called::Path(format!("'{}'", path.replace('\'', r"'\''"))),
        }
    }
}

/// Whether a shell takes it for one word and no option, whatever stands before it.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._:@%+-".contains(c);
    text.chars().all(plain) && !text.is_empty() && !text.starts_with('-')
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

    /// The link it is of; `None` for one of the namespace, or of every link.
    #[must_use]
    pub fn link(&self) -> Option<IfName> {
        let (_, conf) = self.0.split_once("/conf/")?;
        let (link, _) = conf.split_once('/')?;
        let of_all = matches!(link, "all" | "default");
        link.parse().ok().filter(|_| !of_all)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_called_so_that_a_shell_finds_it() {
        let lines = |path: &str| {
            let ns = Ns::Container(path.to_owned());
            [ns.tool("ip"), ns.enter(), ns.operand()]
        };
        for named in ["/run/netns/c1", "/var/run/netns/c1", "c1"] {
            let expected = ["ip -n c1", "ip netns exec c1 ", " netns c1"];
            assert_eq!(lines(named), expected, "{named}");
        }
        let elsewhere = [
            "nsenter --net=/proc/7/ns/net -- ip",
            "nsenter --net=/proc/7/ns/net -- ",
            " netns /proc/7/ns/net",
        ];
        assert_eq!(lines("/proc/7/ns/net"), elsewhere);
        let odd = "/run/netns/it's; reboot";
        let quoted = r"nsenter --net='/run/netns/it'\''s; reboot' -- ip";
        assert_eq!(lines(odd)[0], quoted);
        assert_eq!(Ns::Host.tool("ip"), "ip");
    }
}
