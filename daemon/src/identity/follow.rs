//! Following the store: each kind of rows is read whole and then watched, and a watch that ends is begun anew
//! the same way. Of endpoints only those of the node's own networks are read and kept; one watch tells of
//! all. While the store is away, what was known last goes on.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bulkhead_ipam::cluster::Revision;
use bulkhead_ipam::cluster::operations::StoreTrouble;

use super::mirror::KINDS;
use super::publish::part;
use super::{Identities, spawn};
use crate::node::Node;

/// How long a watch is waited for before it is looked whether it is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait after the store has failed.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) fn start(node: &Arc<Node>) -> std::io::Result<()> {
    for kind in KINDS {
        spawn(node, "policy-store", move |node| {
            go_on(&node.identities, kind, |identities| identities.follow(kind));
        })?;
    }
    spawn(node, "policy-store", |node| {
        go_on(&node.identities, "endpoints", Identities::follow_endpoints);
    })
}

fn go_on(
    identities: &Identities,
    kind: &'static str,
    follow: impl Fn(&Identities) -> Result<(), StoreTrouble>,
) {
    while !identities.ends() {
        if let Err(error) = follow(identities) {
            tracing::debug!(%error, kind, "what policies are about is read anew");
            thread::sleep(PAUSE);
        }
    }
}

impl Identities {
    /// Reads what a store of the node's own says, before anybody is served: it is there, and whoever asks first is
    /// not told that it was not read yet.
    pub(super) fn read_own(&self) {
        if !self.is_alone() {
            return;
        }
        for kind in KINDS {
            if let Err(error) = self.list(kind) {
                tracing::debug!(%error, kind, "what policies are about is read anew");
            }
        }
    }

    /// Reads a kind whole; as of which revision.
    fn list(&self, kind: &'static str) -> Result<Revision, StoreTrouble> {
        let (store, schema) = (self.cluster.backend.store(), &self.cluster.schema);
        let range = schema.kind(kind);
        let listing = store.range(&range, 0)?;
        self.kept.list(&range, &listing.rows);
        self.tell(|mirror| mirror.list(schema, kind, &listing.rows));
        Ok(listing.revision)
    }

    fn follow(&self, kind: &'static str) -> Result<(), StoreTrouble> {
        let (store, schema) = (self.cluster.backend.store(), &self.cluster.schema);
        let revision = self.list(kind)?;
        let mut watch = store.watch(&schema.kind(kind), revision)?;
        while !self.ends() {
            let events = watch.next(PATIENCE)?;
            if !events.is_empty() {
                self.kept.observe(&events);
                self.tell(|mirror| mirror.observe(schema, kind, &events));
            }
        }
        Ok(())
    }

    fn follow_endpoints(&self) -> Result<(), StoreTrouble> {
        let (store, schema) = (self.cluster.backend.store(), &self.cluster.schema);
        let range = schema.kind("endpoints");
        let listing = store.range(&range, 1)?;
        let mut watch = store.watch(&range, listing.revision)?;
        // What is listed from here on is as of that revision or later.
        self.tell(super::mirror::Mirror::forget_listings);
        self.list_networks()?;
        self.tell(|mirror| mirror.followed(listing.revision));
        while !self.ends() {
            let events = watch.next(PATIENCE)?;
            if !events.is_empty() {
                self.kept.observe(&events);
                self.tell(|mirror| mirror.observe_endpoints(schema, &events));
            }
            // Networks that the node has joined while the store was away.
            self.list_networks()?;
        }
        Ok(())
    }

    /// Reads the endpoints of networks that have not been read yet.
    pub(super) fn list_networks(&self) -> Result<(), StoreTrouble> {
        let schema = &self.cluster.schema;
        for network in self.look(super::mirror::Mirror::unlisted) {
            let Some(part) = part(&network) else {
                // Nobody publishes any of it; it must not keep what was seen of the others from being told.
                self.tell(|mirror| mirror.list_endpoints(&network, Vec::new(), Revision(0)));
                continue;
            };
            let operations = self.cluster.operations();
            let (rows, revision) = operations.endpoints_of(&part, None)?;
            self.kept.endpoints(schema, &part, &rows);
            self.tell(|mirror| mirror.list_endpoints(&network, rows, revision));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, process};

    use bulkhead_ipam::{Access, StateDir};

    use super::super::mirror::Mark;
    use super::*;
    use crate::cluster::Cluster;
    use crate::config::Config;

    /// Nobody follows it yet.
    #[test]
    fn what_a_store_of_the_nodes_own_says_is_known_from_the_beginning() {
        let dir = env::temp_dir().join(format!("bulkheadd-own-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (file, state) = (dir.join("bulkheadd.toml"), dir.join("state"));
        fs::write(&file, format!("state_dir = \"{}\"\n", state.display())).unwrap();
        let config = Config::load(&file).unwrap();
        let state = Arc::new(StateDir::open(&state, Access::Exclusive).unwrap());
        let cluster = Arc::new(Cluster::open(&config, &state).unwrap());
        let identities = Identities::open(&cluster, &state, [].into()).unwrap();
        let known = identities.read(Mark::default(), |_, _| ());
        fs::remove_dir_all(dir).unwrap();
        assert_eq!(known, Some(()));
    }
}
