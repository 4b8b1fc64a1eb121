//! What readers make of objects, good and bad.

mod cluster_policy;
mod network_policy;
mod objects;
mod own;
mod written;

use super::*;
use crate::{Direction, EndpointSelector, Namespaces, Selector};

fn read(text: &str) -> Reading {
    let mut reader = Reader::new();
    reader.read("f.yaml", text).unwrap();
    reader.finish()
}

fn said(reading: &Reading) -> Vec<String> {
    reading.complaints.iter().map(ToString::to_string).collect()
}

/// The only policy of `text`, and what was said.
fn policy(text: &str) -> (Policy, Vec<String>) {
    let reading = read(text);
    let said = said(&reading);
    let mut policies = reading.world.policies.into_values();
    (policies.next().unwrap(), said)
}

fn network_policy(spec: &str) -> (Policy, Vec<String>) {
    policy(&format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: x}}\nspec: {spec}\n"
    ))
}

fn cluster_policy(spec: &str) -> (Policy, Vec<String>) {
    policy(&format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    ))
}

const ADMIN: &str = "tier: Admin, priority: 5, subject: {namespaces: {}}";

fn is_closed(policy: &Policy) -> bool {
    let is_empty = |direction| policy.rules(direction).is_some_and(<[Rule]>::is_empty);
    let denies = |direction| {
        let rules = policy.rules(direction).unwrap_or_default();
        rules.len() == 1
            && rules[0].action == Action::Deny
            && rules[0].peers == [Peer::Any]
            && rules[0].ports == [Port::Any]
    };
    let closed = |direction| match policy.tier {
        Tier::Middle => is_empty(direction),
        _ => denies(direction),
    };
    closed(Direction::Ingress) && closed(Direction::Egress)
}
