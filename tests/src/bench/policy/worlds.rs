//! Who is there, and who may talk to whom: groups of ten, each of which may be reached by three others on three
//! ports, and may reach three others.

use std::net::{IpAddr, Ipv4Addr};

use bulkhead_model::Protocol;
use bulkhead_policy::compile::Local;
use bulkhead_policy::{
    Action, Endpoint, EndpointId, EndpointSelector, Labels, Mode, Namespaces, NodeName, Origin,
    Peer, Place, Policy, PolicyId, PolicyKind, Port, PortRange, Requirement, Rule, Selector, Tier,
    World,
};

/// The port that is connected to, and others.
pub(super) const PORTS: [u16; 3] = [7000, 80, 443];
/// Which groups may reach one, counted back from it.
pub(super) const BACK: [usize; 3] = [1, 3, 7];

pub(super) fn groups(endpoints: usize) -> usize {
    (endpoints / 10).max(2)
}

/// The group of an endpoint; the first two are in the first two.
pub(super) fn group_of(nth: usize, endpoints: usize) -> usize {
    nth % groups(endpoints)
}

/// The groups that may reach `group`.
pub(super) fn senders(group: usize, endpoints: usize) -> Vec<usize> {
    let groups = groups(endpoints);
    let mut all: Vec<usize> = BACK
        .iter()
        .map(|back| (group + groups * 7 - back) % groups)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The groups that `group` may reach.
pub(super) fn receivers(group: usize, endpoints: usize) -> Vec<usize> {
    let groups = groups(endpoints);
    let mut all: Vec<usize> = BACK.iter().map(|back| (group + back) % groups).collect();
    all.sort_unstable();
    all.dedup();
    all
}

pub(super) fn address(nth: usize) -> Ipv4Addr {
    let nth = u32::try_from(nth).expect("thousands of endpoints");
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 9, 0, 2).to_bits() + nth * 4)
}

pub(super) fn device(nth: usize) -> String {
    format!("bhp{nth:012}")
}

fn selector(group: usize) -> EndpointSelector {
    EndpointSelector::Labelled {
        namespaces: Namespaces::Named("bench".to_owned()),
        labels: Selector::from_iter([Requirement::equals("app", format!("g{group}"))]),
    }
}

pub(super) fn endpoint(nth: usize, endpoints: usize) -> (EndpointId, Endpoint) {
    let id = EndpointId::new("bench", format!("e{nth}"));
    let group = format!("g{}", group_of(nth, endpoints));
    let endpoint = Endpoint {
        labels: Labels::from_iter([("app".to_owned(), group)]),
        groups: std::collections::BTreeSet::new(),
        addresses: [IpAddr::from(address(nth))].into(),
        ports: std::collections::BTreeSet::new(),
        node: Some(NodeName::new("bench")),
        place: Place::Port,
    };
    (id, endpoint)
}

fn rule(group: usize) -> Rule {
    let port = |port: u16| Port::Range {
        protocol: Protocol::Tcp,
        ports: PortRange::one(port),
    };
    Rule {
        action: Action::Allow,
        peers: vec![Peer::Endpoints(selector(group))],
        ports: PORTS.map(port).to_vec(),
        name: None,
        line: None,
        unread: Vec::new(),
    }
}

pub(super) fn world(endpoints: usize) -> World {
    let mut world = World::default();
    world
        .endpoints
        .extend((0..endpoints).map(|nth| endpoint(nth, endpoints)));
    for group in 0..groups(endpoints) {
        for is_ingress in [true, false] {
            let peers = if is_ingress { senders } else { receivers };
            let rules: Vec<Rule> = peers(group, endpoints).into_iter().map(rule).collect();
            let id = PolicyId {
                kind: PolicyKind::NetworkPolicy,
                namespace: Some("bench".to_owned()),
                name: format!("{}{group}", if is_ingress { "in" } else { "out" }),
            };
            let policy = Policy {
                tier: Tier::Middle,
                subject: vec![selector(group)],
                ingress: is_ingress.then(|| rules.clone()),
                egress: (!is_ingress).then_some(rules),
                mode: Mode::Enforce,
                origin: Origin::default(),
                unread: Vec::new(),
            };
            world.policies.insert(id, policy);
        }
    }
    world
}

pub(super) fn local(endpoints: usize) -> Local {
    let each = (0..endpoints).map(|nth| {
        let device = device(nth).parse().expect("15 characters");
        (endpoint(nth, endpoints).0, device)
    });
    Local {
        endpoints: each.collect(),
        ..Local::default()
    }
}
