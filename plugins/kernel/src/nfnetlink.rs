//! The frame of nfnetlink requests (`linux/netfilter/nfnetlink.h`), for those that `bulkhead-nft` does
//! not make.

use crate::socket::HEADER;

/// Length of `struct nfgenmsg`, before an answer's attributes.
pub(crate) const NFGENMSG: usize = 4;

/// A request of a subsystem (the high byte of `kind`) about a protocol family, 0 being any.
pub(crate) fn request(
    kind: u16,
    family: u8,
    attributes: impl IntoIterator<Item = Vec<u8>>,
) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    // `struct nfgenmsg`: family, version 0, resource id 0.
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes.into_iter().flatten());
    let len = u32::try_from(bytes.len()).expect("a request is far shorter than 4 GiB");
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes
}
