//! Tables and their elements through nfnetlink; the encoding is `bulkhead-nft`'s.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use bulkhead_model::IfName;
use bulkhead_nft::observe as ask;
use bulkhead_nft::{Chain, Command, Devices, Key, KeyType, Name, TableId, Transaction};
use bulkhead_plan::{TableScope, TableState};
use rustix::io::Errno;

use crate::attributes::{attribute, find, text};
use crate::error::{NetlinkError, Refusal};
use crate::maps;
use crate::nfnetlink::{NFGENMSG, request};
use crate::place::{Place, PlaceError};
use crate::ruleset::{self, Known, KnownTable};
use crate::socket::Socket;

/// What the tables asked for hold, and the generation they were read at or after.
pub(crate) struct Ruleset {
    pub(crate) tables: BTreeMap<TableId, TableState>,
    pub(crate) generation: Option<u32>,
}

/// Reads the generation first: a commit that slips in between makes a transaction decided on it stale.
pub(crate) fn observe(
    place: &mut Place,
    scope: &BTreeMap<TableId, TableScope>,
) -> Result<Ruleset, PlaceError> {
    let generation = place
        .netfilter()?
        .get(ask::generation_request(0))?
        .and_then(|message| ask::decode_generation(&message.body));
    let mut tables = BTreeMap::new();
    for (id, wanted) in scope {
        let (socket, known) = place.netfilter_and_ruleset()?;
        let known = known.in_generation(generation);
        let Some(mut table) = observe_table(socket, known, id, wanted)? else {
            continue;
        };
        for (map, wanted) in &wanted.maps {
            let found = maps::observe(place, id, map, wanted)?;
            table
                .maps
                .extend(found.map(|entries| (map.clone(), entries)));
        }
        tables.insert(id.clone(), table);
    }
    Ok(Ruleset { tables, generation })
}

fn observe_table(
    socket: &mut Socket,
    known: &mut Known,
    id: &TableId,
    wanted: &TableScope,
) -> Result<Option<TableState>, NetlinkError> {
    // One without a comment is somebody else's, or is being committed.
    let mut passing = KnownTable::default();
    let known = match known.tables().entry(id.clone()) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => match socket.get(ask::table_request(id, 0))? {
            None => place.insert(KnownTable::default()),
            Some(found) => match ask::decode_table(&found.body).and_then(|table| table.comment) {
                None => {
                    passing.is_there = true;
                    &mut passing
                }
                comment => place.insert(KnownTable {
                    is_there: true,
                    comment,
                    ..KnownTable::default()
                }),
            },
        },
    };
    if !known.is_there {
        return Ok(None);
    }
    let mut table = TableState {
        comment: known.comment.clone(),
        ..TableState::default()
    };
    for chain in &wanted.chains {
        if let Some(rules) = rules(socket, known, id, chain)? {
            table.chains.insert(chain.clone(), rules);
        }
    }
    for (set, keys) in &wanted.elements {
        let present = table.elements.entry(set.clone()).or_default();
        for key in keys {
            if has_element(socket, id, set, key)? {
                present.insert(key.clone());
            }
        }
    }
    for set in &wanted.whole_sets {
        if let Some(keys) = whole_set(socket, id, set)? {
            table.elements.entry(set.clone()).or_default().extend(keys);
        }
    }
    Ok(Some(table))
}

/// The number of a chain's rules; `None` if there is no such chain.
fn rules(
    socket: &mut Socket,
    known: &mut KnownTable,
    id: &TableId,
    chain: &Name,
) -> Result<Option<usize>, NetlinkError> {
    const NFTA_CHAIN_HOOK: u16 = 4;
    if let Some(rules) = known.chains.get(chain) {
        return Ok(*rules);
    }
    let mut lasts = true;
    let mut rules = None;
    if let Some(found) = socket.get(ask::chain_request(id, chain, 0))? {
        let attributes = found.body.get(NFGENMSG..).unwrap_or_default();
        lasts = ruleset::lasts(id, find(attributes, NFTA_CHAIN_HOOK).is_some());
        let request = ask::chain_rules_request(id, chain, 0);
        rules = Some(socket.list(&request)?.len());
    }
    if lasts {
        known.chains.insert(chain.clone(), rules);
    }
    Ok(rules)
}

fn has_element(
    socket: &mut Socket,
    table: &TableId,
    set: &Name,
    key: &Key,
) -> Result<bool, NetlinkError> {
    match socket.get(ask::element_request(table, set, key, 0)) {
        Ok(answer) => Ok(answer
            .and_then(|message| ask::decode_keys(&message.body, &key.kinds()))
            .is_some_and(|keys| keys.contains(key))),
        // The set's keys have another length, so this one is not among them.
        Err(error) if error.errno() == Some(Errno::INVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `None` if there is no such set, or none of ours by its keys.
fn whole_set(
    socket: &mut Socket,
    table: &TableId,
    set: &Name,
) -> Result<Option<BTreeSet<Key>>, NetlinkError> {
    let Some(answer) = socket.get(set_request(table, set))? else {
        return Ok(None);
    };
    let Some(kinds) = kinds_of_keys(&answer.body) else {
        return Ok(None);
    };
    let mut keys = BTreeSet::new();
    for message in socket.list(&ask::elements_request(table, set, 0))? {
        match ask::decode_keys(&message.body, &kinds) {
            Some(some) => keys.extend(some),
            None => return Ok(None),
        }
    }
    Ok(Some(keys))
}

/// `NFT_MSG_GETSET` of subsystem `NFNL_SUBSYS_NFTABLES`, for one set (`linux/netfilter/nf_tables.h`).
pub(crate) fn set_request(table: &TableId, set: &Name) -> Vec<u8> {
    const NFT_MSG_GETSET: u16 = 0x0a0a;
    let names = [(1, table.name.as_str()), (2, set.as_str())];
    let names = names.map(|(kind, name)| attribute(kind, &[name.as_bytes(), &[0]].concat()));
    request(NFT_MSG_GETSET, table.family.number(), names)
}

/// The types of a set's key from `NFTA_SET_KEY_TYPE`.
pub(crate) fn kinds_of_keys(body: &[u8]) -> Option<Vec<KeyType>> {
    const NFTA_SET_KEY_TYPE: u16 = 4;
    let value = find(body.get(NFGENMSG..)?, NFTA_SET_KEY_TYPE)?;
    kinds(u32::from_be_bytes(value.try_into().ok()?))
}

/// Types from nft's own numbers, 6 bits each, the first field in the highest (`concat_subtype_add`,
/// nftables `include/datatype.h`).
pub(crate) fn kinds(mut packed: u32) -> Option<Vec<KeyType>> {
    let mut kinds = Vec::new();
    while packed != 0 {
        kinds.insert(0, kind_numbered(packed & 0x3f)?);
        packed >>= 6;
    }
    Some(kinds)
}

/// `enum datatypes` (nftables `include/datatype.h`), as far as our sets use them.
fn kind_numbered(number: u32) -> Option<KeyType> {
    Some(match number {
        7 => KeyType::Ipv4Addr,
        8 => KeyType::Ipv6Addr,
        9 => KeyType::EtherAddr,
        10 => KeyType::EtherType,
        12 => KeyType::InetProto,
        13 => KeyType::InetService,
        19 => KeyType::Mark,
        41 => KeyType::IfName,
        _ => return None,
    })
}

/// Commits a transaction; one without commands is done already.
pub(crate) fn commit(
    socket: &mut Socket,
    transaction: &Transaction,
    generation: Option<u32>,
    index_of: &dyn Fn(IfName) -> u32,
) -> Result<(), NetlinkError> {
    let first = socket.reserve(1);
    let Some(batch) = transaction.encode(first, generation, index_of) else {
        return Ok(());
    };
    let last = batch.ack_seq.wrapping_add(1);
    socket.reserve(last.wrapping_sub(first) as usize);
    socket.send(&batch.bytes)?;
    loop {
        for message in socket.receive()? {
            let sequence = message.sequence();
            if !(first..=last).contains(&sequence) {
                continue;
            }
            match message.verdict() {
                Some(Err(refusal)) => return Err(refused(transaction, &batch, sequence, refusal)),
                Some(Ok(())) if sequence == batch.ack_seq => return Ok(()),
                _ => {}
            }
        }
    }
}

/// The refusal, with the command it is about where the kernel gave no words.
fn refused(
    transaction: &Transaction,
    batch: &bulkhead_nft::Batch,
    sequence: u32,
    mut refusal: Refusal,
) -> NetlinkError {
    let command = batch
        .command_of(sequence)
        .and_then(|nth| transaction.0.get(nth));
    if let (None, Some(command)) = (&refusal.text, command) {
        let line = command.to_string();
        refusal.text = line.lines().next().map(|line| format!("at `{line}`"));
    }
    refusal.into()
}

/// Whether the transaction holds a chain bound to a device prefix.
pub(crate) fn binds_prefix(transaction: &Transaction) -> bool {
    let bound = |chain: &Chain| {
        let base = chain.base.as_ref();
        base.is_some_and(|base| matches!(base.devices, Devices::Prefix(_)))
    };
    transaction.0.iter().any(|command| match command {
        Command::AddTable(table) | Command::ReplaceTable(table) => table.chains.iter().any(bound),
        Command::AddChain { chain, .. } => bound(chain),
        _ => false,
    })
}

/// `NFTA_DEVICE_PREFIX` came with 6.17.
pub(crate) fn release_binds_prefixes() -> bool {
    is_release((6, 17))
}

/// Whether the kernel's release is this one or a later one.
pub(crate) fn is_release(wanted: (u32, u32)) -> bool {
    static RUNNING: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    let running = RUNNING.get_or_init(|| {
        let release = rustix::system::uname();
        text(release.release().to_bytes()).and_then(version)
    });
    running.is_some_and(|running| running >= wanted)
}

/// The first two numbers of a release such as `6.18.44-cloud`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_whatever_follows_it() {
        assert_eq!(version("6.18.44-cloud-amd64"), Some((6, 18)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert_eq!(version("linux"), None);
    }
}
