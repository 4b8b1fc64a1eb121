//! What is routed to a bridge: `table inet bulkhead-segments`. A port's filter judges what the port sends. What
//! comes from elsewhere for an address of the network passes no port before the node asks on the bridge who has
//! it, and a scan would fill the node's table of neighbours (RFC 6583 section 5). So what leads to a bridge, is
//! for a block of this node, and is for an address that nobody holds there, ends in the forward hook. Addresses
//! are kept with their bridge: of two networks with the same ones each is judged by its own.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use bulkhead_model::{Family, IfName, Prefix};
use bulkhead_nft as nft;
use nft::KeyType::{IfName as IfNameKey, Integer, Ipv4Addr, Ipv6Addr};
use nft::{Datum, Field, Key, Match, Name, Op as Compare, Operand, Rule, Statement};

use crate::guard::{self, Entries};
use crate::{
    Binding, Conflict, Filter, Guard, Ns, Op, Reason, Restore, Space, TableScope, TableState,
};
use crate::{World, filter};

/// The table's schema and fingerprint; a test holds it to the rules.
const SIGNATURE: &str = "bulkhead 2 f281d3524dc35cb4";
/// Bridges whose addresses are known.
const BRIDGES: Name = Name::literal("bridges");
/// (bridge, address) that somebody holds.
const HELD4: Name = Name::literal("held4");
const HELD6: Name = Name::literal("held6");
/// The same, of 64 bits: a prefix of one's own.
const HELD64: Name = Name::literal("held64");
/// The hook's chain.
const FORWARD: Name = Name::literal("forward");
/// How much each link has had logged, and what for.
const SAMPLES: Name = Name::literal("samples");
/// The word in the log for what was routed to a bridge for an address that nobody holds there. It is counted as
/// [`Reason::Dead`]; in the log no port says which of the two it is.
pub const UNHELD: &str = "unheld";
/// How long a counter stands after its last packet.
const REMEMBERED: Duration = Duration::from_hours(1);
/// Where the upper half of an IPv6 destination is (RFC 8200 section 3).
const UPPER: Field = Field::Raw {
    base: nft::PayloadBase::Network,
    offset: 24,
    len: 8,
};

/// The table's name.
#[must_use]
pub fn table_id() -> nft::TableId {
    nft::TableId {
        family: nft::TableFamily::Inet,
        name: Name::literal("bulkhead-segments"),
    }
}

/// What a plan needs to see of it for `binding`; `None` if that has nothing in it.
pub(crate) fn scope(binding: &Binding) -> Option<TableScope> {
    is_known(binding).then(|| end_scope(binding))
}

/// What has to be seen to take a binding away, of which the blocks may not be known.
pub(crate) fn end_scope(binding: &Binding) -> TableScope {
    let families: BTreeSet<_> = blocks(binding).map(Prefix::family).collect();
    TableScope {
        chains: [FORWARD].into(),
        elements: entries(binding),
        whole_sets: families.into_iter().map(guard::blocks_of).collect(),
        ..TableScope::default()
    }
}

/// What has to be seen where no binding is known.
pub(crate) fn whole_scope() -> TableScope {
    TableScope {
        whole_sets: [HELD4, HELD6, HELD64].into(),
        ..TableScope::default()
    }
}

/// What has to be seen to take away what a network had in it.
pub(crate) fn network_scope(bridge: Option<IfName>, restore: &[Restore]) -> TableScope {
    let families: BTreeSet<_> = blocks_among(restore).map(Prefix::family).collect();
    TableScope {
        elements: bridge.map_or_else(Entries::new, |bridge| of_network(bridge, restore)),
        whole_sets: families.into_iter().map(guard::blocks_of).collect(),
        ..TableScope::default()
    }
}

/// Appends what puts the table there, with every live port's addresses in it if it is loaded anew.
pub(crate) fn ensure(world: &World, want: &Filter, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    if !is_known(&want.binding) {
        return Ok(());
    }
    let host = world.space(&Ns::Host);
    let found = host.tables.get(&table_id());
    if found.is_some_and(|found| !filter::is_ours(found)) {
        return Err(Conflict::ForeignTable(table_id()));
    }
    if standing(host).is_none() {
        let mine = Some(&want.binding);
        let all: Vec<_> = mine.into_iter().chain(&want.others).collect();
        let bound = mine.filter(|mine| is_bound(host, mine));
        let bound: Vec<_> = bound.into_iter().chain(&want.others).collect();
        filter::load(host, table(&all, &bound), ops);
    }
    Ok(())
}

/// What of the port's the table lacks, also one that the plan loads: a port has its addresses here as long
/// as it is bound, and no longer, since DEL goes by what is bound.
pub(crate) fn missing(host: &Space, binding: &Binding) -> Vec<nft::Command> {
    if !is_known(binding) {
        return Vec::new();
    }
    let Some(table) = standing(host) else {
        let mine = Some(own(binding)).filter(|_| !is_bound(host, binding));
        return mine.into_iter().flatten().map(add).collect();
    };
    let blocks: BTreeSet<Prefix> = blocks(binding).collect();
    let mut commands = guard::missing_blocks(&table_id(), &blocks, &table.prefixes);
    for (set, mut keys) in entries(binding) {
        if let Some(found) = table.elements.get(&set) {
            keys.retain(|key| !found.contains(key));
        }
        if !keys.is_empty() {
            commands.push(add((set, keys)));
        }
    }
    commands
}

fn add((set, keys): (Name, BTreeSet<Key>)) -> nft::Command {
    nft::Command::AddElements {
        table: table_id(),
        set,
        elements: nft::Elements::Keys(keys),
    }
}

/// Whether the filter has what the port holds; one that is not there is loaded with it, before this table is.
fn is_bound(host: &Space, binding: &Binding) -> bool {
    let Some(filter) = host.tables.get(&filter::table_id()) else {
        return true;
    };
    let held = guard::live_of(binding.port, None, &filter.elements);
    held.values().any(|keys| !keys.is_empty())
}

/// What takes the addresses of a port away that no other one holds. A port that was never bound has none: its
/// ADD may have been refused because somebody else has them.
pub(crate) fn unbind(host: &Space, port: IfName, binding: Option<&Binding>) -> Vec<nft::Command> {
    let Some(table) = ours(host) else {
        return Vec::new();
    };
    let filter = host.tables.get(&filter::table_id());
    let gone = match (filter, binding) {
        (Some(filter), binding) => {
            let live = guard::live_of(port, binding, &filter.elements);
            let bridge = binding.and_then(|it| it.around.bridge);
            on_bridges(table, bridge, &live)
        }
        (None, Some(binding)) => unshared(binding),
        (None, None) => Entries::new(),
    };
    delete(table, gone)
}

/// What the port alone has, but for what its binding says is another one's too.
fn unshared(binding: &Binding) -> Entries {
    let shared = binding.around.shared.iter();
    let shared: BTreeSet<_> = shared.map(|address| Datum::from(*address)).collect();
    let is_alone = |key: &Key| key.parts().last().is_none_or(|it| !shared.contains(it));
    let mut own = own(binding);
    for keys in own.values_mut() {
        keys.retain(is_alone);
    }
    own
}

/// What takes away what a network had in common: its blocks, its gateways, and its bridge if that goes.
pub(crate) fn leave(
    host: &Space,
    bridge: Option<IfName>,
    goes: Goes,
    restore: &[Restore],
) -> Vec<nft::Command> {
    let Some((table, bridge)) = ours(host).zip(bridge) else {
        return Vec::new();
    };
    let mut gone = of_network(bridge, restore);
    if goes == Goes::NotYet {
        gone.remove(&BRIDGES);
    }
    delete(table, gone)
}

/// Whether a bridge goes with a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Goes {
    /// It does, or has gone.
    Now,
    /// Somebody has a port on it.
    NotYet,
}

/// What makes a block nobody's.
pub(crate) fn drop_block(host: &Space, block: Prefix) -> Vec<nft::Command> {
    ours(host).map_or_else(Vec::new, |table| {
        guard::drop_block(&table_id(), block, &table.prefixes)
    })
}

/// Appends the table's removal.
pub(crate) fn remove(host: &Space, ops: &mut Vec<Op>) {
    if ours(host).is_some() {
        filter::delete_table(host, table_id(), ops);
    }
}

fn ours(host: &Space) -> Option<&TableState> {
    let found = host.tables.get(&table_id());
    found.filter(|table| filter::is_ours(table))
}

fn standing(host: &Space) -> Option<&TableState> {
    let found = host.tables.get(&table_id())?;
    let whole = found.chains.get(&FORWARD) == Some(&forward().len());
    (whole && found.comment.as_deref() == Some(SIGNATURE)).then_some(found)
}

/// Those of `wanted` that are there.
fn delete(found: &TableState, wanted: Entries) -> Vec<nft::Command> {
    let present = wanted.into_iter().filter_map(|(set, mut keys)| {
        let there = found.elements.get(&set)?;
        keys.retain(|key| there.contains(key));
        (!keys.is_empty()).then(|| nft::Command::DeleteElements {
            table: table_id(),
            set,
            elements: nft::Elements::Keys(keys),
        })
    });
    present.collect()
}

/// Blocks of which the node would ask for an address on the bridge.
fn blocks(binding: &Binding) -> impl Iterator<Item = Prefix> {
    let around = &binding.around;
    around.own_blocks.iter().chain(&around.shares).copied()
}

fn blocks_among(restore: &[Restore]) -> impl Iterator<Item = Prefix> {
    restore.iter().filter_map(|one| match one {
        Restore::Block { prefix } => Some(*prefix),
        _ => None,
    })
}

/// Whether it is known what of the bridge's addresses the node would ask for.
fn is_known(binding: &Binding) -> bool {
    binding.around.bridge.is_some() && blocks(binding).next().is_some()
}

/// What a binding has in the table; nothing where it is not known what the node would ask for.
pub(crate) fn known(binding: &Binding) -> Entries {
    if is_known(binding) {
        entries(binding)
    } else {
        Entries::new()
    }
}

/// What a binding has in the table, of which the blocks may not be known.
fn entries(binding: &Binding) -> Entries {
    let mut all = own(binding);
    for (set, keys) in common(binding) {
        all.entry(set).or_default().extend(keys);
    }
    all
}

/// What the port alone has.
fn own(binding: &Binding) -> Entries {
    let Some(bridge) = binding.around.bridge else {
        return Entries::new();
    };
    let mut alone = binding.clone();
    alone.around.gateways.clear();
    let live = guard::entries(&alone);
    let kept = pairs().into_iter().filter_map(|(live_set, held)| {
        let keys = live.get(&live_set)?.iter();
        Some((held, keys.map(|key| beside(bridge, key)).collect()))
    });
    kept.collect()
}

/// What it has as every port of the network has it: the bridge, the gateways, and what a segment sends to
/// everybody on it, which with `br_netfilter` passes the hook too.
fn common(binding: &Binding) -> Entries {
    let Some(bridge) = binding.around.bridge.filter(|_| is_known(binding)) else {
        return Entries::new();
    };
    let gateways = binding.around.gateways.iter().copied();
    let mut all = shared_by_all(bridge, gateways, blocks(binding));
    // Ports that may send anything may have any address, unless one beside them is judged.
    if !matches!(binding.guard, Guard::On(_)) {
        all.remove(&BRIDGES);
    }
    all
}

fn of_network(bridge: IfName, restore: &[Restore]) -> Entries {
    let gateways = restore.iter().filter_map(|one| match one {
        Restore::Gateway { address } => Some(*address),
        _ => None,
    });
    shared_by_all(bridge, gateways, blocks_among(restore))
}

fn shared_by_all(
    bridge: IfName,
    gateways: impl Iterator<Item = IpAddr>,
    blocks: impl Iterator<Item = Prefix>,
) -> Entries {
    let mut all = Entries::from([(BRIDGES, BTreeSet::from([bridge.into()]))]);
    let everybody = blocks.filter(|block| block.family() == Family::V4);
    for address in gateways.chain(everybody.map(Prefix::last)) {
        let set = match address {
            IpAddr::V4(_) => HELD4,
            IpAddr::V6(_) => HELD6,
        };
        let key = Key::new([bridge.into(), address.into()]);
        all.entry(set).or_default().insert(key);
    }
    all
}

/// The filter's sets of held addresses, and ours.
fn pairs() -> [(Name, Name); 3] {
    let [four, six, upper] = guard::LIVE;
    [(four, HELD4), (six, HELD6), (upper, HELD64)]
}

fn beside(bridge: IfName, address: &Key) -> Key {
    let parts = std::iter::once(Datum::from(bridge)).chain(address.parts().iter().cloned());
    Key::new(parts)
}

/// What is in the table of those addresses, on that bridge or, if none is known, on any.
fn on_bridges(table: &TableState, bridge: Option<IfName>, live: &Entries) -> Entries {
    let bridge = bridge.map(Datum::from);
    let found = pairs().into_iter().filter_map(|(live_set, held)| {
        let gone = live.get(&live_set)?;
        let keys = table.elements.get(&held)?.iter();
        let is_gone = |key: &&Key| match key.parts() {
            [on, rest @ ..] => {
                bridge.as_ref().is_none_or(|bridge| bridge == on)
                    && gone.iter().any(|one| one.parts() == rest)
            }
            [] => false,
        };
        Some((held, keys.filter(is_gone).cloned().collect()))
    });
    found.collect()
}

/// The whole table for these ports' networks, with the addresses of those that are bound.
fn table(all: &[&Binding], bound: &[&Binding]) -> nft::Table {
    let known = |binding: &&&Binding| is_known(binding);
    let all_blocks: BTreeSet<_> = all.iter().filter(known).flat_map(|it| blocks(it)).collect();
    let shared = all.iter().filter(known).flat_map(|it| common(it));
    let held = bound.iter().filter(known).flat_map(|it| own(it));
    let mut elements = Entries::new();
    for (set, keys) in shared.chain(held) {
        elements.entry(set).or_default().extend(keys);
    }
    let mut table = nft::Table::new(table_id());
    for (name, key) in [
        (BRIDGES, vec![IfNameKey]),
        (HELD4, vec![IfNameKey, Ipv4Addr]),
        (HELD6, vec![IfNameKey, Ipv6Addr]),
        (HELD64, vec![IfNameKey, Integer(8)]),
    ] {
        let mut set = nft::Set::live(name, key);
        let keys = elements.remove(&set.name).unwrap_or_default();
        set.elements = nft::Elements::Keys(keys);
        table.sets.push(set);
    }
    for (key, family) in [(Ipv4Addr, Family::V4), (Ipv6Addr, Family::V6)] {
        let of_family = all_blocks.iter().filter(|block| block.family() == family);
        let mut set = nft::Set::live_prefixes(guard::blocks_of(family), key);
        set.elements = nft::Elements::Prefixes(nft::PrefixSet::new(family, of_family.copied()));
        table.sets.push(set);
    }
    let tally = nft::Set::meter(Reason::Dead.tally(), [IfNameKey], REMEMBERED);
    table.sets.push(tally);
    let samples = nft::Set::meter(SAMPLES, [IfNameKey], REMEMBERED);
    table.sets.push(samples);
    table.chains = vec![hooked(), dropping()];
    table.comment = Some(nft::Label::new(SIGNATURE).expect("letters, digits and blanks"));
    table
}

/// `NF_IP_PRI_FILTER` is 0 (`linux/netfilter_ipv4.h`): before the node's own rules look at it.
fn hooked() -> nft::Chain {
    nft::Chain {
        name: FORWARD,
        base: Some(nft::Base {
            kind: nft::ChainKind::Filter,
            hook: nft::Hook::Forward,
            devices: nft::Devices::None,
            priority: -10,
            policy: nft::Policy::Accept,
        }),
        part: nft::Part::Fixed,
        rules: forward(),
    }
}

/// Whatever leads elsewhere costs one look, and whatever somebody holds is found by its exact address.
fn forward() -> Vec<Rule> {
    let elsewhere = Match::new([Field::Oifname], Compare::Ne, Operand::Set(BRIDGES));
    let held = |address, set| {
        Rule::new([
            Statement::in_set([Field::Oifname, address], set),
            Statement::accept(),
        ])
    };
    let dead = |address, family| {
        Rule::new([
            Statement::in_set([address], guard::blocks_of(family)),
            Statement::goto(Reason::Dead.chain()),
        ])
    };
    let is_v6 = Statement::is(Field::NfProto, Datum::NfProto(10));
    vec![
        Rule::new([Statement::Match(elsewhere), Statement::accept()]),
        held(Field::Ip4Daddr, HELD4),
        dead(Field::Ip4Daddr, Family::V4),
        held(Field::Ip6Daddr, HELD6),
        Rule::new([
            is_v6,
            Statement::in_set([Field::Oifname, UPPER], HELD64),
            Statement::accept(),
        ]),
        dead(Field::Ip6Daddr, Family::V6),
    ]
}

/// Counts by where it came in, which nobody who scans can choose, and tells as the ports' filter does.
fn dropping() -> nft::Chain {
    let tally = Statement::Tally {
        fields: vec![Field::Iifname],
        set: Reason::Dead.tally(),
    };
    nft::Chain {
        name: Reason::Dead.chain(),
        base: None,
        part: nft::Part::Fixed,
        rules: vec![
            Rule::new([tally]),
            guard::sampled(UNHELD, SAMPLES),
            Rule::new([Statement::Counter, Statement::drop()]),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_other_rules_has_another_signature() {
        let table = table(&[], &[]);
        let standing = filter::signed(table.clone()).comment;
        assert_eq!(
            table.comment, standing,
            "the rules have changed: write the right one into the constant"
        );
    }
}
