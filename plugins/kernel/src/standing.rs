//! A table read whole, for whoever wants to prove that it is the one that should be there.

use bulkhead_nft::observe as ask;
use bulkhead_nft::standing::{Listed, named_elements_request, set_names, sets_request};
use bulkhead_nft::{Standing, TableId};

use crate::error::ObserveError;
use crate::place::{Kernel, PlaceError};

impl Kernel {
    /// The table as the kernel has it; `None` if it has none of that name. A commit in between may show in a part
    /// of it: who finds a difference looks again.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn standing(&mut self, table: &TableId) -> Result<Option<Standing>, ObserveError> {
        self.surveyed("a table", |place| {
            let socket = place.netfilter()?;
            let Some(found) = socket.get(ask::table_request(table, 0))? else {
                return Ok(None);
            };
            let mut list = |request: Vec<u8>| {
                let messages = socket.list(&request)?.into_iter();
                Ok::<_, PlaceError>(messages.map(|message| message.body).collect::<Vec<_>>())
            };
            let sets = list(sets_request(table, 0))?;
            let mut elements = Vec::new();
            for set in set_names(table, &sets) {
                elements.extend(list(named_elements_request(table, &set, 0))?);
            }
            let listed = Listed {
                table: found.body,
                chains: list(ask::chains_request(table, 0))?,
                rules: list(ask::rules_request(table, 0))?,
                sets,
                elements,
            };
            Ok(Some(Standing::listed(table, &listed)))
        })
    }
}
