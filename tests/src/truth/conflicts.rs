//! Policies that say different things: what any allows is allowed.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let deny = "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress], ingress: []}";
    let allow = "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress], ingress: [{}]}";
    let deny_out = "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: []}";
    let allow_out = "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{}]}";
    vec![
        case("conflicts: deny all and allow all ingress").policy("x", "deny", deny).policy("x", "allow", allow).step(|_| false, |_| false).end(),
        case("conflicts: allow all and deny all ingress").policy("x", "a-allow", allow).policy("x", "z-deny", deny).step(|_| false, |_| false).end(),
        case("conflicts: deny all and allow all egress").policy("x", "deny", deny_out).policy("x", "allow", allow_out).step(|_| false, |_| false).end(),
        case("conflicts: deny all and allow by pod")
            .policy("x", "deny", deny)
            .policy("x", "allow", "{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}")
            .step(|ask| ask.to_ns() == "x" && ask.from != "x/b", |_| false)
            .end(),
        case("conflicts: deny all and allow by block")
            .policy("x", "deny", deny)
            .policy("x", "allow", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: '0.0.0.0/0'}}]}]}")
            .step(|_| false, |_| false)
            .end(),
        case("conflicts: one's exception is another's block")
            .policy("x", "one", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: '10.0.2.0/24', except: ['10.0.2.0/30']}}]}]}")
            .policy("x", "two", "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: '10.0.2.2/32'}}]}]}")
            .step(|ask| ask.to == "x/a" && ask.from != "y/b", |_| false)
            .end(),
        case("conflicts: allowed out and denied in")
            .policy("x", "out", allow_out)
            .policy("y", "in", "{podSelector: {}, policyTypes: [Ingress]}")
            .step(|ask| ask.to_ns() == "y", |_| false)
            .end(),
        case("conflicts: denied out and allowed in")
            .policy("x", "out", deny_out)
            .policy("y", "in", "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}")
            .step(|_| false, |ask| ask.from == "x/a")
            .end(),
        case("conflicts: allowed on one port each")
            .policy("x", "one", "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}")
            .policy("x", "two", "{podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 81}]}]}")
            .step(|ask| ask.to_ns() == "x" && !(ask.tcp(80) || ask.to == "x/a" && ask.tcp(81)), |_| false)
            .end(),
        case("conflicts: isolated each way by another policy")
            .policy("x", "in", deny)
            .policy("x", "out", deny_out)
            .step(|ask| ask.to == "x/a", |ask| ask.from == "x/a")
            .end(),
    ]
}
