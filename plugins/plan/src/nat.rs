//! Source NAT for a network: of its traffic to the outside, and of what reaches a host port from where
//! the answer would not come back through the host. One small table per network, so that an attachment
//! writes nothing and the last one deletes it whole.

use bulkhead_model::{Family, IfName, Prefix};
use bulkhead_nft as nft;

use crate::{Attached, Conflict, Ns, Op, TableScope, World, filter, host_ports};

/// Traffic to these keeps its source: multicast has no return path that NAT could serve
/// (RFC 5771, RFC 4291 §2.7).
const MULTICAST: [&str; 2] = ["224.0.0.0/4", "ff00::/8"];
/// The host's own (RFC 1122 section 3.2.1.3).
const LOOPBACK: &str = "127.0.0.0/8";

/// What a network's table translates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkNat {
    /// The table's name.
    pub name: nft::Name,
    /// The network's bridge; `None` where every container has a link of its own.
    pub bridge: Option<IfName>,
    /// The network's subnets.
    pub subnets: Vec<Prefix>,
    /// What is masqueraded behind the node's own addresses when it leaves by another link than the
    /// bridge, except towards these prefixes themselves, `exclude` and multicast.
    pub masqueraded: Vec<Prefix>,
    /// Destinations that see the container's own address.
    pub exclude: Vec<Prefix>,
    /// Whether containers may have host ports: then what the host sent on to one of them from the
    /// network itself, or from 127.0.0.1, gets the bridge's address as its source.
    pub host_ports: bool,
}

impl NetworkNat {
    /// The table; `None` if there is nothing to translate.
    ///
    /// With `br_netfilter` a frame between two ports passes postrouting too; its outgoing interface
    /// is the bridge, and nobody translated its destination, so it is left alone.
    #[must_use]
    pub fn table(&self) -> Option<nft::Table> {
        let mut rules = self.masquerade();
        if self.host_ports {
            rules.extend(self.hairpin());
        }
        (!rules.is_empty()).then(|| table(self.name.clone(), rules))
    }

    fn masquerade(&self) -> Vec<nft::Rule> {
        let multicast = MULTICAST.map(|text| text.parse::<Prefix>().expect("a prefix"));
        let mut rules = Vec::new();
        for (family, saddr, daddr) in [
            (Family::V4, nft::Field::Ip4Saddr, nft::Field::Ip4Daddr),
            (Family::V6, nft::Field::Ip6Saddr, nft::Field::Ip6Daddr),
        ] {
            let kept = self.masqueraded.iter().chain(&self.exclude);
            let kept = nft::PrefixSet::new(family, kept.chain(&multicast).copied());
            let sources = self.masqueraded.iter();
            for source in sources.filter(|source| source.family() == family) {
                let leaves = self
                    .bridge
                    .map(|bridge| nft::Statement::is_not(nft::Field::Oifname, bridge));
                rules.push(nft::Rule::new(leaves.into_iter().chain([
                    nft::Statement::in_prefix(saddr, *source),
                    nft::Statement::outside(daddr, kept.clone()),
                    nft::Statement::Masquerade(nft::SourcePorts::FullyRandom),
                ])));
            }
        }
        rules
    }

    /// A neighbour, or the container itself, would be answered past the host; 127.0.0.1 nowhere.
    ///
    /// Known by its address, not by the bridge it came in by: with `br_netfilter` a frame whose new
    /// destination is on the same bridge stays on it, and passes here without an incoming interface
    /// (`br_nf_post_routing`, `net/bridge/br_netfilter_hooks.c`).
    fn hairpin(&self) -> Vec<nft::Rule> {
        let loopback = LOOPBACK.parse().expect("a prefix");
        let sources = self.subnets.iter().chain([&loopback]);
        sources.flat_map(|source| self.turned(*source)).collect()
    }

    /// What comes from `source` and goes to a container of the network.
    fn turned(&self, source: Prefix) -> Vec<nft::Rule> {
        let (saddr, daddr) = match source.family() {
            Family::V4 => (nft::Field::Ip4Saddr, nft::Field::Ip4Daddr),
            Family::V6 => (nft::Field::Ip6Saddr, nft::Field::Ip6Daddr),
        };
        let towards: Vec<_> = if let Some(bridge) = self.bridge {
            vec![nft::Statement::is(nft::Field::Oifname, bridge)]
        } else {
            let same = self.subnets.iter();
            same.filter(|subnet| subnet.family() == source.family())
                .map(|subnet| nft::Statement::in_prefix(daddr, *subnet))
                .collect()
        };
        let rule = |towards| {
            nft::Rule::new([
                towards,
                nft::Statement::in_prefix(saddr, source),
                nft::Statement::has_any(nft::Field::Mark, nft::Datum::Mark(host_ports::MARK)),
                nft::Statement::Masquerade(nft::SourcePorts::Keep),
            ])
        };
        towards.into_iter().map(rule).collect()
    }
}

fn table(name: nft::Name, rules: Vec<nft::Rule>) -> nft::Table {
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
    let Some(table) = &want.nat else {
        return Ok(());
    };
    let found = world.space(&Ns::Host).tables.get(&table.id);
    if found.is_some_and(|found| !filter::is_ours(found)) {
        return Err(Conflict::ForeignTable(table.id.clone()));
    }
    if !found.is_some_and(|found| filter::stands(found, table)) {
        filter::load(world.space(&Ns::Host), table.clone(), ops);
    }
    Ok(())
}
