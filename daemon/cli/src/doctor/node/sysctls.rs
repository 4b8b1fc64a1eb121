//! The settings that matter, read once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bulkhead_model::{Family, IfName};

/// Settings by their path below `/proc/sys`; what does not exist is not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sysctls(BTreeMap<String, String>);

/// A device of `net.ipv4.conf` and `net.ipv6.conf`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Conf {
    All,
    /// What a device gets when it is made.
    Default,
    Device(IfName),
}

impl Conf {
    fn as_str(&self) -> &str {
        match self {
            Self::All => "all",
            Self::Default => "default",
            Self::Device(name) => name.as_str(),
        }
    }
}

const NODE: [&str; 10] = [
    "net/ipv4/ip_forward",
    "net/bridge/bridge-nf-call-iptables",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_count",
    "net/ipv4/neigh/default/gc_thresh1",
    "net/ipv4/neigh/default/gc_thresh2",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/ipv6/neigh/default/gc_thresh1",
    "net/ipv6/neigh/default/gc_thresh2",
    "net/ipv6/neigh/default/gc_thresh3",
];
const DEVICE_V4: [&str; 3] = ["forwarding", "rp_filter", "route_localnet"];
const DEVICE_V6: [&str; 3] = ["forwarding", "accept_ra", "disable_ipv6"];

impl Sysctls {
    pub(super) fn read(devices: &BTreeSet<IfName>) -> Self {
        let mut sysctls = Self::default();
        for path in NODE {
            sysctls.take_in(path.to_owned());
        }
        let devices = devices.iter().map(|name| Conf::Device(*name));
        for conf in [Conf::All, Conf::Default].into_iter().chain(devices) {
            for (family, names) in [(Family::V4, DEVICE_V4), (Family::V6, DEVICE_V6)] {
                for name in names {
                    sysctls.take_in(path_of(family, conf, name));
                }
            }
        }
        sysctls
    }

    fn take_in(&mut self, path: String) {
        if let Ok(value) = fs::read_to_string(format!("/proc/sys/{path}")) {
            self.set(path, value.trim());
        }
    }

    pub(crate) fn set(&mut self, path: impl Into<String>, value: &str) {
        self.0.insert(path.into(), value.to_owned());
    }

    /// A setting that is a number.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.0.get(path)?.parse().ok()
    }

    /// A setting of a device that is a number.
    pub(crate) fn of(&self, family: Family, conf: Conf, name: &str) -> Option<u64> {
        self.number(&path_of(family, conf, name))
    }
}

/// `net/ipv4/conf/eth0/forwarding`.
pub(crate) fn path_of(family: Family, conf: Conf, name: &str) -> String {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    format!("net/{family}/conf/{}/{name}", conf.as_str())
}

/// The command that sets it. With slashes, because a device's name may have dots.
pub(crate) fn command(path: &str, value: &str) -> String {
    format!("sysctl -w {path}={value}")
}
