//! Our terms in etcd's, and back. Every key of ours has the configured prefix there.

use bulkhead_ipam::cluster::{Compare, Event, Key, KeyRange, Revision, Row, Txn, Write};
use etcd_client::{Compare as EtcdCompare, CompareOp, EventType, KeyValue, Txn as EtcdTxn, TxnOp};

use crate::endpoint::revision;

/// The prefix of every key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefix<'a>(pub(crate) &'a str);

/// A range of etcd's keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct EtcdRange {
    pub(crate) from: Vec<u8>,
    pub(crate) until: Vec<u8>,
}

impl Prefix<'_> {
    fn key(self, key: &Key) -> Vec<u8> {
        [self.0.as_bytes(), key.as_str().as_bytes()].concat()
    }

    pub(crate) fn range(self, range: &KeyRange) -> EtcdRange {
        let mut from = [self.0, &range.from].concat().into_bytes();
        if from.is_empty() {
            // Its first key; an empty one is refused.
            from.push(0);
        }
        EtcdRange {
            from,
            until: [self.0, &range.until].concat().into_bytes(),
        }
    }

    pub(crate) fn txn(self, txn: &Txn) -> EtcdTxn {
        let when: Vec<_> = txn.when.iter().map(|c| self.compare(c)).collect();
        let writes: Vec<_> = txn.writes.iter().map(|w| self.write(w)).collect();
        EtcdTxn::new().when(when).and_then(writes)
    }

    fn compare(self, compare: &Compare) -> EtcdCompare {
        match compare {
            Compare::Absent(key) => {
                EtcdCompare::create_revision(self.key(key), CompareOp::Equal, 0)
            }
            Compare::NoneIn(range) => {
                // Holds for every key of the range, so only if there is none.
                let range = self.range(range);
                EtcdCompare::create_revision(range.from, CompareOp::Equal, 0)
                    .with_range(range.until)
            }
            Compare::Modified(key, revision) => {
                EtcdCompare::mod_revision(self.key(key), CompareOp::Equal, raw(*revision))
            }
            Compare::Value(key, value) => {
                EtcdCompare::value(self.key(key), CompareOp::Equal, value.clone())
            }
        }
    }

    fn write(self, write: &Write) -> TxnOp {
        match write {
            Write::Put(key, value) => TxnOp::put(self.key(key), value.clone(), None),
            Write::Delete(key) => TxnOp::delete(self.key(key), None),
        }
    }

    /// `None` for a key that no release of ours writes: somebody else's.
    pub(crate) fn row(self, pair: &KeyValue) -> Option<Row> {
        Some(Row {
            key: self.own_key(pair)?,
            value: pair.value().to_vec(),
            created: revision(pair.create_revision()),
            modified: revision(pair.mod_revision()),
        })
    }

    /// `None` as [`Prefix::row`].
    pub(crate) fn event(self, event: &etcd_client::Event) -> Option<Event> {
        let pair = event.kv()?;
        Some(Event {
            key: self.own_key(pair)?,
            row: match event.event_type() {
                EventType::Put => self.row(pair),
                EventType::Delete => None,
            },
            revision: revision(pair.mod_revision()),
        })
    }

    fn own_key(self, pair: &KeyValue) -> Option<Key> {
        let key = pair.key().strip_prefix(self.0.as_bytes())?;
        Key::new(std::str::from_utf8(key).ok()?)
    }
}

/// etcd's revisions are signed.
pub(crate) fn raw(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_everything_begins_with_etcds_first_key() {
        let all = KeyRange {
            from: String::new(),
            until: "\u{7f}".to_owned(),
        };
        assert_eq!(Prefix("").range(&all).from, b"\0");
        assert_eq!(Prefix("/x").range(&all).from, b"/x");
        assert_eq!(Prefix("/x").range(&all).until, b"/x\x7f");
    }
}
