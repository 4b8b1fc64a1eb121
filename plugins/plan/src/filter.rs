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

use bulkhead_model::IfName;
use bulkhead_nft as nft;

use crate::{
    Attached, Binding, Conflict, Detached, Entries, Features, Filter, Hook, LinkSetting, MapScope,
    Ns, Op, Space, TableScope, TableState, World, host_ports,
};

/// Raised when the meaning of a table changes, so that an older one is replaced.
const SCHEMA: u32 = 1;
/// What the names of our ports begin with.
const PORT_PREFIX: &str = "bhp";
/// Bindings with a MAC: interface name and source MAC.
const MACS: nft::Name = nft::Name::literal("macs");
/// Bindings without: interface name.
const PORTS: nft::Name = nft::Name::literal("ports");
/// Ports whose frames go by way of an ifb device, which shapes them and gives them back as received.
const SHAPED: nft::Name = nft::Name::literal("shaped");
/// The chain of what may pass.
const BOUND: nft::Name = nft::Name::literal("bound");
/// The chain with the rules: a base chain, or the one every port's base chain jumps to.
const POD: nft::Name = nft::Name::literal("pod");
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
    let (set, key) = element(binding);
    let elements = BTreeMap::from([(set, BTreeSet::from([key]))]);
    let shaped = Entries::Of([binding.port.into()].into());
    TableScope {
        chains: chains_of(binding.port),
        elements,
        maps: [(SHAPED, shaped_scope(shaped))].into(),
        ..TableScope::default()
    }
}

/// What a plan needs to see where no binding is known, or the table may have to go.
pub(crate) fn whole_scope(port: IfName) -> TableScope {
    let whole_sets = [MACS, PORTS].into();
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
    [POD, BOUND, port_chain_name(port)].into()
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

/// Appends what puts the table there and, under a prefix, the binding: before the port exists.
pub(crate) fn ensure(world: &World, want: &Filter, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let host = world.space(&Ns::Host);
    let found = host.tables.get(&table_id());
    if found.is_some_and(|table| !is_ours(table)) {
        return Err(Conflict::ForeignTable(table_id()));
    }
    let hook = hook(world.features, found, want.hook)?;
    if !found.is_some_and(|state| is_current(state, hook)) {
        let whole = table(
            hook,
            std::iter::once(&want.binding).chain(&want.others),
            host,
        );
        ops.push(load(host, whole));
    } else if hook == Hook::Prefix {
        ops.extend(missing_binding(found, &want.binding).map(|command| commit(vec![command])));
    }
    Ok(())
}

/// Puts a table there whole. One that is replaced is bound to the generation it was read at: what
/// somebody else has put into it since would be lost.
pub(crate) fn load(host: &Space, table: nft::Table) -> Op {
    let standing = host.tables.contains_key(&table.id);
    let (command, generation) = if standing {
        (nft::Command::ReplaceTable(table), host.generation)
    } else {
        (nft::Command::AddTable(table), None)
    };
    Op::Nft {
        ns: Ns::Host,
        transaction: nft::Transaction(vec![command]),
        generation,
    }
}

/// What opens the port once it and its ifb device exist, before it is up: its way by the ifb device,
/// and where there is no base chain for all ports the binding and the port's own.
pub(crate) fn missing(world: &World, want: &Attached) -> Vec<nft::Command> {
    let host = world.space(&Ns::Host);
    let found = host.tables.get(&table_id());
    let Ok(hook) = hook(world.features, found, want.filter.hook) else {
        return Vec::new();
    };
    // A table that this plan replaces brings what existed: the binding, and the chain and the way by
    // the ifb device if port and device did.
    let standing = found.filter(|table| is_current(table, hook));
    let mut commands = missing_way(host, standing, &want.filter.binding);
    if hook == Hook::Prefix {
        return commands;
    }
    if standing.is_some() {
        commands.extend(missing_binding(standing, &want.filter.binding));
    }
    let port = want.port.name;
    let hooked = match standing {
        Some(table) => table.chains.contains_key(&port_chain_name(port)),
        None => host.links.contains_key(&port),
    };
    if !hooked {
        commands.push(nft::Command::AddChain {
            table: table_id(),
            chain: port_chain(port),
        });
    }
    commands
}

/// The port's way by its ifb device, or back from it.
fn missing_way(
    host: &Space,
    standing: Option<&TableState>,
    binding: &Binding,
) -> Vec<nft::Command> {
    let key = nft::Key::from(binding.port);
    let wanted = binding.ifb.map(nft::Data::Device);
    let table = table_id();
    let add = || nft::Command::AddElements {
        table: table.clone(),
        set: SHAPED,
        elements: nft::Elements::Map(way(binding).into_iter().collect()),
    };
    let delete = || nft::Command::DeleteElements {
        table: table.clone(),
        set: SHAPED,
        elements: nft::Elements::keys([key.clone()]),
    };
    let Some(standing) = standing else {
        let brought = binding.ifb.is_none_or(|ifb| host.links.contains_key(&ifb));
        return if brought { Vec::new() } else { vec![add()] };
    };
    let found = standing.maps.get(&SHAPED).and_then(|found| found.get(&key));
    match (wanted, found) {
        (wanted, Some(found)) if found.data == wanted && wanted.is_some() => Vec::new(),
        (Some(_), Some(_)) => vec![delete(), add()],
        (Some(_), None) => vec![add()],
        (None, Some(_)) => vec![delete()],
        (None, None) => Vec::new(),
    }
}

fn way(binding: &Binding) -> Option<(nft::Key, nft::Entry)> {
    let ifb = binding.ifb?;
    Some((binding.port.into(), nft::Data::Device(ifb).into()))
}

/// Appends what takes everything of the port's out of the tables, before it is unplugged. A port with
/// a chain of its own is taken down first: without the chain it would forward anything.
pub(crate) fn unbind(host: &Space, want: &Detached, ops: &mut Vec<Op>) {
    let mut commands = host_ports::unbind(host, want);
    filter_commands(host, want, &mut commands, ops);
    if !commands.is_empty() {
        ops.push(commit(commands));
    }
}

fn filter_commands(
    host: &Space,
    want: &Detached,
    commands: &mut Vec<nft::Command>,
    ops: &mut Vec<Op>,
) {
    let Some(table) = host.tables.get(&table_id()).filter(|table| is_ours(table)) else {
        return;
    };
    let shaped = table.maps.get(&SHAPED).into_iter().flatten();
    let shaped = shaped.map(|(key, _)| (SHAPED, key));
    let bound = table.elements.iter();
    let bound = bound.flat_map(|(set, keys)| keys.iter().map(move |key| (set.clone(), key)));
    let mut gone: BTreeMap<nft::Name, Vec<nft::Key>> = BTreeMap::new();
    for (set, key) in bound.chain(shaped).filter(|(_, key)| is_of(key, want.port)) {
        gone.entry(set).or_default().push(key.clone());
    }
    for (set, keys) in gone {
        commands.push(nft::Command::DeleteElements {
            table: table_id(),
            set,
            elements: nft::Elements::keys(keys),
        });
    }
    let chain = port_chain_name(want.port);
    if table.chains.contains_key(&chain) {
        if host
            .links
            .get(&want.port)
            .is_some_and(|port| port.is_ours() && port.up)
        {
            ops.push(Op::SetLink {
                ns: Ns::Host,
                name: want.port,
                set: LinkSetting::Down,
            });
        }
        commands.push(nft::Command::DeleteChain {
            table: table_id(),
            chain,
        });
    }
}

/// Appends the table's removal if no other port is bound.
pub(crate) fn remove(host: &Space, want: &Detached, ops: &mut Vec<Op>) {
    let Some(table) = host.tables.get(&table_id()).filter(|table| is_ours(table)) else {
        return;
    };
    let others = table
        .elements
        .values()
        .flatten()
        .any(|key| !is_of(key, want.port));
    if !others {
        delete_table(host, table_id(), ops);
    }
}

/// Appends a table's deletion, bound to the generation it was read at: a commit of somebody else in
/// between refuses it, so that look and deletion are one step.
pub(crate) fn delete_table(host: &Space, table: nft::TableId, ops: &mut Vec<Op>) {
    // Our own commits in this plan come first and move the generation on.
    let ours = ops.iter().filter(|op| matches!(op, Op::Nft { .. })).count();
    let moved = u32::try_from(ours).expect("a plan has few operations");
    let generation = host.generation.map(|read| read.wrapping_add(moved));
    let transaction = nft::Transaction(vec![nft::Command::DeleteTable(table)]);
    ops.push(Op::Nft {
        ns: Ns::Host,
        transaction,
        generation,
    });
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
    stands(found, &table(hook, std::iter::empty(), &Space::default()))
}

/// Whether a table's definition is `whole`'s and its fixed chains still have their rules.
pub(crate) fn stands(found: &TableState, whole: &nft::Table) -> bool {
    let same_comment = found.comment.as_deref() == whole.comment.as_ref().map(nft::Label::as_str);
    let fixed = whole
        .chains
        .iter()
        .filter(|chain| chain.part == nft::Part::Fixed);
    same_comment
        && fixed
            .into_iter()
            .all(|c| found.chains.get(&c.name) == Some(&c.rules.len()))
}

fn missing_binding(found: Option<&TableState>, binding: &Binding) -> Option<nft::Command> {
    let (set, key) = element(binding);
    let bound = found?
        .elements
        .get(&set)
        .is_some_and(|keys| keys.contains(&key));
    let elements = nft::Elements::keys([key]);
    (!bound).then(|| nft::Command::AddElements {
        table: table_id(),
        set,
        elements,
    })
}

/// Commands that change together.
pub(crate) fn commit(commands: Vec<nft::Command>) -> Op {
    Op::Nft {
        ns: Ns::Host,
        transaction: nft::Transaction(commands),
        generation: None,
    }
}

/// The set a binding stands in, and its key there.
fn element(binding: &Binding) -> (nft::Name, nft::Key) {
    match binding.mac {
        Some(mac) => (MACS, nft::Key::new([binding.port.into(), mac.into()])),
        None => (PORTS, binding.port.into()),
    }
}

fn is_of(key: &nft::Key, port: IfName) -> bool {
    key.parts().first() == Some(&nft::Datum::IfName(port))
}

/// The whole table with these bindings in it, and chains for those ports that exist: an older kernel
/// refuses a chain on a device that does not.
fn table<'b>(
    hook: Hook,
    bindings: impl Iterator<Item = &'b Binding> + Clone,
    host: &Space,
) -> nft::Table {
    use nft::KeyType::{EtherAddr, IfName};
    let mut macs = nft::Set::live(MACS, [IfName, EtherAddr]);
    let mut ports = nft::Set::live(PORTS, [IfName]);
    let of = |set: &nft::Name| {
        let keys = bindings
            .clone()
            .map(element)
            .filter(|(name, _)| name == set);
        nft::Elements::keys(keys.map(|(_, key)| key).collect::<Vec<_>>())
    };
    macs.elements = of(&MACS);
    ports.elements = of(&PORTS);
    let mut shaped = nft::Set::live_map(SHAPED, [IfName], nft::DataType::Device);
    let present = bindings.clone().filter(|binding| {
        let ifb = binding.ifb;
        ifb.is_some_and(|ifb| host.links.contains_key(&ifb))
    });
    shaped.elements = nft::Elements::Map(present.filter_map(way).collect());
    let base = (hook == Hook::Prefix).then(|| base(nft::Devices::Prefix(prefix())));
    let pod = nft::Chain {
        name: POD,
        base,
        part: nft::Part::Fixed,
        rules: rules(),
    };
    let bound = nft::Chain {
        name: BOUND,
        base: None,
        part: nft::Part::Fixed,
        rules: let_pass(),
    };
    let mut chains = vec![bound, pod];
    if hook == Hook::PerPort {
        let ports: BTreeSet<_> = bindings.map(|binding| binding.port).collect();
        let present = ports
            .into_iter()
            .filter(|port| host.links.contains_key(port));
        chains.extend(present.map(port_chain));
    }
    let table = nft::Table {
        sets: vec![macs, ports, shaped],
        chains,
        ..nft::Table::new(table_id())
    };
    signed(table)
}

fn rules() -> Vec<nft::Rule> {
    use nft::Field::{EtherSaddr, Iifname};
    use nft::Statement;
    vec![
        nft::Rule::new([
            Statement::in_set([Iifname, EtherSaddr], MACS),
            Statement::goto(BOUND),
        ]),
        nft::Rule::new([Statement::in_set([Iifname], PORTS), Statement::goto(BOUND)]),
        nft::Rule::new([Statement::Counter, Statement::drop()]),
    ]
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

fn port_chain(port: IfName) -> nft::Chain {
    nft::Chain {
        name: port_chain_name(port),
        base: Some(base(nft::Devices::Names(vec![port]))),
        part: nft::Part::Live,
        rules: vec![nft::Rule::new([nft::Statement::jump(POD)])],
    }
}

fn port_chain_name(port: IfName) -> nft::Name {
    nft::Name::new(&format!("port-{port}")).expect("a port of ours is bhp and base32")
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
