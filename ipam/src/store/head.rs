//! A record's first half: what the indexes need, short, so that opening a store reads 128 of them
//! in a few microseconds each and leaves the second half, the payload, alone.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use bulkhead_model::AttachmentKey;
use serde::{Deserialize, Serialize};

use crate::pool::Pool;
use crate::record::{AttachmentRecord, BootId, PodRef};

/// What a record did.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    /// The payload is an `AttachmentRecord`.
    Attached,
    /// The payload is a `Release`.
    Released,
    /// The payload is a `Pool`.
    Pool,
}

/// The first half.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Head<'a> {
    pub(crate) op: What,
    /// The record's number; each is one more than the one before.
    pub(crate) n: u64,
    /// Attachments after it.
    pub(crate) live: u64,
    /// The attachment.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Cow<'a, str>>,
    /// Addresses of our own that are held from now on, or freed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) addresses: Vec<IpAddr>,
    /// Which of them a cursor found: it stands behind them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) moved: Vec<IpAddr>,
    /// When they were freed, on the clock of `boot`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) since_boot_ms: u64,
    /// The boot in which they were freed.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot: Option<Cow<'a, str>>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// The end of a lease.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Release {
    pub(crate) key: AttachmentKey,
    /// The sequence of the lease that ended.
    pub(crate) lease: u64,
    pub(crate) freed_at_unix_ms: u64,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<PodRef>,
}

impl<'a> Head<'a> {
    /// The head of a record's body, and where its payload is in it.
    pub(crate) fn parse(body: &'a [u8]) -> Result<(Self, Range<usize>), serde_json::Error> {
        let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Self>();
        let head = match values.next() {
            Some(head) => head?,
            None => return serde_json::from_slice(body).map(|head| (head, 0..0)),
        };
        let at = values.byte_offset();
        Ok((head, at..body.len()))
    }

    pub(crate) fn attached(
        record: &AttachmentRecord,
        own: Vec<IpAddr>,
        moved: Vec<IpAddr>,
    ) -> Self {
        Self {
            op: What::Attached,
            n: record.sequence,
            live: 0,
            id: Some(record.id().to_string().into()),
            addresses: own,
            moved,
            since_boot_ms: 0,
            boot: None,
        }
    }

    pub(crate) fn released(
        record: &AttachmentRecord,
        own: Vec<IpAddr>,
        n: u64,
        since_boot_ms: u64,
        boot: &BootId,
    ) -> Self {
        Self {
            op: What::Released,
            n,
            live: 0,
            id: Some(record.id().to_string().into()),
            addresses: own,
            moved: Vec::new(),
            since_boot_ms,
            boot: Some(boot.as_str().to_owned().into()),
        }
    }

    pub(crate) fn pool(n: u64) -> Self {
        Self {
            op: What::Pool,
            n,
            live: 0,
            id: None,
            addresses: Vec::new(),
            moved: Vec::new(),
            since_boot_ms: 0,
            boot: None,
        }
    }

    /// The body of a record.
    pub(crate) fn with(&self, payload: &impl Serialize) -> Vec<u8> {
        let mut body = Vec::with_capacity(512);
        serde_json::to_writer(&mut body, self).expect("a head is JSON");
        body.push(b' ');
        serde_json::to_writer(&mut body, payload).expect("a payload has text keys");
        body
    }
}

/// A payload.
pub(crate) fn payload<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json)
}

/// The pool of a pool record.
pub(crate) fn pool_of(json: &[u8]) -> Result<Pool, serde_json::Error> {
    payload(json)
}
