//! Namespaces that a network has for itself, made and mounted where everybody finds them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_plan::{Ns, Op, Plan, Scope};

/// A path that no other test has, without anything there once this goes.
struct Named(String);

impl Named {
    fn new(what: &str) -> Self {
        Self(format!("/run/netns/bhn-{what}-{}", std::process::id()))
    }

    fn ns(&self) -> Ns {
        Ns::Network(self.0.clone())
    }

    /// Device and inode of what is there; `None` if it is no namespace.
    fn found(&self) -> Option<(u64, u64)> {
        let found = std::fs::metadata(&self.0).ok()?;
        let own = std::fs::metadata("/proc/self/ns/net").ok()?;
        (found.dev() == own.dev()).then_some((found.dev(), found.ino()))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        drop(run(
            &mut Kernel::new(Deletion::Blocking),
            Op::DelNetns { ns: self.ns() },
        ));
    }
}

fn run(kernel: &mut Kernel, op: Op) -> Result<(), String> {
    let plan = Plan::new(vec![op]);
    kernel.apply(&plan).map_err(|error| format!("{error:?}"))
}

fn is_seen(kernel: &mut Kernel, ns: &Ns) -> (bool, bool) {
    let mut scope = Scope::default();
    scope.space(ns);
    let world = kernel.observe(&scope).unwrap();
    (world.spaces.contains_key(ns), world.named.contains(ns))
}

#[test]
fn a_namespace_that_loses_its_name_has_it_back_and_is_the_same() {
    let named = Named::new("back");
    let mut kernel = Kernel::new(Deletion::Blocking);
    assert_eq!(is_seen(&mut kernel, &named.ns()), (false, false));
    run(&mut kernel, Op::AddNetns { ns: named.ns() }).unwrap();
    assert_eq!(is_seen(&mut kernel, &named.ns()), (true, true));
    let first = named.found().unwrap();
    let name = Path::new(&named.0).file_name().unwrap();
    let deleted = std::process::Command::new("ip")
        .args(["netns", "del"])
        .arg(name)
        .status();
    assert!(deleted.unwrap().success());
    assert_eq!(is_seen(&mut kernel, &named.ns()), (true, false));
    run(&mut kernel, Op::AddNetns { ns: named.ns() }).unwrap();
    assert_eq!(named.found(), Some(first));
    run(&mut kernel, Op::DelNetns { ns: named.ns() }).unwrap();
    assert!(!Path::new(&named.0).exists());
    assert_eq!(is_seen(&mut kernel, &named.ns()), (false, false));
    // Gone is no error.
    run(&mut kernel, Op::DelNetns { ns: named.ns() }).unwrap();
}
