//! What is asked of a cluster's store, whichever keeps it: rows under keys, a revision that rises with
//! every change, transactions that compare and then write, and a watch from a revision on. The terms
//! are etcd's (v3 API, `etcdserverpb/rpc.proto`), the least of them that the protocol needs.
//!
//! Everything blocks. A backend that is asynchronous inside hides that.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// A place in the store: a path of printable ASCII without spaces, at most 1,024 bytes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(String);

impl Key {
    /// Longest key, in bytes.
    pub const LONGEST: usize = 1024;

    /// `None` if it is empty, too long, or has another character.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let fits = !text.is_empty() && text.len() <= Self::LONGEST;
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(Self(text))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Keys from `from` on, up to `until` without it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRange {
    /// The first.
    pub from: String,
    /// The first that is not in it any more.
    pub until: String,
}

impl KeyRange {
    /// Every key that begins with `prefix`, which is not empty and ASCII.
    #[must_use]
    pub fn prefix(prefix: &str) -> Self {
        // Keys are printable ASCII: DEL sorts after every one of their characters.
        Self {
            from: prefix.to_owned(),
            until: format!("{prefix}\u{7f}"),
        }
    }

    /// One key.
    #[must_use]
    pub fn one(key: &Key) -> Self {
        Self {
            from: key.0.clone(),
            until: format!("{}\0", key.0),
        }
    }

    /// The same range from `from` on, which lies inside: for reading it in pages.
    #[must_use]
    pub fn after(&self, key: &Key) -> Self {
        Self {
            from: format!("{}\0", key.0),
            until: self.until.clone(),
        }
    }

    /// Whether `key` lies inside.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.from.as_str() <= key.as_str() && key.as_str() < self.until.as_str()
    }
}

/// How many changes the store has seen. The first change makes revision 2 or higher; 0 stands for
/// "never" in a comparison.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Revision(pub u64);

/// A key's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// Its key.
    pub key: Key,
    /// Its value: JSON in everything that this project writes.
    pub value: Vec<u8>,
    /// The change that made the key; another one after it was deleted.
    pub created: Revision,
    /// The last change of the key.
    pub modified: Revision,
}

/// Rows in the order of their keys, as they were at one revision.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listing {
    /// The rows.
    pub rows: Vec<Row>,
    /// The store's revision then.
    pub revision: Revision,
    /// Whether the limit cut it off.
    pub more: bool,
}

/// A condition of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Compare {
    /// The key does not exist.
    Absent(Key),
    /// No key of the range exists.
    NoneIn(KeyRange),
    /// This was the key's last change; revision 0: it does not exist.
    Modified(Key, Revision),
    /// The key exists with exactly this value.
    Value(Key, Vec<u8>),
}

impl Compare {
    const fn weight(&self) -> usize {
        match self {
            Self::Absent(key) | Self::Modified(key, _) => key.0.len(),
            Self::NoneIn(range) => range.from.len() + range.until.len(),
            Self::Value(key, value) => key.0.len() + value.len(),
        }
    }
}

/// A change of one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// Sets a key.
    Put(Key, Vec<u8>),
    /// Removes a key; nothing if there is none.
    Delete(Key),
}

impl Write {
    /// The key that is changed.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }

    const fn weight(&self) -> usize {
        match self {
            Self::Put(key, value) => key.0.len() + value.len(),
            Self::Delete(key) => key.0.len(),
        }
    }
}

/// All of `writes` if all of `when` holds, else nothing; in one step.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Txn {
    /// What must hold; at most [`Txn::MOST_WRITES`] too.
    pub when: Vec<Compare>,
    /// What is written then, each key once; at most [`Txn::MOST_WRITES`].
    pub writes: Vec<Write>,
}

impl Txn {
    /// Most writes: etcd's default of `--max-txn-ops` is 128.
    pub const MOST_WRITES: usize = 120;
    /// Most bytes of its keys and values: etcd's default of `--max-request-bytes` is 1.5 MiB, and
    /// counts the encoding.
    pub const MOST_BYTES: usize = 1 << 20;

    /// What no store takes, so that each refuses the same.
    ///
    /// # Errors
    /// `Refused` if there are too many writes or conditions, too many bytes, or a key is written
    /// twice.
    pub fn check(&self, store: &str) -> Result<(), KvError> {
        let bytes: usize = self.when.iter().map(Compare::weight).sum::<usize>()
            + self.writes.iter().map(Write::weight).sum::<usize>();
        let keys: BTreeSet<&Key> = self.writes.iter().map(Write::key).collect();
        let many = self.when.len().max(self.writes.len());
        let why = if many > Self::MOST_WRITES {
            format!(
                "{many} steps in one transaction, {} at most",
                Self::MOST_WRITES
            )
        } else if bytes > Self::MOST_BYTES {
            format!(
                "{bytes} bytes in one transaction, {} at most",
                Self::MOST_BYTES
            )
        } else if keys.len() < self.writes.len() {
            "one transaction writes a key twice".to_owned()
        } else {
            return Ok(());
        };
        Err(KvError::Refused {
            store: store.to_owned(),
            why,
        })
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Committed {
    /// Whether the conditions held and everything is written.
    pub held: bool,
    /// The store's revision after it.
    pub revision: Revision,
}

/// A change that a watch tells of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// The key.
    pub key: Key,
    /// What it is now; `None` if it was deleted.
    pub row: Option<Row>,
    /// The change.
    pub revision: Revision,
}

/// Why the store gave no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KvError {
    /// It cannot be reached, or has no leader. Nothing was written.
    #[error("{store} cannot be reached: {why}")]
    Unavailable {
        /// Which store, with its endpoints.
        store: String,
        /// The cause, and what to do if that is known.
        why: String,
    },
    /// The answer to a transaction did not come: it may be written or not, or still be on its way.
    #[error("{store} did not answer: {why}; whether the change is made is not known")]
    Ambiguous {
        /// Which store.
        store: String,
        /// The cause.
        why: String,
    },
    /// It refuses: wrong credentials, missing permission, an expired certificate, no space. The same
    /// request will be refused again until an operator does something.
    #[error("{store} refuses: {why}")]
    Refused {
        /// Which store.
        store: String,
        /// The cause and what to do.
        why: String,
    },
    /// A watch asked for changes that the store has forgotten: list anew and watch from there.
    #[error("{store} has compacted its history before revision {}", .oldest.0)]
    Compacted {
        /// Which store.
        store: String,
        /// The oldest revision whose successors are all remembered: the least that
        /// [`ClusterStore::watch`] takes.
        oldest: Revision,
    },
}

/// Changes, in the order of their revisions; those of one revision come together.
pub trait Watch: Send {
    /// The next changes; empty if there were none within `patience`. After an error the watch is over.
    ///
    /// # Errors
    /// [`KvError::Compacted`] if changes were missed for good. A backend that reconnects by itself
    /// says nothing of a lost connection: it resumes where it was.
    fn next(&mut self, patience: Duration) -> Result<Vec<Event>, KvError>;
}

/// A cluster's store.
pub trait ClusterStore: Send + Sync {
    /// At most `limit` rows of `range` (0: all), as they are now or later: the answer shows every
    /// change that was acknowledged to anybody before it was asked for.
    ///
    /// # Errors
    /// [`KvError`] except `Ambiguous` and `Compacted`.
    fn range(&self, range: &KeyRange, limit: usize) -> Result<Listing, KvError>;

    /// Runs a transaction. Durable when it returns.
    ///
    /// # Errors
    /// [`KvError`] except `Compacted`. Only after `Ambiguous` may it be written all the same.
    fn commit(&self, txn: &Txn) -> Result<Committed, KvError>;

    /// Watches `range` for changes after `after`.
    ///
    /// # Errors
    /// [`KvError`] except `Ambiguous`; `Compacted` may also come from the watch's first answer.
    fn watch(&self, range: &KeyRange, after: Revision) -> Result<Box<dyn Watch>, KvError>;

    /// What it is, for people: `etcd https://10.0.0.1:2379`, `embedded store /var/lib/bulkhead/cluster`.
    fn describe(&self) -> String;
}
