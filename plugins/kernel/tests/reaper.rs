//! A process that stays: its reaper, and a kernel that serves one container after another.

mod common;

use std::time::Duration;

use bulkhead_kernel::{Deletion, Kernel, Netns, Reaper, Wait};
use bulkhead_model::LinkGroup;
use bulkhead_plan::{Ns, Plan, Scope};
use common::*;
use netns_fixtures::wait_for;

const IN_TIME: Duration = Duration::from_secs(40);
const PORT: &str = "bhpabcdefghijkl";
const OTHER: &str = "bhpmnopqrstuvwx";

fn deleting(links: &[&str]) -> Plan {
    Plan::new(links.iter().map(|link| del_link(&Ns::Host, link)).collect())
}

#[test]
fn what_is_waited_for_is_gone_when_the_plan_returns() {
    let bed = Bed::new();
    let deletion = Deletion::Reaper(Reaper::new(), Wait::Gone);
    for _ in 0..8 {
        bed.host.ip("link add br0 type bridge").unwrap();
        bed.apply(vec![add_veth(PORT, None, &bed.inside(), "eth0")]);
        let both = deleting(&[PORT, "br0"]);
        bed.run_with(deletion.clone(), |kernel| kernel.apply(&both).unwrap());
        for gone in [PORT, "br0"] {
            assert!(!bed.host.has_link(gone).unwrap());
        }
        assert!(!bed.container.has_link("eth0").unwrap());
    }
}

/// Nobody needs the names of a port whose container is gone; those of a bridge are needed.
#[test]
fn what_nobody_waits_for_goes_in_the_end_and_a_bridge_at_once() {
    let bed = Bed::new();
    let deletion = Deletion::Reaper(Reaper::new(), Wait::Doomed);
    for port in [PORT, OTHER] {
        bed.host
            .ip(&format!("link add {port} type veth peer x{}", &port[..5]))
            .unwrap();
    }
    bed.host.ip("link add br0 type bridge").unwrap();
    bed.run_with(deletion, |kernel| {
        for port in [PORT, OTHER] {
            kernel.apply(&deleting(&[port])).unwrap();
        }
        kernel.apply(&deleting(&["br0"])).unwrap();
        assert!(!bed.host.has_link("br0").unwrap());
        for port in [PORT, OTHER] {
            let gone = || (!bed.host.has_link(port).unwrap()).then_some(());
            wait_for("the port to be reaped", IN_TIME, gone);
        }
    });
}

/// A doomed port is waited for after all when its names are needed again.
#[test]
fn a_doomed_port_can_be_waited_for() {
    let bed = Bed::new();
    let reaper = Reaper::new();
    for _ in 0..8 {
        bed.apply(vec![add_veth(PORT, None, &bed.inside(), "eth0")]);
        let doomed = Deletion::Reaper(reaper.clone(), Wait::Doomed);
        bed.run_with(doomed, |kernel| {
            kernel.apply(&deleting(&[PORT])).unwrap();
            kernel.set_deletion(Deletion::Reaper(reaper.clone(), Wait::Gone));
            if let Err(error) = kernel.apply(&deleting(&[PORT])) {
                assert!(error.is_stale(), "{error:?}");
            }
        });
        assert!(!bed.host.has_link(PORT).unwrap());
    }
}

#[test]
fn a_sweep_deletes_what_an_earlier_process_doomed_and_nobody_elses() {
    let bed = Bed::new();
    let doomed = LinkGroup::DOOMED.0;
    let add = |name: &str, mac: &str, group: u32| {
        format!(
            "link add {name} address {mac} group {group} type veth peer y{}",
            &name[3..8]
        )
    };
    bed.host
        .ip_batch(&[
            add(PORT, "fe:00:00:00:00:01", doomed),
            add(OTHER, "02:00:00:00:00:02", doomed),
            add("bhpyzyzyzyzyzyz", "fe:00:00:00:00:03", LinkGroup::OWNED.0),
            add("stranger", "fe:00:00:00:00:04", doomed),
        ])
        .unwrap();
    let swept = bed.host.enter(|| Reaper::new().sweep().unwrap()).unwrap();
    assert_eq!(swept, [name(PORT)]);
    assert!(!bed.host.has_link(PORT).unwrap());
    for stays in [OTHER, "bhpyzyzyzyzyzyz", "stranger"] {
        assert!(bed.host.has_link(stays).unwrap(), "{stays}");
    }
}

/// However many calls it serves, it holds what the host's namespace needs and no more.
#[test]
fn a_kernel_that_stays_keeps_the_hosts_sockets_and_nobody_elses() {
    let bed = Bed::new();
    let held = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let serve = |kernel: &mut Kernel| {
        kernel.admit(bed.inside(), Netns::open(bed.container.path()).unwrap());
        kernel
            .apply(&Plan::new(vec![add_veth(
                PORT,
                None,
                &bed.inside(),
                "eth0",
            )]))
            .unwrap();
        let world = kernel.observe(&bed.scope(&[PORT], &["eth0"])).unwrap();
        assert!(world.space(&bed.inside()).links.contains_key(&name("eth0")));
        kernel.apply(&deleting(&[PORT])).unwrap();
        kernel.dismiss();
        assert!(kernel.observe(&bed.scope(&[], &["eth0"])).is_err());
    };
    bed.run_with(Deletion::Blocking, |kernel| {
        serve(kernel);
        let once = held();
        for _ in 0..4 {
            serve(kernel);
        }
        assert_eq!(held(), once);
        let mut scope = Scope::default();
        scope.space(&Ns::Host).links = names(&["lo"]);
        let world = kernel.observe(&scope).unwrap();
        assert!(world.space(&Ns::Host).links.contains_key(&name("lo")));
    });
}
