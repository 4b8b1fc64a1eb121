//! Raw bytes looked up in sets of types: nft 1.0.6 cannot write such a rule, but lists it, and the
//! kernel compares bytes.

mod common;

use bulkhead_nft::{
    Chain, Command, Datum, Elements, Field, Key, KeyType, Name, Part, PayloadBase, Rule, Set,
    Statement, Table,
};
use common::{BULKHEAD, Nfnl, POD, bound, device, golden, listing, port_chain};
use netns_fixtures::Sandbox;

const ID2: Name = Name::literal("id2");
const ID6: Name = Name::literal("id6");
const ID64: Name = Name::literal("id64");

fn raw(base: PayloadBase, offset: u16, len: u8) -> Field {
    Field::Raw { base, offset, len }
}

/// The guard's lookups: the address in a link-layer option, the target of an advertisement, the /64 of
/// a source.
fn table() -> Table {
    use Field::{EtherSaddr, Iifname};
    use KeyType::{EtherAddr, IfName, Integer, Ipv6Addr};
    let mac = Datum::EtherAddr([2, 0, 0, 0, 0, 1]);
    let key = |address: Datum| Key::new([device("bhpa").into(), mac.clone(), address]);
    let target = Datum::Ipv6Addr("fd00::1".parse().unwrap());
    let net = [0xfd, 0, 0, 0, 0, 0, 0, 7].into();
    let mut table = Table::new(BULKHEAD);
    table.sets = vec![
        Set::live(ID2, [IfName, EtherAddr]),
        Set::live(ID6, [IfName, EtherAddr, Ipv6Addr]),
        Set::live(ID64, [IfName, EtherAddr, Integer(8)]),
    ];
    let elements = [bound("bhpa", 1), key(target), key(net)];
    for (set, key) in table.sets.iter_mut().zip(elements) {
        set.elements = Elements::keys([key]);
    }
    let lookups: [(Vec<Field>, Name); 3] = [
        (vec![Iifname, raw(PayloadBase::Transport, 26, 6)], ID2),
        (
            vec![Iifname, EtherSaddr, raw(PayloadBase::Transport, 8, 16)],
            ID6,
        ),
        (
            vec![Iifname, EtherSaddr, raw(PayloadBase::Network, 8, 8)],
            ID64,
        ),
    ];
    let rules = lookups
        .map(|(fields, set)| Rule::new([Statement::in_set(fields, set), Statement::accept()]));
    let pod = Chain {
        name: POD,
        base: None,
        part: Part::Fixed,
        rules: rules.to_vec(),
    };
    table.chains = vec![pod, port_chain("bhpa"), port_chain("bhpb")];
    table
}

/// The table without the rules that nft cannot load.
fn loadable() -> Table {
    let mut table = table();
    let whole = table.clone();
    let rules = &mut table.chains[0].rules;
    rules.retain(|rule| whole.is_loadable(rule));
    table
}

/// What nft shows of the set definitions and the chains, rules of `pod` apart.
fn outline(listing: &str) -> Vec<&str> {
    let is_rule = |line: &&str| line.ends_with("accept");
    listing.lines().filter(|line| !is_rule(line)).collect()
}

#[test]
fn nft_lists_what_it_cannot_load() {
    let sandbox = Sandbox::new();
    let (bytes, text) = (sandbox.ns("bytes").unwrap(), sandbox.ns("text").unwrap());
    Nfnl::open(&bytes)
        .commit(&[Command::ReplaceTable(table())])
        .unwrap();
    golden("beyond.nft", &table().to_string());
    let listed = listing(&bytes);
    for rule in &table().chains[0].rules {
        assert!(listed.contains(&rule.to_string()), "{rule}\n{listed}");
    }
    // A listing in JSON takes another way through nft.
    bytes.sh("nft -j list ruleset").unwrap();

    assert_eq!(loadable().chains[0].rules.len(), 1);
    for rule in &table().chains[0].rules {
        let mut one = table();
        one.chains[0].rules = vec![rule.clone()];
        text.nft("flush ruleset").unwrap();
        let loaded = text.nft(&one.to_string());
        assert_eq!(loaded.is_ok(), table().is_loadable(rule), "{rule}");
    }
    text.nft(&format!("flush ruleset\n{}", loadable())).unwrap();
    assert_eq!(outline(&listed), outline(&listing(&text)));
}

/// What the kernel was told where nft has no text to compare with.
#[test]
fn each_part_of_a_key_starts_on_a_register_of_its_own() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("n").unwrap();
    Nfnl::open(&ns)
        .commit(&[Command::ReplaceTable(table())])
        .unwrap();
    let text = ns.sh("nft -s --debug=netlink list ruleset").unwrap();
    let kept = |line: &&str| line.contains("element ") || line.starts_with("  [ ");
    let lines: Vec<&str> = text.lines().filter(kept).map(str::trim).collect();
    golden("beyond.netlink", &(lines.join("\n") + "\n"));
}
