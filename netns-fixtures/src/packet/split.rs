//! Packets in pieces (RFC 791 §3.2, RFC 8200 §4.5), cut where the test wants: also where no stack
//! would, through the middle of a header chain.

use super::ip::{Extension, Fragment, Ipv4, Ipv6, chain};
use super::transport::Payload;

impl Ipv4 {
    /// The packet in pieces that start at these offsets of its payload, in bytes, multiples of 8 and
    /// ascending; the first piece starts at 0. Whatever order they are sent in is up to the caller.
    #[must_use]
    pub fn split(&self, id: u16, offsets: &[usize]) -> Vec<Self> {
        let whole = self.payload.to_bytes(self.src.into(), self.dst.into());
        let piece = |(offset, bytes, more)| Self {
            dont_fragment: false,
            fragment: Fragment {
                id: id.into(),
                offset,
                more,
            },
            payload: Payload::other(self.payload.protocol(), bytes),
            ..self.clone()
        };
        pieces(&whole, offsets).map(piece).collect()
    }
}

impl Ipv6 {
    /// The packet in pieces: its first `before` extension headers stand in front of the fragment
    /// header in every piece, what follows them is cut at these offsets, in bytes, multiples of 8 and
    /// ascending; the first piece starts at 0. No offset makes an atomic fragment (RFC 6946).
    #[must_use]
    pub fn split(&self, id: u32, before: usize, offsets: &[usize]) -> Vec<Self> {
        let (kept, cut) = self.extensions.split_at(before);
        let last = self.payload.protocol();
        let whole = chain(cut, last, &self.payload_bytes());
        // What the fragment header names (RFC 8200 §4.5): the first header of the part that is cut.
        let first = cut.first().map_or(last, Extension::protocol);
        let piece = |(offset, bytes, more)| {
            let fragment = Extension::Fragment(Fragment { id, offset, more });
            Self {
                extensions: [kept, &[fragment]].concat(),
                payload: Payload::other(first, bytes),
                ..self.clone()
            }
        };
        pieces(&whole, offsets).map(piece).collect()
    }
}

/// Offset in units of 8, bytes, and whether more follow.
fn pieces<'a>(
    whole: &'a [u8],
    offsets: &[usize],
) -> impl Iterator<Item = (u16, &'a [u8], bool)> + use<'a> {
    let mut starts = vec![0];
    starts.extend(offsets);
    let ends: Vec<usize> = starts[1..].iter().copied().chain([whole.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| {
        assert!(
            start % 8 == 0 && start < end && end <= whole.len(),
            "pieces of {} bytes cannot start at {start} and end at {end}",
            whole.len()
        );
        let units = u16::try_from(start / 8).expect("a packet is shorter than 64 KiB");
        (units, &whole[start..end], end < whole.len())
    })
}
