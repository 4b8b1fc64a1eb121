//! Sets with integers in their keys. nft has no word for the type of so many bits: it calls such a set
//! one of the type of certain fields (`typeof`), and remembers these in the set's user data.

use crate::datum::KeyType;
use crate::field::{Field, PayloadBase};

/// `enum expr_types` (nftables `include/expression.h`).
const EXPR_PAYLOAD: u32 = 7;
const EXPR_META: u32 = 9;
const EXPR_CONCAT: u32 = 13;
/// `PROTO_BASE_NETWORK_HDR` (nftables `include/proto.h`).
const NETWORK_HEADER: u32 = 2;
/// `NFTNL_UDATA_SET_KEY_TYPEOF` (libnftnl `include/libnftnl/udata.h`).
const KEY_TYPEOF: u8 = 3;

/// A field of the type of each part, if the key has an integer and nft can say all of them.
pub(crate) fn example(key: &[KeyType]) -> Option<Vec<Field>> {
    let is_integer = |kind: &KeyType| matches!(kind, KeyType::Integer(_));
    key.iter().find(|kind| is_integer(kind))?;
    key.iter().map(|kind| field(*kind)).collect()
}

const fn field(kind: KeyType) -> Option<Field> {
    Some(match kind {
        KeyType::IfName => Field::Iifname,
        KeyType::EtherAddr => Field::EtherSaddr,
        KeyType::InetService => Field::UdpDport,
        KeyType::Ipv4Addr => Field::Ip4Saddr,
        KeyType::Ipv6Addr => Field::Ip6Saddr,
        // Where it is taken from is no part of the type.
        KeyType::Integer(len) => Field::Raw {
            base: PayloadBase::Network,
            offset: 0,
            len,
        },
        _ => return None,
    })
}

/// The user data that says so.
pub(crate) fn user_data(key: &[KeyType]) -> Option<Vec<u8>> {
    let parts: Vec<Vec<u8>> = example(key)?.into_iter().filter_map(part).collect();
    let whole = match parts.as_slice() {
        [only] => only.clone(),
        parts => {
            let parts = (0..).zip(parts).flat_map(|(nth, part)| value(nth, part));
            expression(EXPR_CONCAT, &parts.collect::<Vec<u8>>())
        }
    };
    Some(value(KEY_TYPEOF, &whole))
}

/// As `meta_expr_build_udata` and `payload_expr_build_udata` (nftables `src/meta.c`, `src/payload.c`)
/// write those of [`field`].
fn part(field: Field) -> Option<Vec<u8>> {
    // A protocol of `enum proto_desc_id` and the place in its list of fields (nftables `proto.h`).
    let header = |protocol, nth| [number(0, protocol), number(1, nth)].concat();
    Some(match field {
        Field::Iifname => expression(EXPR_META, &number(0, 6)),
        Field::EtherSaddr => expression(EXPR_PAYLOAD, &header(17, 2)),
        Field::UdpDport => expression(EXPR_PAYLOAD, &header(4, 2)),
        Field::Ip4Saddr => expression(EXPR_PAYLOAD, &header(12, 11)),
        Field::Ip6Saddr => expression(EXPR_PAYLOAD, &header(13, 8)),
        Field::Raw { len, .. } => {
            let bits = u32::from(len) * 8;
            let place = [number(2, NETWORK_HEADER), number(3, 0), number(4, bits)];
            let unknown = header(0, 0);
            expression(EXPR_PAYLOAD, &[unknown, place.concat()].concat())
        }
        _ => return None,
    })
}

fn expression(kind: u32, data: &[u8]) -> Vec<u8> {
    [number(0, kind), value(1, data)].concat()
}

fn number(kind: u8, number: u32) -> Vec<u8> {
    value(kind, &number.to_ne_bytes())
}

/// libnftnl's user data: type, length, value.
fn value(kind: u8, value: &[u8]) -> Vec<u8> {
    let len =
        u8::try_from(value.len()).expect("five parts of 40 bytes are the most that nft packs");
    [&[kind, len], value].concat()
}
