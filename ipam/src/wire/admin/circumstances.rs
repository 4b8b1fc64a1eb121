//! What a node knows of the way that packets take, besides who may talk to whom.

use std::net::IpAddr;

use bulkhead_model::{IfName, Mtu, NetworkName, Prefix};
use serde::{Deserialize, Serialize};

use super::{EndpointName, ListedOverlay, NodeName, PolicyNode, PolicyVerified};
use crate::AttachmentRecord;

/// The kind of the object that a snapshot has it in.
pub const CIRCUMSTANCES: &str = "Circumstances";

/// All of it, as it was at one time. Without what could not be read, which [`Circumstances::gaps`] names.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Circumstances {
    /// Whose.
    #[serde(flatten)]
    pub node: NodeName,
    /// When it was looked at.
    pub at_unix_ms: u64,
    /// The revision of the policies that stand beside it.
    pub revision: u64,
    /// The question that it is about; none if it is about everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The node's attachments.
    pub attachments: Vec<SeenAttachment>,
    /// The node's links, as far as something here speaks of them.
    pub links: Vec<SeenLink>,
    /// The node's routes: of the main table, or where the packets in question go.
    pub ways: Vec<SeenWay>,
    /// Whether no more routes are left out: what none of them leads to has none.
    pub ways_whole: bool,
    /// The networks that nodes have together.
    pub overlays: Vec<ListedOverlay>,
    /// What leaves with an address of the node's instead of its own.
    pub masquerades: Vec<Masqueraded>,
    /// Which revision each node says that it enforces; none of it if that could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<PolicyNode>>,
    /// What the node's kernel enforces, read back and compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<PolicyVerified>,
    /// What becomes of connections that policies do not allow any more; none if the node does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub established: Option<Established>,
    /// What the table that it was compared with does to the packets in question.
    pub judged: Vec<Judged>,
    /// What could not be read, a sentence each.
    pub gaps: Vec<String>,
}

/// An attachment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenAttachment {
    /// The endpoint that it is.
    pub endpoint: EndpointName,
    /// What is recorded of it.
    pub record: AttachmentRecord,
}

/// A link.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenLink {
    /// Its name.
    pub name: IfName,
    /// Its MTU, in bytes.
    pub mtu: Mtu,
    /// Whether it is up.
    pub up: bool,
}

/// Where packets go.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenWay {
    /// To these addresses.
    pub to: Prefix,
    /// Where.
    #[serde(flatten)]
    pub leads: Leads,
}

/// Where a route leads.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(
    tag = "leads",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum Leads {
    /// Out of a link.
    Out {
        /// The link.
        link: IfName,
        /// The next hop; the destination itself if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<IpAddr>,
    },
    /// To the node itself.
    Here,
    /// Nowhere: there is no route, or one that drops.
    Nowhere,
    /// A route of the node's own leads there, and what comes in so may not take it: by a rule, since the link passes
    /// nothing on, or since the node would not send back that way.
    Barred {
        /// From this address,
        from: IpAddr,
        /// by this link.
        by: IfName,
    },
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// What of a network leaves with an address of the node's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Masqueraded {
    /// The network.
    pub network: NetworkName,
    /// What comes from here,
    pub from: Prefix,
    /// and does not go there,
    #[serde(default)]
    pub except: Vec<Prefix>,
    /// nor leaves by this link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<IfName>,
}

/// What the node's table does to a packet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Who sends it.
    pub source: IpAddr,
    /// To whom, after what the node translates.
    pub destination: IpAddr,
    /// What, as text.
    pub traffic: String,
    /// Whether it passes.
    pub allowed: bool,
    /// What decided, in order: the direction, what was said, and who said it.
    #[serde(default)]
    pub said: Vec<String>,
    /// How many connections that began with such a packet stand in the node's kernel; none if that was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<u64>,
}

/// What becomes of connections that policies do not allow any more: `policy.established` of the node.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Established {
    /// They are cut.
    Cut,
    /// They go on until they end by themselves.
    Keep,
    /// Of a later release.
    #[serde(other)]
    Other,
}
