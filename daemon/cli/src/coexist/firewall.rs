//! Whose firewall a chain belongs to. Each has one place for an operator's own rules, and it is the
//! only place where an accept counts: the same in a table of ours would be overruled.

use bulkhead_model::Family;
use bulkhead_nft::TableFamily;
use bulkhead_nft::foreign::{Dropped, Engine, Rule, Ruleset, Table, TableName};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The chain that docker leaves to the operator and enters first.
pub(crate) const DOCKER_USER: &str = "DOCKER-USER";

/// A firewall that we know how to add a rule to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Firewall {
    Docker,
    Firewalld,
    Ufw,
}

impl Firewall {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Firewalld => "firewalld",
            Self::Ufw => "ufw",
        }
    }
}

/// The firewall whose rules the drop is of; `None` if it is none of those we know.
pub(crate) fn behind(rules: &Ruleset, dropped: &Dropped) -> Option<Firewall> {
    let table = rules.tables.get(&dropped.table)?;
    if is_firewalld(&dropped.table) {
        return Some(Firewall::Firewalld);
    }
    let base = table.chains.get(&dropped.base)?;
    let leads = |prefix: &str| {
        let mut targets = base.rules.iter().flat_map(Rule::targets);
        targets.any(|chain| chain.starts_with(prefix))
    };
    if leads(DOCKER_USER) {
        Some(Firewall::Docker)
    } else if leads("ufw-") || leads("ufw6-") {
        Some(Firewall::Ufw)
    } else {
        None
    }
}

/// The families in which docker's chain is there, and who runs it.
pub(crate) fn docker_chains(rules: &Ruleset) -> Vec<(Family, Engine)> {
    let families = [
        (Family::V4, TableFamily::Ip),
        (Family::V6, TableFamily::Ip6),
    ];
    let engines = [Engine::Nftables, Engine::Legacy];
    let places = families
        .into_iter()
        .flat_map(|family| engines.map(|engine| (family, engine)));
    places
        .filter(|((_, table), engine)| {
            let table = rules.table(*engine, *table, "filter");
            table.is_some_and(is_dockers)
        })
        .map(|((family, _), engine)| (family, engine))
        .collect()
}

/// Whether what is forwarded is led to docker's chain.
fn is_dockers(table: &Table) -> bool {
    let bases = table.chains.values().filter(|chain| chain.base.is_some());
    let mut targets = bases.flat_map(|chain| &chain.rules).flat_map(Rule::targets);
    targets.any(|chain| chain == DOCKER_USER)
}

fn is_firewalld(table: &TableName) -> bool {
    table.engine == Engine::Nftables && table.name == "firewalld"
}

/// Whether a table is ours: there is no need to tell what it does.
pub(crate) fn is_ours(table: &TableName) -> bool {
    let begins = |prefix| table.name.starts_with(prefix);
    let named = table.name == "bulkhead" || begins("bulkhead-") || begins("bh-");
    table.engine == Engine::Nftables && named
}
