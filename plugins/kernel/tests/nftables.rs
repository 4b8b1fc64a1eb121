//! Tables through the kernel's own answers, with nft as a second reader.

mod common;

use std::time::Duration;

use bulkhead_kernel::OpError;
use bulkhead_nft::{
    Base, Chain, ChainKind, Command, Data, DataType, Datum, Devices, Elements, Entry, FoundEntry,
    Hook, Key, KeyType, Label, Name, Part, Policy, Set, Table, TableFamily, TableId, Transaction,
};
use bulkhead_plan::{Entries, MapScope, Ns, Op, Plan, Scope, Space, TableScope, TableState};
use common::*;
use netns_fixtures::wait_for;

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

const WAYS: Name = Name::literal("ways");
const HOSTS: Name = Name::literal("hosts");

fn way(port: &str) -> Key {
    Key::from(name(port))
}

/// Protocol, address and port.
fn host_port(address: [u8; 4], number: u16) -> Key {
    Key::new([
        Datum::InetProto(17),
        Datum::Ipv4Addr(address.into()),
        Datum::InetService(number),
    ])
}

fn target(last: u8, number: u16) -> Data {
    Data::Value(Key::new([
        Datum::Ipv4Addr([10, 1, 0, last].into()),
        Datum::InetService(number),
    ]))
}

fn commented(data: Data, comment: &str) -> Entry {
    Entry {
        data,
        comment: Some(Label::new(comment).unwrap()),
    }
}

fn ways(entries: Entries) -> MapScope {
    MapScope {
        keys: vec![KeyType::IfName],
        data: DataType::Device,
        entries,
    }
}

fn hosts(entries: Entries) -> MapScope {
    MapScope {
        keys: vec![KeyType::InetProto, KeyType::Ipv4Addr, KeyType::InetService],
        data: DataType::Value(vec![KeyType::Ipv4Addr, KeyType::InetService]),
        entries,
    }
}

/// A table with a map of ports to devices and one of host ports to targets, and two links.
fn mapped() -> Bed {
    let bed = Bed::new();
    let [to_a, to_b] = ["bhia", "bhib"].map(|link| Entry::from(Data::Device(name(link))));
    let mut maps = Table::new(id());
    let mut devices = Set::live_map(WAYS, [KeyType::IfName], DataType::Device);
    devices.elements = Elements::Map([(way("bhpa"), to_a), (way("bhpb"), to_b)].into());
    let wanted = hosts(Entries::All);
    let mut targets = Set::live_map(HOSTS, wanted.keys, wanted.data);
    targets.elements = Elements::Map(
        [
            (
                host_port([192, 0, 2, 1], 53),
                commented(target(2, 5353), "bhpa"),
            ),
            (host_port([192, 0, 2, 1], 54), target(3, 54).into()),
        ]
        .into(),
    );
    maps.sets.extend([devices, targets]);
    bed.host
        .ip_batch(&[
            "link add bhia type veth peer name bhixa",
            "link add bhib type veth peer name bhixb",
        ])
        .unwrap();
    bed.apply(vec![commit(Command::ReplaceTable(maps), None)]);
    bed
}

fn observe_maps(bed: &Bed, maps: impl IntoIterator<Item = (Name, MapScope)>) -> TableState {
    let wanted = TableScope {
        maps: maps.into_iter().collect(),
        ..TableScope::default()
    };
    observe(bed, wanted).tables.remove(&id()).unwrap()
}

fn found(data: Data, comment: Option<&str>) -> FoundEntry {
    FoundEntry {
        data: Some(data),
        comment: comment.map(str::to_owned),
    }
}

#[test]
fn a_map_is_looked_into_by_key_and_read_whole() {
    let bed = mapped();
    let (first, second) = (host_port([192, 0, 2, 1], 53), host_port([192, 0, 2, 1], 54));
    let device = |link| found(Data::Device(name(link)), None);
    let by_key = observe_maps(
        &bed,
        [
            (WAYS, ways(Entries::Of([way("bhpb"), way("bhpz")].into()))),
            (
                HOSTS,
                hosts(Entries::Of(
                    [first.clone(), host_port([192, 0, 2, 2], 53)].into(),
                )),
            ),
        ],
    );
    let entry = (first.clone(), found(target(2, 5353), Some("bhpa")));
    assert_eq!(by_key.maps[&HOSTS], [entry.clone()].into());
    assert_eq!(by_key.maps[&WAYS], [(way("bhpb"), device("bhib"))].into());

    let whole = observe_maps(
        &bed,
        [(WAYS, ways(Entries::All)), (HOSTS, hosts(Entries::All))],
    );
    let other = (second, found(target(3, 54), None));
    assert_eq!(whole.maps[&HOSTS], [entry, other].into());
    assert_eq!(
        whole.maps[&WAYS],
        [(way("bhpa"), device("bhia")), (way("bhpb"), device("bhib"))].into()
    );
}

#[test]
fn a_map_without_the_entry_is_empty_and_one_of_other_types_is_none() {
    let bed = mapped();
    let nowhere = Entries::Of([way("bhpz")].into());
    let state = observe_maps(&bed, [(WAYS, ways(nowhere.clone()))]);
    assert_eq!(state.maps, [(WAYS, [].into())].into());

    let mut other_keys = hosts(Entries::All);
    other_keys.keys.pop();
    let mut other_data = ways(nowhere.clone());
    other_data.data = DataType::Value(vec![KeyType::Mark]);
    let state = observe_maps(
        &bed,
        [
            (Name::literal("nosuchmap"), ways(nowhere)),
            (HOSTS, other_keys),
            (WAYS, other_data),
        ],
    );
    assert!(state.maps.is_empty(), "{:?}", state.maps);
}

#[test]
fn a_set_is_no_map() {
    let bed = Bed::new();
    let mut sets = Table::new(id());
    sets.sets.push(Set::live(WAYS, [KeyType::IfName]));
    bed.apply(vec![commit(Command::ReplaceTable(sets), None)]);
    let state = observe_maps(&bed, [(WAYS, ways(Entries::All))]);
    assert!(state.maps.is_empty(), "{:?}", state.maps);
}

#[test]
fn a_device_that_is_gone_is_no_device_and_its_entry_is_still_there() {
    let bed = mapped();
    bed.host.ip("link del bhia").unwrap();
    for entries in [Entries::All, Entries::Of([way("bhpa"), way("bhpb")].into())] {
        let state = observe_maps(&bed, [(WAYS, ways(entries))]);
        let none = FoundEntry {
            data: None,
            comment: None,
        };
        let left = found(Data::Device(name("bhib")), None);
        assert_eq!(
            state.maps[&WAYS],
            [(way("bhpa"), none), (way("bhpb"), left)].into()
        );
    }
    let delete = |key| Command::DeleteElements {
        table: id(),
        set: WAYS,
        elements: elements([key]),
    };
    let add = Command::AddElements {
        table: id(),
        set: WAYS,
        elements: Elements::Map([(way("bhpa"), Data::Device(name("bhib")).into())].into()),
    };
    bed.apply(vec![Op::Nft {
        ns: Ns::Host,
        transaction: Transaction(vec![delete(way("bhpa")), add]),
        generation: None,
    }]);
    let state = observe_maps(&bed, [(WAYS, ways(Entries::Of([way("bhpa")].into())))]);
    let moved = found(Data::Device(name("bhib")), None);
    assert_eq!(state.maps[&WAYS], [(way("bhpa"), moved)].into());
}

#[test]
fn an_entry_for_a_link_that_is_not_there_is_stale() {
    let bed = mapped();
    let add = Command::AddElements {
        table: id(),
        set: WAYS,
        elements: Elements::Map([(way("bhpc"), Data::Device(name("bhic")).into())].into()),
    };
    let error = bed.run(|kernel| {
        let plan = Plan::new(vec![commit(add, None)]);
        kernel.apply(&plan).unwrap_err()
    });
    assert!(error.is_stale(), "{error:?}");
    assert!(matches!(error.source, OpError::NoLink(link) if link == name("bhic")));
}

/// A node's flushed tables come back in one transaction, however many attachments it has.
#[test]
fn a_transaction_larger_than_a_socket_s_buffer_is_committed() {
    let bed = Bed::new();
    let mut many = table(Devices::Names(Vec::new()));
    many.chains.clear();
    let marks = (0..20_000).map(|n| Key::from(Datum::Mark(n)));
    let mut set = Set::live(Name::literal("marks"), [KeyType::Mark]);
    set.elements = elements(marks);
    many.sets = vec![set];
    let whole = Plan::new(vec![commit(Command::AddTable(many), None)]);
    bed.run(|kernel| kernel.apply(&whole).unwrap());
    // A listing misses some while the kernel still makes the set's table larger (`nft_rhash_walk`).
    wait_for("every element", Duration::from_secs(40), || {
        let seen = observe(
            &bed,
            TableScope {
                whole_sets: [Name::literal("marks")].into(),
                ..TableScope::default()
            },
        );
        let found = &seen.tables[&id()].elements[&Name::literal("marks")];
        (found.len() == 20_000).then_some(())
    });
}
