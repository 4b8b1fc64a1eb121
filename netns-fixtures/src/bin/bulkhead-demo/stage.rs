//! Where the demo plays: namespaces, a configuration directory, and the operator's command run on the
//! node.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netns_fixtures::{Container, Host, Outside, Pair, Sandbox, Snapshot};
use serde_json::{Value, json};

/// The network of the demo.
pub(crate) const NETWORK: &str = "demo";
/// Its bridge.
pub(crate) const BRIDGE: &str = "demo0";
/// Its subnets.
pub(crate) const SUBNETS: [&str; 2] = ["10.85.0.0/24", "fd85::/64"];
/// No command of the demo takes this long.
const LIMIT: Duration = Duration::from_secs(30);

/// A node with an uplink, and containers that have no network yet.
pub(crate) struct Stage {
    pub(crate) host: Host,
    pub(crate) outside: Outside,
    pub(crate) uplink: Pair,
    pub(crate) containers: Vec<(&'static str, Container)>,
    /// The node before the first ADD.
    pub(crate) before: Snapshot,
    bin_dir: PathBuf,
    files: Files,
    // Dropped last: with it go the namespaces.
    _sandbox: Sandbox,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
}

/// A directory that goes with the demo.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("remove {}: {error}", self.0.display());
        }
    }
}

impl Stage {
    /// Builds everything but the network.
    pub(crate) fn build(bin_dir: &Path) -> Result<Self, Box<dyn Error>> {
        let sandbox = Sandbox::new();
        let files = Files(std::env::temp_dir().join(format!("{}demo", sandbox.stem())));
        fs::create_dir_all(files.0.join("net.d"))?;
        let host = sandbox.host("node")?;
        let outside = sandbox.outside("outside")?;
        let uplink = outside.link(&host, 1)?;
        let containers = ["alpha", "beta", "gamma"]
            .into_iter()
            .map(|name| Ok((name, sandbox.container(name)?)))
            .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let stage = Self {
            before: Snapshot::take(&host)?,
            bin_dir: bin_dir.to_owned(),
            containers,
            host,
            outside,
            uplink,
            files,
            _sandbox: sandbox,
        };
        let text = serde_json::to_string_pretty(&stage.conflist())?;
        fs::write(stage.files.0.join("net.d/10-demo.conflist"), text)?;
        Ok(stage)
    }

    /// The network's configuration as a person would write it.
    pub(crate) fn conflist(&self) -> Value {
        let ranges = SUBNETS.map(|subnet| json!([{ "subnet": subnet }]));
        json!({
            "cniVersion": "1.1.0",
            "name": NETWORK,
            "plugins": [{
                "type": "bulkhead-bridge",
                "bridge": BRIDGE,
                "isDefaultGateway": true,
                "ipMasq": true,
                "macspoofchk": true,
                "capabilities": { "portMappings": true },
                "stateDir": self.files.0.join("state"),
                "ipam": { "type": "bulkhead-ipam", "ranges": ranges },
            }],
        })
    }

    /// Runs `bulkhead` with `words` on the node, with the demo's directories.
    pub(crate) fn bulkhead(&self, words: &[&str]) -> Result<Said, Box<dyn Error>> {
        let mut command = std::process::Command::new(self.bin_dir.join("bulkhead"));
        command
            .args(words)
            .arg("--conf-dir")
            .arg(self.files.0.join("net.d"));
        if matches!(words[0], "cni" | "check" | "ports") {
            command.arg("--bin-dir").arg(&self.bin_dir);
            command.arg("--cache-dir").arg(self.files.0.join("cache"));
        }
        if words[0] != "cni" {
            command.arg("--state-dir").arg(self.files.0.join("state"));
        }
        let started = Instant::now();
        let output = self.host.output(&mut command, b"", LIMIT)?;
        Ok(Said {
            succeeded: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            elapsed: started.elapsed(),
        })
    }
}
