//! Maps through nfnetlink, looked into by key or read whole.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bulkhead_model::IfName;
use bulkhead_nft::observe as ask;
use bulkhead_nft::{FoundEntry, Key, Name, TableId};
use bulkhead_plan::{Entries, MapScope};

use crate::error::NetlinkError;
use crate::nftables::set_kind;
use crate::place::{Place, PlaceError};
use crate::socket::{Message, Socket};

/// The entries asked for; `None` if there is no such map, or one of other types.
pub(crate) fn observe(
    place: &mut Place,
    table: &TableId,
    map: &Name,
    wanted: &MapScope,
) -> Result<Option<BTreeMap<Key, FoundEntry>>, PlaceError> {
    let Some(answer) = read(place.netfilter()?, table, map, wanted)? else {
        return Ok(None);
    };
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
) -> Result<Option<Vec<Message>>, NetlinkError> {
    let found = set_kind(socket, table, map)?;
    if !found
        .is_some_and(|found| found.key == wanted.keys && found.data.as_ref() == Some(&wanted.data))
    {
        return Ok(None);
    }
    let Entries::Of(keys) = &wanted.entries else {
        return Ok(Some(socket.list(&ask::elements_request(table, map, 0))?));
    };
    let mut answer = Vec::new();
    for key in keys {
        answer.extend(socket.get(ask::element_request(table, map, key, 0))?);
    }
    Ok(Some(answer))
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
