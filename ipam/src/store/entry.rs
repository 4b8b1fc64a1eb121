//! The 64-byte entries of a checkpoint's indexes. Numbers are big-endian, so that keys compare as
//! bytes do; the last four bytes are a CRC-32C over the others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::AttachmentId;

use super::checkpoint::array;
use crate::journal::crc::crc32c;

pub(crate) const ENTRY_LEN: usize = 64;

/// An entry of some index.
pub(crate) trait Entry: Sized {
    type Key: Ord;

    fn key(&self) -> Self::Key;
    fn fill(&self, out: &mut [u8; ENTRY_LEN]);
    fn decode(bytes: &[u8; ENTRY_LEN]) -> Option<Self>;

    fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        self.fill(&mut out);
        let crc = crc32c(&[&out[..ENTRY_LEN - 4]]);
        out[ENTRY_LEN - 4..].copy_from_slice(&crc.to_be_bytes());
        out
    }
}

/// An attachment id as it is written: 26 base32 characters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct IdKey([u8; 26]);

impl IdKey {
    pub(crate) fn new(id: &AttachmentId) -> Self {
        Self::parse(&id.to_string()).expect("an attachment id is 26 characters of base32")
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 26] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
            .then_some(Self(bytes))
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base32 is ASCII")
    }
}

impl fmt::Display for IdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an attachment's record is.
#[derive(Clone, Debug)]
pub(crate) struct IdEntry {
    pub(crate) id: IdKey,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) record_crc: u32,
}

impl Entry for IdEntry {
    type Key = IdKey;

    fn key(&self) -> IdKey {
        self.id
    }

    fn fill(&self, out: &mut [u8; ENTRY_LEN]) {
        out[..26].copy_from_slice(&self.id.0);
        out[32..40].copy_from_slice(&self.offset.to_be_bytes());
        out[40..44].copy_from_slice(&self.len.to_be_bytes());
        out[44..48].copy_from_slice(&self.record_crc.to_be_bytes());
    }

    fn decode(bytes: &[u8; ENTRY_LEN]) -> Option<Self> {
        Some(Self {
            id: IdKey(array(bytes, 0)),
            offset: u64::from_be_bytes(array(bytes, 32)),
            len: u32::from_be_bytes(array(bytes, 40)),
            record_crc: u32::from_be_bytes(array(bytes, 44)),
        })
    }
}

/// Who holds an address.
#[derive(Clone, Debug)]
pub(crate) struct HeldEntry {
    pub(crate) address: IpAddr,
    pub(crate) id: IdKey,
}

impl Entry for HeldEntry {
    type Key = IpAddr;

    fn key(&self) -> IpAddr {
        self.address
    }

    fn fill(&self, out: &mut [u8; ENTRY_LEN]) {
        fill_address(out, self.address);
        out[32..58].copy_from_slice(&self.id.0);
    }

    fn decode(bytes: &[u8; ENTRY_LEN]) -> Option<Self> {
        Some(Self {
            address: address_of(bytes)?,
            id: IdKey(array(bytes, 32)),
        })
    }
}

/// When an address was freed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FreedEntry {
    pub(crate) address: IpAddr,
    /// Number of the record that freed it.
    pub(crate) sequence: u64,
    /// On the boot's clock.
    pub(crate) since_boot_ms: u64,
    /// Which boot, in the checkpoint's list.
    pub(crate) boot: u32,
}

impl Entry for FreedEntry {
    type Key = IpAddr;

    fn key(&self) -> IpAddr {
        self.address
    }

    fn fill(&self, out: &mut [u8; ENTRY_LEN]) {
        fill_address(out, self.address);
        out[32..40].copy_from_slice(&self.sequence.to_be_bytes());
        out[40..48].copy_from_slice(&self.since_boot_ms.to_be_bytes());
        out[48..52].copy_from_slice(&self.boot.to_be_bytes());
    }

    fn decode(bytes: &[u8; ENTRY_LEN]) -> Option<Self> {
        Some(Self {
            address: address_of(bytes)?,
            sequence: u64::from_be_bytes(array(bytes, 32)),
            since_boot_ms: u64::from_be_bytes(array(bytes, 40)),
            boot: u32::from_be_bytes(array(bytes, 48)),
        })
    }
}

/// Family in byte 0 and the address from byte 8 on: four bytes or sixteen.
fn fill_address(out: &mut [u8; ENTRY_LEN], address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out[0] = 4;
            out[8..12].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out[0] = 6;
            out[8..24].copy_from_slice(&v6.octets());
        }
    }
}

fn address_of(bytes: &[u8; ENTRY_LEN]) -> Option<IpAddr> {
    match bytes[0] {
        4 => Some(Ipv4Addr::from_octets(array(bytes, 8)).into()),
        6 => Some(Ipv6Addr::from_octets(array(bytes, 8)).into()),
        _ => None,
    }
}
