//! The support bundle: an archive that others read, without what is secret.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::Scratch;
use common::store::{Book, When};

const PLACES: &str = "--conf-dir $DIR/net.d --state-dir $DIR/state --config $DIR/bulkheadd.toml";

fn tar(scratch: &Scratch, args: &[&str]) -> String {
    let output = Command::new("tar")
        .args(args)
        .current_dir(scratch.path("."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_bundle_has_what_helps_and_no_secret() {
    let scratch = Scratch::new();
    scratch.write(
        "net.d/10-blue.conflist",
        r#"{"cniVersion":"1.0.0","name":"blue","plugins":[{"type":"ptp","token":"s3cret-1"}]}"#,
    );
    scratch.write("net.d/20-broken.conflist", r#"{"password":"s3cret-2""#);
    scratch.write(
        "bulkheadd.toml",
        "# s3cret-3\n[etcd]\npassword = \"s3cret-4\"\nprefix = \"/x\"\n",
    );
    let state = scratch.path("state");
    let book = Book::own(&state, "blue", r#"{"subnet":"10.1.0.0/24"}"#);
    book.attach(
        "c1",
        Some(Path::new("/proc/self/ns/net")),
        1,
        When::ThisBoot,
    );
    scratch.write("state/calls/c1", "s3cret-5");
    let said = scratch
        .bulkhead(&format!("support-bundle $DIR/bundle.tar.gz {PLACES}"))
        .ok();
    assert!(said.starts_with("$DIR/bundle.tar.gz: "), "{said}");
    let mode = fs::metadata(scratch.path("bundle.tar.gz"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let names = tar(&scratch, &["tzf", "bundle.tar.gz"]);
    for name in [
        "/config/bulkheadd.toml\n",
        "/config/net.d/10-blue.conflist\n",
        "/state/files.txt\n",
        "/state/networks/blue/journal\n",
        "/commands/leases.json\n",
        "/commands/status.json\n",
        "/commands/doctor.json\n",
        "/missing.txt\n",
    ] {
        assert!(names.contains(name), "{name}: {names}");
    }
    let all = tar(&scratch, &["xzOf", "bundle.tar.gz"]);
    assert!(!all.contains("s3cret"), "{all}");
    for said in [
        "etcd.prefix = \"/x\"",
        "20-broken.conflist: it is no JSON",
        "daemon: no node daemon has the state directory",
        "calls/c1",
        "\"10.1.0.2/24\"",
    ] {
        assert!(all.contains(said), "{said}: {all}");
    }
    assert!(!scratch.names(".").contains(&"bundle.tar.gz.new".to_owned()));
}

#[test]
fn a_place_where_it_cannot_be_is_refused_at_once() {
    let scratch = Scratch::new();
    let (code, stderr) = scratch
        .bulkhead(&format!("support-bundle $DIR/none/bundle.tar.gz {PLACES}"))
        .refused();
    assert_eq!(
        (code, stderr.as_str()),
        (
            4,
            "bulkhead: cannot write $DIR/none/bundle.tar.gz.new: No such file or directory (os error 2)\n"
        )
    );
}
