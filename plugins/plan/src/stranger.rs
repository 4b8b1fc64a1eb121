//! Routes that somebody else made, as far as they stand where ours should.

use std::fmt;
use std::net::IpAddr;

use bulkhead_model::{IfName, Prefix};

/// A route of the main table without our protocol number.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Stranger {
    /// Destination.
    pub destination: Prefix,
    /// `RTA_PRIORITY`.
    pub priority: u32,
    /// `rtm_type` (`linux/rtnetlink.h`).
    pub kind: u8,
    /// `rtm_protocol`: who made it.
    pub protocol: u8,
    /// Next hop; none if it is on the link, goes over several links or nowhere.
    pub gateway: Option<IpAddr>,
    /// Outgoing link; none if it goes over several or nowhere.
    pub link: Option<IfName>,
}

impl Stranger {
    /// `RTPROT_KERNEL`: it goes with an address.
    pub const KERNEL: u8 = 2;

    /// The line that removes it; one that goes with an address would come back.
    #[must_use]
    pub fn removal(&self) -> String {
        let family = if self.destination.address().is_ipv6() {
            "-6 "
        } else {
            ""
        };
        match (self.protocol, self.link) {
            (Self::KERNEL, Some(link)) => {
                format!("ip {family}address show dev {link} to {}", self.destination)
            }
            _ => format!("ip {family}route del {self}"),
        }
    }

    fn kind(&self) -> Option<&'static str> {
        // RTN_BLACKHOLE to RTN_THROW.
        match self.kind {
            6 => Some("blackhole"),
            7 => Some("unreachable"),
            8 => Some("prohibit"),
            9 => Some("throw"),
            _ => None,
        }
    }
}

/// As `ip route` takes it.
impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kind) = self.kind() {
            write!(f, "{kind} ")?;
        }
        self.destination.fmt(f)?;
        if let Some(gateway) = self.gateway {
            let other = gateway.is_ipv6() != self.destination.address().is_ipv6();
            let family = if other { "inet6 " } else { "" };
            write!(f, " via {family}{gateway}")?;
        }
        if let Some(link) = self.link {
            write!(f, " dev {link}")?;
        }
        // RTPROT_KERNEL, RTPROT_BOOT and RTPROT_STATIC have names everywhere.
        match self.protocol {
            2 => f.write_str(" proto kernel")?,
            3 => f.write_str(" proto boot")?,
            4 => f.write_str(" proto static")?,
            other => write!(f, " proto {other}")?,
        }
        write!(f, " metric {}", self.priority)
    }
}
