//! A daemon of a test's own, in a namespace that plays its node.

#![allow(dead_code)] // each test file uses its part

pub(crate) mod monitor;
pub(crate) mod openmetrics;
pub(crate) mod stream;

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bulkhead_ipam::wire::admin::{Reply, Request, Status};
use bulkhead_ipam::wire::{Answer, CallFrame, Client, ClientError, Spoken};
use netns_fixtures::{Container, Host, Ns, Sandbox, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

pub(crate) const BULKHEADD: &str = env!("CARGO_BIN_EXE_bulkheadd");

/// Longer than anything takes on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A directory of the test's own, removed with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        // Paths of sockets are short (unix(7)).
        let name = format!("bulkheadd-{}-{nth}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A node: its namespace, its directory, and the daemon on it, if one runs.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) dir: Scratch,
    daemon: Option<Child>,
    // Dropped last: it kills what still runs inside.
    pub(crate) sandbox: Arc<Sandbox>,
}

impl Node {
    /// A node whose daemon is configured by `more` besides its directories, and serves.
    pub(crate) fn start(more: &str) -> Self {
        let mut node = Self::stopped(more);
        node.start_daemon();
        node
    }

    /// The same, before the daemon is started.
    pub(crate) fn stopped(more: &str) -> Self {
        let sandbox = Arc::new(Sandbox::new());
        let host = sandbox.host("node").unwrap();
        let node = Self::of(&sandbox, host);
        node.configure(more);
        node
    }

    /// A node of a sandbox that has others, before it is configured.
    pub(crate) fn of(sandbox: &Arc<Sandbox>, host: Host) -> Self {
        Self {
            host,
            dir: Scratch::new(),
            daemon: None,
            sandbox: Arc::clone(sandbox),
        }
    }

    pub(crate) fn configure(&self, more: &str) {
        let (state, socket) = (self.dir.path("state"), self.socket());
        let (state, socket) = (state.display(), socket.display());
        let text = format!("state_dir = \"{state}\"\nsocket = \"{socket}\"\n{more}");
        fs::write(self.config(), text).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path("bulkheadd.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path("sock")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path("state")
    }

    /// A command that runs the daemon on the node.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.host.command(BULKHEADD);
        command.arg("--config").arg(self.config());
        command
    }

    pub(crate) fn start_daemon(&mut self) {
        let command = self.command();
        self.start_as(command);
    }

    /// Starts the daemon by another command.
    pub(crate) fn start_as(&mut self, mut command: Command) {
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.dir.path("log"));
        let child = command
            .stdin(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        self.daemon = Some(child);
        self.wait_until_it_serves();
    }

    /// The socket is there before anybody answers on it; who answers has heard of signals, and serves metrics.
    pub(crate) fn wait_until_it_serves(&self) {
        let serves = || {
            let mut client = Client::connect(&self.socket(), Some(LIMIT)).ok()?;
            client.ask::<Reply>(&Request::Status).ok()
        };
        let up = netns_fixtures::wait_until(LIMIT, serves);
        assert!(up.is_some(), "the daemon does not serve:\n{}", self.log());
    }

    /// What the daemon wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.daemon.as_ref().expect("the daemon was started"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills the daemon as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon was started");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Ends the daemon as systemd does.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut daemon = self.daemon.take().expect("the daemon was started");
        let ended = wait_for("the daemon to end", LIMIT * 2, || {
            daemon.try_wait().unwrap()
        });
        assert!(ended.success(), "{ended}:\n{}", self.log());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        let daemon = self.daemon.as_mut();
        daemon.is_some_and(|daemon| daemon.try_wait().unwrap().is_none())
    }

    pub(crate) fn container(&self, name: &str) -> Container {
        self.sandbox.container(name).unwrap()
    }

    /// The network's configuration, with `more` keys.
    pub(crate) fn network(&self, more: &Value) -> Value {
        let mut config = json!({
            "cniVersion": "1.1.0",
            "name": "blue",
            "type": "bulkhead-bridge",
            "bridge": "br-blue",
            "isGateway": true,
            "stateDir": self.state_dir(),
            "ipam": {
                "type": "bulkhead-ipam",
                "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
            },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        config
    }

    /// A call as a plugin of this release passes it on.
    pub(crate) fn call(&self, verb: &str, container: &Ns) -> Result<Said, ClientError> {
        self.call_of(verb, container, &self.network(&json!({})))
    }

    pub(crate) fn call_of(
        &self,
        verb: &str,
        container: &Ns,
        config: &Value,
    ) -> Result<Said, ClientError> {
        self.call_as(Spoken::OURS, verb, container, config)
    }

    pub(crate) fn call_as(
        &self,
        spoken: Spoken,
        verb: &str,
        container: &Ns,
        config: &Value,
    ) -> Result<Said, ClientError> {
        let call = call(verb, container, config);
        self.send(spoken, &call, container.path(), &self.host)
    }

    /// Sends a call, from the namespace `from`.
    pub(crate) fn send(
        &self,
        spoken: Spoken,
        call: &CallFrame,
        netns: &Path,
        from: &Ns,
    ) -> Result<Said, ClientError> {
        let client = Client::connect_as(spoken, &self.socket(), Some(LIMIT))?;
        let netns = fs::File::open(netns).ok();
        let own = fs::File::open(from.path()).unwrap();
        let netns = netns.as_ref().map(AsFd::as_fd);
        client
            .call(call, netns, own.as_fd(), |asked| {
                panic!("nobody delegates: {asked:?}")
            })
            .map(Said)
    }

    /// What an operator is answered.
    pub(crate) fn ask(&self, request: &Request) -> Vec<Reply> {
        let client = Client::connect(&self.socket(), Some(LIMIT)).unwrap();
        let replies = client.stream::<Reply>(request).unwrap();
        replies
            .map(Result::unwrap)
            .filter(|reply| *reply != Reply::Idle)
            .collect()
    }

    pub(crate) fn status(&self) -> Status {
        match self.ask(&Request::Status).pop() {
            Some(Reply::Status(status)) => *status,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// A call of the container that its namespace is called by.
pub(crate) fn call(verb: &str, container: &Ns, config: &Value) -> CallFrame {
    let variables = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", container.name()),
        ("CNI_NETNS", container.path().to_str().unwrap()),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/nonexistent"),
    ];
    CallFrame {
        plugin: config["type"].as_str().unwrap_or_default().to_owned(),
        verb: verb.to_owned(),
        environment: variables
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        stdin: config.to_string().into_bytes(),
        deadline_ms: None,
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) Answer);

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.0.stdout).unwrap_or_default()
    }

    /// The result of a call that must have succeeded.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        let text = String::from_utf8_lossy(&self.0.stdout);
        assert_eq!(self.0.exit, 0, "{text}");
        self.json()
    }

    pub(crate) fn code(&self) -> u64 {
        self.json()["code"].as_u64().unwrap_or_default()
    }
}

/// All that a process writes until it ends.
pub(crate) fn read(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

/// Where the plugins' executables are; `None`, and the skip on record, where they are not built.
pub(crate) fn plugins(test: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("BULKHEAD_BIN_DIR").map(PathBuf::from);
    let dir = dir.filter(|dir| dir.join("bulkhead-bridge").exists());
    if dir.is_none() {
        let why = "BULKHEAD_BIN_DIR names no directory with our plugins, `make build` does";
        skip(test, why);
    }
    dir
}

/// Says that a test does not run.
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("BULKHEAD_SKIPS") {
        let file = fs::File::options().create(true).append(true).open(path);
        // An unrecorded skip would pass for a success.
        std::io::Write::write_all(&mut file.unwrap(), line.as_bytes()).unwrap();
    }
}
