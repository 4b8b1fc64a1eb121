//! Evidence and subjects in words.

use std::net::IpAddr;

use super::rows::{Leased, Owned, World};
use super::{Container, Evidence, Held, Journal, Witness};
use crate::cluster::kv::Key;
use crate::cluster::name::PoolName;
use crate::cluster::schema::LeaseRow;

/// What a row says.
pub(super) fn store(key: &Key, says: String) -> Evidence {
    Evidence {
        source: Witness::Store,
        place: key.to_string(),
        says,
    }
}

/// What a journal says.
pub(super) fn journal(journal: &Journal, says: String) -> Evidence {
    Evidence {
        source: Witness::Journal,
        place: journal.place.clone(),
        says,
    }
}

/// What the kernel says of a container.
pub(super) fn kernel(container: &Container) -> Evidence {
    let whose = match &container.attachment {
        Some(attachment) => format!("attachment {attachment}"),
        None => "nobody known".to_owned(),
    };
    let has = match &container.addresses {
        Some(addresses) => joined(addresses),
        None => "addresses that could not be looked at".to_owned(),
    };
    Evidence {
        source: Witness::Kernel,
        place: container.place.clone(),
        says: format!("{has} of {whose}"),
    }
}

/// What a lease's row says.
pub(super) fn lease(world: &World<'_>, leased: &Leased<'_>) -> Evidence {
    let row = &leased.row;
    let says = format!(
        "{} of {} on {}, epoch {}, sequence {}",
        joined(&row.addresses),
        holder(row),
        world.name(&row.node),
        row.epoch,
        row.sequence
    );
    store(leased.key, says)
}

/// What a block's row says.
pub(super) fn block(world: &World<'_>, owned: &Owned<'_>) -> Evidence {
    let row = &owned.row;
    let says = format!(
        "ordinals {} of {}, epoch {}",
        owned.block,
        world.name(&row.node),
        row.epoch
    );
    store(owned.key, says)
}

/// What a journal says of a lease.
pub(super) fn held(of: &Journal, held: &Held) -> Evidence {
    let says = format!(
        "{} of attachment {}, sequence {}",
        joined(&held.addresses),
        held.attachment,
        held.sequence
    );
    journal(of, says)
}

/// Whose a lease is.
pub(super) fn holder(row: &LeaseRow) -> String {
    match &row.pod {
        Some(pod) => format!(
            "{}/{} (attachment {})",
            pod.namespace, pod.name, row.attachment
        ),
        None => format!("attachment {}", row.attachment),
    }
}

/// `10.4.0.9 and fd00:4::9`.
pub(super) fn joined(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "no address".to_owned();
    }
    let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    texts.join(" and ")
}

/// An ordinal by its addresses.
pub(super) fn ordinal(world: &World<'_>, pool: &PoolName, ordinal: u64) -> String {
    let addresses = world
        .pools
        .get(pool)
        .map(|(_, row)| row.geometry.addresses(ordinal));
    match addresses {
        Some(addresses) if !addresses.is_empty() => joined(&addresses),
        _ => format!("ordinal {ordinal} of pool {pool}"),
    }
}

/// A block by its prefixes.
pub(super) fn prefixes(world: &World<'_>, owned: &Owned<'_>) -> String {
    let pool = world.pools.get(&owned.pool).map(|(_, row)| &row.geometry);
    match pool.filter(|geometry| geometry.whole().covers(owned.block)) {
        Some(geometry) => {
            let prefixes = geometry.prefixes_of(owned.block);
            let texts: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
            format!("block {}", texts.join(" and "))
        }
        None => format!("block {} of pool {}", owned.block, owned.pool),
    }
}
