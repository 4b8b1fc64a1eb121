//! A podman of its own per test: its namespaces, its storage, its configuration. It knows nothing of
//! the machine's podman, and when its first process dies, everything it started dies too.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use netns_fixtures::{Ns, Sandbox, run_bounded};
use serde_json::Value;

use crate::Scratch;
use crate::enclosure::Enclosure;
use crate::image::{self, IMAGE};

/// Starting a container takes a quarter of a second here; a minute means that something hangs.
const LIMIT: Duration = Duration::from_mins(1);

/// A running engine. Dropping it kills its containers and removes its files.
#[derive(Debug)]
pub struct Podman {
    // Dropped first: its processes have files in the directory.
    enclosure: Enclosure,
    dir: Scratch,
}

impl Podman {
    /// An engine on the node `host`, with the plugins found in `plugins` and [`IMAGE`] imported.
    ///
    /// # Panics
    /// With podman's words when it does not start.
    #[must_use]
    pub fn start(sandbox: &Sandbox, host: &Ns, plugins: &[&Path]) -> Self {
        let dir = Scratch::new(sandbox, "podman");
        write_configuration(dir.path(), plugins).expect("a fresh directory is writable");
        let cgroup = format!("/{}podman", sandbox.stem());
        let engine = Self {
            enclosure: Enclosure::start(host, &cgroup, dir.path(), ""),
            dir,
        };
        engine.import().expect("busybox-static is installed");
        engine
    }

    /// Where networks' and the engine's state is: for the plugins' own state too.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds a network; podman reads the directory at its next command.
    ///
    /// # Panics
    /// When the list has no name or cannot be written.
    pub fn add_network(&self, conflist: &Value) {
        let name = conflist["name"].as_str().expect("a network has a name");
        let path = self.dir.path().join(format!("net.d/{name}.conflist"));
        fs::write(&path, conflist.to_string()).expect("a fresh directory is writable");
    }

    /// Starts a container called `name` that sleeps, on `network`, with further options of
    /// `podman run`.
    ///
    /// # Panics
    /// With podman's words when it does not start.
    #[track_caller]
    pub fn sleeper(&self, name: &str, network: &str, options: &[&str]) {
        let mut words = vec!["run", "--detach", "--name", name, "--network", network];
        words.extend(["--cgroup-parent", self.enclosure.cgroup()]);
        words.extend(options);
        words.extend([IMAGE, "/bin/sleep", "100000"]);
        self.run(&words);
    }

    /// Runs podman with `words`, which must succeed.
    ///
    /// # Panics
    /// With podman's words when it fails.
    #[track_caller]
    pub fn run(&self, words: &[&str]) {
        drop(self.answer(words));
    }

    #[track_caller]
    fn answer(&self, words: &[&str]) -> String {
        let output = self.output(words, b"").expect("podman runs to its end");
        let said = String::from_utf8_lossy(&output.stderr);
        let status = output.status;
        assert!(
            status.success(),
            "podman {}: {status}: {said}",
            words.join(" ")
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `program` with its arguments says inside the container, and whether it succeeded.
    ///
    /// # Panics
    /// When podman hangs.
    #[must_use]
    pub fn exec(&self, container: &str, program: &[&str]) -> (bool, String) {
        let words: Vec<&str> = ["exec", container].iter().chain(program).copied().collect();
        let output = self.output(&words, b"").expect("podman runs to its end");
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    /// `podman inspect`'s object of one container.
    ///
    /// # Panics
    /// With podman's words when there is no such container.
    #[must_use]
    #[track_caller]
    pub fn inspect(&self, container: &str) -> Value {
        let text = self.answer(&["inspect", container]);
        serde_json::from_str::<Value>(&text).expect("podman inspect prints JSON")[0].take()
    }

    /// The network namespace of a running container.
    ///
    /// # Panics
    /// With podman's words when there is no such container, or it does not run.
    #[must_use]
    #[track_caller]
    pub fn netns(&self, container: &str) -> Ns {
        let inspected = self.inspect(container);
        let path = inspected["NetworkSettings"]["SandboxKey"].as_str();
        let path = path.filter(|path| !path.is_empty());
        let path = path.unwrap_or_else(|| panic!("{container} does not run"));
        Ns::at(&self.enclosure.path(Path::new(path)))
    }

    fn output(&self, words: &[&str], stdin: &[u8]) -> io::Result<Output> {
        let etc = self.dir.path().join("etc");
        let child = self
            .enclosure
            .command("podman")
            .args(words)
            .env("HOME", self.dir.path())
            .env("CONTAINERS_CONF", etc.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", etc.join("storage.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", etc.join("registries.conf"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        run_bounded(&format!("podman {}", words.join(" ")), child, stdin, LIMIT)
            .map_err(io::Error::other)
    }

    fn import(&self) -> io::Result<()> {
        let rootfs = image::rootfs(self.dir.path())?;
        let output = self.output(&["import", "-", IMAGE], &rootfs)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman import: {said}");
        Ok(())
    }
}

fn write_configuration(dir: &Path, plugins: &[&Path]) -> io::Result<()> {
    for sub in ["etc", "net.d", "tmp"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    let plugins: Vec<_> = plugins.iter().map(|path| path.to_string_lossy()).collect();
    let filled = |template: &str| {
        template
            .replace("{dir}", &dir.to_string_lossy())
            .replace("{plugins}", &plugins.join("\", \""))
    };
    let write = |name: &str, text: &str| {
        fs::File::create(dir.join("etc").join(name))?.write_all(text.as_bytes())
    };
    write(
        "containers.conf",
        &filled(include_str!("../runtimes/containers.conf")),
    )?;
    write(
        "storage.conf",
        &filled(include_str!("../runtimes/storage.conf")),
    )?;
    write("registries.conf", "unqualified-search-registries = []\n")
}
