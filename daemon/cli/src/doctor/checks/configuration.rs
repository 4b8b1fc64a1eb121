//! The configuration directory: what runtimes will make of it, and whether the plugins it names are
//! there.

use std::path::Path;

use bulkhead_cni::list::NetworkList;

use crate::doctor::finding::{Finding, Id, or_ok};
use crate::doctor::node::{Node, PluginFile, is_ours, list_of, needed};
use crate::failure::chain;
use crate::net::versions;
use crate::sources::Entry;

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let mut findings = or_ok(
        files(node),
        Id::ConfBroken,
        format!("every file of {} is used", node.directory.path.display()),
    );
    findings.extend(first(node));
    findings.extend(refused(node));
    findings.extend(aside(node));
    findings.extend(or_ok(
        plugins(node),
        Id::PluginMissing,
        "every plugin that our networks name is there",
    ));
    findings
}

/// Files that are not what they look like.
fn files(node: &Node) -> Vec<Finding> {
    let findings = node.directory.entries.iter().filter_map(|entry| match entry {
        Entry::Broken(error) => Some(
            Finding::problem(Id::ConfBroken, chain(error))
                .why("runtimes pass the file over, or take no network at all while it is there")
                .help("correct the file, or move it out of the directory"),
        ),
        Entry::Shadowed { list, by } => Some(
            Finding::warn(
                Id::ConfShadowed,
                format!(
                    "{} is about network {} too, and {} is read first",
                    list.path.display(),
                    list.name,
                    by.display()
                ),
            )
            .of([&list.name])
            .why("runtimes that look a network up by its name never see it, and containerd and CRI-O may")
            .help(format!("rm {}, or give its network another name", list.path.display())),
        ),
        Entry::Network(_) => None,
    });
    findings.collect()
}

/// containerd and CRI-O attach pods to the first list that they can read.
fn first(node: &Node) -> Vec<Finding> {
    let ours: Vec<_> = node
        .directory
        .lists()
        .filter(|list| is_ours(list))
        .collect();
    let Some(first) = node.directory.lists().next() else {
        return Vec::new();
    };
    if is_ours(first) || ours.is_empty() {
        let seen = format!("containerd and CRI-O take {}", first.path.display());
        return vec![Finding::ok(Id::ConfNotFirst, seen)];
    }
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let ours_now = name(&ours[0].path);
    let bare = ours_now.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    let earlier = node.directory.path.join(format!("00-{bare}"));
    let seen = format!("{} is read before {}", first.path.display(), ours_now);
    vec![
        Finding::warn(Id::ConfNotFirst, seen)
            .of(ours.iter().map(|list| &list.name))
            .why(format!(
                "containerd and CRI-O attach pods to the first list, network {}; podman and nerdctl choose by name and do not care",
                first.name
            ))
            .help(format!("remove {}, if nothing needs it", first.path.display()))
            .help(format!(
                "or give ours a name that comes first: mv {} {}",
                ours[0].path.display(),
                earlier.display()
            )),
    ]
}

fn refused(node: &Node) -> Vec<Finding> {
    let findings = node.refused.iter().map(|refused| {
        let file = refused.file.as_deref().unwrap_or(Path::new(""));
        Finding::problem(
            Id::ConfRefused,
            format!("{}: {}", file.display(), chain(&refused.error)),
        )
        .of([&refused.network])
        .why("every ADD of the network answers this error")
        .help(format!(
            "correct {}; docs/bridge.md lists the keys",
            file.display()
        ))
    });
    findings.collect()
}

/// Files that no runtime reads.
fn aside(node: &Node) -> Vec<Finding> {
    let ignored = node.directory.ignored.iter().map(|path| {
        let seen = format!(
            "{} names a plugin of ours and is read by no runtime",
            path.display()
        );
        Finding::warn(Id::ConfIgnored, seen)
            .why("only names that end with .conflist, .conf or .json are configurations")
            .help(format!("mv {0} {0}.conflist, or remove it", path.display()))
    });
    let left = node.directory.leftovers.iter().map(|path| {
        let seen = format!("{} was left by an installation that died", path.display());
        Finding::warn(Id::ConfLeftover, seen)
            .why("nothing reads it, and the next `bulkhead install` removes it")
            .help(format!("rm {}", path.display()))
    });
    ignored.chain(left).collect()
}

fn plugins(node: &Node) -> Vec<Finding> {
    let lists = node.directory.entries.iter().filter_map(list_of);
    let mut findings = Vec::new();
    for list in lists.filter(|list| is_ours(list)) {
        for plugin in needed(list) {
            let file = node.directory.plugins.get(&plugin);
            let finding = file.and_then(|file| plugin_of(list, &plugin, file));
            findings.extend(finding.map(|finding| finding.of([&list.name])));
        }
    }
    findings
}

fn plugin_of(list: &NetworkList, plugin: &str, file: &PluginFile) -> Option<Finding> {
    const WHY: &str = "ADD and DEL of the network fail at it";
    let config = list.path.display();
    Some(match file {
        PluginFile::Missing => {
            let seen = format!("plugin {plugin} is in no plugin directory");
            let help = if plugin.starts_with("bulkhead-") {
                "bulkhead install --no-conf".to_owned()
            } else {
                format!(
                    "install the package with {plugin} (containernetworking-plugins), or take it out of {config}"
                )
            };
            Finding::problem(Id::PluginMissing, seen)
                .why(WHY)
                .help(help)
        }
        PluginFile::NotExecutable(path) => {
            let path = path.display();
            Finding::problem(Id::PluginNotExecutable, format!("{path} is not executable"))
                .why(WHY)
                .help(format!("chmod 755 {path}"))
        }
        PluginFile::Silent(said) => {
            let seen = format!("plugin {plugin} does not say which versions it speaks: {said}");
            Finding::warn(Id::PluginSilent, seen)
                .why("it may not run at all")
                .help(format!(
                    "CNI_COMMAND=VERSION {plugin}, and read what it says"
                ))
        }
        PluginFile::Speaks(spoken) => {
            let wanted = versions(list);
            let mute = wanted.iter().find(|version| !spoken.contains(version))?;
            let spoken = spoken.join(", ");
            let seen =
                format!("{config} names version {mute}, and plugin {plugin} speaks {spoken}");
            Finding::problem(Id::PluginVersion, seen)
                .why(format!(
                    "runtimes that speak {mute} fail at it: \"plugin {plugin} does not support config version\""
                ))
                .help(format!("update the package with {plugin}"))
                .help(format!("or take {mute} out of \"cniVersion\" and \"cniVersions\" in {config}"))
        }
    })
}
