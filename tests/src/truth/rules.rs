//! No rules, empty rules, and what a policy is about if it does not say.

use super::{Case, case};

pub(super) fn cases() -> Vec<Case> {
    let to_x = |spec: &str, name: &str| case(&format!("rules: {name}")).policy("x", "p", spec);
    vec![
        to_x("{podSelector: {}, policyTypes: [Ingress]}", "deny all ingress").step(|ask| ask.to_ns() == "x", |_| false).end(),
        to_x("{podSelector: {}, policyTypes: [Egress]}", "deny all egress").step(|_| false, |ask| ask.from_ns() == "x").end(),
        to_x("{podSelector: {}, policyTypes: [Ingress, Egress]}", "deny all").step(|ask| ask.to_ns() == "x", |ask| ask.from_ns() == "x").end(),
        to_x("{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}", "allow all ingress").step(|_| false, |_| false).end(),
        to_x("{podSelector: {}, policyTypes: [Egress], egress: [{}]}", "allow all egress").step(|_| false, |_| false).end(),
        to_x("{podSelector: {}, ingress: [{from: [], ports: []}]}", "empty lists allow all").step(|_| false, |_| false).end(),
        to_x("{podSelector: {}}", "without types, ingress").step(|ask| ask.to_ns() == "x", |_| false).end(),
        to_x("{podSelector: {}, egress: [{}]}", "without types, egress where it has rules").step(|ask| ask.to_ns() == "x", |_| false).end(),
        to_x("{podSelector: {}, egress: []}", "without types, no rules for egress are no egress").step(|ask| ask.to_ns() == "x", |_| false).end(),
        to_x("{podSelector: {}, policyTypes: [Ingress], ingress: [{}], egress: [{ports: [{port: 1}]}]}", "rules of a type it does not name").step(|_| false, |_| false).end(),
        to_x("{policyTypes: [Ingress]}", "without a selector, all pods").step(|ask| ask.to_ns() == "x", |_| false).end(),
    ]
}
