//! `bulkhead install` and `bulkhead uninstall` in directories of the test's own. What is installed
//! is a file that says it is a plugin executable of ours, or, where it has to run, the built one.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::store::{Book, When};
use common::{Ran, Scratch, golden, plugins};

const DIRS: &str = "--bin-dir $DIR/bin --conf-dir $DIR/net.d";
const SOURCES: &str = "--bin-dir $DIR/bin --conf-dir $DIR/net.d --state-dir $DIR/state";
const SYSCTL: &str = "sysctl.d/60-bulkhead.conf";
const CONF: &str = "net.d/10-bulkhead.conflist";
const DEFAULT: &str = include_str!("../../../deploy/cri/10-bulkhead.conflist");

/// A release: an executable that answers to three names, one of which other suites ship too.
fn release(scratch: &Scratch, dir: &str, version: &str) {
    let names = "bulkhead-bridge bulkhead-ipam loopback";
    let text = format!("\x7fELF {version}\nbulkhead-cni answers to: {names}\n");
    scratch.write(&format!("{dir}/bulkhead-cni"), &text);
}

/// A node's directories, and a release beside them.
fn node() -> Scratch {
    let scratch = Scratch::new();
    release(&scratch, "one", "one");
    scratch
}

fn install(scratch: &Scratch, rest: &str) -> Ran {
    scratch.bulkhead(&format!("install {DIRS} {rest}"))
}

fn uninstall(scratch: &Scratch, rest: &str) -> Ran {
    scratch.bulkhead(&format!(
        "uninstall {SOURCES} --sysctl $DIR/{SYSCTL} {rest}"
    ))
}

/// Everything below the directory: inode, time of the last change of contents and of the inode.
fn everything(dir: &Path) -> Vec<(PathBuf, u64, i64, i64, i64, i64)> {
    let mut all = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            let m = fs::symlink_metadata(&path).unwrap();
            if m.is_dir() {
                dirs.push(path.clone());
            }
            all.push((
                path,
                m.ino(),
                m.mtime(),
                m.mtime_nsec(),
                m.ctime(),
                m.ctime_nsec(),
            ));
        }
    }
    all.sort();
    all
}

fn read(scratch: &Scratch, path: &str) -> String {
    fs::read_to_string(scratch.path(path)).unwrap()
}

#[test]
fn a_new_node_gets_one_file_under_every_name_and_the_configuration() {
    let scratch = node();
    golden(
        "install.json",
        &install(&scratch, "--from $DIR/one -o json").ok(),
    );
    let names = scratch.names("bin");
    assert_eq!(names, ["bulkhead-bridge", "bulkhead-ipam", "loopback"]);
    let inode = |name: &String| {
        let metadata = fs::metadata(scratch.path("bin").join(name)).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.nlink()),
            (0o755, 3),
            "{name}"
        );
        metadata.ino()
    };
    assert!(names.iter().all(|name| inode(name) == inode(&names[0])));
    assert_eq!(scratch.names("net.d"), ["10-bulkhead.conflist"]);
    assert_eq!(read(&scratch, CONF), DEFAULT);
    let mode = fs::metadata(scratch.path(CONF)).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o644);
    golden(
        "install-again.json",
        &install(&scratch, "--from $DIR/one -o json").ok(),
    );
}

#[test]
fn the_same_again_writes_nothing() {
    let scratch = node();
    install(&scratch, "--from $DIR/one").ok();
    let before = everything(&scratch.path("."));
    install(&scratch, "--from $DIR/one").ok();
    install(&scratch, "--from $DIR/one --force-conf").ok();
    // From what is installed, to what is installed.
    install(&scratch, "--from $DIR/bin").ok();
    assert_eq!(everything(&scratch.path(".")), before);
}

#[test]
fn without_a_source_it_is_taken_from_beside_the_command_else_from_what_is_installed() {
    let scratch = node();
    fs::create_dir(scratch.path("sbin")).unwrap();
    let command = scratch.path("sbin/bulkhead");
    // A copy that was just written is busy while another test's child still holds it open.
    fs::hard_link(env!("CARGO_BIN_EXE_bulkhead"), &command).unwrap();
    let run = || {
        let output = Command::new(&command)
            .args(["install", "--no-conf", "--bin-dir"])
            .arg(scratch.path("bin"))
            .output()
            .unwrap();
        output.status.code().unwrap()
    };
    assert_eq!(run(), 3);
    release(&scratch, "bin", "two");
    assert_eq!(run(), 0);
    assert_eq!(
        read(&scratch, "bin/bulkhead-ipam"),
        read(&scratch, "bin/bulkhead-cni")
    );
    release(&scratch, "sbin", "three");
    assert_eq!(run(), 0);
    assert_eq!(
        read(&scratch, "bin/bulkhead-ipam"),
        read(&scratch, "sbin/bulkhead-cni")
    );
}

#[test]
fn another_release_replaces_every_name_and_a_missing_one_comes_back() {
    let scratch = node();
    release(&scratch, "two", "two");
    install(&scratch, "--from $DIR/one --no-conf").ok();
    assert!(
        !scratch.path("net.d").exists(),
        "--no-conf touches no configuration"
    );
    fs::remove_file(scratch.path("bin/loopback")).unwrap();
    let before = fs::metadata(scratch.path("bin/bulkhead-ipam"))
        .unwrap()
        .ino();
    install(&scratch, "--from $DIR/one --no-conf").ok();
    let back = fs::metadata(scratch.path("bin/loopback")).unwrap();
    assert_eq!(back.ino(), before, "a name of the file that is there");
    install(&scratch, "--from $DIR/two --no-conf").ok();
    let two = read(&scratch, "two/bulkhead-cni");
    for name in scratch.names("bin") {
        assert_eq!(read(&scratch, &format!("bin/{name}")), two, "{name}");
    }
}

#[test]
fn a_dry_run_says_the_same_and_does_nothing() {
    let scratch = node();
    let before = everything(&scratch.path("."));
    let dry = install(&scratch, "--from $DIR/one --dry-run").ok();
    assert_eq!(everything(&scratch.path(".")), before);
    assert_eq!(dry, install(&scratch, "--from $DIR/one").ok());
    let before = everything(&scratch.path("."));
    let dry = uninstall(&scratch, "--dry-run").ok();
    assert_eq!(everything(&scratch.path(".")), before);
    assert_eq!(dry, uninstall(&scratch, "").ok());
}

#[test]
fn what_is_not_ours_is_refused_by_name_and_nothing_is_changed() {
    let scratch = node();
    release(&scratch, "two", "two");
    install(&scratch, "--from $DIR/one").ok();
    let name = |name: &str| scratch.path("bin").join(name);
    fs::remove_file(name("bulkhead-bridge")).unwrap();
    fs::create_dir(name("bulkhead-bridge")).unwrap();
    fs::write(name("bulkhead-ipam"), "#!/bin/sh\n").unwrap();
    let before = everything(&scratch.path("."));
    let (code, stderr) = install(&scratch, "--from $DIR/two").refused();
    assert_eq!(
        (code, stderr.as_str()),
        (
            1,
            "bulkhead: in the way and not ours: $DIR/bin/bulkhead-bridge (a directory), \
             $DIR/bin/bulkhead-ipam (a file); move it away\n"
        )
    );
    assert_eq!(everything(&scratch.path(".")), before);

    fs::remove_dir(name("bulkhead-bridge")).unwrap();
    std::os::unix::fs::symlink(name("loopback"), name("bulkhead-bridge")).unwrap();
    let (code, stderr) = install(&scratch, "--from $DIR/two").refused();
    assert!(
        code == 1 && stderr.contains("bulkhead-bridge (a symbolic link)"),
        "{stderr}"
    );

    let scratch = node();
    fs::create_dir_all(scratch.path(CONF)).unwrap();
    let (code, stderr) = install(&scratch, "--from $DIR/one --force-conf").refused();
    assert!(
        code == 1 && stderr.contains("$DIR/net.d/10-bulkhead.conflist (a directory)"),
        "{stderr}"
    );
}

#[test]
fn a_name_that_other_suites_ship_is_left_to_them() {
    let scratch = node();
    scratch.write("bin/loopback", "\x7fELF of the reference plugins");
    let rows = install(&scratch, "--from $DIR/one").ok();
    assert!(rows.contains("left"), "{rows}");
    assert_eq!(
        read(&scratch, "bin/loopback"),
        "\x7fELF of the reference plugins"
    );
    assert_eq!(scratch.names("bin").len(), 3);
    uninstall(&scratch, "").ok();
    assert_eq!(scratch.names("bin"), ["loopback"]);
}

#[test]
fn what_an_earlier_run_left_is_removed() {
    let scratch = node();
    scratch.write("bin/.bulkhead-install-1-0", "half");
    scratch.write("net.d/.bulkhead-install-1-0", "half");
    let rows = install(&scratch, "--from $DIR/one").ok();
    assert_eq!(rows.matches("leftover").count(), 2, "{rows}");
    assert_eq!(scratch.names("bin").len(), 3);
    assert_eq!(scratch.names("net.d").len(), 1);
}

#[test]
fn a_configuration_that_is_there_is_left_and_said_so() {
    let scratch = node();
    let changed = DEFAULT.replace("10.244.", "10.9.");
    scratch.write(CONF, &changed);
    let rows = install(&scratch, "--from $DIR/one").ok();
    assert!(
        rows.contains("differs from what would be written; --force-conf replaces it"),
        "{rows}"
    );
    assert_eq!(read(&scratch, CONF), changed);
    install(&scratch, "--from $DIR/one --force-conf").ok();
    assert_eq!(read(&scratch, CONF), DEFAULT);

    scratch.write(CONF, "{");
    let rows = install(&scratch, "--from $DIR/one").ok();
    assert!(rows.contains("not JSON"), "{rows}");
    assert_eq!(read(&scratch, CONF), "{");
}

#[test]
fn a_network_that_is_configured_elsewhere_is_not_configured_twice() {
    let scratch = node();
    scratch.write("net.d/99-mine.conflist", DEFAULT);
    let rows = install(&scratch, "--from $DIR/one").ok();
    assert!(
        rows.contains("network bulkhead is configured in $DIR/net.d/99-mine.conflist"),
        "{rows}"
    );
    assert_eq!(scratch.names("net.d"), ["99-mine.conflist"]);
    let (code, stderr) = install(&scratch, "--from $DIR/one --force-conf").refused();
    assert_eq!(
        (code, stderr.as_str()),
        (
            1,
            "bulkhead: network bulkhead is configured in $DIR/net.d/99-mine.conflist too: remove \
             that first, or leave out --force-conf\n"
        )
    );
}

#[test]
fn who_is_read_before_ours_is_named() {
    let scratch = node();
    scratch.write(
        "net.d/05-cbr0.conflist",
        &DEFAULT.replace("\"bulkhead\"", "\"cbr0\""),
    );
    let rows = install(&scratch, "--from $DIR/one").ok();
    assert!(
        rows.contains("attach pods to $DIR/net.d/05-cbr0.conflist, which they read first"),
        "{rows}"
    );
}

#[test]
fn a_configuration_that_would_fail_is_refused_before_anything_is_changed() {
    let scratch = node();
    let plugin = |kind: &str| {
        format!(
            r#"{{"name":"blue","plugins":[{{"type":"bulkhead-bridge","ipam":{{"type":"{kind}"}}}}]}}"#
        )
    };
    for (file, text, code, expected) in [
        (
            "broken.conflist",
            "{".to_owned(),
            4,
            "$DIR/net.d/broken.conflist: not JSON",
        ),
        (
            "nameless.conflist",
            "{}".to_owned(),
            4,
            "not a network: name: missing",
        ),
        (
            "dhcp.conflist",
            plugin("dhcp"),
            1,
            "$DIR/net.d/dhcp.conflist names plugin \"dhcp\", which is not in $DIR/bin",
        ),
        (
            "ours.yaml",
            plugin("bulkhead-ipam"),
            2,
            ".conflist, .conf or .json",
        ),
    ] {
        scratch.write(file, &text);
        let ran = install(&scratch, &format!("--from $DIR/one --conf $DIR/{file}"));
        let (found, stderr) = ran.refused();
        assert_eq!(found, code, "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
        assert_eq!(scratch.names("bin"), [""; 0], "{file}");
        assert_eq!(scratch.names("net.d"), [""; 0], "{file}");
    }
    scratch.write("blue.conflist", &plugin("bulkhead-ipam"));
    install(&scratch, "--from $DIR/one --conf $DIR/blue.conflist").ok();
    assert_eq!(
        read(&scratch, "net.d/blue.conflist"),
        plugin("bulkhead-ipam")
    );
    uninstall(&scratch, "--conf $DIR/blue.conflist").ok();
    assert_eq!(scratch.names("net.d"), [""; 0]);
}

#[test]
fn a_source_without_our_executable_is_named() {
    let scratch = node();
    fs::create_dir(scratch.path("empty")).unwrap();
    let (code, stderr) = install(&scratch, "--from $DIR/empty").refused();
    assert_eq!(
        (code, stderr.as_str()),
        (
            3,
            "bulkhead: there is no plugin executable bulkhead-cni or bulkhead-bridge in \
             $DIR/empty; name its directory by --from\n"
        )
    );
    scratch.write("empty/bulkhead-bridge", "#!/bin/sh\n");
    let (code, stderr) = install(&scratch, "--from $DIR/empty").refused();
    assert!(
        code == 4 && stderr.contains("is no plugin executable of bulkhead"),
        "{stderr}"
    );
    assert!(!scratch.path("bin").exists());
}

#[test]
fn uninstall_takes_away_what_is_ours_and_is_repeatable() {
    let scratch = node();
    scratch.write("bin/bridge", "\x7fELF of the reference plugins");
    scratch.write("bin/.bulkhead-install-1-0", "half");
    scratch.write(
        "net.d/90-other.conflist",
        &DEFAULT.replace("bulkhead", "other"),
    );
    install(&scratch, "--from $DIR/one").ok();
    scratch.write("bin/.bulkhead-install-1-0", "half");
    golden("uninstall.json", &uninstall(&scratch, "-o json").ok());
    assert_eq!(scratch.names("bin"), ["bridge"]);
    assert_eq!(scratch.names("net.d"), ["90-other.conflist"]);
    let nothing = "ACTION  KIND  PATH  NOTE\n";
    assert_eq!(uninstall(&scratch, "").ok(), nothing);
    let elsewhere = "uninstall --bin-dir $DIR/a --conf-dir $DIR/b --state-dir $DIR/c";
    assert_eq!(scratch.bulkhead(elsewhere).ok(), nothing);
}

#[test]
fn a_configuration_that_was_changed_is_left_and_named() {
    let scratch = node();
    install(&scratch, "--from $DIR/one").ok();
    let changed = DEFAULT.replace("10.244.", "10.9.");
    scratch.write(CONF, &changed);
    let rows = uninstall(&scratch, "").ok();
    assert!(
        rows.contains("runtimes that choose it find no bulkhead-bridge"),
        "{rows}"
    );
    assert_eq!(read(&scratch, CONF), changed);
    assert_eq!(scratch.names("bin"), [""; 0]);
}

#[test]
fn uninstall_is_refused_while_attachments_are_recorded() {
    let scratch = node();
    install(&scratch, "--from $DIR/one").ok();
    let state = scratch.path("state");
    let book = Book::foreign(&state, "bulkhead");
    book.attach("c1", None, 0, When::ThisBoot);
    book.attach("c2", None, 1, When::EarlierBoot);
    let before = everything(&scratch.path("bin"));
    let (code, stderr) = uninstall(&scratch, "").refused();
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with("bulkhead: 2 attachments are recorded: "),
        "{stderr}"
    );
    for name in ["bulkhead c1 eth0", "bulkhead c2 eth0"] {
        assert!(stderr.contains(name), "{stderr}");
    }
    assert_eq!(everything(&scratch.path("bin")), before);
    assert!(scratch.path(CONF).exists());
    book.detach("c1", 2, "del");
    assert!(
        uninstall(&scratch, "")
            .refused()
            .1
            .starts_with("bulkhead: 1 attach")
    );
    uninstall(&scratch, "--force").ok();
    assert_eq!(scratch.names("bin"), [""; 0]);
    assert_eq!(scratch.names("net.d"), [""; 0]);
}

/// The directory with the built plugin executable.
fn built(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("BULKHEAD_BIN_DIR").map(PathBuf::from);
    plugins(test, dir, &["bulkhead-bridge"])
}

/// What a plugin answers to VERSION.
fn version(path: &Path) -> std::io::Result<serde_json::Value> {
    let output = Command::new(path)
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::null())
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn the_built_executable_serves_under_each_name_it_is_installed_by() {
    let test = "the_built_executable_serves_under_each_name_it_is_installed_by";
    let Some(dir) = built(test) else { return };
    let scratch = Scratch::new();
    install(&scratch, &format!("--from {}", dir.display())).ok();
    let names = scratch.names("bin");
    for ours in ["bulkhead-bridge", "bulkhead-ipam"] {
        assert!(names.iter().any(|name| name == ours), "{names:?}");
    }
    for name in names {
        let answer = version(&scratch.path("bin").join(&name)).unwrap();
        assert!(answer["supportedVersions"].is_array(), "{name}: {answer}");
    }
}

/// A runtime does nothing but exec while releases take turns under the name.
#[test]
fn a_runtime_that_execs_meanwhile_gets_one_release_or_the_other() {
    const ROUNDS: u32 = 8;
    let test = "a_runtime_that_execs_meanwhile_gets_one_release_or_the_other";
    let Some(dir) = built(test) else { return };
    let scratch = Scratch::new();
    let one = fs::read(dir.join("bulkhead-bridge")).unwrap();
    // What follows an ELF image is not loaded.
    let two = [one.as_slice(), b"two"].concat();
    for (release, bytes) in [("one", one), ("two", two)] {
        fs::create_dir(scratch.path(release)).unwrap();
        fs::write(scratch.path(release).join("bulkhead-cni"), bytes).unwrap();
    }
    install(&scratch, "--from $DIR/one --no-conf").ok();
    let plugin = scratch.path("bin/bulkhead-bridge");
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let runtime = threads.spawn(|| {
            let mut calls = 0;
            while !over.load(Ordering::Relaxed) {
                let answer = version(&plugin).expect("a whole executable stands there");
                assert!(answer["supportedVersions"].is_array(), "{answer}");
                calls += 1;
            }
            calls
        });
        for _ in 0..ROUNDS {
            for release in ["two", "one"] {
                let before = fs::metadata(&plugin).unwrap().ino();
                install(&scratch, &format!("--from $DIR/{release} --no-conf")).ok();
                assert_ne!(fs::metadata(&plugin).unwrap().ino(), before);
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(runtime.join().unwrap() > 0);
    });
}

#[test]
fn room_for_neighbours_is_written_if_asked_for_and_goes_again() {
    let scratch = node();
    let asked = format!("--from $DIR/one --sysctl=$DIR/{SYSCTL}");
    install(&scratch, "--from $DIR/one").ok();
    assert!(!scratch.path(SYSCTL).exists(), "nobody asked for it");
    let dry = install(&scratch, &format!("{asked} --dry-run"));
    assert!(dry.stdout.contains("60-bulkhead.conf"), "{}", dry.stdout);
    assert!(!scratch.path(SYSCTL).exists());
    let said = install(&scratch, &asked);
    assert!(
        said.stdout.contains("for the next boot; sysctl -p "),
        "{}",
        said.stdout
    );
    let text = read(&scratch, SYSCTL);
    for line in [
        "net.ipv4.neigh.default.gc_thresh3 = 16384",
        "net.ipv6.neigh.default.gc_thresh3 = 16384",
    ] {
        assert!(text.lines().any(|known| known == line), "{text}");
    }
    let before = everything(&scratch.path("sysctl.d"));
    install(&scratch, &asked).ok();
    assert_eq!(everything(&scratch.path("sysctl.d")), before, "unchanged");
    let first = text.lines().next().unwrap();
    scratch.write(SYSCTL, &format!("{first}\nan earlier release's\n"));
    install(&scratch, &asked).ok();
    assert_eq!(read(&scratch, SYSCTL), text, "replaced");
    uninstall(&scratch, "").ok();
    assert!(!scratch.path(SYSCTL).exists());
}

#[test]
fn settings_of_somebody_else_are_left() {
    let scratch = node();
    scratch.write(SYSCTL, "net.ipv4.neigh.default.gc_thresh3 = 5\n");
    let said = install(&scratch, &format!("--from $DIR/one --sysctl=$DIR/{SYSCTL}"));
    assert!(said.stdout.contains("somebody else's"), "{}", said.stdout);
    uninstall(&scratch, "").ok();
    assert_eq!(
        read(&scratch, SYSCTL),
        "net.ipv4.neigh.default.gc_thresh3 = 5\n"
    );
}
