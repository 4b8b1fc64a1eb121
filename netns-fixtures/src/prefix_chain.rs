//! Asks the kernel for a netdev base chain bound to a device-name prefix (`NFTA_DEVICE_PREFIX`,
//! kernel 6.17 and later), in bytes of its own: `nft` has no word for it before 1.1.6.

use std::io;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END` (nfnetlink.h).
const BATCH: [u16; 2] = [0x10, 0x11];
/// `NFNL_SUBSYS_NFTABLES << 8`, plus `NFT_MSG_NEWTABLE` and `NFT_MSG_NEWCHAIN` (`nf_tables.h`).
const NEW_TABLE: u16 = 10 << 8;
const NEW_CHAIN: u16 = 10 << 8 | 3;
/// `NLM_F_REQUEST`; and with `NLM_F_ACK` and `NLM_F_CREATE` (netlink.h).
const REQUEST: u16 = 0x001;
const CREATE: u16 = 0x405;
/// `NFPROTO_NETDEV` (netfilter.h).
const NETDEV: u8 = 5;
/// `NLA_F_NESTED` (netlink.h).
const NESTED: u16 = 0x8000;
/// `NLMSG_ERROR` (netlink.h), which is also the acknowledgement.
const ACK: u16 = 2;
const CHAIN_SEQ: u32 = 2;

/// Creates such a chain in the calling thread's namespace, which should be a scratch one. `false`
/// when the kernel does not know the attribute.
///
/// # Errors
/// The socket's, or the kernel's where it refuses for another reason than the attribute.
pub(crate) fn try_create() -> io::Result<bool> {
    let kernel = SocketAddrNetlink::new(0, 0);
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(NETFILTER),
    )?;
    sendto(&socket, &batch(), SendFlags::empty(), &kernel)?;
    let mut buffer = vec![0; 1 << 14];
    loop {
        let (length, _) = recv(&socket, &mut buffer, RecvFlags::empty())?;
        match acknowledged(&buffer[..length]) {
            // EINVAL: an attribute type where only NFTA_DEVICE_NAME was known.
            Some(0) => return Ok(true),
            Some(-22) => return Ok(false),
            Some(errno) => return Err(io::Error::from_raw_os_error(-errno)),
            None => {}
        }
    }
}

/// The verdict on the chain: 0 or a negative errno. A refused batch acknowledges the table first.
fn acknowledged(mut bytes: &[u8]) -> Option<i32> {
    while let Some((head, rest)) = bytes.split_at_checked(16) {
        let word =
            |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        if kind == ACK && word(8) == CHAIN_SEQ {
            let errno = rest.first_chunk::<4>()?;
            return Some(i32::from_ne_bytes(*errno));
        }
        let length = usize::try_from(word(0)).ok()?.next_multiple_of(4);
        bytes = bytes.get(length..)?;
    }
    None
}

fn batch() -> Vec<u8> {
    let devices = attribute(4 | NESTED, &attribute(2, b"bhp\0"));
    let hook = [attribute(1, &[0; 4]), attribute(2, &[0; 4]), devices].concat();
    let table = attribute(1, b"probe\0");
    let chain = [
        table.clone(),
        attribute(3, b"ingress\0"),
        attribute(4 | NESTED, &hook),
        attribute(7, b"filter\0"),
    ];
    [
        message(BATCH[0], REQUEST, 0, [0, 0, 0, 10], &[]),
        message(NEW_TABLE, CREATE, 1, [NETDEV, 0, 0, 0], &table),
        message(
            NEW_CHAIN,
            CREATE,
            CHAIN_SEQ,
            [NETDEV, 0, 0, 0],
            &chain.concat(),
        ),
        message(BATCH[1], REQUEST, 3, [0, 0, 0, 10], &[]),
    ]
    .concat()
}

/// A netlink message with the header that every nfnetlink message has.
pub(crate) fn message(
    kind: u16,
    flags: u16,
    seq: u32,
    family: [u8; 4],
    attributes: &[u8],
) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).expect("a message of a few bytes");
    let mut out = length.to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(seq.to_ne_bytes());
    out.extend([0; 4]);
    out.extend(family);
    out.extend(attributes);
    out
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("an attribute of a few bytes");
    let mut out = length.to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}
