//! Journals made by chance, cut anywhere and damaged once: what is recovered is what was recorded at that
//! place, or it is refused with the file and the place.

use std::ops::Range;
use std::path::PathBuf;

use super::model::Chance;
use super::*;
use crate::StoreError;
use crate::journal::crc::crc32c;
use crate::journal::{Reader, first_record};
use crate::store::compact::compacted;

const SECTOR: usize = 512;

/// One network's past.
struct Past {
    /// The journal.
    bytes: Vec<u8>,
    /// Where each record begins, and where the last one ends.
    starts: Vec<usize>,
    /// The record with which the batch of each begins.
    batches: Vec<usize>,
    /// What the store said after so many records.
    states: Vec<u32>,
    /// And the store itself, where a batch ended.
    snapshots: Vec<(usize, Snapshot)>,
}

/// What is done to the bytes that a cut left.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Byte(usize),
    Record(usize),
    Sector(usize),
    Missing(usize),
}

impl Past {
    /// A few calls, several to a batch.
    fn new(network: &NetworkStore, chance: &mut Chance) -> Self {
        let mut store = network.lock().unwrap();
        let (mut batches, mut snapshots) = (Vec::new(), Vec::new());
        for _ in 0..3 + chance.below(4) {
            let first = batches.len();
            for _ in 0..=chance.below(5) {
                let name = format!("c{}", chance.below(7));
                if chance.below(3) == 0 {
                    let id = draft(&name).key.id();
                    let held = store.find(&id).unwrap();
                    let sequence = held.map_or(0, |record| record.sequence);
                    store.end(&id, sequence, "del").unwrap();
                } else {
                    // Refused if all addresses are taken.
                    let _ = store.decide(draft(&name), &small());
                }
            }
            store.settle().unwrap();
            let count = usize::try_from(store.overlay.sequence).unwrap();
            batches.resize(count, first);
            snapshots.push((count, Snapshot::clone(&store)));
        }
        let journal = Reader::open(&network.dir.join("journal")).unwrap().unwrap();
        let mut snapshot = Snapshot::empty(&network.dir, &network.boot, None);
        let mut states = vec![state_of(&snapshot).unwrap()];
        let tail = journal.tail(first_record()).unwrap();
        for (_, record) in tail.records() {
            snapshot.follow(&[record]);
            states.push(state_of(&snapshot).unwrap());
        }
        let bytes = fs::read(network.dir.join("journal")).unwrap();
        let lines = bytes.iter().enumerate();
        let ends = lines.filter(|(_, byte)| **byte == b'\n');
        let starts: Vec<_> = ends.map(|(end, _)| end + 1).collect();
        assert_eq!(
            (starts.len(), batches.len() + 1),
            (states.len(), states.len())
        );
        Self {
            bytes,
            starts,
            batches,
            states,
            snapshots,
        }
    }

    /// How many records a journal of this length has whole.
    fn whole(&self, length: usize) -> usize {
        self.starts
            .iter()
            .filter(|start| **start <= length)
            .count()
            .saturating_sub(1)
    }

    /// The record that the byte is in, `None` in the first line.
    fn record_at(&self, at: usize) -> Option<usize> {
        self.starts.iter().rposition(|start| *start <= at)
    }

    fn record(&self, nth: usize) -> Range<usize> {
        self.starts[nth]..self.starts[nth + 1]
    }

    /// The first `length` bytes, damaged, and which bytes of them are.
    fn damaged(
        &self,
        length: usize,
        damage: &Damage,
        chance: &mut Chance,
    ) -> (Vec<u8>, Range<usize>) {
        let mut bytes = self.bytes[..length].to_vec();
        let place = match *damage {
            Damage::None => length..length,
            Damage::Byte(at) => {
                bytes[at] ^= u8::try_from(1 + chance.below(255)).unwrap();
                at..at + 1
            }
            Damage::Record(nth) => {
                let place = self.record(nth);
                // Not its newline: without it this is two records.
                for byte in &mut bytes[place.start..place.end - 1] {
                    *byte = u8::try_from(u64::from(b'!') + chance.below(90)).unwrap();
                }
                place
            }
            Damage::Sector(nth) => {
                let place = nth * SECTOR..((nth + 1) * SECTOR).min(length);
                bytes[place.clone()].fill(0);
                place
            }
            Damage::Missing(nth) => {
                let place = self.record(nth);
                bytes.drain(place.clone());
                place
            }
        };
        (bytes, place)
    }

    /// Judges what was read of the damaged bytes; `held` are the records that a checkpoint has.
    fn judge(
        &self,
        read: Result<u32, (PathBuf, u64)>,
        length: usize,
        damage: &Damage,
        (bytes, place): (&[u8], Range<usize>),
        held: usize,
    ) {
        let whole = self.whole(length);
        let at = format!("{damage:?} of {length} bytes, {held} held");
        let touched = self.record_at(place.start);
        let sound = match damage {
            Damage::None => true,
            _ => touched.is_some_and(|touched| touched < held && self.starts[held] >= place.end),
        };
        if sound {
            assert_eq!(
                read.as_ref().ok(),
                Some(&self.states[whole]),
                "{at}: {read:?}"
            );
            return;
        }
        let Some(touched) = touched else {
            let (path, offset) = read.expect_err(&at);
            assert!(path.ends_with("journal") && offset == 0, "{at}: {offset}");
            return;
        };
        // What the checkpoint has is not looked at.
        let touched = touched.max(held);
        // A batch that began later, of which a record is whole, proves that the place was on the disk.
        let followed = (touched..whole)
            .any(|nth| self.batches[nth] > touched && self.starts[nth] >= place.end);
        let torn = match damage {
            Damage::Byte(at) => touched >= whole || bytes[*at] == 0,
            Damage::Sector(_) => true,
            Damage::Missing(nth) => nth + 1 == whole,
            Damage::Record(_) | Damage::None => false,
        };
        match read {
            Ok(state) => {
                assert!(torn && !followed, "{at}: recovered");
                assert_eq!(state, self.states[touched.min(whole)], "{at}");
            }
            Err((path, offset)) => {
                assert!(path.ends_with("journal"), "{at}: {}", path.display());
                let offset = usize::try_from(offset).unwrap();
                let record =
                    self.starts[touched]..self.starts.get(touched + 1).copied().unwrap_or(length);
                assert!(
                    record.contains(&offset),
                    "{at}: {offset} is not in {record:?}"
                );
            }
        }
    }
}

/// A digest of everything a snapshot says, by the ways a call asks.
fn state_of(snapshot: &Snapshot) -> Result<u32, StoreError> {
    let mut pieces: Vec<_> = snapshot
        .pieces()?
        .iter()
        .map(|piece| piece.to_vec())
        .collect();
    pieces.sort_unstable();
    for piece in &pieces {
        let record = snapshot.parsed(piece)?;
        for address in &record.addresses {
            let holder = snapshot.holder(address.address.address())?;
            assert_eq!(holder.as_ref(), Some(&record));
        }
    }
    let freed: Vec<_> = snapshot
        .freed()?
        .iter()
        .map(|freed| (freed.sequence, freed.address))
        .collect();
    let numbers = format!(
        "{} {} {freed:?}",
        snapshot.overlay.sequence,
        snapshot.live_count()
    );
    let pool = format!("{:?}", snapshot.pool());
    let mut parts: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    parts.extend([numbers.as_bytes(), pool.as_bytes()]);
    Ok(crc32c(&parts))
}

/// What a reader of the network's files is told: the state, or the file and place of the damage.
fn read(network: &NetworkStore) -> Result<u32, (PathBuf, u64)> {
    let read = network
        .read()
        .and_then(|read| state_of(&read.expect("there is a journal")));
    read.map_err(|error| match error {
        StoreError::Damaged { path, offset, .. } => (path, offset),
        other => panic!("{other}"),
    })
}

/// Memory, where the machine has a file system there: nothing of this is to survive.
fn scratch(claim: &str) -> TempDir {
    TempDir::inside(Path::new("/dev/shm"), claim)
}

/// Networks with a past each.
fn pasts(dir: &TempDir, chance: &mut Chance) -> Vec<(NetworkStore, Past)> {
    let state = state(dir.path(), "a", 0);
    let networks = ["blue", "red"].map(|name| state.network(&name.parse().unwrap()));
    let past = |network: NetworkStore| {
        let past = Past::new(&network, chance);
        (network, past)
    };
    networks.into_iter().map(past).collect()
}

fn damage(past: &Past, length: usize, chance: &mut Chance) -> Damage {
    let below = |chance: &mut Chance, bound: usize| {
        usize::try_from(chance.below(u64::try_from(bound).unwrap())).unwrap()
    };
    let whole = past.whole(length);
    match chance.below(8) {
        0..=2 => Damage::Byte(below(chance, length)),
        3..=4 => Damage::Sector(below(chance, length.div_ceil(SECTOR))),
        5 if whole > 0 => Damage::Record(below(chance, whole)),
        6 if whole > 0 => Damage::Missing(below(chance, whole)),
        _ => Damage::None,
    }
}

/// What stands behind the records.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Behind {
    Nothing,
    /// What the file has grown ahead: a crash leaves whole sectors of it.
    Zeros,
}

/// Damages journals; with `checkpoints`, behind one that has a part of them.
fn journals(seeds: Range<u64>, checkpoints: bool, behind: Behind) {
    for seed in seeds {
        let dir = scratch("fuzz");
        let mut chance = Chance::seeded(seed);
        for (network, past) in &pasts(&dir, &mut chance) {
            let journal = network.dir.join("journal");
            let header = past.starts[0];
            for _ in 0..125 {
                let mut held = 0;
                if checkpoints {
                    let nth =
                        usize::try_from(chance.below(u64::try_from(past.snapshots.len()).unwrap()));
                    let (records, snapshot) = &past.snapshots[nth.unwrap()];
                    held = *records;
                    let end = u64::try_from(past.starts[held]).unwrap();
                    let bytes = compacted(snapshot, (1, end), 64).unwrap();
                    fs::write(network.dir.join("checkpoint"), bytes).unwrap();
                }
                let lengths = u64::try_from(past.bytes.len() - header + 1).unwrap();
                let length = header + usize::try_from(chance.below(lengths)).unwrap();
                let length = match behind {
                    Behind::Nothing => length,
                    Behind::Zeros => {
                        let on_the_disk = length.max(past.starts[held]);
                        on_the_disk.next_multiple_of(SECTOR).min(past.bytes.len())
                    }
                };
                let damage = match damage(past, length, &mut chance) {
                    // Everything behind it would move under the checkpoint, or out of its sector.
                    Damage::Missing(nth) if nth < held || behind == Behind::Zeros => {
                        Damage::Record(nth)
                    }
                    other => other,
                };
                let (bytes, place) = past.damaged(length, &damage, &mut chance);
                let mut grown = bytes.clone();
                if behind == Behind::Zeros {
                    grown.resize((length + 1).next_multiple_of(8 * SECTOR), 0);
                }
                fs::write(&journal, &grown).unwrap();
                let read = read(network);
                if grown.len() < past.starts[held] {
                    let (path, _) = read.expect_err("a checkpoint has more than this");
                    assert!(path.ends_with("journal"), "{seed}: {}", path.display());
                    continue;
                }
                past.judge(read, length, &damage, (&bytes, place), held);
            }
            fs::write(&journal, &past.bytes).unwrap();
            let state = read(network).unwrap();
            assert_eq!(Some(&state), past.states.last());
        }
    }
}

#[test]
fn a_journal_damaged_once_is_recovered_exactly_or_refused_by_name_1() {
    journals(1..21, false, Behind::Nothing);
}

#[test]
fn a_journal_damaged_once_is_recovered_exactly_or_refused_by_name_2() {
    journals(21..41, false, Behind::Nothing);
}

#[test]
fn a_journal_damaged_behind_a_checkpoint_is_recovered_exactly_or_refused_by_name_1() {
    journals(41..61, true, Behind::Nothing);
}

#[test]
fn a_journal_damaged_behind_a_checkpoint_is_recovered_exactly_or_refused_by_name_2() {
    journals(61..81, true, Behind::Nothing);
}

#[test]
fn a_journal_that_grew_ahead_and_was_damaged_once_is_recovered_exactly_or_refused_by_name() {
    journals(101..121, false, Behind::Zeros);
    journals(121..131, true, Behind::Zeros);
}

#[test]
fn a_checkpoint_damaged_once_says_the_same_or_is_refused_by_name() {
    for seed in 81..101 {
        let dir = scratch("fuzz-checkpoint");
        let mut chance = Chance::seeded(seed);
        for (network, past) in &pasts(&dir, &mut chance) {
            let (records, snapshot) = &past.snapshots[past.snapshots.len() / 2];
            let end = u64::try_from(past.starts[*records]).unwrap();
            let whole = compacted(snapshot, (1, end), 64).unwrap();
            for _ in 0..100 {
                let mut bytes = whole.clone();
                let length = u64::try_from(bytes.len()).unwrap();
                let at = usize::try_from(chance.below(length)).unwrap();
                match chance.below(4) {
                    0 => bytes.truncate(at),
                    1 => {
                        let sector = at / SECTOR * SECTOR;
                        let end = (sector + SECTOR).min(bytes.len());
                        bytes[sector..end].fill(0);
                    }
                    _ => bytes[at] ^= u8::try_from(1 + chance.below(255)).unwrap(),
                }
                fs::write(network.dir.join("checkpoint"), &bytes).unwrap();
                match read(network) {
                    Ok(state) => assert_eq!(Some(&state), past.states.last(), "{seed} {at}"),
                    Err((path, _)) => assert!(path.ends_with("checkpoint"), "{seed} {at}"),
                }
            }
        }
    }
}
