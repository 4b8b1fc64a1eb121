//! Attachments whose guard is off: each is somebody's decision, and is to be seen.

use std::path::Path;

use bulkhead_attach::{GuardSwitch, guard_of};
use bulkhead_ipam::{Access, AttachmentRecord, Guards, OpenError, StateDir};

use crate::failure::chain;
use crate::output::table;

/// Those of a state directory, and what of it could not be read.
pub(super) fn named(state_dir: &Path) -> (Vec<String>, Vec<String>) {
    let mut unread = Vec::new();
    let mut records = main_records(state_dir, &mut unread);
    match Guards::of(state_dir).all() {
        Ok(guarded) => records.extend(guarded),
        Err(error) => unread.push(chain(&error)),
    }
    let is_off = |record: &&AttachmentRecord| {
        let switch = guard_of(&record.names).switch;
        record.names.port.is_some() && switch != GuardSwitch::On
    };
    let off = records.iter().filter(is_off);
    let mut named: Vec<_> = off.map(|record| crate::ipam::name(&record.key)).collect();
    named.sort();
    (named, unread)
}

/// What is unreadable of networks the rest of the status tells.
fn main_records(state_dir: &Path, unread: &mut Vec<String>) -> Vec<AttachmentRecord> {
    let state = match StateDir::open(state_dir, Access::Look) {
        Ok(state) => state,
        Err(OpenError::Missing(_)) => return Vec::new(),
        Err(error) => {
            unread.push(chain(&error));
            return Vec::new();
        }
    };
    let networks = state.networks().unwrap_or_default();
    let known = networks
        .iter()
        .filter_map(|network| state.network(network).read().ok().flatten());
    known
        .filter_map(|known| known.attachments().ok())
        .flatten()
        .collect()
}

pub(super) fn text(named: &[String]) -> String {
    if named.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = named.iter().map(|name| vec![name.clone()]).collect();
    format!("\n{}", table(&["GUARD OFF"], &rows))
}
