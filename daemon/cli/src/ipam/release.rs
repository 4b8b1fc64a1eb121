//! `bulkhead ipam release`: the end of a lease by an operator's decision.

use std::net::IpAddr;
use std::str::FromStr;

use bulkhead_cni::Verb;
use bulkhead_ipam::wire::admin::{PodName, ReleaseTarget, Request};
use bulkhead_model::{AttachmentKey, NetworkName};
use clap::Args;

use super::reserve::pod_name;
use crate::attachments::{Looked, Subject, alone, collect};
use crate::confirm::{Confirm, operator};
use crate::done::Done;
use crate::failure::Failure;

#[derive(Args, Debug)]
pub(crate) struct ReleaseArgs {
    /// An address, or the whole name of an attachment: NETWORK/CONTAINER/IFNAME.
    #[arg(value_name = "ADDRESS|ATTACHMENT", required_unless_present = "sticky")]
    target: Option<Target>,

    /// In place of a lease, the address that this pod's name keeps while nobody has it:
    /// NAMESPACE/NAME.
    #[arg(long, value_name = "POD", value_parser = pod_name, requires = "network", conflicts_with = "target")]
    sticky: Option<PodName>,

    /// The network that --sticky is about.
    #[arg(long, requires = "sticky")]
    network: Option<NetworkName>,

    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", default_value = "released by an operator")]
    reason: String,

    #[command(flatten)]
    confirm: Confirm,

    #[command(flatten)]
    looked: Looked,
}

/// A lease, as an operator names it.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Target {
    Address(IpAddr),
    Attachment(AttachmentKey),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let parts: Vec<_> = text.split('/').collect();
        let [network, container, interface] = parts[..] else {
            return Err("neither an address nor NETWORK/CONTAINER/IFNAME".to_owned());
        };
        let wrong = |error: bulkhead_model::ParseError| error.to_string();
        Ok(Self::Attachment(AttachmentKey {
            network: network.parse().map_err(wrong)?,
            container: container.parse().map_err(wrong)?,
            interface: interface.parse().map_err(wrong)?,
        }))
    }
}

impl Target {
    /// As it was written.
    fn word(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Attachment(key) => super::name(key),
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Address(address) => Subject::Address(*address),
            Self::Attachment(key) => Subject::Name(vec![
                key.network.to_string(),
                key.container.to_string(),
                key.interface.to_string(),
            ]),
        }
    }

    /// Whether it is this attachment, of those that the subject may mean.
    fn is(&self, key: &AttachmentKey) -> bool {
        match self {
            Self::Address(_) => true,
            Self::Attachment(named) => named == key,
        }
    }
}

impl ReleaseArgs {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        if let Some((pod, network)) = self.sticky.as_ref().zip(self.network.as_ref()) {
            return self.release_sticky(pod, network);
        }
        let target = self
            .target
            .as_ref()
            .expect("clap demands it without --sticky");
        let word = target.word();
        let consequences = format!(
            "The lease of {word} ends and what the kernel has of its attachment goes: a container that still runs loses its network.\n  The address cools down and is then given to others."
        );
        let Some(daemon) = self.looked.socket.named(&self.looked.sources.state_dir)? else {
            self.release_here(target, &consequences)?;
            return Ok(Done::new(word, "released", Vec::new()));
        };
        self.confirm.ask(&consequences, &word)?;
        let notes = daemon.done(&Request::Release {
            target: match target.clone() {
                Target::Address(address) => ReleaseTarget::Address { address },
                Target::Attachment(attachment) => ReleaseTarget::Attachment { attachment },
            },
            by: operator(),
            reason: self.reason.clone(),
        })?;
        Ok(Done::new(word, "released", notes))
    }

    fn release_sticky(&self, pod: &PodName, network: &NetworkName) -> Result<Done, Failure> {
        let name = super::pod(pod);
        let consequences = format!(
            "Pod {name} gets another address on network {network} the next time, and this one is given to others."
        );
        let daemon = self.looked.socket.named(&self.looked.sources.state_dir)?;
        let daemon =
            daemon.ok_or_else(|| Failure::NoSticky(pod.namespace.clone(), pod.name.clone()))?;
        self.confirm.ask(&consequences, &name)?;
        let notes = daemon.done(&Request::Release {
            target: ReleaseTarget::Sticky {
                pod: pod.clone(),
                network: network.to_string(),
            },
            by: operator(),
            reason: self.reason.clone(),
        })?;
        Ok(Done::new(
            format!("address of {name} on {network}"),
            "released",
            notes,
        ))
    }

    /// Without a daemon, as `gc` does.
    fn release_here(&self, target: &Target, consequences: &str) -> Result<(), Failure> {
        let none = || Failure::NoAttachment(target.word());
        let (found, failures) = self.looked.select(Some(&target.subject()), None)?;
        let Some(found) = found.iter().find(|found| target.is(found.key())) else {
            return Err(failures.into_iter().next().unwrap_or_else(none));
        };
        self.confirm.ask(consequences, &target.word())?;
        let asked = self.looked.call(found, Verb::Del)?;
        let state = alone(&found.state_dir)?;
        let found = found.again(&state)?.ok_or_else(none)?;
        let reason = format!("{}, by {}", self.reason, operator());
        collect(&found, &asked, &state, &reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_named_by_its_address_or_its_attachment() {
        let address: Target = "fd00::7".parse().unwrap();
        assert_eq!(address, Target::Address("fd00::7".parse().unwrap()));
        let attachment: Target = "blue/c1/eth0".parse().unwrap();
        assert_eq!(attachment.word(), "blue/c1/eth0");
        for text in [
            "",
            "c1",
            "blue/c1",
            "blue/c1/eth0/x",
            "/c1/eth0",
            "blue/c1/a-name-too-long-for-it",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
