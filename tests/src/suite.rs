//! The executables under test: ours, and the reference plugins as the control that shows the
//! harness itself to be right.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use netns_fixtures::Ns;
use serde_json::{Value, json};

use crate::Daemon;
use crate::workspace::root;

/// Where Debian's containernetworking-plugins installs.
const REFERENCE_DIR: &str = "/usr/lib/cni";
const OUR_BRIDGE: &str = "bulkhead-bridge";
const OUR_LAYER3: &str = "bulkhead-ipv6";
const OUR_IPAM: &str = "bulkhead-ipam";
/// Set to `daemon`, it makes [`Suite::ours`] one that a daemon serves, wherever a test lets it.
const SERVED_BY: &str = "BULKHEAD_SERVED_BY";
/// Loops that come only when a test asks for them.
const QUIET: &str = "collector.interval_secs = 0\nreconcile.interval_secs = 0\n";

/// A bridge plugin and an IPAM plugin that belong together.
#[derive(Clone, Debug)]
pub struct Suite {
    dir: PathBuf,
    bridge: &'static str,
    ipam: &'static str,
    served_by: ServedBy,
}

/// Where calls of the plugins are served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ServedBy {
    /// In the plugin's own process.
    Plugin,
    /// In the node's daemon.
    Daemon,
}

impl Suite {
    /// The reference plugins `bridge` and `host-local`.
    ///
    /// # Panics
    /// When they are not installed.
    #[must_use]
    pub fn reference() -> Self {
        Self::at(REFERENCE_DIR.into(), "bridge", "host-local").expect("`make setup` installs them")
    }

    /// What `make build` built, from `BULKHEAD_BIN_DIR` or else `target/bin`.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn ours() -> Self {
        let suite = Self::at(bin_dir(), OUR_BRIDGE, OUR_IPAM);
        let suite = suite.expect("`make build` puts them into BULKHEAD_BIN_DIR");
        if std::env::var_os(SERVED_BY).is_some_and(|who| who == "daemon") {
            return suite.served();
        }
        suite
    }

    /// The same plugins, whose calls the node's daemon serves: see [`Suite::serve`].
    #[must_use]
    pub fn served(self) -> Self {
        Self {
            served_by: ServedBy::Daemon,
            ..self
        }
    }

    /// Starts the daemon on the node `host` for the state in `state`, if the suite is one that a daemon
    /// serves. It lives as long as the value, which has to go before `state` does.
    ///
    /// # Panics
    /// When the daemon does not start.
    #[must_use]
    pub fn serve(&self, host: &Ns, state: &Path) -> Option<Daemon> {
        let serves = self.served_by == ServedBy::Daemon;
        serves.then(|| Daemon::start(host, state, QUIET).unwrap_or_else(|e| panic!("{e}")))
    }

    /// The same, with the plugin that gives each container a link of its own in the bridge plugin's
    /// place.
    ///
    /// # Panics
    /// As [`Suite::ours`].
    #[must_use]
    pub fn layer3() -> Self {
        Self::at(bin_dir(), OUR_LAYER3, OUR_IPAM)
            .expect("`make build` puts them into BULKHEAD_BIN_DIR")
    }

    fn at(dir: PathBuf, bridge: &'static str, ipam: &'static str) -> Result<Self, String> {
        let suite = Self {
            dir,
            bridge,
            ipam,
            served_by: ServedBy::Plugin,
        };
        let missing = [suite.bridge(), suite.ipam()]
            .into_iter()
            .find(|path| !path.exists());
        missing.map_or(Ok(suite), |path| Err(format!("no {}", path.display())))
    }

    /// The same bridge plugin over another IPAM plugin, which the caller finds in `CNI_PATH`.
    #[must_use]
    pub fn with_ipam(&self, ipam: &'static str) -> Self {
        Self {
            ipam,
            ..self.clone()
        }
    }

    /// Whether these are ours: the reference is held only to what it claims.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        [OUR_BRIDGE, OUR_LAYER3].contains(&self.bridge)
    }

    /// Whether its networks have a bridge.
    #[must_use]
    pub fn has_bridges(&self) -> bool {
        self.bridge != OUR_LAYER3
    }

    /// The gateways of [`Suite::dual_stack`], as a result tells them.
    #[must_use]
    pub fn gateways(&self) -> [&'static str; 2] {
        if self.has_bridges() {
            ["10.77.0.1", "fd77::1"]
        } else {
            ["169.254.1.1", "fe80::1"]
        }
    }

    /// An address of a subnet with that length, as a result tells it: on a link of its own it is alone.
    #[must_use]
    pub fn address(&self, address: &str, len: u8) -> String {
        let whole = if address.contains(':') { 128 } else { 32 };
        let len = if self.has_bridges() { len } else { whole };
        format!("{address}/{len}")
    }

    /// The directory the executables are in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The bridge plugin's executable.
    #[must_use]
    pub fn bridge(&self) -> PathBuf {
        self.dir.join(self.bridge)
    }

    /// The IPAM plugin's executable.
    #[must_use]
    pub fn ipam(&self) -> PathBuf {
        self.dir.join(self.ipam)
    }

    /// `CNI_PATH` that finds the executables and the reference's.
    #[must_use]
    pub fn cni_path(&self) -> String {
        format!("{}:{REFERENCE_DIR}", self.dir.display())
    }

    /// Sets the types of a bridge configuration, and the directory that holds its state: the keys
    /// are those of the reference, so a configuration moves over by its types alone.
    #[must_use]
    pub fn adapt(&self, mut config: Value, state: &Path) -> Value {
        config["type"] = json!(self.bridge);
        if !self.has_bridges()
            && let Some(keys) = config.as_object_mut()
        {
            keys.remove("bridge");
        }
        config["stateDir"] = json!(state);
        if config["ipam"].is_object() {
            config["ipam"]["type"] = json!(self.ipam);
            config["ipam"]["dataDir"] = json!(state);
        }
        config
    }

    /// A bridge network as most are: dual stack, gateway on the bridge, default routes, state in
    /// `state`. Its bridge is called after it.
    #[must_use]
    pub fn dual_stack(&self, version: &str, name: &str, state: &Path) -> Value {
        let config = json!({
            "cniVersion": version,
            "name": name,
            "bridge": format!("{name}br"),
            "isGateway": true,
            "ipMasq": false,
            "ipam": {
                "ranges": [[{"subnet": "10.77.0.0/16"}], [{"subnet": "fd77::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        });
        self.adapt(config, state)
    }

    /// The addresses leased in a network whose state is in `state`, sorted: of ours as the CLI lists
    /// them, of the reference as host-local keeps them.
    ///
    /// # Panics
    /// When the store cannot be read.
    #[must_use]
    pub fn leases(&self, network: &str, state: &Path) -> Vec<IpAddr> {
        let mut leases = if self.ipam == OUR_IPAM {
            listed_leases(&self.dir.join("bulkhead"), network, state)
        } else {
            kept_leases(&state.join(network))
        };
        leases.sort_unstable();
        leases
    }
}

/// host-local keeps a file per address (containernetworking/plugins, disk/backend.go).
fn kept_leases(dir: &Path) -> Vec<IpAddr> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

fn listed_leases(cli: &Path, network: &str, state: &Path) -> Vec<IpAddr> {
    let output = Command::new(cli)
        .args(["-o", "json", "ipam", "ls", "--state-dir"])
        .arg(state)
        // Only what is recorded counts, not the machine's configuration.
        .arg("--conf-dir")
        .arg(state.join("no-configuration"))
        .output()
        .unwrap_or_else(|e| panic!("run {}: {e}", cli.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bulkhead ipam ls: {said}");
    let listed: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let of_network = listed.as_array().expect("an array of leases").iter();
    of_network
        .filter(|lease| lease["network"] == network)
        .flat_map(|lease| lease["addresses"].as_array().expect("each has addresses"))
        .filter_map(|address| address.as_str()?.split('/').next()?.parse().ok())
        .collect()
}

/// `BULKHEAD_BIN_DIR`, or where `make build` puts the executables without it.
fn bin_dir() -> PathBuf {
    std::env::var_os("BULKHEAD_BIN_DIR").map_or_else(|| root().join("target/bin"), PathBuf::from)
}
