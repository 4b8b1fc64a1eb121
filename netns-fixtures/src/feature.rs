//! What this kernel can do, found out by doing it in a scratch namespace, and how a test that needs
//! more says so.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::ns::{Ns, NsError};
use crate::prefix_chain;
use crate::sandbox::Sandbox;

/// A kernel feature that some kernels we run on lack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Feature {
    /// netdev base chains bound to a device-name prefix (6.17).
    PrefixChains,
    /// `CONFIG_BRIDGE_VLAN_FILTERING`.
    BridgeVlanFiltering,
    /// `CONFIG_BRIDGE_NETFILTER`, with its settings per namespace.
    BrNetfilter,
    /// `CONFIG_VXLAN`.
    Vxlan,
    /// `CONFIG_IFB`.
    Ifb,
    /// `CONFIG_NET_SCH_TBF`.
    Tbf,
    /// `CONFIG_DUMMY`.
    Dummy,
    /// `CONFIG_INET_ESP`, `CONFIG_INET6_ESP` and `CONFIG_CRYPTO_GCM`.
    Esp,
    /// `CONFIG_IKCONFIG_PROC`: the kernel tells what it was built with.
    BuildConfig,
}

static KNOWN: Mutex<Vec<(Feature, bool)>> = Mutex::new(Vec::new());

impl Feature {
    /// Whether the running kernel has it; asked once per process.
    ///
    /// # Errors
    /// As [`Sandbox::ns`], for the scratch namespace.
    pub fn is_present(self) -> Result<bool, NsError> {
        // Only a whole pair is ever pushed. Held while probing, so that each is probed once.
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, present)) = known.iter().find(|(feature, _)| *feature == self) {
            return Ok(*present);
        }
        let sandbox = Sandbox::new();
        let present = self.probe(&sandbox.ns("probe")?)?;
        known.push((self, present));
        Ok(present)
    }

    fn probe(self, ns: &Ns) -> Result<bool, NsError> {
        Ok(match self {
            Self::PrefixChains => ns.enter(prefix_chain::try_create)?.map_err(|source| {
                ns.refused("create a netdev chain by prefix".to_owned(), source)
            })?,
            Self::BridgeVlanFiltering => {
                ns.ip("link add probe type bridge vlan_filtering 1").is_ok()
            }
            Self::BrNetfilter => ns.sysctl("net/bridge/bridge-nf-call-iptables").is_ok(),
            Self::Vxlan => ns.ip("link add probe type vxlan id 1 dstport 4789").is_ok(),
            Self::Ifb => ns.ip("link add probe type ifb").is_ok(),
            Self::Tbf => ns
                .sh("tc qdisc add dev lo root tbf rate 1mbit burst 10kb limit 10kb")
                .is_ok(),
            Self::Esp => ["192.0.2.1 dst 192.0.2.2", "2001:db8::1 dst 2001:db8::2"]
                .iter()
                .all(|between| {
                    let key = "0".repeat(72);
                    let state = format!(
                        "xfrm state add src {between} proto esp spi 0x1000 mode transport aead rfc4106(gcm(aes)) 0x{key} 128"
                    );
                    ns.ip(&state).is_ok()
                }),
            Self::BuildConfig => Path::new("/proc/config.gz").exists(),
            Self::Dummy => ns.ip("link add probe type dummy").is_ok(),
        })
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrefixChains => "netdev chains by device prefix",
            Self::BridgeVlanFiltering => "bridge VLAN filtering",
            Self::BrNetfilter => "br_netfilter",
            Self::Vxlan => "VXLAN",
            Self::Ifb => "ifb",
            Self::Tbf => "tbf",
            Self::Dummy => "dummy links",
            Self::Esp => "ESP with AES-GCM",
            Self::BuildConfig => "/proc/config.gz",
        })
    }
}

/// Reports that `test` does not run because the kernel lacks `feature`: one line on standard error
/// and, if `BULKHEAD_SKIPS` names a file, the same line appended to it. For
/// [`skip_without!`](crate::skip_without).
///
/// # Panics
/// When the file cannot be written: an unrecorded skip would pass for a success.
pub fn skip(test: &str, feature: Feature) {
    let path = std::env::var_os("BULKHEAD_SKIPS");
    record(test, feature, path.as_deref().map(Path::new));
}

fn record(test: &str, feature: Feature, path: Option<&Path>) {
    // `skip_without!` knows its function only by the type of a closure in it.
    let test = test.trim_end_matches("::{{closure}}");
    let line = format!("SKIPPED {test}: kernel lacks {feature}\n");
    eprint!("{line}");
    let Some(path) = path else { return };
    let appended = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    assert!(appended.is_ok(), "{}: {appended:?}", path.display());
}

/// Returns from the calling test, recording the skip by the test's name, when the kernel lacks a
/// [`Feature`].
///
/// ```no_run
/// # use netns_fixtures::{Feature, skip_without};
/// fn ports_are_mute_until_bound() {
///     skip_without!(Feature::PrefixChains);
/// }
/// ```
#[macro_export]
macro_rules! skip_without {
    ($feature:expr) => {
        if !$feature
            .is_present()
            .expect("a scratch namespace for the probe")
        {
            $crate::skip(::std::any::type_name_of_val(&|| ()), $feature);
            return;
        }
    };
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Major and minor of the running kernel.
    fn release() -> (u32, u32) {
        let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = text
            .split(['.', '-'])
            .map(|part| part.trim().parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    #[test]
    fn prefix_chains_are_found_where_the_kernel_has_them() {
        let present = Feature::PrefixChains.is_present().unwrap();
        match release() {
            // Late stable updates of 6.16 have it.
            (6, 16) => {}
            version => assert_eq!(present, version >= (6, 17)),
        }
    }

    #[test]
    fn features_are_those_the_kernel_was_built_with() {
        crate::skip_without!(Feature::BuildConfig);
        let config = std::process::Command::new("zcat")
            .arg("/proc/config.gz")
            .output();
        let config = String::from_utf8(config.unwrap().stdout).unwrap();
        for (feature, option) in [
            (
                Feature::BridgeVlanFiltering,
                "CONFIG_BRIDGE_VLAN_FILTERING=",
            ),
            (Feature::BrNetfilter, "CONFIG_BRIDGE_NETFILTER="),
            (Feature::Vxlan, "CONFIG_VXLAN="),
            (Feature::Ifb, "CONFIG_IFB="),
            (Feature::Tbf, "CONFIG_NET_SCH_TBF="),
            (Feature::Dummy, "CONFIG_DUMMY="),
            (Feature::Esp, "CONFIG_INET_ESP="),
        ] {
            let built = config.lines().any(|line| line.starts_with(option));
            assert_eq!(feature.is_present().unwrap(), built, "{feature}");
        }
    }

    #[test]
    fn a_skip_is_recorded_by_the_test_s_name() {
        let sandbox = Sandbox::new();
        let path = std::env::temp_dir().join(format!("{}skips", sandbox.stem()));
        for _ in 0..2 {
            let here = std::any::type_name_of_val(&|| ());
            record(here, Feature::Vxlan, Some(&path));
        }
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let line = concat!(
            "SKIPPED netns_fixtures::feature::tests::a_skip_is_recorded_by_the_test_s_name: ",
            "kernel lacks VXLAN"
        );
        assert_eq!(text.lines().collect::<Vec<_>>(), [line, line]);
    }
}
