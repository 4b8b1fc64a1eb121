//! `IPsec` of encrypted overlays: the plans, and what is true at every step of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_model::VXLAN_PORT;
use bulkhead_nft::{Hook, Packet};
use bulkhead_plan::{
    Conflict, Direction, Ipsec, KEY_LEN, Ns, Op, Plan, PolicyKey, PolicyState, Sa, SaKey, SaState,
    Sealed, SealedPeer, Takeover, TunnelDrop, Want, World, plan,
};

use crate::filter::{arriving, judged_by, packet, table, udp, vxlan};
use crate::plans::reads;
use crate::{applied, converged, host, ip, name, node, planned, tunnels};

const OWN: &str = "192.0.2.1";

fn sa(spi: u32) -> Sa {
    let [low, ..] = spi.to_le_bytes();
    Sa {
        spi,
        key: SaKey::new([low; KEY_LEN]),
    }
}

fn peer(nth: u32, underlay: &str) -> SealedPeer {
    SealedPeer {
        underlay: ip(underlay),
        inbound: vec![sa(0x1000 + nth)],
        outbound: sa(0x2000 + nth),
        takeover: Takeover::Now,
    }
}

fn sealed() -> Ipsec {
    let end = Sealed {
        local: ip(OWN),
        peers: vec![peer(2, "192.0.2.2"), peer(3, "198.51.100.3")],
    };
    Ipsec {
        ends: [(VXLAN_PORT, end)].into(),
        ..Ipsec::default()
    }
}

/// The same over IPv6.
fn over_ipv6() -> Ipsec {
    let mut want = sealed();
    let end = want.ends.get_mut(&VXLAN_PORT).unwrap();
    end.local = ip("2001:db8::1");
    end.peers = vec![peer(2, "2001:db8::2")];
    want
}

/// The same with the next keys known, and sent by, or not yet.
fn rotated(takeover: Takeover) -> Ipsec {
    let mut want = sealed();
    for peer in &mut want.ends.get_mut(&VXLAN_PORT).unwrap().peers {
        peer.inbound.push(sa(peer.inbound[0].spi + 0x100));
        peer.outbound = sa(peer.outbound.spi + 0x100);
        peer.takeover = takeover;
    }
    want
}

/// The same after one of the others has left.
fn left() -> Ipsec {
    let mut want = sealed();
    want.ends.get_mut(&VXLAN_PORT).unwrap().peers.pop();
    want
}

fn wanted(want: Ipsec) -> Want {
    Want::Ipsec(Box::new(want))
}

fn wants() -> Vec<(&'static str, Want)> {
    vec![
        ("sealed", wanted(sealed())),
        ("over IPv6", wanted(over_ipv6())),
        ("rotating", wanted(rotated(Takeover::WhenNoneStands))),
        ("rotated", wanted(rotated(Takeover::Now))),
        ("left", wanted(left())),
        ("nothing", wanted(Ipsec::default())),
    ]
}

/// A node with states and policies of others.
fn shared() -> World {
    let mut world = node();
    let ipsec = &mut host(&mut world).ipsec;
    let theirs = SaState {
        source: ip(OWN),
        port: None,
    };
    ipsec.states.insert((ip("192.0.2.2"), 0xc000_0001), theirs);
    let key = PolicyKey {
        direction: Direction::Out,
        local: ip(OWN),
        port: 500,
    };
    ipsec.policies.insert(key, PolicyState::Foreign);
    world
}

fn halves(world: &World, plan: &Plan) -> Vec<World> {
    let first = |count: usize| Plan::new(plan.ops()[..count].to_vec());
    (0..=plan.ops().len())
        .map(|count| applied(world, &first(count)))
        .collect()
}

#[test]
fn plans_read_as_the_lines_an_operator_would_type_without_keys() {
    let stood = converged(&shared(), &wanted(sealed()));
    reads("ipsec-from-nothing", &shared(), &wanted(sealed()));
    reads("ipsec-over-ipv6", &shared(), &wanted(over_ipv6()));
    let rotating = wanted(rotated(Takeover::WhenNoneStands));
    reads("ipsec-rotating", &stood, &rotating);
    let half = converged(&stood, &rotating);
    reads("ipsec-rotated", &half, &wanted(rotated(Takeover::Now)));
    reads("ipsec-left", &stood, &wanted(left()));
    reads("ipsec-gone", &stood, &wanted(Ipsec::default()));
    let text = format!("{:?}", planned(&shared(), &wanted(sealed())));
    assert!(!text.contains(&format!("{:?}", [2_u8; KEY_LEN])), "{text}");
}

#[test]
fn whatever_there_was_it_gets_there_and_strangers_are_left() {
    for (from, before) in wants() {
        let stood = converged(&shared(), &before);
        for (to, want) in wants() {
            let steps = planned(&stood, &want);
            for (crash, half) in halves(&stood, &steps).iter().enumerate() {
                for (then, want) in wants() {
                    let after = converged(half, &want);
                    assert_eq!(
                        planned(&after, &want),
                        Plan::default(),
                        "{from} to {to}, after {crash} to {then}"
                    );
                    let found = &after.space(&Ns::Host).ipsec;
                    let theirs = found.states.values().filter(|state| state.port.is_none());
                    assert_eq!(theirs.count(), 1);
                    let foreign = found.policies.values();
                    let foreign = foreign.filter(|state| **state == PolicyState::Foreign);
                    assert_eq!(foreign.count(), 1);
                }
            }
        }
    }
}

fn sends_to(world: &World, to: IpAddr) -> BTreeSet<u32> {
    let states = world.space(&Ns::Host).ipsec.states.iter();
    let ours = states.filter(|((it, _), state)| *it == to && state.port == Some(VXLAN_PORT));
    ours.map(|((_, spi), _)| *spi).collect()
}

#[test]
fn a_peer_is_never_without_a_state_while_keys_change() {
    let stood = converged(&shared(), &wanted(sealed()));
    let to = ip("192.0.2.2");
    for takeover in [Takeover::WhenNoneStands, Takeover::Now] {
        let want = wanted(rotated(takeover));
        for half in halves(&stood, &planned(&stood, &want)) {
            assert!(!sends_to(&half, to).is_empty());
        }
        let last = converged(&stood, &want);
        let expected = match takeover {
            Takeover::WhenNoneStands => 0x2002,
            Takeover::Now => 0x2102,
        };
        assert_eq!(sends_to(&last, to), [expected].into());
        // Without any, a new one is better than none.
        let mut flushed = stood.clone();
        host(&mut flushed).ipsec.states.clear();
        assert_eq!(sends_to(&converged(&flushed, &want), to), [0x2102].into());
    }
}

#[test]
fn nothing_is_without_a_policy_that_has_a_state_or_may_send() {
    for (from, before) in wants() {
        let stood = converged(&shared(), &before);
        for (to, want) in wants() {
            for half in halves(&stood, &planned(&stood, &want)) {
                let found = &half.space(&Ns::Host).ipsec;
                let asks = |direction, local, port| {
                    let key = PolicyKey {
                        direction,
                        local,
                        port,
                    };
                    found.policies.get(&key) == Some(&PolicyState::Ours)
                };
                for ((to_whom, _), state) in &found.states {
                    let Some(port) = state.port else { continue };
                    assert!(
                        asks(Direction::Out, state.source, port)
                            || asks(Direction::In, *to_whom, port),
                        "{from} to {to}: {to_whom}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_on_its_way_out_is_held_and_what_is_spared_stays_a_while() {
    let stood = converged(&shared(), &wanted(sealed()));
    let held = Ipsec {
        held: [VXLAN_PORT].into(),
        ..Ipsec::default()
    };
    assert_eq!(planned(&stood, &wanted(held)), Plan::default());
    let mut spared = left();
    spared.spared = [(ip(OWN), 0x1003)].into();
    let after = converged(&stood, &wanted(spared.clone()));
    let found = &after.space(&Ns::Host).ipsec.states;
    assert!(found.contains_key(&(ip(OWN), 0x1003)));
    assert!(!found.contains_key(&(ip("198.51.100.3"), 0x2003)));
    spared.spared.clear();
    let gone = planned(&after, &wanted(spared)).to_string();
    assert_eq!(
        gone,
        "ip xfrm state delete dst 192.0.2.1 proto esp spi 0x1003\n"
    );
}

#[test]
fn what_somebody_else_has_there_is_named() {
    let mut world = shared();
    let key = PolicyKey {
        direction: Direction::Out,
        local: ip(OWN),
        port: VXLAN_PORT,
    };
    let policies = &mut host(&mut world).ipsec.policies;
    policies.insert(key, PolicyState::Foreign);
    let refused = plan(&world, &wanted(sealed())).unwrap_err();
    assert_eq!(refused, Conflict::ForeignPolicy(key));
    let mut world = shared();
    let theirs = SaState {
        source: ip("203.0.113.9"),
        port: None,
    };
    let states = &mut host(&mut world).ipsec.states;
    states.insert((ip(OWN), 0x1002), theirs);
    let refused = plan(&world, &wanted(sealed())).unwrap_err();
    assert!(matches!(refused, Conflict::SpiTaken { spi: 0x1002, .. }));
}

#[test]
fn a_state_is_added_with_its_key_and_printed_without() {
    let plan = planned(&shared(), &wanted(sealed()));
    let mut keys = plan.ops().iter().filter_map(|op| match op {
        Op::AddSa { sa, .. } => Some(sa.key.expose()),
        _ => None,
    });
    assert!(keys.any(|key| *key == [2; KEY_LEN]));
}

#[test]
fn nothing_comes_or_leaves_in_plaintext_where_that_is_encrypted() {
    let mut want = tunnels();
    want.sealed = [VXLAN_PORT].into();
    let table = table(want);
    let judged = |hook, packet: &Packet| judged_by(&table, hook, packet);
    let (near, own) = ("192.0.2.2", OWN);
    let inner = udp(VXLAN_PORT, &vxlan(7));
    let come = |from: &str| arriving(&packet(from, own, 17, &inner), "eth0");
    assert_eq!(judged(Hook::Input, &come(near)), Err(TunnelDrop::Plaintext));
    assert_eq!(
        judged(Hook::Input, &come("192.0.2.3")),
        Err(TunnelDrop::Plaintext)
    );
    assert_eq!(judged(Hook::Input, &come(near).came_sealed()), Ok(()));
    assert_eq!(
        judged(Hook::Input, &come("192.0.2.3").came_sealed()),
        Err(TunnelDrop::UnknownSource)
    );
    let leaves = Packet::ip(&packet(own, near, 17, &inner)).unwrap();
    let leaves = leaves.leaving_by(name("eth0"));
    assert_eq!(judged(Hook::Output, &leaves), Err(TunnelDrop::Unsealed));
    assert_eq!(judged(Hook::Output, &leaves.leaves_sealed()), Ok(()));
    // The other port is as it was.
    let (six, own6) = ("2001:db8::2", "2001:db8::1");
    let other = udp(8472, &vxlan(9));
    let come = arriving(&packet(six, own6, 17, &other), "eth0");
    assert_eq!(judged(Hook::Input, &come), Ok(()));
    let leaves = Packet::ip(&packet(own6, six, 17, &other)).unwrap();
    assert_eq!(judged(Hook::Output, &leaves), Ok(()));
}
