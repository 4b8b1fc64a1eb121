//! Single values, from text and to text.

use std::path::PathBuf;

use super::{Established, Listen, LogFormat};

/// Longest node name: a host name's bound (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;

/// Longest label's name or value.
const LONGEST_LABEL: usize = 253;

/// Longest path of a unix socket: `sun_path` of unix(7), with its NUL.
const LONGEST_SOCKET: usize = 107;

pub(super) fn is_node_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = !text.is_empty() && text.len() <= LONGEST_NAME;
    fits && text
        .bytes()
        .all(|byte| letter(byte) || b"-.".contains(&byte))
        && [text.as_bytes()[0], text.as_bytes()[text.len() - 1]]
            .into_iter()
            .all(letter)
}

pub(super) fn is_label(name: &str, value: &str) -> bool {
    let fits = |text: &str| text.len() <= LONGEST_LABEL && text.bytes().all(is_plain);
    !name.is_empty() && fits(name) && fits(value)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./".contains(&byte)
}

/// A member's URL. What is wrong with it otherwise, the one who speaks to it says; but a password would
/// be told with it.
pub(super) fn endpoint(text: &str) -> Option<String> {
    (!text.contains('@')).then(|| text.to_owned())
}

pub(super) fn log_format(text: &str) -> Option<LogFormat> {
    LogFormat::ALL
        .into_iter()
        .find(|format| format.as_str() == text)
}

pub(super) fn established(text: &str) -> Option<Established> {
    [Established::Cut, Established::Keep]
        .into_iter()
        .find(|kept| kept.as_str() == text)
}

pub(super) fn level(text: &str) -> Option<tracing::Level> {
    // `Level` also takes numbers and capitals.
    let level: tracing::Level = text.parse().ok()?;
    (level.as_str().to_ascii_lowercase() == text).then_some(level)
}

/// `Some(None)` for "off".
#[allow(clippy::option_option)]
pub(super) fn listen(text: &str) -> Option<Option<Listen>> {
    if text == "off" {
        return Some(None);
    }
    if text.starts_with('/') {
        let fits = text.len() <= LONGEST_SOCKET;
        return fits.then(|| Some(Listen::Unix(PathBuf::from(text))));
    }
    text.parse().ok().map(|address| Some(Listen::Tcp(address)))
}

impl LogFormat {
    const ALL: [Self; 3] = [Self::Text, Self::Json, Self::Journald];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Journald => "journald",
        }
    }
}

impl Established {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Keep => "keep",
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
