//! Makes a checkpoint of a snapshot: one pass over everything, once in a journal's length.

use std::net::IpAddr;

use super::checkpoint::{HEADER_LEN, MAGIC, Meta, RangeState, SCHEMA, Section};
use super::entry::{Entry, FreedEntry, HeldEntry, IdEntry, IdKey};
use super::overlay::{Attachment, FreedAt, Use};
use super::snapshot::Snapshot;
use super::view::Lookup;
use crate::allocate::{Cursor, View};
use crate::error::StoreError;
use crate::journal::Piece;
use crate::journal::crc::crc32c;
use crate::journal::offset as long;
use crate::pool::Range;
use crate::record::BootId;

/// The bytes of the checkpoint of `snapshot`, which holds the journal of the generation `place.0`
/// up to the byte `place.1`. `freed_max` bounds the freed addresses listed for a
/// range: a range far larger than its use would else list every address it ever gave out.
pub(super) fn compacted(
    snapshot: &Snapshot,
    place: (u64, u64),
    freed_max: usize,
) -> Result<Vec<u8>, StoreError> {
    let mut out = vec![0; HEADER_LEN];
    let mut meta = Meta {
        pool: snapshot.pool().cloned(),
        sequence: snapshot.overlay.sequence,
        journal_end: place.1,
        ..Meta::default()
    };
    let ids = records(snapshot, &mut out)?;
    meta.ids = section(&mut out, &ids);
    meta.held = section(&mut out, &held(snapshot)?);

    let freed = snapshot.freed()?;
    let mut listed: Vec<FreedEntry> = Vec::with_capacity(freed.len());
    for range in snapshot.pool().iter().flat_map(|pool| pool.ranges()) {
        let (mut state, from) = range_state(snapshot, range.1, &freed, freed_max);
        let inside = freed
            .iter()
            .filter(|freed| range.1.span.contains(freed.address));
        let kept = inside
            .skip(from)
            .map(|freed| entry_of(&mut meta.boots, freed));
        let kept: Vec<FreedEntry> = kept.collect();
        state.freed = section(&mut out, &kept);
        listed.extend(kept);
        meta.ranges.push(state);
    }
    listed.extend(outside(snapshot, &freed, freed_max, &mut meta.boots));
    listed.sort_unstable_by_key(|entry| entry.address);
    meta.freed = section(&mut out, &listed);
    Ok(finished(out, place.0, &meta))
}

/// Copies every record into `out` and returns the index over them.
fn records(snapshot: &Snapshot, out: &mut Vec<u8>) -> Result<Vec<IdEntry>, StoreError> {
    let mut index = Vec::new();
    let mut push = |id: IdKey, json: &[u8]| {
        index.push(IdEntry {
            id,
            offset: long(out.len()),
            len: u32::try_from(json.len()).expect("a record is shorter than its frame's bound"),
            record_crc: crc32c(&[json]),
        });
        out.extend_from_slice(json);
        out.push(b'\n');
    };
    if let Some(base) = &snapshot.base {
        let records = Piece::from(base.records()?);
        for entry in base.entries::<IdEntry>(base.meta.ids) {
            let entry = entry?;
            if !snapshot.overlay.attachments.contains(&entry.id) {
                push(entry.id, &base.record_in(&records, &entry)?);
            }
        }
    }
    for (id, now) in snapshot.overlay.attachments.iter() {
        if let Attachment::Live(record) = now {
            push(*id, record);
        }
    }
    index.sort_unstable_by_key(|entry| entry.id);
    Ok(index)
}

fn held(snapshot: &Snapshot) -> Result<Vec<HeldEntry>, StoreError> {
    let changed = &snapshot.overlay.addresses;
    let mut held = Vec::new();
    if let Some(base) = &snapshot.base {
        for entry in base.entries::<HeldEntry>(base.meta.held) {
            let entry = entry?;
            if !changed.contains(&entry.address) {
                held.push(entry);
            }
        }
    }
    for (&address, now) in changed.iter() {
        if let Use::Held(id) = now {
            held.push(HeldEntry { address, id: *id });
        }
    }
    held.sort_unstable_by_key(|entry| entry.address);
    Ok(held)
}

/// Where allocation stands in `range`, and how many of its oldest freed addresses are dropped.
fn range_state(
    snapshot: &Snapshot,
    range: &Range,
    freed: &[FreedAt],
    freed_max: usize,
) -> (RangeState, usize) {
    let lookup = Lookup::new(snapshot);
    let inside = freed
        .iter()
        .filter(|freed| range.span.contains(freed.address));
    let excess = inside.clone().count().saturating_sub(freed_max);
    let dropped = inside
        .take(excess)
        .take_while(|freed| lookup.is_cool(freed))
        .count();
    let state = RangeState {
        span: range.span,
        cursor: match lookup.cursor(range) {
            Cursor::At(next) => Some(next),
            Cursor::End { .. } => None,
        },
        forgotten: lookup.has_forgotten(range.span) || dropped > 0,
        freed: Section::default(),
    };
    (state, dropped)
}

/// Freed addresses of no range of the pool: a range may come back, and how long an address of a cluster's
/// pool cools down is not said here. The latest of this boot are kept.
fn outside(
    snapshot: &Snapshot,
    freed: &[FreedAt],
    freed_max: usize,
    boots: &mut Vec<BootId>,
) -> Vec<FreedEntry> {
    let lookup = Lookup::new(snapshot);
    let pool = snapshot.pool();
    let inside = |address: IpAddr| pool.is_some_and(|pool| pool.range_of(address).is_some());
    let this_boot = |freed: &&FreedAt| freed.boot == *snapshot.boot.id();
    let outside = freed
        .iter()
        .filter(|f| !inside(f.address))
        .filter(this_boot);
    let excess = outside.clone().count().saturating_sub(freed_max);
    let kept = outside
        .enumerate()
        .filter(|(nth, freed)| *nth >= excess || !lookup.is_cool(freed));
    kept.map(|(_, freed)| entry_of(boots, freed)).collect()
}

fn entry_of(boots: &mut Vec<BootId>, freed: &FreedAt) -> FreedEntry {
    let known = boots.iter().position(|boot| *boot == freed.boot);
    let boot = known.unwrap_or_else(|| {
        boots.push(freed.boot.clone());
        boots.len() - 1
    });
    FreedEntry {
        address: freed.address,
        sequence: freed.sequence,
        since_boot_ms: freed.since_boot_ms,
        boot: u32::try_from(boot).expect("fewer boots than freed addresses"),
    }
}

fn section<E: Entry>(out: &mut Vec<u8>, entries: &[E]) -> Section {
    let offset = long(out.len());
    for entry in entries {
        out.extend_from_slice(&entry.encode());
    }
    Section {
        offset,
        count: long(entries.len()),
    }
}

fn finished(mut out: Vec<u8>, generation: u64, meta: &Meta) -> Vec<u8> {
    let meta_at = out.len();
    serde_json::to_writer(&mut out, meta).expect("a checkpoint's description is JSON");
    let meta_len = out.len() - meta_at;
    let meta_crc = crc32c(&[&out[meta_at..]]);
    let length = long(out.len());
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&SCHEMA.to_be_bytes());
    out[16..24].copy_from_slice(&generation.to_be_bytes());
    out[24..32].copy_from_slice(&length.to_be_bytes());
    out[32..40].copy_from_slice(&long(meta_at).to_be_bytes());
    out[40..48].copy_from_slice(&long(meta_len).to_be_bytes());
    out[48..52].copy_from_slice(&meta_crc.to_be_bytes());
    let header_crc = crc32c(&[&out[..12], &out[16..HEADER_LEN]]);
    out[12..16].copy_from_slice(&header_crc.to_be_bytes());
    out
}
