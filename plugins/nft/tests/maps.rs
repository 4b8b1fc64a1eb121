//! Maps on a real socket: what stands behind a key.

mod common;

use std::collections::BTreeMap;

use bulkhead_nft::observe;
use bulkhead_nft::{Command, Data, Datum, Elements, Entry, FoundEntry, Key, Label, Set, TableId};
use common::routed::{UDP, destination, host_ports};
use common::{BULKHEAD, Nfnl, SHAPED, device, shaped, shaped_guard};
use netns_fixtures::Sandbox;

const EEXIST: i32 = 17;

/// What the map holds.
fn entries(socket: &Nfnl, id: &TableId, map: &Set) -> BTreeMap<Key, FoundEntry> {
    let objects = socket
        .ask(&observe::elements_request(id, &map.name, 6))
        .unwrap();
    objects.iter().flat_map(|o| read(socket, map, o)).collect()
}

fn read(socket: &Nfnl, map: &Set, object: &[u8]) -> BTreeMap<Key, FoundEntry> {
    let (keys, data) = (&map.key, map.data.as_ref().unwrap());
    observe::decode_entries(object, keys, data, &|index| socket.name_of(index)).unwrap()
}

/// What should be found of what was sent.
fn as_found(elements: &Elements) -> BTreeMap<Key, FoundEntry> {
    let Elements::Map(map) = elements else {
        panic!("{elements} is no map")
    };
    let found = |entry: &Entry| FoundEntry {
        data: Some(entry.data.clone()),
        comment: entry.comment.as_ref().map(|text| text.as_str().to_owned()),
    };
    map.iter()
        .map(|(key, entry)| (key.clone(), found(entry)))
        .collect()
}

#[test]
fn entries_are_found_with_what_they_lead_to_and_whose_they_are() {
    let sandbox = Sandbox::new();
    let socket = Nfnl::open(&sandbox.ns("n").unwrap());
    let table = host_ports();
    socket
        .commit(&[Command::ReplaceTable(table.clone())])
        .unwrap();
    for map in &table.sets {
        let expected = as_found(&map.elements);
        assert_eq!(entries(&socket, &table.id, map), expected);
        let (key, entry) = expected.first_key_value().unwrap();
        let request = observe::element_request(&table.id, &map.name, key, 7);
        let one = read(&socket, map, &socket.ask(&request).unwrap()[0]);
        assert_eq!(one, [(key.clone(), entry.clone())].into());
    }
    // More than one message, in every family's longest form.
    let (map, comment) = (&table.sets[2], Label::new(&"x".repeat(127)).unwrap());
    let many = (1..=450).map(|n| {
        let entry = Entry {
            data: Data::Value(destination("fd00:1::3".parse().unwrap(), n)),
            comment: Some(comment.clone()),
        };
        let address = Datum::Ipv6Addr("2001:db8::3".parse().unwrap());
        let key = [Datum::InetProto(132), address, Datum::InetService(n)];
        (Key::new(key), entry)
    });
    let many = Elements::Map(many.collect());
    let command = |add: bool| {
        let (table, set, elements) = (table.id.clone(), map.name.clone(), many.clone());
        if add {
            Command::AddElements {
                table,
                set,
                elements,
            }
        } else {
            Command::DeleteElements {
                table,
                set,
                elements,
            }
        }
    };
    let before = entries(&socket, &table.id, map);
    socket.commit(&[command(true)]).unwrap();
    let mut all = before.clone();
    all.extend(as_found(&many));
    assert_eq!(entries(&socket, &table.id, map), all);
    socket.commit(&[command(false)]).unwrap();
    assert_eq!(entries(&socket, &table.id, map), before);
}

#[test]
fn a_key_gets_other_data_only_by_being_taken_out_first() {
    let sandbox = Sandbox::new();
    let socket = Nfnl::open(&sandbox.ns("n").unwrap());
    let table = host_ports();
    socket
        .commit(&[Command::ReplaceTable(table.clone())])
        .unwrap();
    let map = &table.sets[0];
    let key = Key::new([
        Datum::InetProto(UDP),
        Datum::Ipv4Addr([192, 0, 2, 1].into()),
        Datum::InetService(8080),
    ]);
    let leading_to = |port, comment: &str| {
        let entry = Entry {
            data: Data::Value(destination("10.0.0.2".parse().unwrap(), port)),
            comment: Some(Label::new(comment).unwrap()),
        };
        Elements::Map([(key.clone(), entry)].into())
    };
    let add = |elements: &Elements| Command::AddElements {
        table: table.id.clone(),
        set: map.name.clone(),
        elements: elements.clone(),
    };
    let standing = leading_to(80, "bhpa");
    assert_eq!(map.elements, standing);
    let moved = leading_to(90, "bhpb");
    assert_eq!(socket.commit(&[add(&moved)]).unwrap_err().1.code, EEXIST);
    // The comment is not compared, and stays.
    socket.commit(&[add(&leading_to(80, "bhpb"))]).unwrap();
    assert_eq!(entries(&socket, &table.id, map), as_found(&standing));

    let delete = Command::DeleteElements {
        table: table.id.clone(),
        set: map.name.clone(),
        elements: Elements::keys([key.clone()]),
    };
    socket.commit(&[delete, add(&moved)]).unwrap();
    assert_eq!(entries(&socket, &table.id, map), as_found(&moved));
}

#[test]
fn an_element_outlives_the_device_it_leads_to() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("n").unwrap();
    let socket = Nfnl::open(&ns);
    let table = shaped_guard();
    socket
        .commit(&[Command::ReplaceTable(table.clone())])
        .unwrap();
    ns.ip("link add way0 type bridge").unwrap();
    let elements = shaped("bhpa", "way0");
    let add = Command::AddElements {
        table: BULKHEAD,
        set: SHAPED,
        elements: elements.clone(),
    };
    let delete = Command::DeleteElements {
        table: BULKHEAD,
        set: SHAPED,
        elements: elements.clone(),
    };
    let found = || entries(&socket, &BULKHEAD, &table.sets[2]);
    socket.commit(std::slice::from_ref(&add)).unwrap();
    assert_eq!(found(), as_found(&elements));

    ns.ip("link del way0").unwrap();
    let lost = FoundEntry {
        data: None,
        comment: None,
    };
    assert_eq!(found(), [(device("bhpa").into(), lost.clone())].into());
    socket.commit(std::slice::from_ref(&delete)).unwrap();
    assert_eq!(found(), BTreeMap::new());

    // Encoded when its device is gone already.
    socket.commit(&[add]).unwrap();
    assert_eq!(found(), [(device("bhpa").into(), lost)].into());
    socket.commit(&[delete]).unwrap();
}
