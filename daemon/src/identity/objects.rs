//! What operators write about who may talk to whom: files taken apart into objects, each of which is one
//! document of the store, and documents of the store read into a world.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_ipam::cluster::schema::ObjectRow;
use bulkhead_ipam::cluster::{NameError, ObjectId};
use bulkhead_model::NetworkName;
use bulkhead_policy::read::{Complaint, Effect, Reader, Reading, SyntaxError};
use bulkhead_policy::{EndpointSelector, Network, Peer, Policy, PolicyId, World};

use super::mirror::News;

/// The kind of a namespace's object.
const NAMESPACE: &str = "Namespace";
/// The kind of a network's object.
const NETWORK: &str = "Network";

/// An object that somebody wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Written {
    pub(crate) id: ObjectId,
    pub(crate) file: String,
    /// The line of the file that its document begins at.
    pub(crate) line: u32,
    pub(crate) document: String,
}

/// What files say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Files {
    pub(crate) objects: Vec<Written>,
    /// What should be known of them, a sentence each.
    pub(crate) notes: Vec<String>,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileRefusal {
    /// It is neither JSON nor YAML.
    #[error("{file}: not read")]
    Syntax {
        /// The file.
        file: String,
        /// Where in it, and what is wrong.
        #[source]
        source: SyntaxError,
    },
    /// Something in it is not understood; all of it, a line each.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Complaints(Vec<Complaint>),
    /// A document is a list of objects, which are not told apart.
    #[error(
        "{file}:{line}: a list of {count} objects in YAML; write each as a document of its own (`---`), or the list as JSON"
    )]
    List {
        /// The file.
        file: String,
        /// The line.
        line: u32,
        /// How many.
        count: usize,
    },
    /// An object's name cannot be a part of a key.
    #[error("{file}:{line}: the object is not kept under its name")]
    Name {
        /// The file.
        file: String,
        /// The line.
        line: u32,
        /// Why.
        #[source]
        source: NameError,
    },
    /// An object is there twice.
    #[error("{file}:{line}: {id} is there twice, at {before} before; leave one")]
    Twice {
        /// The file.
        file: String,
        /// The line.
        line: u32,
        /// The object.
        id: ObjectId,
        /// Where it was before.
        before: String,
    },
    /// There is nothing in them.
    #[error("no policy, security group, namespace or network is written there")]
    Nothing,
}

/// Takes files apart. Everything that is not understood is told at once.
///
/// # Errors
/// [`FileRefusal`]; nothing of any file is taken then.
pub(crate) fn read<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Files, FileRefusal> {
    let mut all = Files::default();
    let mut complaints = Vec::new();
    let mut places: BTreeMap<ObjectId, String> = BTreeMap::new();
    let mut others = 0;
    for (file, text) in files {
        for (line, document) in documents(text) {
            let reading = read_at(file, line, &document).map_err(|source| FileRefusal::Syntax {
                file: file.to_owned(),
                source,
            })?;
            let of_runtimes = reading.world.endpoints.len() + reading.world.nodes.len();
            others += reading.others + of_runtimes;
            let ids = ids(&reading).map_err(|source| FileRefusal::Name {
                file: file.to_owned(),
                line,
                source,
            })?;
            if ids.len() + of_runtimes + reading.others > 1 {
                return Err(FileRefusal::List {
                    file: file.to_owned(),
                    line,
                    count: ids.len() + of_runtimes + reading.others,
                });
            }
            for complaint in reading.complaints {
                match complaint.effect {
                    Effect::Told => all.notes.push(complaint.to_string()),
                    Effect::Closed | Effect::Ignored => complaints.push(complaint),
                }
            }
            for id in ids {
                if let Some(before) = places.insert(id.clone(), format!("{file}:{line}")) {
                    return Err(FileRefusal::Twice {
                        file: file.to_owned(),
                        line,
                        id,
                        before,
                    });
                }
                all.objects.push(Written {
                    id,
                    file: file.to_owned(),
                    line,
                    document: document.clone(),
                });
            }
        }
    }
    if !complaints.is_empty() {
        return Err(FileRefusal::Complaints(complaints));
    }
    if others > 0 {
        all.notes.push(format!(
            "{others} objects of other kinds are left out: endpoints are known from their runtimes"
        ));
    }
    if all.objects.is_empty() {
        return Err(FileRefusal::Nothing);
    }
    Ok(all)
}

/// The documents of a text and the lines that they begin at. A list of JSON is as many as it has items.
fn documents(text: &str) -> Vec<(u32, String)> {
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        return items(&value).map_or_else(
            || vec![(1, text.to_owned())],
            |items| items.into_iter().map(|item| (1, item)).collect(),
        );
    }
    let mut all: Vec<(u32, String)> = Vec::new();
    let mut document = (1, String::new());
    for (nth, line) in (1_u32..).zip(text.split_inclusive('\n')) {
        let ends = line.trim_end() == "---" || line.starts_with("--- ");
        if ends {
            all.push(std::mem::replace(&mut document, (nth + 1, String::new())));
        } else {
            document.1.push_str(line);
        }
    }
    all.push(document);
    all.retain(|(_, text)| {
        let mut lines = text.lines().map(str::trim);
        lines.any(|line| !line.is_empty() && !line.starts_with('#'))
    });
    all
}

/// The items of a list, each a document of its own; `None` if it is none.
fn items(value: &serde_json::Value) -> Option<Vec<String>> {
    let kind = value.get("kind")?.as_str()?.strip_suffix("List")?;
    let items = value.get("items")?.as_array()?;
    let item = |item: &serde_json::Value| {
        let mut item = item.clone();
        // `kubectl get -o json` says version and kind of the items once.
        if let Some(object) = item.as_object_mut().filter(|_| !kind.is_empty()) {
            object.entry("kind").or_insert_with(|| kind.into());
            let version = value.get("apiVersion").cloned().unwrap_or_default();
            object.entry("apiVersion").or_insert(version);
        }
        item.to_string()
    };
    Some(items.iter().map(item).collect())
}

/// Reads a document, so that what is told of it has the lines of its file.
fn read_at(file: &str, line: u32, document: &str) -> Result<Reading, SyntaxError> {
    let above = usize::try_from(line.saturating_sub(1)).unwrap_or_default();
    let mut reader = Reader::new();
    reader.read(file, &("\n".repeat(above) + document))?;
    Ok(reader.finish())
}

/// The objects that were read, by the names that the store knows them by.
fn ids(reading: &Reading) -> Result<Vec<ObjectId>, NameError> {
    let world = &reading.world;
    let policies = world.policies.keys().map(object_id);
    let namespaces = world
        .namespaces
        .keys()
        .map(|name| cluster_wide(NAMESPACE, name));
    let networks = world
        .networks
        .keys()
        .map(|name| cluster_wide(NETWORK, name.as_str()));
    policies.chain(namespaces).chain(networks).collect()
}

fn cluster_wide(kind: &str, name: &str) -> Result<ObjectId, NameError> {
    Ok(ObjectId {
        kind: kind.parse()?,
        namespace: None,
        name: name.parse()?,
    })
}

/// A policy's name in the store.
fn object_id(id: &PolicyId) -> Result<ObjectId, NameError> {
    let namespace = id.namespace.as_deref().map(str::parse);
    Ok(ObjectId {
        kind: id.kind.to_string().parse()?,
        namespace: namespace.transpose()?,
        name: id.name.parse()?,
    })
}

/// The documents of the store, read.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    policies: BTreeMap<ObjectId, PolicyId>,
    /// What is written about networks; what the node knows of them itself is more.
    networks: BTreeMap<NetworkName, Network>,
    /// What is wrong with documents that are there.
    problems: BTreeMap<ObjectId, String>,
}

impl Objects {
    /// What of them could not be read, a sentence each.
    pub(crate) fn unread(&self) -> Vec<String> {
        self.problems.values().cloned().collect()
    }

    /// What is written about a network.
    pub(super) fn network(&self, name: &NetworkName) -> Option<&Network> {
        self.networks.get(name)
    }

    /// A document is there, and says this now; what is otherwise in the world. One that cannot be read at all changes
    /// nothing: what it said before goes on.
    pub(super) fn put(&mut self, world: &mut World, id: &ObjectId, row: &ObjectRow) -> Vec<News> {
        let reading = match read_at(&row.file, row.line, &row.document) {
            Ok(reading) => reading,
            Err(error) => {
                let text = format!("{id} is not read: {error}; apply it again");
                tracing::error!("{text}");
                self.problems.insert(id.clone(), text);
                return Vec::new();
            }
        };
        let mut news = self.remove(world, id);
        let wrong: Vec<String> = reading
            .complaints
            .iter()
            .filter(|complaint| complaint.effect != Effect::Told)
            .map(ToString::to_string)
            .collect();
        if !wrong.is_empty() {
            // Of an object that a later release applied.
            self.problems.insert(id.clone(), wrong.join("; "));
        }
        for (policy_id, policy) in reading.world.policies {
            self.policies.insert(id.clone(), policy_id.clone());
            news.push(News::Policy(policy_id.clone()));
            world.policies.insert(policy_id, policy);
        }
        for (name, namespace) in reading.world.namespaces {
            news.push(News::Namespace(name.clone()));
            world.namespaces.insert(name, namespace);
        }
        self.networks.extend(reading.world.networks);
        news
    }

    /// A document is gone; what is otherwise in the world. What is written about networks is not in there.
    pub(super) fn remove(&mut self, world: &mut World, id: &ObjectId) -> Vec<News> {
        let mut news = Vec::new();
        self.problems.remove(id);
        if let Some(policy) = self.policies.remove(id) {
            world.policies.remove(&policy);
            news.push(News::Policy(policy));
        }
        match id.kind.as_str() {
            NAMESPACE => {
                let name = id.name.as_str();
                world.namespaces.remove(name);
                news.push(News::Namespace(name.to_owned()));
            }
            NETWORK => {
                if let Ok(name) = id.name.as_str().parse::<NetworkName>() {
                    self.networks.remove(&name);
                }
            }
            _ => {}
        }
        news
    }

    /// No document is there.
    pub(super) fn clear(&mut self, world: &mut World) {
        *self = Self::default();
        world.policies.clear();
        world.namespaces.clear();
    }
}

/// The security groups that a document speaks of, each once.
pub(crate) fn spoken_of(file: &str, line: u32, document: &str) -> BTreeSet<String> {
    let Ok(reading) = read_at(file, line, document) else {
        return BTreeSet::new();
    };
    let policies = reading.world.policies.values();
    policies.flat_map(groups_of).collect()
}

fn groups_of(policy: &Policy) -> Vec<String> {
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    let peers = rules.flat_map(|rule| &rule.peers);
    let of = |selector: &EndpointSelector| match selector {
        EndpointSelector::Group(group) => Some(group.to_string()),
        _ => None,
    };
    let named = peers.filter_map(|peer| match peer {
        Peer::Endpoints(selector) => of(selector),
        _ => None,
    });
    named.chain(policy.subject.iter().filter_map(of)).collect()
}
