//! Moving a cluster to another store. The old one is frozen first: every transaction of a node compares
//! its own row, so from then on none can write. Then all rows are copied to where there are none,
//! compared, and the new store is opened; that the old one is left is written last.

use std::collections::BTreeMap;

use super::{OperationError, Operator, StoredRow};
use crate::cluster::kv::Key;
use crate::cluster::schema::{MetaRow, MetaState, Place};

/// What was copied.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Migrated {
    /// Rows copied now.
    pub copied: u64,
    /// Rows that an earlier attempt had copied.
    pub same: u64,
}

/// Moves all rows of `from` to `to`. Done again after an interruption, it goes on where it was.
///
/// # Errors
/// `OtherCluster`, `Differs`, `Changed`, `NotActive`, and those of the stores. Nodes write to neither
/// store until it has succeeded, or [`resume_source`] has.
pub fn migrate(
    from: &Operator<'_>,
    to: &Operator<'_>,
    mut progress: impl FnMut(&Migrated),
) -> Result<Migrated, OperationError> {
    let target = to.store.describe();
    let Some((_, meta)) = from.one::<MetaRow>(&Place::Meta)? else {
        return Err(OperationError::NotActive {
            store: from.store.describe(),
            state: "empty".to_owned(),
        });
    };
    if meta.state == MetaState::Moved && meta.to == target {
        return Ok(Migrated::default());
    }
    if !(meta.state == MetaState::Moving && meta.to == target) {
        check_unused(to)?;
        from.set_meta(MetaState::Active, MetaState::Moving, &target)?;
    }
    let mut migrated = Migrated::default();
    if to.begin_filling(&meta.cluster)? {
        let (_, rows) = from.backup()?;
        check_target(to, &rows)?;
        let restored = to.fill(&rows, true, &mut |restored| {
            let (copied, same) = (restored.written, restored.same);
            progress(&Migrated { copied, same });
        })?;
        migrated.copied = restored.written;
        migrated.same = restored.same;
        compare(from, to)?;
        to.set_meta(MetaState::Filling, MetaState::Active, "")?;
    }
    from.set_meta(MetaState::Moving, MetaState::Moved, &target)?;
    Ok(migrated)
}

/// That the target is empty, or what an interrupted attempt left.
fn check_unused(to: &Operator<'_>) -> Result<(), OperationError> {
    match to.one::<MetaRow>(&Place::Meta)? {
        Some((_, meta)) if meta.state != MetaState::Filling => Err(OperationError::InUse {
            store: to.store.describe(),
            cluster: meta.cluster,
        }),
        _ => Ok(()),
    }
}

/// Opens a store again that was being moved from, if the other one was not opened.
///
/// # Errors
/// `NotActive` if it is not being moved, or the other store is in use already; those of the stores.
pub fn resume_source(from: &Operator<'_>, to: &Operator<'_>) -> Result<(), OperationError> {
    if let Some((_, meta)) = to.one::<MetaRow>(&Place::Meta)?
        && meta.state == MetaState::Active
    {
        return Err(OperationError::NotActive {
            store: from.store.describe(),
            state: format!("left: its rows are in {}", to.store.describe()),
        });
    }
    from.set_meta(MetaState::Moving, MetaState::Active, "")
}

/// That nothing stands in the target but what is copied.
fn check_target(to: &Operator<'_>, rows: &[StoredRow]) -> Result<(), OperationError> {
    let copied: BTreeMap<&str, &str> = rows
        .iter()
        .map(|row| (row.key.as_str(), row.value.as_str()))
        .collect();
    let there = to.range(&to.schema.everything())?.rows;
    let differs = there.iter().filter(|row| {
        let own = to.schema.place(&row.key) == Some(Place::Meta);
        let copied = copied.get(to.below(&row.key).as_str());
        !own && copied.map(|value| value.as_bytes()) != Some(&row.value[..])
    });
    let differs: Vec<&Key> = differs.map(|row| &row.key).collect();
    match differs.first() {
        None => Ok(()),
        Some(key) => Err(OperationError::Differs {
            store: to.store.describe(),
            count: differs.len(),
            key: key.to_string(),
            root: to.schema.root().to_owned(),
        }),
    }
}

/// That both say the same, but for their own rows.
fn compare(from: &Operator<'_>, to: &Operator<'_>) -> Result<(), OperationError> {
    let all = |of: &Operator<'_>| -> Result<BTreeMap<String, String>, OperationError> {
        let rows = of.backup()?.1.into_iter();
        let rows = rows.filter(|row| row.key != "meta");
        Ok(rows.map(|row| (row.key, row.value)).collect())
    };
    let (old, new) = (all(from)?, all(to)?);
    let changed = |key: &&String| old.get(*key) != new.get(*key);
    match old.keys().chain(new.keys()).find(changed) {
        None => Ok(()),
        Some(key) => Err(OperationError::Changed {
            store: from.store.describe(),
            key: key.clone(),
        }),
    }
}
