//! How an operator names attachments.

use std::net::IpAddr;
use std::str::FromStr;

use bulkhead_ipam::AttachmentRecord;
use bulkhead_model::InterfaceAddress;

use super::Found;

/// How an operator names attachments: `CONTAINER`, `NETWORK/CONTAINER`, `NETWORK/CONTAINER/IFNAME`, where
/// the container may be the beginning of its id; a port's or ifb device's name; or an address, with
/// its prefix length or without.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    Address(IpAddr),
    Name(Vec<String>),
}

/// A text that names no attachment.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} names no attachment: give CONTAINER, NETWORK/CONTAINER or NETWORK/CONTAINER/IFNAME, a port or an address"
)]
pub(crate) struct NotASubject(String);

impl FromStr for Subject {
    type Err = NotASubject;

    fn from_str(text: &str) -> Result<Self, NotASubject> {
        let with_length = || text.parse().map(|both: InterfaceAddress| both.address());
        if let Ok(address) = text.parse().or_else(|_| with_length()) {
            return Ok(Self::Address(address));
        }
        let parts: Vec<_> = text.split('/').map(str::to_owned).collect();
        if parts.len() > 3 || parts.iter().any(String::is_empty) {
            return Err(NotASubject(text.to_owned()));
        }
        Ok(Self::Name(parts))
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(parts) => f.write_str(&parts.join("/")),
        }
    }
}

impl Subject {
    /// Whether it names an attachment whose container's id is, or begins with, what is written: `is`.
    fn names(&self, record: &AttachmentRecord, is: fn(&str, &str) -> bool) -> bool {
        let key = &record.key;
        let is_container = |text: &str| is(key.container.as_str(), text);
        match self {
            Self::Address(address) => {
                let mut leased = record.addresses.iter();
                leased.any(|leased| leased.address.address() == *address)
            }
            Self::Name(parts) => match parts.as_slice() {
                [one] => {
                    let port = record.names.port.unwrap_or_else(|| record.id().port());
                    let ifb = record.names.ifb;
                    let is_link =
                        port.as_str() == one || ifb.is_some_and(|ifb| ifb.as_str() == one);
                    is_container(one) || is_link
                }
                [network, container] => key.network.as_str() == network && is_container(container),
                [network, container, interface] => {
                    key.network.as_str() == network
                        && is_container(container)
                        && key.interface.as_str() == interface
                }
                _ => false,
            },
        }
    }

    /// Those of `all` that it names: a whole id before the beginning of one.
    pub(super) fn choose(&self, all: &mut Vec<Found>) {
        let whole = |id: &str, text: &str| id == text;
        let begins = |id: &str, text: &str| id.starts_with(text);
        let is_whole = all.iter().any(|found| self.names(&found.record, whole));
        all.retain(|found| self.names(&found.record, if is_whole { whole } else { begins }));
    }
}
