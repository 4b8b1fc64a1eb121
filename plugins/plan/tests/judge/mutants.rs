//! Rules that are not what they should be: each is found out by a frame.

use std::collections::BTreeMap;

use bulkhead_nft as nft;
use nft::{Key, Name, Statement, Verdict};

use crate::dice::Dice;
use crate::reference::{Node, Sentence};
use crate::{FRAMES, Sent, ports, ruled, seeds, sentence};

/// Seeds of which frames are kept.
const SEEDS: usize = 40;
/// Frames that a mutant has to be found out by.
const LOOKED_AT: usize = 9000;

/// One thing in the rules that is wrong.
struct Mutant {
    /// Of the table.
    chain: usize,
    /// Of the chain.
    rule: usize,
    change: Change,
    what: String,
}

enum Change {
    /// The rule is not there.
    Gone,
    /// What passed is dropped, and everything else passes.
    Turned,
    /// The statement at that place is not there.
    Without(usize),
    /// The verdict map at that place lacks a key.
    Unmapped(usize, Key),
}

impl Mutant {
    /// Whether only frames that the rule decided on can show it.
    fn shows_in_rule(&self) -> bool {
        !matches!(self.change, Change::Without(_))
    }

    fn of(&self, table: &nft::Table) -> nft::Table {
        let mut wrong = table.clone();
        let rules = &mut wrong.chains[self.chain].rules;
        let statements = &mut rules[self.rule].statements;
        match &self.change {
            Change::Gone => {
                rules.remove(self.rule);
            }
            Change::Turned => {
                for statement in statements {
                    if let Statement::Verdict(verdict) = statement {
                        *verdict = opposite(verdict);
                    }
                }
            }
            Change::Without(place) => {
                statements.remove(*place);
            }
            Change::Unmapped(place, key) => {
                if let Statement::Vmap { entries, .. } = &mut statements[*place] {
                    entries.remove(key);
                }
            }
        }
        wrong
    }
}

fn opposite(verdict: &Verdict) -> Verdict {
    match verdict {
        Verdict::Goto(chain) if chain.as_str() == "bound" => Verdict::Drop,
        _ => Verdict::Accept,
    }
}

/// Of every rule that judges.
fn mutants(table: &nft::Table) -> Vec<Mutant> {
    let mut all = Vec::new();
    for (chain, of) in table.chains.iter().enumerate() {
        if of.name.as_str() == "bound" || of.name.as_str().starts_with("drop-") {
            continue;
        }
        for (rule, it) in of.rules.iter().enumerate() {
            for (how, change) in changes(it) {
                all.push(Mutant {
                    chain,
                    rule,
                    change,
                    what: format!("{} {rule} {how}: {it}", of.name),
                });
            }
        }
    }
    all
}

/// Whether a rule drops early what a later one would drop for the same reason: a port of which no source
/// needs a second look.
fn saves_a_look(rule: &nft::Rule) -> bool {
    let first = rule.statements.first();
    first.is_some_and(|first| first.to_string() == "iifname != @loose")
}

fn changes(rule: &nft::Rule) -> Vec<(String, Change)> {
    let mut all = Vec::new();
    if !saves_a_look(rule) {
        all.push(("is gone".to_owned(), Change::Gone));
    }
    for (place, statement) in rule.statements.iter().enumerate() {
        match statement {
            Statement::Verdict(_) => all.push(("is turned".to_owned(), Change::Turned)),
            Statement::Match(_) | Statement::Meter { .. } => {
                all.push((format!("lacks ({statement})"), Change::Without(place)));
            }
            Statement::Vmap { entries, .. } => all.extend(entries.keys().map(|key| {
                let change = Change::Unmapped(place, key.clone());
                (format!("lacks the key {key}"), change)
            })),
            _ => {}
        }
    }
    all
}

/// Frames, what became of them, and which rules they ran to the end.
#[derive(Default)]
struct Ran {
    nodes: Vec<(Node, nft::Table)>,
    /// Each with its node.
    sent: Vec<(usize, Sent, Sentence)>,
    of_rule: BTreeMap<(Name, usize), Vec<usize>>,
    of_chain: BTreeMap<Name, Vec<usize>>,
}

impl Ran {
    fn new() -> Self {
        let mut ran = Self::default();
        for seed in seeds().take(SEEDS) {
            let mut dice = Dice::new(seed);
            let node = ports::node(&mut dice);
            let table = ports::table(&node);
            for _ in 0..FRAMES {
                let sent = Sent::any(&mut dice, &node);
                let evaluation = ruled(&table, &node, &sent).expect("the rules are defined");
                ran.add(sent, &evaluation);
            }
            ran.nodes.push((node, table));
        }
        ran
    }

    fn add(&mut self, sent: Sent, evaluation: &nft::Evaluation) {
        let nth = self.sent.len();
        for step in &evaluation.trail {
            let rule = (step.chain.clone(), step.rule);
            self.of_rule.entry(rule).or_default().push(nth);
            let of_chain = self.of_chain.entry(step.chain.clone()).or_default();
            if of_chain.last() != Some(&nth) {
                of_chain.push(nth);
            }
        }
        let became = sentence(evaluation).expect("every drop has a reason");
        self.sent.push((self.nodes.len(), sent, became));
    }

    /// The frames that can show a mutant.
    fn showing(&self, mutant: &Mutant) -> impl Iterator<Item = &(usize, Sent, Sentence)> {
        let (_, table) = &self.nodes[0];
        let chain = &table.chains[mutant.chain].name;
        let found = if mutant.shows_in_rule() {
            self.of_rule.get(&(chain.clone(), mutant.rule))
        } else {
            self.of_chain.get(chain)
        };
        let found = found.into_iter().flatten().take(LOOKED_AT);
        found.map(|nth| &self.sent[*nth])
    }

    fn finds_out(&self, mutant: &Mutant) -> bool {
        // The frames of a node come one after another.
        let mut wrong: Option<(usize, nft::Table)> = None;
        for (of, sent, right) in self.showing(mutant) {
            let (node, table) = &self.nodes[*of];
            let wrong = match &mut wrong {
                Some((same, wrong)) if same == of => wrong,
                other => &mut other.insert((*of, mutant.of(table))).1,
            };
            // What is not defined is found out too.
            let became = ruled(wrong, node, sent).ok();
            if became.and_then(|it| sentence(&it)) != Some(*right) {
                return true;
            }
        }
        false
    }
}

#[test]
fn every_rule_is_needed_by_a_frame() {
    let ran = Ran::new();
    // The tables differ in their elements alone.
    let all = mutants(&ran.nodes[0].1);
    let lived = all.iter().filter(|mutant| !ran.finds_out(mutant));
    let lived: Vec<_> = lived.map(|mutant| mutant.what.as_str()).collect();
    println!("{} wrong rules, {} nodes", all.len(), ran.nodes.len());
    assert!(lived.is_empty(), "no frame shows:\n{}", lived.join("\n"));
}
