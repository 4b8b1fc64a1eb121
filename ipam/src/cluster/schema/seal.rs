//! What encrypted overlays are keyed by.

use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Place, Value};
use crate::cluster::name::{Attempt, NodeId};

/// Length of a network's secret, in bytes: as long as the keys that are derived from it.
const SECRET: usize = 32;
/// Length of a node's salt, in bytes: no two are ever the same.
const SALT: usize = 16;

/// A network's secret of one epoch. Only the store and who derives keys see what it is.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret([u8; SECRET]);

impl Secret {
    /// Of the system's random source.
    #[must_use]
    pub const fn new(bytes: [u8; SECRET]) -> Self {
        Self(bytes)
    }

    /// The bytes, to derive keys from.
    #[must_use]
    pub const fn expose(&self) -> &[u8; SECRET] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("withheld")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An error of serde's own would repeat what it found.
        let text = String::deserialize(deserializer).unwrap_or_default();
        let bytes = unhex(&text);
        bytes.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format_args!("a secret that is not {SECRET} bytes in hex"))
        })
    }
}

/// What a node's daemon has made up when it started, or when the kernel had lost what it had been given: part
/// of every key that it sends and receives by.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Salt([u8; SALT]);

impl Salt {
    /// Of the system's random source.
    #[must_use]
    pub const fn new(bytes: [u8; SALT]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; SALT] {
        &self.0
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = unhex(&text);
        bytes.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format_args!("a salt that is not {SALT} bytes in hex"))
        })
    }
}

/// What a node says of how its end of an encrypted overlay is keyed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SealRow {
    /// Its salt.
    pub salt: Salt,
    /// The latest epoch that it receives by.
    pub applied: u64,
}

/// `keys/<network>`: the secrets of an encrypted overlay. They are made with it and go with it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeysRow {
    /// The latest, and while nodes go over to it the one before; by epoch.
    pub epochs: Vec<EpochKey>,
    /// The attempt that wrote it.
    #[serde(default)]
    pub attempt: Attempt,
}

/// A secret and since when it is one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EpochKey {
    /// Counts from 1.
    pub epoch: u64,
    /// The secret.
    pub secret: Secret,
    /// The node that made it up.
    pub by: NodeId,
    /// When, by its clock, in milliseconds since 1970.
    #[serde(default)]
    pub at_unix_ms: u64,
}

impl KeysRow {
    /// The latest epoch; `None` of a row without any.
    #[must_use]
    pub fn latest(&self) -> Option<&EpochKey> {
        self.epochs.iter().max_by_key(|key| key.epoch)
    }
}

impl Value for KeysRow {
    fn belongs(place: &Place) -> bool {
        matches!(place, Place::Keys(_))
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    if text.len() != 2 * LEN || !text.is_ascii() {
        return None;
    }
    for (nth, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * nth..2 * nth + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_and_never_printed() {
        let secret = Secret::new([0xab; SECRET]);
        let text = serde_json::to_string(&secret).unwrap();
        assert_eq!(text, format!("\"{}\"", "ab".repeat(SECRET)));
        assert_eq!(serde_json::from_str::<Secret>(&text).unwrap(), secret);
        assert_eq!(format!("{secret:?}"), "withheld");
        for wrong in ["\"abcd\"", "12345", "\"secret that is too short\""] {
            let said = serde_json::from_str::<Secret>(wrong).unwrap_err();
            assert!(
                !said.to_string().contains(wrong.trim_matches('"')),
                "{said}"
            );
        }
    }
}
