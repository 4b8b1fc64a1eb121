//! What a ruleset does to one forwarded packet.

use std::cmp::Ordering;
use std::net::IpAddr;

use bulkhead_model::{Family, IfName};

use super::{
    Base, Element, Field, Loaded, Part, Place, Polarity, Relation, Rule, Ruleset, Table, TableName,
    Test, Verdict,
};
use crate::table::{Policy, TableFamily};

/// The kernel's limit on nested jumps (`NFT_JUMP_STACK_SIZE`).
const MAX_DEPTH: usize = 16;

/// A packet that is forwarded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Its IP version.
    pub family: Family,
    /// The device it came in by.
    pub input: IfName,
    /// The device it is about to leave by.
    pub output: IfName,
    /// Its sender, if one is supposed.
    pub source: Option<IpAddr>,
    /// Whom it is for, after translation, if one is supposed.
    pub destination: Option<IpAddr>,
    /// What connection tracking makes of it.
    pub connection: Connection,
}

/// The connection a TCP packet belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Connection {
    /// It is the first one.
    New,
    /// It is the first one, and its destination was translated: a host port.
    Translated,
    /// It is an answer.
    Reply,
}

/// A base chain that drops the packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dropped {
    /// Whose.
    pub table: TableName,
    /// The base chain.
    pub base: String,
    /// The chain whose rule drops it; the base chain for its policy.
    pub chain: String,
    /// That rule, counted from 0; `None` for the policy.
    pub rule: Option<usize>,
    /// Rules before it, each by its chain and number, that would have accepted the packet, had a
    /// condition held that is not understood here.
    pub doubts: Vec<(String, usize)>,
}

impl Ruleset {
    /// Every base chain at the forward hook that drops the packet, in the order in which packets
    /// enter them, those of `besides` aside. Rules that drop on a condition that is not understood are
    /// taken not to mean it.
    #[must_use]
    pub fn drops(&self, packet: &Packet, besides: impl Fn(&TableName) -> bool) -> Vec<Dropped> {
        let mut entered: Vec<(&TableName, &Table, &String, &Base)> = Vec::new();
        for (name, table) in &self.tables {
            if !sees(name.family, packet.family) || besides(name) {
                continue;
            }
            for (chain_name, chain) in &table.chains {
                if let Some(base) = chain.base.as_ref().filter(|base| base.forwards()) {
                    entered.push((name, table, chain_name, base));
                }
            }
        }
        entered.sort_by_key(|(.., base)| base.priority);
        let judged = entered
            .into_iter()
            .filter_map(|(name, table, chain, base)| {
                let mut run = Run {
                    table,
                    packet,
                    doubts: Vec::new(),
                };
                let (chain_name, rule) = match run.chain(chain, 0) {
                    Flow::Dropped { chain, rule } => (chain, Some(rule)),
                    Flow::End if base.policy == Policy::Drop => (chain.clone(), None),
                    Flow::End | Flow::Accepted => return None,
                };
                Some(Dropped {
                    table: name.clone(),
                    base: chain.clone(),
                    chain: chain_name,
                    rule,
                    doubts: run.doubts,
                })
            });
        judged.collect()
    }
}

fn sees(table: TableFamily, packet: Family) -> bool {
    match table {
        TableFamily::Inet => true,
        TableFamily::Ip => packet == Family::V4,
        TableFamily::Ip6 => packet == Family::V6,
        _ => false,
    }
}

/// What a condition makes of a packet.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Holds {
    Yes,
    No,
    Unknown,
}

impl Holds {
    fn when(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn with(self, polarity: Polarity) -> Self {
        match (self, polarity) {
            (Self::Yes, Polarity::IsNot) => Self::No,
            (Self::No, Polarity::IsNot) => Self::Yes,
            (same, _) => same,
        }
    }
}

enum Flow {
    Accepted,
    Dropped { chain: String, rule: usize },
    End,
}

struct Run<'a> {
    table: &'a Table,
    packet: &'a Packet,
    doubts: Vec<(String, usize)>,
}

impl Run<'_> {
    fn chain(&mut self, name: &str, depth: usize) -> Flow {
        let table = self.table;
        let Some(chain) = table.chains.get(name).filter(|_| depth < MAX_DEPTH) else {
            return Flow::End;
        };
        for (nth, rule) in chain.rules.iter().enumerate() {
            let Some((verdict, holds)) = self.rule(rule) else {
                continue;
            };
            if holds == Holds::Unknown {
                self.doubt(name, nth, &verdict, depth);
                continue;
            }
            match verdict {
                Verdict::Accept => return Flow::Accepted,
                Verdict::Drop => {
                    return Flow::Dropped {
                        chain: name.to_owned(),
                        rule: nth,
                    };
                }
                Verdict::Return => return Flow::End,
                Verdict::Goto(target) => return self.chain(&target, depth + 1),
                Verdict::Jump(target) => match self.chain(&target, depth + 1) {
                    Flow::End => {}
                    decided => return decided,
                },
            }
        }
        Flow::End
    }

    /// Whether the rule would accept, if it held.
    fn doubt(&mut self, chain: &str, nth: usize, verdict: &Verdict, depth: usize) {
        let accepts = match verdict {
            Verdict::Accept => true,
            Verdict::Jump(target) | Verdict::Goto(target) => {
                matches!(self.chain(target, depth + 1), Flow::Accepted)
            }
            Verdict::Drop | Verdict::Return => false,
        };
        if accepts {
            self.doubts.push((chain.to_owned(), nth));
        }
    }

    /// The rule's verdict; `None` if it has none for the packet.
    fn rule(&self, rule: &Rule) -> Option<(Verdict, Holds)> {
        let mut all = Holds::Yes;
        for part in &rule.parts {
            match part {
                Part::Test(test) => match self.test(test) {
                    Holds::Yes => {}
                    Holds::No => return None,
                    Holds::Unknown => all = Holds::Unknown,
                },
                Part::Verdict(verdict) => return Some((verdict.clone(), all)),
                Part::Map { what, set } => match self.looked_up(what, set) {
                    Ok(Some(element)) => return Some((element.verdict.clone()?, all)),
                    Ok(None) => return None,
                    Err(NotKnown) => return Some((Verdict::Accept, Holds::Unknown)),
                },
            }
        }
        None
    }

    fn test(&self, test: &Test) -> Holds {
        match test {
            Test::Compare {
                what,
                relation,
                value,
            } => {
                let found = self.value(what);
                let found = found.as_ref().and_then(|found| found.get(..value.len()));
                found.map_or(Holds::Unknown, |found| {
                    Holds::when(relation.holds(found.cmp(value)))
                })
            }
            Test::Member {
                what,
                set,
                polarity,
            } => match self.looked_up(what, set) {
                Ok(element) => Holds::when(element.is_some()).with(*polarity),
                Err(NotKnown) => Holds::Unknown,
            },
            Test::States { bits, polarity } => {
                let own = self.packet.connection.state() | self.packet.connection.translation();
                Holds::when(own & bits != 0).with(*polarity)
            }
            Test::Unknown => Holds::Unknown,
        }
    }

    fn looked_up(&self, what: &Loaded, set: &str) -> Result<Option<&Element>, NotKnown> {
        let key = self.value(what).ok_or(NotKnown)?;
        let elements = self.table.sets.get(set).ok_or(NotKnown)?;
        element_of(elements, &key)
    }

    /// The bytes of a field as the kernel loads them; `None` if nothing is supposed of them.
    fn value(&self, what: &Loaded) -> Option<Vec<u8>> {
        let packet = self.packet;
        let bytes = match what.field {
            Field::Input => packet.input.padded().to_vec(),
            Field::Output => packet.output.padded().to_vec(),
            // Marks are set by rules that would have to be run too.
            Field::Mark => vec![0; 4],
            Field::Family => vec![match packet.family {
                Family::V4 => TableFamily::Ip.number(),
                Family::V6 => TableFamily::Ip6.number(),
            }],
            // `IPPROTO_TCP`.
            Field::Protocol => vec![6],
            Field::Source => octets(packet.source?),
            Field::Destination => octets(packet.destination?),
            Field::State => packet.connection.state().to_ne_bytes().to_vec(),
            Field::Status => packet.connection.status().to_ne_bytes().to_vec(),
            // `IP_CT_DIR_ORIGINAL`, `IP_CT_DIR_REPLY`.
            Field::Direction => vec![u8::from(packet.connection == Connection::Reply)],
            Field::InputIndex | Field::OutputIndex | Field::Unknown => return None,
        };
        let Some((mask, xor)) = &what.mask else {
            return Some(bytes);
        };
        let masked = bytes.iter().zip(mask).zip(xor);
        Some(
            masked
                .map(|((byte, mask), xor)| byte & mask ^ xor)
                .collect(),
        )
    }
}

struct NotKnown;

/// The element with the key: itself, the interval it is in, or the one that stands for all others.
fn element_of<'a>(elements: &'a [Element], key: &[u8]) -> Result<Option<&'a Element>, NotKnown> {
    let is_comparable = |element: &Element| {
        let len = element.key.as_ref().map(Vec::len);
        element.place != Place::Range && len.is_none_or(|len| len == key.len())
    };
    if !elements.iter().all(is_comparable) {
        return Err(NotKnown);
    }
    let keyed = || elements.iter().filter(|element| element.key.is_some());
    let intervals = elements
        .iter()
        .any(|element| element.place == Place::Behind);
    let found = if intervals {
        let below = keyed().filter(|element| element.key.as_deref() <= Some(key));
        // Where one interval ends and the next begins, the begin counts.
        let last = below.max_by_key(|element| (&element.key, element.place == Place::First));
        last.filter(|element| element.place == Place::First)
    } else {
        keyed().find(|element| element.key.as_deref() == Some(key))
    };
    Ok(found.or_else(|| elements.iter().find(|element| element.key.is_none())))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

impl Relation {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

impl Connection {
    /// `NF_CT_STATE_BIT`, equal to `XT_CONNTRACK_STATE_BIT`
    /// (`linux/netfilter/nf_conntrack_common.h`).
    const fn state(self) -> u32 {
        match self {
            Self::New | Self::Translated => 8,
            Self::Reply => 2,
        }
    }

    /// `XT_CONNTRACK_STATE_DNAT` (`linux/netfilter/xt_conntrack.h`).
    const fn translation(self) -> u32 {
        match self {
            Self::Translated => 0x80,
            Self::New | Self::Reply => 0,
        }
    }

    /// `enum ip_conntrack_status`: `IPS_DST_NAT` and `IPS_DST_NAT_DONE`, or `IPS_SEEN_REPLY`,
    /// `IPS_ASSURED` and `IPS_CONFIRMED`.
    const fn status(self) -> u32 {
        match self {
            Self::New => 0,
            Self::Translated => 0x120,
            Self::Reply => 0x0e,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::Engine;

    fn packet(input: &str, output: &str, connection: Connection) -> Packet {
        Packet {
            family: Family::V4,
            input: input.parse().unwrap(),
            output: output.parse().unwrap(),
            source: None,
            destination: "198.51.100.1".parse().ok(),
            connection,
        }
    }

    fn legacy(text: &str) -> Ruleset {
        let mut ruleset = Ruleset::default();
        ruleset.add_legacy(Family::V4, text);
        ruleset
    }

    fn drops(text: &str, packet: &Packet) -> Vec<(String, Option<usize>, usize)> {
        let dropped = legacy(text).drops(packet, |_| false);
        let told = dropped.into_iter().map(|dropped| {
            assert_eq!(dropped.table.engine, Engine::Legacy);
            (dropped.chain, dropped.rule, dropped.doubts.len())
        });
        told.collect()
    }

    const DOCKER: &str = r#"# Generated by iptables-save v1.8.9 on Sat Nov 21 11:10:04 2026
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [12:720]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER-USER -i br0 -m comment --comment "a \"b\" c" -m conntrack ! --ctstate INVALID -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"#;

    #[test]
    fn a_policy_drops_what_no_rule_accepts() {
        let out = packet("br1", "eth0", Connection::New);
        let policy = vec![("FORWARD".to_owned(), None, 0)];
        assert_eq!(drops(DOCKER, &out), policy);
        let into = packet("eth0", "br0", Connection::Reply);
        assert_eq!(drops(DOCKER, &into), policy);
        for (input, output) in [("br0", "eth0"), ("docker0", "br1")] {
            assert_eq!(drops(DOCKER, &packet(input, output, Connection::New)), []);
        }
        let reply = packet("eth0", "docker0", Connection::Reply);
        assert_eq!(drops(DOCKER, &reply), []);
    }

    #[test]
    fn comments_and_targets_are_read() {
        let ruleset = legacy(DOCKER);
        let table = ruleset.table(Engine::Legacy, TableFamily::Ip, "filter");
        let chains = &table.unwrap().chains;
        let user = &chains["DOCKER-USER"].rules;
        assert_eq!(user[0].comment.as_deref(), Some("a \"b\" c"));
        assert!(user[1].returns_always() && !user[0].returns_always());
        let first = &chains["FORWARD"].rules[0];
        assert_eq!(first.targets().collect::<Vec<_>>(), ["DOCKER-USER"]);
    }

    #[test]
    fn a_rule_that_is_not_understood_is_a_doubt_if_it_accepts() {
        let text = "*filter\n:FORWARD DROP [0:0]\n:own - [0:0]\n\
            -A FORWARD -p udp -j ACCEPT\n\
            -A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT\n\
            -A FORWARD -m set --match-set good src -j own\n\
            -A FORWARD -m set --match-set bad src -j DROP\n\
            -A FORWARD -m set ! --match-set far src -g elsewhere\n\
            -A own -i br+ -j ACCEPT\n";
        let out = packet("br0", "eth0", Connection::New);
        let dropped = legacy(text).drops(&out, |_| false).remove(0);
        let doubts: Vec<_> = dropped.doubts.iter().map(|(_, rule)| *rule).collect();
        assert_eq!((dropped.rule, doubts), (None, vec![1, 2]));
        assert_eq!(legacy(text).drops(&out, |table| table.name == "filter"), []);
    }

    #[test]
    fn marks_addresses_and_translation_are_compared() {
        let rule = |conditions: &str| {
            format!("*filter\n:FORWARD DROP [0:0]\n-A FORWARD {conditions} -j ACCEPT\n")
        };
        let out = packet("br0", "eth0", Connection::New);
        let translated = packet("eth0", "br0", Connection::Translated);
        let accepts = |conditions: &str, packet| drops(&rule(conditions), packet).is_empty();
        assert!(accepts("-d 198.51.96.0/20", &out));
        assert!(!accepts("! -d 198.51.100.0/24", &out));
        assert!(!accepts("-d 198.51.100.2/32", &out));
        assert!(!accepts("-m mark --mark 0x4000/0x4000", &out));
        assert!(accepts("-m mark ! --mark 0x4000/0x4000", &out));
        assert!(accepts("-m conntrack --ctstate DNAT", &translated));
        assert!(!accepts("-m conntrack --ctstate DNAT", &out));
        // Nothing is supposed of the source.
        assert_eq!(drops(&rule("-s 10.0.0.0/8"), &out)[0].2, 1);
    }

    fn element(key: &[u8], place: Place) -> Element {
        Element {
            key: Some(key.to_vec()),
            place,
            verdict: None,
        }
    }

    #[test]
    fn a_key_is_found_alone_and_in_intervals() {
        let found = |elements: &[Element], key: &[u8]| {
            element_of(elements, key).ok().map(|found| found.is_some())
        };
        let single = [element(&[5], Place::First), element(&[7], Place::First)];
        assert_eq!(found(&single, &[5]), Some(true));
        assert_eq!(found(&single, &[6]), Some(false));
        assert_eq!(found(&single, &[6, 0]), None);
        let intervals = [
            element(&[5], Place::First),
            element(&[7], Place::Behind),
            element(&[7], Place::First),
            element(&[9], Place::Behind),
        ];
        let inside: Vec<_> = (4..=9).map(|key| found(&intervals, &[key])).collect();
        let expected = [false, true, true, true, true, false];
        assert_eq!(inside, expected.map(Some));
        let ranges = [element(&[5], Place::Range)];
        assert_eq!(found(&ranges, &[5]), None);
        let all = Element {
            key: None,
            place: Place::First,
            verdict: None,
        };
        assert_eq!(found(&[all], &[5]), Some(true));
    }
}
