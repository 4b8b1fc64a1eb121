//! What a rule is about: ports, ranges, names and protocols, in both directions.

use bulkhead_model::Protocol;

use super::{Ask, Case, case};

type About = fn(&Ask<'_>) -> bool;

/// Ports of a rule, and what they let through.
const PORTS: &[(&str, &str, About)] = &[
    ("any", "[]", |_| true),
    ("a number", "[{port: 80}]", |ask| ask.tcp(80)),
    ("a number of TCP", "[{port: 80, protocol: TCP}]", |ask| {
        ask.tcp(80)
    }),
    ("a number of UDP", "[{port: 80, protocol: UDP}]", |ask| {
        ask.udp(80)
    }),
    ("a number of SCTP", "[{port: 81, protocol: SCTP}]", |ask| {
        ask.sctp(81)
    }),
    ("a name", "[{port: serve-81-tcp}]", |ask| ask.tcp(81)),
    (
        "a name of UDP",
        "[{port: serve-80-udp, protocol: UDP}]",
        |ask| ask.udp(80),
    ),
    (
        "a name of SCTP",
        "[{port: serve-80-sctp, protocol: SCTP}]",
        |ask| ask.sctp(80),
    ),
    ("all of TCP", "[{protocol: TCP}]", |ask| {
        ask.protocol == Protocol::Tcp
    }),
    ("all of UDP", "[{protocol: UDP}]", |ask| {
        ask.protocol == Protocol::Udp
    }),
    ("all of SCTP", "[{protocol: SCTP}]", |ask| {
        ask.protocol == Protocol::Sctp
    }),
    ("nothing said", "[{}]", |ask| ask.protocol == Protocol::Tcp),
    ("a range", "[{port: 79, endPort: 80}]", |ask| ask.tcp(80)),
    ("a range of one", "[{port: 81, endPort: 81}]", |ask| {
        ask.tcp(81)
    }),
    (
        "a range of all",
        "[{port: 1, endPort: 65535, protocol: UDP}]",
        |ask| ask.protocol == Protocol::Udp,
    ),
    ("a range beside", "[{port: 82, endPort: 100}]", |_| false),
    ("two numbers", "[{port: 80}, {port: 81}]", |ask| {
        ask.protocol == Protocol::Tcp
    }),
    (
        "two protocols",
        "[{port: 80}, {port: 81, protocol: UDP}]",
        |ask| ask.tcp(80) || ask.udp(81),
    ),
    (
        "a name and a number",
        "[{port: serve-80-tcp}, {port: 81, protocol: SCTP}]",
        |ask| ask.tcp(80) || ask.sctp(81),
    ),
    (
        "a range and a protocol",
        "[{port: 80, endPort: 81}, {protocol: SCTP}]",
        |ask| ask.protocol != Protocol::Udp,
    ),
    (
        "a range and a number in it",
        "[{port: 80, endPort: 81}, {port: 80}]",
        |ask| ask.protocol == Protocol::Tcp,
    ),
    (
        "two ranges that overlap",
        "[{port: 1, endPort: 80}, {port: 80, endPort: 81}]",
        |ask| ask.protocol == Protocol::Tcp,
    ),
    (
        "pathological: a name of another protocol",
        "[{port: serve-80-udp, protocol: TCP}]",
        |_| false,
    ),
    (
        "pathological: a name that nobody has",
        "[{port: serve-82-tcp}]",
        |_| false,
    ),
    (
        "pathological: a number that nobody serves",
        "[{port: 7}]",
        |_| false,
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, ports, about) in PORTS {
        // A name is the destination's own, and what is no pod calls no port anything.
        let is_named = ports.contains("serve-");
        let target = "podSelector: {matchLabels: {pod: a}}";
        cases.push(
            case(&format!("ports: {name}, ingress"))
                .policy(
                    "x",
                    "p",
                    &format!("{{{target}, policyTypes: [Ingress], ingress: [{{ports: {ports}}}]}}"),
                )
                .step(move |ask| ask.to == "x/a" && !about(ask), |_| false)
                .end(),
        );
        cases.push(
            case(&format!("ports: {name}, ingress from a namespace"))
                .policy("x", "p", &format!("{{{target}, policyTypes: [Ingress], ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{ns: y}}}}}}], ports: {ports}}}]}}"))
                .step(move |ask| ask.to == "x/a" && !(ask.from_ns() == "y" && about(ask)), |_| false)
                .end(),
        );
        cases.push(
            case(&format!("ports: {name}, egress"))
                .policy(
                    "x",
                    "p",
                    &format!("{{{target}, policyTypes: [Egress], egress: [{{ports: {ports}}}]}}"),
                )
                .step(
                    |_| false,
                    move |ask| {
                        // Of a name and a number, what is outside has the number alone.
                        let is_number = ports.contains("port: 81, protocol: SCTP") && ask.sctp(81);
                        let is_meant = about(ask) && (ask.is_to_pod() || !is_named || is_number);
                        ask.from == "x/a" && !is_meant
                    },
                )
                .end(),
        );
    }
    cases
}
