//! The kernel's release and modules, and nft's version.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bulkhead_plan::Hook;

use crate::coexist::network::Bridged;
use crate::coexist::tool::run;

/// What runs on the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Software {
    /// Major and minor number of the kernel.
    pub(crate) kernel: Option<(u32, u32)>,
    /// Modules the kernel has or can load; `None` if nothing tells.
    pub(crate) modules: Option<BTreeSet<String>>,
    /// nft's version, asked for only if it matters.
    pub(crate) nft: Option<(u32, u32, u32)>,
}

impl Software {
    pub(super) fn read(networks: &[Bridged]) -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let hooks = networks
            .iter()
            .filter_map(|network| network.config.as_ref());
        let binds_prefixes = hooks
            .map(|config| config.hook)
            .any(|hook| hook == Hook::Prefix);
        Self {
            kernel: numbers(&release).map(|[major, minor, _]| (major, minor)),
            modules: modules(release.trim()),
            nft: if binds_prefixes { nft() } else { None },
        }
    }
}

/// `nftables v1.0.6 (Lester Gooch #5)`.
fn nft() -> Option<(u32, u32, u32)> {
    let said = run(&["nft", "--version"]).ok()?;
    let version = said.stdout.split_whitespace().find_map(|word| {
        let number = word.strip_prefix('v')?;
        numbers(number)
    });
    version.map(|[major, minor, patch]| (major, minor, patch))
}

/// The first three numbers of a version; missing ones are 0.
fn numbers(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text
        .trim()
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    Some([
        numbers.next()?,
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    ])
}

/// Built in, loadable and loaded ones; `None` if the kernel's own directory is missing, as in many
/// virtual machines.
fn modules(release: &str) -> Option<BTreeSet<String>> {
    let dir = Path::new("/lib/modules").join(release);
    let builtin = fs::read_to_string(dir.join("modules.builtin")).ok()?;
    let loadable = fs::read_to_string(dir.join("modules.dep")).ok()?;
    let loaded = fs::read_to_string("/proc/modules").unwrap_or_default();
    let paths = builtin.lines().chain(loadable.lines());
    let named = paths.filter_map(module_name);
    let loaded = loaded.lines().filter_map(|line| line.split(' ').next());
    Some(named.chain(loaded.map(str::to_owned)).collect())
}

/// `kernel/net/bridge/bridge.ko.zst: kernel/net/802/stp.ko.zst` names `bridge`.
fn module_name(line: &str) -> Option<String> {
    let path = line.split(':').next()?;
    let file = path.rsplit('/').next()?;
    let (name, _) = file.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_modules_are_read_as_they_are_written() {
        assert_eq!(numbers("6.18.44-cloud-amd64\n"), Some([6, 18, 44]));
        assert_eq!(numbers("7.0-rc1"), Some([7, 0, 0]));
        assert_eq!(numbers("linux"), None);
        let line = "kernel/net/sched/sch-tbf.ko.zst: kernel/x.ko";
        assert_eq!(module_name(line).as_deref(), Some("sch_tbf"));
    }
}
