//! What a run leaves that dies between any two steps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use super::configuration::{Configuration, Existing};
use super::executable::Executable;
use super::place::{Order, work};
use super::step::{Step, leftovers};

/// An empty directory, removed when dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("bulkhead-install-{}-{nth}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NAMES: [&str; 3] = ["bulkhead-bridge", "bulkhead-ipam", "loopback"];

fn executable(dir: &Path, release: &str) -> Executable {
    let names = NAMES.join(" ");
    let text = format!("\x7fELF{release}\nbulkhead-cni answers to: {names}\n");
    fs::write(dir.join("bulkhead-cni"), text).unwrap();
    Executable::find(&[dir]).unwrap()
}

fn conf(dir: &Path, subnet: &str) -> PathBuf {
    let text = format!(
        r#"{{"cniVersion":"1.0.0","name":"blue","plugins":[{{"type":"bulkhead-bridge",
            "ipam":{{"type":"bulkhead-ipam","subnet":"{subnet}"}}}}]}}"#
    );
    let path = dir.join("10-blue.conflist");
    fs::write(&path, text).unwrap();
    path
}

/// The files of a directory that runtimes look at.
fn visible(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .filter(|(name, _)| !name.starts_with('.'))
        .collect()
}

/// An order for `release` into directories of `temp`.
fn order(temp: &TempDir, release: &str, subnet: &str) -> Order {
    let file = conf(&temp.dir("source"), subnet);
    let configuration = Configuration::read(&temp.dir("net.d"), Some(&file)).unwrap();
    Order {
        executable: executable(&temp.dir("source"), release),
        bin_dir: temp.dir("bin"),
        configuration: Some((configuration, Existing::Replace)),
        sysctl: None,
    }
}

fn run(steps: &[Step]) {
    for step in steps {
        step.run().unwrap();
    }
}

/// Dies after `crash` steps of the upgrade from what `before` makes. Whether there were that many.
fn dies_after(crash: usize, before: impl FnOnce(&TempDir)) -> bool {
    let temp = TempDir::new();
    before(&temp);
    let (bin, net) = (temp.dir("bin"), temp.dir("net.d"));
    let (old_bin, old_net) = (visible(&bin), visible(&net));
    let new = order(&temp, "two", "10.2.0.0/24");
    let new_bytes = &new.executable.bytes;
    let steps = work(&new).unwrap().steps;
    run(&steps[..crash.min(steps.len())]);

    let (is_bin, is_net) = (visible(&bin), visible(&net));
    for (name, bytes) in &is_bin {
        assert!(
            bytes == new_bytes || old_bin.get(name) == Some(bytes),
            "{name} is neither"
        );
    }
    assert!(
        old_bin.keys().all(|name| is_bin.contains_key(name)),
        "{is_bin:?}"
    );
    if is_net != old_net {
        assert!(
            NAMES
                .iter()
                .all(|name| is_bin.get(*name) == Some(new_bytes)),
            "{is_bin:?}"
        );
    }

    run(&work(&new).unwrap().steps);
    assert!(
        NAMES
            .iter()
            .all(|name| visible(&bin).get(*name) == Some(new_bytes))
    );
    assert!(String::from_utf8_lossy(&visible(&net)["10-blue.conflist"]).contains("10.2.0.0/24"));
    assert!(leftovers(&bin).unwrap().is_empty());
    assert!(leftovers(&net).unwrap().is_empty());
    let again = work(&new).unwrap().steps;
    assert!(
        again.iter().all(|step| matches!(step, Step::Sync(_))),
        "{again:?}"
    );
    crash < steps.len()
}

#[test]
fn dying_at_any_step_of_a_first_installation_leaves_whole_files_and_the_next_run_completes_it() {
    let mut crash = 0;
    while dies_after(crash, |_| {}) {
        crash += 1;
    }
    assert!(crash > 10, "{crash}");
}

#[test]
fn dying_at_any_step_of_an_upgrade_leaves_the_old_or_the_new_under_every_name() {
    let old = |temp: &TempDir| run(&work(&order(temp, "one", "10.1.0.0/24")).unwrap().steps);
    let mut crash = 0;
    while dies_after(crash, old) {
        crash += 1;
    }
    assert!(crash > 10, "{crash}");
}
