//! What is known of who is where and who may talk to whom, kept as rows arrive. Pure: rows in, a world out,
//! changed element by element.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use bulkhead_ipam::Labels as LabelMap;
use bulkhead_ipam::cluster::operations::EndpointListed;
use bulkhead_ipam::cluster::schema::{
    EndpointRow, FenceRow, FenceState, MemberRow, NodeRow, ObjectRow, Place, RevisionRow, RowError,
    Schema,
};
use bulkhead_ipam::cluster::{Event, MemberId, NodeId, ObjectPart, Revision, Row};
use bulkhead_model::{AttachmentId, AttachmentKey, NetworkName};
use bulkhead_policy::{
    Changes, EndpointId, GroupName, Network, Node, NodeName, OwnPrefix, PolicyId, Space, World,
};

use super::objects::Objects;
use super::row::{Held, endpoint_of, id_of};

/// The kinds of rows that are followed whole.
pub(super) const KINDS: [&str; 3] = ["fences", "nodes", "policy"];

/// Changes that are remembered one by one: whoever has missed more looks at everything.
const REMEMBERED: usize = 4 << 10;

/// Where knowledge stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mark {
    /// The revision of the policies.
    pub(crate) policies: u64,
    /// Every change of endpoints up to this revision of the store is known; those up to a later one may be,
    /// if they were about nothing that is kept.
    pub(crate) store: u64,
    /// Rises with every change, of this node's own endpoints too.
    pub(crate) change: u64,
}

/// What has changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Changed {
    /// Where knowledge stands now.
    pub(crate) mark: Mark,
    /// Networks have, or more than is remembered one by one.
    pub(crate) everything: bool,
    /// Else no more than this.
    pub(crate) changes: Changes,
}

/// One change.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// Somebody or something, nobody says who.
    Everything,
    Endpoint(EndpointId),
    Policy(PolicyId),
    Namespace(String),
    Nodes,
    /// A revision, nothing else.
    Revision,
}

/// Where an endpoint's row stands.
type At = (NetworkName, NodeId, String);

/// Who claims an address, or a prefix.
#[derive(Clone, Copy, Debug, Default)]
struct Claims {
    /// Rows of the node itself.
    own: u32,
    /// Of all others.
    others: u32,
}

impl Claims {
    /// One more, or one less.
    fn change<K: Ord>(
        all: &mut BTreeMap<K, Self>,
        what: K,
        is_own: bool,
        change: impl Fn(&mut u32),
    ) {
        match all.entry(what) {
            Entry::Vacant(new) => new.insert(Self::default()).count(is_own, change),
            Entry::Occupied(mut known) => {
                known.get_mut().count(is_own, change);
                let Self { own, others } = known.get();
                if (*own, *others) == (0, 0) {
                    known.remove();
                }
            }
        }
    }

    fn count(&mut self, is_own: bool, change: impl Fn(&mut u32)) {
        change(if is_own {
            &mut self.own
        } else {
            &mut self.others
        });
    }
}

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
    /// How many rows claim an address.
    claims: BTreeMap<IpAddr, Claims>,
    prefix_claims: BTreeMap<OwnPrefix, Claims>,
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
            claims: BTreeMap::new(),
            prefix_claims: BTreeMap::new(),
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

    /// Whether something has changed since.
    pub(super) const fn is_newer(&self, than: Mark) -> bool {
        self.mark.change > than.change
    }

    /// What has changed since.
    pub(super) fn since(&self, mark: Mark) -> Changed {
        let first = self
            .log
            .front()
            .map_or(self.mark.change + 1, |(nth, _)| *nth);
        let mut changed = Changed {
            mark: self.mark,
            everything: first > mark.change + 1,
            changes: Changes::default(),
        };
        let news = self.log.iter().rev();
        for (_, what) in news.take_while(|(nth, _)| *nth > mark.change) {
            let all = &mut changed.changes;
            match what {
                News::Everything => changed.everything = true,
                News::Endpoint(id) => drop(all.endpoints.insert(id.clone())),
                News::Policy(id) => drop(all.policies.insert(id.clone())),
                News::Namespace(name) => drop(all.namespaces.insert(name.clone())),
                News::Nodes => all.nodes = true,
                News::Revision => {}
            }
        }
        changed
    }

    fn note(&mut self, what: News) {
        self.mark.change += 1;
        self.mark.store = self.seen.0;
        self.log.push_back((self.mark.change, what));
        if self.log.len() > REMEMBERED {
            self.log.pop_front();
        }
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

    fn own_at(&self, network: &NetworkName, id: &AttachmentId) -> At {
        (network.clone(), self.own.clone(), id.to_string())
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

    fn rows_of(&self, network: &NetworkName) -> impl Iterator<Item = &At> {
        let from: At = (network.clone(), lowest(), String::new());
        let rows = self.rows.range(from..).map(|(at, _)| at);
        rows.take_while(move |(of, _, _)| of == network)
    }

    /// Takes in all rows of a network.
    pub(super) fn list_endpoints(
        &mut self,
        network: &NetworkName,
        listed: Vec<EndpointListed>,
        revision: Revision,
    ) {
        // The node has left it meanwhile, or somebody has listed it later.
        match self.networks.get(network) {
            Some(listed) if listed.is_none_or(|listed| listed < revision) => {}
            _ => return,
        }
        self.networks.insert(network.clone(), Some(revision));
        self.followed(revision);
        let there: BTreeSet<At> = listed
            .iter()
            .map(|one| (network.clone(), one.node.clone(), one.id.to_string()))
            .collect();
        let gone = self.rows_of(network);
        let gone = gone.filter(|at| at.1 != self.own && !there.contains(*at));
        let gone: Vec<At> = gone.cloned().collect();
        for at in &gone {
            self.remove_row(at);
        }
        for one in listed {
            let at = (network.clone(), one.node, one.id.to_string());
            if at.1 != self.own {
                self.put_row(&at, one.row, one.modified);
            }
        }
    }

    /// Takes in all rows of a kind.
    pub(super) fn list(&mut self, schema: &Schema, kind: &'static str, rows: &[Row]) {
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
    pub(super) fn observe(&mut self, schema: &Schema, kind: &'static str, events: &[Event]) {
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
    fn changed(&mut self, kind: &'static str) {
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

    /// The endpoints of a name, on whatever network.
    pub(super) fn called(&self, (namespace, name): &(String, String)) -> Vec<EndpointId> {
        let first = EndpointId::new(namespace.clone(), name.clone());
        let named = self.named.range(first..).map(|(id, _)| id);
        named
            .take_while(|id| id.namespace == *namespace && id.name == *name)
            .cloned()
            .collect()
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

    fn name_of(&self, node: &NodeId) -> NodeName {
        if *node == self.own {
            return self.own_name.clone();
        }
        let about = self.nodes.get(node).map(|about| &about.name);
        let fence = self.fences.get(node).map(|fence| &fence.name);
        let name = about.or(fence).filter(|name| !name.is_empty());
        name.map_or_else(|| NodeName::new(node.as_str()), NodeName::new)
    }

    /// Takes in changes of endpoints.
    pub(super) fn observe_endpoints(&mut self, schema: &Schema, events: &[Event]) {
        if let Some(last) = events.last() {
            self.followed(last.revision);
        }
        for event in events {
            let Some(Place::Endpoint { network, node, id }) = schema.place(&event.key) else {
                continue;
            };
            let Ok(network) = network.as_str().parse::<NetworkName>() else {
                continue;
            };
            let listed = self.networks.get(&network).copied().flatten();
            // What it says of networks that are not listed yet the list will say, and what came before it is
            // in it.
            if node == self.own || listed.is_none_or(|listed| event.revision <= listed) {
                continue;
            }
            let at = (network, node, id.to_string());
            match &event.row {
                Some(row) => match schema.read::<EndpointRow>(row) {
                    Ok((_, value)) => self.put_row(&at, value, row.modified),
                    Err(error) => told(Err(error)),
                },
                None => self.remove_row(&at),
            }
        }
    }

    /// How far the store was seen, with the last change that came of it.
    pub(super) const fn seen(&self) -> (u64, Revision) {
        (self.mark.change, self.seen)
    }

    /// Every change of endpoints up to this revision of the store is known, or is taken in now.
    pub(super) fn followed(&mut self, revision: Revision) {
        if self.unlisted().is_empty() {
            self.seen = self.seen.max(revision);
        }
    }

    fn put_row(&mut self, at: &At, row: EndpointRow, modified: Revision) {
        let (id, held) = (id_of(&row), Held::of_row(&row));
        self.claim(at, &held, |count| *count += 1);
        let before = self.rows.insert(at.clone(), (row, modified));
        let before = before.map(|(row, _)| row);
        let had = before.as_ref().map(Held::of_row).unwrap_or_default();
        self.claim(at, &had, |count| *count -= 1);
        if let Some(before) = before.map(|row| id_of(&row)).filter(|it| *it != id) {
            self.unname(&before, at);
            self.settle(before);
        }
        self.named.entry(id.clone()).or_default().insert(at.clone());
        self.settle(id);
        for held in [had, held] {
            self.settle_others(at, &held);
        }
    }

    fn remove_row(&mut self, at: &At) {
        if let Some((row, _)) = self.rows.remove(at) {
            let had = Held::of_row(&row);
            self.claim(at, &had, |count| *count -= 1);
            let id = id_of(&row);
            self.unname(&id, at);
            self.settle(id);
            self.settle_others(at, &had);
        }
    }

    fn claim(&mut self, at: &At, held: &Held, change: impl Fn(&mut u32)) {
        let is_own = at.1 == self.own;
        for address in &held.addresses {
            Claims::change(&mut self.claims, *address, is_own, &change);
        }
        for own in &held.prefixes {
            Claims::change(&mut self.prefix_claims, *own, is_own, &change);
        }
    }

    /// Claims of an address, and of the prefix that it is in.
    fn claims_of(&self, address: IpAddr) -> impl Iterator<Item = &Claims> {
        let around = OwnPrefix::around(address);
        let around = around.and_then(|around| self.prefix_claims.get(&around));
        self.claims.get(&address).into_iter().chain(around)
    }

    /// Claims of a prefix, and of the addresses in it.
    fn claims_in(&self, own: OwnPrefix) -> impl Iterator<Item = &Claims> {
        let within = self.claims.range(own.first()..=own.last());
        let within = within.map(|(_, claims)| claims);
        self.prefix_claims.get(&own).into_iter().chain(within)
    }

    /// What the node's own endpoints have, or had, may be claimed by others' rows.
    fn settle_others(&mut self, at: &At, held: &Held) {
        if at.1 != self.own {
            return;
        }
        if !self.is_claimed_elsewhere(held) {
            return;
        }
        let rows = self.rows.values().map(|(row, _)| row);
        let meant = rows.filter(|row| Held::of_row(row).overlaps(held));
        let meant: BTreeSet<EndpointId> = meant.map(id_of).collect();
        for id in meant {
            self.settle(id);
        }
    }

    fn is_claimed_elsewhere(&self, held: &Held) -> bool {
        let addresses = held.addresses.iter();
        let addresses = addresses.flat_map(|address| self.claims_of(*address));
        let prefixes = held.prefixes.iter();
        let prefixes = prefixes.flat_map(|own| self.claims_in(*own));
        let mut claims = addresses.chain(prefixes);
        claims.any(|claims| claims.others > 0)
    }

    /// What a row's endpoint has. What the node's own endpoints have, in the same space, nobody has elsewhere: two
    /// nodes may each give out the same range for themselves, and a pod that moves takes its address along. Of a
    /// prefix in which one of them has an address only those addresses are left that the row has by themselves.
    fn had_of(&self, at: &At, row: &EndpointRow) -> Held {
        let mut held = Held::of_row(row);
        if at.1 == self.own {
            return held;
        }
        held.addresses.retain(|address| {
            let mut claims = self.claims_of(*address);
            let address = Held {
                addresses: vec![*address],
                prefixes: Vec::new(),
            };
            claims.all(|claims| claims.own == 0) || !self.is_own(&at.0, &address)
        });
        held.prefixes.retain(|own| {
            let mut claims = self.claims_in(*own);
            let own = Held {
                addresses: Vec::new(),
                prefixes: vec![*own],
            };
            claims.all(|claims| claims.own == 0) || !self.is_own(&at.0, &own)
        });
        held
    }

    /// Whether an endpoint of the node itself has something of it, in the space of `network`.
    fn is_own(&self, network: &NetworkName, held: &Held) -> bool {
        let space = self.space_of(network);
        let networks = self.networks.keys();
        let mut alike = networks.filter(|of| self.space_of(of) == space);
        alike.any(|of| {
            let from: At = (of.clone(), self.own.clone(), String::new());
            let rows = self.rows.range(from..);
            let mut own = rows.take_while(|(at, _)| at.0 == *of && at.1 == self.own);
            own.any(|(_, (row, _))| Held::of_row(row).overlaps(held))
        })
    }

    fn space_of(&self, network: &NetworkName) -> Space {
        let known = self.world.networks.get(network);
        known.map_or(Space::Node, |known| known.space.clone())
    }

    fn unname(&mut self, id: &EndpointId, at: &At) {
        if let Some(all) = self.named.get_mut(id) {
            all.remove(at);
            if all.is_empty() {
                self.named.remove(id);
            }
        }
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

fn endpoint_name(id: &MemberId) -> (String, String) {
    (id.namespace.to_string(), id.name.to_string())
}

/// The first id of a node that there can be.
fn lowest() -> NodeId {
    "0".parse().expect("a digit is an id")
}

fn told(understood: Result<(), RowError>) {
    if let Err(error) = understood {
        tracing::warn!(%error, "a row of the store is passed over");
    }
}
