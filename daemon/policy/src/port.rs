//! What a rule says about the traffic's kind: protocol, ports, ICMP types.

use std::fmt;

use bulkhead_model::{Family, Protocol};

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port, the reserved 0 among them.
    pub const ALL: Self = Self {
        first: 0,
        last: u16::MAX,
    };

    /// `None` if `last` is below `first`.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` is among them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// One kind of traffic. Ports are destination ports.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Port {
    /// Whatever it is, also of protocols without ports.
    Any,
    /// These ports of a protocol; [`PortRange::ALL`] for the whole protocol.
    Range {
        /// The protocol.
        protocol: Protocol,
        /// Its ports.
        ports: PortRange,
    },
    /// The port that the destination calls so; nothing where the destination has none of that name and
    /// protocol, or is no endpoint. Where two containers of an endpoint call theirs the same, both.
    Named {
        /// The protocol; `None` for whichever the name goes with.
        protocol: Option<Protocol>,
        /// The name.
        name: String,
    },
    /// ICMP (`Family::V4`, IANA 1) or `ICMPv6` (`Family::V6`, IANA 58).
    Icmp {
        /// Which of the two.
        family: Family,
        /// The type; `None` for every one.
        kind: Option<u8>,
        /// The code; `None` for every one. Only with a type.
        code: Option<u8>,
    },
    /// All of a protocol by IANA's number. Readers never make one for TCP, UDP, SCTP or the ICMPs, which
    /// have a form of their own.
    Protocol(u8),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any port"),
            Self::Range { protocol, ports } if *ports == PortRange::ALL => write!(f, "{protocol}"),
            Self::Range { protocol, ports } => write!(f, "{ports}/{protocol}"),
            Self::Named {
                protocol: Some(protocol),
                name,
            } => write!(f, "{name}/{protocol}"),
            Self::Named {
                protocol: None,
                name,
            } => f.write_str(name),
            Self::Icmp { family, kind, code } => {
                f.write_str(match family {
                    Family::V4 => "icmp",
                    Family::V6 => "icmpv6",
                })?;
                if let Some(kind) = kind {
                    write!(f, " type {kind}")?;
                }
                if let Some(code) = code {
                    write!(f, " code {code}")?;
                }
                Ok(())
            }
            Self::Protocol(number) => write!(f, "protocol {number}"),
        }
    }
}
