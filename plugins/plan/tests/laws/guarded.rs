//! The laws of a port that another program made, over every kind of table it comes to.

use std::num::NonZeroU32;

use bulkhead_model::{IfName, Mac};
use bulkhead_plan::{
    Binding, Filter, Guard, Guarded, Hook, Identity, Known, LinkKind, Neighbour, Ns, Op, Plan,
    Surroundings, Unguarded, Want, World, filter_table, plan,
};

use crate::cases::{Case, attached, dual, foreign, host};
use crate::{converged, halves, planned, settled};

const PORT: &str = "veth0a1b2c3d";
const PORT_MAC: &str = "02:00:00:00:00:99";

/// A world with the port in it, and what ours there is beside it.
struct Ground {
    name: &'static str,
    world: World,
    beside: Option<Case>,
    hook: Hook,
}

impl Ground {
    fn others(&self) -> Vec<Binding> {
        self.beside.iter().map(Case::binding).collect()
    }

    fn guarded(&self) -> Want {
        guarded_want(Filter {
            binding: binding("10.1.0.9"),
            others: self.others(),
            hook: self.hook,
        })
    }

    fn ended(&self, binding: Option<Binding>) -> Want {
        Want::Unguarded(Box::new(Unguarded {
            port: port(),
            mac: PORT_MAC.parse().ok(),
            binding,
            known: known(),
            restore: Vec::new(),
            last_on_bridge: true,
            node_is_empty: self.beside.is_none(),
        }))
    }

    /// The ways in which DEL may know what there was.
    fn endings(&self) -> [Want; 2] {
        [self.ended(Some(binding("10.1.0.9"))), self.ended(None)]
    }
}

fn guarded_want(filter: Filter) -> Want {
    Want::Guarded(Box::new(Guarded {
        filter,
        groups: NonZeroU32::new(32),
        known: known(),
    }))
}

/// What the node knows of the container, on the bridge that the port is on.
fn known() -> Vec<Known> {
    let neighbour = Neighbour {
        address: "10.1.0.9".parse().unwrap(),
        mac: mac(),
    };
    vec![Known {
        ns: Ns::Host,
        link: bridge(),
        neighbours: vec![neighbour],
    }]
}

fn bridge() -> IfName {
    "br-theirs".parse().unwrap()
}

fn port() -> IfName {
    PORT.parse().unwrap()
}

fn mac() -> Mac {
    "02:00:00:00:00:09".parse().unwrap()
}

fn binding(address: &str) -> Binding {
    Binding {
        port: port(),
        guard: Guard::On(Identity::host([mac()], [address.parse().unwrap()])),
        ifb: None,
        around: Surroundings {
            gateways: ["10.1.0.1".parse().unwrap()].into(),
            granted: [address.parse().unwrap()].into(),
            ..Surroundings::default()
        },
    }
}

fn with_port(mut world: World) -> World {
    let veth = foreign(LinkKind::Veth { peer: None });
    host(&mut world).links.insert(port(), veth);
    host(&mut world)
        .links
        .insert(bridge(), foreign(LinkKind::Bridge));
    world
}

fn grounds() -> Vec<Ground> {
    let beside = |hook| {
        let case = Case { hook, ..dual() };
        (converged(&case.before(), &attached(&case)), case)
    };
    let (by_port, case) = beside(Hook::PerPort);
    let (by_prefix, prefixed) = beside(Hook::Prefix);
    let mut flushed = by_port.clone();
    host(&mut flushed).tables.remove(&filter_table());
    let ground = |name, world, beside, hook| Ground {
        name,
        world: with_port(world),
        beside,
        hook,
    };
    vec![
        ground("alone", dual().before(), None, Hook::Auto),
        ground("alone-by-prefix", dual().before(), None, Hook::Prefix),
        ground("by-port", by_port.clone(), Some(case.clone()), Hook::Auto),
        ground("by-prefix", by_prefix, Some(prefixed), Hook::Auto),
        ground("flushed", flushed, Some(case.clone()), Hook::Auto),
        ground("another-hook", by_port, Some(case), Hook::Prefix),
    ]
}

#[track_caller]
fn assert_same(ground: &Ground, left: &World, right: &World, what: &str) {
    let [left, right] = [left, right].map(|world| settled(world.clone(), &dual()));
    assert!(
        left == right,
        "{}: {what}: {left:#?}\n{right:#?}",
        ground.name
    );
}

/// With the port as it was: a port that is judged no more is left down.
fn raised(mut world: World) -> World {
    host(&mut world).links.get_mut(&port()).unwrap().up = true;
    world
}

fn has_chain(world: &World) -> bool {
    let table = world.space(&Ns::Host).tables.get(&filter_table());
    table.is_some_and(|table| {
        table
            .chains
            .keys()
            .any(|name| name.as_str().ends_with(PORT))
    })
}

#[test]
fn a_guarded_port_has_a_chain_and_nothing_is_left_to_do() {
    for ground in grounds() {
        let after = converged(&ground.world, &ground.guarded());
        assert!(has_chain(&after), "{}", ground.name);
        assert_eq!(planned(&after, &ground.guarded()), Plan::default());
        let found = &after.space(&Ns::Host).tables[&filter_table()].elements;
        for (set, keys) in binding("10.1.0.9").entries() {
            assert!(found[&set].is_superset(&keys), "{}: {set}", ground.name);
        }
    }
}

#[test]
fn what_is_ours_beside_it_stays_as_it_is() {
    for ground in grounds() {
        let Some(case) = &ground.beside else { continue };
        let case = Case {
            hook: Hook::Auto,
            ..case.clone()
        };
        let after = converged(&ground.world, &ground.guarded());
        assert_eq!(
            planned(&after, &attached(&case)),
            Plan::default(),
            "{}",
            ground.name
        );
        for ended in ground.endings() {
            let left = converged(&after, &ended);
            assert_eq!(
                planned(&left, &attached(&case)),
                Plan::default(),
                "{}",
                ground.name
            );
        }
    }
}

#[test]
fn a_crash_after_any_operation_converges_under_add_and_under_del() {
    for ground in grounds() {
        let want = ground.guarded();
        let after = converged(&ground.world, &want);
        let bare = match &ground.beside {
            // The table that was loaded for it stays, with what others have in it.
            Some(_) => raised(converged(&after, &ground.ended(None))),
            None => ground.world.clone(),
        };
        for (crash, half) in halves(&ground.world, &planned(&ground.world, &want)) {
            let again = converged(&half, &want);
            assert_same(&ground, &again, &after, &format!("ADD after {crash}"));
            for ended in ground.endings() {
                let left = raised(converged(&half, &ended));
                let loaded = left.space(&Ns::Host).tables.contains_key(&filter_table());
                if loaded == bare.space(&Ns::Host).tables.contains_key(&filter_table())
                    && ground.name != "another-hook"
                {
                    assert_same(&ground, &left, &bare, &format!("DEL after {crash}"));
                }
                assert!(!has_chain(&left), "{}: {crash}", ground.name);
            }
        }
        for ended in ground.endings() {
            for (crash, half) in halves(&after, &planned(&after, &ended)) {
                let left = raised(converged(&half, &ended));
                assert_same(&ground, &left, &bare, &format!("DEL after {crash} of DEL"));
                let again = raised(converged(&half, &want));
                assert_same(
                    &ground,
                    &again,
                    &after,
                    &format!("ADD after {crash} of DEL"),
                );
            }
        }
    }
}

#[test]
fn a_port_is_down_before_it_is_judged_no_more() {
    for ground in grounds() {
        let after = converged(&ground.world, &ground.guarded());
        for ended in ground.endings() {
            for (crash, half) in halves(&after, &planned(&after, &ended)) {
                let up = half.space(&Ns::Host).links[&port()].up;
                assert!(!up || has_chain(&half), "{}: {crash}", ground.name);
            }
        }
    }
}

#[test]
fn a_later_port_of_the_same_name_stays_up() {
    for ground in grounds() {
        let mut after = converged(&ground.world, &ground.guarded());
        let link = host(&mut after).links.get_mut(&port()).unwrap();
        link.mac = "02:00:00:00:00:77".parse().ok();
        let plan = planned(&after, &ground.ended(Some(binding("10.1.0.9"))));
        let lowers = |op: &Op| matches!(op, Op::SetLink { .. });
        assert!(!plan.ops().iter().any(lowers), "{plan}");
        assert!(!has_chain(&converged(&after, &ground.ended(None))));
    }
}

#[test]
fn a_port_that_is_gone_is_refused_by_add_and_forgotten_by_del() {
    for ground in grounds() {
        let mut gone = converged(&ground.world, &ground.guarded());
        host(&mut gone).links.remove(&port());
        let refused = plan(&gone, &ground.guarded()).unwrap_err().to_string();
        assert_eq!(
            refused,
            "port veth0a1b2c3d is gone from the host, with what it was to be guarded for: run ADD again"
        );
        for ended in ground.endings() {
            let left = converged(&gone, &ended);
            assert!(!has_chain(&left));
            let tables = &left.space(&Ns::Host).tables;
            let found = tables.values().flat_map(|table| &table.elements);
            let named = |key: &bulkhead_nft::Key| key.to_string().contains(PORT);
            let mut left_over = found.flat_map(|(_, keys)| keys).filter(|key| named(key));
            assert_eq!(left_over.next(), None, "{}", ground.name);
        }
    }
}

#[test]
fn a_name_that_nft_cannot_say_has_a_chain_too() {
    let odd: IfName = "a@b+c".parse().unwrap();
    let mut world = dual().before();
    let veth = foreign(LinkKind::Veth { peer: None });
    host(&mut world).links.insert(odd, veth);
    let want = guarded_want(Filter {
        binding: Binding {
            port: odd,
            ..binding("10.1.0.9")
        },
        others: Vec::new(),
        hook: Hook::Auto,
    });
    let after = converged(&world, &want);
    let chains = &after.space(&Ns::Host).tables[&filter_table()].chains;
    assert!(chains.keys().any(|name| name.as_str() == "port.6140622b63"));
}

/// Two hold a virtual router's address: it lives as long as either does, whether the one that goes is
/// known or not.
#[test]
fn an_address_of_two_ports_lives_until_both_are_gone() {
    let shared = "10.1.0.100".parse().unwrap();
    let allowed = |binding: Binding| match binding.guard {
        Guard::On(identity) => Binding {
            guard: Guard::On(identity.and_address(mac(), shared)),
            ..binding
        },
        _ => binding,
    };
    let ground = grounds().swap_remove(0);
    let guarded = |binding: Binding| {
        guarded_want(Filter {
            binding,
            others: Vec::new(),
            hook: Hook::Auto,
        })
    };
    let second: IfName = "veth9".parse().unwrap();
    let other = allowed(Binding {
        port: second,
        ..binding("10.1.0.10")
    });
    let mut world = converged(&ground.world, &guarded(allowed(binding("10.1.0.9"))));
    let veth = foreign(LinkKind::Veth { peer: None });
    host(&mut world).links.insert(second, veth);
    let both = converged(&world, &guarded(other));
    let lives = |world: &World, address: &str| {
        let address: std::net::Ipv4Addr = address.parse().unwrap();
        let found = &world.space(&Ns::Host).tables[&filter_table()].elements;
        let live = &found[&bulkhead_nft::Name::literal("live4")];
        live.contains(&bulkhead_nft::Datum::Ipv4Addr(address).into())
    };
    let mut known = allowed(binding("10.1.0.9"));
    known.around.shared.insert(shared);
    for binding in [Some(known), None] {
        let ended = Want::Unguarded(Box::new(Unguarded {
            port: port(),
            mac: None,
            binding,
            known: Vec::new(),
            restore: Vec::new(),
            last_on_bridge: false,
            node_is_empty: false,
        }));
        let left = converged(&both, &ended);
        assert!(lives(&left, "10.1.0.100"));
        assert!(!lives(&left, "10.1.0.9"));
    }
}
