//! A frame: a header of sixteen bytes and a body of sections. Numbers are little-endian.
//!
//! ```text
//! header   magic "bhd\n"  version u16  oldest u16  kind u16  0 u16  length u32
//! section  tag u16  flags u16  length u32  bytes
//! ```

use std::fmt;

/// What every frame begins with.
const MAGIC: [u8; 4] = *b"bhd\n";

/// Bytes of a header.
pub const HEADER_LENGTH: usize = 16;

/// Most bytes of a body. A header that announces more is refused before anything of it is read.
pub const BODY_LONGEST: u32 = 8 << 20;

/// Most sections of a body: each costs its reader an allocation.
const MOST_SECTIONS: usize = 64;

/// Bytes before a section's own.
const SECTION_HEADER: usize = 8;

/// Flag of a section: a reader that does not know the tag must refuse the frame.
const CRITICAL: u16 = 1;

/// The versions of the protocol that somebody speaks, both included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spoken {
    /// The oldest.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

impl Spoken {
    /// This release: its own version and the one before.
    pub const OURS: Self = Self {
        oldest: 1,
        newest: 2,
    };

    /// Whether a frame of that version is understood.
    #[must_use]
    pub const fn knows(self, version: u16) -> bool {
        self.oldest <= version && version <= self.newest
    }

    /// The newest version that both speak.
    #[must_use]
    pub fn shared(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u16)]
pub enum Kind {
    /// A CNI call, from a plugin to the daemon.
    Call = 1,
    /// Its answer.
    Answer = 2,
    /// An operator's request.
    AdminRequest = 3,
    /// Its reply, or one of several.
    AdminReply = 4,
    /// The daemon asks the plugin to run a foreign IPAM plugin, while the call goes on.
    Delegate = 5,
    /// What that plugin answered.
    Delegated = 6,
    /// The daemon does not serve this; it closes the connection.
    Refused = 7,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Call,
        Self::Answer,
        Self::AdminRequest,
        Self::AdminReply,
        Self::Delegate,
        Self::Delegated,
        Self::Refused,
    ];

    fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "call",
            Self::Answer => "answer",
            Self::AdminRequest => "admin request",
            Self::AdminReply => "admin reply",
            Self::Delegate => "delegate",
            Self::Delegated => "delegated",
            Self::Refused => "refused",
        })
    }
}

/// A part of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Section {
    /// What it is; each kind of frame numbers its own.
    pub tag: u16,
    /// Whether a reader that does not know the tag must refuse the frame.
    pub critical: bool,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Section {
    /// A section that a reader may pass over.
    #[must_use]
    pub fn new(tag: u16, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            tag,
            critical: false,
            bytes: bytes.into(),
        }
    }
}

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// The version its sections are of, and the oldest that its sender speaks too.
    pub version: u16,
    /// The oldest version that its sender speaks.
    pub oldest: u16,
    /// What it is.
    pub kind: Kind,
    /// Its body.
    pub sections: Vec<Section>,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// It begins with something else.
    #[error("not a frame of bulkheadd's protocol: it begins with {}", .0.escape_ascii())]
    Magic([u8; 4]),
    /// The reserved field is in use.
    #[error("the reserved field of the header is {0}, it has to be 0")]
    Reserved(u16),
    /// The versions contradict each other.
    #[error("version {version} is older than {oldest}, the oldest that the sender claims to speak")]
    Versions {
        /// The frame's.
        version: u16,
        /// The sender's oldest.
        oldest: u16,
    },
    /// A version that the reader does not speak.
    #[error("version {version} is not spoken here, versions {spoken} are")]
    Version {
        /// The frame's.
        version: u16,
        /// The reader's.
        spoken: Spoken,
    },
    /// There is no such kind.
    #[error("there is no kind {0}")]
    Kind(u16),
    /// The body is longer than any may be.
    #[error("a body of {0} bytes is announced, the longest may have {BODY_LONGEST}")]
    TooLong(u32),
    /// A section's header or content ends beyond the body.
    #[error("the section at byte {at} of the body ends beyond it")]
    Section {
        /// Where it begins.
        at: usize,
    },
    /// There are too many sections.
    #[error("the body has more than {MOST_SECTIONS} sections")]
    TooMany,
}

/// What a header says, once it is one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) version: u16,
    pub(super) oldest: u16,
    pub(super) kind: Kind,
    pub(super) length: u32,
}

impl Header {
    /// Reads a header that must be of a version in `spoken`.
    pub(super) fn parse(bytes: &[u8; HEADER_LENGTH], spoken: Spoken) -> Result<Self, FrameError> {
        let magic: [u8; 4] = bytes[..4].try_into().expect("four bytes");
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        let field = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let (version, oldest, kind, reserved) = (field(4), field(6), field(8), field(10));
        let length = u32::from_le_bytes(bytes[12..].try_into().expect("four bytes"));
        if version < oldest {
            return Err(FrameError::Versions { version, oldest });
        }
        if reserved != 0 {
            return Err(FrameError::Reserved(reserved));
        }
        // The layout never changes, and a refusal is what tells somebody of another version.
        let kind = Kind::from_number(kind).ok_or(FrameError::Kind(kind));
        if kind != Ok(Kind::Refused) && !spoken.knows(version) {
            return Err(FrameError::Version { version, spoken });
        }
        if length > BODY_LONGEST {
            return Err(FrameError::TooLong(length));
        }
        Ok(Self {
            version,
            oldest,
            kind: kind?,
            length,
        })
    }
}

impl Frame {
    /// A frame of `version`, from somebody who speaks `spoken`.
    #[must_use]
    pub const fn new(version: u16, spoken: Spoken, kind: Kind, sections: Vec<Section>) -> Self {
        Self {
            version,
            oldest: spoken.oldest,
            kind,
            sections,
        }
    }

    /// The versions that its sender speaks, as far as the frame tells.
    #[must_use]
    pub const fn sender(&self) -> Spoken {
        Spoken {
            oldest: self.oldest,
            newest: self.version,
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`FrameError::TooLong`], [`FrameError::TooMany`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        if self.sections.len() > MOST_SECTIONS {
            return Err(FrameError::TooMany);
        }
        let sections = self.sections.iter();
        let length: usize = sections.map(|s| SECTION_HEADER + s.bytes.len()).sum();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if length > BODY_LONGEST {
            return Err(FrameError::TooLong(length));
        }
        let mut out = Vec::with_capacity(HEADER_LENGTH + length as usize);
        out.extend_from_slice(&MAGIC);
        for field in [self.version, self.oldest, self.kind as u16, 0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&length.to_le_bytes());
        for section in &self.sections {
            let length = u32::try_from(section.bytes.len()).expect("the sum fits");
            out.extend_from_slice(&section.tag.to_le_bytes());
            let flags = if section.critical { CRITICAL } else { 0 };
            out.extend_from_slice(&flags.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&section.bytes);
        }
        Ok(out)
    }

    pub(super) fn decode(header: Header, body: &[u8]) -> Result<Self, FrameError> {
        let mut sections = Vec::new();
        let mut at = 0;
        while at < body.len() {
            if sections.len() == MOST_SECTIONS {
                return Err(FrameError::TooMany);
            }
            let (section, length) = section(&body[at..]).ok_or(FrameError::Section { at })?;
            sections.push(section);
            at += length;
        }
        Ok(Self {
            version: header.version,
            oldest: header.oldest,
            kind: header.kind,
            sections,
        })
    }
}

/// The section that `rest` begins with, and how many bytes it takes.
fn section(rest: &[u8]) -> Option<(Section, usize)> {
    let (head, rest) = rest.split_at_checked(SECTION_HEADER)?;
    let length = u32::from_le_bytes(head[4..].try_into().expect("four bytes")) as usize;
    let section = Section {
        tag: u16::from_le_bytes([head[0], head[1]]),
        critical: u16::from_le_bytes([head[2], head[3]]) & CRITICAL != 0,
        bytes: rest.get(..length)?.to_vec(),
    };
    Some((section, SECTION_HEADER + length))
}
