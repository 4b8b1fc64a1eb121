//! What the node's tables have counted, for a person or a metric: nothing is decided by it.

use bulkhead_nft::observe as ask;
use bulkhead_nft::{Count, Key, Name, TableId};

use crate::error::ObserveError;
use crate::nftables::set_kind;
use crate::place::Kernel;

impl Kernel {
    /// What each element of a set has counted; elements without a counter, as those of a meter, are not
    /// among them. Empty if there is no such set.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn tallies(
        &mut self,
        table: &TableId,
        set: &Name,
    ) -> Result<Vec<(Key, Count)>, ObserveError> {
        self.surveyed("tallies", |place| {
            let socket = place.netfilter()?;
            let Some(kind) = set_kind(socket, table, set)? else {
                return Ok(Vec::new());
            };
            let messages = socket.list(&ask::elements_request(table, set, 0))?;
            let tallies = messages
                .iter()
                .filter_map(|message| ask::decode_tallies(&message.body, &kind.key));
            Ok(tallies.flatten().collect())
        })
    }

    /// What the first counter of each rule of a chain has seen, in order; `None` for a rule without a
    /// counter. Empty if there is no such chain.
    ///
    /// # Errors
    /// As [`Kernel::observe`].
    pub fn rule_counts(
        &mut self,
        table: &TableId,
        chain: &Name,
    ) -> Result<Vec<Option<Count>>, ObserveError> {
        self.surveyed("counters", |place| {
            let request = ask::chain_rules_request(table, chain, 0);
            let rules = place.netfilter()?.list(&request)?;
            Ok(rules
                .iter()
                .map(|rule| ask::decode_count(&rule.body))
                .collect())
        })
    }
}
