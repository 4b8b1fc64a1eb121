//! The sections of a message, by tag; and messages that are one section of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{Frame, Kind, Section, Spoken};

/// Tags of an operator's request and of its replies.
const JSON: u16 = 1;
/// On the last reply to a request; empty.
const LAST: u16 = 2;

/// Why a frame is not the message that was expected.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// It is of another kind.
    #[error("a frame of kind \"{found}\" came where \"{expected}\" was expected")]
    Kind {
        /// What came.
        found: Kind,
        /// What was expected.
        expected: Kind,
    },
    /// A section that must be understood is not known here.
    #[error(
        "the {kind} frame has a critical section {tag} that this release does not know; use the later release on both sides"
    )]
    Unknown {
        /// The frame.
        kind: Kind,
        /// The section.
        tag: u16,
    },
    /// A section is missing.
    #[error("the {kind} frame lacks its {section}")]
    Missing {
        /// The frame.
        kind: Kind,
        /// The section.
        section: &'static str,
    },
    /// A section is malformed.
    #[error("the {kind} frame's {section} is malformed: {why}")]
    Malformed {
        /// The frame.
        kind: Kind,
        /// The section.
        section: &'static str,
        /// In what.
        why: String,
    },
}

/// A frame of `kind` with `message` as JSON.
#[must_use]
pub fn json(version: u16, spoken: Spoken, kind: Kind, message: &impl Serialize) -> Frame {
    let bytes = serde_json::to_vec(message).expect("a message has text keys");
    Frame::new(version, spoken, kind, vec![Section::new(JSON, bytes)])
}

/// The same frame, marked as the last reply to its request.
#[must_use]
pub fn last(mut frame: Frame) -> Frame {
    frame.sections.push(Section::new(LAST, []));
    frame
}

/// Whether no other reply to the request follows.
pub(super) fn is_last(frame: &Frame) -> bool {
    frame.sections.iter().any(|section| section.tag == LAST)
}

/// Reads the message of a frame of `kind`.
///
/// # Errors
/// [`MessageError`].
pub fn from_json<T: DeserializeOwned>(frame: Frame, kind: Kind) -> Result<T, MessageError> {
    let mut sections = Sections::of(frame, kind, |tag| [JSON, LAST].contains(&tag))?;
    let bytes = sections.bytes(JSON, "message")?;
    serde_json::from_slice(&bytes).map_err(|error| sections.malformed("message", error.to_string()))
}

/// The sections of a frame, to be taken out by tag.
pub(super) struct Sections {
    kind: Kind,
    sections: Vec<Section>,
}

impl Sections {
    pub(super) fn of(
        frame: Frame,
        kind: Kind,
        known: impl Fn(u16) -> bool,
    ) -> Result<Self, MessageError> {
        if frame.kind != kind {
            return Err(MessageError::Kind {
                found: frame.kind,
                expected: kind,
            });
        }
        let unknown = |section: &&Section| section.critical && !known(section.tag);
        match frame.sections.iter().find(unknown) {
            Some(section) => Err(MessageError::Unknown {
                kind,
                tag: section.tag,
            }),
            None => Ok(Self {
                kind,
                sections: frame.sections,
            }),
        }
    }

    fn optional(&mut self, tag: u16) -> Option<Vec<u8>> {
        let at = self.sections.iter().position(|s| s.tag == tag)?;
        Some(self.sections.swap_remove(at).bytes)
    }

    pub(super) fn bytes(
        &mut self,
        tag: u16,
        section: &'static str,
    ) -> Result<Vec<u8>, MessageError> {
        let kind = self.kind;
        self.optional(tag)
            .ok_or(MessageError::Missing { kind, section })
    }

    pub(super) fn text(&mut self, tag: u16, section: &'static str) -> Result<String, MessageError> {
        let bytes = self.bytes(tag, section)?;
        String::from_utf8(bytes).map_err(|error| self.malformed(section, error.to_string()))
    }

    pub(super) fn fixed<const N: usize>(
        &mut self,
        tag: u16,
        section: &'static str,
    ) -> Result<[u8; N], MessageError> {
        let kind = self.kind;
        self.optional_fixed(tag, section)?
            .ok_or(MessageError::Missing { kind, section })
    }

    pub(super) fn optional_fixed<const N: usize>(
        &mut self,
        tag: u16,
        section: &'static str,
    ) -> Result<Option<[u8; N]>, MessageError> {
        let Some(bytes) = self.optional(tag) else {
            return Ok(None);
        };
        let length = bytes.len();
        let fixed = <[u8; N]>::try_from(bytes);
        fixed
            .map(Some)
            .map_err(|_| self.malformed(section, format!("{length} bytes in place of {N}")))
    }

    pub(super) fn malformed(&self, section: &'static str, why: String) -> MessageError {
        MessageError::Malformed {
            kind: self.kind,
            section,
            why,
        }
    }
}
