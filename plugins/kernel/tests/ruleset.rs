//! A kernel that stays reads tables and chains once a generation: whatever is changed, it is seen.

mod common;

use std::collections::BTreeMap;

use bulkhead_kernel::Kernel;
use bulkhead_nft::{
    Base, Chain, ChainKind, Command, Datum, Devices, Elements, Hook, Key, KeyType, Label, Name,
    Part, Policy, Set, Table, TableFamily, TableId, Transaction,
};
use bulkhead_plan::{Ns, Op, Plan, Scope, TableScope};
use common::*;

const MACS: Name = Name::literal("macs");
const POD: Name = Name::literal("pod");
const SOME: Name = Name::literal("some");

fn id() -> TableId {
    TableId {
        family: TableFamily::Netdev,
        name: Name::literal("bulkhead"),
    }
}

fn key(port: &str, last: u8) -> Key {
    Key::new([
        Datum::IfName(name(port)),
        Datum::EtherAddr(mac(last).octets()),
    ])
}

fn chain(name: Name, base: Option<Base>) -> Chain {
    Chain {
        name,
        base,
        part: Part::Fixed,
        rules: Vec::new(),
    }
}

fn table() -> Table {
    let mut table = Table::new(id());
    table.comment = Some(Label::new("bulkhead 1 abc").unwrap());
    let mut macs = Set::live(MACS, [KeyType::IfName, KeyType::EtherAddr]);
    macs.elements = Elements::keys([key("bhpa", 1)]);
    table.sets.push(macs);
    table
}

fn apply(kernel: &mut Kernel, command: Command) {
    kernel.apply(&committing(command)).unwrap();
}

fn committing(command: Command) -> Plan {
    Plan::new(vec![Op::Nft {
        ns: Ns::Host,
        transaction: Transaction(vec![command]),
        generation: None,
    }])
}

/// The table's chains with the number of their rules, and how many of two elements it has.
type Seen = Option<(BTreeMap<Name, usize>, usize)>;

fn seen(kernel: &mut Kernel) -> Seen {
    let mut scope = Scope::default();
    let wanted = TableScope {
        chains: [POD, SOME].into(),
        elements: [(MACS, [key("bhpa", 1), key("bhpc", 3)].into())].into(),
        ..TableScope::default()
    };
    scope.space(&Ns::Host).tables = [(id(), wanted)].into();
    let world = kernel.observe(&scope).unwrap();
    let table = world.space(&Ns::Host).tables.get(&id());
    table.map(|table| (table.chains.clone(), table.elements[&MACS].len()))
}

#[test]
fn what_others_change_is_seen() {
    let bed = Bed::new();
    let nft = |line| bed.host.nft(line).unwrap();
    bed.run(|kernel| {
        assert_eq!(seen(kernel), None);
        nft("add table netdev bulkhead { comment \"ours\"; }");
        nft("add set netdev bulkhead macs { typeof meta iifname . ether saddr; }");
        assert_eq!(seen(kernel), Some(([].into(), 0)));
        nft("add chain netdev bulkhead some");
        assert_eq!(seen(kernel), Some(([(SOME, 0)].into(), 0)));
        nft("add rule netdev bulkhead some counter");
        assert_eq!(seen(kernel), Some(([(SOME, 1)].into(), 0)));
        nft("flush chain netdev bulkhead some");
        assert_eq!(seen(kernel), Some(([(SOME, 0)].into(), 0)));
        nft("delete table netdev bulkhead");
        assert_eq!(seen(kernel), None);
    });
}

#[test]
fn what_it_changes_itself_is_seen() {
    let bed = Bed::new();
    bed.run(|kernel| {
        apply(kernel, Command::ReplaceTable(table()));
        assert_eq!(seen(kernel), Some(([].into(), 1)));
        let (table, set) = (id(), MACS);
        let chain = chain(POD, None);
        apply(kernel, Command::AddChain { table, chain });
        assert_eq!(seen(kernel), Some(([(POD, 0)].into(), 1)));
        let (table, elements) = (id(), Elements::keys([key("bhpc", 3)]));
        apply(
            kernel,
            Command::AddElements {
                table,
                set,
                elements,
            },
        );
        assert_eq!(seen(kernel), Some(([(POD, 0)].into(), 2)));
        let (table, chain) = (id(), POD);
        apply(kernel, Command::DeleteChain { table, chain });
        assert_eq!(seen(kernel), Some(([].into(), 2)));
        apply(kernel, Command::DeleteTable(id()));
        assert_eq!(seen(kernel), None);
    });
}

#[test]
fn an_element_that_others_take_out_again_is_missed() {
    let bed = Bed::new();
    bed.run(|kernel| {
        apply(kernel, Command::ReplaceTable(table()));
        seen(kernel);
        // Beside what surely changes, so that what is added is known without a look.
        let added = Transaction(vec![
            Command::AddElements {
                table: id(),
                set: MACS,
                elements: Elements::keys([key("bhpc", 3)]),
            },
            Command::AddChain {
                table: id(),
                chain: chain(POD, None),
            },
        ]);
        let op = Op::Nft {
            ns: Ns::Host,
            transaction: added,
            generation: None,
        };
        kernel.apply(&Plan::new(vec![op])).unwrap();
        assert_eq!(seen(kernel), Some(([(POD, 0)].into(), 2)));
        let line = "delete element netdev bulkhead macs { \"bhpc\" . 02:00:00:00:00:03 }";
        bed.host.nft(line).unwrap();
        assert_eq!(seen(kernel), Some(([(POD, 0)].into(), 1)));
    });
}

/// What adds nothing makes no generation: the next one is somebody else's, however it counts.
#[test]
fn what_others_change_after_a_commit_that_changed_nothing_is_seen() {
    let bed = Bed::new();
    bed.run(|kernel| {
        apply(kernel, Command::ReplaceTable(table()));
        assert_eq!(seen(kernel), Some(([].into(), 1)));
        apply(
            kernel,
            Command::AddElements {
                table: id(),
                set: MACS,
                elements: Elements::keys([key("bhpa", 1)]),
            },
        );
        bed.host.nft("add chain netdev bulkhead some").unwrap();
        assert_eq!(seen(kernel), Some(([(SOME, 0)].into(), 1)));
    });
}

#[test]
fn a_refusal_is_a_reason_to_look_again() {
    let bed = Bed::new();
    bed.run(|kernel| {
        apply(kernel, Command::ReplaceTable(table()));
        seen(kernel);
        let (table, chain) = (id(), chain(SOME, None));
        bed.host.nft("add chain netdev bulkhead some").unwrap();
        let refused = kernel.apply(&committing(Command::AddChain { table, chain }));
        assert!(refused.unwrap_err().is_stale());
        assert_eq!(seen(kernel), Some(([(SOME, 0)].into(), 1)));
    });
}

/// The kernel takes it with its device, which makes no generation.
#[test]
fn a_chain_that_went_with_its_device_is_not_taken_for_there() {
    let bed = Bed::new();
    bed.host
        .ip("link add bhpa type veth peer name bhpx")
        .unwrap();
    let base = Base {
        kind: ChainKind::Filter,
        hook: Hook::Ingress,
        devices: Devices::Names(vec![name("bhpa")]),
        priority: -300,
        policy: Policy::Accept,
    };
    bed.run(|kernel| {
        let mut table = table();
        table.chains.push(chain(POD, Some(base)));
        apply(kernel, Command::ReplaceTable(table));
        assert_eq!(seen(kernel), Some(([(POD, 0)].into(), 1)));
        bed.host.ip("link del bhpa").unwrap();
        let after = seen(kernel);
        kernel.look_afresh();
        assert_eq!(after, seen(kernel));
    });
}
