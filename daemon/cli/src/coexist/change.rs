//! Adding and removing the rules of a network: what is wanted is decided, recorded, and then done.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::NetworkName;

use super::error::CoexistError;
use super::firewall::{Firewall, behind};
use super::network::{Bridged, Recorded};
use super::record::{Record, Records, read_one};
use super::rule::{Inbound, Rule, Standing, Subject, is_operators_own};
use super::ruleset::Rules;
use super::traffic::{Surroundings, hindrances};
use super::{Action, AddArgs, Row, With, row};
use crate::failure::{Failure, chain};
use crate::sources::{Network, Sources};

/// A network and what is recorded of it, as a firewall's rules are about it.
fn bridged(network: &Network) -> Result<Bridged, CoexistError> {
    let recorded = network.read()?.as_ref().map(Recorded::of).transpose();
    let recorded = recorded.map_err(|source| Failure::Store {
        network: network.name.clone(),
        source,
    })?;
    let bridged = Bridged::of(network, recorded.unwrap_or_default());
    let bridged = bridged.map_err(|source| CoexistError::Config {
        network: network.name.clone(),
        source,
    })?;
    bridged.ok_or_else(|| CoexistError::NoBridge(network.name.clone()))
}

pub(super) fn add(args: &AddArgs) -> Result<Vec<Row>, CoexistError> {
    let (networks, _) = args.sources.select(Some(&args.network))?;
    let Some(network) = networks.first() else {
        return Err(CoexistError::NoBridge(args.network.clone()));
    };
    let bridged = bridged(network)?;
    let mut kernel = Kernel::new(Deletion::Blocking);
    let rules = Rules::read(&mut kernel)?;
    let firewalls = match args.with {
        With::Docker => BTreeSet::from([Firewall::Docker]),
        With::Firewalld => BTreeSet::from([Firewall::Firewalld]),
        With::Ufw => BTreeSet::from([Firewall::Ufw]),
        With::Auto => in_the_way(&bridged, &rules, &mut kernel)?,
    };
    let subject = Subject {
        network: bridged.name.clone(),
        bridge: bridged.bridge,
    };
    let inbound = if args.inbound {
        Inbound::Everything
    } else {
        Inbound::Asked
    };
    let mut wanted = Vec::new();
    for firewall in firewalls {
        wanted.extend(subject.rules(firewall, inbound, &rules.ruleset)?);
    }
    let recorded = read_one(&network.state_dir, &subject.network)?;
    if wanted.is_empty() && recorded.is_none() {
        return Ok(Vec::new());
    }
    let records = Records::open(&network.state_dir)?;
    put(&records, &subject, wanted)
}

/// The firewalls that drop what the network forwards.
fn in_the_way(
    network: &Bridged,
    rules: &Rules,
    kernel: &mut Kernel,
) -> Result<BTreeSet<Firewall>, CoexistError> {
    let routes = kernel.default_routes().map_err(Box::new)?;
    let around = Surroundings::read(&routes);
    let mut firewalls = BTreeSet::new();
    for hindrance in hindrances(&rules.ruleset, network, &around) {
        let dropped = &hindrance.dropped;
        match behind(&rules.ruleset, dropped) {
            Some(firewall) => firewalls.insert(firewall),
            None => {
                return Err(CoexistError::NobodyWeKnow {
                    network: network.name.clone(),
                    chain: format!("chain {} of {}", dropped.base, dropped.table),
                });
            }
        };
    }
    Ok(firewalls)
}

/// Records the rules beside those that are recorded, then adds what is missing of both.
fn put(records: &Records, subject: &Subject, wanted: Vec<Rule>) -> Result<Vec<Row>, CoexistError> {
    let mut rows = Vec::new();
    let mut rules = match records.find(&subject.network)? {
        // Another bridge's rules are of no use any more.
        Some(record) if record.bridge != subject.bridge => {
            rows.extend(take_away(records, record)?);
            Vec::new()
        }
        Some(record) => record.rules,
        None => Vec::new(),
    };
    for rule in wanted {
        if rules.contains(&rule) {
            continue;
        }
        if is_operators_own(&rule)? {
            let note = "the operator's own, it stays when this network's rules are removed";
            rows.push(row(&subject.network, &rule, Action::Left, Some(note)));
        } else {
            rules.push(rule);
        }
    }
    if rules.is_empty() {
        return Ok(rows);
    }
    let record = Record {
        network: subject.network.clone(),
        bridge: subject.bridge,
        rules,
    };
    records.put(&record)?;
    rows.extend(stand_up(&record)?);
    Ok(rows)
}

/// Adds what is missing of a record. Of rules that mean something by their order all are added anew if
/// one is missing.
fn stand_up(record: &Record) -> Result<Vec<Row>, CoexistError> {
    let is_absent = |rule: &Rule| rule.standing() != Standing::Present;
    let absent: Vec<&Rule> = record.rules.iter().filter(|rule| is_absent(rule)).collect();
    let is_torn = |rule: &Rule| absent.iter().any(|other| other.is_in_order_with(rule));
    for rule in &record.rules {
        if is_torn(rule) && !absent.contains(&rule) {
            rule.remove()?;
        }
    }
    let mut rows = Vec::new();
    for rule in &record.rules {
        let action = if absent.contains(&rule) || is_torn(rule) {
            rule.add()?;
            Action::Add
        } else {
            Action::Unchanged
        };
        rows.push(row(&record.network, rule, action, None));
    }
    Ok(rows)
}

pub(super) fn rm(name: &NetworkName, sources: &Sources) -> Result<Vec<Row>, CoexistError> {
    let mut rows = Vec::new();
    let mut is_known = false;
    for state_dir in state_dirs(sources)? {
        let Some(records) = Records::open_existing(&state_dir)? else {
            continue;
        };
        if let Some(record) = records.find(name)? {
            is_known = true;
            rows.extend(take_away(&records, record)?);
        }
    }
    if !is_known {
        // A name that nobody knows is a mistake; one without rules is as it was asked to be.
        sources.select(Some(name))?;
    }
    Ok(rows)
}

/// Removes the rules of a record, the last first, then the record. What cannot be removed stays in it.
fn take_away(records: &Records, mut record: Record) -> Result<Vec<Row>, CoexistError> {
    let mut rows = Vec::new();
    let mut left = Vec::new();
    let mut said = Vec::new();
    while let Some(rule) = record.rules.pop() {
        let action = if rule.standing() == Standing::Absent {
            Action::Unchanged
        } else {
            Action::Remove
        };
        let removed = match action {
            Action::Remove => rule.remove(),
            _ => Ok(()),
        };
        match removed {
            Ok(()) => rows.push(row(&record.network, &rule, action, None)),
            Err(error) => {
                said.push(chain(&error));
                left.insert(0, rule);
            }
        }
    }
    if left.is_empty() {
        records.remove(&record.network)?;
        return Ok(rows);
    }
    record.rules = left;
    records.put(&record)?;
    Err(CoexistError::Left {
        network: record.network,
        said,
    })
}

/// The state directories of all networks.
pub(crate) fn state_dirs(sources: &Sources) -> Result<BTreeSet<PathBuf>, Failure> {
    let (networks, _) = sources.select(None)?;
    let mut dirs: BTreeSet<_> = networks
        .into_iter()
        .map(|network| network.state_dir)
        .collect();
    dirs.insert(sources.state_dir.clone());
    Ok(dirs)
}
