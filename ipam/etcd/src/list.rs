//! Listings: read in pages, all at the revision of the first.

use bulkhead_ipam::cluster::{KeyRange, KvError, Listing, Revision};
use etcd_client::{Error, GetOptions, GetResponse, ResponseHeader};

use crate::endpoint::{Member, revision};
use crate::pool::{Call, Pool};
use crate::translate::{EtcdRange, Prefix, raw};

/// Rows that are asked for at once.
const PAGE: usize = 512;
/// How often a listing begins anew because its revision was compacted between two pages.
const ATTEMPTS: usize = 3;

struct Page {
    range: EtcdRange,
    limit: usize,
    at: Option<Revision>,
}

impl Call for Page {
    type Answer = GetResponse;

    const REPEATABLE: bool = true;

    async fn make(&self, mut member: Member) -> Result<GetResponse, Error> {
        let options = GetOptions::new()
            .with_range(self.range.until.clone())
            .with_limit(i64::try_from(self.limit).unwrap_or(i64::MAX))
            // 0: as it is now.
            .with_revision(self.at.map_or(0, raw));
        member.kv.get(self.range.from.clone(), Some(options)).await
    }

    fn header(answer: &GetResponse) -> Option<&ResponseHeader> {
        answer.header()
    }
}

/// At most `limit` rows of the range; 0: all.
pub(crate) async fn list(pool: &Pool, range: &KeyRange, limit: usize) -> Result<Listing, KvError> {
    for _ in 0..ATTEMPTS {
        match pages(pool, range, limit).await {
            Err(KvError::Compacted { .. }) => {}
            other => return other,
        }
    }
    Err(KvError::Unavailable {
        store: pool.name.clone(),
        why: "it is compacted faster than it can be listed: compact it less often".to_owned(),
    })
}

async fn pages(pool: &Pool, range: &KeyRange, limit: usize) -> Result<Listing, KvError> {
    let prefix = Prefix(&pool.config.prefix);
    let wanted = if limit == 0 { usize::MAX } else { limit };
    let mut listing = Listing::default();
    let mut page = Page {
        range: prefix.range(range),
        limit: PAGE.min(wanted),
        at: None,
    };
    loop {
        let answer = pool.ask(&page).await?;
        if page.at.is_none() {
            let header = answer.header().map(|header| revision(header.revision()));
            listing.revision = header.unwrap_or_default();
            page.at = header;
        }
        let rows = answer.kvs().iter().filter_map(|pair| prefix.row(pair));
        listing.rows.extend(rows);
        listing.more = answer.more();
        page.limit = PAGE.min(wanted - listing.rows.len());
        match answer.kvs().last() {
            Some(last) if answer.more() && page.limit > 0 => {
                page.range.from = [last.key(), b"\0"].concat();
            }
            _ => return Ok(listing),
        }
    }
}
