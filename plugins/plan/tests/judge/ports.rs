//! Nodes with ports of every kind, and the table that judges them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::{LinkGroup, Mac, Mtu};
use bulkhead_nft as nft;
use bulkhead_nft::Rate;
use bulkhead_plan::{
    Binding, Budgets, Features, Filter, Guard, Guarded, Hook, Identity, Link, LinkKind, Multicast,
    Ns, Op, PortFlags, Role, Surroundings, Want, World, plan,
};

use crate::dice::Dice;
use crate::reference::Node;

/// The node's on its networks.
pub(crate) const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
pub(crate) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1);
pub(crate) const LINK_GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The node's own on the ports' links, beside the gateway, and the MACs by which it takes frames in.
pub(crate) const NODE_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xff);
pub(crate) const NODE_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 0xfe], [2, 0, 0, 0, 1, 0xff]];
/// In a block of the node's, and nobody's.
pub(crate) const DEAD4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 200);
pub(crate) const DEAD6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0xdead);
/// The node's beside its networks, and another node's tunnel ends.
pub(crate) const NODE4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const NODE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(crate) const TUNNEL_END4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const TUNNEL_END6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// What a VRRP router has its virtual address with (RFC 9568 section 7.3).
const VIRTUAL_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 0x33];

/// How many ports a node has.
const PORTS: usize = 15;
/// Those that are judged and do or have what hosts do not: a router, servers and clients of DHCP, one
/// that speaks VRRP, one with a prefix of its own, one that asks for configuration alone.
pub(crate) const WITH_ROLES: [usize; 10] = [2, 3, 4, 4, 4, 5, 6, 7, 9, 14];

/// A node with ports of each kind.
pub(crate) fn node(dice: &mut Dice) -> Node {
    let bindings: Vec<_> = (0..PORTS).map(|nth| binding(dice, nth)).collect();
    let gateways = bindings.iter().flat_map(|it| &it.around.gateways).copied();
    let own = [IpAddr::from(NODE4), NODE6.into()];
    Node {
        own: gateways.chain(own).collect(),
        tunnel_ends: [TUNNEL_END4.into(), TUNNEL_END6.into()].into(),
        bindings,
    }
}

fn binding(dice: &mut Dice, nth: usize) -> Binding {
    let number = u8::try_from(nth).expect("a few ports");
    let mac = mac(number);
    let wide = u16::from(number);
    let mut addresses = vec![IpAddr::from([10, 1, 0, 10 + number])];
    if dice.percent(80) {
        let address = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x10 + wide);
        addresses.push(address.into());
    }
    if dice.percent(30) {
        addresses.push([10, 1, 0, 40 + number].into());
    }
    let ours = |binding: &str| binding.parse().expect("a prefix");
    let blocks = ["10.1.0.0/24", "fd00:1::/112", "fd00:64::/32"].map(ours);
    // A port of another plugin's brings neither.
    let (node_macs, node_links) = (
        NODE_MACS.map(|it| Mac::new(it).expect("unicast")).into(),
        [NODE_LINK].into(),
    );
    let around = if nth == 0 || dice.percent(80) {
        Surroundings {
            own_blocks: blocks.into(),
            gateways: [GATEWAY4.into(), GATEWAY6.into(), LINK_GATEWAY.into()].into(),
            granted: addresses.iter().copied().collect(),
            node_macs,
            node_links,
            ..Surroundings::default()
        }
    } else {
        Surroundings {
            granted: addresses.iter().copied().collect(),
            ..Surroundings::default()
        }
    };
    Binding {
        port: format!("bhp{number}").parse().expect("a name"),
        guard: guard(dice, nth, mac, &addresses),
        ifb: None,
        around,
    }
}

fn mac(number: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, number]).expect("a unicast address")
}

fn guard(dice: &mut Dice, nth: usize, mac: Mac, addresses: &[IpAddr]) -> Guard {
    let wide = u16::try_from(nth).expect("a few ports");
    let private = Mac::new([2, 0, 0, 0, 2, 0]).expect("a unicast address");
    let host = || Identity::host([mac], addresses.iter().copied());
    let own_net = Ipv6Addr::new(0xfd00, 0x64, wide, 0, 0, 0, 0, 0);
    let prefix = |text: String| text.parse().expect("a prefix");
    let identity = match nth {
        0 => return Guard::Off,
        1 => return Guard::Mac(mac),
        2 => Identity::unknown([mac]).and_role(Role::DhcpClient),
        // Trusted, without addresses and with.
        3 => Identity::unknown([mac])
            .and_role(Role::Router)
            .and_role(Role::DhcpServer)
            .and_role(Role::DhcpClient),
        13 => Identity::unknown([mac])
            .and_role(Role::Router)
            .and_role(Role::DhcpServer),
        4 => host()
            .and_role(Role::Router)
            .and_prefix(mac, prefix("10.9.0.0/30".to_owned()))
            .and_then(|it| it.and_prefix(mac, prefix(format!("{own_net}/63"))))
            .expect("of a length that there is"),
        5 => host().and_role(Role::DhcpServer),
        6 => host().and_role(Role::DhcpClient),
        14 => host().and_role(Role::Configured),
        7 => host()
            .and_address(
                Mac::new(VIRTUAL_MAC).expect("unicast"),
                [10, 1, 0, 100].into(),
            )
            .and_address(mac, Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x100).into())
            .and_role(Role::Vrrp),
        8 => Identity::host([mac, private], addresses.iter().copied()),
        9 => host()
            .and_prefix(mac, prefix(format!("{own_net}/64")))
            .expect("of a length that there is"),
        _ => host(),
    };
    let groups = match nth {
        10 => Multicast::LinkLocal,
        11 => Multicast::All,
        12 => Multicast::None,
        _ => dice.one(&[Multicast::None, Multicast::LinkLocal, Multicast::All]),
    };
    let own = Rate {
        per_second: 5,
        burst: 10,
    };
    let budgets = Budgets {
        to_node: dice.percent(40).then_some(own),
        to_all: dice.percent(40).then_some(own),
    };
    Guard::On(identity.sending_to(groups).within(budgets))
}

/// The table of a node, as a plan loads it.
pub(crate) fn table(node: &Node) -> nft::Table {
    let mut world = World {
        features: Features {
            device_prefix: true,
            ..Features::default()
        },
        ..World::default()
    };
    let host = world.spaces.entry(Ns::Host).or_default();
    host.links
        .extend(node.bindings.iter().map(|it| (it.port, veth())));
    let [first, others @ ..] = node.bindings.as_slice() else {
        panic!("a node has ports");
    };
    let want = Want::Guarded(Box::new(Guarded {
        filter: Filter {
            binding: first.clone(),
            others: others.to_vec(),
            hook: Hook::Prefix,
        },
        groups: None,
        known: Vec::new(),
    }));
    let plan = plan(&world, &want).expect("nothing is in the way");
    let commands = plan.ops().iter().flat_map(|op| match op {
        Op::Nft { transaction, .. } => transaction.0.as_slice(),
        _ => &[],
    });
    let mut tables = commands.filter_map(|command| match command {
        nft::Command::AddTable(table) => Some(table.clone()),
        _ => None,
    });
    let mut table = tables.next().expect("the plan loads the table");
    with_tunnel_ends(&mut table, &node.tunnel_ends);
    table
}

/// The overlay's own: no binding brings them.
fn with_tunnel_ends(table: &mut nft::Table, ends: &BTreeSet<IpAddr>) {
    for set in &mut table.sets {
        let of_family = |end: &&IpAddr| match set.name.as_str() {
            "vteps4" => end.is_ipv4(),
            "vteps6" => end.is_ipv6(),
            _ => false,
        };
        let keys: Vec<_> = ends.iter().filter(of_family).collect();
        if !keys.is_empty() {
            let keys = keys.into_iter().map(|end| nft::Datum::from(*end).into());
            set.elements = nft::Elements::keys(keys);
        }
    }
}

fn veth() -> Link {
    Link {
        kind: LinkKind::Veth { peer: None },
        mac: None,
        mtu: Mtu::new(1500).expect("an MTU"),
        up: true,
        promiscuous: false,
        group: LinkGroup(0),
        bridge: None,
        port: PortFlags::default(),
        forms_link_local: true,
        learns_link_local: true,
        shape: None,
    }
}

/// The identity of a port that is judged by one, or the one it would have.
pub(crate) fn identity(binding: &Binding) -> Identity {
    match &binding.guard {
        Guard::On(identity) => identity.clone(),
        Guard::Mac(mac) => Identity::host([*mac], binding.around.granted.iter().copied()),
        Guard::Off => Identity::host([mac(0)], binding.around.granted.iter().copied()),
    }
}
