//! Whether the guard of the sender's port lets a packet pass: its rules as they are planned for the recorded
//! attachments, run on the frame that would be sent.

use bulkhead_attach::recorded_binding;
use bulkhead_ipam::wire::admin::SeenAttachment;
use bulkhead_model::{Family, Mac};
use bulkhead_nft as nft;
use bulkhead_plan::{Binding, Guard, Holds, Identity, Reason, filter_of};
use bulkhead_policy::NodeName;
use bulkhead_policy::interpret::bytes;

use super::answer::Step;
use super::scene::Scene;

/// The guard at the sender's port; nothing where nobody is guarded.
pub(super) fn step(scene: &Scene<'_>) -> Option<Step> {
    const AT: &str = "guard";
    let (id, endpoint) = scene.source()?;
    scene.seen?;
    if !scene.is_here(endpoint) {
        let node = endpoint.node.as_ref().map(NodeName::as_str);
        let node = node.map_or_else(|| "its node".to_owned(), |node| format!("node {node}"));
        let why = format!("the guard of {id} is {node}'s, which is to be asked for it");
        return Some(Step::unknown(AT, why));
    }
    let Some(seen) = scene.attachment(id, scene.packet.source) else {
        let why = "no attachment with this address is recorded, so no port is known to be guarded";
        return Some(Step::unknown(AT, why));
    };
    let Some(binding) = recorded_binding(&seen.record) else {
        let why =
            "its port was made by another plugin, and bulkhead-guard is not chained behind it";
        return Some(Step::said(AT, format!("none: {why}")).which(true));
    };
    Some(match &binding.guard {
        Guard::Off => {
            let says = "switched off (\"guard\": false): whatever it sends passes";
            Step::said(AT, says).which(true)
        }
        Guard::Mac(mac) => {
            let says = format!(
                "switched off but for the source MAC, which is looked at and must be {mac}"
            );
            Step::said(AT, says).which(true)
        }
        Guard::On(identity) => match judged(scene, seen, &binding) {
            Some(Ok(())) => {
                Step::said(AT, format!("passes: {}", looked_at(scene, identity))).which(true)
            }
            Some(Err(reason)) => dropped(AT, &binding, reason),
            None => Step::unknown(AT, "its rules were not run: the port has no MAC recorded"),
        },
    })
}

/// What of the packet was looked at.
fn looked_at(scene: &Scene<'_>, identity: &Identity) -> String {
    let macs: Vec<String> = identity.macs.iter().map(Mac::to_string).collect();
    let (macs, source) = (macs.join(" or "), scene.packet.source);
    let from = match &identity.holds {
        Holds::Any => format!("MAC {macs} is its own, addresses are not looked at"),
        Holds::These(_) => format!("MAC {macs} and source {source} are its own"),
    };
    format!("{from}, {} is what hosts send", scene.packet.traffic)
}

fn dropped(at: &'static str, binding: &Binding, reason: Reason) -> Step {
    let clauses = binding.clauses();
    let clause = clauses.iter().find(|clause| clause.reason == Some(reason));
    let why = clause.map_or_else(String::new, |clause| {
        format!(": it may not {} ({})", clause.what, clause.source)
    });
    let mut step = Step::said(at, format!("dropped, counted as {reason}{why}")).which(false);
    let port = binding.port;
    step.notes.push(match reason {
        Reason::Source4 | Reason::Source6 => format!(
            "to let it pass: name the address in \"allowedAddresses\" of the network's \"guard\" and attach anew; `bulkhead guard explain {port}` tells what it may send"
        ),
        _ => format!("`bulkhead guard explain {port}` tells what it may send, `bulkhead guard drops` what was dropped"),
    });
    step
}

/// What the rules do to the frame; `None` if it cannot be made.
fn judged(
    scene: &Scene<'_>,
    seen: &SeenAttachment,
    binding: &Binding,
) -> Option<Result<(), Reason>> {
    let names = &seen.record.names;
    let (from, to) = (
        names.interface_mac?,
        names.port_mac.or(names.interface_mac)?,
    );
    let ether_type: u16 = match scene.packet.family() {
        Family::V4 => 0x0800,
        Family::V6 => 0x86dd,
    };
    // As the container sends it: before anything is translated.
    let packet = scene.as_sent();
    let mut frame = [to.octets(), from.octets()].concat();
    frame.extend(ether_type.to_be_bytes());
    frame.extend(bytes(&packet));
    let mut sent = nft::Packet::frame(&frame, binding.port)?;
    if scene.is_own(packet.destination) {
        sent = sent.for_host();
    }
    let table = table(scene, binding)?;
    let done = nft::evaluate(&table, nft::Hook::Ingress, &sent).ok()?;
    if done.verdict == nft::Policy::Accept {
        return Some(Ok(()));
    }
    let last = done.trail.last()?;
    let reason = Reason::ALL
        .into_iter()
        .find(|reason| reason.chain() == last.chain);
    Some(Err(reason?))
}

/// The filter of all ports that are known, as ADD would load it.
fn table(scene: &Scene<'_>, binding: &Binding) -> Option<nft::Table> {
    let others = scene.seen?.attachments.iter();
    let others: Vec<Binding> = others
        .filter_map(|one| recorded_binding(&one.record))
        .filter(|other| other.port != binding.port)
        .collect();
    Some(filter_of(binding, &others))
}
