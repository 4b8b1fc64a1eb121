//! An attachment: one interface of one container on one network. Its identity is a digest over all
//! three names, and everything we name in the kernel is derived from it, so a half-made object is
//! found again by a process that remembers nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Vni;
use crate::address::{ParseError, serde_as_text};
use crate::{IfName, Mac};

/// A CNI network name: `[a-zA-Z0-9][a-zA-Z0-9_.-]*` (CNI spec 1.1.0, "Network configuration").
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NetworkName(String);

/// A CNI container id, same alphabet as a network name (CNI spec 1.1.0, "Parameters").
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ContainerId(String);

macro_rules! cni_name {
    ($type:ident, $expected:literal) => {
        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                let head = text
                    .bytes()
                    .next()
                    .is_some_and(|b| b.is_ascii_alphanumeric());
                let tail = text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
                if head && tail {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ParseError::new($expected, text))
                }
            }
        }

        serde_as_text!($type);
    };
}

cni_name!(
    NetworkName,
    "a network name (a letter or digit, then letters, digits, '_', '.' or '-')"
);
cni_name!(
    ContainerId,
    "a container id (a letter or digit, then letters, digits, '_', '.' or '-')"
);

/// What a runtime names an attachment by.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct AttachmentKey {
    /// The network, `name` of the network configuration.
    pub network: NetworkName,
    /// The container, `CNI_CONTAINERID`.
    pub container: ContainerId,
    /// The interface inside it, `CNI_IFNAME`.
    pub interface: IfName,
}

impl AttachmentKey {
    /// The digest of all three names.
    #[must_use]
    pub fn id(&self) -> AttachmentId {
        let parts = [
            self.network.as_str(),
            self.container.as_str(),
            self.interface.as_str(),
        ];
        AttachmentId(digest("attachment", &parts))
    }
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.network, self.container, self.interface)
    }
}

/// A SHA-256 over (network, container id, interface name).
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AttachmentId([u8; 32]);

impl AttachmentId {
    /// The host end of the veth: `bhp` and 12 base32 characters, 60 bits of the digest. The guard's
    /// chain is bound to the prefix `bhp`, so nothing else of ours carries it.
    #[must_use]
    pub fn port(&self) -> IfName {
        format!("bhp{}", base32(&self.0, 12))
            .parse()
            .expect("15 bytes of [a-z2-7]")
    }

    /// The ifb device through which the container's packets are shaped: `bhi` and 12 base32
    /// characters. Not `bhp`, since the guard's chain may be bound to that.
    #[must_use]
    pub fn ifb(&self) -> IfName {
        format!("bhi{}", base32(&self.0, 12))
            .parse()
            .expect("15 bytes of [a-z2-7]")
    }

    /// The MAC of the interface inside the container.
    #[must_use]
    pub fn interface_mac(&self) -> Mac {
        Mac::from_digest(&digest("interface mac", &[&self.to_string()]))
    }

    /// The MAC of the port on the host. Its first octet is fe, the highest there is: a bridge whose
    /// MAC nobody fixed takes the lowest of its ports' (`br_stp_recalculate_bridge_id`), and a
    /// bridge we join must keep its own.
    #[must_use]
    pub fn port_mac(&self) -> Mac {
        let mut digest = digest("port mac", &[&self.to_string()]);
        digest[0] = 0xfe;
        Mac::from_digest(&digest)
    }
}

impl IfName {
    /// Whether [`AttachmentId::port`] or [`AttachmentId::ifb`] makes such names.
    #[must_use]
    pub fn is_of_attachment(&self) -> bool {
        let digest = ["bhp", "bhi"]
            .iter()
            .find_map(|p| self.as_str().strip_prefix(p));
        digest.is_some_and(|digest| {
            digest.len() == 12
                && digest
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
        })
    }
}

impl fmt::Display for AttachmentId {
    /// 26 base32 characters: 130 bits, enough to be a file name and a store key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base32(&self.0, 26))
    }
}

impl fmt::Debug for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl NetworkName {
    /// The name of a table, chain or file that belongs to this network: `prefix` and 12 base32
    /// characters of the name's digest.
    #[must_use]
    pub fn derived(&self, prefix: &str) -> String {
        format!("{prefix}{}", base32(&digest("network", &[&self.0]), 12))
    }

    /// The MAC of the network's bridge on the node that `node` (its machine id) names: stable over
    /// reboots, different on every node, so that two nodes on one segment do not collide.
    #[must_use]
    pub fn bridge_mac(&self, node: &str) -> Mac {
        Mac::from_digest(&digest("bridge mac", &[&self.0, node]))
    }

    /// The name of the network's VXLAN device, the same on every node.
    #[must_use]
    pub fn vxlan_device(&self) -> IfName {
        let name = self.derived("bhx");
        name.parse().expect("three letters and twelve")
    }

    /// The MAC of that device on the node that `node` names in the cluster: known to whoever knows
    /// both, and the same after the device was made anew.
    #[must_use]
    pub fn vtep_mac(&self, node: &str) -> Mac {
        Mac::from_digest(&digest("vtep mac", &[&self.0, node]))
    }

    /// The name of the namespace that the network has for itself on the node that `node` names in the
    /// cluster, if it is one segment over all nodes: `bhn-` and twelve base32 characters.
    #[must_use]
    pub fn namespace(&self, node: &str) -> String {
        format!("bhn-{}", base32(&digest("namespace", &[&self.0, node]), 12))
    }

    /// The name of the bridge in there, the same on every node.
    #[must_use]
    pub fn segment_bridge(&self) -> IfName {
        let name = self.derived("bhb");
        name.parse().expect("three letters and twelve")
    }

    /// The MAC of the segment's gateway: the same on every node, each of which answers for it.
    #[must_use]
    pub fn gateway_mac(&self) -> Mac {
        Mac::from_digest(&digest("gateway mac", &[&self.0]))
    }

    /// The MAC of whoever has that place of a pool on the segment: known to every node before anybody
    /// has it.
    #[must_use]
    pub fn station_mac(&self, pool: &str, ordinal: u64) -> Mac {
        let place = ordinal.to_string();
        Mac::from_digest(&digest("station mac", &[&self.0, pool, &place]))
    }

    /// The link by which the segment's namespace reaches the node, named and addressed as an attachment's
    /// is.
    #[must_use]
    pub fn exit(&self) -> AttachmentKey {
        AttachmentKey {
            network: self.clone(),
            container: "exit".parse().expect("four letters"),
            interface: "exit0".parse().expect("five letters"),
        }
    }

    /// The identifier that the network has unless another is asked for.
    #[must_use]
    pub fn vni(&self) -> Vni {
        let digest = digest("vni", &[&self.0]);
        let number = u32::from_be_bytes([0, digest[0], digest[1], digest[2]]);
        Vni::new(number.max(1)).expect("24 bits, and not 0")
    }
}

/// Length-prefixed, so that ("a", "bc") and ("ab", "c") differ.
fn digest(domain: &str, parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [domain].iter().chain(parts) {
        hash.update(
            u64::try_from(part.len())
                .expect("a length fits 64 bits")
                .to_be_bytes(),
        );
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// The first `count` characters of RFC 4648 §6 base32, in lower case.
fn base32(bytes: &[u8], count: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |n: usize| bytes[n / 8] >> (7 - n % 8) & 1;
    (0..count)
        .map(|at| (0..5).fold(0, |value, n| value << 1 | bit(at * 5 + n)))
        .map(|value| char::from(ALPHABET[usize::from(value)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(network: &str, container: &str, interface: &str) -> AttachmentKey {
        AttachmentKey {
            network: network.parse().unwrap(),
            container: container.parse().unwrap(),
            interface: interface.parse().unwrap(),
        }
    }

    #[test]
    fn base32_is_rfc_4648() {
        assert_eq!(base32(b"foobar", 9), "mzxw6ytbo");
    }

    #[test]
    fn every_part_of_the_key_is_in_the_id() {
        let id = key("net", "c1", "eth0").id();
        for other in [
            key("net2", "c1", "eth0"),
            key("net", "c2", "eth0"),
            key("net", "c1", "eth1"),
        ] {
            assert_ne!(id, other.id());
        }
        assert_ne!(key("ab", "c", "eth0").id(), key("a", "bc", "eth0").id());
    }

    /// A release that derives other names would lose every object of the one before it.
    #[test]
    fn derived_names_never_change() {
        let id = key("blue", "c1", "eth0").id();
        assert_eq!(id.port().as_str().len(), 15);
        assert!(id.port().as_str().starts_with("bhp"));
        assert!(id.port().is_of_attachment() && id.ifb().is_of_attachment());
        assert!(!"bhp-1".parse::<IfName>().unwrap().is_of_attachment());
        assert_eq!(id.interface_mac().octets()[0] & 0b11, 0b10);
        assert_ne!(id.interface_mac(), id.port_mac());
        assert_eq!(id.port_mac().octets()[0], 0xfe);
    }

    #[test]
    fn a_station_s_mac_is_of_its_network_pool_and_place() {
        let (blue, red): (NetworkName, NetworkName) =
            ("blue".parse().unwrap(), "red".parse().unwrap());
        let mac = blue.station_mac("a", 7);
        assert_eq!(mac, blue.station_mac("a", 7));
        for other in [
            red.station_mac("a", 7),
            blue.station_mac("b", 7),
            blue.station_mac("a", 8),
            blue.gateway_mac(),
        ] {
            assert_ne!(mac, other);
        }
        assert_eq!(blue.namespace("n1").len(), 16);
        assert_ne!(blue.namespace("n1"), blue.namespace("n2"));
    }

    #[test]
    fn names_follow_the_spec() {
        for bad in ["", "-a", ".a", "a/b", "a b", "ü"] {
            assert!(bad.parse::<NetworkName>().is_err(), "{bad:?}");
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
    }
}
