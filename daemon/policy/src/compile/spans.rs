//! All traffic there is on six lines of 65,536 places each, and what is said about each place.

use bulkhead_model::{Family, Protocol};

use crate::{Port, PortRange};

/// A kind of traffic whose members are numbers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Line {
    /// TCP ports.
    Tcp,
    /// UDP ports.
    Udp,
    /// SCTP ports.
    Sctp,
    /// ICMP types, and the code in the lower 8 bits.
    Icmp4,
    /// `ICMPv6`, the same.
    Icmp6,
    /// All other protocols by number.
    Other,
}

impl Line {
    pub(super) const ALL: [Self; 6] = [
        Self::Tcp,
        Self::Udp,
        Self::Sctp,
        Self::Icmp4,
        Self::Icmp6,
        Self::Other,
    ];

    pub(super) const fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Sctp => Self::Sctp,
        }
    }

    /// IANA's number, of what has one.
    pub(super) const fn protocol(self) -> Option<u8> {
        match self {
            Self::Tcp => Some(6),
            Self::Udp => Some(17),
            Self::Sctp => Some(132),
            Self::Icmp4 => Some(1),
            Self::Icmp6 => Some(58),
            Self::Other => None,
        }
    }

    /// The highest place that any packet has.
    pub(super) const fn last(self) -> u16 {
        match self {
            Self::Other => 255,
            _ => u16::MAX,
        }
    }
}

/// Places next to each other on a line, both ends included.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Span {
    pub(super) line: Line,
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Span {
    const fn whole(line: Line) -> Self {
        Self {
            line,
            first: 0,
            last: line.last(),
        }
    }

    pub(super) const fn port(protocol: Protocol, ports: PortRange) -> Self {
        Self {
            line: Line::of(protocol),
            first: ports.first(),
            last: ports.last(),
        }
    }
}

/// Where a port is; a named one is where its bearer has it.
pub(super) fn spans(port: &Port) -> Vec<Span> {
    match port {
        Port::Any => Line::ALL.map(Span::whole).to_vec(),
        Port::Range { protocol, ports } => vec![Span::port(*protocol, *ports)],
        Port::Named { .. } => Vec::new(),
        Port::Icmp { family, kind, code } => {
            let line = match family {
                Family::V4 => Line::Icmp4,
                Family::V6 => Line::Icmp6,
            };
            let (first, last) = match (kind, code) {
                (None, None) => (0, u16::MAX),
                (Some(kind), None) => {
                    let first = u16::from(*kind) << 8;
                    (first, first | 0xff)
                }
                (Some(kind), Some(code)) => {
                    let only = u16::from(*kind) << 8 | u16::from(*code);
                    (only, only)
                }
                // A code without a type is a code of every type; no reader makes one.
                (None, Some(code)) => {
                    let of = |kind: u16| kind << 8 | u16::from(*code);
                    let span = |place| Span {
                        line,
                        first: place,
                        last: place,
                    };
                    return (0..=255).map(of).map(span).collect();
                }
            };
            vec![Span { line, first, last }]
        }
        Port::Protocol(number) => vec![Span {
            line: Line::Other,
            first: u16::from(*number),
            last: u16::from(*number),
        }],
    }
}

/// What is said about each place of each line: runs of places, in order, without gaps.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Lines<T>([Vec<Run<T>>; 6]);

/// Places up to this one, about which the same is said.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Run<T> {
    pub(super) last: u16,
    pub(super) said: T,
}

impl<T: Clone + PartialEq> Lines<T> {
    /// The same about everything.
    pub(super) fn all(said: &T) -> Self {
        Self(Line::ALL.map(|line| {
            vec![Run {
                last: line.last(),
                said: said.clone(),
            }]
        }))
    }

    /// The runs of a line.
    pub(super) fn of(&self, line: Line) -> &[Run<T>] {
        &self.0[line as usize]
    }

    /// Changes what is said about a span, where `change` has something else to say.
    pub(super) fn change(&mut self, span: Span, mut change: impl FnMut(&T) -> Option<T>) {
        let runs = std::mem::take(&mut self.0[span.line as usize]);
        let mut changed: Vec<Run<T>> = Vec::with_capacity(runs.len() + 2);
        let mut first = 0_u32;
        for run in runs {
            let (begin, end) = (first, u32::from(run.last));
            first = end + 1;
            let (inner, outer) = (
                begin.max(u32::from(span.first)),
                end.min(u32::from(span.last)),
            );
            let other = if inner <= outer {
                change(&run.said)
            } else {
                None
            };
            let Some(other) = other else {
                push(&mut changed, end, run.said);
                continue;
            };
            if begin < inner {
                push(&mut changed, inner - 1, run.said.clone());
            }
            push(&mut changed, outer, other);
            if outer < end {
                push(&mut changed, end, run.said);
            }
        }
        self.0[span.line as usize] = changed;
    }

    /// Changes what is said anywhere.
    pub(super) fn map<U: PartialEq>(&self, mut map: impl FnMut(&T) -> U) -> Lines<U> {
        Lines(self.0.each_ref().map(|runs| {
            let mut mapped = Vec::with_capacity(runs.len());
            for run in runs {
                push(&mut mapped, u32::from(run.last), map(&run.said));
            }
            mapped
        }))
    }

    /// What both together say.
    pub(super) fn both<U: Clone + PartialEq>(
        &self,
        other: &Lines<U>,
        mut both: impl FnMut(&T, &U) -> T,
    ) -> Self {
        let mut all = Line::ALL.map(|_| Vec::new());
        for line in Line::ALL {
            let (mut one, mut two) = (self.of(line).iter(), other.of(line).iter());
            let (mut left, mut right) = (one.next(), two.next());
            while let (Some(a), Some(b)) = (left, right) {
                let last = a.last.min(b.last);
                push(
                    &mut all[line as usize],
                    u32::from(last),
                    both(&a.said, &b.said),
                );
                if a.last == last {
                    left = one.next();
                }
                if b.last == last {
                    right = two.next();
                }
            }
        }
        Self(all)
    }
}

/// Appends a run, or makes the last one longer that says the same.
fn push<T: PartialEq>(runs: &mut Vec<Run<T>>, last: u32, said: T) {
    let last = u16::try_from(last).expect("places are of 16 bits");
    match runs.last_mut() {
        Some(run) if run.said == said => run.last = last,
        _ => runs.push(Run { last, said }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_splits_runs_and_joins_what_says_the_same() {
        let mut lines = Lines::all(&'a');
        let span = |first, last| Span {
            line: Line::Tcp,
            first,
            last,
        };
        lines.change(span(80, 90), |_| Some('b'));
        lines.change(span(85, 100), |said| (*said == 'a').then_some('c'));
        let runs: Vec<_> = lines
            .of(Line::Tcp)
            .iter()
            .map(|run| (run.last, run.said))
            .collect();
        assert_eq!(runs, [(79, 'a'), (90, 'b'), (100, 'c'), (65535, 'a')]);
        lines.change(span(0, 65535), |_| Some('a'));
        assert_eq!(lines, Lines::all(&'a'));
    }

    #[test]
    fn both_say_it_place_by_place() {
        let mut one = Lines::all(&1);
        let mut two = Lines::all(&10);
        one.change(
            Span {
                line: Line::Udp,
                first: 5,
                last: 9,
            },
            |_| Some(2),
        );
        two.change(
            Span {
                line: Line::Udp,
                first: 8,
                last: 20,
            },
            |_| Some(20),
        );
        let sum = one.both(&two, |a, b| a + b);
        let runs: Vec<_> = sum
            .of(Line::Udp)
            .iter()
            .map(|run| (run.last, run.said))
            .collect();
        assert_eq!(runs, [(4, 11), (7, 12), (9, 22), (20, 21), (65535, 11)]);
        assert_eq!(sum.of(Line::Other).len(), 1);
    }
}
