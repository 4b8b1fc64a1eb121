//! Who has which host port: one small file for each, so that a port is looked up without reading every
//! attachment. It is an index, no record. What counts is the attachment's record, with its host ports;
//! a claim whose record is gone is void. So nothing here is synced to the disk: a reboot ends every
//! attachment, and with it whatever of this was lost.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use bulkhead_model::{AttachmentKey, HostPort, PortMapping};
use serde::{Deserialize, Serialize};

use crate::error::FileError;
use crate::store::FileLock;

/// The index, locked against every other process until dropped.
#[derive(Debug)]
pub struct HostPortIndex {
    dir: PathBuf,
    _lock: FileLock,
}

/// A mapping, and whose it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PortClaim {
    /// The mapping.
    #[serde(flatten)]
    pub mapping: PortMapping,
    /// The attachment.
    pub holder: AttachmentKey,
    /// Whether another attachment of the same container has the port, and this one is its heir.
    #[serde(default)]
    pub waiting: bool,
}

impl HostPortIndex {
    pub(crate) const fn new(dir: PathBuf, lock: FileLock) -> Self {
        Self { dir, _lock: lock }
    }

    /// Who has what overlaps `host`; void claims are among them, heirs are not.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn overlapping(&self, host: &HostPort) -> Result<Vec<PortClaim>, FileError> {
        let mut claims = self.read(host)?;
        claims.retain(|claim| !claim.waiting && claim.mapping.host.overlaps(host));
        Ok(claims)
    }

    /// Gives `holder` the host ports of `mappings`; claims of others that overlap one of them are void
    /// from now on.
    ///
    /// # Errors
    /// If a file cannot be written; some of the claims may stand then.
    pub fn claim(&self, holder: &AttachmentKey, mappings: &[PortMapping]) -> Result<(), FileError> {
        self.add(holder, mappings, false)
    }

    /// Makes `holder` an heir to `mappings`.
    ///
    /// # Errors
    /// If a file cannot be written; it may be an heir to some of them then.
    pub fn wait(&self, holder: &AttachmentKey, mappings: &[PortMapping]) -> Result<(), FileError> {
        self.add(holder, mappings, true)
    }

    /// Takes out what `holder` has of `mappings`, and its heirs, who are returned: the eldest first for
    /// each port.
    ///
    /// # Errors
    /// If a file cannot be written; some of the claims may be out then.
    pub fn give_up(
        &self,
        holder: &AttachmentKey,
        mappings: &[PortMapping],
    ) -> Result<Vec<PortClaim>, FileError> {
        let mut heirs = Vec::new();
        for mapping in mappings {
            let all = self.read(&mapping.host)?;
            let goes = |claim: &PortClaim| {
                let of_port = claim.mapping.host == mapping.host;
                of_port && (claim.waiting || claim.holder == *holder)
            };
            let (gone, others): (Vec<_>, Vec<_>) = all.into_iter().partition(goes);
            if !gone.is_empty() {
                self.write(&mapping.host, &others)?;
            }
            heirs.extend(gone.into_iter().filter(|claim| claim.holder != *holder));
        }
        Ok(heirs)
    }

    fn add(
        &self,
        holder: &AttachmentKey,
        mappings: &[PortMapping],
        waiting: bool,
    ) -> Result<(), FileError> {
        for mapping in mappings {
            let before = self.read(&mapping.host)?;
            let mut claims = before.clone();
            claims.retain(|old| {
                let same = old.holder == *holder && old.mapping.host == mapping.host;
                let void = !waiting && !old.waiting && old.mapping.host.overlaps(&mapping.host);
                !same && !void
            });
            claims.push(PortClaim {
                mapping: *mapping,
                holder: holder.clone(),
                waiting,
            });
            if claims != before {
                self.write(&mapping.host, &claims)?;
            }
        }
        Ok(())
    }

    fn path(&self, host: &HostPort) -> PathBuf {
        self.dir.join(format!("{}-{}", host.protocol, host.number))
    }

    fn read(&self, host: &HostPort) -> Result<Vec<PortClaim>, FileError> {
        let path = self.path(host);
        match fs::read(&path) {
            // What cannot be understood was torn by a power loss, which ended its attachments too.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(FileError::at("read", &path)(error)),
        }
    }

    fn write(&self, host: &HostPort, claims: &[PortClaim]) -> Result<(), FileError> {
        let path = self.path(host);
        if claims.is_empty() {
            return fs::remove_file(&path).map_err(FileError::at("remove", &path));
        }
        let staged = self.dir.join("staged");
        let bytes = serde_json::to_vec(claims).expect("a claim has text keys");
        let written = || -> io::Result<()> {
            fs::write(&staged, bytes)?;
            fs::rename(&staged, &path)
        };
        written().map_err(FileError::at("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Access, StateDir};
    use crate::testing::TempDir;

    fn key(container: &str) -> AttachmentKey {
        AttachmentKey {
            network: "blue".parse().unwrap(),
            container: container.parse().unwrap(),
            interface: "eth0".parse().unwrap(),
        }
    }

    fn tcp(address: &str) -> PortMapping {
        let json = serde_json::json!({
            "protocol": "tcp", "hostIP": address, "hostPort": 80, "containerPort": 8080,
        });
        serde_json::from_value(json).unwrap()
    }

    fn holders(index: &HostPortIndex, mapping: &PortMapping) -> Vec<String> {
        let claims = index.overlapping(&mapping.host).unwrap();
        claims
            .iter()
            .map(|claim| claim.holder.container.to_string())
            .collect()
    }

    #[test]
    fn a_claim_is_found_by_whatever_overlaps_it() {
        let dir = TempDir::new("host-ports");
        let state = StateDir::open(dir.path(), Access::Add).unwrap();
        let index = state.host_ports().unwrap();
        index.claim(&key("a"), &[tcp("10.0.0.1")]).unwrap();
        index.claim(&key("b"), &[tcp("10.0.0.2")]).unwrap();
        assert_eq!(holders(&index, &tcp("")), ["a", "b"]);
        assert_eq!(holders(&index, &tcp("10.0.0.2")), ["b"]);
        assert_eq!(holders(&index, &tcp("::")), [""; 0]);
        index.give_up(&key("b"), &[tcp("10.0.0.1")]).unwrap();
        index.give_up(&key("a"), &[tcp("10.0.0.1")]).unwrap();
        assert_eq!(holders(&index, &tcp("")), ["b"]);
        index.give_up(&key("b"), &[tcp("10.0.0.2")]).unwrap();
        assert!(!dir.path().join("host-ports/tcp-80").exists());
    }

    #[test]
    fn an_heir_is_told_when_the_holder_gives_up() {
        let dir = TempDir::new("host-ports-heir");
        let state = StateDir::open(dir.path(), Access::Add).unwrap();
        let index = state.host_ports().unwrap();
        index.claim(&key("a"), &[tcp("")]).unwrap();
        index.wait(&key("b"), &[tcp("")]).unwrap();
        index.wait(&key("b"), &[tcp("")]).unwrap();
        assert_eq!(holders(&index, &tcp("")), ["a"]);
        let heirs = index.give_up(&key("a"), &[tcp("")]).unwrap();
        assert_eq!(heirs.len(), 1);
        assert_eq!((&heirs[0].holder, heirs[0].mapping), (&key("b"), tcp("")));
        assert_eq!(holders(&index, &tcp("")), [""; 0]);
    }

    #[test]
    fn a_torn_claim_is_none() {
        let dir = TempDir::new("host-ports-torn");
        let state = StateDir::open(dir.path(), Access::Add).unwrap();
        let index = state.host_ports().unwrap();
        index.claim(&key("a"), &[tcp("")]).unwrap();
        fs::write(dir.path().join("host-ports/tcp-80"), b"[{\"prot").unwrap();
        assert_eq!(holders(&index, &tcp("")), [""; 0]);
        index.claim(&key("b"), &[tcp("")]).unwrap();
        assert_eq!(holders(&index, &tcp("")), ["b"]);
    }
}
