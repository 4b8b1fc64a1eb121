//! Lists in replies of at most [`PAGE_ROWS`] rows.

use bulkhead_ipam::wire::admin::{PAGE_ROWS, Reply};

use crate::admin::Replies;

/// A list that is being said.
pub(in crate::admin) struct Pages<'a, T> {
    replies: &'a Replies,
    reply: Box<dyn Fn(Vec<T>) -> Reply + 'a>,
    rows: Vec<T>,
}

impl<'a, T> Pages<'a, T> {
    /// One whose pages are such replies.
    pub(in crate::admin) fn new(
        replies: &'a Replies,
        reply: impl Fn(Vec<T>) -> Reply + 'a,
    ) -> Self {
        Self {
            replies,
            reply: Box::new(reply),
            rows: Vec::new(),
        }
    }

    /// The next row.
    pub(in crate::admin) fn push(&mut self, row: T) {
        if self.rows.len() == PAGE_ROWS {
            let page = std::mem::take(&mut self.rows);
            self.replies.say((self.reply)(page));
        }
        self.rows.push(row);
    }

    /// The last page, which has at least one row if there is any.
    pub(in crate::admin) fn last(self) -> Reply {
        (self.reply)(self.rows)
    }
}

/// A list that is known whole.
pub(in crate::admin) fn paged<T>(
    rows: impl IntoIterator<Item = T>,
    replies: &Replies,
    reply: fn(Vec<T>) -> Reply,
) -> Reply {
    let mut pages = Pages::new(replies, reply);
    rows.into_iter().for_each(|row| pages.push(row));
    pages.last()
}
