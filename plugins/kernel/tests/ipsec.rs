//! `IPsec` of encrypted overlays on the kernel: two nodes with a link between them, each a namespace. What
//! needs ESP is skipped, and counted, where the kernel has none.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use bulkhead_kernel::{Deletion, IpsecChanges, Kernel, NoIpsec};
use bulkhead_model::{Encryption, Family, Mtu, VXLAN_PORT, Vni};
use bulkhead_plan::{
    Ipsec, IpsecState, KEY_LEN, Ns, Overlay, Peer, Plan, Sa, SaKey, Sealed, SealedPeer, Switch,
    Takeover, Vtep, Want, plan, scope,
};
use common::{address, name};
use netns_fixtures::{Capture, End, Feature, Ping, Sandbox, skip_without, veth};

const LIMIT: Duration = Duration::from_secs(40);
const DEVICE: &str = "bhx-net";

struct Nodes {
    _sandbox: Sandbox,
    all: [netns_fixtures::Ns; 2],
}

impl Nodes {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let all = ["one", "two"].map(|node| sandbox.ns(node).unwrap());
        let end = |nth: usize| {
            End::new(&all[nth], "eth0")
                .address(&format!("{}/24", outer(Family::V4, nth)))
                .address(&format!("{}/64", outer(Family::V6, nth)))
        };
        veth(&end(0), &end(1)).unwrap();
        for node in &all {
            node.ip("link set lo up").unwrap();
        }
        Self {
            _sandbox: sandbox,
            all,
        }
    }

    fn on<T: Send>(&self, nth: usize, work: impl FnOnce(&mut Kernel) -> T + Send) -> T {
        let work = || work(&mut Kernel::new(Deletion::Blocking));
        self.all[nth].enter(work).unwrap()
    }

    /// What was done.
    fn ensure(&self, nth: usize, want: &Want) -> Plan {
        self.on(nth, |kernel| {
            let world = kernel.observe(&scope(want)).unwrap();
            let plan = plan(&world, want).unwrap();
            kernel.apply(&plan).unwrap();
            plan
        })
    }

    fn found(&self, nth: usize) -> IpsecState {
        self.on(nth, |kernel| {
            let asked = scope(&wanted(Ipsec::default()));
            let mut world = kernel.observe(&asked).unwrap();
            world.spaces.remove(&Ns::Host).unwrap().ipsec
        })
    }
}

fn outer(family: Family, nth: usize) -> IpAddr {
    let last = u8::try_from(nth + 1).unwrap();
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, last).into(),
        Family::V6 => Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

fn wanted(want: Ipsec) -> Want {
    Want::Ipsec(Box::new(want))
}

/// Without any peer: nothing may leave or come at all.
fn alone(family: Family, nth: usize) -> Ipsec {
    let end = Sealed {
        local: outer(family, nth),
        peers: Vec::new(),
    };
    Ipsec {
        ends: [(VXLAN_PORT, end)].into(),
        ..Ipsec::default()
    }
}

/// What a node sends by in an epoch.
fn sa(from: usize, epoch: u8) -> Sa {
    let from = u8::try_from(from).unwrap();
    Sa {
        spi: u32::from_be_bytes([0x70, 0, from, epoch]),
        key: SaKey::new([from ^ epoch << 4; KEY_LEN]),
    }
}

fn sealed(family: Family, nth: usize, epochs: &[u8]) -> Want {
    let mut want = alone(family, nth);
    let peer = 1 - nth;
    let last = *epochs.last().unwrap();
    want.ends.get_mut(&VXLAN_PORT).unwrap().peers = vec![SealedPeer {
        underlay: outer(family, peer),
        inbound: epochs.iter().map(|epoch| sa(peer, *epoch)).collect(),
        outbound: sa(nth, last),
        takeover: Takeover::Now,
    }];
    wanted(want)
}

fn overlay(family: Family, nth: usize) -> Want {
    let mtu = Encryption::Ipsec.left(family, 1500).unwrap();
    let blocks = |nth: usize| {
        let node = nth + 1;
        let texts = [format!("10.1.{node}.0/24"), format!("fd01:0:0:{node}::/64")];
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let mac = |nth: usize| common::mac(u8::try_from(nth + 1).unwrap());
    let node = nth + 1;
    Want::Overlay(Box::new(Overlay {
        vtep: Vtep {
            device: name(DEVICE),
            mac: mac(nth),
            vni: Vni::new(7).unwrap(),
            port: VXLAN_PORT,
            local: outer(family, nth),
            mtu: Mtu::new(mtu).unwrap(),
            addresses: vec![
                address(&format!("10.1.{node}.5/32")),
                address(&format!("fd01:0:0:{node}::5/128")),
            ],
            tx_checksum: Switch::On,
        },
        peers: vec![Peer {
            mac: mac(1 - nth),
            underlay: outer(family, 1 - nth),
            prefixes: blocks(1 - nth),
            direct: false,
            link_mac: None,
        }],
        pools: ["10.1.0.0/16", "fd01::/48"]
            .map(|text| text.parse().unwrap())
            .into(),
    }))
}

/// The other's addresses inside.
fn inside() -> [IpAddr; 2] {
    ["10.1.2.5", "fd01:0:0:2::5"].map(|text| text.parse().unwrap())
}

/// Protocol of an IP packet in a frame, and the UDP port it is for.
fn outside(frame: &[u8]) -> Option<(u8, Option<u16>)> {
    let (protocol, payload) = match frame.get(12..14)? {
        [8, 0] => (*frame.get(23)?, 34),
        [0x86, 0xdd] => (*frame.get(20)?, 54),
        _ => return None,
    };
    let port = frame.get(payload + 2..payload + 4);
    let port = port.filter(|_| protocol == 17);
    Some((
        protocol,
        port.map(|port| u16::from_be_bytes([port[0], port[1]])),
    ))
}

fn is_plaintext(frame: &[u8]) -> bool {
    outside(frame) == Some((17, Some(VXLAN_PORT)))
}

#[test]
fn a_kernel_without_it_is_told_by_name() {
    let nodes = Nodes::new();
    let lacks = [Family::V4, Family::V6]
        .map(|family| nodes.on(0, |kernel| kernel.lacks_ipsec(family).unwrap()));
    if Feature::Esp.is_present().unwrap() {
        assert_eq!(lacks, [None, None]);
    } else {
        assert!(
            lacks
                .iter()
                .any(|it| matches!(it, Some(NoIpsec::Algorithm | NoIpsec::Esp(_)))),
            "{lacks:?}"
        );
    }
    // Nothing is left of having asked.
    assert_eq!(nodes.found(0), IpsecState::default());
}

#[test]
fn with_a_policy_and_no_state_nothing_leaves_and_nothing_is_taken() {
    let nodes = Nodes::new();
    for family in [Family::V4, Family::V6] {
        let want = wanted(alone(family, 0));
        assert!(!nodes.ensure(0, &want).is_empty());
        assert_eq!(nodes.ensure(0, &want), Plan::default());
        assert_eq!(nodes.found(0).policies.len(), 2);
        let (own, other) = (outer(family, 0), outer(family, 1));
        let socket = |nth: usize, at: IpAddr| {
            let bound = || UdpSocket::bind((at, VXLAN_PORT)).unwrap();
            nodes.all[nth].enter(bound).unwrap()
        };
        let (here, there) = (socket(0, own), socket(1, other));
        here.set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let capture = Capture::start(&nodes.all[0], "eth0").unwrap();
        // The kernel drops it, and may not say so.
        let _ = here.send_to(b"secret", SocketAddr::new(other, VXLAN_PORT));
        there
            .send_to(b"forged", SocketAddr::new(own, VXLAN_PORT))
            .unwrap();
        assert!(here.recv_from(&mut [0; 64]).is_err());
        let leaves = |seen: &netns_fixtures::Captured| {
            seen.direction == netns_fixtures::Direction::Out && is_plaintext(&seen.bytes)
        };
        let window = Duration::from_millis(200);
        capture.none_within("plaintext", window, leaves).unwrap();
        // Other ports are no affair of ours.
        let to = SocketAddr::new(other, 9);
        here.send_to(b"other", to).unwrap();
    }
    nodes.ensure(0, &wanted(Ipsec::default()));
    assert_eq!(nodes.found(0), IpsecState::default());
}

#[test]
fn policies_of_others_are_left_and_what_somebody_flushes_is_heard_of_and_put_back() {
    let nodes = Nodes::new();
    let theirs = "xfrm policy add src 192.0.2.1/32 dst 192.0.2.9/32 proto udp dport 500 dir out action allow";
    nodes.all[0].ip(theirs).unwrap();
    let want = wanted(alone(Family::V4, 0));
    nodes.ensure(0, &want);
    let mut changes = nodes.all[0]
        .enter(|| IpsecChanges::listen().unwrap())
        .unwrap();
    assert!(!changes.next(Duration::from_millis(50)).unwrap());
    nodes.all[0].ip("xfrm policy flush").unwrap();
    assert!(changes.next(LIMIT).unwrap());
    assert_eq!(nodes.ensure(0, &want).ops().len(), 2);
    nodes.all[0].ip(theirs).unwrap();
    nodes.all[0]
        .ip("xfrm policy update src 192.0.2.1/32 dst 0.0.0.0/0 proto udp dport 4789 dir out action allow")
        .unwrap();
    let refused = nodes.on(0, |kernel| {
        plan(&kernel.observe(&scope(&want)).unwrap(), &want).unwrap_err()
    });
    assert!(
        refused
            .to_string()
            .contains("delete it with `ip xfrm policy delete src 192.0.2.1/32 dst 0.0.0.0/0 proto udp dport 4789 dir out`"),
        "{refused}"
    );
    nodes.all[0]
        .ip("xfrm policy delete src 192.0.2.1/32 dst 0.0.0.0/0 proto udp dport 4789 dir out")
        .unwrap();
    nodes.ensure(0, &want);
    nodes.ensure(0, &wanted(Ipsec::default()));
    let left = nodes.all[0].ip("xfrm policy").unwrap();
    assert_eq!(
        left.lines().filter(|line| line.starts_with("src")).count(),
        1
    );
    assert!(left.contains("dport 500"), "{left}");
}

#[test]
fn packets_of_exactly_the_mtu_pass_encrypted_and_nothing_else_does() {
    skip_without!(Feature::Esp);
    for family in [Family::V4, Family::V6] {
        let nodes = Nodes::new();
        for nth in [0, 1] {
            nodes.ensure(nth, &sealed(family, nth, &[1]));
            assert_eq!(
                nodes.ensure(nth, &sealed(family, nth, &[1])),
                Plan::default()
            );
            nodes.ensure(nth, &overlay(family, nth));
        }
        let capture = Capture::start(&nodes.all[0], "eth0").unwrap();
        let mtu = usize::try_from(Encryption::Ipsec.left(family, 1500).unwrap()).unwrap();
        for to in inside() {
            let ping = |bytes| {
                let limit = Duration::from_secs(2);
                let ping = Ping::new(to).unfragmented(bytes).limit(limit);
                ping.from(&nodes.all[0]).unwrap()
            };
            assert!(ping(mtu), "{to} over {family}");
            assert!(!ping(mtu + 1), "{to} over {family}");
        }
        let is_sealed = |seen: &netns_fixtures::Captured| {
            outside(&seen.bytes).is_some_and(|(protocol, _)| protocol == 50)
        };
        capture.expect("ESP", LIMIT, is_sealed).unwrap();
        let plain = |seen: &netns_fixtures::Captured| is_plaintext(&seen.bytes);
        let window = Duration::from_millis(200);
        capture.none_within("plaintext", window, plain).unwrap();
        // Without states nothing passes, and nothing leaves.
        nodes.all[0].ip("xfrm state flush").unwrap();
        for to in inside() {
            let limit = Duration::from_millis(500);
            assert!(!Ping::new(to).limit(limit).from(&nodes.all[0]).unwrap());
        }
        capture.none_within("plaintext", window, plain).unwrap();
        // The next keys, one end after the other.
        for (nth, epochs) in [(0, &[1, 2][..]), (1, &[1, 2]), (0, &[2]), (1, &[2])] {
            nodes.ensure(nth, &sealed(family, nth, epochs));
        }
        for to in inside() {
            assert!(Ping::new(to).limit(LIMIT).from(&nodes.all[0]).unwrap());
        }
        assert_eq!(nodes.found(0).states.len(), 2);
    }
}
