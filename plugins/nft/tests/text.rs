//! The text a network engineer reads.

mod common;

use bulkhead_nft::{Command, Datum, Elements, Key, Part, Set, Transaction};
use common::routed::host_ports;
use common::{
    BULKHEAD, MACS, PORTS, SHAPED, golden, masquerade, port_chain, port_guard, prefix_guard,
    shaped, shaped_guard,
};

fn bound(port: &str, mac: [u8; 6]) -> Key {
    Key::new([common::device(port).into(), Datum::EtherAddr(mac)])
}

#[test]
fn the_guard_reads_as_a_table() {
    golden("guard-prefix.nft", &prefix_guard().to_string());
    golden("guard-ports.nft", &port_guard().to_string());
}

#[test]
fn masquerade_reads_as_a_table() {
    let table = masquerade(
        "br0",
        &["10.0.0.0/24", "fd00:1::/64"],
        &["10.9.0.0/16", "10.9.1.0/24", "fd00::/8"],
    );
    golden("masquerade.nft", &table.to_string());
}

#[test]
fn a_transaction_reads_as_a_script() {
    let elements = Elements::keys([bound("bhpa", [2, 0, 0, 0, 0, 1])]);
    let transaction = Transaction(vec![
        Command::ReplaceTable(port_guard()),
        Command::AddChain {
            table: BULKHEAD,
            chain: port_chain("bhpa"),
        },
        Command::SetRules {
            table: BULKHEAD,
            chain: port_chain("bhpa"),
        },
        Command::AddElements {
            table: BULKHEAD,
            set: MACS,
            elements: elements.clone(),
        },
        Command::AddElements {
            table: BULKHEAD,
            set: PORTS,
            elements: Elements::default(),
        },
        Command::DeleteElements {
            table: BULKHEAD,
            set: MACS,
            elements,
        },
        Command::DeleteChain {
            table: BULKHEAD,
            chain: port_chain("bhpa").name,
        },
        Command::DeleteTable(BULKHEAD),
    ]);
    golden("transaction.nft", &transaction.to_string());
}

#[test]
fn host_ports_and_ways_by_a_device_read_as_tables() {
    golden("host-ports.nft", &host_ports().to_string());
    let mut table = shaped_guard();
    table.sets[2].elements = shaped("bhpa", "ifb0");
    golden("guard-shaped.nft", &table.to_string());
}

#[test]
fn entries_come_and_go_by_line() {
    let (id, maps) = (host_ports().id, host_ports().sets);
    let add = |set: &Set| Command::AddElements {
        table: id.clone(),
        set: set.name.clone(),
        elements: set.elements.clone(),
    };
    let delete = |set: &Set| Command::DeleteElements {
        table: id.clone(),
        set: set.name.clone(),
        elements: set.elements.clone(),
    };
    let transaction = Transaction(vec![delete(&maps[0]), add(&maps[0]), add(&maps[3])]);
    golden("entries.nft", &transaction.to_string());
}

#[test]
fn only_devices_that_are_put_somewhere_are_asked_for() {
    let elements = shaped("bhpa", "ifb0");
    let (table, set) = (BULKHEAD, SHAPED);
    let add = Command::AddElements {
        table: table.clone(),
        set: set.clone(),
        elements: elements.clone(),
    };
    let delete = Command::DeleteElements {
        table,
        set,
        elements: elements.clone(),
    };
    let mut whole = shaped_guard();
    whole.sets[2].elements = elements;
    for command in [add, Command::AddTable(whole)] {
        let devices = Transaction(vec![command]).devices();
        assert_eq!(devices, [common::device("ifb0")].into());
    }
    assert_eq!(Transaction(vec![delete]).devices(), [].into());
}

#[test]
fn the_fingerprint_follows_the_definition_and_not_the_attachments() {
    let table = port_guard();
    let mut busy = table.clone();
    busy.sets[0].elements = Elements::keys([bound("bhpa", [2, 0, 0, 0, 0, 1])]);
    busy.chains.push(port_chain("bhpa"));
    busy.comment = None;
    assert_eq!(busy.fingerprint(), table.fingerprint());

    let mut fixed = busy.clone();
    fixed.sets[0] = Set {
        part: Part::Fixed,
        ..fixed.sets[0].clone()
    };
    assert_ne!(fixed.fingerprint(), table.fingerprint());

    let mut looser = table.clone();
    looser.chains[0].rules.pop();
    assert_ne!(looser.fingerprint(), table.fingerprint());
    assert_eq!(table.fingerprint().len(), 16);
}

#[test]
fn nothing_to_do_is_no_batch() {
    let nothing = Transaction(vec![Command::AddElements {
        table: BULKHEAD,
        set: MACS,
        elements: Elements::default(),
    }]);
    assert_eq!(nothing.encode(1, None, &|_| 0), None);
}

#[test]
fn a_refused_message_is_traced_to_its_command() {
    let batch = Transaction(vec![
        Command::ReplaceTable(port_guard()),
        Command::DeleteTable(BULKHEAD),
    ])
    .encode(10, None, &|_| 0)
    .unwrap();
    assert_eq!(batch.command_of(10), None);
    assert_eq!(batch.command_of(11), Some(0));
    assert_eq!(batch.command_of(batch.ack_seq - 1), Some(0));
    assert_eq!(batch.command_of(batch.ack_seq), Some(1));
    assert_eq!(batch.command_of(batch.ack_seq + 1), None);
}
