//! What changes as endpoints and policies come and go, laid out in each way.

use std::net::IpAddr;

use bulkhead_nft as nft;
use bulkhead_policy::{Local, World, compile};
use nft::{
    Chain, Command, Data, Datum, Elements, Entry, Field, Key, Name, Op, Operand, Part, Rule,
    Statement, TableFamily, TableId, Verdict,
};

use super::Layout;
use super::worlds::{PORTS, Size, address, device, endpoint, group_of, local, port, world};

/// There and back.
pub(super) struct Change {
    pub(super) what: &'static str,
    pub(super) there: Vec<Command>,
    pub(super) back: Vec<Command>,
}

const REMOTE: &str = "an endpoint elsewhere joins";
const LOCAL: &str = "an endpoint here joins";
const EDIT: &str = "a policy allows one more port";

pub(super) fn of(layout: Layout, size: Size) -> Vec<Change> {
    let endpoints = size.endpoints;
    match layout {
        Layout::Chains => vec![
            paired(REMOTE, vec![member(endpoints)]),
            local_chains(endpoints),
        ],
        Layout::Pairs => pairs(endpoints),
        Layout::Rulings => rulings(size),
        Layout::Nothing | Layout::Tracked | Layout::Linear => Vec::new(),
    }
}

fn table() -> TableId {
    TableId {
        family: TableFamily::Inet,
        name: Name::literal("bench"),
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("letters, digits and dashes")
}

fn add(set: &str, elements: Elements) -> Command {
    Command::AddElements {
        table: table(),
        set: name(set),
        elements,
    }
}

/// Elements that come, and go again.
fn paired(what: &'static str, there: Vec<Command>) -> Change {
    let gone = |command: &Command| match command {
        Command::AddElements {
            table,
            set,
            elements,
        } => Some(Command::DeleteElements {
            table: table.clone(),
            set: set.clone(),
            elements: elements.clone(),
        }),
        _ => None,
    };
    let back = there.iter().rev().filter_map(gone).collect();
    Change { what, there, back }
}

fn newcomer(endpoints: usize) -> (IpAddr, nft::Key) {
    let address = IpAddr::from(address(endpoints));
    (address, Key::from(address))
}

/// An address in the set of its selector.
fn member(endpoints: usize) -> Command {
    let (_, key) = newcomer(endpoints);
    let group = group_of(endpoints, endpoints);
    add(&format!("s-{group}"), Elements::keys([key]))
}

fn local_chains(endpoints: usize) -> Change {
    let group = group_of(endpoints, endpoints);
    let mut there = vec![member(endpoints)];
    let mut back = Vec::new();
    for (word, map) in [("out", "from"), ("in", "to")] {
        let chain = name(&format!("{word}-of-{endpoints}"));
        let bit = Datum::Mark(1);
        let allowed = nft::Match::new([Field::Mark], Op::Eq, Operand::AnyBit(bit));
        there.push(Command::AddChain {
            table: table(),
            chain: Chain {
                name: chain.clone(),
                base: None,
                part: Part::Live,
                rules: vec![
                    Rule::new([Statement::ClearMarkBits(1)]),
                    Rule::new([Statement::jump(name(&format!("{word}-{group}")))]),
                    Rule::new([
                        Statement::Match(allowed),
                        Statement::Verdict(Verdict::Return),
                    ]),
                    Rule::new([Statement::drop()]),
                ],
            },
        });
        let device: bulkhead_model::IfName = device(endpoints).parse().expect("15 characters");
        let to = Data::Verdict(Verdict::Goto(chain.clone()));
        let entry = Elements::Map([(Key::from(device), to.into())].into());
        there.push(add(map, entry.clone()));
        back.push(Command::DeleteElements {
            table: table(),
            set: name(map),
            elements: entry,
        });
        back.push(Command::DeleteChain {
            table: table(),
            chain,
        });
    }
    back.extend(paired(LOCAL, vec![member(endpoints)]).back);
    Change {
        what: LOCAL,
        there,
        back,
    }
}

fn pairs(endpoints: usize) -> Vec<Change> {
    let (_, key) = newcomer(endpoints);
    let id = u32::try_from(group_of(endpoints, endpoints) + 1).expect("hundreds of groups");
    let map = |datum: Datum| {
        let entry: Entry = Data::Value(datum.into()).into();
        Elements::Map([(key.clone(), entry)].into())
    };
    let known = || {
        vec![
            add("senders", map(Datum::Mark(id))),
            add("receivers", map(Datum::ClassId(id))),
        ]
    };
    let device: bulkhead_model::IfName = device(endpoints).parse().expect("15 characters");
    let here = || [add("policed", Elements::keys([Key::from(device)]))];
    let pair = Key::new([
        Datum::Mark(1),
        Datum::ClassId(2),
        Datum::InetProto(6),
        Datum::InetService(PORTS[0] + 2),
    ]);
    let pair = || Elements::keys([pair.clone()]);
    vec![
        paired(REMOTE, known()),
        paired(LOCAL, known().into_iter().chain(here()).collect()),
        paired(
            EDIT,
            vec![add("pairs-out", pair()), add("pairs-in", pair())],
        ),
    ]
}

fn rulings(size: Size) -> Vec<Change> {
    let endpoints = size.endpoints;
    let (before, here) = (world(size), local(endpoints));
    let table = compile(&before, &here).table;
    let between = |what, world: &World, local: &Local| {
        let after = compile(world, local).table;
        Change {
            what,
            there: nft::change(&table, &after),
            back: nft::change(&after, &table),
        }
    };
    let mut joined = before.clone();
    let (id, newcomer) = endpoint(endpoints, endpoints);
    joined.endpoints.insert(id.clone(), newcomer);
    let mut with_it = here.clone();
    with_it
        .endpoints
        .insert(id, device(endpoints).parse().expect("15 characters"));
    let mut edited = before.clone();
    if let Some(policy) = edited.policies.values_mut().next()
        && let Some(rule) = policy
            .ingress
            .iter_mut()
            .chain(&mut policy.egress)
            .flatten()
            .next()
    {
        rule.ports.push(port(PORTS[0] + 2));
    }
    vec![
        between(REMOTE, &joined, &here),
        between(LOCAL, &joined, &with_it),
        between(EDIT, &edited, &here),
    ]
}
