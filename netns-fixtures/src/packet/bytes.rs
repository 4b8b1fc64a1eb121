//! Reading headers and summing them.

use std::net::IpAddr;

use super::PacketError;

/// A cursor that names its layer when the bytes end.
pub(super) struct Reader<'a> {
    layer: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(layer: &'static str, bytes: &'a [u8]) -> Self {
        Self { layer, bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], PacketError> {
        let short = PacketError::Short { layer: self.layer };
        let (head, tail) = self.bytes.split_at_checked(count).ok_or(short)?;
        self.bytes = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PacketError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, PacketError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, PacketError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, PacketError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn field(&self, field: &'static str, value: impl Into<u64>) -> PacketError {
        PacketError::Field {
            layer: self.layer,
            field,
            value: value.into(),
        }
    }
}

/// The Internet checksum over the concatenated parts (RFC 1071); every part but the last must be
/// even in length. 0 over bytes that carry a right checksum.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words
        .map(|word| u64::from(word[0]) << 8 | word.get(1).copied().map_or(0, u64::from))
        .sum();
    let folded = (0..3).fold(sum, |sum, _| (sum & 0xffff) + (sum >> 16));
    // Three folds bring any sum of a packet's words below 2^16.
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// The pseudo header that upper-layer checksums cover (RFC 9293 §3.1, RFC 8200 §8.1).
pub(super) fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    for address in [src, dst] {
        match address {
            IpAddr::V4(v4) => out.extend(v4.octets()),
            IpAddr::V6(v6) => out.extend(v6.octets()),
        }
    }
    out.extend(length_u32(length).to_be_bytes());
    out.extend([0, 0, 0, protocol]);
    out
}

/// A length field; a payload longer than the field is a mistake of the test that built it.
pub(super) fn length_u16(length: usize) -> u16 {
    u16::try_from(length).expect("a packet built by a test fits its 16-bit length field")
}

fn length_u32(length: usize) -> u32 {
    length_u16(length).into()
}
