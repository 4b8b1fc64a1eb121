//! What is written about who may talk to whom, and where it is enforced.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bulkhead_model::Prefix;
use serde::{Deserialize, Serialize};

use super::rows::{NodeName, NodeState};

/// A file as an operator hands it over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PolicyFile {
    /// What it is called, for messages.
    pub name: String,
    /// Its text, YAML or JSON.
    pub text: String,
}

/// What an apply demands of the objects that are there.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Must {
    /// Nothing: what is there is changed, what is not is created.
    #[default]
    Anything,
    /// None of them is.
    Create,
    /// All of them are.
    Change,
}

/// An object's name.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ObjectName {
    /// `NetworkPolicy`, `ClusterNetworkPolicy`, `Policy`, `SecurityGroup`, `Namespace` or `Network`.
    pub kind: String,
    /// Its namespace, if its kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectOutcome {
    /// There was none.
    Created,
    /// It says something else now.
    Changed,
    /// It said so already.
    Unchanged,
    /// It is gone.
    Deleted,
    /// Of a later release.
    #[serde(other)]
    Other,
}

/// An object that a change was about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChangedObject {
    /// Which.
    #[serde(flatten)]
    pub name: ObjectName,
    /// What became of it.
    pub outcome: ObjectOutcome,
}

/// What a change of policies did.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyChanges {
    /// The policies' revision that has it.
    pub revision: u64,
    /// By name.
    pub objects: Vec<ChangedObject>,
    /// What the operator should know, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// An object.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedObject {
    /// Which.
    #[serde(flatten)]
    pub name: ObjectName,
    /// The policies' revision that its last change made.
    pub revision: u64,
    /// The file that it came from.
    #[serde(default)]
    pub file: String,
    /// The line of the file that it begins at.
    #[serde(default)]
    pub line: u32,
    /// Who applied it.
    #[serde(default)]
    pub by: String,
    /// When.
    #[serde(default)]
    pub at_unix_ms: u64,
    /// Nodes that enforce it as it is.
    #[serde(default)]
    pub enforced: u64,
    /// Of so many that enforce policies.
    #[serde(default)]
    pub nodes: u64,
    /// Its text; only where one object was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// A security group.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedGroup {
    /// Its name.
    pub group: String,
    /// The policies' revision that its rules' last change made; 0 if it has members and no rules.
    pub revision: u64,
    /// By name.
    #[serde(default)]
    pub members: Vec<GroupMember>,
    /// The objects that speak of it.
    #[serde(default)]
    pub used_by: Vec<ObjectName>,
    /// Its rules as they were written; only where one group was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// An endpoint, as an operator names it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct EndpointName {
    /// Its pod's namespace, or else the name of its network.
    pub namespace: String,
    /// Its pod's name, or else the container's id.
    pub name: String,
    /// On this network; on each that it has if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

impl std::fmt::Display for EndpointName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        match &self.network {
            Some(network) => write!(f, "@{network}"),
            None => Ok(()),
        }
    }
}

/// A member of a group.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GroupMember {
    /// Which.
    #[serde(flatten)]
    pub endpoint: EndpointName,
    /// Its addresses, as far as the asked node knows it; none while it is not there.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The node it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Where policies are enforced.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyState {
    /// The policies' revision.
    pub revision: u64,
    /// What its change was.
    pub what: String,
    /// Who made it.
    pub by: String,
    /// When.
    pub at_unix_ms: u64,
    /// How many objects there are, by kind.
    pub objects: BTreeMap<String, u64>,
    /// Nodes that enforce this revision.
    pub enforced: u64,
    /// Of so many that enforce policies, and are not declared lost.
    pub enforcing: u64,
    /// By name.
    pub nodes: Vec<PolicyNode>,
}

/// A node, and what it enforces.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyNode {
    /// Which.
    #[serde(flatten)]
    pub name: NodeName,
    /// What its fence says.
    pub state: NodeState,
    /// The revision that it enforces; none if it enforces no policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// When it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_unix_ms: Option<u64>,
    /// What it cannot enforce.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// What a node's kernel enforces, read back and compared.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyVerified {
    /// The revision of the policies that it should enforce; none where no endpoint of the node has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Endpoints of the node that policies are enforced for.
    pub endpoints: u64,
    /// What is otherwise, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// How often something was otherwise since the daemon started, and was put right.
    pub healed: u64,
    /// Connections that were cut since then because they were no longer allowed.
    pub cut: u64,
}

/// An endpoint as policies see it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownEndpoint {
    /// Its name.
    #[serde(flatten)]
    pub endpoint: EndpointName,
    /// Its addresses.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Prefixes of which every address is its own too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<Prefix>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The groups it is a member of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The node it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether its addresses mean something on its network alone, and may be somebody else's elsewhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

/// What a verdict of the kernel stands for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownVerdict {
    /// Its id, as the kernel's log and the table have it.
    pub id: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// `allow` or `deny`.
    pub decision: String,
    /// Who decided.
    pub cause: String,
    /// Policies in audit that would have denied it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_deny: Vec<String>,
}

/// How the node's endpoints come into the store.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IdentityStatus {
    /// Rows of this node's endpoints that stand in the store.
    pub published: u64,
    /// Rows that wait.
    pub waiting: u64,
    /// How long the oldest has waited.
    pub oldest_ms: u64,
    /// From the call to the row: half of the last ones took no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// All but one in a hundred of the last ones took no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// The policies' revision that is known.
    pub revision: u64,
    /// The one that the kernel enforces; none if it enforces no policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforced: Option<u64>,
}
