//! Whom a policy is about.

use super::{Ask, Case, case};

fn denied(name: &str, selector: &str, to: impl Fn(&Ask<'_>) -> bool + 'static) -> Case {
    case(&format!("targets: {name}"))
        .policy(
            "x",
            "p",
            &format!("{{podSelector: {selector}, policyTypes: [Ingress], ingress: []}}"),
        )
        .step(to, |_| false)
        .end()
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        denied("all pods of the namespace", "{}", |ask| ask.to_ns() == "x"),
        denied("by label", "{matchLabels: {pod: a}}", |ask| ask.to == "x/a"),
        denied("by an unknown label", "{matchLabels: {pod: q}}", |_| false),
        denied("by two labels", "{matchLabels: {pod: a, tier: db}}", |_| {
            false
        }),
        denied(
            "In",
            "{matchExpressions: [{key: pod, operator: In, values: [a, c]}]}",
            |ask| matches!(ask.to, "x/a" | "x/c"),
        ),
        denied(
            "NotIn",
            "{matchExpressions: [{key: pod, operator: NotIn, values: [a]}]}",
            |ask| matches!(ask.to, "x/b" | "x/c"),
        ),
        denied(
            "NotIn of a key nobody has",
            "{matchExpressions: [{key: tier, operator: NotIn, values: [a]}]}",
            |ask| ask.to_ns() == "x",
        ),
        denied(
            "Exists",
            "{matchExpressions: [{key: pod, operator: Exists}]}",
            |ask| ask.to_ns() == "x",
        ),
        denied(
            "DoesNotExist",
            "{matchExpressions: [{key: pod, operator: DoesNotExist}]}",
            |_| false,
        ),
        denied(
            "labels and expressions",
            "{matchLabels: {pod: a}, matchExpressions: [{key: pod, operator: NotIn, values: [a]}]}",
            |_| false,
        ),
        case("targets: another namespace's policy")
            .policy(
                "y",
                "p",
                "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress], ingress: []}",
            )
            .step(|ask| ask.to == "y/a", |_| false)
            .end(),
    ]
}
