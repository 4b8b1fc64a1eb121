//! What becomes of a packet, place by place.

use std::net::IpAddr;

use bulkhead_model::Family;
use bulkhead_policy::edit::{Edit, flips};
use bulkhead_policy::{Decision, Direction, Side};
use serde::Serialize;

use super::enforced::Enforced;
use super::says::{Asked, because};
use super::scene::Scene;
use super::{end, enforced, guard, way};

/// What becomes of the packet of one family.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub(super) family: &'static str,
    pub(super) source_address: IpAddr,
    pub(super) destination_address: IpAddr,
    traffic: String,
    /// What policies say, as they are written.
    pub(super) allowed: bool,
    /// Whether it comes through everything that is known; none where something is not.
    pub(super) delivered: Option<bool>,
    /// The first place where it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped_at: Option<&'static str>,
    pub(super) path: Vec<Step>,
    /// Ways to have the policies say otherwise, each a list of changes that do it together.
    pub(super) flips: Vec<Vec<Change>>,
}

/// A place that the packet comes by.
#[derive(Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) at: &'static str,
    pub(super) says: String,
    /// Whether it goes on from here; none where nobody decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) allowed: Option<bool>,
    /// What cannot be known from where it is asked, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unknown: Vec<String>,
    /// What else is to be known, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
    /// Who enforces what is said here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enforced: Option<Enforced>,
    pub(super) considered: Vec<Asked>,
    pub(super) would_deny: Vec<String>,
}

impl Step {
    /// Something that nobody decides about.
    pub(super) fn said(at: &'static str, says: impl Into<String>) -> Self {
        Self {
            at,
            says: says.into(),
            ..Self::default()
        }
    }

    /// Something that cannot be known.
    pub(super) fn unknown(at: &'static str, why: impl Into<String>) -> Self {
        Self {
            unknown: vec![why.into()],
            ..Self::said(at, "not known from here")
        }
    }

    /// The same, which ends the packet or lets it go on.
    pub(super) fn which(self, allowed: bool) -> Self {
        Self {
            allowed: Some(allowed),
            ..self
        }
    }

    /// Whether the packet ends here, whatever is written.
    pub(super) fn ends_it(&self) -> bool {
        let is_void = self
            .enforced
            .as_ref()
            .is_some_and(|it| it.enforces == Some(false));
        self.allowed == Some(false) && !is_void
    }
}

#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    pub(super) change: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) write: Option<String>,
}

impl Answer {
    pub(super) fn of(scene: &Scene<'_>) -> Self {
        let Scene {
            packet, verdict, ..
        } = scene;
        let path = path(scene);
        let stopped_at = path.iter().find(|step| step.ends_it()).map(|step| step.at);
        let is_known = path.iter().all(|step| step.unknown.is_empty());
        Self {
            family: match packet.family() {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            },
            source_address: packet.source,
            destination_address: packet.destination,
            traffic: packet.traffic.to_string(),
            allowed: verdict.decision == Decision::Allow,
            delivered: match (stopped_at, scene.seen) {
                (Some(_), _) => Some(false),
                (None, Some(_)) => is_known.then_some(true),
                // Nothing is known but what is written.
                (None, None) => None,
            },
            stopped_at,
            path,
            flips: flips(scene.world, packet, verdict)
                .iter()
                .map(|edits| edits.iter().map(Change::of).collect())
                .collect(),
        }
    }
}

impl Change {
    fn of(edit: &Edit) -> Self {
        Self {
            change: edit.to_string(),
            write: edit.snippet(),
        }
    }
}

/// Where the packet comes by, in order.
fn path(scene: &Scene<'_>) -> Vec<Step> {
    let mut path = vec![end::source(scene)];
    path.extend(guard::step(scene));
    path.extend(end::host_port(scene));
    if scene.is_to_itself() {
        let says = "what a pod sends to itself never leaves it; the rest is about what comes back to it by way of a service";
        path.push(Step::said("way", says));
    }
    path.extend(sides(scene, Direction::Egress));
    if !scene.is_to_itself() {
        path.push(way::step(scene));
    }
    path.extend(sides(scene, Direction::Ingress));
    path.extend(way::masquerade(scene));
    path.push(end::destination(scene));
    path
}

/// What policies say where it leaves, or where it arrives.
fn sides(scene: &Scene<'_>, direction: Direction) -> Vec<Step> {
    let at = match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    };
    let sides = scene.verdict.because.iter();
    let sides: Vec<&Side> = sides.filter(|side| side.direction == direction).collect();
    if sides.is_empty() {
        let says = "no endpoint is there, so no policy has a say";
        return vec![Step::said(at, says)];
    }
    let step = |side: &Side| {
        let considered = side.considered.iter();
        let mut step = Step {
            considered: considered
                .filter_map(|seen| Asked::of(scene.world, side, seen))
                .collect(),
            would_deny: side.would_deny.iter().map(ToString::to_string).collect(),
            ..Step::said(at, because(scene.world, side)).which(side.decision == Decision::Allow)
        };
        enforced::tell(scene, side, &mut step);
        step
    };
    sides.into_iter().map(step).collect()
}
