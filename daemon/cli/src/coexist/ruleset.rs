//! Everybody's rules: those of nftables from the kernel, those of the old iptables from its own tool,
//! because nothing else shows them.

use std::fs;

use bulkhead_kernel::Kernel;
use bulkhead_model::Family;
use bulkhead_nft::foreign::Ruleset;

use super::error::CoexistError;
use super::tool::{ToolError, run};
use crate::failure::chain;

/// All rules that could be read, and why others could not.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) ruleset: Ruleset,
    pub(crate) unread: Vec<Unread>,
}

/// Tables of the old iptables that nothing on the node can show.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    pub(crate) family: Family,
    pub(crate) tables: String,
    pub(crate) why: String,
}

impl Rules {
    pub(crate) fn read(kernel: &mut Kernel) -> Result<Self, CoexistError> {
        let mut rules = Self {
            ruleset: kernel.rulesets().map_err(Box::new)?,
            unread: Vec::new(),
        };
        for family in [Family::V4, Family::V6] {
            rules.read_legacy(family);
        }
        Ok(rules)
    }

    /// Only if there are such tables: asking for them would make them.
    fn read_legacy(&mut self, family: Family) {
        let (names, tools) = match family {
            Family::V4 => (
                "/proc/net/ip_tables_names",
                ["iptables-legacy-save", "iptables-save"],
            ),
            Family::V6 => (
                "/proc/net/ip6_tables_names",
                ["ip6tables-legacy-save", "ip6tables-save"],
            ),
        };
        let Ok(names) = fs::read_to_string(names) else {
            return;
        };
        if names.trim().is_empty() {
            return;
        }
        match printed(&tools) {
            Ok(text) => self.ruleset.add_legacy(family, &text),
            Err(why) => self.unread.push(Unread {
                family,
                tables: names.split_whitespace().collect::<Vec<_>>().join(" "),
                why,
            }),
        }
    }
}

/// What the first of `tools` prints that is there; the last one counts only if it is the old one, which
/// says so.
fn printed(tools: &[&str; 2]) -> Result<String, String> {
    let [legacy, plain] = tools;
    match run(&[legacy]) {
        Ok(said) if said.succeeded() => return Ok(said.stdout),
        Ok(said) => return Err(said.complaint()),
        Err(ToolError::Missing(_)) => {}
        Err(error) => return Err(chain(&error)),
    }
    match run(&[plain]) {
        Ok(said) if said.succeeded() && !said.stdout.contains("(nf_tables)") => Ok(said.stdout),
        Ok(_) | Err(ToolError::Missing(_)) => Err(format!("there is no {legacy}")),
        Err(error) => Err(chain(&error)),
    }
}
