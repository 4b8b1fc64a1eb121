//! The filter on ports: `table netdev bulkhead`. A port is mute until its binding is in a set, so a
//! frame that comes before the binding, or after it is gone, is dropped.
//!
//! Each port has a small base chain of its own that jumps into the shared one, committed while the
//! port is down; or, if it is asked for, one base chain is bound to every present and future device
//! whose name begins with `bhp`. The rules are the same. The prefix is not the default even where
//! the kernel has it (6.17): nft before 1.1.6 cannot read such a chain, takes its rules for a change
//! under its feet, and reads the ruleset again and again without end, so that every nft on the node
//! would hang.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bulkhead_model::{IfName, Prefix};
use bulkhead_nft as nft;

use crate::{
    Binding, Conflict, Detached, Entries, Features, Filter, Hook, LinkSetting, MapScope, Ns, Op,
    Space, TableScope, TableState, World, guard, host_ports, segments, world::next_generation,
};

/// Raised when the meaning of a table changes, so that an older one is replaced.
const SCHEMA: u32 = 2;
/// The table's schema and fingerprint where each port has a base chain, and where a prefix has one.
const BY_PORT: &str = "bulkhead 2 c7befff3d1c57b1d";
const BY_PREFIX: &str = "bulkhead 2 98b2795ca45eca57";
/// What the names of our ports begin with.
const PORT_PREFIX: &str = "bhp";
/// Ports whose frames go by way of an ifb device, which shapes them and gives them back as received.
const SHAPED: nft::Name = nft::Name::literal("shaped");
/// Before anything else at ingress (`NF_NETDEV_PRI_*` has no names; lower runs first).
const PRIORITY: i32 = -300;

/// The table's name.
#[must_use]
pub fn table_id() -> nft::TableId {
    nft::TableId {
        family: nft::TableFamily::Netdev,
        name: nft::Name::literal("bulkhead"),
    }
}

/// What a plan needs to see of the filter for `binding`.
pub(crate) fn scope(binding: &Binding) -> TableScope {
    let elements = guard::entries(binding);
    let shaped = Entries::Of([binding.port.into()].into());
    let blocks = binding.around.own_blocks.iter();
    let whole_sets = blocks.map(|block| guard::blocks_of(block.family()));
    TableScope {
        chains: chains_of(binding.port),
        whole_sets: whole_sets.collect(),
        elements,
        maps: [(SHAPED, shaped_scope(shaped))].into(),
    }
}

/// What a plan needs to see where no binding is known, or the table may have to go.
pub(crate) fn whole_scope(port: IfName) -> TableScope {
    let whole_sets = guard::of_ports().chain(guard::LIVE).collect();
    TableScope {
        chains: chains_of(port),
        whole_sets,
        maps: [(SHAPED, shaped_scope(Entries::All))].into(),
        ..TableScope::default()
    }
}

fn shaped_scope(entries: Entries) -> MapScope {
    MapScope {
        keys: vec![nft::KeyType::IfName],
        data: nft::DataType::Device,
        entries,
    }
}

fn chains_of(port: IfName) -> BTreeSet<nft::Name> {
    [guard::POD, guard::BOUND, port_chain_name(port)].into()
}

/// Whether a table carries our comment.
pub(crate) fn is_ours(table: &TableState) -> bool {
    table
        .comment
        .as_deref()
        .is_some_and(|comment| comment.starts_with("bulkhead "))
}

/// `comment` for a table of ours: schema and fingerprint, so that another release or another
/// configuration is recognised.
pub(crate) fn signed(mut table: nft::Table) -> nft::Table {
    let text = format!("bulkhead {SCHEMA} {}", table.fingerprint());
    table.comment = Some(nft::Label::new(&text).expect("letters, digits and blanks"));
    table
}

/// Appends what puts the table there and, under a prefix, the binding: before the port exists, and
/// after its ifb device does.
pub(crate) fn ensure(world: &World, want: &Filter, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let host = world.space(&Ns::Host);
    let found = host.tables.get(&table_id());
    if found.is_some_and(|table| !is_ours(table)) {
        return Err(Conflict::ForeignTable(table_id()));
    }
    let hook = hook(world.features, found, want.hook)?;
    let standing = found.filter(|table| is_current(table, hook));
    if standing.is_none() {
        let whole = table(hook, Some(&want.binding), &want.others, host);
        load(host, whole, ops);
    }
    segments::ensure(world, want, ops)?;
    if hook == Hook::Prefix {
        let mut commands = standing.map_or_else(Vec::new, |it| missing_entries(it, &want.binding));
        commands.extend(segments::missing(host, &want.binding));
        if !commands.is_empty() {
            ops.push(commit(commands));
        }
    }
    Ok(())
}

/// Appends what puts a table there whole. One that is replaced is bound to the generation it was read
/// at: what somebody else has put into it since would be lost.
pub(crate) fn load(host: &Space, table: nft::Table, ops: &mut Vec<Op>) {
    let standing = host.tables.contains_key(&table.id);
    let (command, generation) = if standing {
        let generation = generation_after(host, ops);
        (nft::Command::ReplaceTable(table), generation)
    } else {
        (nft::Command::AddTable(table), None)
    };
    ops.push(Op::Nft {
        ns: Ns::Host,
        transaction: nft::Transaction(vec![command]),
        generation,
    });
}

/// What opens a port that has a base chain of its own: binding and chain, once the port exists and
/// before it is up.
pub(crate) fn missing(world: &World, want: &Filter) -> Vec<nft::Command> {
    let host = world.space(&Ns::Host);
    let found = host.tables.get(&table_id());
    let (binding, port) = (&want.binding, want.binding.port);
    let hook = match hook(world.features, found, want.hook) {
        Ok(hook) if has_chain(hook, port) => hook,
        _ => return Vec::new(),
    };
    // A table that this plan loads brings the binding, and the chain if the port existed.
    let standing = found.filter(|table| is_current(table, hook));
    let mut commands = match standing {
        Some(found) if hook == Hook::PerPort => missing_entries(found, binding),
        _ => Vec::new(),
    };
    if hook == Hook::PerPort {
        commands.extend(segments::missing(host, binding));
    }
    let hooked = match standing {
        Some(table) => table.chains.contains_key(&port_chain_name(port)),
        None => host.links.contains_key(&port),
    };
    if !hooked {
        commands.push(nft::Command::AddChain {
            table: table_id(),
            chain: port_chain(port, hook),
        });
    }
    commands
}

/// Whether a port has a base chain of its own: under a prefix, one whose name does not begin with it.
fn has_chain(hook: Hook, port: IfName) -> bool {
    hook == Hook::PerPort || !port.as_str().starts_with(PORT_PREFIX)
}

/// What a table that stands lacks of the port's: its way by its ifb device, or back from it, and the
/// binding.
fn missing_entries(standing: &TableState, binding: &Binding) -> Vec<nft::Command> {
    let mut commands = missing_way(standing, binding);
    let blocks = &binding.around.own_blocks;
    let blocks = guard::missing_blocks(&table_id(), blocks, &standing.prefixes);
    commands.extend(blocks);
    for (set, mut keys) in guard::entries(binding) {
        if let Some(found) = standing.elements.get(&set) {
            keys.retain(|key| !found.contains(key));
        }
        if !keys.is_empty() {
            commands.push(nft::Command::AddElements {
                table: table_id(),
                elements: guard::elements(binding, &set, keys),
                set,
            });
        }
    }
    commands
}

fn missing_way(standing: &TableState, binding: &Binding) -> Vec<nft::Command> {
    let key = nft::Key::from(binding.port);
    let found = standing.maps.get(&SHAPED).and_then(|found| found.get(&key));
    let way = way(binding);
    let wanted = way.as_ref().map(|(_, entry)| &entry.data);
    if found.map(|found| found.data.as_ref()) == wanted.map(Some) {
        return Vec::new();
    }
    let delete = found.map(|_| nft::Command::DeleteElements {
        table: table_id(),
        set: SHAPED,
        elements: nft::Elements::keys([key]),
    });
    let add = way.map(|way| nft::Command::AddElements {
        table: table_id(),
        set: SHAPED,
        elements: nft::Elements::Map([way].into()),
    });
    delete.into_iter().chain(add).collect()
}

fn way(binding: &Binding) -> Option<(nft::Key, nft::Entry)> {
    let ifb = binding.ifb?;
    Some((binding.port.into(), nft::Data::Device(ifb).into()))
}

/// Appends what takes everything of the port's out of the tables, before it is unplugged. A port with
/// a chain of its own is taken down first: without the chain it would forward anything.
pub(crate) fn unbind(host: &Space, want: &Detached, ops: &mut Vec<Op>) {
    let mut commands = host_ports::unbind(host, want);
    filter_commands(host, want.port, want.binding.as_ref(), &mut commands, ops);
    if !commands.is_empty() {
        ops.push(commit(commands));
    }
}

/// What takes everything of a port's out of the filter, but for the addresses that another one holds.
pub(crate) fn filter_commands(
    host: &Space,
    port: IfName,
    binding: Option<&Binding>,
    commands: &mut Vec<nft::Command>,
    ops: &mut Vec<Op>,
) {
    let Some(table) = host.tables.get(&table_id()).filter(|table| is_ours(table)) else {
        return;
    };
    let shaped = table.maps.get(&SHAPED).into_iter().flatten();
    let shaped = shaped.map(|(key, _)| (SHAPED, key));
    let found = table.elements.iter();
    let found = found.flat_map(|(set, keys)| keys.iter().map(move |key| (set.clone(), key)));
    let held = guard::live_of(port, binding, &table.elements);
    let is_gone = |(set, key): &(nft::Name, &nft::Key)| {
        is_of(key, port) || held.get(set).is_some_and(|held| held.contains(*key))
    };
    let mut gone: BTreeMap<nft::Name, Vec<nft::Key>> = BTreeMap::new();
    for (set, key) in found.chain(shaped).filter(is_gone) {
        gone.entry(set).or_default().push(key.clone());
    }
    for (set, keys) in gone {
        commands.push(nft::Command::DeleteElements {
            table: table_id(),
            set,
            elements: nft::Elements::keys(keys),
        });
    }
    commands.extend(segments::unbind(host, port, binding));
    commands.extend(unhook(host, port, ops));
}

/// What takes a port's own chain away; the port is taken down first.
fn unhook(host: &Space, port: IfName, ops: &mut Vec<Op>) -> Option<nft::Command> {
    let table = host
        .tables
        .get(&table_id())
        .filter(|table| is_ours(table))?;
    let chain = port_chain_name(port);
    if !table.chains.contains_key(&chain) {
        return None;
    }
    let link = host.links.get(&port);
    if link.is_some_and(|link| link.is_ours() && link.up) {
        ops.push(Op::SetLink {
            ns: Ns::Host,
            name: port,
            set: LinkSetting::Down,
        });
    }
    Some(nft::Command::DeleteChain {
        table: table_id(),
        chain,
    })
}

/// Appends the deletion of a port that is to be made anew. Its chain goes first: kernels before 6.16
/// take a chain away with its last device (`nft_netdev_event`, `net/netfilter/nft_chain_filter.c`),
/// and one that was taken for standing would leave the new port unfiltered.
pub(crate) fn discard(host: &Space, port: IfName, ops: &mut Vec<Op>) {
    if let Some(command) = unhook(host, port, ops) {
        ops.push(commit(vec![command]));
    }
    ops.push(Op::DelLink {
        ns: Ns::Host,
        name: port,
    });
}

/// Appends what makes a block nobody's.
pub(crate) fn drop_block(host: &Space, block: Prefix, ops: &mut Vec<Op>) {
    let table = host.tables.get(&table_id()).filter(|table| is_ours(table));
    let mut commands = table.map_or_else(Vec::new, |table| {
        guard::drop_block(&table_id(), block, &table.prefixes)
    });
    commands.extend(segments::drop_block(host, block));
    if !commands.is_empty() {
        ops.push(commit(commands));
    }
}

/// Appends what makes an address the node's no more.
pub(crate) fn drop_gateway(host: &Space, address: IpAddr, ops: &mut Vec<Op>) {
    let Some(table) = host.tables.get(&table_id()).filter(|table| is_ours(table)) else {
        return;
    };
    let entries = guard::gateway(address).into_iter();
    let commands = entries.filter_map(|(set, mut keys)| {
        let found = table.elements.get(&set)?;
        keys.retain(|key| found.contains(key));
        (!keys.is_empty()).then(|| nft::Command::DeleteElements {
            table: table_id(),
            set,
            elements: nft::Elements::Keys(keys),
        })
    });
    let commands: Vec<_> = commands.collect();
    if !commands.is_empty() {
        ops.push(commit(commands));
    }
}

/// What has to be seen for [`drop_gateway`].
pub(crate) fn gateway_scope(address: IpAddr) -> TableScope {
    TableScope {
        elements: guard::gateway(address),
        ..TableScope::default()
    }
}

/// What has to be seen for [`drop_block`].
pub(crate) fn block_scope(block: Prefix) -> TableScope {
    TableScope {
        whole_sets: [guard::blocks_of(block.family())].into(),
        ..TableScope::default()
    }
}

/// Appends the table's removal if no other port than this one is bound.
pub(crate) fn remove(host: &Space, port: IfName, ops: &mut Vec<Op>) {
    let table = host.tables.get(&table_id()).filter(|table| is_ours(table));
    let of_ports = table.into_iter().flat_map(|table| &table.elements);
    let mut of_ports = of_ports.filter(|(set, _)| !guard::is_shared(set));
    if of_ports.any(|(_, keys)| keys.iter().any(|key| !is_of(key, port))) {
        return;
    }
    if table.is_some() {
        delete_table(host, table_id(), ops);
    }
    segments::remove(host, ops);
}

/// Appends a table's deletion, bound to the generation it was read at: a commit of somebody else in
/// between refuses it, so that look and deletion are one step.
pub(crate) fn delete_table(host: &Space, table: nft::TableId, ops: &mut Vec<Op>) {
    let generation = generation_after(host, ops);
    let transaction = nft::Transaction(vec![nft::Command::DeleteTable(table)]);
    ops.push(Op::Nft {
        ns: Ns::Host,
        transaction,
        generation,
    });
}

/// The generation once our own commits among `ops` are done, if nobody else's came between.
fn generation_after(host: &Space, ops: &[Op]) -> Option<u32> {
    let of_host = |op: &&Op| matches!(op, Op::Nft { ns: Ns::Host, .. });
    let ours = ops.iter().filter(of_host);
    ours.fold(host.generation, |read, _| read.map(next_generation))
}

/// A table that stands decides, unless one hook is asked for.
fn hook(features: Features, found: Option<&TableState>, want: Hook) -> Result<Hook, Conflict> {
    if want == Hook::Prefix && !features.device_prefix {
        return Err(Conflict::NoDevicePrefix);
    }
    let standing = found.and_then(|table| {
        [Hook::Prefix, Hook::PerPort]
            .into_iter()
            .find(|hook| is_current(table, *hook))
    });
    Ok(match (want, standing) {
        (Hook::Auto, Some(standing)) => standing,
        (Hook::Auto, None) => Hook::PerPort,
        (asked, _) => asked,
    })
}

fn is_current(found: &TableState, hook: Hook) -> bool {
    // Of many chains those by which a frame comes and goes: another one that somebody has emptied
    // ends at the base chain's policy, which is to drop.
    let ends = [
        (guard::POD, guard::first().len()),
        (guard::BOUND, let_pass().len()),
    ];
    found.comment.as_deref() == Some(signature(hook))
        && ends
            .iter()
            .all(|(chain, rules)| found.chains.get(chain) == Some(rules))
}

/// The table's comment: a constant, because every process looks whether the table is its own, and to
/// print and digest some hundred rules takes longer than to make the port. A test holds it to the rules.
const fn signature(hook: Hook) -> &'static str {
    match hook {
        Hook::Prefix => BY_PREFIX,
        Hook::Auto | Hook::PerPort => BY_PORT,
    }
}

/// Whether a table's definition is `whole`'s and its fixed chains still have their rules.
pub(crate) fn stands(found: &TableState, whole: &nft::Table) -> bool {
    let same_comment = found.comment.as_deref() == whole.comment.as_ref().map(nft::Label::as_str);
    let fixed = whole
        .chains
        .iter()
        .filter(|chain| chain.part == nft::Part::Fixed);
    let mut fixed = fixed.into_iter();
    same_comment && fixed.all(|c| found.chains.get(&c.name) == Some(&c.rules.len()))
}

/// Commands that change together.
pub(crate) fn commit(commands: Vec<nft::Command>) -> Op {
    Op::Nft {
        ns: Ns::Host,
        transaction: nft::Transaction(commands),
        generation: None,
    }
}

fn is_of(key: &nft::Key, port: IfName) -> bool {
    key.parts().first() == Some(&nft::Datum::IfName(port))
}

/// The whole table with these bindings in it, and chains for those ports that exist: an older kernel
/// refuses a chain on a device that does not. The ifb device of `mine` exists by then.
fn table(hook: Hook, mine: Option<&Binding>, others: &[Binding], host: &Space) -> nft::Table {
    use nft::KeyType::IfName;
    let bindings = mine.into_iter().chain(others);
    let mut shaped = nft::Set::live_map(SHAPED, [IfName], nft::DataType::Device);
    let has_ifb = |other: &&Binding| other.ifb.is_some_and(|ifb| host.links.contains_key(&ifb));
    let present = others.iter().filter(has_ifb);
    let ways = mine.into_iter().chain(present).filter_map(way);
    shaped.elements = nft::Elements::Map(ways.collect());
    let mut table = nft::Table::new(table_id());
    guard::fill(&mut table, &bindings.clone().collect::<Vec<_>>());
    table.sets.push(shaped);
    table.chains.push(nft::Chain {
        name: guard::BOUND,
        base: None,
        part: nft::Part::Fixed,
        rules: let_pass(),
    });
    let first = table.chains.iter_mut();
    let first = first.filter(|chain| chain.name == guard::POD);
    for chain in first.filter(|_| hook == Hook::Prefix) {
        chain.base = Some(base(nft::Devices::Prefix(prefix())));
    }
    let ports: BTreeSet<_> = bindings.map(|binding| binding.port).collect();
    let mut ports: Vec<_> = ports.into_iter().collect();
    ports.retain(|port| has_chain(hook, *port) && host.links.contains_key(port));
    let chains = ports.into_iter().map(|port| port_chain(port, hook));
    table.chains.extend(chains);
    table.comment = Some(nft::Label::new(signature(hook)).expect("letters, digits and blanks"));
    table
}

/// The filter with these bindings as it is loaded where chains are bound by prefix: for whoever asks what it does
/// to a frame of `binding`'s port.
#[must_use]
pub fn filter_of(binding: &Binding, others: &[Binding]) -> nft::Table {
    let mut table = table(Hook::Prefix, Some(binding), others, &Space::default());
    if has_chain(Hook::Prefix, binding.port) {
        table.chains.push(port_chain(binding.port, Hook::Prefix));
    }
    table
}

/// What a shaped port sends comes back from the ifb device past this hook, so this is the last word.
/// A device that is gone takes the frame with it.
fn let_pass() -> Vec<nft::Rule> {
    let by_ifb = nft::Statement::Forward {
        fields: vec![nft::Field::Iifname],
        map: SHAPED,
    };
    vec![
        nft::Rule::new([by_ifb]),
        nft::Rule::new([nft::Statement::accept()]),
    ]
}

/// Nothing jumps to a base chain (`nft_verdict_init`, `nf_tables_api.c`): where the first rules are in
/// one, a port that is not of its prefix has them in its own.
fn port_chain(port: IfName, hook: Hook) -> nft::Chain {
    nft::Chain {
        name: port_chain_name(port),
        base: Some(base(nft::Devices::Names(vec![port]))),
        part: nft::Part::Live,
        rules: match hook {
            Hook::Prefix => guard::first(),
            Hook::Auto | Hook::PerPort => {
                vec![nft::Rule::new([nft::Statement::jump(guard::POD)])]
            }
        },
    }
}

/// A port of ours is bhp and base32; of another's name nft may not be able to say every character.
fn port_chain_name(port: IfName) -> nft::Name {
    let named = nft::Name::new(&format!("port-{port}"));
    let hex = |byte: &u8| format!("{byte:02x}");
    named.unwrap_or_else(|_| {
        let bytes: String = port.as_str().as_bytes().iter().map(hex).collect();
        nft::Name::new(&format!("port.{bytes}")).expect("letters and digits")
    })
}

fn prefix() -> IfName {
    PORT_PREFIX.parse().expect("three letters")
}

fn base(devices: nft::Devices) -> nft::Base {
    nft::Base {
        kind: nft::ChainKind::Filter,
        hook: nft::Hook::Ingress,
        devices,
        priority: PRIORITY,
        policy: nft::Policy::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_other_rules_has_another_signature() {
        for hook in [Hook::PerPort, Hook::Prefix] {
            let table = table(hook, None, &[], &Space::default());
            let standing = signed(table.clone()).comment;
            assert_eq!(
                table.comment, standing,
                "the rules have changed: write the right one into the constant of {hook:?}"
            );
        }
    }
}
