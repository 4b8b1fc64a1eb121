//! The namespace a person means, and the container id that goes with it.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bulkhead_model::ContainerId;
use sha2::{Digest, Sha512};

use crate::failure::Failure;

/// Where `ip netns` mounts namespaces, and where it did before /run.
const NAMED: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// Whether a verb can do without the namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Existence {
    /// ADD and CHECK work inside.
    Required,
    /// DEL must work after it is gone.
    Optional,
}

/// The absolute path of a namespace: `text` itself if it has a `/`, else the file of that name.
///
/// # Errors
/// It must exist and does not; there is no current directory to complete a relative path from.
pub(super) fn resolve(text: &str, existence: Existence) -> Result<PathBuf, Failure> {
    let path = if text.contains('/') {
        std::path::absolute(text).map_err(|source| Failure::NetnsPath {
            text: text.to_owned(),
            source,
        })?
    } else {
        named(text)
    };
    if existence == Existence::Required && !path.exists() {
        return Err(Failure::NoNetns(path));
    }
    Ok(path)
}

fn named(name: &str) -> PathBuf {
    let candidates = NAMED.map(|dir| Path::new(dir).join(name));
    let found = candidates.iter().find(|path| path.exists());
    found.unwrap_or(&candidates[0]).clone()
}

/// What cnitool calls a container without a name (`cnitool.go`: "Generate the containerid by hashing
/// the netns path"), so that one can remove what the other added.
pub(super) fn container(netns: &Path) -> ContainerId {
    let digest = Sha512::digest(netns.as_os_str().as_bytes());
    let mut id = "cnitool-".to_owned();
    for byte in &digest[..10] {
        // Writing to a string does not fail.
        let _ = write!(id, "{byte:02x}");
    }
    id.parse()
        .expect("a letter, then letters, '-' and hex digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s /var/run/netns/blue | sha512sum | cut -c1-20`.
    #[test]
    fn the_container_id_is_cnitools() {
        assert_eq!(
            container(Path::new("/var/run/netns/blue")).as_str(),
            "cnitool-296747069b8a02dc4e2a"
        );
    }

    #[test]
    fn a_name_is_a_file_of_ip_netns_and_a_slash_makes_a_path() {
        let at = |text| resolve(text, Existence::Optional).unwrap();
        assert_eq!(at("no-such-name"), Path::new("/run/netns/no-such-name"));
        assert_eq!(at("/proc/self/ns/net"), Path::new("/proc/self/ns/net"));
        assert_eq!(at("./x"), std::env::current_dir().unwrap().join("x"));
        assert!(matches!(
            resolve("no-such-name", Existence::Required),
            Err(Failure::NoNetns(_))
        ));
    }
}
