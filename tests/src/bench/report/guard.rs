//! What the guard costs.

use std::fmt;
use std::time::Duration;

use crate::bench::guard::{Added, Guarded, Judged, Lane, Packet};

/// Nanoseconds that a forwarded packet may cost over one without rules.
const OVER_NO_RULES: f64 = 1_500.0;
/// How much dearer a packet may be beside the most ports than beside the fewest.
const FLAT: f64 = 1.10;
/// How much dearer a dropped packet may be than a forwarded one.
const DROP: f64 = 1.0;
/// Milliseconds of CPU time that an ADD may take over one without the guard.
const ADD: f64 = 0.1;

const TEXT: &str = "\
## The guard\n\n\
Two containers on a bridge, attached by `bulkhead-bridge`; one sends frames of 42 to 74 bytes to the other, \
whose interface drops what it gets. A lane has no rules, or the guard with so many ports, or the same ports \
in one chain of four rules each (MAC with IPv4, IPv6, link-local address, ARP), which is less than the guard \
looks at, the measured port in its middle. The two ports that carry traffic are devices; the others are \
elements of the guard's sets as their ADDs would make them, or rules. Times are the sending thread's CPU time \
for each frame, which is all that is done for it: `sendmmsg`, both veth pairs, the bridge. Lanes take turns of \
8 ms; *over* is the median of the differences, and *to fewest* and *to a forward* of the ratios, of turns in \
the same round. A spoofed packet is compared with a true one that is forwarded without rules.\n\n";

pub(super) fn report(f: &mut fmt::Formatter<'_>, measured: &Guarded) -> fmt::Result {
    f.write_str(TEXT)?;
    marks(f, measured)?;
    packets(f, &measured.lanes)?;
    adds(f, &measured.added)
}

fn marks(f: &mut fmt::Formatter<'_>, measured: &Guarded) -> fmt::Result {
    let lanes = &measured.lanes;
    let guarded = || lanes.iter().filter(|lane| lane.judged == Judged::ByGuard);
    let every = |packets: fn(&Packet) -> bool, figure: &dyn Fn(&Lane, Packet) -> f64| {
        let kinds = || Packet::ALL.into_iter().filter(packets);
        let all = guarded().flat_map(|lane| kinds().map(move |packet| (lane, packet)));
        all.map(|(lane, packet)| figure(lane, packet))
            .fold(f64::NEG_INFINITY, f64::max)
    };
    let forwarded = |packet: &Packet| packet.is_true();
    let spoofed = |packet: &Packet| !packet.is_true();
    let over = every(forwarded, &|lane, packet| over(lanes, lane, packet));
    let flat = every(forwarded, &|lane, packet| to_fewest(lanes, lane, packet));
    let own = every(spoofed, &|lane, packet| ratio(lane, lane, packet));
    let drop = every(spoofed, &|lane, packet| to_forward(lanes, lane, packet));
    writeln!(f, "| mark | at most | measured | |\n|---|--:|--:|---|")?;
    mark(
        f,
        "a forwarded packet over no rules, dearest kind, ns",
        (OVER_NO_RULES, over, 0),
    )?;
    mark(
        f,
        "a forwarded packet beside more ports, to the fewest",
        (FLAT, flat, 2),
    )?;
    mark(
        f,
        "a spoofed packet's drop, to a forward by the guard",
        (DROP, own, 2),
    )?;
    mark(
        f,
        "a spoofed packet's drop, to a forward without rules",
        (DROP, drop, 2),
    )?;
    for added in &measured.added {
        let what = format!("ADD over one without the guard, {}, CPU ms", added.name);
        mark(f, &what, (ADD, dearer(&added.cpu), 3))?;
    }
    writeln!(f)
}

/// One mark: at most, measured, and with how many digits.
fn mark(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    (most, measured, digits): (f64, f64, usize),
) -> fmt::Result {
    let reached = if measured <= most {
        "reached"
    } else {
        "**not reached**"
    };
    writeln!(
        f,
        "| {what} | {most:.digits$} | {measured:.digits$} | {reached} |"
    )
}

fn packets(f: &mut fmt::Formatter<'_>, lanes: &[Lane]) -> fmt::Result {
    writeln!(f, "### Each packet, nanoseconds\n")?;
    writeln!(
        f,
        "| | | ports | n | p50 | least | over no rules | to a forward | to fewest |"
    )?;
    writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|")?;
    for packet in Packet::ALL {
        for lane in lanes {
            let nanos = nanos(lane, packet);
            let least = nanos.iter().copied().fold(f64::INFINITY, f64::min);
            write!(
                f,
                "| {packet} | {} | {} | {} | {:.0} | {least:.0} |",
                lane.judged,
                lane.ports,
                nanos.len(),
                median(nanos.to_vec()),
            )?;
            writeln!(
                f,
                " {:+.0} | {:.2} | {:.2} |",
                over(lanes, lane, packet),
                to_forward(lanes, lane, packet),
                to_fewest(lanes, lane, packet)
            )?;
        }
    }
    writeln!(f)
}

fn adds(f: &mut fmt::Formatter<'_>, all: &[Added]) -> fmt::Result {
    writeln!(
        f,
        "### ADD, milliseconds\n\nOne at a time, with `\"guard\": false` and with the guard, in turns; one \
         more port stays. *over* is the median of the differences. The mark is about CPU time, a daemon's \
         included: how long a call takes depends on what else the machine does.\n"
    )?;
    writeln!(
        f,
        "| | n | CPU p50 without | with | over | p50 without | with | over |"
    )?;
    writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|")?;
    for added in all {
        write!(f, "| {} | {} |", added.name, added.took[0].len())?;
        for pair in [&added.cpu, &added.took] {
            let [without, with] = pair;
            let p50 = |times: &[Duration]| median(times.iter().copied().map(in_millis).collect());
            let (without, with) = (p50(without), p50(with));
            write!(f, " {without:.2} | {with:.2} | {:+.3} |", dearer(pair))?;
        }
        writeln!(f)?;
    }
    writeln!(f)
}

/// Milliseconds that the second of two takes over the first.
fn dearer([without, with]: &[Vec<Duration>; 2]) -> f64 {
    let both = without.iter().zip(with);
    median(
        both.map(|(without, with)| in_millis(*with) - in_millis(*without))
            .collect(),
    )
}

fn in_millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn over(lanes: &[Lane], lane: &Lane, packet: Packet) -> f64 {
    let plain = nanos(without_rules(lanes), packet.forwarded());
    let both = nanos(lane, packet).iter().zip(plain);
    median(both.map(|(here, plain)| here - plain).collect())
}

fn to_forward(lanes: &[Lane], lane: &Lane, packet: Packet) -> f64 {
    ratio(lane, without_rules(lanes), packet)
}

/// To what the other lane takes for a packet of the kind that is forwarded.
fn ratio(lane: &Lane, other: &Lane, packet: Packet) -> f64 {
    let forwarded = nanos(other, packet.forwarded());
    let both = nanos(lane, packet).iter().zip(forwarded);
    median(both.map(|(here, forwarded)| here / forwarded).collect())
}

/// To the lane that is judged alike, with the fewest ports.
fn to_fewest(lanes: &[Lane], lane: &Lane, packet: Packet) -> f64 {
    let alike = lanes.iter().filter(|other| other.judged == lane.judged);
    let fewest = alike.min_by_key(|other| other.ports).unwrap_or(lane);
    let both = nanos(lane, packet).iter().zip(nanos(fewest, packet));
    median(both.map(|(here, fewest)| here / fewest).collect())
}

fn without_rules(lanes: &[Lane]) -> &Lane {
    let plain = lanes.iter().find(|lane| lane.judged == Judged::Not);
    plain.expect("it is always among them")
}

fn nanos(lane: &Lane, packet: Packet) -> &[f64] {
    let of = lane.nanos.iter().find(|(kind, _)| *kind == packet);
    of.map_or(&[], |(_, nanos)| nanos)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
