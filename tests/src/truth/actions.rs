//! Objects that come, change and go.

use super::{Ask, Case, case};

fn from_y(ask: &Ask<'_>) -> bool {
    ask.to == "x/a" && ask.from_ns() != "y"
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = policies_and_pods();
    cases.extend(namespaces());
    cases
}

const FROM_NS_Y: &str = "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}";
const FROM_POD_B: &str = "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {pod: b}}}]}]}";
const ISOLATED: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

fn policies_and_pods() -> Vec<Case> {
    vec![
        case("actions: create and delete a policy")
            .step(|_| false, |_| false)
            .policy("x", "p", FROM_NS_Y)
            .step(from_y, |_| false)
            .delete("x/p")
            .step(|_| false, |_| false)
            .end(),
        case("actions: update a policy")
            .policy("x", "p", FROM_NS_Y)
            .step(from_y, |_| false)
            .policy("x", "p", FROM_POD_B)
            .step(|ask| ask.to == "x/a" && ask.from_pod() != "b", |_| false)
            .policy(
                "x",
                "p",
                "{podSelector: {matchLabels: {pod: b}}, ingress: []}",
            )
            .step(|ask| ask.to == "x/b", |_| false)
            .end(),
        case("actions: a policy changes its direction")
            .policy("x", "p", "{podSelector: {}, policyTypes: [Ingress]}")
            .step(|ask| ask.to_ns() == "x", |_| false)
            .policy("x", "p", "{podSelector: {}, policyTypes: [Egress]}")
            .step(|_| false, |ask| ask.from_ns() == "x")
            .end(),
        case("actions: delete one of two policies")
            .policy("x", "one", "{podSelector: {}, policyTypes: [Ingress]}")
            .policy("x", "two", FROM_NS_Y)
            .step(
                |ask| ask.to_ns() == "x" && !(ask.to == "x/a" && ask.from_ns() == "y"),
                |_| false,
            )
            .delete("x/one")
            .step(from_y, |_| false)
            .end(),
        case("actions: a pod comes and goes")
            .policy("x", "p", FROM_POD_B)
            .step(|ask| ask.to == "x/a" && ask.from_pod() != "b", |_| false)
            .pod("y", "new", "pod: b")
            .step(
                |ask| ask.to == "x/a" && !matches!(ask.from_pod(), "b" | "new"),
                |_| false,
            )
            .delete_pod("y", "new")
            .delete_pod("z", "b")
            .step(|ask| ask.to == "x/a" && ask.from_pod() != "b", |_| false)
            .end(),
        case("actions: a pod comes under a policy that was there before it")
            .policy("x", "p", ISOLATED)
            .pod("x", "new", "pod: new")
            .step(|ask| ask.to_ns() == "x", |ask| ask.from_ns() == "x")
            .end(),
        case("actions: an address is given to another pod")
            .policy("x", "p", FROM_POD_B)
            .pod("y", "first", "pod: b")
            .step(
                |ask| ask.to == "x/a" && !matches!(ask.from_pod(), "b" | "first"),
                |_| false,
            )
            .delete_pod("y", "first")
            .pod("z", "second", "pod: q")
            .step(|ask| ask.to == "x/a" && ask.from_pod() != "b", |_| false)
            .end(),
        case("actions: a peer's labels change")
            .policy("x", "p", FROM_POD_B)
            .step(|ask| ask.to == "x/a" && ask.from_pod() != "b", |_| false)
            .pod("y", "a", "pod: b")
            .step(
                |ask| ask.to == "x/a" && ask.from_pod() != "b" && ask.from != "y/a",
                |_| false,
            )
            .pod("y", "b", "pod: q")
            .step(
                |ask| ask.to == "x/a" && !matches!(ask.from, "x/b" | "z/b" | "y/a"),
                |_| false,
            )
            .pod("y", "a", "pod: a")
            .pod("y", "b", "pod: b")
            .step(|ask| ask.to == "x/a" && ask.from_pod() != "b", |_| false)
            .end(),
        case("actions: a target's labels change")
            .policy(
                "x",
                "p",
                "{podSelector: {matchLabels: {role: db}}, policyTypes: [Ingress, Egress]}",
            )
            .step(|_| false, |_| false)
            .pod("x", "a", "pod: a, role: db")
            .step(|ask| ask.to == "x/a", |ask| ask.from == "x/a")
            .pod("x", "a", "pod: a, role: web")
            .step(|_| false, |_| false)
            .end(),
    ]
}

fn namespaces() -> Vec<Case> {
    vec![
        case("actions: a namespace's labels change")
            .policy("x", "p", FROM_NS_Y)
            .step(from_y, |_| false)
            .namespace("z", "ns: y")
            .step(|ask| ask.to == "x/a" && !matches!(ask.from_ns(), "y" | "z"), |_| false)
            .namespace("y", "ns: q")
            .step(|ask| ask.to == "x/a" && ask.from_ns() != "z", |_| false)
            .namespace("z", "team: z")
            .step(|ask| ask.to == "x/a", |_| false)
            .end(),
        case("actions: a namespace comes and goes")
            .policy("x", "p", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: In, values: [w, y]}]}}]}]}")
            .step(from_y, |_| false)
            .namespace("w", "ns: w")
            .pod("w", "a", "pod: a")
            .step(|ask| ask.to == "x/a" && !matches!(ask.from_ns(), "w" | "y"), |_| false)
            .delete_namespace("w")
            .step(from_y, |_| false)
            .delete_namespace("y")
            .step(|ask| ask.to == "x/a", |_| false)
            .end(),
        case("actions: a namespace goes with its policies")
            .policy("y", "p", ISOLATED)
            .step(|ask| ask.to_ns() == "y", |ask| ask.from_ns() == "y")
            .delete_namespace("y")
            .step(|_| false, |_| false)
            .end(),
    ]
}
