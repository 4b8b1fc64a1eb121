//! A call reaches the plugin as a runtime makes it, and its answer comes back whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use netns_fixtures::{CniCall, Host, NsError, Sandbox, Verb};
use serde_json::json;

/// A directory with one executable script, removed with the test.
struct Plugin(PathBuf);

impl Plugin {
    fn new(sandbox: &Sandbox, script: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("{}plugin", sandbox.stem()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("plugin");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        fs::remove_dir_all(self.0.parent().unwrap()).unwrap();
    }
}

fn setting(script: &str) -> (Sandbox, Host, Plugin) {
    let sandbox = Sandbox::new();
    let host = sandbox.host("host").unwrap();
    let plugin = Plugin::new(&sandbox, script);
    (sandbox, host, plugin)
}

#[test]
fn variables_and_configuration_arrive_in_the_host_s_namespace() {
    let (sandbox, host, plugin) = setting(
        r#"printf '{"verb":"%s","id":"%s","if":"%s","args":"%s","netns":"%s","path":"%s","home":"%s","ns":"%s","in":%s}' \
        $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME "$CNI_ARGS" $CNI_NETNS $CNI_PATH "$HOME" \
        $(readlink /proc/self/ns/net) "$(cat)"; echo said >&2"#,
    );
    let container = sandbox.container("c").unwrap();
    let answer = CniCall::new(&plugin.0, Verb::Add)
        .container_id("c1")
        .netns(container.path())
        .ifname("eth0")
        .args("K=V")
        .stdin(&json!({"name": "n"}))
        .run(&host)
        .unwrap();
    let inside = host.sh("readlink /proc/self/ns/net").unwrap();
    assert_eq!(
        answer.result(),
        json!({
            "verb": "ADD", "id": "c1", "if": "eth0", "args": "K=V", "home": "",
            "netns": container.path(), "path": plugin.0.parent(), "ns": inside.trim(),
            "in": {"name": "n"},
        })
    );
    assert_eq!(answer.stderr, "said\n");
}

#[test]
fn a_refusal_is_an_answer_with_its_code() {
    let (_sandbox, host, plugin) = setting(r#"echo '{"code":7,"msg":"no"}'; exit 1"#);
    let answer = CniCall::new(&plugin.0, Verb::Check).run(&host).unwrap();
    assert_eq!((answer.exit_code, answer.error_code()), (Some(1), Some(7)));
    assert!(!answer.succeeded());
}

#[test]
fn a_variable_left_out_is_unset() {
    let (_sandbox, host, plugin) = setting(r#"echo "\"${CNI_PATH-unset}\"""#);
    let call = CniCall::new(&plugin.0, Verb::Version).without("CNI_PATH");
    assert_eq!(call.run(&host).unwrap().result(), json!("unset"));
}

#[test]
fn a_plugin_that_hangs_is_ended() {
    let (_sandbox, host, plugin) = setting("exec sleep 600");
    let call = CniCall::new(&plugin.0, Verb::Del).limit(Duration::from_millis(100));
    assert!(matches!(call.run(&host), Err(NsError::Process { .. })));
}
