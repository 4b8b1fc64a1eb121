//! How long somebody had an address: an acquisition and the end that belongs to it.

use bulkhead_ipam::wire::admin::{ChangeKind, ListedChange, NodeName, PodName};
use bulkhead_model::AttachmentKey;
use serde::Serialize;

use crate::output::or_dash;
use crate::time;

/// Somebody had an address.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tenure {
    #[serde(flatten)]
    key: AttachmentKey,
    pod: Option<PodName>,
    #[serde(flatten)]
    node: NodeName,
    sequence: Option<u64>,
    /// RFC 3339, UTC; `None` if the beginning is not kept.
    from: Option<String>,
    /// `None` if it lasts.
    until: Option<String>,
    /// How it ended: `released: del`.
    end: Option<String>,
    #[serde(skip)]
    from_unix_ms: Option<u64>,
    #[serde(skip)]
    until_unix_ms: Option<u64>,
}

impl Tenure {
    /// Everybody's, from changes in the order of their instants. What a statement about a node ended has
    /// no attachment: it ended whatever of that node lasted.
    pub(super) fn all(changes: &[ListedChange]) -> Vec<Self> {
        let mut tenures: Vec<Self> = Vec::new();
        for change in changes {
            let ends = matches!(
                change.what,
                ChangeKind::Released | ChangeKind::Reclaimed | ChangeKind::Lost
            );
            match (&change.attachment, change.what) {
                (Some(key), ChangeKind::Acquired) => tenures.push(Self::begun(key, change)),
                (Some(key), _) if ends => {
                    let known = tenures
                        .iter_mut()
                        .rev()
                        .find(|tenure| tenure.key == *key && tenure.sequence == change.sequence);
                    match known {
                        None => tenures.push(Self::ended(key, change)),
                        Some(tenure) if tenure.until_unix_ms.is_none() => tenure.end_with(change),
                        Some(_) => {}
                    }
                }
                (None, ChangeKind::Lost) => tenures
                    .iter_mut()
                    .filter(|tenure| tenure.until_unix_ms.is_none())
                    .for_each(|tenure| tenure.end_with(change)),
                _ => {}
            }
        }
        tenures
    }

    fn begun(key: &AttachmentKey, change: &ListedChange) -> Self {
        Self {
            key: key.clone(),
            pod: change.pod.clone(),
            node: change.node.clone(),
            sequence: change.sequence,
            from: Some(time::millis(change.at_unix_ms)),
            until: None,
            end: None,
            from_unix_ms: Some(change.at_unix_ms),
            until_unix_ms: None,
        }
    }

    /// One whose beginning is not kept.
    fn ended(key: &AttachmentKey, change: &ListedChange) -> Self {
        let mut tenure = Self {
            from: None,
            from_unix_ms: None,
            ..Self::begun(key, change)
        };
        tenure.end_with(change);
        tenure
    }

    fn end_with(&mut self, change: &ListedChange) {
        let what = super::what(change.what);
        self.until = Some(time::millis(change.at_unix_ms));
        self.until_unix_ms = Some(change.at_unix_ms);
        self.end = Some(if change.reason.is_empty() {
            what.to_owned()
        } else {
            format!("{what}: {}", change.reason)
        });
    }

    /// Whether it lasted at that instant.
    pub(super) fn covers(&self, at_unix_ms: u64) -> bool {
        self.from_unix_ms.is_none_or(|from| from <= at_unix_ms)
            && self.until_unix_ms.is_none_or(|until| at_unix_ms < until)
    }

    pub(super) fn text(&self) -> String {
        let AttachmentKey {
            network,
            container,
            interface,
        } = &self.key;
        let from = self.from_unix_ms.map(time::seconds);
        let until = match (self.until_unix_ms, &self.end) {
            (Some(until), Some(end)) => format!("{}, {end}", time::seconds(until)),
            _ => "now".to_owned(),
        };
        format!(
            "holder     {network}/{container}/{interface}\npod        {}\nnode       {}\nfrom       {}\nuntil      {until}\n",
            or_dash(self.pod.as_ref().map(crate::ipam::pod)),
            or_dash(Some(self.node.name.clone())),
            from.unwrap_or_else(|| "before what is kept".to_owned()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(
        at_unix_ms: u64,
        what: ChangeKind,
        container: Option<&str>,
        sequence: u64,
    ) -> ListedChange {
        ListedChange {
            at_unix_ms,
            what,
            node: NodeName::default(),
            attachment: container.map(|container| AttachmentKey {
                network: "blue".parse().unwrap(),
                container: container.parse().unwrap(),
                interface: "eth0".parse().unwrap(),
            }),
            pod: None,
            sequence: Some(sequence),
            reason: String::new(),
        }
    }

    fn at(tenures: &[Tenure], at_unix_ms: u64) -> Vec<&str> {
        let then = tenures.iter().filter(|tenure| tenure.covers(at_unix_ms));
        then.map(|tenure| tenure.key.container.as_str()).collect()
    }

    #[test]
    fn a_late_release_ends_its_own_lease_alone() {
        let tenures = Tenure::all(&[
            change(10, ChangeKind::Acquired, Some("c1"), 1),
            change(20, ChangeKind::Released, Some("c1"), 1),
            change(30, ChangeKind::Acquired, Some("c1"), 2),
            change(40, ChangeKind::Released, Some("c1"), 1),
        ]);
        assert_eq!(at(&tenures, 25), [""; 0]);
        assert_eq!(at(&tenures, 35), ["c1"]);
        assert_eq!(at(&tenures, 99), ["c1"]);
    }

    #[test]
    fn an_end_without_a_beginning_lasted_from_before() {
        let tenures = Tenure::all(&[change(20, ChangeKind::Reclaimed, Some("c1"), 1)]);
        assert_eq!(at(&tenures, 0), ["c1"]);
        assert_eq!(at(&tenures, 20), [""; 0]);
        assert!(
            tenures[0]
                .text()
                .contains("from       before what is kept\n")
        );
    }

    #[test]
    fn a_lost_node_ends_what_it_had() {
        let tenures = Tenure::all(&[
            change(10, ChangeKind::Acquired, Some("c1"), 1),
            change(20, ChangeKind::Lost, None, 0),
            change(30, ChangeKind::Acquired, Some("c2"), 1),
        ]);
        assert_eq!(at(&tenures, 15), ["c1"]);
        assert_eq!(at(&tenures, 25), [""; 0]);
        assert_eq!(at(&tenures, 35), ["c2"]);
    }

    #[test]
    fn clocks_that_disagree_show_both() {
        let tenures = Tenure::all(&[
            change(10, ChangeKind::Acquired, Some("c1"), 1),
            change(20, ChangeKind::Acquired, Some("c2"), 1),
            change(30, ChangeKind::Released, Some("c1"), 1),
        ]);
        assert_eq!(at(&tenures, 25), ["c1", "c2"]);
    }
}
