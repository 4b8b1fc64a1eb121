//! The journal's bytes. Text, one record a line, so that people read it with `less`:
//!
//! ```text
//! bulkhead-journal 00000001 0000000000000007 5b0d7b6c
//! 0000012f 8d3c1f02 {"op":"released",...} {"key":...}
//! 0000012f+4c0e91d7 00000142 {"op":"attached",...} {"key":...}
//! ```
//!
//! The first line has schema, generation and the line's CRC-32C; every other line the length of its
//! body in bytes and a CRC-32C over what else is in the line. A body is JSON without a raw newline or
//! NUL. Records that are written together are a batch: each but the first has a `+` and how many bytes
//! before it the batch begins.
//!
//! That decides what a crash can leave. A batch is written after the one before is on the disk, so only
//! the last one can be torn: to a strict prefix, or with whole sectors that were never written (zeros)
//! anywhere in it. Zeros may also stand behind the last batch, for the next ones to be written over.
//! Nobody was told of a torn batch, and it is cut off. Everything else is damage to something
//! acknowledged and is refused, and so is the same before a record of a later batch.

use std::ops::Range;

use super::crc::crc32c;

/// The schema this release writes, and the highest it reads.
pub(crate) const SCHEMA: u32 = 1;

const NAME: &str = "bulkhead-journal";
/// Name, 8, 16 and 8 hex digits, three spaces, a newline.
pub(crate) const HEADER_LEN: usize = NAME.len() + 8 + 16 + 8 + 4;
/// Two times 8 hex digits, each with a space or a `+` behind it.
const FRAME_LEN: usize = 18;
/// 8 hex digits and a space more, in the records of a batch that are not its first.
const DISTANCE_LEN: usize = 9;
/// What a disk writes at once at least.
const SECTOR: usize = 512;
/// No record of ours comes near; a longer length is damage.
const BODY_MAX: usize = 1 << 24;

/// Why bytes are not a journal.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum FrameError {
    /// At this offset stands something that was never written so.
    Damaged(usize, String),
    /// A later release wrote it.
    Schema(u32),
}

/// Records in a row.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Parsed {
    /// Where each one's body is in the bytes.
    pub(crate) bodies: Vec<Range<usize>>,
    /// Length up to the end of the last whole one; what follows is a torn tail.
    pub(crate) good_len: usize,
}

/// The first line.
pub(crate) fn header(generation: u64) -> Vec<u8> {
    let line = format!("{NAME} {SCHEMA:08x} {generation:016x}");
    let crc = crc32c(&[line.as_bytes()]);
    format!("{line} {crc:08x}\n").into_bytes()
}

/// Appends a batch of records to `out`.
pub(crate) fn push<R: AsRef<[u8]>>(out: &mut Vec<u8>, batch: &[R]) {
    let first = out.len();
    for body in batch {
        let body = body.as_ref();
        let length = format!("{:08x}", body.len());
        let (mark, distance) = match out.len() - first {
            0 => (' ', String::new()),
            distance => ('+', format!("{distance:08x} ")),
        };
        let crc = crc32c(&[length.as_bytes(), distance.as_bytes(), body]);
        out.extend_from_slice(format!("{length}{mark}{crc:08x} {distance}").as_bytes());
        out.extend_from_slice(body);
        out.push(b'\n');
    }
}

/// Takes apart the records in `bytes`, which stand at `start` in the file. Offsets in an error are
/// the file's.
pub(crate) fn parse(bytes: &[u8], start: usize) -> Result<Parsed, FrameError> {
    let mut bodies = Vec::new();
    let mut at = 0;
    while let Some(whole) = record_at(bytes, at) {
        at = whole.body.end + 1;
        bodies.push(whole.body);
    }
    if at < bytes.len() && !is_torn(bytes, at, start) {
        let what = "a record fails its checksum".to_owned();
        return Err(FrameError::Damaged(start + at, what));
    }
    Ok(Parsed {
        bodies,
        good_len: at,
    })
}

/// The generation that the first line states.
pub(crate) fn generation(bytes: &[u8]) -> Result<u64, FrameError> {
    let bad = || FrameError::Damaged(0, "the first line is not a journal's".to_owned());
    let line = bytes.get(..HEADER_LEN).ok_or_else(bad)?;
    let line = std::str::from_utf8(line).map_err(|_| bad())?;
    let mut words = line.strip_suffix('\n').ok_or_else(bad)?.split(' ');
    let mut word = || words.next().ok_or_else(bad);
    let (name, schema, generation, crc) = (word()?, word()?, word()?, word()?);
    let signed = format!("{name} {schema} {generation}");
    if name != NAME || hex(crc.as_bytes()) != Some(crc32c(&[signed.as_bytes()]).into()) {
        return Err(bad());
    }
    let schema = hex(schema.as_bytes())
        .and_then(|n| u32::try_from(n).ok())
        .ok_or_else(bad)?;
    if schema > SCHEMA {
        return Err(FrameError::Schema(schema));
    }
    hex(generation.as_bytes()).ok_or_else(bad)
}

/// A record that is all there.
struct Whole {
    body: Range<usize>,
    /// Where its batch begins.
    batch: usize,
}

fn record_at(bytes: &[u8], at: usize) -> Option<Whole> {
    let length = bytes.get(at..at + 8)?;
    let crc = bytes.get(at + 9..at + 17)?;
    let start = at + FRAME_LEN;
    let (start, distance) = match bytes[at + 8] {
        b' ' => (start, &[][..]),
        b'+' => (
            start + DISTANCE_LEN,
            bytes.get(start..start + DISTANCE_LEN)?,
        ),
        _ => return None,
    };
    let end = start.checked_add(length_at(bytes, at)?)?;
    let body = bytes.get(start..end)?;
    let framed = bytes[at + 17] == b' ' && bytes.get(end) == Some(&b'\n');
    let batch = match distance.split_last() {
        None => at,
        Some((b' ', digits)) => at.saturating_sub(usize::try_from(hex(digits)?).ok()?),
        Some(_) => return None,
    };
    let whole = framed && hex(crc)? == u64::from(crc32c(&[length, distance, body]));
    whole.then_some(Whole {
        body: start..end,
        batch,
    })
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let length = usize::try_from(hex(bytes.get(at..at + 8)?)?).ok()?;
    (length <= BODY_MAX).then_some(length)
}

/// Whether what stands at `at` can be what a crash left of the last batch.
fn is_torn(bytes: &[u8], at: usize, start_of_bytes: usize) -> bool {
    let crashed = is_prefix_of_record(bytes, at) || has_unwritten_sector(bytes, at, start_of_bytes);
    crashed && !is_followed_by_a_batch(bytes, at)
}

/// Whether a batch began behind `at`: what stands there was on the disk by then.
fn is_followed_by_a_batch(bytes: &[u8], at: usize) -> bool {
    let lines = bytes[at..].iter().enumerate();
    let ends = lines.filter(|(_, byte)| **byte == b'\n');
    let mut starts = ends.map(|(end, _)| at + end + 1);
    starts.any(|start| record_at(bytes, start).is_some_and(|whole| whole.batch > at))
}

/// A record that ends before its stated end, or before it could state one.
fn is_prefix_of_record(bytes: &[u8], at: usize) -> bool {
    let tail = &bytes[at..];
    if tail.iter().any(|byte| matches!(byte, b'\n' | 0)) {
        return false;
    }
    let frame = match tail.get(8) {
        Some(b'+') => FRAME_LEN + DISTANCE_LEN,
        _ => FRAME_LEN,
    };
    let form = |(nth, byte): (usize, &u8)| match nth {
        8 => matches!(byte, b' ' | b'+'),
        17 | 26 => *byte == b' ',
        _ => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
    };
    let well_formed = tail.iter().take(frame).enumerate().all(form);
    let short = match length_at(bytes, at) {
        Some(length) => tail.len() < frame + length + 1,
        None => tail.len() < 8,
    };
    well_formed && short
}

/// A run of zeros in the record that fills whole sectors, or goes to the start or end of what was being
/// written. Zeros behind it are no excuse for it: the file may have grown ahead.
fn has_unwritten_sector(bytes: &[u8], at: usize, start_of_bytes: usize) -> bool {
    let tail = &bytes[at..];
    let record_len = stated_len(bytes, at);
    let at = start_of_bytes + at;
    let mut from = 0;
    while let Some(start) = tail[from..].iter().position(|byte| *byte == 0) {
        let start = from + start;
        if start >= record_len {
            return false;
        }
        let run = tail[start..].iter().take_while(|byte| **byte == 0).count();
        let end = start + run;
        let starts = start == 0 || (at + start).is_multiple_of(SECTOR);
        let ends = end == tail.len() || (at + end).is_multiple_of(SECTOR);
        if starts && ends {
            return true;
        }
        from = end;
    }
    false
}

/// How long the record at `at` is, by its frame and by its newline: the shorter, if one is damaged.
fn stated_len(bytes: &[u8], at: usize) -> usize {
    let tail = &bytes[at..];
    let frame = match tail.get(8) {
        Some(b'+') => FRAME_LEN + DISTANCE_LEN,
        _ => FRAME_LEN,
    };
    let by_frame = length_at(bytes, at).map(|length| frame + length + 1);
    let by_newline = tail.iter().position(|byte| *byte == b'\n');
    let by_newline = by_newline.map(|end| end + 1);
    let shorter = by_frame.into_iter().chain(by_newline).min();
    shorter.unwrap_or(tail.len())
}

/// Lower-case hexadecimal digits only, as we write them.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = header(7);
        let mut ends = vec![bytes.len()];
        let batches: [&[&[u8]]; 3] = [
            &[b"{\"a\":1} {}"],
            &[b"{}", b"{\"d\":4}", b"{\"e\":\"5\"} {}"],
            &[b"{\"b\":\"a longer one\"} {\"c\":[1,2,3]}"],
        ];
        for batch in batches {
            let start = bytes.len();
            push(&mut bytes, batch);
            let lines = bytes[start..].iter().enumerate();
            let lines = lines.filter(|(_, byte)| **byte == b'\n');
            ends.extend(lines.map(|(end, _)| start + end + 1));
        }
        (bytes, ends)
    }

    fn whole(bytes: &[u8]) -> Result<Parsed, FrameError> {
        generation(bytes)?;
        parse(&bytes[HEADER_LEN..], HEADER_LEN)
    }

    #[test]
    fn every_prefix_is_the_records_that_were_whole() {
        let (bytes, ends) = journal();
        for cut in HEADER_LEN..=bytes.len() {
            let parsed = whole(&bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(parsed.bodies.len(), whole, "cut at {cut}");
            assert_eq!(parsed.good_len + HEADER_LEN, ends[whole], "cut at {cut}");
            assert_eq!(generation(&bytes[..cut]), Ok(7));
        }
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let (bytes, ends) = journal();
        for at in 0..bytes.len() {
            for change in [
                1,
                0x20,
                0x80,
                bytes[at],
                bytes[at] ^ b'\n',
                bytes[at] ^ b'f',
            ] {
                let mut bad = bytes.clone();
                bad[at] ^= change;
                if bad == bytes {
                    continue;
                }
                let Err(FrameError::Damaged(offset, _)) = whole(&bad) else {
                    panic!("byte {at} ^ {change:#x} passes: {:?}", whole(&bad));
                };
                let start = ends.iter().rev().find(|end| **end <= at).unwrap_or(&0);
                assert_eq!(offset, *start, "byte {at}");
            }
        }
    }

    #[test]
    fn sectors_never_written_are_a_torn_tail() {
        let (mut bytes, ends) = journal();
        let before = bytes.len();
        push(&mut bytes, &["x".repeat(2000)]);
        let sectors = before.next_multiple_of(SECTOR)..bytes.len();
        for from in [before, sectors.start, sectors.start + SECTOR] {
            for to in [
                from.next_multiple_of(SECTOR).max(sectors.start + SECTOR),
                bytes.len(),
            ] {
                if from >= to {
                    continue;
                }
                let mut torn = bytes.clone();
                torn[from..to].fill(0);
                let parsed = whole(&torn).unwrap();
                assert_eq!(
                    parsed.good_len + HEADER_LEN,
                    *ends.last().unwrap(),
                    "{from}..{to}"
                );
            }
        }
    }

    /// A journal of batches whose records are some sectors long, or several to a sector.
    fn batches() -> (Vec<u8>, Vec<Range<usize>>) {
        let mut bytes = header(7);
        let mut batches = Vec::new();
        for (nth, lengths) in [[40, 900, 40], [700, 30, 30], [300, 2000, 500]]
            .iter()
            .enumerate()
        {
            let start = bytes.len();
            let records: Vec<_> = lengths
                .iter()
                .map(|length| format!("{{{}}}", nth.to_string().repeat(*length)))
                .collect();
            push(&mut bytes, &records);
            batches.push(start..bytes.len());
        }
        (bytes, batches)
    }

    #[test]
    fn any_sectors_of_the_last_batch_may_be_missing() {
        let (bytes, batches) = batches();
        let last = batches.last().unwrap();
        let sectors: Vec<_> = (last.start / SECTOR..last.end.div_ceil(SECTOR)).collect();
        for missing in 1..1_u32 << sectors.len() {
            for cut in [last.end, last.end - 1, last.end - 100, last.end - 600] {
                let mut torn = bytes[..cut].to_vec();
                for (nth, sector) in sectors.iter().enumerate() {
                    let from = (sector * SECTOR).max(last.start);
                    let to = (from / SECTOR * SECTOR + SECTOR).min(cut);
                    if missing >> nth & 1 == 1 && from < to {
                        torn[from..to].fill(0);
                    }
                }
                let good = whole(&torn).unwrap().good_len + HEADER_LEN;
                assert!((last.start..=last.end).contains(&good), "{missing:b} {cut}");
                assert_eq!(torn[..good], bytes[..good], "{missing:b} {cut}");
            }
        }
    }

    #[test]
    fn a_missing_sector_before_a_later_batch_is_damage() {
        let (bytes, batches) = batches();
        let acknowledged = batches[1].end;
        for sector in 0..acknowledged / SECTOR {
            let mut bad = bytes.clone();
            let from = (sector * SECTOR).max(HEADER_LEN);
            bad[from..(sector + 1) * SECTOR].fill(0);
            // Torn as well: the crash is no excuse for the damage.
            for cut in [bad.len(), bad.len() - 3] {
                let later = whole(&bad[..cut]);
                let Err(FrameError::Damaged(offset, _)) = later else {
                    panic!("sector {sector}: {later:?}");
                };
                assert!(offset < (sector + 1) * SECTOR, "sector {sector}: {offset}");
            }
        }
    }

    #[test]
    fn a_later_schema_is_named() {
        let line = format!("{NAME} {:08x} {:016x}", SCHEMA + 1, 1);
        let crc = crc32c(&[line.as_bytes()]);
        let bytes = format!("{line} {crc:08x}\n");
        assert_eq!(
            generation(bytes.as_bytes()),
            Err(FrameError::Schema(SCHEMA + 1))
        );
    }
}
