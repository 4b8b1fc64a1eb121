//! ARP (RFC 826): Ethernet and IPv4 alone, from addresses of the port, in a header and in the message.

use bulkhead_nft::{Datum, Field, Name, Rule, Statement};

use super::{Share, beyond, drop_if, is_group_frame, not_of, of_port, of_sender, one_of, pass};
use super::{goto, not_in, port_is};
use crate::guard::reason::Reason;
use crate::guard::sets;

pub(super) const POD_ARP: Name = Name::literal("pod-arp");
const ARP_OURS: Name = Name::literal("arp-own");

pub(super) fn chains() -> Vec<(Name, Vec<Rule>)> {
    vec![(POD_ARP, judge()), (ARP_OURS, own())]
}

fn judge() -> Vec<Rule> {
    use Field::{ArpOperation, ArpSaddrEther, ArpSaddrIp, EtherSaddr, Iifname};
    let operations = || one_of(ArpOperation, [Datum::ArpOp(1), Datum::ArpOp(2)]);
    let of_message = |set| Statement::in_set([Iifname, ArpSaddrEther, ArpSaddrIp], set);
    let of_frame = |set| Statement::in_set([Iifname, EtherSaddr, ArpSaddrIp], set);
    let mut rules = vec![
        Rule::new(
            [
                ethernet_and_ipv4().as_slice(),
                &[
                    operations(),
                    of_message(sets::ID4),
                    of_frame(sets::ID4),
                    goto(ARP_OURS),
                ],
            ]
            .concat(),
        ),
        // A probe (RFC 5227 section 2.1.1) for an address of its own.
        Rule::new(
            [
                ethernet_and_ipv4().as_slice(),
                &[
                    Statement::is(ArpOperation, Datum::ArpOp(1)),
                    Statement::is(ArpSaddrIp, Datum::Ipv4Addr([0, 0, 0, 0].into())),
                    Statement::in_set([Iifname, ArpSaddrEther, Field::ArpDaddrIp], sets::ID4),
                    of_sender([], sets::ID2),
                    goto(ARP_OURS),
                ],
            ]
            .concat(),
        ),
        // Who asks by DHCP probes what it was offered.
        Rule::new(
            [
                ethernet_and_ipv4().as_slice(),
                &[
                    operations(),
                    port_is(sets::ANY),
                    of_port([ArpSaddrEther], sets::ID2),
                    of_sender([], sets::ID2),
                    goto(ARP_OURS),
                ],
            ]
            .concat(),
        ),
    ];
    rules.extend(not_of(Reason::Arp));
    rules
}

/// The header has to say so itself: nft's words for the addresses imply nothing of it.
fn ethernet_and_ipv4() -> Vec<Statement> {
    let byte = |value: u8| Datum::Integer(vec![value]);
    vec![
        Statement::is(Field::ArpHtype, Datum::Integer(vec![0, 1])),
        Statement::is(Field::ArpPtype, Datum::EtherType(0x0800)),
        Statement::is(Field::ArpHlen, byte(6)),
        Statement::is(Field::ArpPlen, byte(4)),
    ]
}

/// True of its sender; within its budget, and not about an address that nobody has.
fn own() -> Vec<Rule> {
    let target = Field::ArpDaddrIp;
    let mut rules = vec![drop_if(
        [
            Statement::in_set([target], sets::BLOCKS4),
            not_in([target], sets::LIVE4),
        ],
        Reason::Dead,
    )];
    let of_node = Statement::in_set([target], sets::GATES4);
    rules.extend(beyond(Share::Node, &[of_node]));
    rules.extend(beyond(Share::All, &[is_group_frame()]));
    rules.push(Rule::new([pass()]));
    rules
}
