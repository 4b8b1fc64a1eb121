//! Which rules nft can load as text.

use crate::field::Field;
use crate::name::Name;
use crate::rule::{Match, Operand, Rule, Statement};
use crate::table::Table;

impl Table {
    /// Whether nft loads the text of `rule` in this table. It refuses to look up in a named set what is
    /// not of the types of its key, as raw bytes in a set of addresses; the kernel, which has the rule
    /// from the encoding, compares bytes, and nft lists the rule as its text has it.
    #[must_use]
    pub fn is_loadable(&self, rule: &Rule) -> bool {
        let lookups = rule.statements.iter().filter_map(lookup);
        lookups.into_iter().all(|(fields, set)| {
            let types = fields.iter().map(|field| field.kind());
            self.set(set)
                .is_none_or(|set| types.eq(set.key.iter().copied()))
        })
    }
}

/// The fields that a statement looks up and the named set it does so in.
fn lookup(statement: &Statement) -> Option<(&[Field], &Name)> {
    match statement {
        Statement::Match(Match {
            fields,
            with: Operand::Set(set),
            ..
        })
        | Statement::VerdictMap { fields, map: set }
        | Statement::PriorityOf { fields, map: set }
        | Statement::Dnat {
            fields, map: set, ..
        }
        | Statement::Forward { fields, map: set }
        | Statement::Meter { fields, set, .. }
        | Statement::Tally { fields, set } => Some((fields, set)),
        _ => None,
    }
}
