//! A table as bytes and as text.

use bulkhead_nft::{Chain, Command, Name, Part, Rule, Table, TableFamily, TableId};
use netns_fixtures::{Ns, Sandbox};

use super::{Nfnl, listing};

/// Loads the table as bytes here and as text there.
pub fn agree(table: &Table) {
    let sandbox = Sandbox::new();
    let (bytes, text) = (sandbox.ns("bytes").unwrap(), sandbox.ns("text").unwrap());
    Nfnl::open(&bytes)
        .commit(&[Command::ReplaceTable(table.clone())])
        .unwrap();
    let script = Command::ReplaceTable(table.clone()).to_string();
    text.nft(&script).unwrap();
    assert_eq!(listing(&bytes), listing(&text), "\n{script}");
    // For ARP and ICMP in bridge tables nft compares the link header's type, we the packet's.
    if table.id.family != TableFamily::Bridge {
        assert_eq!(expressions(&bytes), expressions(&text), "\n{script}");
    }
    // What nft prints it also loads: nothing in it is garbled.
    text.nft(&format!("flush ruleset\n{}", listing(&bytes)))
        .unwrap();
    assert_eq!(listing(&bytes), listing(&text), "\n{script}");
}

/// What the kernel holds of each rule, beyond what nft makes words of.
fn expressions(ns: &Ns) -> Vec<String> {
    let text = ns.sh("nft -s --debug=netlink list ruleset").unwrap();
    let lines = text.lines().filter(|line| line.starts_with("  [ "));
    lines.map(str::to_owned).collect()
}

pub fn chain(name: &'static str, rules: impl IntoIterator<Item = Rule>) -> Chain {
    Chain {
        name: Name::literal(name),
        base: None,
        part: Part::Fixed,
        rules: rules.into_iter().collect(),
    }
}

/// A table with those rules in `first`, and an empty chain `second`.
pub fn table(family: TableFamily, rules: impl IntoIterator<Item = Rule>) -> Table {
    let name = Name::literal("t");
    let mut table = Table::new(TableId { family, name });
    table.chains = vec![chain("first", rules), chain("second", [])];
    table
}
