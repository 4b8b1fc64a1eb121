//! Who is there, and who may talk to whom: groups of ten, each of which may be reached by three others on three
//! ports, and may reach three others. Policies beyond one for each group and direction allow other ports.

use std::fmt;
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

pub(super) fn selector(group: usize) -> EndpointSelector {
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
        prefixes: std::collections::BTreeSet::new(),
        ports: std::collections::BTreeSet::new(),
        node: Some(NodeName::new("bench")),
        place: Place::Port,
    };
    (id, endpoint)
}

/// How much is written, and about how many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size {
    /// How many endpoints.
    pub endpoints: usize,
    /// How many policies.
    pub policies: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            endpoints,
            policies,
        } = self;
        write!(f, "{endpoints} endpoints, {policies} policies")
    }
}

impl Size {
    /// A policy for each group and direction.
    #[must_use]
    pub fn of(endpoints: usize) -> Self {
        Self {
            endpoints,
            policies: groups(endpoints) * 2,
        }
    }
}

pub(super) fn port(port: u16) -> Port {
    Port::Range {
        protocol: Protocol::Tcp,
        ports: PortRange::one(port),
    }
}

pub(super) fn allow(peers: Vec<Peer>, ports: Vec<Port>) -> Rule {
    Rule {
        action: Action::Allow,
        peers,
        ports,
        name: None,
        line: None,
        unread: Vec::new(),
    }
}

/// A policy of the middle tier.
pub(super) fn policy(
    subject: EndpointSelector,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
) -> Policy {
    Policy {
        tier: Tier::Middle,
        subject: vec![subject],
        ingress,
        egress,
        mode: Mode::Enforce,
        origin: Origin::default(),
        unread: Vec::new(),
    }
}

pub(super) fn policy_id(namespace: &str, name: String) -> PolicyId {
    PolicyId {
        kind: PolicyKind::NetworkPolicy,
        namespace: Some(namespace.to_owned()),
        name,
    }
}

pub(super) fn world(size: Size) -> World {
    let Size {
        endpoints,
        policies,
    } = size;
    let mut world = World::default();
    world
        .endpoints
        .extend((0..endpoints).map(|nth| endpoint(nth, endpoints)));
    for nth in 0..policies {
        let (group, is_ingress) = ((nth / 2) % groups(endpoints), nth % 2 == 0);
        let turn = nth / 2 / groups(endpoints);
        let ports = match u16::try_from(turn) {
            Ok(0) | Err(_) => PORTS.map(port).to_vec(),
            Ok(turn) => vec![port(10_000 + turn)],
        };
        let peers = if is_ingress { senders } else { receivers };
        let rules = peers(group, endpoints)
            .into_iter()
            .map(|peer| allow(vec![Peer::Endpoints(selector(peer))], ports.clone()));
        let rules: Vec<Rule> = rules.collect();
        let way = if is_ingress { "in" } else { "out" };
        let id = policy_id("bench", format!("{way}{group}-{turn}"));
        let (ingress, egress) = if is_ingress {
            (Some(rules), None)
        } else {
            (None, Some(rules))
        };
        world
            .policies
            .insert(id, policy(selector(group), ingress, egress));
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
