//! A containerd of its own per test, with its CRI plugin: its namespaces, state, socket and
//! configuration. It knows nothing of the machine's containerd, and when its first process dies,
//! every shim and pod dies too.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use netns_fixtures::{Ns, Sandbox, run_bounded, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Scratch;
use crate::enclosure::{Enclosure, only_child};
use crate::image::{self, IMAGE};

/// Answering the first question takes a third of a second here; a minute means that something hangs.
const LIMIT: Duration = Duration::from_mins(1);

/// `ctr` looks for plugins and configurations in fixed places.
const PREPARE: &str = r#"
mount --bind "$DIR/opt" /opt
mkdir /run/upper /run/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work overlay /etc
mkdir -p /etc/cni/net.d
mount --bind "$DIR/net.d" /etc/cni/net.d
"#;

/// A running containerd. Dropping it kills its pods and removes its files.
#[derive(Debug)]
pub struct Containerd {
    // Dropped first: its end is the daemon's.
    enclosure: Enclosure,
    daemon: Daemon,
    dir: Scratch,
}

impl Containerd {
    /// A containerd on the node `host` that finds plugins in `plugins` alone, has `networks` in its
    /// configuration directory, in that order, and [`IMAGE`].
    ///
    /// # Panics
    /// With containerd's words when it does not start.
    #[must_use]
    pub fn start(sandbox: &Sandbox, host: &Ns, plugins: &Path, networks: &[Value]) -> Self {
        let dir = Scratch::new(sandbox, "containerd");
        write_files(dir.path(), plugins, networks).expect("a fresh directory is writable");
        let cgroup = format!("/{}containerd", sandbox.stem());
        let enclosure = Enclosure::start(host, &cgroup, dir.path(), PREPARE);
        let engine = Self {
            daemon: Daemon::start(&enclosure, dir.path()),
            enclosure,
            dir,
        };
        engine.wait_ready();
        let image = image::archive(engine.dir.path()).expect("busybox-static is installed");
        for namespace in ["k8s.io", "default"] {
            let words = ["--namespace", namespace, "images", "import", "-"];
            let output = engine.ctr_output(&words, &image);
            assert_success(&words, &output);
        }
        engine
    }

    /// The socket that the CRI is spoken on.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    /// Where the engine's `/var/lib` is on this machine: libcni's and the plugins' state.
    #[must_use]
    pub fn var_lib(&self) -> PathBuf {
        self.dir.path().join("lib")
    }

    /// Where the engine's own files are: for what a test adds.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The parent of all cgroups that a test gives to its pods, absolute below each hierarchy.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        self.enclosure.cgroup()
    }

    /// A network namespace that the engine knows by `path`.
    #[must_use]
    pub fn netns(&self, path: &str) -> Ns {
        // /var/run is a link to /run, and an absolute link would lead out of the enclosure.
        let path = path.strip_prefix("/var").unwrap_or(path);
        Ns::at(&self.enclosure.path(Path::new(path)))
    }

    /// Names of the network namespaces that the engine made and still holds, sorted.
    ///
    /// # Panics
    /// When the engine's first process is dead.
    #[must_use]
    pub fn netns_names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.enclosure.path(Path::new("/run/netns")));
        let entries = entries.expect("the first process made it");
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// What `ctr` with `words` says, which must succeed.
    ///
    /// # Panics
    /// With its words when it fails.
    #[must_use]
    #[track_caller]
    pub fn ctr(&self, words: &[&str]) -> String {
        let output = self.ctr_output(words, b"");
        assert_success(words, &output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends the daemon's process, as the kernel does when memory is short; its pods go on.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts the daemon again after [`Containerd::kill`], with all it had.
    ///
    /// # Panics
    /// With containerd's words when it does not start.
    pub fn restart(&mut self) {
        self.daemon = Daemon::start(&self.enclosure, self.dir.path());
        self.wait_ready();
    }

    fn wait_ready(&self) {
        wait_for("containerd to answer", LIMIT, || {
            let ready = self.ctr_output(&["version"], b"").status.success();
            ready.then_some(())
        });
    }

    fn ctr_output(&self, words: &[&str], stdin: &[u8]) -> Output {
        let child = self
            .enclosure
            .command("ctr")
            .arg("--address")
            .arg(self.socket())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("nsenter is part of util-linux");
        run_bounded(&format!("ctr {}", words.join(" ")), child, stdin, LIMIT)
            .expect("ctr runs to its end")
    }
}

#[track_caller]
fn assert_success(words: &[&str], output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(
        status.success(),
        "ctr {}: {status}: {said}",
        words.join(" ")
    );
}

/// The process that waits for containerd in its enclosure.
#[derive(Debug)]
struct Daemon(Child);

impl Daemon {
    fn start(enclosure: &Enclosure, dir: &Path) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(dir.join("containerd.log"))
            .expect("a fresh directory is writable");
        let child = enclosure
            .command("containerd")
            .arg("--config")
            .arg(dir.join("containerd.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nsenter is part of util-linux");
        Self(child)
    }

    fn kill(&mut self) {
        let pid = only_child(self.0.id());
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("/proc lists pids"), Signal::KILL).expect("it runs");
        self.0.wait().expect("nsenter ends with it");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The kernel killed it with the enclosure; only its name in the process table is left.
        if let Err(error) = self.0.wait() {
            eprintln!("containerd: {error}");
        }
    }
}

fn write_files(dir: &Path, plugins: &Path, networks: &[Value]) -> io::Result<()> {
    for sub in ["opt/cni", "net.d"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    symlink(plugins, dir.join("opt/cni/bin"))?;
    for (nth, network) in networks.iter().enumerate() {
        let name = format!("net.d/{nth:02}.conflist");
        fs::write(dir.join(name), network.to_string())?;
    }
    let config = include_str!("../runtimes/containerd.toml")
        .replace("{dir}", &dir.to_string_lossy())
        .replace("{image}", IMAGE);
    fs::write(dir.join("containerd.toml"), config)
}
