//! The workspace as cargo sees it, read offline.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The root directory of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Why an edge of the dependency graph exists (The Cargo Book, "Specifying Dependencies").
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// Linked.
    Normal,
    /// Linked into the build script.
    Build,
    /// Linked into tests only.
    Dev,
}

/// One package of the resolved graph.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The licence expression of its manifest.
    pub licence: Option<String>,
    /// Its directory below the root; `None` for a package from outside.
    pub directory: Option<String>,
    edges: BTreeSet<(Kind, String)>,
}

/// Every package that is built on this machine's platform, and who depends on whom.
#[derive(Clone, Debug)]
pub struct Graph {
    packages: BTreeMap<String, Package>,
}

impl Graph {
    /// Asks `cargo metadata`, without the network and without changing the lock file.
    ///
    /// # Panics
    /// With cargo's words when it refuses: a test cannot go on.
    #[must_use]
    pub fn load() -> Self {
        let host = host_platform();
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--offline", "--locked"])
            .args(["--filter-platform", &host])
            .current_dir(root())
            .output()
            .expect("cargo runs this test, so it can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo metadata: {said}");
        let metadata: Value =
            serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
        Self::parse(&metadata)
    }

    fn parse(metadata: &Value) -> Self {
        let mut packages: BTreeMap<String, Package> = array(&metadata["packages"])
            .map(|package| (text(&package["id"]), Package::parse(package)))
            .collect();
        for node in array(&metadata["resolve"]["nodes"]) {
            let edges = array(&node["deps"]).flat_map(|dep| {
                let to = text(&dep["pkg"]);
                array(&dep["dep_kinds"]).map(move |kind| (kind_of(&kind["kind"]), to.clone()))
            });
            if let Some(package) = packages.get_mut(&text(&node["id"])) {
                package.edges.extend(edges);
            }
        }
        // With a platform filter, what is not resolved for it is still listed among the packages.
        let resolved: BTreeSet<String> = array(&metadata["resolve"]["nodes"])
            .map(|node| text(&node["id"]))
            .collect();
        packages.retain(|id, _| resolved.contains(id));
        Self { packages }
    }

    /// Every package, ours and others'.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// The workspace's own packages.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages().filter(|p| p.directory.is_some())
    }

    /// The member of that name.
    ///
    /// # Panics
    /// When there is none: the test that asks is about it.
    #[must_use]
    pub fn member(&self, name: &str) -> &Package {
        self.members()
            .find(|p| p.name == name)
            .unwrap_or_else(|| panic!("no package {name} in the workspace"))
    }

    /// What `package` depends on directly, with why.
    pub fn dependencies<'a>(
        &'a self,
        package: &'a Package,
    ) -> impl Iterator<Item = (Kind, &'a Package)> {
        let edges = package.edges.iter();
        edges.filter_map(|(kind, id)| Some((*kind, self.packages.get(id)?)))
    }

    /// A path of names from `package` to the first package among `targets` that is linked into it.
    #[must_use]
    pub fn path_to(&self, package: &Package, targets: &[&str]) -> Option<Vec<String>> {
        let mut seen = BTreeSet::new();
        let mut open = vec![vec![package]];
        while let Some(path) = open.pop() {
            let last = *path.last()?;
            if targets.contains(&last.name.as_str()) {
                return Some(path.into_iter().map(|p| p.name.clone()).collect());
            }
            for (_, next) in self
                .dependencies(last)
                .filter(|(kind, _)| *kind == Kind::Normal)
            {
                if seen.insert((&next.name, &next.version)) {
                    open.push(path.iter().copied().chain([next]).collect());
                }
            }
        }
        None
    }
}

impl Package {
    fn parse(package: &Value) -> Self {
        let manifest = text(&package["manifest_path"]);
        let ours = package["source"].is_null();
        let directory = Path::new(&manifest)
            .parent()
            .and_then(|dir| dir.strip_prefix(root()).ok())
            .filter(|_| ours);
        Self {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: package["license"].as_str().map(str::to_owned),
            directory: directory.map(|dir| dir.to_string_lossy().into_owned()),
            edges: BTreeSet::new(),
        }
    }
}

fn kind_of(kind: &Value) -> Kind {
    match kind.as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn host_platform() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output = Command::new(rustc).arg("-vV").output();
    let output = output.expect("rustc compiled this test, so it can be started");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc -vV names its host")
        .to_owned()
}
