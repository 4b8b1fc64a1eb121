//! What `bulkhead doctor` says of one matter.

use bulkhead_model::NetworkName;
use serde::{Serialize, Serializer};

/// How bad it is. Ordered, the worst first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Something does not work, or will not at the next ADD.
    Problem,
    /// Something may stop working, or is not what it looks like.
    Warn,
    /// It was looked at and is as it should be.
    Ok,
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warn => "warn",
            Self::Ok => "ok",
        }
    }
}

/// Names of findings. Programs match on them: one is never given another meaning.
macro_rules! ids {
    ($($variant:ident = $text:literal,)*) => {
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub(crate) enum Id { $($variant,)* }

        impl Id {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant,)*];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

ids! {
    ForwardingOff = "forwarding-off",
    LinkForwardingOff = "link-forwarding-off",
    AcceptRa = "accept-ra",
    ForwardDrop = "forward-drop",
    BridgedDrop = "bridged-drop",
    LegacyRulesUnread = "legacy-rules-unread",
    CoexistRuleMissing = "coexist-rule-missing",
    CoexistUnneeded = "coexist-unneeded",
    CoexistDamaged = "coexist-damaged",
    RpFilterStrict = "rp-filter-strict",
    RpFilterLoose = "rp-filter-loose",
    RpFilterPort = "rp-filter-port",
    RouteLocalnetAll = "route-localnet-all",
    Ipv6Disabled = "ipv6-disabled",
    ConntrackFull = "conntrack-full",
    NeighbourLimit = "neighbour-limit",
    NeighbourTable = "neighbour-table",
    MtuAboveUplink = "mtu-above-uplink",
    MtuBelowIpv6 = "mtu-below-ipv6",
    ReferenceBridge = "reference-bridge",
    HostLocalLeases = "host-local-leases",
    ReferenceTable = "reference-table",
    ReferenceChains = "reference-chains",
    StrayVeth = "stray-veth",
    ConfNotFirst = "conf-not-first",
    ConfBroken = "conf-broken",
    ConfRefused = "conf-refused",
    ConfIgnored = "conf-ignored",
    ConfShadowed = "conf-shadowed",
    ConfLeftover = "conf-leftover",
    PluginMissing = "plugin-missing",
    PluginNotExecutable = "plugin-not-executable",
    PluginSilent = "plugin-silent",
    PluginVersion = "plugin-version",
    KernelTooOld = "kernel-too-old",
    KernelPrefixFilter = "kernel-prefix-filter",
    KernelGroupLimit = "kernel-group-limit",
    KernelModule = "kernel-module",
    NftTooOld = "nft-too-old",
    StateDamaged = "state-damaged",
    StateLocked = "state-locked",
    StateManaged = "state-managed",
    StatePermissions = "state-permissions",
    StateDiskFull = "state-disk-full",
    PoolFull = "pool-full",
    DeadAttachments = "dead-attachments",
    DaemonSilent = "daemon-silent",
    DaemonNotReady = "daemon-not-ready",
    DaemonRelease = "daemon-release",
    NodeLost = "node-lost",
    ClusterStore = "cluster-store",
    ClusterCertificate = "cluster-certificate",
    ClusterLag = "cluster-lag",
    EndpointLag = "endpoint-lag",
    OverlayReach = "overlay-reach",
    OverlayFault = "overlay-fault",
    OverlayDrift = "overlay-drift",
    OverlayRoute = "overlay-route",
    OverlayPeer = "overlay-peer",
    OverlayPort = "overlay-port",
    OverlayMtu = "overlay-mtu",
    OverlayMtuDiffers = "overlay-mtu-differs",
    OverlaySilent = "overlay-silent",
    OverlayClock = "overlay-clock",
    OverlayTwins = "overlay-twins",
    OverlayOffload = "overlay-offload",
    OverlayFilter = "overlay-filter",
    OverlaySeal = "overlay-seal",
    OverlayKeys = "overlay-keys",
    SpoolWaiting = "spool-waiting",
    ClockBehind = "clock-behind",
    ClockJumped = "clock-jumped",
    ClockUnsynchronised = "clock-unsynchronised",
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One matter.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) id: Id,
    /// Those it matters to; empty for the node as a whole.
    pub(crate) networks: Vec<NetworkName>,
    /// What was seen.
    pub(crate) seen: String,
    /// What that means; empty if all is well.
    pub(crate) why: String,
    /// Commands, or changes to files; any of them helps unless the text says otherwise.
    pub(crate) help: Vec<String>,
}

impl Finding {
    pub(crate) fn problem(id: Id, seen: impl Into<String>) -> Self {
        Self::new(Severity::Problem, id, seen.into())
    }

    pub(crate) fn warn(id: Id, seen: impl Into<String>) -> Self {
        Self::new(Severity::Warn, id, seen.into())
    }

    pub(crate) fn ok(id: Id, seen: impl Into<String>) -> Self {
        Self::new(Severity::Ok, id, seen.into())
    }

    fn new(severity: Severity, id: Id, seen: String) -> Self {
        Self {
            severity,
            id,
            networks: Vec::new(),
            seen,
            why: String::new(),
            help: Vec::new(),
        }
    }

    pub(crate) fn of<'a>(mut self, networks: impl IntoIterator<Item = &'a NetworkName>) -> Self {
        self.networks.extend(networks.into_iter().cloned());
        self.networks.sort();
        self.networks.dedup();
        self
    }

    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// For a person.
    pub(crate) fn text(&self) -> String {
        let networks: Vec<_> = self.networks.iter().map(ToString::to_string).collect();
        let head = [
            self.severity.as_str(),
            self.id.as_str(),
            &networks.join(" "),
        ];
        let mut text = head.join("  ").trim_end().to_owned() + "\n";
        let mut line = |label: &str, said: &str| {
            let said: String = said
                .chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect();
            text.push_str(&["  ", label, "  ", &said, "\n"].concat());
        };
        line("seen", &self.seen);
        if !self.why.is_empty() {
            line("why", &self.why);
        }
        for help in &self.help {
            line("help", help);
        }
        text
    }
}

/// The findings, or that what was looked at is as it should be.
pub(crate) fn or_ok(findings: Vec<Finding>, id: Id, seen: impl Into<String>) -> Vec<Finding> {
    if findings.is_empty() {
        vec![Finding::ok(id, seen)]
    } else {
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../docs/doctor.md");

    /// The names in the first column of the tables that begin with `| finding |`.
    fn documented() -> Vec<&'static str> {
        let mut names = Vec::new();
        let mut inside = false;
        for line in DOCUMENT.lines() {
            inside = line.starts_with("| finding |") || (inside && line.starts_with('|'));
            let name = line
                .strip_prefix("| `")
                .and_then(|rest| rest.split('`').next());
            names.extend(name.filter(|_| inside));
        }
        names
    }

    #[test]
    fn every_finding_is_documented_once() {
        let mut ids: Vec<_> = Id::ALL.iter().map(|id| id.as_str()).collect();
        let mut documented = documented();
        ids.sort_unstable();
        documented.sort_unstable();
        assert_eq!(ids, documented, "left: the findings; right: docs/doctor.md");
    }

    #[test]
    fn names_are_distinct_words_joined_by_dashes() {
        let mut names: Vec<_> = Id::ALL.iter().map(|id| id.as_str()).collect();
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(names.iter().all(|name| name.chars().all(is_plain)));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn what_a_file_says_reaches_no_terminal_as_a_control_sequence() {
        let finding = Finding::warn(Id::ConfBroken, "a\u{1b}[31m")
            .help("one")
            .help("two");
        assert_eq!(
            finding.text(),
            "warn  conf-broken\n  seen  a\u{fffd}[31m\n  help  one\n  help  two\n"
        );
    }
}
