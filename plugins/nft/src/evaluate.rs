//! What a table does to a packet, by the kernel's rules (`net/netfilter/nf_tables_core.c`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use bulkhead_model::{Family, IfName};

use crate::datum::{Datum, Key};
use crate::field::Field;
use crate::meter::{Carried, Exceeds};
use crate::name::Name;
use crate::packet::Packet;
use crate::prefixes::{address, prefix_holds};
use crate::rule::{Match, Op, Operand, Rule, SourcePorts, Statement, Verdict};
use crate::set::{Data, Elements, Set};
use crate::table::{Base, Chain, Devices, Hook, Policy, Table, TableFamily};

/// The kernel's limit on nested jumps (`NFT_JUMP_STACK_SIZE`).
const MAX_DEPTH: usize = 16;

/// What became of a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evaluation {
    /// What the hook's chains decided together: the first drop, else accept.
    pub verdict: Policy,
    /// Whether its source is translated, and how.
    pub masquerade: Option<SourcePorts>,
    /// The address and port its destination is translated to. Later chains of the run still see the
    /// old ones.
    pub destination: Option<Key>,
    /// The device it was sent out of instead of going on, if that is there; its verdict is an accept.
    pub forwarded_to: Option<IfName>,
    /// Its mark afterwards.
    pub mark: u32,
    /// The elements of meters and tallies that it made or counted in, in order: set and key.
    pub metered: Vec<(Name, Key)>,
    /// The rules that ran to their end, in order.
    pub trail: Vec<Step>,
}

/// One rule that ran to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The rule's chain.
    pub chain: Name,
    /// Its place in the chain, from 0.
    pub rule: usize,
}

/// Why a table does nothing that could be told: the kernel would refuse it, or kernels differ.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Undefined {
    /// A rule names a chain that the table lacks.
    #[error("the table has no chain {0}")]
    Chain(Name),
    /// A rule names a set that the table lacks.
    #[error("the table has no set {0}")]
    Set(Name),
    /// A rule makes an element whose key is none of its set: another length, or no value of the type.
    #[error("what a rule puts into set {0} is none of its keys")]
    Key(Name),
    /// Rules make elements of one set with different rates or counters: what stands in an element is the
    /// choice of the rule that a packet met first.
    #[error("rules put different meters into set {0}: each needs a set of its own")]
    Meters(Name),
    /// A rule reads a transport field of a later fragment, which kernels do not agree on.
    #[error("a rule reads {0} of a later fragment: fragments are to be sorted out before it")]
    Fragment(Field),
    /// Jumps nest deeper than the kernel allows.
    #[error("jumps nest deeper than {MAX_DEPTH} at chain {0}")]
    Depth(Name),
}

/// Where the chains and sets of a table are, for who runs many packets through it: without it each jump and each
/// lookup goes through all of them.
#[derive(Clone, Debug, Default)]
pub struct Places {
    bases: Vec<usize>,
    chains: HashMap<Name, usize>,
    sets: HashMap<Name, usize>,
}

impl Places {
    /// Of the table as it is now.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let chains = || table.chains.iter().enumerate();
        let sets = table.sets.iter().enumerate();
        Self {
            bases: chains()
                .filter(|(_, chain)| chain.base.is_some())
                .map(|(nth, _)| nth)
                .collect(),
            // As in `Table::chain` and `Table::set` the first of a name counts.
            chains: chains()
                .rev()
                .map(|(nth, chain)| (chain.name.clone(), nth))
                .collect(),
            sets: sets
                .rev()
                .map(|(nth, set)| (set.name.clone(), nth))
                .collect(),
        }
    }
}

/// As [`evaluate`], for a table whose chains and sets are in those places.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_at(
    table: &Table,
    places: &Places,
    hook: Hook,
    packet: &Packet,
) -> Result<Evaluation, Undefined> {
    run(table, Some(places), hook, packet, &BTreeSet::new())
}

/// Runs the packet through the base chains of `table` at `hook`, lowest priority first, within the rate
/// of every meter. A packet that no chain sees is accepted.
///
/// # Errors
/// [`Undefined`] if a rule that is reached names something the table lacks, or reads what kernels do
/// not agree on.
pub fn evaluate(table: &Table, hook: Hook, packet: &Packet) -> Result<Evaluation, Undefined> {
    evaluate_over(table, hook, packet, &BTreeSet::new())
}

/// As [`evaluate`] for a packet that is beyond the rate of those meters, and of the limits in those sets. There is no time here that
/// rates could be measured by, and room for an element in every set.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_over(
    table: &Table,
    hook: Hook,
    packet: &Packet,
    exceeded: &BTreeSet<Name>,
) -> Result<Evaluation, Undefined> {
    run(table, None, hook, packet, exceeded)
}

fn run(
    table: &Table,
    places: Option<&Places>,
    hook: Hook,
    packet: &Packet,
    exceeded: &BTreeSet<Name>,
) -> Result<Evaluation, Undefined> {
    let mut run = Run {
        table,
        places,
        exceeded,
        packet: packet.clone(),
        metered: Vec::new(),
        masquerade: None,
        destination: None,
        forwarded_to: None,
        trail: Vec::new(),
    };
    let mut verdict = Policy::Accept;
    for (base, chain) in entered(table, places, hook, packet) {
        let decided = match run.chain(chain, 0)? {
            Flow::Accept => Policy::Accept,
            Flow::Drop => Policy::Drop,
            Flow::End => base.policy,
        };
        verdict = decided;
        // NF_STOLEN: a frame sent elsewhere is not seen by later chains.
        if decided == Policy::Drop || run.forwarded_to.is_some() {
            break;
        }
    }
    Ok(Evaluation {
        verdict,
        masquerade: run.masquerade,
        destination: run.destination,
        forwarded_to: run.forwarded_to,
        mark: run.packet.mark(),
        metered: run.metered,
        trail: run.trail,
    })
}

fn entered<'t>(
    table: &'t Table,
    places: Option<&Places>,
    hook: Hook,
    packet: &Packet,
) -> Vec<(&'t Base, &'t Chain)> {
    if !packet.is_seen_by(table.id.family) {
        return Vec::new();
    }
    let known = places.map(|places| &places.bases).into_iter().flatten();
    let known = known.filter_map(|nth| table.chains.get(*nth));
    let all = table.chains.iter().take_while(|_| places.is_none());
    let mut chains: Vec<_> = known
        .chain(all)
        .filter_map(|chain| Some((chain.base.as_ref()?, chain)))
        .filter(|(base, _)| base.hook == hook && covers(&base.devices, packet))
        .collect();
    chains.sort_by_key(|(base, _)| base.priority);
    chains
}

fn covers(devices: &Devices, packet: &Packet) -> bool {
    match (devices, packet.iif()) {
        (Devices::None, _) => true,
        (Devices::Names(names), Some(iif)) => names.contains(&iif),
        (Devices::Prefix(prefix), Some(iif)) => iif.as_str().starts_with(prefix.as_str()),
        (_, None) => false,
    }
}

/// How a chain or rule ended.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Flow {
    Accept,
    Drop,
    /// The chain is through: back to the caller, or the policy.
    End,
}

/// What follows one statement.
enum Next {
    Statement,
    Rule,
    Verdict(Verdict),
}

struct Run<'t> {
    table: &'t Table,
    places: Option<&'t Places>,
    exceeded: &'t BTreeSet<Name>,
    packet: Packet,
    metered: Vec<(Name, Key)>,
    masquerade: Option<SourcePorts>,
    destination: Option<Key>,
    forwarded_to: Option<IfName>,
    trail: Vec<Step>,
}

impl<'t> Run<'t> {
    fn chain(&mut self, chain: &Chain, depth: usize) -> Result<Flow, Undefined> {
        if depth >= MAX_DEPTH {
            return Err(Undefined::Depth(chain.name.clone()));
        }
        for (nth, rule) in chain.rules.iter().enumerate() {
            let Some(verdict) = self.rule(&chain.name, nth, rule)? else {
                continue;
            };
            let flow = match verdict {
                Verdict::Accept => Flow::Accept,
                Verdict::Drop => Flow::Drop,
                Verdict::Return => Flow::End,
                Verdict::Goto(to) => self.enter(&to, depth)?,
                Verdict::Jump(to) => match self.enter(&to, depth)? {
                    Flow::End => continue,
                    decided => decided,
                },
            };
            return Ok(flow);
        }
        Ok(Flow::End)
    }

    fn enter(&mut self, to: &Name, depth: usize) -> Result<Flow, Undefined> {
        let table = self.table;
        let chain = match self.places {
            Some(places) => places.chains.get(to).and_then(|nth| table.chains.get(*nth)),
            None => table.chain(to),
        };
        let chain = chain.ok_or_else(|| Undefined::Chain(to.clone()))?;
        self.chain(chain, depth + 1)
    }

    fn rule(
        &mut self,
        chain: &Name,
        nth: usize,
        rule: &Rule,
    ) -> Result<Option<Verdict>, Undefined> {
        let step = Step {
            chain: chain.clone(),
            rule: nth,
        };
        for statement in &rule.statements {
            match self.statement(statement)? {
                Next::Statement => {}
                Next::Rule => return Ok(None),
                Next::Verdict(verdict) => {
                    self.trail.push(step);
                    return Ok(Some(verdict));
                }
            }
        }
        self.trail.push(step);
        Ok(None)
    }

    fn statement(&mut self, statement: &Statement) -> Result<Next, Undefined> {
        Ok(match statement {
            Statement::Match(comparison) if self.holds(comparison)? => Next::Statement,
            Statement::Match(_) => Next::Rule,
            // There is no time here that a rate could be measured by.
            Statement::Counter
            | Statement::Untracked
            | Statement::ClampMss
            | Statement::Log(_)
            | Statement::Limit(_) => Next::Statement,
            Statement::SetPriority(priority) => self.priority(*priority),
            Statement::PriorityOf { fields, map } => match self.mapped(fields, map)? {
                Some(Data::Value(value)) => match value.parts() {
                    [Datum::ClassId(priority)] => self.priority(*priority),
                    _ => Next::Rule,
                },
                _ => Next::Rule,
            },
            Statement::Meter {
                fields, set, when, ..
            } => {
                let is_over = self.exceeded.contains(set);
                let goes_on = is_over == (*when == Exceeds::Over);
                match self.meter(fields, set)? {
                    Next::Statement if goes_on => Next::Statement,
                    _ => Next::Rule,
                }
            }
            Statement::Tally { fields, set } => self.meter(fields, set)?,
            Statement::SetMark(mark) => self.mark(*mark),
            Statement::SetMarkBits(bits) => self.mark(self.packet.mark() | bits),
            Statement::ClearMarkBits(bits) => self.mark(self.packet.mark() & !bits),
            Statement::Verdict(verdict) => Next::Verdict(verdict.clone()),
            Statement::VerdictMap { fields, map } => {
                let map = self.set(map)?;
                self.key(fields)?
                    .and_then(|key| verdict_in(map, &key))
                    .map_or(Next::Rule, Next::Verdict)
            }
            Statement::Vmap { fields, entries } => {
                let key = self.key(fields)?;
                entries
                    .iter()
                    .find_map(|(of, verdict)| (Some(of.bytes()) == key).then(|| verdict.clone()))
                    .map_or(Next::Rule, Next::Verdict)
            }
            Statement::Dnat {
                family,
                fields,
                map,
            } => self.dnat(*family, fields, map)?,
            Statement::Forward { fields, map } => match self.mapped(fields, map)? {
                Some(Data::Device(device)) => {
                    self.forwarded_to = Some(device);
                    Next::Verdict(Verdict::Accept)
                }
                _ => Next::Rule,
            },
            Statement::Masquerade(ports) => {
                self.masquerade = Some(*ports);
                Next::Verdict(Verdict::Accept)
            }
        })
    }

    /// Makes the element, or finds it.
    fn meter(&mut self, fields: &[Field], set: &Name) -> Result<Next, Undefined> {
        let kinds = &self.set(set)?.key;
        self.agree_on(set)?;
        let Some(found) = self.key(fields)? else {
            return Ok(Next::Rule);
        };
        let key = Key::decode(kinds, &found).ok_or_else(|| Undefined::Key(set.clone()))?;
        self.metered.push((set.clone(), key));
        Ok(Next::Statement)
    }

    /// All rules that make elements of the set make the same.
    fn agree_on(&self, set: &Name) -> Result<(), Undefined> {
        let rules = self.table.chains.iter().flat_map(|chain| &chain.rules);
        let made = rules
            .flat_map(|rule| &rule.statements)
            .filter_map(Carried::of);
        let mut made = made
            .filter(|(of, _)| *of == set)
            .map(|(_, carried)| carried);
        let first = made.next();
        if made.all(|other| Some(other) == first) {
            Ok(())
        } else {
            Err(Undefined::Meters(set.clone()))
        }
    }

    fn mark(&mut self, mark: u32) -> Next {
        self.packet = self.packet.clone().marked(mark);
        Next::Statement
    }

    fn priority(&mut self, priority: u32) -> Next {
        self.packet = self.packet.clone().of_priority(priority);
        Next::Statement
    }

    fn dnat(&mut self, family: Family, fields: &[Field], map: &Name) -> Result<Next, Undefined> {
        let ours = match family {
            Family::V4 => TableFamily::Ip,
            Family::V6 => TableFamily::Ip6,
        };
        if !self.packet.is_seen_by(ours) {
            return Ok(Next::Rule);
        }
        Ok(match self.mapped(fields, map)? {
            Some(Data::Value(to)) => {
                self.destination = Some(to);
                Next::Verdict(Verdict::Accept)
            }
            _ => Next::Rule,
        })
    }

    fn mapped(&self, fields: &[Field], map: &Name) -> Result<Option<Data>, Undefined> {
        let map = self.set(map)?;
        let found = self.key(fields)?.and_then(|key| data_in(map, &key));
        Ok(found.cloned())
    }

    fn holds(&self, comparison: &Match) -> Result<bool, Undefined> {
        let Some(found) = self.key(&comparison.fields)? else {
            return Ok(false);
        };
        let equal = match &comparison.with {
            Operand::Value(value) => value.bytes() == found,
            Operand::AnyBit(bits) => {
                let bits = bits.bytes();
                bits.iter().zip(&found).any(|(bit, byte)| bit & byte != 0)
            }
            Operand::Masked { mask, value } => {
                let left = mask
                    .bytes()
                    .into_iter()
                    .zip(found)
                    .map(|(bit, byte)| bit & byte);
                left.eq(value.bytes())
            }
            Operand::Range { first, last } => first.bytes() <= found && found <= last.bytes(),
            Operand::Prefix(prefix) => prefix_holds(*prefix, &found),
            Operand::NamePrefix(prefix) => found.starts_with(prefix.as_str().as_bytes()),
            Operand::Set(name) => {
                let set = self.set(name)?;
                let elements = &set.elements;
                let has = contains(set, &found);
                let is_limited = matches!(elements, Elements::Limits(_));
                if has && is_limited && comparison.op == Op::Eq {
                    return Ok(self.exceeded.contains(name));
                }
                has
            }
            Operand::Keys(keys) => keys.iter().any(|key| key.bytes() == found),
            Operand::Prefixes(prefixes) => prefixes.holds(&found),
        };
        Ok(equal == (comparison.op == Op::Eq))
    }

    fn set(&self, set: &Name) -> Result<&'t Set, Undefined> {
        let found = match self.places {
            Some(places) => {
                let nth = places.sets.get(set);
                nth.and_then(|nth| self.table.sets.get(*nth))
            }
            None => self.table.set(set),
        };
        found.ok_or_else(|| Undefined::Set(set.clone()))
    }

    /// The registers after the fields are loaded; `None` if the packet lacks one, or what one needs.
    fn key(&self, fields: &[Field]) -> Result<Option<Vec<u8>>, Undefined> {
        let family = self.table.id.family;
        let has =
            |(field, value): (Field, Datum)| self.packet.load(field, family) == Some(value.bytes());
        let all_hold = |field: &Field| field.dependencies(family).into_iter().all(has);
        if !fields.iter().all(all_hold) {
            return Ok(None);
        }
        let mut key = Vec::new();
        for field in fields {
            if self.packet.is_disputed(*field) {
                return Err(Undefined::Fragment(*field));
            }
            let Some(bytes) = self.packet.load(*field, family) else {
                return Ok(None);
            };
            key.extend(bytes);
            if fields.len() > 1 {
                key.resize(key.len().next_multiple_of(4), 0);
            }
        }
        Ok(Some(key))
    }
}

/// A set has one type of keys: what the registers hold is a key of it, or none.
fn contains(set: &Set, found: &[u8]) -> bool {
    let key = || Key::decode(&set.key, found).filter(|key| key.bytes() == found);
    match &set.elements {
        Elements::Keys(keys) => key().is_some_and(|key| keys.contains(&key)),
        Elements::Map(map) => key().is_some_and(|key| map.contains_key(&key)),
        Elements::Limits(limits) => key().is_some_and(|key| limits.contains_key(&key)),
        Elements::Prefixes(prefixes) => prefixes.holds(found),
        Elements::Ranges(ranges) => in_range(ranges, found).is_some(),
    }
}

fn verdict_in(map: &Set, found: &[u8]) -> Option<Verdict> {
    match data_in(map, found)? {
        Data::Verdict(verdict) => Some(verdict.clone()),
        Data::Value(_) | Data::Device(_) => None,
    }
}

fn data_in<'e>(map: &'e Set, found: &[u8]) -> Option<&'e Data> {
    match &map.elements {
        Elements::Map(entries) => {
            let key = Key::decode(&map.key, found).filter(|key| key.bytes() == found)?;
            entries.get(&key).map(|entry| &entry.data)
        }
        Elements::Ranges(ranges) => in_range(ranges, found),
        Elements::Keys(_) | Elements::Limits(_) | Elements::Prefixes(_) => None,
    }
}

fn in_range<'e>(ranges: &'e BTreeMap<IpAddr, (IpAddr, Data)>, found: &[u8]) -> Option<&'e Data> {
    let address = address(found)?;
    let (_, (last, data)) = ranges.range(..=address).next_back()?;
    (address <= *last).then_some(data)
}
