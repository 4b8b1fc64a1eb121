//! What is known of who is where and who may talk to whom, kept as rows arrive. Pure: rows in, a world out,
//! changed element by element.

mod claims;
mod kinds;
mod news;
mod rows;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use bulkhead_ipam::Labels as LabelMap;
use bulkhead_ipam::cluster::schema::{EndpointRow, FenceRow, FenceState, NodeRow, RowError};
use bulkhead_ipam::cluster::{MemberId, NodeId, ObjectPart, Revision};
use bulkhead_model::{AttachmentId, AttachmentKey, NetworkName};
use bulkhead_policy::{EndpointId, GroupName, Network, Node, NodeName, Space, World};

use super::objects::Objects;
use super::row::{Held, endpoint_of, id_of};
use claims::Claimed;
pub(super) use news::News;
pub(crate) use news::{Changed, Mark};

/// The kinds of rows that are followed whole.
pub(super) const KINDS: [&str; 3] = ["fences", "nodes", "policy"];

/// Where an endpoint's row stands.
type At = (NetworkName, NodeId, String);

/// All of it.
#[derive(Debug)]
pub(super) struct Mirror {
    own: NodeId,
    own_name: NodeName,
    world: World,
    /// Rows of endpoints of the networks that the node is on, and their last changes; the node's own as its
    /// journals have them.
    rows: BTreeMap<At, (EndpointRow, Revision)>,
    named: BTreeMap<EndpointId, BTreeSet<At>>,
    claimed: Claimed,
    /// The networks that the node is on, and the revision as of which their rows were listed; `None` before.
    networks: BTreeMap<NetworkName, Option<Revision>>,
    /// What the node knows of its networks itself.
    about: BTreeMap<NetworkName, Network>,
    fences: BTreeMap<NodeId, FenceRow>,
    nodes: BTreeMap<NodeId, NodeRow>,
    objects: Objects,
    /// Members of groups, by namespace and name of the endpoint, which need not be there.
    members: BTreeMap<(String, String), BTreeSet<MemberId>>,
    /// Endpoints whose membership has changed since the world was brought there.
    touched: BTreeSet<(String, String)>,
    /// Kinds that were read whole, from the store or from what was kept of it.
    read: BTreeSet<&'static str>,
    mark: Mark,
    /// Every change of endpoints up to this revision of the store was seen.
    seen: Revision,
    /// The last changes.
    log: VecDeque<(u64, News)>,
}

impl Mirror {
    pub(super) fn new(own: NodeId, own_name: &str, addresses: &[IpAddr], labels: LabelMap) -> Self {
        let own_name = NodeName::new(own_name);
        let node = Node {
            addresses: addresses.iter().copied().collect(),
            labels: labels.into_iter().collect(),
        };
        let world = World {
            nodes: [(own_name.clone(), node)].into(),
            ..World::default()
        };
        Self {
            own,
            own_name,
            world,
            rows: BTreeMap::new(),
            named: BTreeMap::new(),
            claimed: Claimed::default(),
            networks: BTreeMap::new(),
            about: BTreeMap::new(),
            fences: BTreeMap::new(),
            nodes: BTreeMap::new(),
            objects: Objects::default(),
            members: BTreeMap::new(),
            touched: BTreeSet::new(),
            read: BTreeSet::new(),
            mark: Mark::default(),
            seen: Revision(0),
            log: VecDeque::new(),
        }
    }

    /// Whether it is known what policies there are. Before, nothing may be decided by what is not there.
    pub(super) fn knows_policies(&self) -> bool {
        self.read.contains("policy")
    }

    pub(super) const fn world(&self) -> &World {
        &self.world
    }

    pub(super) const fn mark(&self) -> Mark {
        self.mark
    }

    /// What of the objects could not be read, a sentence each.
    pub(super) fn unread(&self) -> Vec<String> {
        self.objects.unread()
    }

    /// An attachment of this node is recorded; the endpoint that it is.
    pub(super) fn put_own(&mut self, row: EndpointRow) -> EndpointId {
        let id = id_of(&row);
        let at = self.own_at(&row.attachment.network, &row.attachment.id());
        self.put_row(&at, row, Revision(0));
        id
    }

    /// An attachment of this node is gone; what it had.
    pub(super) fn remove_own(&mut self, network: &NetworkName, id: &AttachmentId) -> Held {
        let at = self.own_at(network, id);
        let had = self.rows.get(&at).map(|(row, _)| Held::of_row(row));
        self.remove_row(&at);
        had.unwrap_or_default()
    }

    /// The node's own endpoints on a network.
    pub(super) fn own_on(&self, network: &NetworkName) -> usize {
        let own = self
            .rows
            .range((network.clone(), self.own.clone(), String::new())..);
        own.take_while(|((of, node, _), _)| of == network && *node == self.own)
            .count()
    }

    /// The node is on a network now; what is known of the network itself.
    pub(super) fn join(&mut self, network: &NetworkName, about: Network) {
        self.networks.entry(network.clone()).or_insert(None);
        self.about.insert(network.clone(), about);
        self.settle_network(network);
    }

    /// Brings one network of the world to what is known of it, and what is written.
    fn settle_network(&mut self, network: &NetworkName) {
        let Some(about) = self.about.get(network) else {
            if self.world.networks.remove(network).is_some() {
                self.note(News::Everything);
            }
            return;
        };
        let mut now = about.clone();
        if let Some(written) = self.objects.network(network) {
            now.gateways.extend(&written.gateways);
            now.pools.extend(&written.pools);
            (now.ingress, now.egress) = (written.ingress, written.egress);
            // That its addresses are its own is also known without a word of it.
            if written.space != Space::Node {
                now.space = written.space.clone();
            }
        }
        if self.world.networks.get(network) != Some(&now) {
            let space = now.space.clone();
            let before = self.world.networks.insert(network.clone(), now);
            self.note(News::Everything);
            if before.is_some_and(|before| before.space != space) {
                // Whose an address is may be otherwise now.
                let named: Vec<EndpointId> = self.named.keys().cloned().collect();
                for id in named {
                    self.settle(id);
                }
            }
        }
    }

    /// The networks that the node is on.
    pub(super) fn networks(&self) -> Vec<NetworkName> {
        self.networks.keys().cloned().collect()
    }

    /// Networks whose rows have not been listed since the node is on them, or since a watch was lost.
    pub(super) fn unlisted(&self) -> Vec<NetworkName> {
        let unlisted = self.networks.iter().filter(|(_, listed)| listed.is_none());
        unlisted.map(|(network, _)| network.clone()).collect()
    }

    /// Every network has to be listed anew.
    pub(super) fn forget_listings(&mut self) {
        self.networks.values_mut().for_each(|listed| *listed = None);
    }

    /// The node has nothing on a network any more.
    pub(super) fn leave(&mut self, network: &NetworkName) {
        if self.networks.remove(network).is_none() {
            return;
        }
        let rows: Vec<At> = self.rows_of(network).cloned().collect();
        for at in &rows {
            self.remove_row(at);
        }
        self.about.remove(network);
        self.settle_network(network);
    }

    /// The node's own attachments.
    pub(super) fn own(&self) -> Vec<AttachmentKey> {
        let own = self
            .rows
            .iter()
            .filter(|((_, node, _), _)| *node == self.own);
        own.map(|(_, (row, _))| row.attachment.clone()).collect()
    }

    /// The endpoints of a name, on whatever network.
    pub(super) fn called(&self, (namespace, name): &(String, String)) -> Vec<EndpointId> {
        let first = EndpointId::new(namespace.clone(), name.clone());
        let named = self.named.range(first..).map(|(id, _)| id);
        named
            .take_while(|id| id.namespace == *namespace && id.name == *name)
            .cloned()
            .collect()
    }

    fn name_of(&self, node: &NodeId) -> NodeName {
        if *node == self.own {
            return self.own_name.clone();
        }
        let about = self.nodes.get(node).map(|about| &about.name);
        let fence = self.fences.get(node).map(|fence| &fence.name);
        let name = about.or(fence).filter(|name| !name.is_empty());
        name.map_or_else(|| NodeName::new(node.as_str()), NodeName::new)
    }

    fn space_of(&self, network: &NetworkName) -> Space {
        let known = self.world.networks.get(network);
        known.map_or(Space::Node, |known| known.space.clone())
    }

    /// Brings one endpoint of the world to what its rows say.
    fn settle(&mut self, id: EndpointId) {
        let rows = self.named.get(&id).into_iter().flatten();
        let known = |at: &At| {
            let row = self.valid(at)?;
            Some((self.name_of(&at.1), row, self.had_of(at, row)))
        };
        let rows: Vec<(NodeName, &EndpointRow, Held)> = rows.filter_map(known).collect();
        let endpoint = endpoint_of(&rows, self.groups_of(&id));
        if endpoint.as_ref() == self.world.endpoints.get(&id) {
            return;
        }
        match endpoint {
            Some(endpoint) => drop(self.world.endpoints.insert(id.clone(), endpoint)),
            None => drop(self.world.endpoints.remove(&id)),
        }
        self.note(News::Endpoint(id));
    }

    /// A row, unless its node was declared lost or began another life after it.
    fn valid(&self, at: &At) -> Option<&EndpointRow> {
        let (row, _) = self.rows.get(at)?;
        let stands = at.1 == self.own
            || self
                .fences
                .get(&at.1)
                .is_some_and(|fence| fence.state == FenceState::Active && fence.epoch == row.epoch);
        stands.then_some(row)
    }

    /// The groups that an endpoint is a member of, there already or not.
    fn groups_of(&self, id: &EndpointId) -> BTreeSet<GroupName> {
        let network = id.network.as_ref().map(NetworkName::as_str);
        let meant = |member: &&MemberId| {
            let only = member.network.as_ref().map(ObjectPart::as_str);
            only.is_none() || only == network
        };
        let members = self.members.get(&(id.namespace.clone(), id.name.clone()));
        let meant = members.into_iter().flatten().filter(meant);
        meant
            .filter_map(|member| member.group.as_str().parse().ok())
            .collect()
    }
}

fn told(understood: Result<(), RowError>) {
    if let Err(error) = understood {
        tracing::warn!(%error, "a row of the store is passed over");
    }
}
