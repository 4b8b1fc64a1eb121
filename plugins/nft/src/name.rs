//! Words that go both into nft's text and into netlink strings: identifiers and quoted labels.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A text that nft's language cannot say in that place.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct NameError {
    wanted: &'static str,
    text: String,
}

/// The name of a table, set or chain: a letter or `_`, then letters, digits, `_`, `.`, `/` and `-`,
/// at most 127 bytes (`NFT_NAME_MAXLEN` allows 255; nft's scanner rejects other characters).
///
/// nft's keywords pass: text with a chain called `drop` cannot be loaded by nft.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Cow<'static, str>);

impl Name {
    const WANTED: &'static str = "an nftables name (a letter or '_', then letters, digits, '_', '.', '/' or '-', at most 127 bytes)";

    /// A name known at compile time.
    ///
    /// # Panics
    /// If `text` is not a name: in a `const` that is a compile error, which is what this is for.
    #[must_use]
    pub const fn literal(text: &'static str) -> Self {
        assert!(is_name(text.as_bytes()), "not an nftables name");
        Self(Cow::Borrowed(text))
    }

    /// A name made at run time.
    ///
    /// # Errors
    /// [`NameError`] if a character or the length is outside what nft can say.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if is_name(text.as_bytes()) {
            Ok(Self(Cow::Owned(text.to_owned())))
        } else {
            Err(NameError {
                wanted: Self::WANTED,
                text: text.to_owned(),
            })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_name(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.len() > 127 {
        return false;
    }
    if !bytes[0].is_ascii_alphabetic() && bytes[0] != b'_' {
        return false;
    }
    let mut at = 1;
    while at < bytes.len() {
        let byte = bytes[at];
        if !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'.' | b'/' | b'-') {
            return false;
        }
        at += 1;
    }
    true
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// A text nft prints in quotes: a comment or a log prefix. Printable ASCII without `"`, 1..=127 bytes
/// (`NFTNL_UDATA_COMMENT_MAXLEN` is 128 with the NUL, and so is `NF_LOG_PREFIXLEN`).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Label(String);

impl Label {
    /// # Errors
    /// [`NameError`] if `text` is empty, too long, or holds a quote or an unprintable character.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let sayable = text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"');
        if sayable && (1..=127).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError {
                wanted: "a label (printable ASCII without '\"', 1 to 127 bytes)",
                text: text.to_owned(),
            })
        }
    }

    /// The label without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_nft_scans_as_one_word() {
        for good in ["macs", "port-bhpa2", "_x", "a/b.c"] {
            assert_eq!(Name::new(good).map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "1a", "a b", "a;", "ä", &"a".repeat(128)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_label_cannot_leave_its_quotes() {
        assert!(Label::new("bulkhead 1 00ff").is_ok());
        for bad in ["", "a\"; drop", "a\nb", &"a".repeat(128)] {
            assert!(Label::new(bad).is_err(), "{bad:?}");
        }
    }
}
