//! Kubernetes' own tests, `test/e2e/network/netpol`, by name. The server is x/a throughout, as it is there.

use bulkhead_model::Protocol;

use super::{Ask, Case, Draft, case};

const A: &str = "podSelector: {matchLabels: {pod: a}}";

fn e2e(name: &str) -> Draft {
    case(&format!("e2e: {name}"))
}

fn into(name: &str, ingress: &str) -> Draft {
    e2e(name).policy(
        "x",
        "p",
        &format!("{{{A}, policyTypes: [Ingress], ingress: [{ingress}]}}"),
    )
}

fn to_a(ask: &Ask<'_>) -> bool {
    ask.to == "x/a"
}

fn peers() -> Vec<Case> {
    let none = |_: &Ask<'_>| false;
    vec![
        e2e("should support a 'default-deny-ingress' policy").policy("x", "p", "{podSelector: {}, policyTypes: [Ingress]}").step(|ask| ask.to_ns() == "x", none).end(),
        e2e("should support a 'default-deny-all' policy").policy("x", "p", "{podSelector: {}, policyTypes: [Ingress, Egress]}").step(|ask| ask.to_ns() == "x", |ask| ask.from_ns() == "x").end(),
        into("should enforce policy to allow traffic from pods within server namespace based on PodSelector", "{from: [{podSelector: {matchLabels: {pod: b}}}]}")
            .step(|ask| to_a(ask) && ask.from != "x/b", none).end(),
        e2e("should enforce policy to allow ingress traffic for a target")
            .policy("x", "deny", "{podSelector: {}, policyTypes: [Ingress]}")
            .policy("x", "allow", &format!("{{{A}, ingress: [{{from: [{{podSelector: {{matchLabels: {{pod: b}}}}}}]}}]}}"))
            .step(|ask| ask.to_ns() == "x" && !(to_a(ask) && ask.from == "x/b"), none).end(),
        into("should enforce policy to allow ingress traffic from pods in all namespaces", "{from: [{namespaceSelector: {}}]}").step(|ask| to_a(ask) && !ask.is_from_pod(), none).end(),
        into("should enforce policy to allow traffic only from a different namespace, based on NamespaceSelector", "{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}")
            .step(|ask| to_a(ask) && ask.from_ns() != "y", none).end(),
        into("should enforce policy based on PodSelector with MatchExpressions", "{from: [{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b]}]}}]}")
            .step(|ask| to_a(ask) && ask.from != "x/b", none).end(),
        into("should enforce policy based on NamespaceSelector with MatchExpressions", "{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: In, values: [y]}]}}]}")
            .step(|ask| to_a(ask) && ask.from_ns() != "y", none).end(),
        into("should enforce policy based on PodSelector or NamespaceSelector", "{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}, {podSelector: {matchLabels: {pod: b}}}]}")
            .step(|ask| to_a(ask) && !(matches!(ask.from_ns(), "y" | "z") || ask.from == "x/b"), none).end(),
        into("should enforce policy based on PodSelector and NamespaceSelector", "{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}, podSelector: {matchLabels: {pod: b}}}]}")
            .step(|ask| to_a(ask) && !matches!(ask.from, "y/b" | "z/b"), none).end(),
        into("should enforce policy based on Multiple PodSelectors and NamespaceSelectors", "{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}, podSelector: {matchExpressions: [{key: pod, operator: In, values: [b, c]}]}}]}")
            .step(|ask| to_a(ask) && !matches!(ask.from, "y/b" | "y/c" | "z/b" | "z/c"), none).end(),
        into("should enforce policy based on any PodSelectors", "{from: [{podSelector: {matchLabels: {pod: b}}}, {podSelector: {matchLabels: {pod: c}}}]}")
            .step(|ask| to_a(ask) && !matches!(ask.from, "x/b" | "x/c"), none).end(),
        into("should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector", "{from: [{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: a}}}]}")
            .step(|ask| to_a(ask) && ask.from != "y/a", none).end(),
        e2e("should deny ingress from pods on other namespaces").policy("x", "p", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}")
            .step(|ask| ask.to_ns() == "x" && ask.from_ns() != "x", none).end(),
        into("should enforce policy to allow traffic based on default namespace label MatchLabels", "{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: y}}}]}")
            .step(|ask| to_a(ask) && ask.from_ns() != "y", none).end(),
        into("should enforce policy to allow traffic based on default namespace label MatchExpressions", "{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [z]}]}}]}")
            .step(|ask| to_a(ask) && !matches!(ask.from_ns(), "x" | "y"), none).end(),
    ]
}

fn ports() -> Vec<Case> {
    let none = |_: &Ask<'_>| false;
    vec![
        into("should enforce policy based on Ports", "{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 81}]}")
            .step(|ask| to_a(ask) && !(ask.from_ns() == "y" && ask.tcp(81)), none).end(),
        into("should enforce multiple, stacked policies with overlapping podSelectors", "{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 81}]}")
            .step(|ask| to_a(ask) && !(ask.from_ns() == "y" && ask.tcp(81)), none)
            .policy("x", "q", &format!("{{{A}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{ns: y}}}}}}], ports: [{{port: 80}}]}}]}}"))
            .step(|ask| to_a(ask) && !(ask.from_ns() == "y" && ask.protocol == Protocol::Tcp), none).end(),
        into("should support allow-all policy", "{}").step(none, none).end(),
        into("should allow ingress access on one named port", "{ports: [{port: serve-81-tcp}]}").step(|ask| to_a(ask) && !ask.tcp(81), none).end(),
        into("should allow ingress access from namespace on one named port", "{from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: serve-81-tcp}]}")
            .step(|ask| to_a(ask) && !(ask.from_ns() == "y" && ask.tcp(81)), none).end(),
        e2e("should allow egress access on one named port").policy("x", "p", &format!("{{{A}, policyTypes: [Egress], egress: [{{ports: [{{port: serve-80-tcp}}]}}]}}"))
            .step(none, |ask| ask.from == "x/a" && !(ask.is_to_pod() && ask.tcp(80))).end(),
        into("should work with ingress on any port on a specific protocol", "{ports: [{protocol: TCP}]}").step(|ask| to_a(ask) && ask.protocol != Protocol::Tcp, none).end(),
        into("should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP', even if the plugin doesn't support SCTP", "{ports: [{protocol: SCTP, port: 81}]}")
            .step(|ask| to_a(ask) && !ask.sctp(81), none).end(),
        into("should properly isolate pods that are selected by a policy allowing SCTP, even if the plugin doesn't support SCTP", "{ports: [{protocol: SCTP, port: 80}]}")
            .step(|ask| to_a(ask) && !ask.sctp(80), none).end(),
        into("should not allow access by TCP when a policy specifies only UDP", "{ports: [{protocol: UDP, port: 81}]}").step(|ask| to_a(ask) && !ask.udp(81), none).end(),
    ]
}

fn changes() -> Vec<Case> {
    let none = |_: &Ask<'_>| false;
    vec![
        into("should enforce updated policy", "{}")
            .step(none, none)
            .policy("x", "p", "{podSelector: {}, policyTypes: [Ingress]}")
            .step(|ask| ask.to_ns() == "x", none)
            .end(),
        into(
            "should allow ingress access from updated namespace",
            "{from: [{namespaceSelector: {matchLabels: {ns2: updated}}}]}",
        )
        .step(to_a, none)
        .namespace("y", "ns: y, ns2: updated")
        .step(|ask| to_a(ask) && ask.from_ns() != "y", none)
        .end(),
        into(
            "should allow ingress access from updated pod",
            "{from: [{podSelector: {matchLabels: {pod2: updated}}}]}",
        )
        .step(to_a, none)
        .pod("x", "b", "pod: b, pod2: updated")
        .step(|ask| to_a(ask) && ask.from != "x/b", none)
        .end(),
        e2e("should deny ingress access to updated pod")
            .policy(
                "x",
                "p",
                "{podSelector: {matchLabels: {target: isolated}}, policyTypes: [Ingress]}",
            )
            .step(none, none)
            .pod("x", "a", "pod: a, target: isolated")
            .step(to_a, none)
            .end(),
        into(
            "should stop enforcing policies after they are deleted",
            "{from: [{podSelector: {matchLabels: {pod: q}}}]}",
        )
        .step(to_a, none)
        .delete("x/p")
        .step(none, none)
        .end(),
    ]
}

fn egress() -> Vec<Case> {
    let none = |_: &Ask<'_>| false;
    let out = |name: &str, egress: &str| {
        e2e(name).policy(
            "x",
            "p",
            &format!("{{{A}, policyTypes: [Egress], egress: [{egress}]}}"),
        )
    };
    let from_a = |ask: &Ask<'_>| ask.from == "x/a";
    vec![
        out("should deny egress from pods based on PodSelector", "").step(none, from_a).end(),
        e2e("should deny egress from all pods in a namespace").policy("x", "p", "{podSelector: {}, policyTypes: [Egress]}").step(none, |ask| ask.from_ns() == "x").end(),
        e2e("should work with Ingress, Egress specified together")
            .policy("x", "p", &format!("{{{A}, policyTypes: [Ingress, Egress], ingress: [{{from: [{{podSelector: {{matchLabels: {{pod: b}}}}}}]}}], egress: [{{ports: [{{port: 80}}]}}]}}"))
            .step(|ask| to_a(ask) && ask.from != "x/b", move |ask| from_a(ask) && !ask.tcp(80)).end(),
        e2e("should enforce egress policy allowing traffic to a server in a different namespace based on PodSelector and NamespaceSelector")
            .policy("x", "p", &format!("{{{A}, policyTypes: [Egress], egress: [{{to: [{{namespaceSelector: {{matchLabels: {{ns: y}}}}, podSelector: {{matchLabels: {{pod: a}}}}}}]}}]}}"))
            .step(none, move |ask| from_a(ask) && ask.to != "y/a").end(),
        e2e("should deny egress client-side even if the server allows")
            .policy("x", "out", &format!("{{{A}, policyTypes: [Egress], egress: [{{to: [{{namespaceSelector: {{matchLabels: {{ns: y}}}}, podSelector: {{matchLabels: {{pod: a}}}}}}]}}]}}"))
            .policy("y", "in-a", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: a}}}]}]}")
            .policy("y", "in-b", "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}, podSelector: {matchLabels: {pod: a}}}]}]}")
            .step(|ask| matches!(ask.to, "y/a" | "y/b") && ask.from != "x/a", move |ask| from_a(ask) && ask.to != "y/a").end(),
        e2e("should enforce multiple ingress policies with ingress allow-all policy taking precedence")
            .policy("x", "one", &format!("{{{A}, ingress: [{{ports: [{{port: 80}}]}}]}}")).step(|ask| to_a(ask) && !ask.tcp(80), none)
            .policy("x", "all", &format!("{{{A}, ingress: [{{}}]}}")).step(none, none).end(),
        out("should enforce multiple egress policies with egress allow-all policy taking precedence", "{ports: [{port: 80}]}").step(none, move |ask| from_a(ask) && !ask.tcp(80))
            .policy("x", "all", &format!("{{{A}, policyTypes: [Egress], egress: [{{}}]}}")).step(none, none).end(),
        out("should allow egress access to server in CIDR block", "{to: [{ipBlock: {cidr: '10.0.2.2/32'}}]}").step(none, move |ask| from_a(ask) && ask.to != "y/b").end(),
        out("should enforce except clause while egress access to server in CIDR block", "{to: [{ipBlock: {cidr: '10.0.2.0/24', except: ['10.0.2.2/32']}}]}")
            .step(none, move |ask| from_a(ask) && !matches!(ask.to, "y/a" | "y/c")).end(),
        out("should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed", "{to: [{ipBlock: {cidr: '10.0.2.0/24', except: ['10.0.2.2/32']}}]}")
            .step(none, move |ask| from_a(ask) && !matches!(ask.to, "y/a" | "y/c"))
            .policy("x", "q", &format!("{{{A}, policyTypes: [Egress], egress: [{{to: [{{ipBlock: {{cidr: '10.0.2.2/32'}}}}]}}]}}"))
            .step(none, move |ask| from_a(ask) && ask.to_ns() != "y").end(),
        e2e("should enforce policies to check ingress and egress policies can be controlled independently based on PodSelector")
            .policy("x", "out", &format!("{{{A}, policyTypes: [Egress], egress: [{{to: [{{podSelector: {{matchLabels: {{pod: b}}}}}}]}}]}}"))
            .policy("x", "in", &format!("{{{A}, policyTypes: [Ingress], ingress: []}}"))
            .step(to_a, move |ask| from_a(ask) && ask.to != "x/b").end(),
    ]
}

/// The same three for UDP and for SCTP.
fn by_protocol(protocol: Protocol) -> Vec<Case> {
    let kind = protocol.to_string().to_uppercase();
    let none = |_: &Ask<'_>| false;
    let named = |name: &str| e2e(&format!("{kind}: {name}"));
    vec![
        named("should support a 'default-deny-ingress' policy").policy("x", "p", "{podSelector: {}, policyTypes: [Ingress]}").step(|ask| ask.to_ns() == "x", none).end(),
        named("should enforce policy based on Ports")
            .policy("x", "p", &format!("{{{A}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{ns: y}}}}}}], ports: [{{port: 81, protocol: {kind}}}]}}]}}"))
            .step(move |ask| to_a(ask) && !(ask.from_ns() == "y" && ask.protocol == protocol && ask.port == 81), none).end(),
        named("should enforce policy to allow traffic only from a pod in a different namespace based on PodSelector and NamespaceSelector")
            .policy("x", "p", &format!("{{{A}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{ns: y}}}}, podSelector: {{matchLabels: {{pod: a}}}}}}], ports: [{{port: 80, protocol: {kind}}}]}}]}}"))
            .step(move |ask| to_a(ask) && !(ask.from == "y/a" && ask.protocol == protocol && ask.port == 80), none).end(),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = peers();
    cases.extend(ports());
    cases.extend(changes());
    cases.extend(egress());
    cases.extend(by_protocol(Protocol::Udp));
    cases.extend(by_protocol(Protocol::Sctp));
    // Of the API's own two, the one that is about enforcement.
    cases.push(
        into(
            "should support creating NetworkPolicy with endPort",
            "{ports: [{port: 80, endPort: 81}]}",
        )
        .step(|ask| to_a(ask) && ask.protocol != Protocol::Tcp, |_| false)
        .end(),
    );
    cases
}
