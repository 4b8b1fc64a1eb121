//! Single messages, as hosts send them.

use std::net::{Ipv4Addr, Ipv6Addr};

use netns_fixtures::packet::{
    Advertised, Arp, Extension, Frame, Icmpv6, Ipv6, NdOption, mld1_report, mld2_report,
    multicast_mac, solicited_node,
};
use netns_fixtures::{Capture, Captured, Direction, PacketSocket};

use crate::ground::Segment;
use crate::lab::{ETH0, LIMIT, Lab};
use crate::scene::{ALL_ROUTERS, Scene};
use crate::shot::Shot;

crate::on_each_ground! { lab:
    a_probe_for_a_duplicate_with_a_nonce,
    a_probe_for_a_duplicate_without_a_nonce,
    a_probe_for_a_duplicate_of_the_link_local_address,
    a_router_solicitation_with_its_mac,
    a_router_solicitation_without_its_mac,
    a_router_solicitation_without_an_address,
    an_mldv2_report,
    an_mldv2_report_without_an_address,
    an_mldv1_report,
    an_mldv1_done,
    a_solicitation_of_the_gateway,
    a_unicast_solicitation_of_the_gateway,
    a_unicast_solicitation_without_its_mac,
    an_advertisement_in_answer,
    an_advertisement_in_answer_without_its_mac,
    an_unsolicited_advertisement,
    an_unsolicited_advertisement_of_the_link_local_address,
    an_arp_request,
    an_arp_reply,
    a_gratuitous_arp_request,
    an_arp_probe,
}

/// Sends `frame` from the container: it reaches the node and, on a shared segment, a neighbour if
/// it is sent to a group or to everybody.
#[track_caller]
fn arrives(lab: &Lab, frame: Frame) {
    let group = frame.dst[0] & 1 == 1;
    let node = Capture::start(&lab.node, lab.node_tap()).unwrap();
    let neighbour = Capture::start(&lab.victims[0].ns, ETH0).unwrap();
    let socket = PacketSocket::open(&lab.attacker.ns, ETH0).unwrap();
    socket.send(&frame).unwrap();
    let what = frame.to_string();
    let shot = Shot::from(frame);
    let wanted = |seen: &Captured| {
        seen.direction == Direction::In && shot.arrived(std::slice::from_ref(&seen.bytes))
    };
    node.expect(&what, LIMIT, wanted).unwrap();
    if group && lab.ground.segment() == Segment::Shared {
        neighbour.expect(&what, LIMIT, wanted).unwrap();
    }
}

fn to_group(s: &Scene, src: Ipv6Addr, group: Ipv6Addr, message: Icmpv6) -> Frame {
    Frame::new(
        s.me.mac,
        multicast_mac(group.into()),
        Ipv6::new(src, group, message),
    )
}

fn to_gateway(s: &Scene, src: Ipv6Addr, message: Icmpv6) -> Frame {
    Frame::new(
        s.me.mac,
        s.gateway.mac,
        Ipv6::new(src, s.gateway.lla, message),
    )
}

fn probe(s: &Scene, target: Ipv6Addr, options: Vec<NdOption>) -> Frame {
    let message = Icmpv6::NeighborSolicitation { target, options };
    to_group(s, Ipv6Addr::UNSPECIFIED, solicited_node(target), message)
}

fn a_probe_for_a_duplicate_with_a_nonce(lab: &Lab) {
    let s = &lab.scene;
    arrives(
        lab,
        probe(s, s.me.v6, vec![NdOption::Nonce([1, 2, 3, 4, 5, 6])]),
    );
}

fn a_probe_for_a_duplicate_without_a_nonce(lab: &Lab) {
    arrives(lab, probe(&lab.scene, lab.scene.me.v6, Vec::new()));
}

fn a_probe_for_a_duplicate_of_the_link_local_address(lab: &Lab) {
    let s = &lab.scene;
    arrives(
        lab,
        probe(s, s.me.lla, vec![NdOption::Nonce([6, 5, 4, 3, 2, 1])]),
    );
}

fn a_router_solicitation_with_its_mac(lab: &Lab) {
    let me = lab.scene.me;
    arrives(lab, Icmpv6::router_solicitation(me.mac, me.lla));
}

fn a_router_solicitation_without_its_mac(lab: &Lab) {
    let options = Vec::new();
    let message = Icmpv6::RouterSolicitation { options };
    arrives(
        lab,
        to_group(&lab.scene, lab.scene.me.lla, ALL_ROUTERS, message),
    );
}

fn a_router_solicitation_without_an_address(lab: &Lab) {
    let options = Vec::new();
    let message = Icmpv6::RouterSolicitation { options };
    arrives(
        lab,
        to_group(&lab.scene, Ipv6Addr::UNSPECIFIED, ALL_ROUTERS, message),
    );
}

fn an_mldv2_report(lab: &Lab) {
    let me = lab.scene.me;
    arrives(
        lab,
        mld2_report(
            me.mac,
            me.lla,
            &[solicited_node(me.v6), solicited_node(me.lla)],
        ),
    );
}

fn an_mldv2_report_without_an_address(lab: &Lab) {
    let me = lab.scene.me;
    arrives(
        lab,
        mld2_report(me.mac, Ipv6Addr::UNSPECIFIED, &[solicited_node(me.lla)]),
    );
}

fn an_mldv1_report(lab: &Lab) {
    let me = lab.scene.me;
    arrives(lab, mld1_report(me.mac, me.lla, solicited_node(me.v6)));
}

/// RFC 2710 §3: type 132, to all routers.
fn an_mldv1_done(lab: &Lab) {
    let me = lab.scene.me;
    let message = Icmpv6::Other {
        kind: 132,
        code: 0,
        bytes: [[0; 4].as_slice(), &solicited_node(me.v6).octets()].concat(),
    };
    let mut packet = Ipv6::new(me.lla, ALL_ROUTERS, message).extended(Extension::router_alert());
    packet.hop_limit = 1;
    arrives(
        lab,
        Frame::new(me.mac, multicast_mac(ALL_ROUTERS.into()), packet),
    );
}

fn a_solicitation_of_the_gateway(lab: &Lab) {
    let s = &lab.scene;
    arrives(lab, Icmpv6::solicitation(s.me.mac, s.me.v6, s.gateway.v6));
}

fn solicitation(s: &Scene, options: Vec<NdOption>) -> Frame {
    let target = s.gateway.lla;
    to_gateway(
        s,
        s.me.lla,
        Icmpv6::NeighborSolicitation { target, options },
    )
}

fn a_unicast_solicitation_of_the_gateway(lab: &Lab) {
    let s = &lab.scene;
    arrives(lab, solicitation(s, vec![NdOption::SourceMac(s.me.mac)]));
}

/// As neighbour unreachability detection may send it (RFC 4861 §7.2.2).
fn a_unicast_solicitation_without_its_mac(lab: &Lab) {
    arrives(lab, solicitation(&lab.scene, Vec::new()));
}

fn advertisement(s: &Scene, options: Vec<NdOption>) -> Frame {
    let message = Icmpv6::NeighborAdvertisement {
        target: s.me.v6,
        flags: Advertised::SOLICITED | Advertised::OVERRIDE,
        options,
    };
    to_gateway(s, s.me.v6, message)
}

fn an_advertisement_in_answer(lab: &Lab) {
    let s = &lab.scene;
    arrives(lab, advertisement(s, vec![NdOption::TargetMac(s.me.mac)]));
}

/// As Linux answers a unicast solicitation.
fn an_advertisement_in_answer_without_its_mac(lab: &Lab) {
    arrives(lab, advertisement(&lab.scene, Vec::new()));
}

fn an_unsolicited_advertisement(lab: &Lab) {
    let me = lab.scene.me;
    arrives(lab, Icmpv6::unsolicited(me.mac, me.v6));
}

fn an_unsolicited_advertisement_of_the_link_local_address(lab: &Lab) {
    let me = lab.scene.me;
    arrives(lab, Icmpv6::unsolicited(me.mac, me.lla));
}

fn an_arp_request(lab: &Lab) {
    let s = &lab.scene;
    arrives(lab, Arp::request(s.me.mac, s.me.v4, s.gateway.v4));
}

fn an_arp_reply(lab: &Lab) {
    let s = &lab.scene;
    arrives(
        lab,
        Arp::reply(s.me.mac, s.me.v4, s.gateway.mac, s.gateway.v4),
    );
}

fn a_gratuitous_arp_request(lab: &Lab) {
    let me = lab.scene.me;
    arrives(lab, Arp::announcement(me.mac, me.v4));
}

/// RFC 5227 §2.1.1.
fn an_arp_probe(lab: &Lab) {
    let me = lab.scene.me;
    arrives(lab, Arp::request(me.mac, Ipv4Addr::UNSPECIFIED, me.v4));
}
