//! What a device leaves to others, over generic netlink (`linux/ethtool_netlink.h`, 5.7): `ethtool -k` and
//! `-K` without the program, or an ioctl.

use bulkhead_model::IfName;
use bulkhead_plan::{Space, SpaceScope, Switch};

use crate::attributes::{attribute, attributes, find, nest, text};
use crate::error::NetlinkError;
use crate::message::message;
use crate::place::{Place, PlaceError};
use crate::socket::{Message, Socket};

/// Length of `struct genlmsghdr` (`linux/genetlink.h`).
const GENLMSGHDR: usize = 4;
/// The family that knows the others' numbers.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const FEATURES_HEADER: u16 = 1;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const HEADER_DEV_INDEX: u16 = 1;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;
/// `NETIF_F_HW_CSUM` (`netdev_features_strings`, `net/ethtool/common.c`): what a VXLAN device has of
/// checksums to be left to others.
const TX_CHECKSUM: &str = "tx-checksum-ip-generic";

/// Reads what the scope asks for. A kernel that does not tell leaves it out.
pub(crate) fn observe(
    place: &mut Place,
    wanted: &SpaceScope,
    space: &mut Space,
) -> Result<(), PlaceError> {
    for link in &wanted.tx_checksum_of {
        let Some(index) = place.indexes.get(link).copied() else {
            continue;
        };
        if let Some(switch) = tx_checksum(place, index)? {
            space.tx_checksums.insert(*link, switch);
        }
    }
    Ok(())
}

fn tx_checksum(place: &mut Place, index: u32) -> Result<Option<Switch>, PlaceError> {
    let socket = place.generic()?;
    let Some(family) = family(socket)? else {
        return Ok(None);
    };
    let request = message(family, 0, &[FEATURES_GET, 1, 0, 0], [header(index)]);
    match socket.get(request) {
        // Gone since it was asked for, or of no such kind.
        Err(NetlinkError::Refused(_)) => Ok(None),
        answer => Ok(answer?.map(|answer| Switch::from(is_active(&answer)))),
    }
}

/// Says whether the device leaves checksums to others.
pub(crate) fn set_tx_checksum(
    place: &mut Place,
    link: IfName,
    index: u32,
    switch: Switch,
) -> Result<(), PlaceError> {
    let socket = place.generic()?;
    let Some(family) = family(socket)? else {
        return Err(NetlinkError::NoEthtool(link).into());
    };
    let mut bit = vec![attribute(BIT_NAME, &terminated(TX_CHECKSUM))];
    if switch == Switch::On {
        bit.push(attribute(BIT_VALUE, &[]));
    }
    let bits = nest(BITSET_BITS, [nest(BITS_BIT, bit)]);
    let wanted = nest(FEATURES_WANTED, [bits]);
    let request = message(family, 0, &[FEATURES_SET, 1, 0, 0], [header(index), wanted]);
    for verdict in socket.batch(&[request])? {
        verdict.map_err(NetlinkError::from)?;
    }
    Ok(())
}

/// The number that this boot of the kernel has given the family; `None` if it has no such.
fn family(socket: &mut Socket) -> Result<Option<u16>, NetlinkError> {
    let name = attribute(CTRL_ATTR_FAMILY_NAME, &terminated("ethtool"));
    let request = message(GENL_ID_CTRL, 0, &[CTRL_CMD_GETFAMILY, 1, 0, 0], [name]);
    let answer = socket.get(request)?;
    Ok(answer.and_then(|answer| {
        let id = find(answer.body.get(GENLMSGHDR..)?, CTRL_ATTR_FAMILY_ID)?;
        Some(u16::from_ne_bytes(id.try_into().ok()?))
    }))
}

fn header(index: u32) -> Vec<u8> {
    let index = attribute(HEADER_DEV_INDEX, &index.to_ne_bytes());
    nest(FEATURES_HEADER, [index])
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// Whether the bit is among those that are set, which alone are listed.
fn is_active(answer: &Message) -> bool {
    let rest = answer.body.get(GENLMSGHDR..).unwrap_or_default();
    let bits = find(rest, FEATURES_ACTIVE).and_then(|active| find(active, BITSET_BITS));
    let mut bits = attributes(bits.unwrap_or_default());
    bits.any(|(_, bit)| find(bit, BIT_NAME).and_then(text) == Some(TX_CHECKSUM))
}
