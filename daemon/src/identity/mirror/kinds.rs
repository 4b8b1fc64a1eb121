//! Rows of the kinds that are followed whole: fences, nodes, and what is written about who may talk to whom.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_ipam::cluster::schema::{
    FenceRow, FenceState, MemberRow, NodeRow, ObjectRow, Place, RevisionRow, RowError, Schema,
};
use bulkhead_ipam::cluster::{Event, MemberId, Row};
use bulkhead_model::NetworkName;
use bulkhead_policy::{EndpointId, Node, NodeName};

use super::{Mirror, News, told};

impl Mirror {
    /// Takes in all rows of a kind.
    pub(in crate::identity) fn list(&mut self, schema: &Schema, kind: &'static str, rows: &[Row]) {
        match kind {
            "fences" => self.fences.clear(),
            "nodes" => self.nodes.clear(),
            _ => {
                self.objects.clear(&mut self.world);
                self.touched
                    .extend(std::mem::take(&mut self.members).into_keys());
                self.mark.policies = 0;
                self.note(News::Everything);
            }
        }
        for row in rows {
            told(self.put(schema, row));
        }
        self.read.insert(kind);
        self.changed(kind);
    }

    /// Takes in changes of a kind that is followed whole.
    pub(in crate::identity) fn observe(
        &mut self,
        schema: &Schema,
        kind: &'static str,
        events: &[Event],
    ) {
        for event in events {
            match &event.row {
                // A row that is not understood changes nothing: what it said before goes on.
                Some(row) => told(self.put(schema, row)),
                None => self.remove(schema, event),
            }
        }
        self.changed(kind);
    }

    fn put(&mut self, schema: &Schema, row: &Row) -> Result<(), RowError> {
        match schema.place(&row.key) {
            Some(Place::Fence(node)) => {
                let (_, fence) = schema.read::<FenceRow>(row)?;
                self.fences.insert(node, fence);
            }
            Some(Place::Node(node)) => {
                let (_, about) = schema.read::<NodeRow>(row)?;
                self.nodes.insert(node, about);
            }
            Some(Place::PolicyRevision) => {
                let (_, last) = schema.read::<RevisionRow>(row)?;
                self.mark.policies = last.revision;
            }
            Some(Place::Object(id)) => {
                let (_, object) = schema.read::<ObjectRow>(row)?;
                let news = self.objects.put(&mut self.world, &id, &object);
                for one in news {
                    self.note(one);
                }
            }
            Some(Place::Member(id)) => {
                schema.read::<MemberRow>(row)?;
                let endpoint = endpoint_name(&id);
                self.touched.insert(endpoint.clone());
                self.members.entry(endpoint).or_default().insert(id);
            }
            _ => {}
        }
        Ok(())
    }

    fn remove(&mut self, schema: &Schema, event: &Event) {
        match schema.place(&event.key) {
            Some(Place::Fence(node)) => drop(self.fences.remove(&node)),
            Some(Place::Node(node)) => drop(self.nodes.remove(&node)),
            Some(Place::Object(id)) => {
                let news = self.objects.remove(&mut self.world, &id);
                for one in news {
                    self.note(one);
                }
            }
            Some(Place::Member(id)) => {
                let endpoint = endpoint_name(&id);
                if let Some(its) = self.members.get_mut(&endpoint) {
                    its.remove(&id);
                }
                self.touched.insert(endpoint);
            }
            _ => {}
        }
    }

    /// Rows of a kind have changed: the world follows.
    pub(super) fn changed(&mut self, kind: &'static str) {
        if kind == "policy" {
            let networks: BTreeSet<NetworkName> = self.world.networks.keys().cloned().collect();
            for network in &networks {
                self.settle_network(network);
            }
            self.note(News::Revision);
            let touched = std::mem::take(&mut self.touched);
            let touched: Vec<EndpointId> = touched.iter().flat_map(|it| self.called(it)).collect();
            for id in touched {
                self.settle(id);
            }
            return;
        }
        self.settle_nodes();
        // Fences say which rows are void, nodes what nodes are called.
        let named: Vec<EndpointId> = self.named.keys().cloned().collect();
        for id in named {
            self.settle(id);
        }
    }

    fn settle_nodes(&mut self) {
        let mut nodes: BTreeMap<NodeName, Node> = BTreeMap::new();
        for (id, about) in &self.nodes {
            let fence = self.fences.get(id);
            if fence.is_some_and(|fence| fence.state == FenceState::Lost) {
                continue;
            }
            let node = nodes.entry(self.name_of(id)).or_default();
            node.addresses.extend(about.addresses.iter().copied());
            node.labels = about.labels.iter().collect();
        }
        if let Some(own) = self.world.nodes.get(&self.own_name) {
            nodes
                .entry(self.own_name.clone())
                .or_insert_with(|| own.clone());
        }
        if nodes != self.world.nodes {
            self.world.nodes = nodes;
            self.note(News::Nodes);
        }
    }
}

fn endpoint_name(id: &MemberId) -> (String, String) {
    (id.namespace.to_string(), id.name.to_string())
}
