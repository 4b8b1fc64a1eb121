//! Allocation: which addresses an attachment gets. Pure: it reads the leases through [`View`], so
//! the embedded store and a daemon's memory are served by the same code.
//!
//! Order: addresses never used before, by a cursor over each range; then freed ones, the oldest
//! first, once they have cooled; an address asked for by name is given at once if it is free, since
//! whoever names it wants that one (a restarted container, usually).

use std::net::IpAddr;

use bulkhead_model::AttachmentKey;

use crate::pool::{Pool, Range, RangeSet};
use crate::record::LeasedAddress;
use crate::span::{self, Span};

/// What allocation reads.
pub trait View {
    /// Why a read may not work.
    type Error;

    /// What `address` is to the store.
    ///
    /// # Errors
    /// The store's own.
    fn slot(&self, address: IpAddr) -> Result<Slot, Self::Error>;

    /// Who holds `address`.
    ///
    /// # Errors
    /// The store's own.
    fn holder(&self, address: IpAddr) -> Result<Option<AttachmentKey>, Self::Error>;

    /// Where the search for never-used addresses of `range` goes on.
    fn cursor(&self, range: &Range) -> Cursor;

    /// The freed addresses of `range`, oldest first, that nobody holds now.
    ///
    /// # Errors
    /// The store's own, inside the iterator.
    fn freed<'a>(
        &'a self,
        range: &'a Range,
    ) -> Box<dyn Iterator<Item = Result<Freed, Self::Error>> + 'a>;

    /// Number of addresses held inside `span`.
    ///
    /// # Errors
    /// The store's own.
    fn held(&self, span: Span) -> Result<u64, Self::Error>;
}

/// What an address is to the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Slot {
    /// Never given out, or so long ago that it is forgotten.
    Unused,
    /// Somebody has it.
    Held,
    /// Given back.
    Freed {
        /// How long it has still to cool, in milliseconds; 0 if it has.
        cooling_ms: u64,
    },
}

/// Where the search for never-used addresses of a range goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cursor {
    /// From this address on.
    At(IpAddr),
    /// Every address has been given out once; `forgotten` if some of the freed ones are no longer
    /// listed, so that another lap has to find them.
    End {
        /// Whether freed addresses were dropped from the list.
        forgotten: bool,
    },
}

/// A freed address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Freed {
    /// Which.
    pub address: IpAddr,
    /// How long it has still to cool, in milliseconds; 0 if it has.
    pub cooling_ms: u64,
}

/// An address chosen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pick {
    /// The address, its gateway and its set.
    pub leased: LeasedAddress,
    /// How it was found, which says how the cursor moves.
    pub source: Source,
}

/// How an address was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// By the cursor, which then stands behind it.
    Cursor,
    /// In the list of freed addresses.
    Freed,
    /// It was asked for.
    Request,
}

/// Why no addresses were chosen.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is left.
    #[error(
        "range set {set} ({ranges}) is exhausted: {held} of {size} addresses are held; release attachments, run garbage collection or add a range"
    )]
    Exhausted {
        /// The set's number.
        set: u32,
        /// Its ranges.
        ranges: String,
        /// Addresses that can be given out.
        size: u128,
        /// Addresses held.
        held: u64,
    },
    /// Only addresses are left that were freed a moment ago. Retriable.
    #[error(
        "range set {set} ({ranges}): all {held} held, {cooling} cooling down after release, the next is free in {next_in_ms} ms; try again, or lower cooldownSecs"
    )]
    Cooling {
        /// The set's number.
        set: u32,
        /// Its ranges.
        ranges: String,
        /// Addresses held.
        held: u64,
        /// Addresses that cool down.
        cooling: u64,
        /// Milliseconds until the first of them is free.
        next_in_ms: u64,
    },
    /// An address asked for is somebody's.
    #[error(
        "address {address} is held by attachment {holder}; release that one or ask for another"
    )]
    Taken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        holder: AttachmentKey,
    },
    /// An address asked for is in no range.
    #[error("address {address} is in no range of the network ({ranges}); ask for one that is")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The network's ranges.
        ranges: String,
    },
    /// An address asked for is a gateway.
    #[error("address {address} is the gateway of {subnet} and never given out; ask for another")]
    Gateway {
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: bulkhead_model::Prefix,
    },
    /// An address asked for is excluded.
    #[error("address {address} is excluded by {span}; ask for another or change `exclude`")]
    Excluded {
        /// The address.
        address: IpAddr,
        /// What excludes it.
        span: Span,
    },
    /// Two addresses were asked for where one is given.
    #[error(
        "addresses {first} and {second} are both of range set {set}, which gives one; ask for one of them"
    )]
    OnePerSet {
        /// The set's number.
        set: u32,
        /// An address asked for.
        first: IpAddr,
        /// Another.
        second: IpAddr,
    },
}

impl Refusal {
    /// Whether the same request may succeed shortly with nothing else changed.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::Cooling { .. })
    }
}

/// Either the decision, or the store's trouble in reading.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AllocateError<E> {
    /// No.
    Refused(Refusal),
    /// The store could not be read.
    View(E),
}

impl<E> From<Refusal> for AllocateError<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// One address of every set of `pool`, those of `wanted` among them: all, or none.
///
/// # Errors
/// The refusal, or what the view says.
pub fn allocate<V: View>(
    view: &V,
    pool: &Pool,
    wanted: &[IpAddr],
) -> Result<Vec<Pick>, AllocateError<V::Error>> {
    let named = by_set(pool, wanted)?;
    let mut picks = Vec::with_capacity(pool.sets.len());
    for (nth, set) in (0..).zip(&pool.sets) {
        let one = named.iter().find(|(set, _)| *set == nth);
        picks.push(match one {
            Some((_, address)) => named_address(view, pool, nth, *address)?,
            None => any_address(view, pool, nth, set)?,
        });
    }
    Ok(picks)
}

/// The set of each address asked for.
fn by_set(pool: &Pool, wanted: &[IpAddr]) -> Result<Vec<(u32, IpAddr)>, Refusal> {
    let mut named: Vec<(u32, IpAddr)> = Vec::with_capacity(wanted.len());
    for &address in wanted {
        // Whoever asks for an address of a prefix asks for the prefix.
        let within = pool.ranges().find(|(_, range)| {
            range.prefix_len.is_some() && range.span.contains(range.named(address))
        });
        let given = within.map(|(_, range)| (range.named(address), range.given(address)));
        let (address, given) = given.unwrap_or((address, address.into()));
        if let Some(subnet) = pool.gateway_of(address) {
            return Err(Refusal::Gateway { address, subnet });
        }
        if let Some(span) = pool.excludes(given) {
            return Err(Refusal::Excluded { address, span });
        }
        let (set, _) = pool.range_of(address).ok_or_else(|| Refusal::Outside {
            address,
            ranges: described(pool.ranges().map(|(_, range)| range)),
        })?;
        match named.iter().find(|(other, _)| *other == set) {
            Some(&(_, first)) if first != address => {
                return Err(Refusal::OnePerSet {
                    set,
                    first,
                    second: address,
                });
            }
            Some(_) => {}
            None => named.push((set, address)),
        }
    }
    Ok(named)
}

fn named_address<V: View>(
    view: &V,
    pool: &Pool,
    set: u32,
    address: IpAddr,
) -> Result<Pick, AllocateError<V::Error>> {
    if let Some(holder) = view.holder(address).map_err(AllocateError::View)? {
        return Err(Refusal::Taken { address, holder }.into());
    }
    let (_, range) = pool.range_of(address).expect("by_set found its range");
    Ok(pick(set, range, address, Source::Request))
}

fn any_address<V: View>(
    view: &V,
    pool: &Pool,
    nth: u32,
    set: &RangeSet,
) -> Result<Pick, AllocateError<V::Error>> {
    let mut wait = Wait::default();
    match free_address(view, pool, set, &mut wait).map_err(AllocateError::View)? {
        Some((range, address, source)) => Ok(pick(nth, range, address, source)),
        None => Err(nothing_left(view, pool, nth, set, &wait)?),
    }
}

fn free_address<'a, V: View>(
    view: &V,
    pool: &Pool,
    set: &'a RangeSet,
    wait: &mut Wait,
) -> Result<Option<(&'a Range, IpAddr, Source)>, V::Error> {
    for range in &set.ranges {
        if let Cursor::At(from) = view.cursor(range)
            && let Some(address) = walk(view, pool, range, from)?
        {
            return Ok(Some((range, address, Source::Cursor)));
        }
    }
    for range in &set.ranges {
        if let Some(address) = oldest_freed(view, pool, range, wait)? {
            return Ok(Some((range, address, Source::Freed)));
        }
    }
    // Another lap finds what is no longer listed.
    for range in &set.ranges {
        if view.cursor(range) == (Cursor::End { forgotten: true })
            && let Some(address) = walk(view, pool, range, range.span.first())?
        {
            return Ok(Some((range, address, Source::Cursor)));
        }
    }
    Ok(None)
}

/// What stands in the way of the addresses that are free but not yet cool.
#[derive(Default)]
struct Wait {
    cooling: u64,
    next_in_ms: Option<u64>,
}

fn nothing_left<V: View>(
    view: &V,
    pool: &Pool,
    nth: u32,
    set: &RangeSet,
    wait: &Wait,
) -> Result<AllocateError<V::Error>, AllocateError<V::Error>> {
    let mut held = 0;
    for range in &set.ranges {
        held += view.held(range.span).map_err(AllocateError::View)?;
    }
    let ranges = described(&set.ranges);
    Ok(match wait.next_in_ms {
        Some(next_in_ms) => Refusal::Cooling {
            set: nth,
            ranges,
            held,
            cooling: wait.cooling,
            next_in_ms,
        },
        None => Refusal::Exhausted {
            set: nth,
            ranges,
            size: pool.size(set),
            held,
        },
    }
    .into())
}

/// The first address of `range` from `from` on that is free and cool. Excluded spans are jumped;
/// each address passed stays behind the cursor, so that passing them is paid once.
fn walk<V: View>(
    view: &V,
    pool: &Pool,
    range: &Range,
    from: IpAddr,
) -> Result<Option<IpAddr>, V::Error> {
    let mut at = range.at_or_after(from);
    let after = |address| span::next(address).and_then(|next| range.at_or_after(next));
    while let Some(address) = at.filter(|at| range.span.contains(*at)) {
        let given = range.given(address);
        if let Some(span) = pool.excludes(given) {
            at = after(span.last().max(given.last()));
            continue;
        }
        let free = match view.slot(address)? {
            Slot::Unused => true,
            Slot::Held => false,
            Slot::Freed { cooling_ms } => cooling_ms == 0,
        };
        if free && pool.gateway_of(address).is_none() {
            return Ok(Some(address));
        }
        at = after(address);
    }
    Ok(None)
}

fn oldest_freed<V: View>(
    view: &V,
    pool: &Pool,
    range: &Range,
    wait: &mut Wait,
) -> Result<Option<IpAddr>, V::Error> {
    for freed in view.freed(range) {
        let freed = freed?;
        let excluded = pool.excludes(range.given(freed.address));
        if excluded.is_some() || pool.gateway_of(freed.address).is_some() {
            continue;
        }
        if freed.cooling_ms == 0 {
            return Ok(Some(freed.address));
        }
        wait.cooling += 1;
        let next = wait.next_in_ms.get_or_insert(freed.cooling_ms);
        *next = freed.cooling_ms.min(*next);
    }
    Ok(None)
}

fn pick(set: u32, range: &Range, address: IpAddr, source: Source) -> Pick {
    Pick {
        leased: LeasedAddress {
            address: range
                .interface_address(address)
                .expect("a range lies inside its subnet"),
            gateway: range.gateway,
            range: set,
        },
        source,
    }
}

fn described<'a>(ranges: impl IntoIterator<Item = &'a Range>) -> String {
    let texts: Vec<String> = ranges
        .into_iter()
        .map(|range| range.span.to_string())
        .collect();
    texts.join(", ")
}
