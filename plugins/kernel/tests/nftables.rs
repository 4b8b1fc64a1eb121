//! Tables through the kernel's own answers, with nft as a second reader.

mod common;

use bulkhead_kernel::OpError;
use bulkhead_nft::{
    Base, Chain, ChainKind, Command, Datum, Devices, Elements, Hook, Key, KeyType, Label, Name,
    Part, Policy, Set, Table, TableFamily, TableId, Transaction,
};
use bulkhead_plan::{Ns, Op, Plan, Scope, Space, TableScope};
use common::*;

const MACS: Name = Name::literal("macs");
const POD: Name = Name::literal("pod");

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

fn table(devices: Devices) -> Table {
    let mut table = Table::new(id());
    table.comment = Some(Label::new("bulkhead 1 abc").unwrap());
    let mut macs = Set::live(MACS, [KeyType::IfName, KeyType::EtherAddr]);
    macs.elements = Elements::keys([key("bhpa", 1), key("bhpb", 2)]);
    table.sets.push(macs);
    table.chains.push(Chain {
        name: POD,
        base: Some(Base {
            kind: ChainKind::Filter,
            hook: Hook::Ingress,
            devices,
            priority: -300,
            policy: Policy::Accept,
        }),
        part: Part::Fixed,
        rules: Vec::new(),
    });
    table
}

fn commit(command: Command, generation: Option<u32>) -> Op {
    Op::Nft {
        ns: Ns::Host,
        transaction: Transaction(vec![command]),
        generation,
    }
}

fn elements(keys: impl IntoIterator<Item = Key>) -> Elements {
    Elements::keys(keys)
}

fn scope(wanted: TableScope) -> Scope {
    let mut scope = Scope::default();
    scope.space(&Ns::Host).tables = [(id(), wanted)].into();
    scope
}

fn observe(bed: &Bed, wanted: TableScope) -> Space {
    bed.run(|kernel| kernel.observe(&scope(wanted)).unwrap())
        .space(&Ns::Host)
        .clone()
}

#[test]
fn a_table_is_seen_by_key_and_whole() {
    let bed = Bed::new();
    let absent = observe(&bed, TableScope::default());
    assert!(absent.tables.is_empty() && absent.generation.is_some());
    bed.apply(vec![commit(
        Command::ReplaceTable(table(Devices::Names(vec![name("bhpa")]))),
        None,
    )]);
    let by_key = TableScope {
        chains: [POD, Name::literal("nosuchchain")].into(),
        elements: [(MACS, [key("bhpa", 1), key("bhpa", 2)].into())].into(),
        ..TableScope::default()
    };
    let space = observe(&bed, by_key);
    let state = &space.tables[&id()];
    assert_eq!(state.comment.as_deref(), Some("bulkhead 1 abc"));
    assert_eq!(state.chains, [(POD, 0)].into());
    assert_eq!(state.elements[&MACS], [key("bhpa", 1)].into());
    assert_ne!(space.generation, absent.generation);

    let whole = TableScope {
        whole_sets: [MACS, Name::literal("nosuchset")].into(),
        ..TableScope::default()
    };
    let state = &observe(&bed, whole).tables[&id()];
    assert_eq!(
        state.elements,
        [(MACS, [key("bhpa", 1), key("bhpb", 2)].into())].into()
    );
}

#[test]
fn elements_come_and_go_and_a_missing_one_is_stale() {
    let bed = Bed::new();
    let delete = |key| Command::DeleteElements {
        table: id(),
        set: MACS,
        elements: elements([key]),
    };
    let add = Command::AddElements {
        table: id(),
        set: MACS,
        elements: elements([key("bhpc", 3)]),
    };
    bed.apply(vec![
        commit(Command::ReplaceTable(table(Devices::Names(vec![]))), None),
        commit(add, None),
        commit(delete(key("bhpa", 1)), None),
    ]);
    let error = bed.run(|kernel| {
        kernel
            .apply(&Plan::new(vec![commit(delete(key("bhpa", 1)), None)]))
            .unwrap_err()
    });
    assert!(error.is_stale(), "{error:?}");
    assert!(!error.op.contains('\n'), "{}", error.op);
    let listed = bed.host.nft("list set netdev bulkhead macs").unwrap();
    assert!(
        listed.contains("bhpb") && listed.contains("bhpc") && !listed.contains("bhpa"),
        "{listed}"
    );
}

#[test]
fn a_transaction_decided_on_an_older_generation_is_stale() {
    let bed = Bed::new();
    let generation = observe(&bed, TableScope::default()).generation;
    bed.host.nft("add table inet foreign").unwrap();
    let replace = || Command::ReplaceTable(table(Devices::Names(vec![])));
    let error = bed.run(|kernel| {
        kernel
            .apply(&Plan::new(vec![commit(replace(), generation)]))
            .unwrap_err()
    });
    assert!(error.is_stale(), "{error:?}");
    let generation = observe(&bed, TableScope::default()).generation;
    bed.apply(vec![commit(replace(), generation)]);
    assert_eq!(observe(&bed, TableScope::default()).tables.len(), 1);
}

#[test]
fn a_prefix_chain_is_loaded_or_found_to_be_impossible() {
    let bed = Bed::new();
    let op = commit(
        Command::ReplaceTable(table(Devices::Prefix(name("bhp")))),
        None,
    );
    bed.run(|kernel| {
        let promised = kernel.features().device_prefix;
        match kernel.apply(&Plan::new(vec![op])) {
            Ok(()) => assert!(kernel.features().device_prefix == promised),
            Err(error) => {
                assert!(
                    matches!(error.source, OpError::NoDevicePrefix(_)),
                    "{error:?}"
                );
                assert!(error.is_stale() && !kernel.features().device_prefix);
            }
        }
    });
}

/// A hook that no netdev chain has is refused with the error of a kernel that knows no prefixes.
#[test]
fn a_refused_prefix_chain_is_not_promised_again() {
    let bed = Bed::new();
    let mut refused = table(Devices::Prefix(name("bhp")));
    refused.chains[0].base.as_mut().unwrap().hook = Hook::Forward;
    let plan = Plan::new(vec![commit(Command::ReplaceTable(refused), None)]);
    bed.run(|kernel| {
        let error = kernel.apply(&plan).unwrap_err();
        assert!(
            matches!(error.source, OpError::NoDevicePrefix(_)),
            "{error:?}"
        );
        assert!(error.is_stale());
        assert!(!kernel.features().device_prefix);
    });
}

#[test]
fn a_deletion_leaves_no_stall_to_the_process() {
    let bed = Bed::new();
    bed.apply(vec![commit(
        Command::ReplaceTable(table(Devices::Names(vec![]))),
        None,
    )]);
    let once = |deletion: bulkhead_kernel::Deletion, n: u8| {
        let both = Transaction(vec![
            Command::AddElements {
                table: id(),
                set: MACS,
                elements: elements([key("bhpx", n)]),
            },
            Command::DeleteElements {
                table: id(),
                set: MACS,
                elements: elements([key("bhpx", n)]),
            },
        ]);
        let op = Op::Nft {
            ns: Ns::Host,
            transaction: both,
            generation: None,
        };
        bed.host
            .enter(|| {
                let start = std::time::Instant::now();
                let mut kernel = bulkhead_kernel::Kernel::new(deletion);
                kernel.apply(&Plan::new(vec![op])).unwrap();
                drop(kernel);
                start.elapsed()
            })
            .unwrap()
    };
    let mut nth = 0;
    let mut usual = |deletion: &bulkhead_kernel::Deletion| {
        median(|| {
            nth += 1;
            once(deletion.clone(), nth)
        })
    };
    let (plain, held) = (
        usual(&bulkhead_kernel::Deletion::Blocking),
        usual(&reaper()),
    );
    assert!(held < plain, "{held:?} held, {plain:?} plain");
}
