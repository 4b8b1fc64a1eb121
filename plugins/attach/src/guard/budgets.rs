//! `budgets` of the guard: how much one port may cost others.

use std::num::NonZeroU32;

use bulkhead_cni::json::{Field, FieldError, Object};
use bulkhead_nft::Rate;
use bulkhead_plan::Budgets;

/// The highest rate a second and burst. The guard's own are a thousandth of what an interface can send;
/// what is as high as this bounds nothing any more.
const MOST: u32 = 10_000;
/// The most groups of a port. The bridge's own bound for all of them is 4096 (`BR_MULTICAST_DEFAULT_HASH_MAX`,
/// `net/bridge/br_private.h`), beyond which it floods.
const MOST_GROUPS: u32 = 1024;
/// The groups of a port where nothing else is said.
const GROUPS: NonZeroU32 = NonZeroU32::new(32).expect("it is not 0");

/// The key `budgets`; what is not said is the guard's own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct GuardBudgets {
    /// `neighbour`: ARP and neighbour discovery to the node's own addresses.
    pub neighbour: Option<Rate>,
    /// `broadcast`: broadcasts and discovery messages to groups.
    pub broadcast: Option<Rate>,
    /// `groups`: how many multicast groups the port may join on its bridge.
    pub groups: Option<NonZeroU32>,
}

impl GuardBudgets {
    pub(super) fn parse(guard: &Object<'_>) -> Result<Self, FieldError> {
        const EXPECTED: &str = "an object of neighbour, broadcast and groups";
        let Some(field) = guard.optional("budgets") else {
            return Ok(Self::default());
        };
        let object = field.object().map_err(|_| field.invalid(EXPECTED))?;
        if let Some(unknown) = other_than(&object, &["neighbour", "broadcast", "groups"]) {
            return Err(unknown.invalid("known: budgets has neighbour, broadcast and groups"));
        }
        let rate = |key| object.optional(key).map(|it| rate(&it)).transpose();
        Ok(Self {
            neighbour: rate("neighbour")?,
            broadcast: rate("broadcast")?,
            groups: object
                .optional("groups")
                .map(|groups| within(&groups, MOST_GROUPS))
                .transpose()?,
        })
    }

    /// What the port's filter is told.
    pub(super) const fn shares(self) -> Budgets {
        Budgets {
            to_node: self.neighbour,
            to_all: self.broadcast,
        }
    }

    /// How many groups the port may join.
    #[must_use]
    pub fn groups(self) -> NonZeroU32 {
        self.groups.unwrap_or(GROUPS)
    }
}

/// `{"rate": 20, "burst": 50}`, both whole.
fn rate(field: &Field<'_>) -> Result<Rate, FieldError> {
    const EXPECTED: &str = "an object of rate, in messages a second, and burst, in messages";
    let object = field.object().map_err(|_| field.invalid(EXPECTED))?;
    if let Some(unknown) = other_than(&object, &["rate", "burst"]) {
        return Err(unknown.invalid("known: a budget has rate and burst"));
    }
    let number = |key| within(&object.required(key, EXPECTED)?, MOST);
    Ok(Rate {
        per_second: number("rate")?.get(),
        burst: number("burst")?.get(),
    })
}

fn within(field: &Field<'_>, most: u32) -> Result<NonZeroU32, FieldError> {
    let number = field.u32().ok().and_then(NonZeroU32::new);
    let number = number.filter(|number| number.get() <= most);
    number.ok_or_else(|| field.invalid(format!("a number from 1 to {most}")))
}

fn other_than<'a>(object: &Object<'a>, known: &[&str]) -> Option<Field<'a>> {
    let mut others = object.members().filter(|(key, _)| !known.contains(key));
    others.next().map(|(_, field)| field)
}
