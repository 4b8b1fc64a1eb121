//! What is linked may be linked: every dependency's licence is one that deny.toml allows.

use std::fs;

use bulkhead_tests::licence::is_allowed;
use bulkhead_tests::workspace::{Graph, root};

/// The strings of `allow = [...]` under `[licenses]`.
fn allowed_licences(deny: &str) -> Vec<String> {
    let (_, section) = deny
        .split_once("[licenses]")
        .expect("deny.toml has a section [licenses]");
    let (_, list) = section
        .split_once("allow = [")
        .expect("[licenses] has a list `allow`");
    let (list, _) = list.split_once(']').expect("the list ends");
    let quoted = list.split('"').skip(1).step_by(2);
    quoted.map(str::to_owned).collect()
}

#[test]
fn every_dependency_is_under_an_allowed_licence() {
    let deny = fs::read_to_string(root().join("deny.toml")).expect("deny.toml is in the root");
    let allowed = allowed_licences(&deny);
    assert!(
        allowed.len() > 1,
        "nothing read from deny.toml: {allowed:?}"
    );
    let graph = Graph::load();
    let refused: Vec<String> = graph
        .packages()
        .filter(|p| {
            !p.licence
                .as_deref()
                .is_some_and(|l| is_allowed(l, &allowed))
        })
        .map(|p| format!("{} {}: {:?}", p.name, p.version, p.licence))
        .collect();
    assert!(graph.packages().count() > graph.members().count());
    assert!(
        refused.is_empty(),
        "not under a licence that deny.toml allows:\n{}",
        refused.join("\n")
    );
}
