//! A table that becomes another one: the commands that lead there, for us and for the kernel.

mod common;

use std::net::IpAddr;

use bulkhead_nft::{
    Base, Chain, ChainKind, Command, Data, DataType, Datum, Devices, Elements, Field, Hook, Key,
    KeyType, Name, Part, Policy, Rule, Set, Statement, Table, TableFamily, TableId, Verdict,
    change, changed,
};
use common::{Nfnl, listing};
use netns_fixtures::Sandbox;

const KINDS: Name = Name::literal("kinds");
const AROUND: Name = Name::literal("around");
const VERDICTS: Name = Name::literal("verdicts");

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn chain(text: &str, rules: impl IntoIterator<Item = Rule>) -> Chain {
    Chain {
        name: name(text),
        base: None,
        part: Part::Live,
        rules: rules.into_iter().collect(),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Addresses have kinds, and kinds have chains, each of which goes to another one, and to another one again where
/// there are more cuts.
fn table(kinds: &[(&str, u32)], cuts: &[(&str, &str, u32)]) -> Table {
    let family = TableFamily::Inet;
    let mut table = Table::new(TableId {
        family,
        name: name("changing"),
    });
    let value = DataType::Value(vec![KeyType::ClassId]);
    let class = |number: u32| Data::Value(Datum::ClassId(number).into());
    let mut exact = Set::live_map(KINDS, [KeyType::Ipv4Addr], value.clone());
    let elements = kinds.iter();
    let elements = elements.map(|(of, kind)| (address(of).into(), class(*kind).into()));
    exact.elements = Elements::Map(elements.collect());
    let mut around = Set::live_ranges(AROUND, KeyType::Ipv4Addr, value);
    let ranges = cuts.iter();
    let ranges = ranges.map(|(first, last, kind)| (address(first), (address(last), class(*kind))));
    around.elements = Elements::Ranges(ranges.collect());
    let mut verdicts = Set::live_map(VERDICTS, [KeyType::ClassId], DataType::Verdict);
    let known = kinds.iter().map(|(_, kind)| *kind);
    let known: std::collections::BTreeSet<u32> =
        known.chain(cuts.iter().map(|(_, _, kind)| *kind)).collect();
    let to = |kind: &u32| Data::Verdict(Verdict::Goto(name(&format!("kind-{kind}"))));
    let entries = known
        .iter()
        .map(|kind| (Datum::ClassId(*kind).into(), to(kind).into()));
    verdicts.elements = Elements::Map(entries.collect());
    table.sets = vec![around, exact, verdicts];
    let base = Base {
        kind: ChainKind::Filter,
        hook: Hook::Forward,
        devices: Devices::None,
        priority: -10,
        policy: Policy::Accept,
    };
    let rules = [
        Rule::new([Statement::priority_of([Field::Ip4Saddr], AROUND)]),
        Rule::new([Statement::priority_of([Field::Ip4Saddr], KINDS)]),
        Rule::new([Statement::VerdictMap {
            fields: vec![Field::Priority],
            map: VERDICTS,
        }]),
    ];
    table.chains = vec![Chain {
        base: Some(base),
        ..chain("forward", rules)
    }];
    for kind in &known {
        let end = format!("end-{}", (*kind as usize + cuts.len()) % 3);
        let rule = Rule::new([Statement::Counter, Statement::goto(name(&end))]);
        table.chains.push(chain(&format!("kind-{kind}"), [rule]));
        if table.chain(&name(&end)).is_none() {
            table
                .chains
                .push(chain(&end, [Rule::new([Statement::drop()])]));
        }
    }
    table.chains.sort_by(|one, other| one.name.cmp(&other.name));
    table
}

fn steps() -> Vec<Table> {
    let whole = ("0.0.0.0", "255.255.255.255", 1);
    let cut = [
        ("0.0.0.0", "9.255.255.255", 1),
        ("10.0.0.0", "10.255.255.255", 4),
        ("11.0.0.0", "255.255.255.255", 1),
    ];
    let finer = [
        ("0.0.0.0", "9.255.255.255", 1),
        ("10.0.0.0", "10.127.255.255", 5),
        ("10.128.0.0", "10.255.255.255", 4),
        ("11.0.0.0", "255.255.255.255", 2),
    ];
    vec![
        table(&[], &[whole]),
        table(&[("10.0.0.1", 2)], &[whole]),
        table(&[("10.0.0.1", 3), ("10.0.0.2", 2)], &cut),
        table(&[("10.0.0.1", 3), ("10.0.0.2", 9)], &finer),
        table(&[("10.0.0.3", 9)], &cut),
        table(&[], &[whole]),
    ]
}

#[test]
fn the_commands_lead_from_each_table_to_each_other() {
    let steps = steps();
    for from in &steps {
        for to in &steps {
            let commands = change(from, to);
            let whole = |one: &Command| matches!(one, Command::ReplaceTable(_));
            assert!(!commands.iter().any(whole), "{commands:?}");
            assert_eq!(changed(from, &commands).as_ref(), Ok(to), "{commands:?}");
        }
        assert_eq!(change(from, from), []);
    }
    let commands = change(&steps[0], &steps[2]);
    let anew = |one: &Command| matches!(one, Command::SetRules { .. });
    assert!(commands.iter().any(anew), "{commands:?}");
}

#[test]
fn another_base_chain_or_kind_of_set_is_another_table() {
    let from = table(&[], &[]);
    let mut hooked = from.clone();
    for chain in &mut hooked.chains {
        if let Some(base) = &mut chain.base {
            base.priority += 1;
        }
    }
    let mut kind = from.clone();
    kind.sets[1].key = vec![KeyType::Ipv6Addr];
    for to in [hooked, kind] {
        assert_eq!(change(&from, &to), [Command::ReplaceTable(to.clone())]);
    }
}

#[test]
fn the_kernel_goes_where_the_commands_lead() {
    let sandbox = Sandbox::new();
    let (there, fresh) = (sandbox.ns("there").unwrap(), sandbox.ns("fresh").unwrap());
    let (socket, other) = (Nfnl::open(&there), Nfnl::open(&fresh));
    let steps = steps();
    socket
        .commit(&[Command::ReplaceTable(steps[0].clone())])
        .unwrap();
    for pair in steps.windows(2) {
        let [from, to] = pair else { continue };
        socket.commit(&change(from, to)).unwrap();
        other.commit(&[Command::ReplaceTable(to.clone())]).unwrap();
        assert_eq!(sorted(&listing(&there)), sorted(&listing(&fresh)));
    }
}

/// Chains and sets are listed in the order they were made in.
fn sorted(listing: &str) -> Vec<String> {
    let bare = |block: &str| {
        let block = block.replace("table inet changing {\n", "");
        block.trim_matches(['\n', '}']).to_owned()
    };
    let mut blocks: Vec<String> = listing.split("\n\n").map(bare).collect();
    blocks.sort();
    blocks
}

#[test]
fn an_element_is_a_key_once() {
    let of = |kind| table(&[("10.0.0.1", kind)], &[]);
    let commands = change(&of(1), &of(2));
    let text: String = commands.iter().map(ToString::to_string).collect();
    let key = Key::from(address("10.0.0.1"));
    assert!(
        text.contains(&format!("delete element inet changing kinds {{ {key} }}")),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "add element inet changing kinds {{ {key} : 0:2 }}"
        )),
        "{text}"
    );
}
