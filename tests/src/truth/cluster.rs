//! `ClusterNetworkPolicy`: network-policy-api's conformance tests by their short names, once for each tier.
//! Namespaces gryffindor, slytherin, hufflepuff and ravenclaw with two pods each, as there.

use bulkhead_model::Protocol;

use super::{Ask, Case, Draft, OTHER_NODE};

#[derive(Clone, Copy, Eq, PartialEq)]
enum Tier {
    Admin,
    Baseline,
}

impl Tier {
    const fn name(self) -> &'static str {
        match self {
            Self::Admin => "Admin",
            Self::Baseline => "Baseline",
        }
    }
}

/// The first port of a protocol, and the second.
const fn ports(protocol: Protocol) -> [u16; 2] {
    match protocol {
        Protocol::Tcp => [80, 8080],
        Protocol::Udp => [53, 5353],
        Protocol::Sctp => [9003, 9005],
    }
}

fn named(name: &str) -> Draft {
    let all = Protocol::ALL
        .into_iter()
        .flat_map(|protocol| ports(protocol).map(|port| (protocol, port)));
    Draft::of(
        &format!("cnp: {name}"),
        &["gryffindor", "hufflepuff", "ravenclaw", "slytherin"],
        &["p0", "p1"],
        all.collect(),
    )
}

fn of(tier: Tier, name: &str) -> Draft {
    named(&format!("CNP{}Tier{name}", tier.name()))
}

fn subject(house: &str) -> String {
    format!("subject: {{namespaces: {{matchLabels: {{kubernetes.io/metadata.name: {house}}}}}}}")
}

fn house(name: &str) -> String {
    format!("{{namespaces: {{matchLabels: {{ns: {name}}}}}}}")
}

fn number(protocol: Protocol, port: u16) -> String {
    format!("{{{protocol}: {{destinationPort: {{number: {port}}}}}}}")
}

/// Rules as the conformance tests have them: ravenclaw may, slytherin may not but for one port, hufflepuff
/// may on one port only, each by its own rules in order.
fn houses(protocol: Protocol, other: &str) -> String {
    let [first, second] = ports(protocol);
    let [one, two] = [number(protocol, first), number(protocol, second)];
    let rule = |action: &str, name: &str, ports: &str| {
        format!("{{action: {action}, {other}: [{}]{ports}}}", house(name))
    };
    [
        rule("Accept", "ravenclaw", ""),
        rule("Accept", "slytherin", &format!(", protocols: [{one}]")),
        rule("Deny", "slytherin", ""),
        rule("Accept", "hufflepuff", &format!(", protocols: [{two}]")),
        rule("Deny", "hufflepuff", &format!(", protocols: [{one}]")),
    ]
    .join(", ")
}

/// What those rules deny to, or from, a pod of `name`.
fn denied_of(name: &str, protocol: Protocol, ask: &Ask<'_>) -> bool {
    let [first, _] = ports(protocol);
    let is_first = ask.protocol == protocol && ask.port == first;
    match name {
        "slytherin" => !is_first,
        "hufflepuff" => is_first,
        _ => false,
    }
}

fn by_protocol(cases: &mut Vec<Case>, tier: Tier) {
    for protocol in Protocol::ALL {
        let kind = protocol.to_string().to_uppercase();
        let head = format!(
            "tier: {}, priority: 10, {}",
            tier.name(),
            subject("gryffindor")
        );
        cases.push(
            of(tier, &format!("Ingress{kind}"))
                .cluster(
                    "c",
                    &format!("{{{head}, ingress: [{}]}}", houses(protocol, "from")),
                )
                .step(
                    move |ask| {
                        ask.to_ns() == "gryffindor" && denied_of(ask.from_ns(), protocol, ask)
                    },
                    |_| false,
                )
                .end(),
        );
        cases.push(
            of(tier, &format!("Egress{kind}"))
                .cluster(
                    "c",
                    &format!("{{{head}, egress: [{}]}}", houses(protocol, "to")),
                )
                .step(
                    |_| false,
                    move |ask| {
                        ask.from_ns() == "gryffindor" && denied_of(ask.to_ns(), protocol, ask)
                    },
                )
                .end(),
        );
        let [first, second] = ports(protocol);
        let range = format!(
            "[{{{protocol}: {{destinationPort: {{range: {{start: {first}, end: {}}}}}}}}}]",
            second - 1
        );
        cases.push(
            of(tier, &format!("PortRange{kind}"))
                .cluster(
                    "c",
                    &format!(
                        "{{{head}, ingress: [{{action: Deny, from: [{}], protocols: {range}}}]}}",
                        house("slytherin")
                    ),
                )
                .step(
                    move |ask| {
                        ask.to_ns() == "gryffindor"
                            && ask.from_ns() == "slytherin"
                            && ask.protocol == protocol
                            && ask.port == first
                    },
                    |_| false,
                )
                .end(),
        );
    }
}

fn by_tier(cases: &mut Vec<Case>, tier: Tier) {
    let head = format!(
        "tier: {}, priority: 10, {}",
        tier.name(),
        subject("gryffindor")
    );
    let gryffindor_in = |ask: &Ask<'_>| ask.to_ns() == "gryffindor";
    let gryffindor_out = |ask: &Ask<'_>| ask.from_ns() == "gryffindor";
    by_protocol(cases, tier);
    cases.push(
        of(tier, "Gress")
            .cluster(
                "c",
                &format!(
                    "{{{head}, ingress: [{}], egress: [{}]}}",
                    houses(Protocol::Tcp, "from"),
                    houses(Protocol::Udp, "to")
                ),
            )
            .step(
                move |ask| gryffindor_in(ask) && denied_of(ask.from_ns(), Protocol::Tcp, ask),
                move |ask| gryffindor_out(ask) && denied_of(ask.to_ns(), Protocol::Udp, ask),
            )
            .end(),
    );
    cases.push(
        of(tier, "IngressNamedPort")
            .cluster("c", &format!("{{{head}, ingress: [{{action: Accept, from: [{{namespaces: {{}}}}], protocols: [{{destinationNamedPort: serve-80-tcp}}]}}, {{action: Deny, from: [{{namespaces: {{}}}}]}}]}}"))
            .step(move |ask| gryffindor_in(ask) && ask.is_from_pod() && !ask.tcp(80), |_| false)
            .end(),
    );
    cases.push(
        of(tier, "EgressNamedPort")
            .cluster("c", &format!("{{{head}, egress: [{{action: Accept, to: [{{namespaces: {{}}}}], protocols: [{{destinationNamedPort: serve-53-udp}}]}}, {{action: Deny, to: [{{namespaces: {{}}}}]}}]}}"))
            .step(|_| false, move |ask| gryffindor_out(ask) && ask.is_to_pod() && !ask.udp(53))
            .end(),
    );
    cases.push(
        of(tier, "EgressNodePeers")
            .cluster("c", &format!("{{{head}, egress: [{{action: Accept, to: [{{nodes: {{matchLabels: {{role: gate}}}}}}], protocols: [{}]}}, {{action: Deny, to: [{{nodes: {{}}}}]}}]}}", number(Protocol::Tcp, 80)))
            .step(|_| false, move |ask| gryffindor_out(ask) && matches!(ask.to, "node" | "other-node") && !(ask.to == OTHER_NODE && ask.tcp(80)))
            .end(),
    );
    cases.push(
        of(tier, "EgressInlineCIDRPeers")
            .cluster("c", &format!("{{{head}, egress: [{{action: Accept, to: [{{networks: ['10.0.2.1/32', '203.0.113.0/24']}}]}}, {{action: Deny, to: [{{networks: ['0.0.0.0/0']}}]}}]}}"))
            .step(|_| false, move |ask| gryffindor_out(ask) && !matches!(ask.to, "hufflepuff/p0" | "outside"))
            .end(),
    );
    cases.push(
        of(tier, "PodSelector")
            .cluster("c", &format!("{{tier: {}, priority: 10, subject: {{pods: {{namespaceSelector: {{matchLabels: {{ns: gryffindor}}}}, podSelector: {{matchLabels: {{pod: p0}}}}}}}}, ingress: [{{action: Deny, from: [{{pods: {{namespaceSelector: {{matchLabels: {{ns: slytherin}}}}, podSelector: {{matchLabels: {{pod: p1}}}}}}}}]}}]}}", tier.name()))
            .step(|ask| ask.to == "gryffindor/p0" && ask.from == "slytherin/p1", |_| false)
            .end(),
    );
    cases.push(
        of(tier, "OmittedNamespaceSelector")
            .cluster("c", &format!("{{{head}, ingress: [{{action: Deny, from: [{{pods: {{podSelector: {{matchLabels: {{pod: p1}}}}}}}}]}}]}}"))
            .step(move |ask| gryffindor_in(ask) && ask.from_pod() == "p1", |_| false)
            .end(),
    );
    cases.push(
        of(tier, "Isolation")
            .cluster("c", &format!("{{{head}, ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}], egress: [{{action: Deny, to: [{{namespaces: {{}}}}]}}]}}"))
            .step(move |ask| gryffindor_in(ask) && ask.is_from_pod(), move |ask| gryffindor_out(ask) && ask.is_to_pod())
            .end(),
    );
    let denying = |house_of: &str, from: &str| {
        format!(
            "{{tier: {}, priority: 15, {}, ingress: [{{action: Deny, from: [{}], protocols: [{}]}}]}}",
            tier.name(),
            subject(house_of),
            house(from),
            number(Protocol::Tcp, 80)
        )
    };
    cases.push(
        of(tier, "SamePriority")
            .cluster("one", &denying("gryffindor", "slytherin"))
            .cluster("two", &denying("gryffindor", "hufflepuff"))
            .cluster("three", &denying("hufflepuff", "slytherin"))
            .step(
                |ask| {
                    ask.tcp(80)
                        && matches!(
                            (ask.from_ns(), ask.to_ns()),
                            ("slytherin" | "hufflepuff", "gryffindor")
                                | ("slytherin", "hufflepuff")
                        )
                },
                |_| false,
            )
            .end(),
    );
}

fn admin_alone() -> Vec<Case> {
    let head = |priority: u16| {
        format!(
            "tier: Admin, priority: {priority}, {}",
            subject("gryffindor")
        )
    };
    let all =
        |action: &str| format!("ingress: [{{action: {action}, from: [{{namespaces: {{}}}}]}}]");
    let into = |ask: &Ask<'_>| ask.to_ns() == "gryffindor";
    let base_deny = format!(
        "{{tier: Baseline, priority: 0, {}, {}}}",
        subject("gryffindor"),
        all("Deny")
    );
    vec![
        named("CNPAdminTierPriorityField")
            .cluster("old", &format!("{{{}, {}}}", head(10), all("Deny")))
            .step(move |ask| into(ask) && ask.is_from_pod(), |_| false)
            .cluster("new", &format!("{{{}, {}}}", head(5), all("Accept")))
            .step(|_| false, |_| false)
            .cluster("new", &format!("{{{}, {}}}", head(20), all("Accept")))
            .step(move |ask| into(ask) && ask.is_from_pod(), |_| false)
            .end(),
        // A pod of the house asks a service of the house, and may be handed to itself.
        named("CNPAdminTierHairpin")
            .cluster(
                "c",
                &format!(
                    "{{{}, ingress: [{{name: deny-own, action: Deny, from: [{}]}}]}}",
                    head(15),
                    house("gryffindor")
                ),
            )
            .step(
                move |ask| into(ask) && ask.from_ns() == "gryffindor",
                |_| false,
            )
            .with_hairpins()
            .end(),
        named("CNPAdminTierIntegration")
            // Admin denies whatever the others say.
            .cluster("admin", &format!("{{{}, {}}}", head(10), all("Deny")))
            .policy(
                "gryffindor",
                "p",
                "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}",
            )
            .cluster("base", &base_deny)
            .step(into, |_| false)
            // It passes: the middle tier decides, for better and for worse.
            .cluster("admin", &format!("{{{}, {}}}", head(10), all("Pass")))
            .step(move |ask| into(ask) && !ask.is_from_pod(), |_| false)
            .policy(
                "gryffindor",
                "p",
                "{podSelector: {}, policyTypes: [Ingress]}",
            )
            .step(into, |_| false)
            // Without the middle tier, baseline decides.
            .delete("gryffindor/p")
            .step(move |ask| into(ask) && ask.is_from_pod(), |_| false)
            .delete("base")
            .step(|_| false, |_| false)
            .end(),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    by_tier(&mut cases, Tier::Admin);
    by_tier(&mut cases, Tier::Baseline);
    cases.extend(admin_alone());
    cases
}
