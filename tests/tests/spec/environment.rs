//! What a plugin says of its environment (CNI spec 1.1.0, "Parameters"), before any configuration.

use bulkhead_tests::Suite;
use netns_fixtures::Verb;
use serde_json::json;

use crate::claims;
use crate::node::{Node, refusal};

claims! {
    both:
        version_lists_what_is_supported,
        version_needs_no_input,
        called_by_hand_it_says_what_it_is,
        an_unknown_verb_is_refused,
        a_missing_variable_is_named,
        an_empty_variable_is_missing,
        all_missing_variables_are_named_at_once,
        an_impossible_container_id_is_refused,
        an_impossible_interface_name_is_refused;
    ours:
        every_version_is_supported,
        version_survives_garbage,
        a_missing_path_matters_to_no_one_who_delegates_nothing,
}

const VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

fn supported(node: &Node, plugin: &std::path::Path, stdin: &str) -> Vec<String> {
    let call = netns_fixtures::CniCall::new(plugin, Verb::Version)
        .without("CNI_PATH")
        .stdin(stdin);
    let answer = node.run(&call).result();
    assert!(answer["cniVersion"].is_string(), "{answer:#}");
    let versions = answer["supportedVersions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    versions
        .iter()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

fn version_lists_what_is_supported(suite: &Suite) {
    let node = Node::new(suite);
    for plugin in [suite.bridge(), suite.ipam()] {
        let versions = supported(&node, &plugin, r#"{"cniVersion":"1.0.0"}"#);
        assert!(versions.iter().any(|v| v == "0.4.0"), "{versions:?}");
    }
}

fn version_needs_no_input(suite: &Suite) {
    let node = Node::new(suite);
    let versions = supported(&node, &suite.bridge(), "");
    assert!(versions.iter().any(|v| v == "0.4.0"), "{versions:?}");
}

fn every_version_is_supported(suite: &Suite) {
    let node = Node::new(suite);
    for plugin in [suite.bridge(), suite.ipam()] {
        assert_eq!(
            supported(&node, &plugin, r#"{"cniVersion":"1.1.0"}"#),
            VERSIONS
        );
    }
}

fn version_survives_garbage(suite: &Suite) {
    let node = Node::new(suite);
    for garbage in ["{", "null", "[1]", "\u{0}\u{1}", "{\"cniVersion\": 7}"] {
        assert_eq!(
            supported(&node, &suite.bridge(), garbage),
            VERSIONS,
            "{garbage:?}"
        );
    }
}

fn called_by_hand_it_says_what_it_is(suite: &Suite) {
    let node = Node::new(suite);
    for command in [None, Some("")] {
        let mut program = std::process::Command::new(suite.bridge());
        program
            .env_clear()
            .envs(command.map(|value| ("CNI_COMMAND", value)));
        let limit = std::time::Duration::from_secs(10);
        let output = node.host.output(&mut program, b"", limit).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        assert!(output.stdout.is_empty());
        assert!(said.contains("0.4.0"), "{said}");
    }
}

fn an_unknown_verb_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("0.4.0");
    let call = node.call(Verb::Add, &config);
    for verb in ["FROB", "add", "ADD "] {
        let answer = node.run(&call.clone().env("CNI_COMMAND", verb));
        assert!(refusal(&answer, 4).contains(verb), "{answer:#?}");
    }
}

/// The variables that each verb needs (CNI spec 1.1.0, "CNI operations").
const NEEDED: [(Verb, &[&str]); 3] = [
    (Verb::Add, &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
    (Verb::Check, &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
    (Verb::Del, &["CNI_CONTAINERID", "CNI_IFNAME"]),
];

fn a_missing_variable_is_named(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("0.4.0");
    for (verb, needed) in NEEDED {
        for variable in needed {
            let answer = node.run(&node.call(verb, &config).without(variable));
            let said = refusal(&answer, 4);
            assert!(said.contains(variable), "{verb:?}: {said}");
        }
    }
    node.assert_nothing_left();
}

fn an_empty_variable_is_missing(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("0.4.0");
    for (verb, needed) in NEEDED {
        for variable in needed {
            let answer = node.run(&node.call(verb, &config).env(variable, ""));
            let said = refusal(&answer, 4);
            assert!(said.contains(variable), "{verb:?}: {said}");
        }
    }
}

fn all_missing_variables_are_named_at_once(suite: &Suite) {
    let node = Node::new(suite);
    let call = node.call(Verb::Add, &node.config("0.4.0"));
    let answer = node.run(&call.without("CNI_CONTAINERID").without("CNI_IFNAME"));
    let said = refusal(&answer, 4);
    assert!(
        said.contains("CNI_CONTAINERID") && said.contains("CNI_IFNAME"),
        "{said}"
    );
    assert!(!said.contains("CNI_NETNS"), "{said}");
}

fn an_impossible_container_id_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("0.4.0");
    for id in ["../etc", "-a", "a b", "a/b", "ä"] {
        refusal(
            &node.run(&node.call(Verb::Add, &config).container_id(id)),
            4,
        );
    }
    node.assert_nothing_left();
}

fn an_impossible_interface_name_is_refused(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("0.4.0");
    for name in [".", "..", "a/b", "a:b", "a b", "sixteencharacter"] {
        refusal(&node.run(&node.call(Verb::Add, &config).ifname(name)), 4);
    }
    node.assert_nothing_left();
}

fn a_missing_path_matters_to_no_one_who_delegates_nothing(suite: &Suite) {
    let node = Node::new(suite);
    let config = node.config("1.0.0");
    node.attach(&node.call(Verb::Add, &config).without("CNI_PATH"));
    let delete = node.run(&node.call(Verb::Del, &config).without("CNI_PATH"));
    assert_eq!(delete.json, None);
    node.assert_nothing_left();
    let gc = node.run(
        &node
            .call(Verb::Gc, &node.config("1.1.0"))
            .without("CNI_PATH")
            .stdin(&json!({"cniVersion": "1.1.0", "name": "net", "stateDir": node.state()})),
    );
    assert!(gc.succeeded(), "{gc:#?}");
}
