//! Namespaces come, isolate, and go with everything in them.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use netns_fixtures::{Ns, NsError, Sandbox, wait_for};

const LIMIT: Duration = Duration::from_secs(40);

fn own_namespace() -> io::Result<PathBuf> {
    fs::read_link("/proc/thread-self/ns/net")
}

fn names_with(stem: &str) -> Vec<String> {
    let names = fs::read_dir("/run/netns").unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(stem)).collect()
}

#[test]
fn a_dropped_sandbox_leaves_neither_names_nor_processes() {
    let sandbox = Sandbox::new();
    let stem = sandbox.stem().to_owned();
    let ns = sandbox.ns("a").unwrap();
    sandbox.ns("b").unwrap();
    assert_eq!(names_with(&stem).len(), 2);
    let mut sleeper = ns.command("sleep").arg("600").spawn().unwrap();
    let inside = ns.enter(|| own_namespace().unwrap()).unwrap();
    let home = format!("/proc/{}/ns/net", sleeper.id());
    wait_for("nsenter to have entered", LIMIT, || {
        (fs::read_link(&home).unwrap() == inside).then_some(())
    });
    drop(sandbox);
    assert_eq!(names_with(&stem), Vec::<String>::new());
    let status = wait_for("the sleeper's end", LIMIT, || sleeper.try_wait().unwrap());
    assert!(!status.success());
}

#[test]
fn a_panicking_test_leaves_nothing() {
    let failed = thread::spawn(|| {
        let sandbox = Sandbox::new();
        sandbox.ns("a").unwrap();
        std::panic::panic_any(sandbox.stem().to_owned());
    });
    let stem = *failed.join().unwrap_err().downcast::<String>().unwrap();
    assert_eq!(names_with(&stem), Vec::<String>::new());
}

#[test]
fn a_namespace_can_go_before_its_sandbox() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("a").unwrap();
    sandbox.remove(&ns).unwrap();
    assert!(!ns.exists());
    assert!(matches!(ns.enter(|| ()), Err(NsError::System { .. })));
    sandbox.ns("a").unwrap();
}

#[test]
fn a_sweep_takes_what_the_dead_left_and_nothing_else() {
    let mut child = Command::new("true").spawn().unwrap();
    let dead = child.id();
    child.wait().unwrap();
    let stale = format!("bhfix-{dead}-0-stale");
    let living = format!("bhfix-1-{dead}-living");
    let foreign = format!("bhfixture-{dead}");
    for name in [&living, &foreign] {
        assert!(ip_netns("add", name), "{name}");
    }
    // Another test process may sweep while the name is made, or before this one does.
    wait_for("a stale namespace", LIMIT, || {
        ip_netns("add", &stale).then_some(())
    });
    Sandbox::sweep().unwrap();
    let left = [&stale, &living, &foreign].map(|name| !names_with(name).is_empty());
    for name in [&living, &foreign] {
        assert!(ip_netns("del", name), "{name}");
    }
    assert_eq!(left, [false, true, true]);
}

fn ip_netns(verb: &str, name: &str) -> bool {
    let status = Command::new("ip").args(["netns", verb, name]).status();
    status.unwrap().success()
}

#[test]
fn work_inside_sees_the_namespace_and_the_caller_stays_outside() {
    let before = own_namespace().unwrap();
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("a").unwrap();
    let inside = ns.enter(|| own_namespace().unwrap()).unwrap();
    assert_ne!(inside, before);
    assert_eq!(own_namespace().unwrap(), before);
    let ways = [
        ns.sh("readlink /proc/self/ns/net").unwrap(),
        text(ns.command("readlink").arg("/proc/self/ns/net")),
    ];
    for way in ways {
        assert_eq!(PathBuf::from(way.trim()), inside);
    }
}

fn text(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_panic_inside_goes_on_outside() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("a").unwrap();
    let caught = std::panic::catch_unwind(|| ns.enter(|| panic!("inside")));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"inside"));
}

#[test]
fn a_failing_command_is_quoted_with_its_words() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("a").unwrap();
    let error = ns.ip("link set nosuch up").unwrap_err().to_string();
    assert!(error.contains("ip link set nosuch up"), "{error}");
    assert!(error.contains("nosuch"), "{error}");
}

#[test]
fn sysctls_are_the_namespace_s_own() {
    let sandbox = Sandbox::new();
    let [a, b] = ["a", "b"].map(|name| sandbox.ns(name).unwrap());
    a.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
    b.set_sysctl("net/ipv4/ip_forward", "0").unwrap();
    let values = [&a, &b].map(|ns: &Ns| ns.sysctl("net/ipv4/ip_forward").unwrap());
    assert_eq!(values, ["1", "0"]);
}

#[test]
fn sandboxes_in_parallel_do_not_meet() {
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let sandbox = Sandbox::new();
                for name in ["a", "b", "c"] {
                    let ns = sandbox.ns(name).unwrap();
                    ns.ip("link add v0 type veth peer v1").unwrap();
                    assert!(ns.has_link("v1").unwrap());
                }
                assert_eq!(names_with(sandbox.stem()).len(), 3);
            });
        }
    });
}
