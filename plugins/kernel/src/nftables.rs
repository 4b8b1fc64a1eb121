//! Tables and their elements through nfnetlink; the encoding is `bulkhead-nft`'s.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use bulkhead_model::{Family, IfName, Prefix};
use bulkhead_nft::observe::{self as ask, SetKind};
use bulkhead_nft::{
    Chain, Command, DataType, Devices, FoundRanges, Key, KeyType, Name, TableId, Transaction,
};
use bulkhead_plan::{TableScope, TableState};
use rustix::io::Errno;

use crate::attributes::{find, text};
use crate::error::{NetlinkError, Refusal};
use crate::maps;
use crate::nfnetlink::NFGENMSG;
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
        let Some((mut table, kinds)) = observe_table(socket, known, id, wanted)? else {
            continue;
        };
        for ((map, wanted), kind) in wanted.maps.iter().zip(kinds) {
            let found = maps::observe(place, id, map, wanted, kind.as_ref())?;
            table
                .maps
                .extend(found.map(|entries| (map.clone(), entries)));
        }
        tables.insert(id.clone(), table);
    }
    Ok(Ruleset { tables, generation })
}

/// What sets are; `None` of one that is not there, or none of ours.
type Kinds = Vec<Option<SetKind>>;

/// The table without its maps, and what these are.
fn observe_table(
    socket: &mut Socket,
    known: &mut Known,
    id: &TableId,
    wanted: &TableScope,
) -> Result<Option<(TableState, Kinds)>, NetlinkError> {
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
        chains: chains(socket, known, id, &wanted.chains)?,
        elements: elements(socket, known, id, &wanted.elements)?,
        ..TableState::default()
    };
    let sets = wanted.whole_sets.iter().chain(wanted.maps.keys());
    learn_kinds(socket, known, id, sets)?;
    for set in &wanted.whole_sets {
        if let Some(prefixes) = known.prefixes.get(set) {
            table.prefixes.insert(set.clone(), prefixes.clone());
            continue;
        }
        let Some(Some(kind)) = known.kinds.get(set) else {
            continue;
        };
        match whole_set(socket, id, set, kind)? {
            Some(Whole::Keys(keys)) => {
                table.elements.entry(set.clone()).or_default().extend(keys);
            }
            Some(Whole::Ranges(ranges)) => drop(table.ranges.insert(set.clone(), ranges)),
            Some(Whole::Prefixes(prefixes)) => {
                known.prefixes.insert(set.clone(), prefixes.clone());
                table.prefixes.insert(set.clone(), prefixes);
            }
            None => {}
        }
    }
    let kind = |map: &Name| known.kinds.get(map)?.clone();
    let kinds = wanted.maps.keys().map(kind).collect();
    Ok(Some((table, kinds)))
}

/// The number of rules of each chain that is there.
fn chains(
    socket: &mut Socket,
    known: &mut KnownTable,
    id: &TableId,
    wanted: &BTreeSet<Name>,
) -> Result<BTreeMap<Name, usize>, NetlinkError> {
    const NFTA_CHAIN_HOOK: u16 = 4;
    let is_known = |chain: &&Name| known.chains.contains_key(*chain);
    let (read, unread): (Vec<_>, Vec<_>) = wanted.iter().partition(is_known);
    let found = |chain: &Name, rules: usize| (chain.clone(), rules);
    let read = read.into_iter();
    let read = read.filter_map(|chain| Some(found(chain, (*known.chains.get(chain)?)?)));
    let mut there: BTreeMap<_, _> = read.collect();
    let requests = unread.iter().map(|chain| ask::chain_request(id, chain, 0));
    let answers = socket.get_all(requests.collect())?;
    for (chain, answer) in unread.into_iter().zip(answers) {
        let mut lasts = true;
        let mut rules = None;
        if let Some(answer) = answer? {
            let attributes = answer.body.get(NFGENMSG..).unwrap_or_default();
            lasts = ruleset::lasts(id, find(attributes, NFTA_CHAIN_HOOK).is_some());
            let request = ask::chain_rules_request(id, chain, 0);
            rules = Some(socket.list(&request)?.len());
        }
        if lasts {
            known.chains.insert(chain.clone(), rules);
        }
        there.extend(rules.map(|rules| found(chain, rules)));
    }
    Ok(there)
}

/// Those elements that are there, of each set asked about.
fn elements(
    socket: &mut Socket,
    known: &mut KnownTable,
    id: &TableId,
    wanted: &BTreeMap<Name, BTreeSet<Key>>,
) -> Result<BTreeMap<Name, BTreeSet<Key>>, NetlinkError> {
    let mut there: BTreeMap<_, _> = wanted
        .keys()
        .map(|set| (set.clone(), BTreeSet::new()))
        .collect();
    let mut unread = Vec::new();
    for (set, keys) in wanted {
        let seen = known.elements.get(set);
        for key in keys {
            if seen.is_some_and(|seen| seen.contains(key)) {
                there.entry(set.clone()).or_default().insert(key.clone());
            } else {
                unread.push((set, key));
            }
        }
    }
    let requests = unread.iter();
    let requests = requests.map(|(set, key)| ask::element_request(id, set, key, 0));
    let answers = socket.get_all(requests.collect())?;
    for ((set, key), answer) in unread.into_iter().zip(answers) {
        let answer = match answer {
            // The set's keys have another length, so this one is not among them.
            Err(refusal) if refusal.errno == Errno::INVAL => None,
            answer => answer?,
        };
        let keys = answer.and_then(|message| ask::decode_keys(&message.body, &key.kinds()));
        if keys.is_some_and(|keys| keys.contains(key)) {
            there.entry(set.clone()).or_default().insert(key.clone());
        }
    }
    known.elements.clone_from(&there);
    Ok(there)
}

/// Asks what those sets are of which that is not known.
fn learn_kinds<'a>(
    socket: &mut Socket,
    known: &mut KnownTable,
    id: &TableId,
    sets: impl Iterator<Item = &'a Name>,
) -> Result<(), NetlinkError> {
    let unknown: Vec<_> = sets.filter(|set| !known.kinds.contains_key(*set)).collect();
    let requests = unknown.iter().map(|set| ask::set_request(id, set, 0));
    let answers = socket.get_all(requests.collect())?;
    for (set, answer) in unknown.into_iter().zip(answers) {
        let kind = answer?.and_then(|answer| SetKind::decode(&answer.body));
        known.kinds.insert(set.clone(), kind);
    }
    Ok(())
}

/// What is in a set that is read whole.
enum Whole {
    Keys(BTreeSet<Key>),
    Prefixes(BTreeSet<Prefix>),
    Ranges(FoundRanges),
}

/// `None` if it is none of ours by its keys.
fn whole_set(
    socket: &mut Socket,
    table: &TableId,
    set: &Name,
    SetKind {
        key,
        data,
        is_interval,
    }: &SetKind,
) -> Result<Option<Whole>, NetlinkError> {
    let messages = socket.list(&ask::elements_request(table, set, 0))?;
    let payloads = messages.iter().map(|message| message.body.as_slice());
    if !is_interval {
        let keys: Option<Vec<_>> = payloads
            .map(|payload| ask::decode_keys(payload, key))
            .collect();
        return Ok(keys.map(|keys| Whole::Keys(keys.into_iter().flatten().collect())));
    }
    let family = match key.as_slice() {
        [KeyType::Ipv4Addr] => Family::V4,
        [KeyType::Ipv6Addr] => Family::V6,
        _ => return Ok(None),
    };
    Ok(match data {
        Some(DataType::Value(kinds)) => {
            ask::decode_ranges(payloads, family, kinds).map(Whole::Ranges)
        }
        Some(_) => None,
        None => ask::decode_prefixes(payloads, family).map(Whole::Prefixes),
    })
}

/// `None` if there is no such set, or none of ours by its keys.
pub(crate) fn set_kind(
    socket: &mut Socket,
    table: &TableId,
    set: &Name,
) -> Result<Option<SetKind>, NetlinkError> {
    let answer = socket.get(ask::set_request(table, set, 0))?;
    Ok(answer.and_then(|answer| SetKind::decode(&answer.body)))
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
