//! Whom a rule is about: every combination of selectors, and blocks, in both directions.

use super::{Ask, Case, Draft, case};

#[derive(Clone, Copy, Eq, PartialEq)]
enum Selects {
    Nil,
    All,
    ByLabel,
    ByExpression,
}

const SELECTS: [Selects; 4] = [
    Selects::Nil,
    Selects::All,
    Selects::ByLabel,
    Selects::ByExpression,
];

impl Selects {
    fn text(self, field: &str, key: &str, value: &str) -> Option<String> {
        match self {
            Self::Nil => None,
            Self::All => Some(format!("{field}: {{}}")),
            Self::ByLabel => Some(format!("{field}: {{matchLabels: {{{key}: {value}}}}}")),
            Self::ByExpression => Some(format!(
                "{field}: {{matchExpressions: [{{key: {key}, operator: In, values: [{value}]}}]}}"
            )),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Nil => "none",
            Self::All => "empty",
            Self::ByLabel => "by label",
            Self::ByExpression => "by expression",
        }
    }
}

/// A rule about whom `means` says, in each direction.
fn both(cases: &mut Vec<Case>, name: &str, peers: &str, means: fn(&str, &str, &str) -> bool) {
    let ingress = case(&format!("peers: {name}, ingress"))
        .policy("x", "p", &format!("{{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: [Ingress], ingress: [{{from: [{peers}]}}]}}"))
        .step(move |ask| ask.to == "x/a" && !means(ask.from, ask.from_ns(), ask.from_pod()), |_| false)
        .end();
    let egress = case(&format!("peers: {name}, egress"))
        .policy("x", "p", &format!("{{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: [Egress], egress: [{{to: [{peers}]}}]}}"))
        .step(|_| false, move |ask| ask.from == "x/a" && !means(ask.to, ask.to_ns(), ask.to_pod()))
        .end();
    cases.extend([ingress, egress]);
}

fn selectors(cases: &mut Vec<Case>) {
    for pods in SELECTS {
        for namespaces in SELECTS {
            let parts = [
                pods.text("podSelector", "pod", "b"),
                namespaces.text("namespaceSelector", "ns", "y"),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            if parts.is_empty() {
                continue;
            }
            let means = move |namespace: &str, pod: &str| {
                let is_pod = !pod.is_empty();
                let of_pod = matches!(pods, Selects::Nil | Selects::All) || pod == "b";
                let of_namespace = match namespaces {
                    Selects::Nil => namespace == "x",
                    Selects::All => true,
                    Selects::ByLabel | Selects::ByExpression => namespace == "y",
                };
                is_pod && of_pod && of_namespace
            };
            let peer = format!("{{{}}}", parts.join(", "));
            let name = format!(
                "peers: pods {}, namespaces {}",
                pods.name(),
                namespaces.name()
            );
            let target = "podSelector: {matchLabels: {pod: a}}";
            cases.push(
                case(&format!("{name}, ingress"))
                    .policy(
                        "x",
                        "p",
                        &format!(
                            "{{{target}, policyTypes: [Ingress], ingress: [{{from: [{peer}]}}]}}"
                        ),
                    )
                    .step(
                        move |ask| ask.to == "x/a" && !means(ask.from_ns(), ask.from_pod()),
                        |_| false,
                    )
                    .end(),
            );
            cases.push(
                case(&format!("{name}, egress"))
                    .policy(
                        "x",
                        "p",
                        &format!("{{{target}, policyTypes: [Egress], egress: [{{to: [{peer}]}}]}}"),
                    )
                    .step(
                        |_| false,
                        move |ask| ask.from == "x/a" && !means(ask.to_ns(), ask.to_pod()),
                    )
                    .end(),
            );
        }
    }
}

fn blocks(cases: &mut Vec<Case>) {
    both(
        cases,
        "a block",
        "{ipBlock: {cidr: '10.0.2.0/24'}}",
        |_, namespace, _| namespace == "y",
    );
    both(
        cases,
        "a block with an exception",
        "{ipBlock: {cidr: '10.0.2.0/24', except: ['10.0.2.2/32']}}",
        |end, namespace, _| namespace == "y" && end != "y/b",
    );
    both(
        cases,
        "a block with two exceptions",
        "{ipBlock: {cidr: '10.0.0.0/16', except: ['10.0.2.0/24', '10.0.3.3/32']}}",
        |end, namespace, _| matches!(namespace, "x" | "z") && end != "z/c",
    );
    both(
        cases,
        "a block of one address",
        "{ipBlock: {cidr: '10.0.2.2/32'}}",
        |end, _, _| end == "y/b",
    );
    both(
        cases,
        "a block of everything",
        "{ipBlock: {cidr: '0.0.0.0/0'}}",
        |_, _, _| true,
    );
    both(
        cases,
        "a block of everything without the pods",
        "{ipBlock: {cidr: '0.0.0.0/0', except: ['10.0.0.0/8']}}",
        |end, _, _| !end.contains('/'),
    );
    both(
        cases,
        "a block outside",
        "{ipBlock: {cidr: '203.0.113.0/24'}}",
        |end, _, _| end == "outside",
    );
    both(
        cases,
        "a block of the other node",
        "{ipBlock: {cidr: '192.0.2.2/32'}}",
        |end, _, _| end == "other-node",
    );
}

fn several(cases: &mut Vec<Case>) {
    both(
        cases,
        "two pods",
        "{podSelector: {matchLabels: {pod: b}}}, {podSelector: {matchLabels: {pod: c}}}",
        |end, _, _| matches!(end, "x/b" | "x/c"),
    );
    both(
        cases,
        "pods or a namespace",
        "{podSelector: {matchLabels: {pod: b}}}, {namespaceSelector: {matchLabels: {ns: z}}}",
        |end, namespace, _| end == "x/b" || namespace == "z",
    );
    both(
        cases,
        "a block or pods",
        "{ipBlock: {cidr: '10.0.3.0/24', except: ['10.0.3.1/32']}}, {podSelector: {}}",
        |end, namespace, _| namespace == "x" || matches!(end, "z/b" | "z/c"),
    );
    both(
        cases,
        "a block, and another that means its exception",
        "{ipBlock: {cidr: '10.0.2.0/24', except: ['10.0.2.2/32']}}, {ipBlock: {cidr: '10.0.2.2/32'}}",
        |_, namespace, _| namespace == "y",
    );
    both(
        cases,
        "a block or a pod that is excepted from it",
        "{ipBlock: {cidr: '10.0.2.0/24', except: ['10.0.2.2/32']}}, {namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}",
        |_, namespace, _| namespace == "y",
    );
    both(
        cases,
        "nobody and somebody",
        "{podSelector: {matchLabels: {pod: q}}}, {namespaceSelector: {matchLabels: {ns: y}}}",
        |_, namespace, _| namespace == "y",
    );
    both(
        cases,
        "nobody",
        "{podSelector: {matchLabels: {pod: q}}}",
        |_, _, _| false,
    );
    both(
        cases,
        "every namespace but one",
        "{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}",
        |_, namespace, _| matches!(namespace, "y" | "z"),
    );
}

fn two_rules(cases: &mut Vec<Case>) {
    let with = |name: &str, rules: &str| -> Draft {
        case(&format!("peers: {name}")).policy("x", "p", &format!("{{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: [Ingress], ingress: [{rules}]}}"))
    };
    let to_a = |ask: &Ask<'_>| ask.to == "x/a";
    cases.push(
        with("each rule with a port of its own", "{from: [{podSelector: {matchLabels: {pod: b}}}], ports: [{port: 80}]}, {from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 81}]}")
            .step(move |ask| to_a(ask) && !(ask.from == "x/b" && ask.tcp(80) || ask.from_ns() == "y" && ask.tcp(81)), |_| false)
            .end(),
    );
    cases.push(
        with(
            "one of two rules is empty",
            "{from: [{podSelector: {matchLabels: {pod: b}}}], ports: [{port: 80}]}, {}",
        )
        .step(|_| false, |_| false)
        .end(),
    );
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    selectors(&mut cases);
    blocks(&mut cases);
    several(&mut cases);
    two_rules(&mut cases);
    cases
}
