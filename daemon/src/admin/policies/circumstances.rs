//! What the node knows of the way that packets take: for whoever explains what becomes of one. Each part that
//! cannot be read is named, and the others are told nevertheless.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bulkhead_cni::Verb;
use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::wire::admin::{
    Circumstances, EndpointName, Established, Judged, Leads, ListedOverlay, Masqueraded, Reason,
    RequestError, SeenAttachment, SeenLink, SeenWay,
};
use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_model::{Family, IfName, NetworkName, Prefix};
use bulkhead_nft as nft;
use bulkhead_policy::matrix::End;
use bulkhead_policy::{Endpoint, EndpointId, NoQuestion, NodeName, Packet, Question, World};

use super::state::node as node_row;
use super::{told, ways};
use crate::admin::cluster::because;
use crate::admin::{Admin, failed, node_name};
use crate::clock::unix_ms;
use crate::identity::Identities;
use crate::policy::standing;
use crate::{config, kind};

/// Most routes of the main table that are told.
const MOST_WAYS: usize = 4096;

/// Whom a question is about, and with what.
pub(super) struct About {
    text: String,
    /// Whoever has a part in it.
    pub(super) ends: BTreeSet<EndpointId>,
    addresses: BTreeSet<IpAddr>,
    /// As the node's table is to judge them.
    packets: Vec<Packet>,
}

impl About {
    /// Of a question, and of the same after the node has translated its destination.
    fn of(
        text: &str,
        world: &World,
        asked: &Question,
        real: &Question,
    ) -> Result<Self, NoQuestion> {
        real.concerns_somebody(world)?;
        // What is sent to an address is of its family.
        let is_possible = |family: &Family| match asked.destination {
            End::Address(to) => Family::of(to) == *family,
            End::Endpoint(_) | End::Part(..) => true,
        };
        let families = [Family::V4, Family::V6].into_iter().filter(is_possible);
        let packets = families.filter_map(|family| real.packet(world, family));
        let mut addresses = BTreeSet::new();
        for end in [&asked.source, &asked.destination, &real.destination] {
            match end {
                End::Address(address) => drop(addresses.insert(*address)),
                End::Endpoint(id) | End::Part(id, _) => {
                    let known = world.endpoints.get(id).into_iter();
                    addresses.extend(known.flat_map(|endpoint| &endpoint.addresses));
                }
            }
        }
        let holds = |endpoint: &Endpoint| {
            let mut asked = addresses.iter();
            asked.any(|address| endpoint.holds(*address))
        };
        let ends = world
            .endpoints
            .iter()
            .filter(|(_, endpoint)| holds(endpoint));
        Ok(Self {
            text: text.to_owned(),
            ends: ends.map(|(id, _)| id.clone()).collect(),
            packets: packets.collect(),
            addresses,
        })
    }

    fn is_about(&self, seen: &SeenAttachment) -> bool {
        let id = id_of(&seen.endpoint);
        self.ends.contains(&id)
    }
}

impl Admin {
    /// Whom a question is about.
    ///
    /// # Errors
    /// It is none, or about nobody.
    pub(super) fn about(
        &self,
        text: &str,
        attachments: &[SeenAttachment],
    ) -> Result<About, RequestError> {
        let refusal = |error: NoQuestion| {
            let code = match error {
                NoQuestion::Nobody(_) => Reason::NotFound,
                NoQuestion::Several { .. } => Reason::Ambiguous,
                NoQuestion::Form(_) | NoQuestion::Outside(..) => Reason::Invalid,
            };
            let hint = match error {
                NoQuestion::Nobody(_) => "; `bulkhead policy endpoints` lists them",
                _ => "",
            };
            because(code, format!("{error}{hint}"))
        };
        let identities = &self.node.identities;
        let read = |world: &World| Ok((Question::read(text, world)?, self.own_addresses(world)));
        let (asked, own) = identities.look_at(read).map_err(refusal)?;
        let is_own = match asked.destination {
            End::Address(to) => own.contains(&to) || is_here(to),
            End::Endpoint(_) | End::Part(..) => false,
        };
        let ports = attachments.iter().flat_map(|seen| {
            let ports = seen.record.names.host_ports.iter();
            ports.map(|mapping| (mapping, id_of(&seen.endpoint)))
        });
        let translated = asked.translated(ports, |_| is_own);
        let judged = translated.map_or_else(|| asked.clone(), |(judged, _)| judged);
        identities
            .look_at(|world| About::of(text, world, &asked, &judged))
            .map_err(refusal)
    }

    /// The node's own addresses, as policies know them.
    fn own_addresses(&self, world: &World) -> BTreeSet<IpAddr> {
        let name = NodeName::new(self.node.cluster.name.clone());
        let own = world.nodes.get(&name).into_iter();
        let own = own.flat_map(|node| node.addresses.iter());
        let gateways = world
            .networks
            .values()
            .flat_map(|network| &network.gateways);
        own.chain(gateways).copied().collect()
    }

    /// The node's attachments.
    pub(super) fn seen_attachments(&self) -> Result<Vec<SeenAttachment>, RequestError> {
        let refused = |error: &dyn std::error::Error| failed(&crate::told::chain(error));
        let mut all = Vec::new();
        let state = &self.node.state;
        for network in state.networks().map_err(|error| refused(&error))? {
            let known = state.network(&network).read();
            let Some(known) = known.map_err(|error| refused(&error))? else {
                continue;
            };
            let records = known.attachments().map_err(|error| refused(&error))?;
            all.extend(records.into_iter().map(|record| SeenAttachment {
                endpoint: name_of(&Identities::called(&record)),
                record,
            }));
        }
        Ok(all)
    }

    /// All that is known of the way, or as much as a question needs.
    pub(super) fn circumstances(
        &self,
        revision: u64,
        attachments: Vec<SeenAttachment>,
        about: Option<&About>,
    ) -> Circumstances {
        let mut gaps = Vec::new();
        let mut kernel = Kernel::new(Deletion::Blocking);
        let meant: Vec<SeenAttachment> = attachments
            .into_iter()
            .filter(|seen| about.is_none_or(|about| about.is_about(seen)))
            .collect();
        let overlays = kept(
            &mut gaps,
            "networks of several nodes",
            self.node.overlays.told(),
        );
        let overlays = overlays.unwrap_or_default();
        let overlays: Vec<ListedOverlay> = overlays
            .into_iter()
            .filter(|overlay| about.is_none_or(|about| concerns(overlay, about)))
            .collect();
        let ways = match about {
            Some(about) => ways::ways(&mut kernel, &about.addresses, &about.packets, &meant),
            None => kernel
                .main_ways()
                .map(|ways| ways.iter().map(ways::seen_way).collect()),
        };
        let mut ways = kept(&mut gaps, "routes", ways);
        let is_whole = ways.as_ref().is_some_and(|ways| ways.len() <= MOST_WAYS);
        if let Some(ways) = &mut ways {
            ways.truncate(MOST_WAYS);
        }
        let ways: Vec<SeenWay> = ways.unwrap_or_default();
        let links = links(&mut kernel, &meant, &ways, &overlays, &mut gaps);
        let masquerades = self.masquerades(&meant, &mut gaps);
        let nodes = self.operations().applied().map_err(told);
        let nodes = nodes.map(|nodes| nodes.iter().map(node_row).collect());
        let verified = kept(
            &mut gaps,
            "the kernel's table of policies",
            self.node.policy.verify(),
        );
        let judged =
            about.map_or_else(Vec::new, |about| self.judged(about, &mut kernel, &mut gaps));
        let established = match self.node.config().established {
            config::Established::Cut => Established::Cut,
            config::Established::Keep => Established::Keep,
        };
        Circumstances {
            node: node_name(&self.node.cluster.node, &self.node.cluster.name),
            at_unix_ms: unix_ms(),
            revision,
            about: about.map(|about| about.text.clone()),
            attachments: meant,
            links,
            ways,
            ways_whole: is_whole && about.is_none(),
            overlays,
            masquerades,
            nodes: kept(&mut gaps, "which node enforces what", nodes),
            verified,
            established: Some(established),
            judged,
            gaps,
        }
    }

    /// What the table does to the packets in question, and how many connections stand that began so.
    fn judged(&self, about: &About, kernel: &mut Kernel, gaps: &mut Vec<String>) -> Vec<Judged> {
        let judge = |packet: &Packet| {
            let (ends, own) = self.node.identities.look_at(|world| {
                let ends = world.ends(packet).map(|ends| {
                    let ids = ends.into_iter().map(|(id, _)| id.clone());
                    ids.collect::<BTreeSet<EndpointId>>()
                });
                (ends, self.own_addresses(world))
            });
            self.node.policy.judged(packet, &ends, &own)
        };
        let packets = about.packets.iter();
        let (packets, mut judged): (Vec<&Packet>, Vec<Judged>) = packets
            .filter_map(|packet| Some((packet, judge(packet)?)))
            .unzip();
        if judged.iter().any(|judged| !judged.allowed) {
            let standing = kept(gaps, "connections", standing(kernel, &packets));
            for (judged, count) in judged.iter_mut().zip(standing.unwrap_or_default()) {
                judged.standing = Some(count);
            }
        }
        judged
    }

    /// What leaves with the node's address, by one attachment of each network.
    fn masquerades(
        &self,
        attachments: &[SeenAttachment],
        gaps: &mut Vec<String>,
    ) -> Vec<Masqueraded> {
        let mut networks: BTreeSet<&NetworkName> = BTreeSet::new();
        let mut all = Vec::new();
        for SeenAttachment { record, .. } in attachments {
            let is_ours = kind::has_objects(record) && record.kind != bulkhead_attach::GUARD;
            if !is_ours || networks.contains(&record.key.network) {
                continue;
            }
            networks.insert(&record.key.network);
            match self.translations(record) {
                Some(translations) => all.extend(translations),
                None => gaps.push(format!(
                    "what network {} translates is not known: how {} was made is not remembered",
                    record.key.network, record.key
                )),
            }
        }
        all
    }

    fn translations(&self, record: &AttachmentRecord) -> Option<Vec<Masqueraded>> {
        let call = self.node.remembered.call(&record.key, Verb::Add).ok()??;
        let wanted = kind::wanted(&call, &self.node.state, record).ok()?;
        let chains = wanted.nat.iter().flat_map(|table| &table.chains);
        let rules = chains.flat_map(|chain| &chain.rules);
        Some(
            rules
                .filter_map(|rule| masqueraded(&record.key.network, rule))
                .collect(),
        )
    }
}

/// The answer, or that there is none.
fn kept<T, E: std::error::Error>(
    gaps: &mut Vec<String>,
    what: &str,
    answer: Result<T, E>,
) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            gaps.push(format!("{what}: not read: {}", crate::told::chain(&error)));
            None
        }
    }
}

/// The links that something else speaks of.
fn links(
    kernel: &mut Kernel,
    attachments: &[SeenAttachment],
    ways: &[SeenWay],
    overlays: &[ListedOverlay],
    gaps: &mut Vec<String>,
) -> Vec<SeenLink> {
    let names = attachments.iter().map(|seen| &seen.record.names);
    let of_attachments = names.flat_map(|names| [names.port, names.bridge]).flatten();
    let of_ways = ways.iter().filter_map(|way| match way.leads {
        Leads::Out { link, .. } => Some(link),
        Leads::Here | Leads::Nowhere | Leads::Barred { .. } | Leads::Other => None,
    });
    let of_overlays = overlays
        .iter()
        .filter_map(|overlay| Some(overlay.here.as_ref()?.device));
    let spoken: BTreeSet<IfName> = of_attachments.chain(of_ways).chain(of_overlays).collect();
    let all = kept(gaps, "links", kernel.host_links()).unwrap_or_default();
    let spoken = all.into_iter().filter(|link| spoken.contains(&link.name));
    spoken
        .map(|link| SeenLink {
            name: link.name,
            mtu: link.mtu,
            up: link.up,
        })
        .collect()
}

fn concerns(overlay: &ListedOverlay, about: &About) -> bool {
    let networks = about.ends.iter().filter_map(|id| id.network.as_ref());
    let mut named = networks.filter(|network| network.as_str() == overlay.network);
    let mut prefixes = overlay.prefixes.iter();
    named.next().is_some()
        || prefixes.any(|prefix| {
            about
                .addresses
                .iter()
                .any(|address| prefix.contains(*address))
        })
}

/// Whether the node is who has the address.
fn is_here(address: IpAddr) -> bool {
    let mut kernel = Kernel::new(Deletion::Blocking);
    let ways = kernel.ways(&[address].into()).unwrap_or_default();
    ways.iter()
        .any(|way| way.leads == bulkhead_kernel::Leads::Here)
}

/// What a rule of a network's translation masquerades; `None` of the others, such as those about what comes
/// back to the network itself.
fn masqueraded(network: &NetworkName, rule: &nft::Rule) -> Option<Masqueraded> {
    let mut from = None;
    let mut told = Masqueraded {
        network: network.clone(),
        from: Prefix::new(IpAddr::from([0, 0, 0, 0]), 0)?,
        except: Vec::new(),
        inside: None,
    };
    let mut is_one = false;
    for statement in &rule.statements {
        match statement {
            nft::Statement::Masquerade(_) => is_one = true,
            nft::Statement::Match(nft::Match { fields, op, with }) => match (&fields[..], op, with)
            {
                (
                    [nft::Field::Oifname],
                    nft::Op::Ne,
                    nft::Operand::Value(nft::Datum::IfName(link)),
                ) => {
                    told.inside = Some(*link);
                }
                (
                    [nft::Field::Ip4Saddr | nft::Field::Ip6Saddr],
                    nft::Op::Eq,
                    nft::Operand::Prefix(prefix),
                ) => from = Some(*prefix),
                (
                    [nft::Field::Ip4Daddr | nft::Field::Ip6Daddr],
                    nft::Op::Ne,
                    nft::Operand::Prefixes(prefixes),
                ) => told.except = prefixes.iter().collect(),
                _ => return None,
            },
            _ => return None,
        }
    }
    told.from = from?;
    is_one.then_some(told)
}

fn name_of(id: &EndpointId) -> EndpointName {
    EndpointName {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
        network: id.network.as_ref().map(ToString::to_string),
    }
}

fn id_of(name: &EndpointName) -> EndpointId {
    EndpointId {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        network: name
            .network
            .as_ref()
            .and_then(|network| network.parse().ok()),
    }
}
