//! Names that become a part of a key: path-safe by construction, so that no row can be read as another.

use std::fmt;
use std::str::FromStr;

use bulkhead_model::AttachmentKey;
use serde::{Deserialize, Serialize};

use crate::record::PodRef;

/// A text that is not the name it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{found:?} is not {expected}: a letter or digit, then letters, digits, '_', '.' or '-', {longest} at most"
)]
pub struct NameError {
    /// What was expected, with its article.
    pub expected: &'static str,
    /// The text found.
    pub found: String,
    /// Most characters.
    pub longest: usize,
}

macro_rules! part_of_a_key {
    ($(#[$doc:meta])+ $type:ident, $expected:literal, $longest:literal) => {
        $(#[$doc])+
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if is_part(text, $longest) {
                    return Ok(Self(text.to_owned()));
                }
                Err(NameError {
                    expected: $expected,
                    found: text.to_owned(),
                    longest: $longest,
                })
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

fn is_part(text: &str, longest: usize) -> bool {
    let head = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let tail = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    head && tail && text.len() <= longest
}

part_of_a_key!(
    /// A pool of the cluster.
    PoolName,
    "a pool's name",
    63
);
part_of_a_key!(
    /// A node's stable id, as its state directory keeps it. Its name may change, this never does.
    NodeId,
    "a node's id",
    64
);
part_of_a_key!(
    /// A reservation.
    ReservationName,
    "a reservation's name",
    63
);
part_of_a_key!(
    /// A part of a sticky identity: a namespace, a pod's name or a network's.
    StickyPart,
    "a part of a sticky identity",
    253
);
part_of_a_key!(
    /// A network that nodes have together: the CNI network's name.
    OverlayName,
    "the name of a network that nodes have together",
    253
);

part_of_a_key!(
    /// A part of the name of a policy object or an endpoint: a kind, a namespace, a name or a network.
    ObjectPart,
    "a part of an object's name",
    253
);

impl NodeId {
    /// The first eight characters: enough to tell nodes apart in a key that is unique anyway.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(8)]
    }
}

/// Who keeps an address over rescheduling: a pod's namespace and name, on one network.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct StickyId {
    /// The pod's namespace.
    pub namespace: StickyPart,
    /// The pod's name.
    pub name: StickyPart,
    /// The network.
    pub network: StickyPart,
}

impl StickyId {
    /// The identity of a pod's attachment.
    ///
    /// # Errors
    /// If a part cannot stand in a key.
    pub fn of(pod: &PodRef, key: &AttachmentKey) -> Result<Self, NameError> {
        Ok(Self {
            namespace: pod.namespace.parse()?,
            name: pod.name.parse()?,
            network: key.network.as_str().parse()?,
        })
    }
}

impl fmt::Display for StickyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.name, self.network)
    }
}

/// An object about who may talk to whom.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectId {
    /// What it was written as: `NetworkPolicy`.
    pub kind: ObjectPart,
    /// Its namespace, if its kind has one.
    pub namespace: Option<ObjectPart>,
    /// Its name.
    pub name: ObjectPart,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(self.name.as_str())
    }
}

/// An endpoint's membership in a security group.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberId {
    /// The group.
    pub group: ObjectPart,
    /// The endpoint's namespace: its pod's, or else the name of its network.
    pub namespace: ObjectPart,
    /// The endpoint's name: its pod's, or else the container's id.
    pub name: ObjectPart,
    /// On this network; on each that it has if it is `None`.
    pub network: Option<ObjectPart>,
}

impl MemberId {
    /// The endpoint, as people write it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match &self.network {
            Some(network) => format!("{}/{}@{network}", self.namespace, self.name),
            None => format!("{}/{}", self.namespace, self.name),
        }
    }
}

/// An id that no other attempt of anybody has: what tells, after an answer that did not come, whether
/// a row is the one that was to be written.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Attempt(pub String);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_read_as_another_key_is_no_name() {
        for bad in ["", "a/b", "/", ".", "-a", "a b", "ü", &"a".repeat(64)] {
            assert!(bad.parse::<PoolName>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "web.1_a-b".parse::<PoolName>().unwrap().as_str(),
            "web.1_a-b"
        );
        let error = "a/b".parse::<PoolName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"a/b\" is not a pool's name: a letter or digit, then letters, digits, '_', '.' or '-', 63 at most"
        );
    }

    #[test]
    fn a_short_id_may_be_the_whole() {
        assert_eq!("n1".parse::<NodeId>().unwrap().short(), "n1");
        assert_eq!("0123456789".parse::<NodeId>().unwrap().short(), "01234567");
    }
}
