//! Requests of netlink families that no crate of ours encodes: a header, a fixed part, attributes.

/// A request of that kind with its own flags (`struct nlmsghdr`, `linux/netlink.h`); what every request has
/// is added when it is sent.
pub(crate) fn message(
    kind: u16,
    flags: u16,
    fixed: &[u8],
    attributes: impl IntoIterator<Item = Vec<u8>>,
) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(fixed);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    for attribute in attributes {
        bytes.extend(attribute);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let len = u32::try_from(bytes.len()).expect("a request is far shorter than 4 GiB");
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes
}
