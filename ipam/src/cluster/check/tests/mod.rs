mod changes;
mod lag;
mod of_rows;
mod of_witnesses;

use super::*;
use crate::cluster::operations::tests::{Cluster, lease, lease_at, node, pool};
use crate::cluster::schema::{LeaseRow, Place, PoolRow};

/// A cluster with the journals of n1, which is the node that is asked, and its kernel.
struct Scene {
    cluster: Cluster,
    journals: Vec<Journal>,
    kernel: Kernel,
}

impl Scene {
    /// Everybody says the same; only n1's journals are known.
    fn new() -> Self {
        let cluster = Cluster::new();
        let held = [65, 66].map(|ordinal| held(&cluster, ordinal));
        let containers = held.iter().map(container).collect();
        Self {
            journals: vec![journal("n1", 64, held.to_vec())],
            kernel: Kernel {
                node: node("n1"),
                containers,
            },
            cluster,
        }
    }

    /// n2's journals are known, too.
    fn with_both() -> Self {
        let mut scene = Self::new();
        let held = held(&scene.cluster, 300);
        scene.journals.push(journal("n2", 256, vec![held]));
        scene
    }

    fn check(&self) -> Checked {
        let rows = self.cluster.rows();
        check(&Facts {
            schema: &self.cluster.schema,
            rows: &rows,
            journals: &self.journals,
            kernels: std::slice::from_ref(&self.kernel),
        })
    }

    /// Rule and subject of every violation.
    fn found(&self) -> Vec<(Rule, String)> {
        let violations = self.check().violations.into_iter();
        violations.map(|one| (one.rule, one.subject)).collect()
    }
}

/// The journal of a node with one block of 64 ordinals.
fn journal(of: &str, first: u64, held: Vec<Held>) -> Journal {
    Journal {
        node: node(of),
        place: format!("{of}:/var/lib/bulkhead"),
        held,
        blocks: Some(vec![(pool("default"), Block::new(first, 6).unwrap())]),
        queued: BTreeSet::new(),
    }
}

/// What the owner of a lease has on record.
fn held(cluster: &Cluster, ordinal: u64) -> Held {
    let row: LeaseRow = cluster.value(&lease_at("default", ordinal)).unwrap();
    Held {
        attachment: row.attachment,
        pool: pool("default"),
        ordinal,
        addresses: row.addresses,
        sequence: row.sequence,
    }
}

/// Its container.
fn container(held: &Held) -> Container {
    Container {
        attachment: Some(held.attachment.clone()),
        place: format!("/run/netns/{} eth0", held.attachment.container),
        addresses: Some(held.addresses.clone()),
        port: Port::Present,
    }
}

/// A lease of a node at another ordinal than those that there are.
fn another(cluster: &Cluster, ordinal: u64, owner: &str) -> LeaseRow {
    let row: PoolRow = cluster.value(&Place::Pool(pool("default"))).unwrap();
    lease(&row, ordinal, owner)
}
