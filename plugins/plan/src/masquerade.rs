//! Source NAT for a network's traffic to the outside: one small table per network, so that an
//! attachment writes nothing and the last one deletes it whole.

use bulkhead_model::{Family, IfName, Prefix};
use bulkhead_nft as nft;

use crate::{Attached, Conflict, Ns, Op, TableScope, World, filter};

/// Traffic to these keeps its source: multicast has no return path that NAT could serve
/// (RFC 5771, RFC 4291 §2.7).
const MULTICAST: [&str; 2] = ["224.0.0.0/4", "ff00::/8"];

/// The table that masquerades `sources` behind the node's own addresses, except towards the network
/// itself, `exclude`, multicast, and whatever stays on `bridge`.
///
/// With `br_netfilter` a frame between two ports passes postrouting too; its outgoing interface is
/// the bridge, so it is left alone.
#[must_use]
pub fn masquerade(
    name: nft::Name,
    bridge: IfName,
    sources: &[Prefix],
    exclude: &[Prefix],
) -> nft::Table {
    let multicast = MULTICAST.map(|text| text.parse::<Prefix>().expect("a prefix"));
    let mut rules = Vec::new();
    for (family, saddr, daddr) in [
        (Family::V4, nft::Field::Ip4Saddr, nft::Field::Ip4Daddr),
        (Family::V6, nft::Field::Ip6Saddr, nft::Field::Ip6Daddr),
    ] {
        let kept = sources.iter().chain(exclude).chain(&multicast).copied();
        let kept = nft::PrefixSet::new(family, kept);
        for source in sources.iter().filter(|source| source.family() == family) {
            rules.push(nft::Rule::new([
                nft::Statement::is_not(nft::Field::Oifname, bridge),
                nft::Statement::in_prefix(saddr, *source),
                nft::Statement::outside(daddr, kept.clone()),
                nft::Statement::Masquerade(nft::SourcePorts::FullyRandom),
            ]));
        }
    }
    let base = nft::Base {
        kind: nft::ChainKind::Nat,
        hook: nft::Hook::Postrouting,
        devices: nft::Devices::None,
        // NF_IP_PRI_NAT_SRC (linux/netfilter_ipv4.h).
        priority: 100,
        policy: nft::Policy::Accept,
    };
    let postrouting = nft::Chain {
        name: nft::Name::literal("postrouting"),
        base: Some(base),
        part: nft::Part::Fixed,
        rules,
    };
    let id = nft::TableId {
        family: nft::TableFamily::Inet,
        name,
    };
    filter::signed(nft::Table {
        chains: vec![postrouting],
        ..nft::Table::new(id)
    })
}

/// What a plan needs to see of it.
pub(crate) fn scope(table: &nft::Table) -> TableScope {
    let chains = table
        .chains
        .iter()
        .map(|chain| chain.name.clone())
        .collect();
    TableScope {
        chains,
        ..TableScope::default()
    }
}

/// Appends the table if it is missing or another one's.
pub(crate) fn ensure(world: &World, want: &Attached, ops: &mut Vec<Op>) -> Result<(), Conflict> {
    let Some(table) = &want.masquerade else {
        return Ok(());
    };
    let found = world.space(&Ns::Host).tables.get(&table.id);
    if found.is_some_and(|found| !filter::is_ours(found)) {
        return Err(Conflict::ForeignTable(table.id.clone()));
    }
    if !found.is_some_and(|found| filter::stands(found, table)) {
        ops.push(filter::load(world.space(&Ns::Host), table.clone()));
    }
    Ok(())
}
