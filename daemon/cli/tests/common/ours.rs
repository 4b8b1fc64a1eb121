//! A node whose networks our plugins make, where they are built.

use std::fs::File;
use std::path::PathBuf;

use netns_fixtures::{Container, Host, Ns, Sandbox};
use serde_json::{Value, json};

use super::{REFERENCE, Ran, Scratch, plugins};

/// A node, the directories of its networks, and the plugins.
pub(crate) struct Node {
    pub(crate) sandbox: Sandbox,
    pub(crate) host: Host,
    pub(crate) scratch: Scratch,
    dir: PathBuf,
    bin: String,
}

/// Options of every command that looks at attachments.
const DIRS: &str = "--conf-dir $DIR/net.d --cache-dir $DIR/cache";

impl Node {
    /// `None`, and the skip on record, if our plugins or one of the reference's are not there.
    pub(crate) fn new(test: &str, reference: &[&str]) -> Option<Self> {
        let dir = std::env::var_os("BULKHEAD_BIN_DIR").map(PathBuf::from);
        let dir = plugins(test, dir, &["bulkhead-bridge", "bulkhead-ipam"])?;
        plugins(test, Some(REFERENCE.into()), reference)?;
        let sandbox = Sandbox::new();
        Some(Self {
            host: sandbox.host("node").unwrap(),
            scratch: Scratch::new(),
            bin: format!("--bin-dir {} --bin-dir {REFERENCE}", dir.display()),
            dir,
            sandbox,
        })
    }

    /// The same, with a node daemon beside our plugins.
    pub(crate) fn with_daemon(test: &str) -> Option<Self> {
        let dir = std::env::var_os("BULKHEAD_BIN_DIR").map(PathBuf::from);
        plugins(test, dir, &["bulkheadd"])?;
        Self::new(test, &[])
    }

    /// Where an executable of ours is.
    pub(crate) fn executable(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn container(&self, name: &str) -> Container {
        self.sandbox.container(name).unwrap()
    }

    /// Another namespace at the path of a container that dies.
    pub(crate) fn usurped(&self, dying: &Container, name: &str) -> Container {
        // They are told apart by the number of the inode, and that of the dead is given to others.
        let number_is_taken = File::open(dying.path()).unwrap();
        self.sandbox.remove(dying).unwrap();
        let other = self.container(name);
        drop(number_is_taken);
        other
    }

    /// Writes the configuration of a network: our bridge with `keys`, then `later`.
    pub(crate) fn network(&self, name: &str, keys: Value, later: &[Value]) {
        let mut bridge = json!({
            "type": "bulkhead-bridge",
            "bridge": format!("br-{name}"),
            "isDefaultGateway": true,
            "stateDir": self.scratch.path("state"),
            "capabilities": {"portMappings": true, "bandwidth": true, "mac": true},
        });
        let Value::Object(keys) = keys else {
            panic!("not an object: {keys}");
        };
        bridge.as_object_mut().unwrap().extend(keys);
        let plugins: Vec<_> = [&bridge].into_iter().chain(later).collect();
        self.list(name, &json!(plugins));
    }

    /// Writes the configuration of a network of these plugins.
    pub(crate) fn list(&self, name: &str, plugins: &Value) {
        let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
        let file = format!("net.d/{name}.conflist");
        self.scratch.write(&file, &list.to_string());
    }

    /// `bulkhead cni <verb>` for container `id` in `ns`.
    pub(crate) fn cni(&self, verb: &str, network: &str, ns: &Ns, id: &str, rest: &str) -> Ran {
        let netns = ns.path().display();
        let line = format!(
            "cni {verb} {network} {netns} --container-id {id} {rest} {DIRS} {}",
            self.bin
        );
        self.scratch.bulkhead_in(&self.host, &line)
    }

    /// A new container `id`, attached to `network`.
    #[track_caller]
    pub(crate) fn attach(&self, network: &str, id: &str, rest: &str) -> Container {
        let container = self.container(id);
        self.cni("add", network, &container, id, rest).ok();
        container
    }

    /// A command that looks at attachments.
    pub(crate) fn run(&self, line: &str) -> Ran {
        let line = format!("{line} {DIRS} --state-dir $DIR/state {}", self.bin);
        self.scratch.bulkhead_in(&self.host, &line)
    }

    /// A command that looks at the state directory alone, or asks its daemon.
    pub(crate) fn ask(&self, line: &str) -> Ran {
        let line = format!("{line} --state-dir $DIR/state");
        self.scratch.bulkhead_in(&self.host, &line)
    }

    /// What it prints for programs; it succeeds without a word.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(&format!("{line} -o json")).ok()).unwrap()
    }

    /// Every file of the scratch directory with what is in it and when it was written.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
        let mut all = Vec::new();
        walk(self.scratch.path(""), &mut all);
        all.sort();
        all
    }
}

fn walk(dir: PathBuf, all: &mut Vec<(PathBuf, Vec<u8>, std::time::SystemTime)>) {
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(path, all);
        } else {
            let written = path.metadata().unwrap().modified().unwrap();
            all.push((path.clone(), std::fs::read(&path).unwrap(), written));
        }
    }
    let made = dir.metadata().unwrap().modified().unwrap();
    all.push((dir, Vec::new(), made));
}

/// The pool of a network: `10.N.0.0/24` and `fd00:N::/64`.
pub(crate) fn dual(n: u8) -> Value {
    json!({"ipam": {"type": "bulkhead-ipam", "ranges": [
        [{"subnet": format!("10.{n}.0.0/24")}],
        [{"subnet": format!("fd00:{n}::/64")}],
    ]}})
}

/// `--cap` for host ports.
pub(crate) fn ports(mappings: &Value) -> String {
    format!("--cap portMappings={mappings}")
}
