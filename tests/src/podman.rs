//! A podman of its own per test: its namespaces, its storage, its configuration. It knows nothing of
//! the machine's podman, and when its first process dies, everything it started dies too.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use netns_fixtures::{Ns, Sandbox, run_bounded, wait_for};
use serde_json::Value;

use crate::Scratch;

/// The image that every engine has: busybox and nothing else.
pub const IMAGE: &str = "localhost/busybox:test";

const BUSYBOX: &str = "/usr/bin/busybox";
const APPLETS: &[&str] = &["sh", "sleep", "ping", "nc", "ip", "cat", "timeout"];
/// Starting a container takes a quarter of a second here; a minute means that something hangs.
const LIMIT: Duration = Duration::from_mins(1);
const CGROUPS: &str = "/sys/fs/cgroup";

/// What stands at `/run/netns` and `/var/lib/cni` in the engine's mount namespace: directories of
/// its own, because podman names container namespaces and libcni caches results there. bash, because
/// as the first process of a PID namespace it reaps what is orphaned to it; it ends when its input
/// does.
const FIRST_PROCESS: &str = "mkdir -p /run/netns /var/lib/cni \
    && mount -t tmpfs tmpfs /run/netns && mount -t tmpfs tmpfs /var/lib/cni \
    && echo ready && read -r";

/// A running engine. Dropping it kills its containers and removes its files.
#[derive(Debug)]
pub struct Podman {
    first: Child,
    pid: u32,
    host: Ns,
    cgroup: String,
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
        let (first, pid) = first_process(host);
        let engine = Self {
            first,
            pid,
            host: host.clone(),
            cgroup: format!("/{}podman", sandbox.stem()),
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
        words.extend(["--cgroup-parent", &self.cgroup]);
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

    fn output(&self, words: &[&str], stdin: &[u8]) -> io::Result<Output> {
        let etc = self.dir.path().join("etc");
        let child = Command::new("nsenter")
            .args(["--target", &self.pid.to_string(), "--mount", "--pid"])
            .arg(format!("--net={}", self.host.path().display()))
            .args(["--", "podman"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
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
        let rootfs = self.dir.path().join("rootfs");
        fs::create_dir_all(rootfs.join("bin"))?;
        let busybox = rootfs.join("bin/busybox");
        fs::copy(BUSYBOX, &busybox)?;
        fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755))?;
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet))?;
        }
        let archive = Command::new("tar")
            .arg("-C")
            .arg(&rootfs)
            .args(["-c", "."])
            .output()?;
        let output = self.output(&["import", "-", IMAGE], &archive.stdout)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman import: {said}");
        Ok(())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // The end of its input ends the first process, and the kernel kills its PID namespace.
        drop(self.first.stdin.take());
        if let Err(error) = self.first.wait() {
            eprintln!("podman's first process: {error}");
        }
        for controller in fs::read_dir(CGROUPS).into_iter().flatten().flatten() {
            remove_cgroup(&controller.path().join(self.cgroup.trim_start_matches('/')));
        }
        remove_cgroup(&PathBuf::from(format!("{CGROUPS}{}", self.cgroup)));
    }
}

/// Removes a group with those in it; what is not there or still busy stays.
fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// The first process of new mount and PID namespaces on `host`, and its PID as we see it.
fn first_process(host: &Ns) -> (Child, u32) {
    let mut child = host
        .command("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["bash", "-c", FIRST_PROCESS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare is part of util-linux");
    let mut ready = [0; 6];
    io::Read::read_exact(child.stdout.as_mut().expect("it is piped"), &mut ready)
        .expect("the first process says when it is ready");
    let path = format!("/proc/{0}/task/{0}/children", child.id());
    let pid = wait_for("unshare's child", LIMIT, || {
        fs::read_to_string(&path)
            .ok()?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    (child, pid)
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
