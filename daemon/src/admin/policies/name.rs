//! Names of objects, members and endpoints between the socket's words and the store's keys.

use bulkhead_ipam::cluster::{MemberId, ObjectId, ObjectPart};
use bulkhead_ipam::wire::admin::{EndpointName, ObjectName, RequestError};

use crate::admin::cluster::no_name;

/// Most names of one kind in a message.
const MOST: usize = 8;

/// The names, and how many more there are.
pub(super) fn listed(names: impl IntoIterator<Item = String>) -> String {
    let mut names: Vec<String> = names.into_iter().collect();
    let more = names.len().saturating_sub(MOST);
    names.truncate(MOST);
    if names.is_empty() {
        return "none".to_owned();
    }
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

pub(super) fn id(name: &ObjectName) -> Result<ObjectId, RequestError> {
    Ok(ObjectId {
        kind: part(&name.kind)?,
        namespace: name.namespace.as_deref().map(part).transpose()?,
        name: part(&name.name)?,
    })
}

pub(super) fn named(id: &ObjectId) -> ObjectName {
    ObjectName {
        kind: id.kind.to_string(),
        namespace: id.namespace.as_ref().map(ToString::to_string),
        name: id.name.to_string(),
    }
}

pub(super) fn member(group: &ObjectPart, name: &EndpointName) -> Result<MemberId, RequestError> {
    Ok(MemberId {
        group: group.clone(),
        namespace: part(&name.namespace)?,
        name: part(&name.name)?,
        network: name.network.as_deref().map(part).transpose()?,
    })
}

pub(super) fn endpoint(id: &MemberId) -> EndpointName {
    EndpointName {
        namespace: id.namespace.to_string(),
        name: id.name.to_string(),
        network: id.network.as_ref().map(ToString::to_string),
    }
}

pub(super) fn part(text: &str) -> Result<ObjectPart, RequestError> {
    text.parse().map_err(no_name)
}
