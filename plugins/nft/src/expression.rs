//! Rules as the kernel's expressions (`linux/netfilter/nf_tables.h`), with the dependencies nft adds.

use std::collections::{BTreeMap, BTreeSet};

use bulkhead_model::{Family, Prefix};

use crate::datum::{Datum, Key, KeyType};
use crate::elements::IndexOf;
use crate::field::{Field, Load};
use crate::meter::{Carried, Exceeds, encode_limit};
use crate::name::Name;
use crate::rule::{Log, Match, Op, Operand, Rule, SourcePorts, Statement, Verdict};
use crate::set::{Data, DataType, Elements};
use crate::table::TableFamily;
use crate::wire::{Attributes, attributes};

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
/// `NFT_REG32_00`, the first register of 4 bytes.
pub(crate) const REGISTER: u32 = 8;
/// `enum nft_cmp_ops`, `enum nft_range_ops`.
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFT_CMP_LTE: u32 = 3;
const NFT_CMP_GTE: u32 = 5;
const NFT_RANGE_NEQ: u32 = 1;
/// `enum nft_nat_types`.
const NFT_NAT_DNAT: u32 = 1;
/// `linux/netfilter/nf_nat.h`.
const NF_NAT_RANGE_MAP_IPS: u32 = 1 << 0;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 1 << 1;
/// `enum nft_fib_result`, `enum nft_fib_flags`.
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFT_FIB_RESULT_OIF: u32 = 1;
const NFTA_FIB_F_SADDR: u32 = 1 << 0;
const NFTA_FIB_F_DADDR: u32 = 1 << 1;
const NFTA_FIB_F_IIF: u32 = 1 << 3;
const NFTA_FIB_F_PRESENT: u32 = 1 << 5;

/// A set that lives in a rule.
pub(crate) struct AnonymousSet {
    pub(crate) id: u32,
    pub(crate) key: Vec<KeyType>,
    pub(crate) data: Option<DataType>,
    pub(crate) elements: Elements,
}

impl AnonymousSet {
    /// The pattern from which the kernel makes the set's name.
    pub(crate) const fn name(&self) -> &'static str {
        if self.data.is_some() {
            "__map%d"
        } else {
            "__set%d"
        }
    }
}

/// A rule as expressions, and the sets to create before it.
pub(crate) struct Encoded {
    pub(crate) sets: Vec<AnonymousSet>,
    /// `NFTA_LIST_ELEM` attributes.
    pub(crate) expressions: Vec<u8>,
}

/// Encodes `rule` for a table of `family`; anonymous sets take their numbers from `next_set`.
pub(crate) fn encode_rule(family: TableFamily, rule: &Rule, next_set: &mut u32) -> Encoded {
    let mut encoder = Encoder {
        family,
        known: Vec::new(),
        sets: Vec::new(),
        next_set,
    };
    let expressions = attributes(|out| {
        for statement in &rule.statements {
            encoder.statement(out, statement);
        }
    });
    Encoded {
        sets: encoder.sets,
        expressions,
    }
}

struct Encoder<'a> {
    family: TableFamily,
    /// Comparisons this rule has made already; nft makes none twice.
    known: Vec<(Field, Datum)>,
    sets: Vec<AnonymousSet>,
    next_set: &'a mut u32,
}

impl Encoder<'_> {
    fn statement(&mut self, out: &mut Attributes<'_>, statement: &Statement) {
        match statement {
            Statement::Match(comparison) => self.comparison(out, comparison),
            Statement::Counter => expression(out, "counter", |_| {}),
            Statement::Untracked => expression(out, "notrack", |_| {}),
            Statement::ClampMss => clamp_mss(out),
            Statement::Log(log) => encode_log(out, log),
            Statement::SetMarkBits(bits) => mark_bits(out, !bits, *bits),
            Statement::ClearMarkBits(bits) => mark_bits(out, !bits, 0),
            Statement::SetMark(mark) => {
                expression(out, "immediate", |data| {
                    data.u32(1, REGISTER);
                    data.nest(2, |value| value.bytes(NFTA_DATA_VALUE, &mark.to_ne_bytes()));
                });
                expression(out, "meta", |data| {
                    data.u32(2, 3);
                    data.u32(3, REGISTER);
                });
            }
            Statement::SetPriority(priority) => {
                expression(out, "immediate", |data| {
                    data.u32(1, REGISTER);
                    data.nest(2, |value| {
                        value.bytes(NFTA_DATA_VALUE, &priority.to_ne_bytes());
                    });
                });
                set_priority(out);
            }
            Statement::PriorityOf { fields, map } => {
                self.load(out, fields);
                lookup(out, map.as_str(), None, Op::Eq, Yields::Data);
                set_priority(out);
            }
            Statement::Limit(rate) => expression(out, "limit", |data| {
                encode_limit(data, *rate, Exceeds::Within);
            }),
            Statement::Verdict(verdict) => expression(out, "immediate", |data| {
                data.u32(1, 0);
                data.nest(2, |value| encode_verdict(value, verdict));
            }),
            Statement::VerdictMap { fields, map } => {
                self.load(out, fields);
                lookup(out, map.as_str(), None, Op::Eq, Yields::Verdict);
            }
            Statement::Dnat {
                family,
                fields,
                map,
            } => self.dnat(out, *family, fields, map),
            Statement::Forward { fields, map } => {
                self.load(out, fields);
                lookup(out, map.as_str(), None, Op::Eq, Yields::Data);
                expression(out, "fwd", |data| data.u32(1, REGISTER));
            }
            Statement::Meter {
                fields,
                set,
                rate,
                when,
            } => {
                self.load(out, fields);
                Carried::Limit(*rate, *when).encode(out, set);
            }
            Statement::Tally { fields, set } => {
                self.load(out, fields);
                Carried::Counter.encode(out, set);
            }
            Statement::Vmap { fields, entries } => self.vmap(out, fields, entries),
            Statement::Masquerade(ports) => expression(out, "masq", |data| match ports {
                SourcePorts::Keep => {}
                SourcePorts::Random => data.u32(1, 1 << 2),
                SourcePorts::FullyRandom => data.u32(1, 1 << 4),
            }),
        }
    }

    fn comparison(&mut self, out: &mut Attributes<'_>, comparison: &Match) {
        let Match { fields, op, with } = comparison;
        match with {
            Operand::Value(value) => {
                if let ([field], Op::Eq) = (fields.as_slice(), op) {
                    self.equal(out, *field, value);
                } else {
                    self.load(out, fields);
                    compare(out, *op, &value.bytes());
                }
            }
            Operand::AnyBit(bits) => {
                self.load(out, fields);
                let mask = bits.bytes();
                and(out, &mask);
                // Any bit left: the comparison with none, turned round.
                let op = if *op == Op::Eq { Op::Ne } else { Op::Eq };
                compare(out, op, &vec![0; mask.len()]);
            }
            Operand::Masked { mask, value } => {
                self.load(out, fields);
                and(out, &mask.bytes());
                compare(out, *op, &value.bytes());
            }
            Operand::Range { first, last } => {
                self.load(out, fields);
                range(out, *op, &first.bytes(), &last.bytes());
            }
            Operand::Prefix(prefix) => self.prefix(out, fields, *op, *prefix),
            Operand::NamePrefix(prefix) => {
                self.load(out, fields);
                compare(out, *op, prefix.as_str().as_bytes());
            }
            Operand::Set(name) => {
                self.load(out, fields);
                lookup(out, name.as_str(), None, *op, Yields::Nothing);
            }
            Operand::Keys(keys) => self.anonymous(out, fields, *op, keys),
            Operand::Prefixes(prefixes) => {
                self.load(out, fields);
                let elements = Elements::Prefixes(prefixes.clone());
                let id = self.set(fields, None, elements);
                lookup(out, "__set%d", Some(id), *op, Yields::Nothing);
            }
        }
    }

    /// The map's value is an address and, in the register after it, a port. Packets of the other
    /// family pass by (`nft_nat_inet_eval`, `net/netfilter/nft_nat.c`), so nft adds no dependency.
    fn dnat(&mut self, out: &mut Attributes<'_>, family: Family, fields: &[Field], map: &Name) {
        let (of, words) = match family {
            Family::V4 => (TableFamily::Ip, 1),
            Family::V6 => (TableFamily::Ip6, 4),
        };
        self.load(out, fields);
        lookup(out, map.as_str(), None, Op::Eq, Yields::Data);
        expression(out, "nat", |data| {
            data.u32(1, NFT_NAT_DNAT);
            data.u32(2, u32::from(of.number()));
            data.u32(3, REGISTER);
            data.u32(4, REGISTER);
            data.u32(5, REGISTER + words);
            data.u32(6, REGISTER + words);
            data.u32(7, NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED);
        });
    }

    fn anonymous(
        &mut self,
        out: &mut Attributes<'_>,
        fields: &[Field],
        op: Op,
        keys: &BTreeSet<Key>,
    ) {
        self.load(out, fields);
        let id = self.set(fields, None, Elements::Keys(keys.clone()));
        lookup(out, "__set%d", Some(id), op, Yields::Nothing);
    }

    fn vmap(
        &mut self,
        out: &mut Attributes<'_>,
        fields: &[Field],
        entries: &BTreeMap<Key, Verdict>,
    ) {
        self.load(out, fields);
        let verdicts = entries
            .iter()
            .map(|(key, verdict)| (key.clone(), Data::Verdict(verdict.clone()).into()));
        let elements = Elements::Map(verdicts.collect());
        let id = self.set(fields, Some(DataType::Verdict), elements);
        lookup(out, "__map%d", Some(id), Op::Eq, Yields::Verdict);
    }

    fn set(&mut self, fields: &[Field], data: Option<DataType>, elements: Elements) -> u32 {
        let id = *self.next_set;
        *self.next_set += 1;
        self.sets.push(AnonymousSet {
            id,
            key: fields.iter().map(|field| field.kind()).collect(),
            data,
            elements,
        });
        id
    }

    /// nft loads only the bytes a prefix covers, and masks when it ends inside a byte.
    fn prefix(&mut self, out: &mut Attributes<'_>, fields: &[Field], op: Op, prefix: Prefix) {
        let bytes = Datum::from(prefix.address()).bytes();
        let whole = usize::from(prefix.len() / 8);
        self.depend(out, fields);
        if prefix.len().is_multiple_of(8) && whole > 0 {
            for field in fields {
                load(out, *field, 0, whole);
            }
            compare(out, op, &bytes[..whole]);
            return;
        }
        for field in fields {
            load(out, *field, 0, bytes.len());
        }
        let mask = mask(prefix.len(), bytes.len());
        and(out, &mask);
        compare(out, op, &bytes);
    }

    /// Loads the concatenation, each field on its own registers.
    fn load(&mut self, out: &mut Attributes<'_>, fields: &[Field]) {
        self.depend(out, fields);
        let mut word = 0;
        for field in fields {
            load(out, *field, word, field.kind().len());
            word += length(field.kind().padded_len() / 4);
        }
    }

    fn depend(&mut self, out: &mut Attributes<'_>, fields: &[Field]) {
        for field in fields {
            for (on, value) in field.dependencies(self.family) {
                self.equal(out, on, &value);
            }
        }
    }

    fn equal(&mut self, out: &mut Attributes<'_>, field: Field, value: &Datum) {
        let fact = (field, value.clone());
        if self.known.contains(&fact) {
            return;
        }
        self.load(out, &[field]);
        compare(out, Op::Eq, &value.bytes());
        self.known.push(fact);
    }
}

/// What a lookup leaves behind.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Yields {
    Nothing,
    Verdict,
    /// A value, in the first register on.
    Data,
}

pub(crate) fn expression(
    out: &mut Attributes<'_>,
    name: &str,
    body: impl FnOnce(&mut Attributes<'_>),
) {
    out.nest(NFTA_LIST_ELEM, |one| {
        one.string(1, name);
        one.nest(2, body);
    });
}

fn load(out: &mut Attributes<'_>, field: Field, word: u32, len: usize) {
    match field.spec().load {
        Load::Meta(key) => expression(out, "meta", |data| {
            data.u32(2, key);
            data.u32(1, REGISTER + word);
        }),
        Load::Ct(key) => expression(out, "ct", |data| {
            data.u32(2, key);
            data.u32(1, REGISTER + word);
        }),
        Load::Rt(key) => expression(out, "rt", |data| {
            data.u32(1, REGISTER + word);
            data.u32(2, key);
        }),
        Load::FibDaddrType => expression(out, "fib", |data| {
            data.u32(1, REGISTER + word);
            data.u32(2, NFT_FIB_RESULT_ADDRTYPE);
            data.u32(3, NFTA_FIB_F_DADDR);
        }),
        Load::FibSaddrIif => expression(out, "fib", |data| {
            data.u32(1, REGISTER + word);
            data.u32(2, NFT_FIB_RESULT_OIF);
            data.u32(3, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT);
        }),
        Load::Payload { base, offset } => expression(out, "payload", |data| {
            data.u32(1, REGISTER + word);
            data.u32(2, base.number());
            data.u32(3, u32::from(offset));
            data.u32(4, length(len));
        }),
    }
}

/// Leaves in the first register what it has in common with `mask`.
fn and(out: &mut Attributes<'_>, mask: &[u8]) {
    bitwise(out, mask, &vec![0; mask.len()]);
}

/// Leaves in the first register `(it & mask) ^ xor`, which is all the arithmetic there is.
fn bitwise(out: &mut Attributes<'_>, mask: &[u8], xor: &[u8]) {
    expression(out, "bitwise", |data| {
        data.u32(1, REGISTER);
        data.u32(2, REGISTER);
        data.bytes(3, &length(mask.len()).to_be_bytes());
        data.nest(4, |value| value.bytes(NFTA_DATA_VALUE, mask));
        data.nest(5, |value| value.bytes(NFTA_DATA_VALUE, xor));
    });
}

/// The packet's mark becomes `(mark & kept) ^ set`.
fn mark_bits(out: &mut Attributes<'_>, kept: u32, set: u32) {
    load(out, Field::Mark, 0, 4);
    bitwise(out, &kept.to_ne_bytes(), &set.to_ne_bytes());
    expression(out, "meta", |data| {
        data.u32(2, 3);
        data.u32(3, REGISTER);
    });
}

/// `rt mtu` into the value of the option, behind its kind and length.
fn clamp_mss(out: &mut Attributes<'_>) {
    /// `NFT_RT_TCPMSS`, `NFT_BYTEORDER_HTON`, `NFT_EXTHDR_OP_TCPOPT`.
    const TCPMSS: u32 = 3;
    const HTON: u32 = 1;
    const TCPOPT: u32 = 1;
    /// `TCPOPT_MSS` (`net/tcp.h`).
    const MSS: u8 = 2;
    expression(out, "rt", |data| {
        data.u32(1, REGISTER);
        data.u32(2, TCPMSS);
    });
    expression(out, "byteorder", |data| {
        data.u32(1, REGISTER);
        data.u32(2, REGISTER);
        data.u32(3, HTON);
        data.u32(4, 2);
        data.u32(5, 2);
    });
    expression(out, "exthdr", |data| {
        data.bytes(2, &[MSS]);
        data.u32(3, 2);
        data.u32(4, 2);
        data.u32(6, TCPOPT);
        data.u32(7, REGISTER);
    });
}

fn compare(out: &mut Attributes<'_>, op: Op, value: &[u8]) {
    let op = if op == Op::Ne {
        NFT_CMP_NEQ
    } else {
        NFT_CMP_EQ
    };
    compare_by(out, op, value);
}

fn compare_by(out: &mut Attributes<'_>, op: u32, value: &[u8]) {
    expression(out, "cmp", |data| {
        data.u32(1, REGISTER);
        data.u32(2, op);
        data.nest(3, |operand| operand.bytes(NFTA_DATA_VALUE, value));
    });
}

/// As nft does it: inside by two comparisons, outside by an expression of its own.
fn range(out: &mut Attributes<'_>, op: Op, first: &[u8], last: &[u8]) {
    if op == Op::Eq {
        compare_by(out, NFT_CMP_GTE, first);
        compare_by(out, NFT_CMP_LTE, last);
        return;
    }
    expression(out, "range", |data| {
        data.u32(1, REGISTER);
        data.u32(2, NFT_RANGE_NEQ);
        data.nest(3, |from| from.bytes(NFTA_DATA_VALUE, first));
        data.nest(4, |to| to.bytes(NFTA_DATA_VALUE, last));
    });
}

/// The packet's priority becomes what is in the first register.
fn set_priority(out: &mut Attributes<'_>) {
    expression(out, "meta", |data| {
        data.u32(2, 2);
        data.u32(3, REGISTER);
    });
}

fn lookup(out: &mut Attributes<'_>, set: &str, id: Option<u32>, op: Op, yields: Yields) {
    expression(out, "lookup", |data| {
        data.string(1, set);
        data.u32(2, REGISTER);
        match yields {
            Yields::Nothing => {}
            Yields::Verdict => data.u32(3, 0),
            Yields::Data => data.u32(3, REGISTER),
        }
        if let Some(id) = id {
            data.u32(4, id);
        }
        if op == Op::Ne {
            data.u32(5, 1);
        }
    });
}

fn encode_log(out: &mut Attributes<'_>, log: &Log) {
    expression(out, "log", |data| {
        if let Some(group) = log.group {
            data.bytes(1, &group.to_be_bytes());
        }
        if let Some(prefix) = &log.prefix {
            data.string(2, prefix.as_str());
        }
        if let Some(snaplen) = log.snaplen {
            data.u32(3, snaplen);
        }
    });
}

/// `NFTA_DATA_VERDICT`.
pub(crate) fn encode_verdict(out: &mut Attributes<'_>, verdict: &Verdict) {
    let (code, chain): (i32, _) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    out.nest(NFTA_DATA_VERDICT, |data| {
        data.bytes(1, &code.to_be_bytes());
        if let Some(chain) = chain {
            data.string(2, chain.as_str());
        }
    });
}

/// `NFTA_DATA_VALUE` or `NFTA_DATA_VERDICT`.
pub(crate) fn encode_data(out: &mut Attributes<'_>, data: &Data, index_of: IndexOf<'_>) {
    match data {
        Data::Value(value) => out.bytes(NFTA_DATA_VALUE, &value.bytes()),
        Data::Device(name) => out.bytes(NFTA_DATA_VALUE, &index_of(*name).to_ne_bytes()),
        Data::Verdict(verdict) => encode_verdict(out, verdict),
    }
}

/// `len` bytes of which the first `bits` bits are set.
fn mask(bits: u8, len: usize) -> Vec<u8> {
    let full = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    full.to_be_bytes()[..len].to_vec()
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("registers hold 64 bytes")
}
