//! One rule in somebody else's firewall: what it is, whether it stands, adding and removing it, each by
//! the firewall's own tool.

use bulkhead_model::{Family, IfName, NetworkName};
use bulkhead_nft::foreign::{Engine, Ruleset};
use serde::{Deserialize, Serialize};

use super::error::CoexistError;
use super::firewall::{DOCKER_USER, Firewall, docker_chains};
use super::tool::{Said, ToolError, run};

/// The zone in which firewalld forwards whatever comes in.
const ZONE: &str = "trusted";

/// What is recorded of a rule: enough to add it again and to remove it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "with", rename_all = "lowercase")]
pub(crate) enum Rule {
    /// In the chain DOCKER-USER.
    Docker {
        /// The tool that made the chain: `iptables`, `ip6tables-legacy`, ...
        tool: String,
        /// The rule without chain and number.
        rule: Vec<String>,
    },
    /// An interface of a zone.
    Firewalld {
        zone: String,
        interface: IfName,
        until: Until,
    },
    /// A rule for what is routed.
    Ufw {
        /// The rule without its comment.
        rule: Vec<String>,
        comment: String,
    },
}

/// How long firewalld keeps something.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Until {
    /// Its next reload.
    Reload,
    /// It is removed.
    Removed,
}

/// Whether a rule stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    Present,
    Absent,
    /// It cannot be told, and why.
    Unknown(String),
}

/// What is let into a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Inbound {
    /// Answers, and host ports where the firewall can tell them.
    Asked,
    /// Everything that is routed to it.
    Everything,
}

/// A network as a firewall sees it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) network: NetworkName,
    pub(crate) bridge: IfName,
}

impl Subject {
    fn comment(&self) -> String {
        format!("bulkhead coexist {}", self.network)
    }

    /// The rules that make `firewall` forward for the network.
    pub(crate) fn rules(
        &self,
        firewall: Firewall,
        inbound: Inbound,
        ruleset: &Ruleset,
    ) -> Result<Vec<Rule>, CoexistError> {
        if inbound == Inbound::Everything && firewall != Firewall::Ufw {
            return Err(CoexistError::Inbound(firewall));
        }
        match firewall {
            Firewall::Docker => self.docker(ruleset),
            Firewall::Firewalld => Ok(self.firewalld()),
            Firewall::Ufw => Ok(self.ufw(inbound)),
        }
    }

    /// What goes into docker's own networks is left to the rules that docker has for them: to accept
    /// here would open their unpublished ports. All else that comes from the bridge passes, and into
    /// it what answers, and what was sent on from a host port.
    fn docker(&self, ruleset: &Ruleset) -> Result<Vec<Rule>, CoexistError> {
        let bridge = self.bridge.as_str();
        let own = ["-i", bridge, "-o", bridge];
        let conditions: [(&[&str], &str); 5] = [
            (&own, "ACCEPT"),
            (&["-i", bridge, "-o", "docker+"], "RETURN"),
            (&["-i", bridge, "-o", "br-+"], "RETURN"),
            (&["-i", bridge], "ACCEPT"),
            (
                &[
                    "-o",
                    bridge,
                    "-m",
                    "conntrack",
                    "--ctstate",
                    "RELATED,ESTABLISHED,DNAT",
                ],
                "ACCEPT",
            ),
        ];
        let mut rules = Vec::new();
        for (family, engine) in docker_chains(ruleset) {
            let tool = tool_of(family, engine)?;
            for (condition, verdict) in &conditions {
                let comment = self.comment();
                let own = ["-m", "comment", "--comment", &comment, "-j", verdict];
                let words = condition.iter().chain(&own);
                rules.push(Rule::Docker {
                    tool: tool.clone(),
                    rule: words.map(|word| (*word).to_owned()).collect(),
                });
            }
        }
        if rules.is_empty() {
            return Err(CoexistError::NoDockerChain);
        }
        Ok(rules)
    }

    fn firewalld(&self) -> Vec<Rule> {
        let rule = |until| Rule::Firewalld {
            zone: ZONE.to_owned(),
            interface: self.bridge,
            until,
        };
        vec![rule(Until::Reload), rule(Until::Removed)]
    }

    fn ufw(&self, inbound: Inbound) -> Vec<Rule> {
        let rule = |direction: &str| Rule::Ufw {
            rule: ["allow", direction, "on", self.bridge.as_str()]
                .map(str::to_owned)
                .into(),
            comment: self.comment(),
        };
        match inbound {
            Inbound::Asked => vec![rule("in")],
            Inbound::Everything => vec![rule("in"), rule("out")],
        }
    }
}

/// The iptables that shows docker's chain: `iptables` may be either of two.
fn tool_of(family: Family, engine: Engine) -> Result<String, CoexistError> {
    let plain = match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    };
    let suffix = match engine {
        Engine::Nftables => "nft",
        Engine::Legacy => "legacy",
    };
    let candidates = [format!("{plain}-{suffix}"), plain.to_owned()];
    for tool in &candidates {
        match run(&[tool, "-w", "5", "-S", DOCKER_USER]) {
            Ok(said) if said.succeeded() => return Ok(tool.clone()),
            Ok(_) | Err(ToolError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CoexistError::NoIptables(candidates.to_vec()))
}

impl Rule {
    pub(crate) const fn firewall(&self) -> Firewall {
        match self {
            Self::Docker { .. } => Firewall::Docker,
            Self::Firewalld { .. } => Firewall::Firewalld,
            Self::Ufw { .. } => Firewall::Ufw,
        }
    }

    /// Whether the two mean what they mean by their order: then all are added, or none.
    pub(crate) fn is_in_order_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Docker { tool, .. }, Self::Docker { tool: others, .. }) => tool == others,
            _ => false,
        }
    }

    /// The command that adds it, as a person would type it.
    pub(crate) fn line(&self) -> String {
        let words = match self {
            Self::Docker { tool, rule } => iptables(tool, &["-A", DOCKER_USER], rule),
            Self::Firewalld { .. } => self.firewall_cmd("--add-interface"),
            Self::Ufw { rule, comment } => ufw(&["route"], rule, Some(comment)),
        };
        let quoted = |word: &String| {
            if word.contains(' ') {
                format!("'{word}'")
            } else {
                word.clone()
            }
        };
        words.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }

    /// Whether it stands; changes nothing.
    pub(crate) fn standing(&self) -> Standing {
        let asked = match self {
            Self::Docker { tool, rule } => asked(&iptables(tool, &["-C", DOCKER_USER], rule)),
            Self::Firewalld { until, .. } => {
                asked(&self.firewall_cmd("--query-interface")).map(|standing| match standing {
                    // What is not running holds nothing.
                    Standing::Unknown(_) if *until == Until::Reload => Standing::Absent,
                    standing => standing,
                })
            }
            Self::Ufw { rule, comment } => shown_by_ufw(rule, comment),
        };
        asked.unwrap_or_else(|error| Standing::Unknown(crate::failure::chain(&error)))
    }

    /// Adds it.
    pub(crate) fn add(&self) -> Result<(), CoexistError> {
        match self {
            Self::Docker { tool, rule } => {
                let place = last_place(tool)?;
                let place: Vec<&str> = place.iter().map(String::as_str).collect();
                done(&iptables(tool, &place, rule)).map(drop)
            }
            Self::Firewalld { .. } => done(&self.firewall_cmd("--add-interface")).map(drop),
            Self::Ufw { rule, comment } => done(&ufw(&["route"], rule, Some(comment))).map(drop),
        }
    }

    /// Removes it.
    pub(crate) fn remove(&self) -> Result<(), CoexistError> {
        let words = match self {
            Self::Docker { tool, rule } => iptables(tool, &["-D", DOCKER_USER], rule),
            Self::Firewalld { .. } => self.firewall_cmd("--remove-interface"),
            Self::Ufw { rule, .. } => ufw(&["--force", "route", "delete"], rule, None),
        };
        done(&words).map(drop)
    }

    fn firewall_cmd(&self, action: &str) -> Vec<String> {
        let Self::Firewalld {
            zone,
            interface,
            until,
        } = self
        else {
            return Vec::new();
        };
        let permanent = match until {
            Until::Reload => None,
            Until::Removed => Some("--permanent".to_owned()),
        };
        let own = [format!("--zone={zone}"), format!("{action}={interface}")];
        let tool = ["firewall-cmd".to_owned()];
        tool.into_iter().chain(permanent).chain(own).collect()
    }
}

/// Where an operator's last rule goes: behind his own, which shall win, and before the RETURN that
/// docker before 28 ends the chain with.
fn last_place(tool: &str) -> Result<Vec<String>, CoexistError> {
    let said = done(&iptables(tool, &["-S", DOCKER_USER], &[]))?;
    let rules: Vec<_> = said.lines().filter(|line| line.starts_with("-A")).collect();
    let chain = DOCKER_USER.to_owned();
    Ok(match rules.last() {
        Some(last) if *last == format!("-A {DOCKER_USER} -j RETURN") => {
            vec!["-I".to_owned(), chain, rules.len().to_string()]
        }
        _ => vec!["-A".to_owned(), chain],
    })
}

fn iptables(tool: &str, place: &[&str], rule: &[String]) -> Vec<String> {
    let head = [tool, "-w", "5"];
    let head = head.iter().chain(place).map(|word| (*word).to_owned());
    head.chain(rule.iter().cloned()).collect()
}

fn ufw(head: &[&str], rule: &[String], comment: Option<&str>) -> Vec<String> {
    let comment = comment.map(|comment| ["comment".to_owned(), comment.to_owned()]);
    let head = ["ufw"].iter().chain(head).map(|word| (*word).to_owned());
    head.chain(rule.iter().cloned())
        .chain(comment.into_iter().flatten())
        .collect()
}

/// Yes or no, as these tools say it by 0 and 1.
fn asked(words: &[String]) -> Result<Standing, ToolError> {
    let said = run(words)?;
    Ok(match said.status.code() {
        Some(0) => Standing::Present,
        Some(1) => Standing::Absent,
        _ => Standing::Unknown(said.complaint()),
    })
}

/// ufw keeps one rule of a kind: one with another comment is the operator's own.
fn shown_by_ufw(rule: &[String], comment: &str) -> Result<Standing, ToolError> {
    let said = run(&["ufw", "show", "added"])?;
    if !said.succeeded() {
        return Ok(Standing::Unknown(said.complaint()));
    }
    let line = format!("ufw route {} comment '{comment}'", rule.join(" "));
    let is_there = said.stdout.lines().any(|shown| shown.trim() == line);
    Ok(if is_there {
        Standing::Present
    } else {
        Standing::Absent
    })
}

/// Whether the operator has let the same through himself, so that there is nothing for us to add and
/// nothing to remove later. In docker's chain ours are known by their comment.
pub(crate) fn is_operators_own(rule: &Rule) -> Result<bool, CoexistError> {
    match rule {
        Rule::Docker { .. } => Ok(false),
        Rule::Firewalld { .. } => Ok(rule.standing() == Standing::Present),
        Rule::Ufw { rule, comment } => {
            let own = format!("ufw route {}", rule.join(" "));
            let ours = format!("{own} comment '{comment}'");
            let commented = format!("{own} comment ");
            let said = done(&ufw(&["show", "added"], &[], None))?;
            let mut lines = said.lines().map(str::trim);
            Ok(lines.any(|line| line == own || (line != ours && line.starts_with(&commented))))
        }
    }
}

/// What a tool said that had to succeed.
fn done(words: &[String]) -> Result<String, CoexistError> {
    let said: Said = run(words)?;
    if said.succeeded() {
        return Ok(said.stdout);
    }
    Err(CoexistError::Refused {
        command: words.join(" "),
        said: said.complaint(),
    })
}
