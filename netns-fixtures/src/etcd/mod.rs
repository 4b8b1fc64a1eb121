//! A cluster of real etcd, each member in a namespace of the test's, which can be killed, stopped and
//! started again.

mod authority;
mod member;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

pub use authority::{Authority, CertificateFiles, Validity};
use member::Member;

use crate::ns::{Ns, NsError};
use crate::sandbox::Sandbox;
use crate::wait::{wait_for, wait_until};

/// How long a cluster may take to elect a leader, on a machine that is busy.
const ELECTION_LIMIT: Duration = Duration::from_mins(1);
/// How long a signal may take to reach every thread.
const HALT_LIMIT: Duration = Duration::from_secs(10);

/// Where a member lives: a namespace, and an address of it that the other members reach.
pub type Place = (Ns, IpAddr);

/// What a cluster is like beyond the defaults.
#[derive(Debug, Default)]
pub struct EtcdOptions {
    /// Clients speak TLS and need a certificate of this authority; without it, plain HTTP.
    pub tls: Option<Authority>,
    /// Authentication is on, with this user besides root.
    pub login: Option<EtcdLogin>,
    /// Size of the database beyond which nothing is written, in bytes.
    pub quota: Option<u64>,
}

/// A user, who may read and write the keys that begin with a prefix.
#[derive(Clone, Debug)]
pub struct EtcdLogin {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
    /// What its keys begin with.
    pub prefix: String,
}

/// A running cluster. Its members end when it is dropped.
#[derive(Debug)]
pub struct Etcd {
    dir: PathBuf,
    members: Vec<Member>,
    options: EtcdOptions,
    /// With whose name `etcdctl` comes, once authentication is on.
    root: Option<String>,
}

impl Etcd {
    /// A cluster with a member at each place, once it has a leader.
    ///
    /// # Errors
    /// `System` when etcd is not installed or a namespace is gone; `Command` with what `etcdctl` says
    /// when there is no leader in time.
    ///
    /// # Panics
    /// When the members' directory cannot be made.
    pub fn start(
        sandbox: &Sandbox,
        places: &[Place],
        options: EtcdOptions,
    ) -> Result<Self, NsError> {
        let first = places
            .first()
            .map_or(String::new(), |(ns, at)| format!("{}-{at}", ns.name()));
        let dir = std::env::temp_dir().join(format!("{}etcd-{first}", sandbox.stem()));
        // What is there was left by a dead process that had our pid.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("create {}: {e}", dir.display()));
        let mut etcd = Self {
            dir,
            members: places.iter().cloned().map(Member::new).collect(),
            options,
            root: None,
        };
        for nth in 0..places.len() {
            etcd.issue(nth, Validity::Now);
            etcd.restart(nth)?;
        }
        etcd.wait_for_leader()?;
        if let Some(login) = etcd.options.login.clone() {
            etcd.enable_login(&login)?;
        }
        Ok(etcd)
    }

    /// A cluster of `count` members in one namespace, at 127.0.0.1 and on.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    ///
    /// # Panics
    /// As [`Etcd::start`], and if there are more than 254 members.
    pub fn on_loopback(
        sandbox: &Sandbox,
        ns: &Ns,
        count: u8,
        options: EtcdOptions,
    ) -> Result<Self, NsError> {
        let place = |nth| (ns.clone(), IpAddr::from([127, 0, 0, nth]));
        let places: Vec<Place> = (1..=count).map(place).collect();
        Self::start(sandbox, &places, options)
    }

    /// The client URL of each member.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let scheme = self.options.tls.as_ref().map_or("http", |_| "https");
        let url = |member: &Member| member.client_url(scheme);
        self.members.iter().map(url).collect()
    }

    /// Who issues its certificates.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        self.options.tls.as_ref()
    }

    /// Gives a member another certificate, which it shows from the next connection on; nothing without
    /// TLS.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn issue(&self, nth: usize, validity: Validity) {
        if let Some(authority) = &self.options.tls {
            let _ = authority.issue(&name(nth), &[self.members[nth].address()], validity);
        }
    }

    /// The member's process.
    ///
    /// # Panics
    /// When it was killed.
    #[must_use]
    pub fn pid(&self, nth: usize) -> u32 {
        self.members[nth].child().id()
    }

    /// Kills a member (`SIGKILL`); its data stays.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self, nth: usize) {
        self.members[nth].kill();
    }

    /// Halts a member (`SIGSTOP`): its connections stay open, and nothing is answered on them any more
    /// when this returns.
    ///
    /// # Panics
    /// When it was killed, or does not halt.
    pub fn stop(&self, nth: usize) {
        let member = &self.members[nth];
        member.signal(Signal::STOP);
        wait_for("a member to halt", HALT_LIMIT, || member.is_halted());
    }

    /// Lets a halted member go on.
    ///
    /// # Panics
    /// When it was killed.
    pub fn cont(&self, nth: usize) {
        self.members[nth].signal(Signal::CONT);
    }

    /// Starts a member with the data it has, after killing it if it runs. Nothing is waited for.
    ///
    /// # Errors
    /// `System` when it cannot be started.
    ///
    /// # Panics
    /// When its log cannot be written.
    pub fn restart(&mut self, nth: usize) -> Result<(), NsError> {
        self.kill(nth);
        let (arguments, log) = (self.arguments(nth), self.log(nth));
        self.members[nth].start(&arguments, &log)
    }

    /// What a member wrote to its log.
    #[must_use]
    pub fn log(&self, nth: usize) -> PathBuf {
        self.dir.join(format!("m{nth}.log"))
    }

    /// Waits until a request through every living member is answered.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub fn wait_for_leader(&self) -> Result<(), NsError> {
        let healthy = |limit| {
            wait_until(limit, || {
                self.etcdctl(&["endpoint", "health", "--command-timeout=2s"])
                    .ok()
            })
        };
        match healthy(ELECTION_LIMIT) {
            Some(_) => Ok(()),
            None => self.etcdctl(&["endpoint", "health"]).map(drop),
        }
    }

    /// Makes a member lead the others, if it does not.
    ///
    /// # Errors
    /// As [`Etcd::etcdctl`].
    ///
    /// # Panics
    /// When `etcdctl` says of some member what no etcd says.
    pub fn lead(&self, nth: usize) -> Result<(), NsError> {
        let text = self.etcdctl(&["endpoint", "status", "-w", "json"])?;
        let members: serde_json::Value = serde_json::from_str(&text).expect("JSON was asked for");
        let url = &self.urls()[nth];
        let member = members.as_array().into_iter().flatten();
        let mut member = member.filter(|member| member["Endpoint"] == url.as_str());
        let status = &member.next().expect("it answers for every member")["Status"];
        let id = status["header"]["member_id"].as_u64().expect("a number");
        if status["leader"].as_u64() == Some(id) {
            return Ok(());
        }
        self.etcdctl(&["move-leader", &format!("{id:x}")]).map(drop)
    }

    /// Runs `etcdctl` as root, against every living member, and returns what it says.
    ///
    /// # Errors
    /// `Command` with its words when it fails.
    pub fn etcdctl(&self, arguments: &[&str]) -> Result<String, NsError> {
        self.etcdctl_with_input(arguments, b"")
    }

    /// The same, with something to read: a password.
    ///
    /// # Errors
    /// As [`Etcd::etcdctl`].
    pub fn etcdctl_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<String, NsError> {
        let alive = |(nth, _): &(usize, String)| self.members[*nth].is_running();
        let urls = self.urls().into_iter().enumerate().filter(alive);
        let urls: Vec<String> = urls.map(|(_, url)| url).collect();
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        command
            .args(arguments)
            .arg("--endpoints")
            .arg(urls.join(","));
        if let Some(authority) = &self.options.tls {
            let client = authority.issue("etcdctl", &[], Validity::Now);
            command.arg("--cacert").arg(authority.certificate());
            command.arg("--cert").arg(client.certificate);
            command.arg("--key").arg(client.key);
        }
        if let Some(root) = &self.root {
            command.arg("--user").arg(root);
        }
        self.members[0].ns().run(&mut command, input)
    }

    fn enable_login(&mut self, login: &EtcdLogin) -> Result<(), NsError> {
        let EtcdLogin {
            user,
            password,
            prefix,
        } = login;
        let new_user = format!("{user}:{password}");
        let grant = [
            "role",
            "grant-permission",
            user,
            "--prefix=true",
            "readwrite",
            prefix,
        ];
        let steps: [&[&str]; 7] = [
            &["user", "add", "root:root"],
            &["user", "grant-role", "root", "root"],
            &["role", "add", user],
            &grant,
            &["user", "add", &new_user],
            &["user", "grant-role", user, user],
            &["auth", "enable"],
        ];
        for step in steps {
            self.etcdctl(step)?;
        }
        self.root = Some("root:root".to_owned());
        Ok(())
    }

    fn arguments(&self, nth: usize) -> Vec<String> {
        let member = &self.members[nth];
        let (client, peer) = (&self.urls()[nth], member.peer_url());
        let all = self.members.iter().enumerate();
        let all: Vec<String> = all
            .map(|(nth, member)| format!("{}={}", name(nth), member.peer_url()))
            .collect();
        let mut arguments = vec![
            format!("--name={}", name(nth)),
            format!("--data-dir={}", self.dir.join(name(nth)).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", all.join(",")),
            format!("--initial-cluster-token={}", self.dir.display()),
            "--logger=zap".to_owned(),
        ];
        if let Some(authority) = &self.options.tls {
            let files = authority.files(&name(nth));
            arguments.extend([
                "--client-cert-auth".to_owned(),
                option("--trusted-ca-file", &authority.certificate()),
                option("--cert-file", &files.certificate),
                option("--key-file", &files.key),
            ]);
        }
        let quota = self.options.quota;
        arguments.extend(quota.map(|bytes| format!("--quota-backend-bytes={bytes}")));
        arguments
    }
}

fn name(nth: usize) -> String {
    format!("m{nth}")
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for nth in 0..self.members.len() {
            self.kill(nth);
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("remove {}: {error}", self.dir.display());
        }
    }
}
