//! What the node daemon advertises on a container's port (RFC 4861, RFC 8273): read from the
//! configuration, recorded with the attachment as one line of words, and read back by the daemon.

pub(crate) mod keys;
mod recorded;

use std::fmt;
use std::net::Ipv6Addr;

use bulkhead_ipam::Names;
use bulkhead_model::Mtu;

/// Among the other names of a record: what is advertised on its port, if anything is.
pub(crate) const ADVERTISEMENTS: &str = "routerAdvertisements";

/// What is advertised on one port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advertisements {
    /// For how long the node is a default router: seconds, 0 for not at all, else 30 to 9000
    /// (RFC 4861 section 6.2.1).
    pub lifetime_secs: u16,
    /// How it is preferred to other routers.
    pub preference: Preference,
    /// The O flag: there is configuration to be had by `DHCPv6` (RFC 4861 section 4.2).
    pub other: bool,
    /// How the container's own prefix is announced; `None` where it has single addresses.
    pub prefix: Option<OwnPrefix>,
    /// The link's MTU.
    pub mtu: Mtu,
    /// Resolvers, the first asked first.
    pub dns: Vec<Ipv6Addr>,
    /// Search domains.
    pub search: Vec<Domain>,
    /// After how many seconds what `DHCPv6` answered is to be asked for again, 600 or more (RFC 8415
    /// section 21.23); `None` where it does not answer.
    pub refresh_secs: Option<u32>,
}

/// Default router preference (RFC 4191 section 2.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Preference {
    /// After others.
    Low,
    /// As others.
    #[default]
    Medium,
    /// Before others.
    High,
}

/// How a container's prefix is announced to it. It is never on the link (RFC 8273 section 4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OwnPrefix {
    /// Whether the container makes addresses of it.
    pub addresses: OwnAddresses,
    /// For how many seconds new connections may use these; `u32::MAX` has no end.
    pub preferred_secs: u32,
    /// For how many seconds they are valid; `u32::MAX` has no end.
    pub valid_secs: u32,
}

/// Who makes addresses of a container's prefix: the A flag (RFC 4861 section 4.6.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OwnAddresses {
    /// The container, by itself (RFC 4862).
    Autonomous,
    /// Whoever configures the container.
    Configured,
}

/// A domain name of letters, digits, `-` and `_`, at most 253 bytes in labels of 1 to 63 (RFC 1035
/// section 2.3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Domain(String);

impl Domain {
    /// `None` if it is not one; a dot at its end is taken off.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_known);
        (text.len() <= 253 && text.split('.').all(is_label)).then(|| Self(text.to_owned()))
    }

    /// Its labels, the outermost last.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// How many bytes it is in a message: each label with its length, and an empty one.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.0.len() + 2
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Advertisements {
    /// What is recorded for an attachment; `None` if nothing is advertised on its port.
    #[must_use]
    pub fn recorded(names: &Names) -> Option<Self> {
        Self::read(names.other.get(ADVERTISEMENTS)?)
    }

    /// For how long resolvers and search domains are valid, in seconds: as the router is (RFC 8106
    /// section 5.1).
    #[must_use]
    pub fn dns_lifetime_secs(&self) -> u16 {
        match self.lifetime_secs {
            0 => keys::LIFETIME_SECS,
            lifetime => lifetime,
        }
    }

    /// How often it is advertised unasked, in seconds: before two of three have been lost, nothing is out
    /// of date (RFC 4861 section 6.2.1, `MaxRtrAdvInterval`).
    #[must_use]
    pub fn interval_secs(&self) -> u16 {
        self.dns_lifetime_secs() / 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_of_labels() {
        let long = "a".repeat(63);
        for name in ["example.org", "example.org.", "x", "_tcp.a-b.c1", &long] {
            let domain = Domain::new(name).unwrap();
            assert_eq!(domain.to_string(), name.trim_end_matches('.'));
        }
        let longest = [long.as_str(); 4].join(".");
        for name in [
            "",
            ".",
            "a..b",
            "a b",
            "ä.org",
            &format!("{long}a"),
            &longest,
        ] {
            assert_eq!(Domain::new(name), None, "{name}");
        }
    }
}
