//! Source NAT for a network: of its traffic to the outside, and of what reaches a host port from where
//! the answer would not come back through the host. One small table per network, so that an attachment
//! writes nothing and the last one deletes it whole.

use bulkhead_model::{Family, IfName, Mac, Prefix};
use bulkhead_nft as nft;

use crate::{Attached, Conflict, Ns, Op, TableScope, World, filter, host_ports};

/// Traffic to these keeps its source: multicast has no return path that NAT could serve
/// (RFC 5771, RFC 4291 §2.7).
const MULTICAST: [&str; 2] = ["224.0.0.0/4", "ff00::/8"];
/// The host's own (RFC 1122 section 3.2.1.3).
const LOOPBACK: &str = "127.0.0.0/8";

/// RFC 4291 section 2.5.6.
const LINK_LOCAL: &str = "fe80::/10";

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
    /// Whether the node keeps to itself that two containers on the bridge could reach each other without
    /// it: they are isolated, and would lose what they send after such a redirect.
    pub no_redirects: bool,
    /// The bridge's MAC where containers of a subnet reach each other without the gateway, whoever is behind
    /// another node too: what one sends there for another address of its subnet is for nobody, and the
    /// gateway would look for each such address (RFC 6583 section 5).
    pub no_turn_at: Option<Mac>,
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
        let mut chains = Vec::new();
        if !rules.is_empty() {
            chains.push(postrouting(rules));
        }
        chains.extend(self.bridge.filter(|_| self.no_redirects).map(quiet));
        let turned = self.bridge.zip(self.no_turn_at);
        chains.extend(turned.map(|(bridge, mac)| self.straight(bridge, mac)));
        (!chains.is_empty()).then(|| table(self.name.clone(), chains))
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

    /// With `br_netfilter` frames between ports pass here too, as by the bridge: those are for another MAC.
    fn straight(&self, bridge: IfName, mac: Mac) -> nft::Chain {
        use nft::{Datum, Field, Statement};
        let turned = |between: Vec<Statement>| {
            let by_gateway = [
                Statement::is(Field::EtherDaddr, mac),
                Statement::is_not(Field::FibDaddrType, Datum::LOCAL),
                Statement::Counter,
                Statement::drop(),
            ];
            let comes = Statement::is(Field::Iifname, bridge);
            nft::Rule::new([vec![comes], between, by_gateway.into()].concat())
        };
        let within = |subnet: &Prefix| {
            let (saddr, daddr) = match subnet.family() {
                Family::V4 => (Field::Ip4Saddr, Field::Ip4Daddr),
                Family::V6 => (Field::Ip6Saddr, Field::Ip6Daddr),
            };
            let both = [daddr, saddr].map(|field| Statement::in_prefix(field, *subnet));
            turned(both.into())
        };
        let mut rules: Vec<nft::Rule> = self.subnets.iter().map(within).collect();
        if self
            .subnets
            .iter()
            .any(|subnet| subnet.family() == Family::V6)
        {
            // The kernel forwards to them, if what is sent there has another source (`ip6_forward`,
            // `net/ipv6/ip6_output.c`).
            let of_the_link = LINK_LOCAL.parse().expect("a prefix");
            let towards = Statement::in_prefix(Field::Ip6Daddr, of_the_link);
            rules.push(turned(vec![towards]));
        }
        nft::Chain {
            name: nft::Name::literal("straight"),
            base: Some(nft::Base {
                kind: nft::ChainKind::Filter,
                hook: nft::Hook::Prerouting,
                devices: nft::Devices::None,
                // Before connection tracking (NF_IP_PRI_CONNTRACK, -200): what is dropped makes no flow.
                priority: -290,
                policy: nft::Policy::Accept,
            }),
            part: nft::Part::Fixed,
            rules,
        }
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

/// ICMP type 5 (RFC 792) and `ICMPv6` type 137 (RFC 4861 section 8) of the node's own, out of the bridge;
/// IPv6 has no sysctl for it.
fn quiet(bridge: IfName) -> nft::Chain {
    use nft::{Datum, Field, Statement};
    let drop = |field, kind: Datum| {
        nft::Rule::new([
            Statement::is(Field::Oifname, bridge),
            Statement::is(field, kind),
            Statement::drop(),
        ])
    };
    nft::Chain {
        name: nft::Name::literal("output"),
        base: Some(nft::Base {
            kind: nft::ChainKind::Filter,
            hook: nft::Hook::Output,
            devices: nft::Devices::None,
            // NF_IP_PRI_FILTER (linux/netfilter_ipv4.h).
            priority: 0,
            policy: nft::Policy::Accept,
        }),
        part: nft::Part::Fixed,
        rules: vec![
            drop(Field::Icmp6Type, Datum::Icmpv6Type(137)),
            drop(Field::Icmp4Type, Datum::IcmpType(5)),
        ],
    }
}

fn postrouting(rules: Vec<nft::Rule>) -> nft::Chain {
    let base = nft::Base {
        kind: nft::ChainKind::Nat,
        hook: nft::Hook::Postrouting,
        devices: nft::Devices::None,
        // NF_IP_PRI_NAT_SRC (linux/netfilter_ipv4.h).
        priority: 100,
        policy: nft::Policy::Accept,
    };
    nft::Chain {
        name: nft::Name::literal("postrouting"),
        base: Some(base),
        part: nft::Part::Fixed,
        rules,
    }
}

fn table(name: nft::Name, chains: Vec<nft::Chain>) -> nft::Table {
    let id = nft::TableId {
        family: nft::TableFamily::Inet,
        name,
    };
    filter::signed(nft::Table {
        chains,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_turn_at_the_gateway_is_dropped_before_it_is_tracked() {
        let nat = NetworkNat {
            name: nft::Name::literal("net"),
            bridge: "br0".parse().ok(),
            subnets: vec![
                "10.9.0.0/20".parse().unwrap(),
                "fd00:9::/64".parse().unwrap(),
            ],
            masqueraded: Vec::new(),
            exclude: Vec::new(),
            host_ports: false,
            no_redirects: false,
            no_turn_at: Mac::new([2, 0, 0, 0, 0, 1]),
        };
        let text = nat.table().unwrap().to_string();
        for line in [
            "type filter hook prerouting priority -290; policy accept;",
            "iifname \"br0\" ip daddr 10.9.0.0/20 ip saddr 10.9.0.0/20 ether daddr 02:00:00:00:00:01 fib daddr type != local counter drop",
            "iifname \"br0\" ip6 daddr fe80::/10 ether daddr 02:00:00:00:00:01 fib daddr type != local counter drop",
            "iifname \"br0\" ip6 daddr fd00:9::/64 ip6 saddr fd00:9::/64 ether daddr 02:00:00:00:00:01 fib daddr type != local counter drop",
        ] {
            assert!(text.contains(line), "{line}:\n{text}");
        }
    }
}
