//! Why the daemon does not serve somebody, in a frame that every version reads.

use super::frame::{Frame, FrameError, Kind, Section, Spoken};
use super::sections::{MessageError, Sections};

/// Tags of a refusal's sections.
mod tag {
    pub(super) const CODE: u16 = 1;
    pub(super) const TEXT: u16 = 2;
    pub(super) const SPOKEN: u16 = 3;
}

/// Why the daemon does not serve somebody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The reason.
    pub code: RefusalCode,
    /// The reason for people, with what to do.
    pub text: String,
    /// The versions the daemon speaks.
    pub spoken: Spoken,
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RefusalCode {
    /// 1: a version that is not spoken.
    Version,
    /// 2: not a frame, or not one that can be served.
    Frame,
    /// 3: another user.
    NotPermitted,
    /// 4: too many callers at once; the same call may succeed shortly.
    Busy,
    /// 5: the caller is in another network namespace than the daemon.
    Namespace,
    /// 6: the daemon is ending.
    Stopping,
    /// 7: the caller was too slow.
    TooSlow,
    /// A later release's reason.
    Other(u16),
}

impl RefusalCode {
    const KNOWN: [(u16, Self); 7] = [
        (1, Self::Version),
        (2, Self::Frame),
        (3, Self::NotPermitted),
        (4, Self::Busy),
        (5, Self::Namespace),
        (6, Self::Stopping),
        (7, Self::TooSlow),
    ];

    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        let known = Self::KNOWN.into_iter().find(|(_, code)| *code == self);
        match (known, self) {
            (_, Self::Other(number)) | (Some((number, _)), _) => number,
            (None, _) => unreachable!("every other reason is listed"),
        }
    }

    fn from_number(number: u16) -> Self {
        let known = Self::KNOWN.into_iter().find(|(known, _)| *known == number);
        known.map_or(Self::Other(number), |(_, code)| code)
    }
}

impl From<FrameError> for RefusalCode {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Version { .. } => Self::Version,
            _ => Self::Frame,
        }
    }
}

impl Refusal {
    /// The frame, in a version that `reader` speaks if there is one.
    #[must_use]
    pub fn to_frame(&self, reader: Spoken) -> Frame {
        let version = self.spoken.shared(reader).unwrap_or(self.spoken.newest);
        let spoken = [self.spoken.oldest, self.spoken.newest];
        let spoken = spoken.map(u16::to_le_bytes).concat();
        let sections = vec![
            Section::new(tag::CODE, self.code.number().to_le_bytes()),
            Section::new(tag::TEXT, self.text.as_bytes()),
            Section::new(tag::SPOKEN, spoken),
        ];
        Frame::new(version, self.spoken, Kind::Refused, sections)
    }

    /// Reads a refusal, of any version.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_frame(frame: Frame) -> Result<Self, MessageError> {
        let mut sections = Sections::of(frame, Kind::Refused, |_| true)?;
        let code = sections.fixed(tag::CODE, "code")?;
        let [a, b, c, d] = sections.fixed(tag::SPOKEN, "versions")?;
        Ok(Self {
            code: RefusalCode::from_number(u16::from_le_bytes(code)),
            text: sections.text(tag::TEXT, "text")?,
            spoken: Spoken {
                oldest: u16::from_le_bytes([a, b]),
                newest: u16::from_le_bytes([c, d]),
            },
        })
    }
}
