//! Frames out of bytes that come in pieces of any size. No input or output: whoever reads, feeds it.

use super::frame::{Frame, FrameError, HEADER_LENGTH, Header, Spoken};

/// Takes the bytes of one connection and answers the frames in them.
#[derive(Debug)]
pub struct Decoder {
    spoken: Spoken,
    bytes: Vec<u8>,
    failed: Option<FrameError>,
}

impl Decoder {
    /// For a reader that speaks `spoken`.
    #[must_use]
    pub const fn new(spoken: Spoken) -> Self {
        Self {
            spoken,
            bytes: Vec::new(),
            failed: None,
        }
    }

    /// Adds what was read. What comes after an error is dropped.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// The next frame; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`], as soon as it can be told, and the same from then on: where the next frame
    /// begins is not known any more.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let next = self.next();
        if let Err(error) = &next {
            self.failed = Some(error.clone());
            self.bytes = Vec::new();
        }
        next
    }

    /// Whether the bytes so far are the beginning of a frame and not yet all of it.
    #[must_use]
    pub const fn is_inside_frame(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((header, rest)) = self.bytes.split_first_chunk::<HEADER_LENGTH>() else {
            return Ok(None);
        };
        let header = Header::parse(header, self.spoken)?;
        let length = header.length as usize;
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = Frame::decode(header, body)?;
        if rest.len() == length {
            // A connection that waits for its next frame keeps no buffer.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..HEADER_LENGTH + length);
        }
        Ok(Some(frame))
    }
}
