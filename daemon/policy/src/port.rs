//! What a rule says about the traffic's kind: protocol, ports, ICMP types.

use std::fmt;
use std::str::FromStr;

use bulkhead_model::{Family, ParseError, Protocol, is_port_name};

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

/// As `FromStr` takes it.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Range { protocol, ports } if *ports == PortRange::ALL => write!(f, "{protocol}"),
            Self::Range { protocol, ports } => write!(f, "{ports}/{protocol}"),
            Self::Named { protocol, name } => match protocol {
                Some(protocol) => write!(f, "{name}/{protocol}"),
                None => f.write_str(name),
            },
            Self::Icmp { family, kind, code } => {
                f.write_str(match family {
                    Family::V4 => "icmp",
                    Family::V6 => "icmpv6",
                })?;
                for part in [kind, code].into_iter().flatten() {
                    write!(f, "/{part}")?;
                }
                Ok(())
            }
            Self::Protocol(number) => write!(f, "protocol/{number}"),
        }
    }
}

impl FromStr for Port {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError {
            expected: "a port (such as 80/tcp, 8000-8080/udp, sctp, http/tcp, icmp/8 or protocol/47)",
            found: text.to_owned(),
        };
        let (first, rest) = match text.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (text, None),
        };
        let protocol = |text: &str| text.parse::<Protocol>().ok();
        let port = match (first, rest) {
            ("any", None) => Some(Self::Any),
            ("icmp", rest) => icmp(Family::V4, rest),
            ("icmpv6", rest) => icmp(Family::V6, rest),
            ("protocol", number) => digits(number.unwrap_or_default()).map(Self::of_protocol),
            (name, None) => match protocol(name) {
                Some(protocol) => Some(Self::Range {
                    protocol,
                    ports: PortRange::ALL,
                }),
                None => is_port_name(name).then(|| Self::Named {
                    protocol: None,
                    name: name.to_owned(),
                }),
            },
            (name, Some(of)) if is_port_name(name) => protocol(of).map(|protocol| Self::Named {
                protocol: Some(protocol),
                name: name.to_owned(),
            }),
            (ports, Some(of)) => match (range(ports), protocol(of)) {
                (Some(ports), Some(protocol)) => Some(Self::Range { protocol, ports }),
                _ => None,
            },
        };
        port.ok_or_else(wrong)
    }
}

impl Port {
    /// All of a protocol; those that have a form of their own get it.
    #[must_use]
    pub fn of_protocol(number: u8) -> Self {
        let whole = |protocol: &Protocol| protocol.number() == number;
        match Protocol::ALL.into_iter().find(whole) {
            Some(protocol) => Self::Range {
                protocol,
                ports: PortRange::ALL,
            },
            None if number == ICMP => all_icmp(Family::V4),
            None if number == ICMPV6 => all_icmp(Family::V6),
            None => Self::Protocol(number),
        }
    }
}

/// IANA's numbers (`IPPROTO_ICMP`, `linux/in.h`; `IPPROTO_ICMPV6`, `linux/in6.h`).
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

const fn all_icmp(family: Family) -> Port {
    Port::Icmp {
        family,
        kind: None,
        code: None,
    }
}

fn icmp(family: Family, rest: Option<&str>) -> Option<Port> {
    let Some(rest) = rest else {
        return Some(all_icmp(family));
    };
    let (kind, code) = match rest.split_once('/') {
        Some((kind, code)) => (digits(kind)?, Some(digits(code)?)),
        None => (digits(rest)?, None),
    };
    let kind = Some(kind);
    Some(Port::Icmp { family, kind, code })
}

fn range(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u16 = digits(first)?;
    PortRange::new(first, digits(last)?).filter(|_| first > 0)
}

/// A number without a sign.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_as_it_is_printed() {
        for text in [
            "any",
            "80/tcp",
            "8000-8080/udp",
            "sctp",
            "http/tcp",
            "http",
            "icmp",
            "icmp/8",
            "icmp/8/0",
            "icmpv6/128",
            "protocol/47",
            "1-65535/tcp",
        ] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        assert_eq!("protocol/6".parse::<Port>().unwrap().to_string(), "tcp");
        assert_eq!("protocol/58".parse::<Port>().unwrap().to_string(), "icmpv6");
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "",
            "80",
            "0/tcp",
            "65536/tcp",
            "90-80/tcp",
            "+80/tcp",
            "80/igmp",
            "80/",
            "/tcp",
            "icmp/256",
            "icmp/8/0/0",
            "protocol",
            "protocol/256",
            "HTTP/tcp",
            "a-very-long-name-indeed/tcp",
            "any/tcp/x",
            "80-/tcp",
        ] {
            assert!(text.parse::<Port>().is_err(), "{text:?}");
        }
    }
}
