//! Maps through nfnetlink, looked into by key or read whole.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bulkhead_model::IfName;
use bulkhead_nft::observe::{self as ask, SetKind};
use bulkhead_nft::{FoundEntry, Key, Name, TableId};
use bulkhead_plan::{Entries, MapScope};

use crate::error::NetlinkError;
use crate::place::{Place, PlaceError};
use crate::socket::{Message, Socket};

/// The entries asked for of a map of that kind; `None` if there is no such map, or one of other types.
pub(crate) fn observe(
    place: &mut Place,
    table: &TableId,
    map: &Name,
    wanted: &MapScope,
    kind: Option<&SetKind>,
) -> Result<Option<BTreeMap<Key, FoundEntry>>, PlaceError> {
    let is_wanted =
        |kind: &SetKind| kind.key == wanted.keys && kind.data.as_ref() == Some(&wanted.data);
    if !kind.is_some_and(is_wanted) {
        return Ok(None);
    }
    let answer = read(place.netfilter()?, table, map, wanted)?;
    let names = name_devices(place, &answer, wanted)?;
    let name_of = |index: u32| names.get(&index).copied();
    let parts = answer
        .iter()
        .map(|message| ask::decode_entries(&message.body, &wanted.keys, &wanted.data, &name_of));
    let parts: Option<Vec<_>> = parts.collect();
    Ok(parts.map(|parts| parts.into_iter().flatten().collect()))
}

fn read(
    socket: &mut Socket,
    table: &TableId,
    map: &Name,
    wanted: &MapScope,
) -> Result<Vec<Message>, NetlinkError> {
    let Entries::Of(keys) = &wanted.entries else {
        return socket.list(&ask::elements_request(table, map, 0));
    };
    let keys = keys.iter();
    let requests = keys.map(|key| ask::element_request(table, map, key, 0));
    let answers = socket.get_all(requests.collect())?.into_iter();
    let found: Result<Vec<_>, _> = answers.collect();
    Ok(found?.into_iter().flatten().collect())
}

/// The names of the devices that a map leads to: the kernel keeps their indexes, and keeps them when
/// the device is gone.
fn name_devices(
    place: &mut Place,
    answer: &[Message],
    wanted: &MapScope,
) -> Result<BTreeMap<u32, IfName>, PlaceError> {
    let indexes = RefCell::new(BTreeSet::new());
    let note = |index| {
        indexes.borrow_mut().insert(index);
        None
    };
    for message in answer {
        let _ = ask::decode_entries(&message.body, &wanted.keys, &wanted.data, &note);
    }
    let known: BTreeMap<u32, IfName> = place
        .indexes
        .iter()
        .map(|(name, index)| (*index, *name))
        .collect();
    let mut names = BTreeMap::new();
    for index in indexes.into_inner() {
        let name = match known.get(&index) {
            Some(name) => Some(*name),
            None => place.name_of(index)?,
        };
        names.extend(name.map(|name| (index, name)));
    }
    Ok(names)
}
