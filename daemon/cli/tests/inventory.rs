//! What `net` and `ipam` print of a configuration directory and a store, both made here. The texts
//! are in tests/golden; `BULKHEAD_BLESS=1` rewrites them.

mod common;

use std::path::Path;

use common::store::{Book, When};
use common::{Scratch, golden};

/// A namespace whose path leads to itself in every process of this machine's namespace.
const HERE: &str = "/proc/self/ns/net";

/// A day: what the test frees still cools down when it looks.
const DUAL: &str = r#"{"ranges":[[{"subnet":"10.88.0.0/24","rangeStart":"10.88.0.10","rangeEnd":"10.88.0.200"}],
    [{"subnet":"fd00:88::/64"}]],"exclude":["10.88.0.12-10.88.0.19"],"cooldownSecs":86400}"#;

const SOURCES: &str = "--conf-dir $DIR/net.d --state-dir $DIR/state";

fn conf(scratch: &Scratch) {
    scratch.write(
        "net.d/10-blue.conflist",
        r#"{"cniVersion":"1.1.0","cniVersions":["0.4.0","1.0.0"],"name":"blue","plugins":[
            {"type":"bulkhead-bridge","ipam":{"type":"bulkhead-ipam"}},{"type":"tuning"}]}"#,
    );
    scratch.write(
        "net.d/20-red.conflist",
        &format!(
            r#"{{"name":"red","plugins":[{{"type":"bridge","ipam":{{"type":"bulkhead-ipam","dataDir":"{}"}}}}]}}"#,
            scratch.text("other")
        ),
    );
    scratch.write("net.d/05-blue.conf", r#"{"name":"blue","type":"ptp"}"#);
    scratch.write("net.d/30-broken.conflist", r#"{"name":"grey""#);
    scratch.write(
        "net.d/40-nameless.conflist",
        r#"{"plugins":[{"type":"ptp"}]}"#,
    );
    scratch.write(
        "net.d/50-far.conflist",
        r#"{"cniVersion":"1.0.0","name":"far","plugins":[{"type":"macvlan","ipam":{"type":"host-local","dataDir":"/nowhere"}}]}"#,
    );
}

/// blue: one that lives, one of an earlier boot, one whose namespace is gone, one that was released
/// and whose address went on. red: another directory. lost: no configuration, layer 2 only.
fn store(scratch: &Scratch) {
    let (state, other) = (scratch.path("state"), scratch.path("other"));
    let blue = Book::own(&state, "blue", DUAL);
    let here = Some(Path::new(HERE));
    blue.attach("booted", None, 0, When::EarlierBoot);
    blue.attach(&"5".repeat(64), here, 1, When::ThisBoot);
    blue.attach("gone", None, 2, When::ThisBoot);
    blue.attach("past", here, 3, When::ThisBoot);
    blue.detach("past", 4, "del");
    let red = Book::own(
        &other,
        "red",
        r#"{"subnet":"10.88.0.0/28","gateway":"10.88.0.14"}"#,
    );
    red.attach("c1", here, 5, When::ThisBoot);
    Book::foreign(&state, "lost").attach("c2", here, 6, When::ThisBoot);
}

fn both() -> Scratch {
    let scratch = Scratch::new();
    conf(&scratch);
    store(&scratch);
    scratch
}

#[test]
fn networks_are_joined_with_the_store() {
    let scratch = both();
    golden(
        "net-ls.txt",
        &scratch.bulkhead(&format!("net ls {SOURCES}")).ok(),
    );
    golden(
        "net-ls.json",
        &scratch.bulkhead(&format!("net ls -o json {SOURCES}")).ok(),
    );
}

#[test]
fn leases_say_whether_their_holder_can_be_alive() {
    let scratch = both();
    golden(
        "ipam-ls.txt",
        &scratch.bulkhead(&format!("ipam ls {SOURCES}")).ok(),
    );
    let blue = format!("ipam ls blue --no-trunc {SOURCES}");
    golden("ipam-ls-blue.txt", &scratch.bulkhead(&blue).ok());
    let json = format!("ipam ls blue -o json {SOURCES}");
    golden("ipam-ls-blue.json", &scratch.bulkhead(&json).ok());
}

#[test]
fn a_pool_is_shown_with_how_much_is_taken() {
    let scratch = both();
    let show = |what: &str| {
        scratch
            .bulkhead(&format!("ipam show {what} {SOURCES}"))
            .ok()
    };
    golden("ipam-show-blue.txt", &show("blue"));
    golden("ipam-show-blue.json", &show("blue -o json"));
    golden("ipam-show-lost.txt", &show("lost"));
    golden("ipam-show-far.txt", &show("far"));
}

#[test]
fn an_address_has_a_holder_and_a_past_in_every_network_that_knows_it() {
    let scratch = both();
    let show = |what: &str| {
        scratch
            .bulkhead(&format!("ipam show {what} {SOURCES}"))
            .ok()
    };
    golden("ipam-show-held.txt", &show("10.88.0.10"));
    golden("ipam-show-released.txt", &show("fd00:88::5"));
    golden("ipam-show-released.json", &show("fd00:88::5 -o json"));
    let state_of = |address: &str| {
        let text = show(address);
        let states = text
            .lines()
            .filter_map(|line| line.strip_prefix("state      "));
        states.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(state_of("fd00:88::1"), ["gateway"]);
    assert_eq!(state_of("10.88.0.14"), ["excluded", "gateway"]);
    assert_eq!(state_of("10.88.0.201"), ["outside the ranges"]);
    assert_eq!(state_of("10.88.0.99"), ["not held"]);
}

#[test]
fn what_is_nowhere_is_not_found() {
    let scratch = both();
    let refused = |line: &str| scratch.bulkhead(&format!("{line} {SOURCES}")).refused();
    let unknown =
        "bulkhead: network green is neither configured in $DIR/net.d nor recorded in $DIR/state\n";
    assert_eq!(refused("ipam ls green"), (3, unknown.to_owned()));
    assert_eq!(refused("ipam show green"), (3, unknown.to_owned()));
    assert_eq!(
        refused("ipam show 192.0.2.1"),
        (
            3,
            "bulkhead: address 192.0.2.1 is in no recorded pool and no record of a lease\n"
                .to_owned()
        )
    );
    let ran = scratch.bulkhead(&format!("ipam show 192.0.2.1 -o json {SOURCES}"));
    assert_eq!((ran.code, ran.stdout.as_str()), (3, "[]\n"));
}

#[test]
fn nothing_configured_and_nothing_recorded_is_an_empty_table() {
    let scratch = Scratch::new();
    let net = scratch.bulkhead(&format!("net ls {SOURCES}")).ok();
    assert_eq!(
        net,
        "NETWORK  FILE  PLUGINS  CNI  ATTACHMENTS  ADDRESSES  NOTE\n"
    );
    let ipam = scratch.bulkhead(&format!("ipam ls -o json {SOURCES}")).ok();
    assert_eq!(ipam, "[]\n");
    assert_eq!(scratch.names("."), [""; 0], "looking creates nothing");
}

#[test]
fn a_store_that_cannot_be_read_is_named_and_hides_no_other() {
    let scratch = both();
    scratch.write("state/networks/blue/journal", "not a journal of ours");
    let ran = scratch.bulkhead(&format!("net ls {SOURCES}"));
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(
        ran.stderr.starts_with(
            "bulkhead: network blue: $DIR/state/networks/blue/journal is damaged at byte "
        ),
        "{ran:?}"
    );
    assert!(
        ran.stdout.contains("10.88.0.1-10.88.0.14: 1 held"),
        "red is listed: {ran:?}"
    );
    let ran = scratch.bulkhead(&format!("ipam ls {SOURCES}"));
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stdout.contains("lost "), "{ran:?}");
    scratch.write("file", "");
    let (code, stderr) = scratch.bulkhead("net ls --conf-dir $DIR/file").refused();
    assert_eq!(
        (code, stderr.as_str()),
        (
            4,
            "bulkhead: $DIR/file: cannot be read: Not a directory (os error 20)\n"
        )
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::{Command, Stdio};
    let scratch = both();
    let mut child = Command::new(env!("CARGO_BIN_EXE_bulkhead"))
        .args([
            "ipam",
            "ls",
            "--conf-dir",
            &scratch.text("net.d"),
            "--state-dir",
            &scratch.text("state"),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn a_wrong_command_line_is_2_and_help_lists_the_exit_codes() {
    let scratch = Scratch::new();
    for line in [
        "",
        "net",
        "net rm",
        "ipam show",
        "ipam show a/b",
        "net ls -o xml",
    ] {
        assert_eq!(scratch.bulkhead(line).refused().0, 2, "{line:?}");
    }
    for line in [
        "--help",
        "net --help",
        "ipam show --help",
        "cni add --help",
        "cni gc -h",
    ] {
        let help = scratch.bulkhead(line).ok();
        assert!(
            help.contains("\nExit codes:\n  0  done\n"),
            "{line:?}: {help}"
        );
    }
}
