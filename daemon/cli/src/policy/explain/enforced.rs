//! Who enforces what policies say at an end, at which revision, and whether the kernel says the same.

use bulkhead_ipam::wire::admin::{Circumstances, Established, Judged, NodeState, PolicyNode};
use bulkhead_policy::{Decision, Direction, NodeName, Side};
use serde::Serialize;

use super::answer::Step;
use super::scene::{Scene, is_policed};

/// Who enforces it.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Enforced {
    pub(super) node: String,
    /// Whether the node does; none where that is not known.
    pub(super) enforces: Option<bool>,
    /// At which revision.
    pub(super) revision: Option<u64>,
    /// Of which there are.
    pub(super) latest: u64,
    /// Whether the kernel's table was read back and is what was compiled.
    pub(super) verified: Option<bool>,
    /// Whether that table does to the packet what is written.
    pub(super) agrees: Option<bool>,
    /// What becomes of connections that stood before the packet was denied; only where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) established: Option<Established>,
    /// How many of them stand; none where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) standing: Option<u64>,
}

impl Enforced {
    /// Connections that go on although their first packet would be denied by now.
    pub(super) fn go_on(&self) -> u64 {
        match self.established {
            Some(Established::Keep) => self.standing.unwrap_or_default(),
            _ => 0,
        }
    }
}

/// Adds who enforces what one end says.
pub(super) fn tell(scene: &Scene<'_>, side: &Side, step: &mut Step) {
    let Some(seen) = scene.seen else {
        return;
    };
    let endpoint = scene.world.endpoints.get(&side.endpoint);
    let Some(node) = endpoint.and_then(|endpoint| endpoint.node.as_ref()) else {
        let why = format!("which node {} is on is not known", side.endpoint);
        return step.unknown.push(why);
    };
    let mut enforced = Enforced {
        node: node.to_string(),
        enforces: None,
        revision: None,
        latest: seen.revision,
        verified: None,
        agrees: None,
        established: None,
        standing: None,
    };
    if node.as_str() == seen.node.name {
        here(scene, seen, side, &mut enforced, step);
    } else {
        elsewhere(seen, node, &mut enforced, step);
    }
    step.enforced = Some(enforced);
}

/// By the asked node, whose kernel was read.
fn here(
    scene: &Scene<'_>,
    seen: &Circumstances,
    side: &Side,
    enforced: &mut Enforced,
    step: &mut Step,
) {
    let node = &enforced.node;
    let address = match side.direction {
        Direction::Egress => scene.packet.source,
        Direction::Ingress => scene.packet.destination,
    };
    let attachment = scene.attachment(&side.endpoint, address);
    if attachment.is_some_and(|attachment| !is_policed(attachment)) {
        enforced.enforces = Some(false);
        let network = side.endpoint.network.as_ref().map_or("", |it| it.as_str());
        let void = match side.decision {
            Decision::Allow => "nothing is enforced here",
            Decision::Deny => "NOT ENFORCED",
        };
        return step.notes.push(format!(
            "{void}: network {network} has no \"policy\": true, so node {node} lets everything pass"
        ));
    }
    let Some(verified) = &seen.verified else {
        return step.unknown.push(format!(
            "what the kernel of node {node} enforces was not read"
        ));
    };
    let Some(revision) = verified.revision else {
        enforced.enforces = Some(false);
        return step.notes.push(format!(
            "NOT ENFORCED: no endpoint of node {node} has policies in the kernel"
        ));
    };
    enforced.enforces = Some(true);
    enforced.revision = Some(revision);
    enforced.verified = Some(verified.differences.is_empty());
    let mut said = at_revision(node, revision, seen.revision);
    if revision < seen.revision {
        step.unknown.push(not_yet(node, revision, seen.revision));
    }
    if let Some(first) = verified.differences.first() {
        let count = verified.differences.len();
        step.unknown.push(format!(
            "THE KERNEL'S TABLE IS NOT WHAT WAS COMPILED, in {count} places, the first: {first}; what it does to this packet may be otherwise; `bulkhead policy verify` lists them, the daemon puts them right at its next reconciliation"
        ));
    } else {
        said.push_str("; the kernel's table, read back, is exactly that");
    }
    if let Some(judged) = judged(scene, seen) {
        let agrees = judged.allowed == (written_here(scene, seen) == Decision::Allow);
        enforced.agrees = Some(agrees);
        if agrees {
            let (and, what) = (" and says: ", of_direction(judged, side.direction));
            said.push_str(if verified.differences.is_empty() {
                and
            } else {
                "; it should say: "
            });
            said.push_str(&what);
        } else {
            let verdict = if judged.allowed { "allows" } else { "denies" };
            step.unknown.push(format!(
                "THE TABLE DOES NOT SAY WHAT IS WRITTEN: that of node {node} {verdict} the packet ({})",
                judged.said.join("; ")
            ));
        }
    }
    step.notes.push(said);
    if side.decision == Decision::Deny && is_first_denial(scene, seen, side) {
        established(scene, seen, enforced, step);
    }
}

/// Whether no other end at the asked node denies it before.
fn is_first_denial(scene: &Scene<'_>, seen: &Circumstances, side: &Side) -> bool {
    let mut sides = scene.verdict.because.iter();
    let first = sides.find(|side| {
        let endpoint = scene.world.endpoints.get(&side.endpoint);
        let node = endpoint.and_then(|endpoint| endpoint.node.as_ref());
        side.decision == Decision::Deny && node.is_some_and(|it| it.as_str() == seen.node.name)
    });
    first.is_some_and(|first| std::ptr::eq(first, side))
}

/// What has become of connections that stood before it was denied.
fn established(scene: &Scene<'_>, seen: &Circumstances, enforced: &mut Enforced, step: &mut Step) {
    let Some(becomes) = seen.established else {
        return;
    };
    let packet = &scene.packet;
    let like = format!(
        "{} -> {} {}",
        packet.source, packet.destination, packet.traffic
    );
    let standing = judged(scene, seen).and_then(|judged| judged.standing);
    (enforced.established, enforced.standing) = (Some(becomes), standing);
    step.notes.push(match (becomes, standing) {
        (Established::Keep, Some(0)) => format!(
            "only new connections are denied here, those that stood before go on (policy.established: keep); none like {like} stands"
        ),
        (Established::Keep, Some(count)) => format!(
            "CONNECTIONS GO ON ALL THE SAME: {count} like {like} stood before and are kept (policy.established: keep), only new ones are denied; with `cut` they end at once"
        ),
        (Established::Keep, None) => "only new connections are denied here, those that stood before go on (policy.established: keep); how many, the daemon tells".to_owned(),
        (Established::Cut, Some(0)) => format!(
            "connections that stood before were cut (policy.established: cut); none like {like} stands"
        ),
        (Established::Cut, Some(count)) => format!(
            "connections that stood before are cut (policy.established: cut), within a second or two: {count} like {like} stand yet"
        ),
        (Established::Cut, None) => {
            "connections that stood before are cut (policy.established: cut)".to_owned()
        }
        (Established::Other, _) => {
            "what becomes of connections that stood before is of a later release".to_owned()
        }
    });
}

/// What the table says where the packet leaves, or where it arrives.
fn of_direction(judged: &Judged, direction: Direction) -> String {
    let other = match direction {
        Direction::Egress => "ingress",
        Direction::Ingress => "egress",
    };
    let of = judged.said.iter().filter(|said| !said.starts_with(other));
    let of: Vec<&str> = of.map(String::as_str).collect();
    if of.is_empty() {
        return format!("nothing here, since it ends at {other}");
    }
    of.join("; ")
}

fn not_yet(node: &str, applied: u64, latest: u64) -> String {
    format!(
        "node {node} has not applied revision {latest} yet: until then it does what {applied} says"
    )
}

/// What the table of the asked node does to this very packet.
fn judged<'s>(scene: &Scene<'_>, seen: &'s Circumstances) -> Option<&'s Judged> {
    let packet = &scene.packet;
    seen.judged.iter().find(|judged| {
        judged.source == packet.source
            && judged.destination == packet.destination
            && judged.traffic == packet.traffic.to_string()
    })
}

/// What is written about it at the ends that the asked node enforces for.
fn written_here(scene: &Scene<'_>, seen: &Circumstances) -> Decision {
    let sides = scene.verdict.because.iter().filter(|side| {
        let endpoint = scene.world.endpoints.get(&side.endpoint);
        let node = endpoint.and_then(|endpoint| endpoint.node.as_ref());
        let address = match side.direction {
            Direction::Egress => scene.packet.source,
            Direction::Ingress => scene.packet.destination,
        };
        let attachment = scene.attachment(&side.endpoint, address);
        node.is_some_and(|node| node.as_str() == seen.node.name)
            && attachment.is_none_or(is_policed)
    });
    sides.fold(Decision::Allow, |all, side| all.and(side.decision))
}

/// By another node, as it has told the cluster.
fn elsewhere(seen: &Circumstances, node: &NodeName, enforced: &mut Enforced, step: &mut Step) {
    let Some(nodes) = &seen.nodes else {
        return step.unknown.push(format!(
            "what node {node} enforces could not be asked of the store"
        ));
    };
    let Some(told) = nodes.iter().find(|told| told.name.name == node.as_str()) else {
        return step
            .unknown
            .push(format!("node {node} has not told what it enforces"));
    };
    let PolicyNode {
        revision,
        state,
        errors,
        ..
    } = told;
    enforced.revision = *revision;
    if *state == NodeState::Lost {
        step.unknown.push(format!(
            "node {node} is declared lost: nobody says what it enforces"
        ));
    }
    match revision {
        None => step.unknown.push(format!(
            "node {node} says of no revision that it enforces it: it may have no network with \"policy\": true"
        )),
        Some(applied) => {
            enforced.enforces = Some(true);
            let said = at_revision(node.as_str(), *applied, seen.revision);
            if *applied < seen.revision {
                step.unknown.push(not_yet(node.as_str(), *applied, seen.revision));
            }
            step.notes
                .push(format!("{said}, as it says itself; its kernel is read back there"));
        }
    }
    if step.allowed == Some(false) {
        step.notes.push(format!(
            "whether connections that stood before go on there is for `policy.established` of node {node} to say"
        ));
    }
    let errors = errors.iter();
    step.notes
        .extend(errors.map(|error| format!("node {node} says: {error}")));
}

fn at_revision(node: &str, revision: u64, latest: u64) -> String {
    if revision >= latest {
        format!("enforced by node {node} at revision {revision}, the latest")
    } else {
        format!("enforced by node {node} at revision {revision} of {latest}")
    }
}
