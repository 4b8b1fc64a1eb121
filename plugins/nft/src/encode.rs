//! Transactions as nfnetlink batches, ready to be sent with one `sendto`.

use bulkhead_model::IfName;

use crate::elements::{IndexOf, SetShape, encode_elements};
use crate::expression::{AnonymousSet, encode_rule};
use crate::name::{Label, Name};
use crate::rule::Rule;
use crate::set::{Elements, Set};
use crate::table::{Base, Chain, Devices, Policy, Table, TableFamily, TableId};
use crate::transaction::{Command, Transaction};
use crate::wire::{
    Attributes, Head, NFNL_SUBSYS_NFTABLES, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL,
    NLM_F_REQUEST, message,
};

const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_BATCH_GENID: u16 = 1;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const DELCHAIN: u16 = 5;
const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const DELSET: u16 = 11;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;
const NFT_SET_ANONYMOUS: u32 = 0x1;
const NFT_SET_CONSTANT: u32 = 0x2;
const NFTA_LIST_ELEM: u16 = 1;
/// A list attribute's length is 16 bits; an element with a verdict is at most 300 bytes.
const ELEMENTS_PER_MESSAGE: usize = 200;

/// A transaction as bytes, with what is needed to read the answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// `BATCH_BEGIN`, the commands' messages, `BATCH_END`.
    pub bytes: Vec<u8>,
    /// The sequence number of `BATCH_BEGIN`: the kernel answers with it when it refuses the batch as
    /// a whole, such as `ERESTART` for a stale generation, or when the commit itself fails.
    pub first_seq: u32,
    /// The sequence number of the last command's message, the only one that asks for an
    /// acknowledgement. Refusals are reported for any message without asking.
    pub ack_seq: u32,
    /// The first sequence number of each command.
    starts: Vec<u32>,
}

impl Batch {
    /// Which command of the transaction the message with that number belongs to.
    #[must_use]
    pub fn command_of(&self, seq: u32) -> Option<usize> {
        if !(self.first_seq + 1..=self.ack_seq).contains(&seq) {
            return None;
        }
        self.starts.iter().rposition(|start| *start <= seq)
    }
}

impl Transaction {
    /// The batch, its messages numbered from `first_seq`. With a generation, any commit since that
    /// generation makes the kernel refuse this one with `ERESTART`. `index_of` tells the index of
    /// each device in [`Transaction::devices`]; what is sent to index 0 is dropped.
    ///
    /// `None` if there is nothing to do: a batch without messages is never acknowledged.
    #[must_use]
    pub fn encode(
        &self,
        first_seq: u32,
        generation: Option<u32>,
        index_of: &dyn Fn(IfName) -> u32,
    ) -> Option<Batch> {
        let mut encoder = Encoder {
            index_of,
            out: Vec::new(),
            next_seq: first_seq + 1,
            next_set: 1,
            last: 0,
        };
        frame(
            &mut encoder.out,
            NFNL_MSG_BATCH_BEGIN,
            first_seq,
            generation,
        );
        let mut starts = Vec::with_capacity(self.0.len());
        for command in &self.0 {
            starts.push(encoder.next_seq);
            encoder.command(command);
        }
        if encoder.next_seq == first_seq + 1 {
            return None;
        }
        let ack = encoder.last + 6;
        let flags = u16::from_ne_bytes([encoder.out[ack], encoder.out[ack + 1]]) | NLM_F_ACK;
        encoder.out[ack..ack + 2].copy_from_slice(&flags.to_ne_bytes());
        frame(&mut encoder.out, NFNL_MSG_BATCH_END, encoder.next_seq, None);
        Some(Batch {
            bytes: encoder.out,
            first_seq,
            ack_seq: encoder.next_seq - 1,
            starts,
        })
    }
}

fn frame(out: &mut Vec<u8>, kind: u16, seq: u32, generation: Option<u32>) {
    let head = Head {
        kind,
        flags: NLM_F_REQUEST,
        seq,
        family: 0,
        resource: NFNL_SUBSYS_NFTABLES,
    };
    message(out, head, |body| {
        if let Some(generation) = generation {
            body.u32(NFNL_BATCH_GENID, generation);
        }
    });
}

struct Encoder<'d> {
    index_of: IndexOf<'d>,
    out: Vec<u8>,
    next_seq: u32,
    next_set: u32,
    /// Where the last message starts.
    last: usize,
}

impl Encoder<'_> {
    fn push(
        &mut self,
        kind: u16,
        flags: u16,
        family: TableFamily,
        body: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.last = self.out.len();
        let head = Head::nft(kind, flags, self.next_seq, family.number());
        message(&mut self.out, head, body);
        self.next_seq += 1;
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::AddTable(table) => {
                self.table(table, NLM_F_EXCL);
                self.contents(table);
            }
            Command::ReplaceTable(table) => {
                // Committing shows the first one for a moment: it is ours by its comment too.
                self.table(table, 0);
                self.delete_table(&table.id);
                self.table(table, 0);
                self.contents(table);
            }
            Command::AddElements {
                table,
                set,
                elements,
            } => self.elements(NEWSETELEM, table, set.as_str(), None, elements),
            Command::DeleteElements {
                table,
                set,
                elements,
            } => self.elements(DELSETELEM, table, set.as_str(), None, &elements.bare()),
            Command::AddChain { table, chain } => {
                self.chain(table, chain, NLM_F_EXCL);
                self.rules(table, chain);
            }
            Command::SetRules { table, chain } => {
                // Without a handle it is all rules of the chain (`nf_tables_delrule`).
                self.push(DELRULE, 0, table.family, |body| {
                    body.string(1, table.name.as_str());
                    body.string(2, chain.name.as_str());
                });
                self.rules(table, chain);
            }
            Command::DeleteChain { table, chain } => self.push(DELCHAIN, 0, table.family, |body| {
                body.string(1, table.name.as_str());
                body.string(3, chain.as_str());
            }),
            Command::AddSet { table, set } => {
                self.set(table, set, NLM_F_EXCL);
                self.elements(NEWSETELEM, table, set.name.as_str(), None, &set.elements);
            }
            Command::DeleteSet { table, set } => self.push(DELSET, 0, table.family, |body| {
                body.string(1, table.name.as_str());
                body.string(2, set.as_str());
            }),
            Command::DeleteTable(id) => self.delete_table(id),
        }
    }

    /// Sets and chains before what refers to them: elements with a jump, then rules.
    fn contents(&mut self, table: &Table) {
        for set in &table.sets {
            self.set(&table.id, set, 0);
        }
        for chain in &table.chains {
            self.chain(&table.id, chain, 0);
        }
        for set in &table.sets {
            self.elements(
                NEWSETELEM,
                &table.id,
                set.name.as_str(),
                None,
                &set.elements,
            );
        }
        for chain in &table.chains {
            self.rules(&table.id, chain);
        }
    }

    fn table(&mut self, table: &Table, flags: u16) {
        self.push(NEWTABLE, NLM_F_CREATE | flags, table.id.family, |body| {
            body.string(1, table.id.name.as_str());
            body.u32(2, 0);
            if let Some(comment) = &table.comment {
                body.bytes(6, &user_data(0, comment));
            }
        });
    }

    fn delete_table(&mut self, id: &TableId) {
        self.push(DELTABLE, 0, id.family, |body| {
            body.string(1, id.name.as_str());
        });
    }

    fn set(&mut self, table: &TableId, set: &Set, exclusive: u16) {
        let id = self.next_set;
        self.next_set += 1;
        let shape = SetShape {
            key: &set.key,
            data: set.data.as_ref(),
            timeout: set.timeout,
            elements: &set.elements,
        };
        self.new_set(table, set.name.as_str(), id, exclusive, 0, &shape);
    }

    fn new_set(
        &mut self,
        table: &TableId,
        name: &str,
        id: u32,
        exclusive: u16,
        flags: u32,
        shape: &SetShape<'_>,
    ) {
        self.push(NEWSET, NLM_F_CREATE | exclusive, table.family, |body| {
            body.string(1, table.name.as_str());
            body.string(2, name);
            body.u32(10, id);
            shape.encode(body, flags);
        });
    }

    fn chain(&mut self, table: &TableId, chain: &Chain, flags: u16) {
        self.push(NEWCHAIN, NLM_F_CREATE | flags, table.family, |body| {
            body.string(1, table.name.as_str());
            body.string(3, chain.name.as_str());
            if let Some(base) = &chain.base {
                encode_base(body, base, table.family);
            }
        });
    }

    fn rules(&mut self, table: &TableId, chain: &Chain) {
        for rule in &chain.rules {
            self.rule(table, &chain.name, rule);
        }
    }

    fn rule(&mut self, table: &TableId, chain: &Name, rule: &Rule) {
        let encoded = encode_rule(table.family, rule, &mut self.next_set);
        for set in &encoded.sets {
            self.anonymous_set(table, set);
        }
        self.push(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table.family, |body| {
            body.string(1, table.name.as_str());
            body.string(2, chain.as_str());
            body.nest(4, |list| list.splice(&encoded.expressions));
            if let Some(comment) = &rule.comment {
                body.bytes(7, &user_data(0, comment));
            }
        });
    }

    fn anonymous_set(&mut self, table: &TableId, set: &AnonymousSet) {
        let shape = SetShape {
            key: &set.key,
            data: set.data.as_ref(),
            timeout: None,
            elements: &set.elements,
        };
        let flags = NFT_SET_ANONYMOUS | NFT_SET_CONSTANT;
        self.new_set(table, set.name(), set.id, 0, flags, &shape);
        self.elements(NEWSETELEM, table, set.name(), Some(set.id), &set.elements);
    }

    fn elements(
        &mut self,
        kind: u16,
        table: &TableId,
        set: &str,
        id: Option<u32>,
        elements: &Elements,
    ) {
        let flags = if kind == NEWSETELEM { NLM_F_CREATE } else { 0 };
        for chunk in encode_elements(elements, self.index_of).chunks(ELEMENTS_PER_MESSAGE) {
            self.push(kind, flags, table.family, |body| {
                body.string(1, table.name.as_str());
                body.string(2, set);
                body.nest(3, |list| {
                    for element in chunk {
                        list.nest(NFTA_LIST_ELEM, |one| one.splice(element));
                    }
                });
                if let Some(id) = id {
                    body.u32(4, id);
                }
            });
        }
    }
}

fn encode_base(body: &mut Attributes<'_>, base: &Base, family: TableFamily) {
    body.nest(4, |hook| {
        hook.u32(1, base.hook.number(family));
        hook.bytes(2, &base.priority.to_be_bytes());
        match &base.devices {
            Devices::None => {}
            Devices::Names(names) => hook.nest(4, |list| {
                for name in names {
                    list.string(1, name.as_str());
                }
            }),
            Devices::Prefix(prefix) => hook.nest(4, |list| list.string(2, prefix.as_str())),
        }
    });
    body.u32(5, u32::from(base.policy == Policy::Accept));
    body.string(7, base.kind.as_str());
}

/// libnftnl's user data: type, length, value (`include/udata.h`), here a text with its NUL.
pub(crate) fn user_data(kind: u8, label: &Label) -> Vec<u8> {
    let text = label.as_str().as_bytes();
    let len = u8::try_from(text.len() + 1).expect("a label is at most 127 bytes");
    let mut out = vec![kind, len];
    out.extend(text);
    out.push(0);
    out
}
