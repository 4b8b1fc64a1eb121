//! Transactions and questions on a real socket.

mod common;

use std::collections::BTreeSet;

use bulkhead_nft::observe::{self, Shape};
use bulkhead_nft::{Command, Datum, Devices, Elements, Key, KeyType, Label, Name, difference};
use common::{BULKHEAD, MACS, Nfnl, POD, PORTS, bound, device, listing, port_chain, port_guard};
use netns_fixtures::{Sandbox, skip_without};

const ENOENT: i32 = 2;
const ERESTART: i32 = 85;

fn add(set: Name, keys: impl IntoIterator<Item = Key>) -> Command {
    Command::AddElements {
        table: BULKHEAD,
        set,
        elements: Elements::keys(keys),
    }
}

fn delete(set: Name, keys: impl IntoIterator<Item = Key>) -> Command {
    Command::DeleteElements {
        table: BULKHEAD,
        set,
        elements: Elements::keys(keys),
    }
}

#[test]
fn a_table_is_replaced_whole_as_often_as_asked() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("n").unwrap();
    let socket = Nfnl::open(&ns);
    let replace = [Command::ReplaceTable(port_guard())];
    socket.commit(&replace).unwrap();
    let first = listing(&ns);
    socket
        .commit(&[add(PORTS, [device("bhpa").into()])])
        .unwrap();
    ns.nft("add chain netdev bulkhead stranger").unwrap();
    assert_ne!(listing(&ns), first);
    socket.commit(&replace).unwrap();
    assert_eq!(listing(&ns), first);

    let request = observe::table_request(&BULKHEAD, 7);
    let tables = socket.ask(&request).unwrap();
    let found = observe::decode_table(&tables[0]).unwrap();
    assert_eq!(found.id, BULKHEAD);
    assert_eq!(
        found.comment.as_deref(),
        port_guard().comment.as_ref().map(Label::as_str)
    );

    socket.commit(&[Command::DeleteTable(BULKHEAD)]).unwrap();
    assert_eq!(socket.ask(&request).unwrap_err().code, ENOENT);
    assert_eq!(listing(&ns), "");
}

#[test]
fn elements_come_and_go_and_are_found_by_key() {
    let sandbox = Sandbox::new();
    let socket = Nfnl::open(&sandbox.ns("n").unwrap());
    socket
        .commit(&[Command::ReplaceTable(port_guard())])
        .unwrap();
    let many =
        (0..450).map(|n| Key::new([device(&format!("bhp{n}")).into(), Datum::EtherAddr([2; 6])]));
    let many: BTreeSet<Key> = many.collect();
    let kinds = [KeyType::IfName, KeyType::EtherAddr];
    let found = || -> BTreeSet<Key> {
        let objects = socket
            .ask(&observe::elements_request(&BULKHEAD, &MACS, 3))
            .unwrap();
        let keys = objects
            .iter()
            .map(|o| observe::decode_keys(o, &kinds).unwrap());
        keys.flatten().collect()
    };
    let has = |key: &Key| match socket.ask(&observe::element_request(&BULKHEAD, &MACS, key, 4)) {
        Ok(objects) => observe::decode_keys(&objects[0], &kinds) == Some([key.clone()].into()),
        Err(errno) => {
            assert_eq!(errno.code, ENOENT);
            false
        }
    };
    assert_eq!(found(), BTreeSet::new());
    socket
        .commit(&difference(&BULKHEAD, &MACS, &found(), &many))
        .unwrap();
    assert_eq!(found(), many);

    let one = many.first().unwrap().clone();
    assert!(has(&one) && !has(&bound("bhp0", 9)));
    socket.commit(&[delete(MACS, [one.clone()])]).unwrap();
    assert!(!has(&one));
    let (seq, errno) = socket.commit(&[delete(MACS, [one.clone()])]).unwrap_err();
    assert_eq!((seq, errno.code), (101, ENOENT));
    // Adding first makes a deletion repeatable.
    socket
        .commit(&[add(MACS, [one.clone()]), delete(MACS, [one.clone()])])
        .unwrap();
    // And what is there may be added again.
    let second = many.iter().nth(1).unwrap().clone();
    socket.commit(&[add(MACS, [second])]).unwrap();
    assert_eq!(found().len(), many.len() - 1);
}

#[test]
fn one_refused_command_leaves_everything_as_it_was() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("n").unwrap();
    let socket = Nfnl::open(&ns);
    socket
        .commit(&[Command::ReplaceTable(port_guard())])
        .unwrap();
    let before = listing(&ns);
    let refused = socket.commit(&[
        add(PORTS, [device("bhpa").into()]),
        delete(PORTS, [device("bhpb").into()]),
    ]);
    assert_eq!(
        refused.map_err(|(seq, errno)| (seq, errno.code)),
        Err((102, ENOENT))
    );
    assert_eq!(listing(&ns), before);
}

#[test]
fn a_commit_after_somebody_elses_is_refused() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("n").unwrap();
    let socket = Nfnl::open(&ns);
    socket
        .commit(&[Command::ReplaceTable(port_guard())])
        .unwrap();
    let generation = || {
        let objects = socket.ask(&observe::generation_request(5)).unwrap();
        observe::decode_generation(&objects[0]).unwrap()
    };
    let seen = generation();
    socket
        .commit_at(&[add(PORTS, [device("bhpa").into()])], Some(seen))
        .unwrap();
    let seen = generation();
    ns.nft("add table ip stranger").unwrap();
    let before = listing(&ns);
    let late = socket.commit_at(&[add(PORTS, [device("bhpb").into()])], Some(seen));
    assert_eq!(
        late.map_err(|(seq, errno)| (seq, errno.code)),
        Err((100, ERESTART))
    );
    assert_eq!(listing(&ns), before);
}

fn shape(socket: &Nfnl) -> Shape {
    let chains = socket.ask(&observe::chains_request(&BULKHEAD, 8)).unwrap();
    let rules = socket.ask(&observe::rules_request(&BULKHEAD, 9)).unwrap();
    let chains = chains.iter().map(Vec::as_slice);
    Shape::decode(&BULKHEAD, chains, rules.iter().map(Vec::as_slice))
}

#[test]
fn a_flushed_removed_or_rehung_chain_is_seen() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("n").unwrap();
    let socket = Nfnl::open(&ns);
    let mut table = port_guard();
    table.chains.push(port_chain("bhpa"));
    let replace = [Command::ReplaceTable(table.clone())];
    socket.commit(&replace).unwrap();
    ns.nft("table netdev other { chain pod { counter drop; }; }")
        .unwrap();
    assert_eq!(shape(&socket), table.shape());

    for drift in [
        "flush chain netdev bulkhead pod",
        "flush chain netdev bulkhead port-bhpa",
        "add chain netdev bulkhead port-bhpa { policy accept; }",
        "flush chain netdev bulkhead port-bhpa; delete chain netdev bulkhead port-bhpa",
        "add chain netdev bulkhead stranger",
        "insert rule netdev bulkhead pod accept",
    ] {
        ns.nft(drift).unwrap();
        assert_ne!(shape(&socket), table.shape(), "{drift}");
        socket.commit(&replace).unwrap();
        assert_eq!(shape(&socket), table.shape(), "{drift}");
    }
}

#[test]
fn a_port_chain_comes_and_goes_without_its_table() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("n").unwrap();
    let socket = Nfnl::open(&ns);
    socket
        .commit(&[Command::ReplaceTable(port_guard())])
        .unwrap();
    let before = listing(&ns);
    let chain = port_chain("bhpa");
    let name = chain.name.clone();
    let plug = [Command::AddChain {
        table: BULKHEAD,
        chain,
    }];
    socket.commit(&plug).unwrap();
    let mut whole = port_guard();
    whole.chains.push(port_chain("bhpa"));
    assert_eq!(shape(&socket), whole.shape());
    assert_eq!(socket.commit(&plug).unwrap_err().1.code, 17, "EEXIST");
    let jumped_to = [Command::DeleteChain {
        table: BULKHEAD,
        chain: POD,
    }];
    assert_eq!(socket.commit(&jumped_to).unwrap_err().1.code, 16, "EBUSY");
    socket
        .commit(&[Command::DeleteChain {
            table: BULKHEAD,
            chain: name,
        }])
        .unwrap();
    assert_eq!(listing(&ns), before);
}

#[test]
fn a_prefix_chain_is_read_back_as_one() {
    skip_without!(netns_fixtures::Feature::PrefixChains);
    let sandbox = Sandbox::new();
    let socket = Nfnl::open(&sandbox.ns("n").unwrap());
    let table = common::prefix_guard();
    let replace = [Command::ReplaceTable(table.clone())];
    socket.commit(&replace).unwrap();
    socket.commit(&replace).unwrap();
    assert_eq!(shape(&socket), table.shape());
    let found = shape(&socket)
        .0
        .into_values()
        .next()
        .and_then(|chain| chain.base);
    assert_eq!(
        found.map(|base| base.devices),
        Some(Devices::Prefix(device("bhp")))
    );
}
