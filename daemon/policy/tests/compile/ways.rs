//! What a change costs the kernel: how often it looks at what classes say.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_nft::{Chain, Data, Elements, Hook, Name, Statement, Table, Verdict};
use bulkhead_policy::{Local, NodeName, compile};

use super::dice::Dice;
use super::{seeds, worlds};

/// A chain is looked at again where it was not from this hook, or from less deep (`nft_chain_validate`).
#[derive(Default)]
struct Walk<'t> {
    depths: BTreeMap<&'t Name, usize>,
    hooks: BTreeSet<(&'t Name, &'static str)>,
    looked: BTreeMap<(&'static str, &'t Name), usize>,
}

impl<'t> Walk<'t> {
    fn look(&mut self, table: &'t Table, hook: &'static str, chain: &'t Chain, level: usize) {
        let name = &chain.name;
        let known = self.hooks.contains(&(name, hook)) && self.depths.get(name) >= Some(&level);
        if level > 0 && known {
            return;
        }
        *self.looked.entry((hook, name)).or_default() += 1;
        for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
            for target in targets(table, statement) {
                let next = table.chains.iter().find(|chain| chain.name == *target);
                self.look(table, hook, next.expect("it is there"), level + 1);
            }
        }
        self.hooks.insert((name, hook));
        let depth = self.depths.entry(name).or_default();
        *depth = level.max(*depth);
    }
}

fn targets<'t>(table: &'t Table, statement: &'t Statement) -> Vec<&'t Name> {
    let elements = |map: &Name| {
        let set = table.sets.iter().find(|set| set.name == *map);
        &set.expect("it is there").elements
    };
    let verdicts: Vec<&Verdict> = match statement {
        Statement::Verdict(verdict) => vec![verdict],
        Statement::Vmap { entries, .. } => entries.values().collect(),
        Statement::VerdictMap { map, .. } => match elements(map) {
            Elements::Map(all) => all
                .values()
                .filter_map(|entry| match &entry.data {
                    Data::Verdict(verdict) => Some(verdict),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let target = |verdict: &'t Verdict| match verdict {
        Verdict::Jump(name) | Verdict::Goto(name) => Some(name),
        _ => None,
    };
    verdicts.into_iter().filter_map(target).collect()
}

#[test]
fn the_kernel_looks_at_every_chain_once_from_each_hook() {
    let node = NodeName::new("n1");
    let mut chains = 0;
    for seed in seeds(6, 100) {
        let mut world = worlds::world(&mut Dice::new(seed));
        if seed % 2 == 0 {
            worlds::delegate(&mut Dice::new(seed), &mut world);
        }
        let table = compile(&world, &Local::of(&world, Some(&node))).table;
        let mut walk = Walk::default();
        for chain in &table.chains {
            let hook = chain.base.as_ref().map(|base| match base.hook {
                Hook::Forward => "forward",
                Hook::Input => "input",
                _ => "output",
            });
            if let Some(hook) = hook {
                walk.look(&table, hook, chain, 0);
            }
        }
        let again = walk.looked.iter().filter(|(_, count)| **count > 1);
        assert_eq!(again.collect::<Vec<_>>(), [], "seed {seed}");
        chains += walk.looked.len();
    }
    assert!(chains > 100, "{chains}");
}
