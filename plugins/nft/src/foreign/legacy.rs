//! Rulesets from what `iptables-legacy-save` and `ip6tables-legacy-save` print.

use std::net::IpAddr;

use bulkhead_model::{Family, Prefix};

use super::{
    Base, Chain, Engine, Field, Loaded, Part, Polarity, Relation, Rule, Ruleset, Table, TableName,
    Test, Verdict,
};
use crate::table::{Policy, TableFamily};

impl Ruleset {
    /// Takes in what the tool printed. Lines that are not understood are passed over, options that
    /// are not become conditions that are not.
    pub fn add_legacy(&mut self, family: Family, text: &str) {
        let mut table: Option<&mut Table> = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                let name = TableName {
                    engine: Engine::Legacy,
                    family: match family {
                        Family::V4 => TableFamily::Ip,
                        Family::V6 => TableFamily::Ip6,
                    },
                    name: name.to_owned(),
                };
                table = Some(self.tables.entry(name).or_default());
            } else if let Some(table) = &mut table {
                take_in(table, line);
            }
        }
    }
}

fn take_in(table: &mut Table, line: &str) {
    let words = words(line);
    let mut words = words.iter().map(String::as_str);
    match words.next() {
        Some("-A") => {
            let chain = words.next().and_then(|name| table.chains.get_mut(name));
            if let Some(chain) = chain {
                chain.rules.push(rule(words));
            }
        }
        Some(declared) => {
            let Some(name) = declared.strip_prefix(':') else {
                return;
            };
            let base = words.next().and_then(|policy| base(name, policy));
            let rules = Vec::new();
            table.chains.insert(name.to_owned(), Chain { base, rules });
        }
        None => {}
    }
}

/// Chains of one's own have `-` for a policy.
fn base(name: &str, policy: &str) -> Option<Base> {
    let hook = match name {
        "PREROUTING" => 0,
        "INPUT" => 1,
        "FORWARD" => 2,
        "OUTPUT" => 3,
        "POSTROUTING" => 4,
        _ => return None,
    };
    Some(Base {
        kind: "filter".to_owned(),
        hook,
        priority: 0,
        policy: match policy {
            "DROP" => Policy::Drop,
            _ => Policy::Accept,
        },
    })
}

fn rule<'a>(mut words: impl Iterator<Item = &'a str>) -> Rule {
    let mut rule = Rule::default();
    let mut polarity = Polarity::Is;
    while let Some(option) = words.next() {
        if option == "!" {
            polarity = Polarity::IsNot;
            continue;
        }
        let mut argument = || words.next().unwrap_or_default();
        let test = match option {
            "-i" => Some(device(Field::Input, argument(), polarity)),
            "-o" => Some(device(Field::Output, argument(), polarity)),
            "-s" => Some(address(Field::Source, argument(), polarity)),
            "-d" => Some(address(Field::Destination, argument(), polarity)),
            "-p" => Some(protocol(argument(), polarity)),
            "--ctstate" | "--state" => Some(states(argument(), polarity)),
            "--mark" => Some(mark(argument(), polarity)),
            "--comment" => {
                rule.comment = Some(argument().to_owned());
                None
            }
            // What a match asks for are its own options.
            "-m" => {
                argument();
                None
            }
            "-j" => {
                rule.parts.push(Part::Verdict(target(argument())));
                // What follows are the target's own options.
                break;
            }
            "-g" => {
                let chain = Verdict::Goto(argument().to_owned());
                rule.parts.push(Part::Verdict(chain));
                break;
            }
            option if option.starts_with('-') => Some(Test::Unknown),
            // An argument of an option that is not understood.
            _ => None,
        };
        polarity = Polarity::Is;
        rule.parts.extend(test.map(Part::Test));
    }
    rule
}

fn target(name: &str) -> Verdict {
    match name {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        // A jump to a chain that is not there, as a target that is no chain looks, decides nothing.
        chain => Verdict::Jump(chain.to_owned()),
    }
}

/// `eth+` is every name that begins so.
fn device(field: Field, name: &str, polarity: Polarity) -> Test {
    let value = match name.strip_suffix('+') {
        Some(beginning) => beginning.as_bytes().to_vec(),
        None => [name.as_bytes(), &[0]].concat(),
    };
    compare(field, None, value, polarity)
}

fn address(field: Field, text: &str, polarity: Polarity) -> Test {
    let prefix = match text.split_once('/') {
        Some((address, len)) => address.parse::<IpAddr>().ok().zip(len.parse().ok()),
        None => text.parse::<IpAddr>().ok().map(|address| {
            let bits = Family::of(address).bits();
            (address, bits)
        }),
    };
    let Some(prefix) = prefix.and_then(|(address, len)| Prefix::new(address, len)) else {
        return Test::Unknown;
    };
    let value = match prefix.address() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let mask = (0..value.len()).map(|nth| {
        let bits = usize::from(prefix.len()).saturating_sub(nth * 8).min(8);
        u8::MAX
            .checked_shl(8 - u32::try_from(bits).unwrap_or(8))
            .unwrap_or_default()
    });
    compare(field, Some(mask.collect()), value, polarity)
}

fn protocol(name: &str, polarity: Polarity) -> Test {
    let number = match name {
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        "ipv6-icmp" | "icmpv6" => Some(58),
        "sctp" => Some(132),
        other => other.parse().ok(),
    };
    number.map_or(Test::Unknown, |number| {
        compare(Field::Protocol, None, vec![number], polarity)
    })
}

fn states(list: &str, polarity: Polarity) -> Test {
    let bit = |name| match name {
        "INVALID" => Some(1),
        "ESTABLISHED" => Some(2),
        "RELATED" => Some(4),
        "NEW" => Some(8),
        "SNAT" => Some(0x40),
        "DNAT" => Some(0x80),
        "UNTRACKED" => Some(0x100),
        _ => None,
    };
    let bits: Option<Vec<u32>> = list.split(',').map(bit).collect();
    bits.map_or(Test::Unknown, |bits| Test::States {
        bits: bits.iter().fold(0, |all, bit| all | bit),
        polarity,
    })
}

fn mark(text: &str, polarity: Polarity) -> Test {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let (value, bits) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    match (number(value), number(bits)) {
        (Some(value), Some(bits)) => compare(
            Field::Mark,
            Some(bits.to_ne_bytes().to_vec()),
            value.to_ne_bytes().to_vec(),
            polarity,
        ),
        _ => Test::Unknown,
    }
}

fn compare(field: Field, mask: Option<Vec<u8>>, value: Vec<u8>, polarity: Polarity) -> Test {
    let mask = mask.map(|mask| {
        let xor = vec![0; mask.len()];
        (mask, xor)
    });
    Test::Compare {
        what: Loaded { field, mask },
        relation: match polarity {
            Polarity::Is => Relation::Equal,
            Polarity::IsNot => Relation::NotEqual,
        },
        value,
    }
}

/// The words of a line; one in quotes may hold blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None;
    let mut quoted = false;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_with(String::new);
            }
            '\\' if quoted => word
                .get_or_insert_with(String::new)
                .extend(characters.next()),
            blank if blank.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_with(String::new).push(other),
        }
    }
    words.extend(word);
    words
}
