//! Records in memory, as they were read.

use std::ops::{Deref, Range};
use std::sync::Arc;

use super::offset;

/// A journal's end: what no checkpoint has taken in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// Where it begins in the file.
    start: usize,
    bytes: Arc<Vec<u8>>,
    bodies: Vec<Range<usize>>,
}

/// Bytes that share their memory with others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Piece {
    bytes: Arc<Vec<u8>>,
    at: Range<usize>,
}

impl Tail {
    pub(super) fn new(start: usize, bytes: Vec<u8>, bodies: Vec<Range<usize>>) -> Self {
        Self {
            start,
            bytes: Arc::new(bytes),
            bodies,
        }
    }

    /// Where it ends in the file.
    pub(super) fn end(&self) -> u64 {
        offset(self.start + self.bytes.len())
    }

    /// The records' bodies, each with its place in the file.
    pub(crate) fn records(&self) -> impl ExactSizeIterator<Item = (u64, Piece)> {
        self.bodies.iter().map(|body| {
            let piece = Piece {
                bytes: Arc::clone(&self.bytes),
                at: body.clone(),
            };
            (offset(self.start + body.start), piece)
        })
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        offset(self.bytes.len())
    }
}

impl Piece {
    /// A part of it.
    pub(crate) fn part(&self, at: Range<usize>) -> Self {
        Self {
            bytes: Arc::clone(&self.bytes),
            at: self.at.start + at.start..self.at.start + at.end,
        }
    }

    /// The same bytes in memory of their own.
    pub(crate) fn alone(&self) -> Self {
        self.to_vec().into()
    }
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            at: 0..bytes.len(),
            bytes: Arc::new(bytes),
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.at.clone()]
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}
