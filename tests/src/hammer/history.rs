//! What workers saw, and whether it can be true of addresses that are never given twice.
//!
//! An address is certainly held from the moment an ADD answered with it to the moment a DEL was begun,
//! or to the end. Between the start of an ADD and its answer, and after a DEL has begun, it may be held
//! or not: nothing is concluded from then. Two certain times of one address that overlap are a
//! duplicate, whatever the faults were.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A time since the run began.
pub type At = Duration;

/// A container as it was attached once: its id is used only once.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Life {
    /// Which node, from 0.
    pub node: usize,
    /// The container's id.
    pub container: String,
    /// The network namespace it was given.
    pub netns: String,
    /// What ADD answered; empty if it never succeeded.
    pub addresses: Vec<IpAddr>,
    /// When ADD answered; `None` if it never succeeded.
    pub added: Option<At>,
    /// When the first DEL began.
    pub leaving: Option<At>,
    /// When a DEL succeeded.
    pub deleted: Option<At>,
}

impl Life {
    /// A container that is about to be attached.
    #[must_use]
    pub fn new(node: usize, container: String, netns: String) -> Self {
        Self {
            node,
            container,
            netns,
            addresses: Vec::new(),
            added: None,
            leaving: None,
            deleted: None,
        }
    }

    /// Whether it is attached for all its runtime knows.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.added.is_some() && self.leaving.is_none()
    }
}

/// One address, two holders.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Duplicate {
    /// The address.
    pub address: IpAddr,
    /// Who had it first.
    pub first: Life,
    /// Who got it while the first had it.
    pub second: Life,
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            first,
            second,
        } = self;
        let until = first
            .leaving
            .map_or_else(|| "the end".to_owned(), |at| format!("{at:.3?}"));
        write!(
            f,
            "{address} was node {}'s {} from {:.3?} to {until}, and node {}'s {} from {:.3?}",
            first.node,
            first.container,
            first.added.unwrap_or_default(),
            second.node,
            second.container,
            second.added.unwrap_or_default(),
        )
    }
}

/// Every pair of certain times that overlap.
#[must_use]
pub fn duplicates(lives: &[Life]) -> Vec<Duplicate> {
    let mut holders: BTreeMap<IpAddr, Vec<&Life>> = BTreeMap::new();
    for life in lives.iter().filter(|life| life.added.is_some()) {
        for address in &life.addresses {
            holders.entry(*address).or_default().push(life);
        }
    }
    let mut found = Vec::new();
    for (address, mut lives) in holders {
        lives.sort_by_key(|life| life.added);
        // The one that holds longest of those seen so far is who a later one collides with.
        let mut longest: Option<&Life> = None;
        for life in lives {
            if let Some(first) = longest
                && first.leaving.is_none_or(|until| life.added < Some(until))
            {
                found.push(Duplicate {
                    address,
                    first: first.clone(),
                    second: life.clone(),
                });
            }
            let ends = |life: &Life| life.leaving.unwrap_or(At::MAX);
            if longest.is_none_or(|first| ends(first) < ends(life)) {
                longest = Some(life);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(container: &str, added: Option<u64>, leaving: Option<u64>) -> Life {
        Life {
            addresses: vec!["10.0.0.9".parse().unwrap()],
            added: added.map(At::from_millis),
            leaving: leaving.map(At::from_millis),
            ..Life::new(0, container.to_owned(), String::new())
        }
    }

    #[test]
    fn an_address_that_is_given_again_after_its_del_began_is_no_duplicate() {
        let lives = [life("a", Some(1), Some(5)), life("b", Some(5), None)];
        assert_eq!(duplicates(&lives), []);
    }

    #[test]
    fn an_address_that_two_hold_at_once_is_one() {
        let lives = [life("a", Some(1), Some(5)), life("b", Some(4), Some(4))];
        let found = duplicates(&lives);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].to_string(),
            "10.0.0.9 was node 0's a from 1.000ms to 5.000ms, and node 0's b from 4.000ms"
        );
    }

    #[test]
    fn who_holds_longest_is_remembered_behind_a_shorter_one() {
        let lives = [
            life("a", Some(1), None),
            life("b", Some(2), Some(3)),
            life("c", Some(9), None),
        ];
        let pairs: Vec<_> = duplicates(&lives)
            .into_iter()
            .map(|found| (found.first.container, found.second.container))
            .collect();
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(pairs, [pair("a", "b"), pair("a", "c")]);
    }

    #[test]
    fn an_add_that_never_answered_holds_nothing_for_certain() {
        let lives = [life("a", Some(1), None), life("b", None, None)];
        assert_eq!(duplicates(&lives), []);
    }
}
