//! Netlink attributes one by one: a reply holds attributes of links and routes that are not
//! ours, and one that a typed decoder does not know must not hide the rest.

use std::net::IpAddr;

use bulkhead_model::Mac;
use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED};

/// The attributes of `bytes` (`struct nlattr`, `linux/netlink.h`), by type without the nested and
/// byte-order flags; ends at the first malformed one.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    const NLA_TYPE_MASK: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let [len_low, len_high, kind_low, kind_high, ..] = *bytes else {
            return None;
        };
        let len = usize::from(u16::from_ne_bytes([len_low, len_high]));
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([kind_low, kind_high]) & NLA_TYPE_MASK;
        Some((kind, value))
    })
}

/// One attribute to be sent.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// One attribute that holds others.
pub(crate) fn nest(kind: u16, attributes: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let inner: Vec<u8> = attributes.into_iter().flatten().collect();
    attribute(kind | NLA_F_NESTED, &inner)
}

/// The first attribute of that type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

pub(crate) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).ok()
}

pub(crate) fn mac(value: &[u8]) -> Option<Mac> {
    Mac::new(value.try_into().ok()?)
}

pub(crate) fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(value).ok()?.into()),
        _ => None,
    }
}
