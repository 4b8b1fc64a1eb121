//! `make bench`: see [`bulkhead_tests::bench`]. Prints the report; `--write` puts it into
//! docs/performance.md as well.

use std::io;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bulkhead_tests::bench::{
    Chain, Contestant, Converging, Deletion, Durable, Effort, Field, Figures, Floor, Guarding,
    Leasing, Managed, Packets, Paths, Plugins, Policing, Race, Report, Size, adopt_orphans,
    converge, guard, leases, measure, paths, policies, prove_ports_and_limits, resident,
    smallest_peak_kib, two_ports_and_limits,
};
use bulkhead_tests::{Suite, workspace};
use netns_fixtures::Feature;

const USAGE: &str = "bench [--write] [--quick] [--rounds N] [--only PART]...
  parts: plain, daemon, chain, first-packet, guard, overlay, converge, policy, leases; --write takes
         them all";

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Plain,
    Chain,
    FirstPacket,
    Guard,
    Overlay,
    Converge,
    Policy,
    Leases,
    Daemon,
}

struct Options {
    write: bool,
    /// All if empty.
    only: Vec<Part>,
    plain: Effort,
    chain: Effort,
    packets: Packets,
    guarding: Guarding,
    paths: Paths,
    converging: Converging,
    policing: Policing,
    leasing: Leasing,
}

impl Options {
    /// A run of minutes.
    fn full() -> Self {
        Self {
            write: false,
            only: Vec::new(),
            plain: Effort {
                rounds: 10,
                batch: 32,
                beside: vec![0, 250, 1000],
                singles: 100,
            },
            // A round takes as long as six of plain containers.
            chain: Effort {
                rounds: 3,
                batch: 32,
                beside: Vec::new(),
                singles: 0,
            },
            packets: Packets {
                mapped: vec![10, 1000],
                flows: 2000,
                calls: 30,
            },
            guarding: Guarding {
                ports: vec![3, 100, 1_000, 10_000],
                rounds: 60,
                calls: 200,
            },
            paths: Paths {
                rounds: 20,
                stream: Duration::from_secs(1),
                exchanges: 2000,
            },
            converging: Converging {
                events: 1_000,
                peers: vec![1_000, 5_000],
                idle: Duration::from_secs(90),
            },
            policing: Policing {
                endpoints: vec![10, 250, 1_000],
                sizes: [(10, 10), (250, 100), (1_000, 1_000), (1_000, 5_000)]
                    .map(|(endpoints, policies)| Size {
                        endpoints,
                        policies,
                    })
                    .into(),
                rounds: 40,
                connections: 100,
                changes: 200,
                compiled: vec![
                    (
                        110,
                        Size {
                            endpoints: 110,
                            policies: 2_000,
                        },
                    ),
                    (
                        110,
                        Size {
                            endpoints: 50_000,
                            policies: 5_000,
                        },
                    ),
                ],
                connections_cut: 256_000,
            },
            leasing: Leasing {
                replayed: 100_000,
                clients: vec![(1, 2000), (8, 1000), (64, 500)],
            },
        }
    }

    fn hurry(&mut self) {
        self.plain.rounds = 2;
        self.plain.beside = vec![0, 100];
        self.plain.singles = 20;
        self.chain.rounds = 1;
        self.packets.mapped = vec![10, 100];
        self.packets.calls = 10;
        self.guarding.ports = vec![3, 100, 1_000];
        self.guarding.rounds = 20;
        self.guarding.calls = 50;
        self.paths.rounds = 6;
        self.converging.events = 100;
        self.converging.peers = vec![500];
        self.converging.idle = Duration::from_secs(10);
        self.policing.rounds = 10;
        self.policing.changes = 50;
        self.policing.connections_cut = 64_000;
        self.leasing.replayed = 10_000;
    }

    fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(options) = options(&words) else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    match bench(&options, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(words: &[&str]) -> Option<Options> {
    let mut options = Options::full();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--write" => options.write = true,
            "--quick" => options.hurry(),
            "--rounds" => {
                let rounds = words.next()?.parse().ok()?;
                options.plain.rounds = rounds;
                options.chain.rounds = rounds;
            }
            "--only" => options.only.push(match *words.next()? {
                "plain" => Part::Plain,
                "chain" => Part::Chain,
                "first-packet" => Part::FirstPacket,
                "guard" => Part::Guard,
                "overlay" => Part::Overlay,
                "converge" => Part::Converge,
                "policy" => Part::Policy,
                "leases" => Part::Leases,
                "daemon" => Part::Daemon,
                _ => return None,
            }),
            _ => return None,
        }
    }
    (!options.write || options.only.is_empty()).then_some(options)
}

fn bench(options: &Options, words: &[&str]) -> io::Result<()> {
    adopt_orphans()?;
    let report = Report {
        command: command_line(words),
        smallest_peak_kib: smallest_peak_kib(),
        plain: options
            .has(Part::Plain)
            .then(|| plain(&options.plain))
            .transpose()?,
        resident: options
            .has(Part::Daemon)
            .then(|| resident(&options.plain.beside))
            .transpose()?,
        chain: options
            .has(Part::Chain)
            .then(|| chain(&options.chain))
            .transpose()?
            .flatten(),
        first_packet: options
            .has(Part::FirstPacket)
            .then(|| measure(&options.packets))
            .transpose()?,
        guard: options
            .has(Part::Guard)
            .then(|| guard(&options.guarding))
            .transpose()?,
        paths: options
            .has(Part::Overlay)
            .then(|| paths(&options.paths))
            .transpose()?,
        converged: options
            .has(Part::Converge)
            .then(|| converge(&options.converging))
            .transpose()?,
        policies: options
            .has(Part::Policy)
            .then(|| policies(&options.policing))
            .transpose()?,
        leases: options
            .has(Part::Leases)
            .then(|| leases(&options.leasing))
            .transpose()?,
    };
    print!("{report}");
    if options.write {
        let path = workspace::root().join("docs/performance.md");
        std::fs::write(&path, report.to_string())?;
    }
    Ok(())
}

fn field(effort: &Effort) -> Field {
    let most = effort.beside.iter().copied().max().unwrap_or_default();
    Field::new(effort.batch, most.max(1)).expect("root may make namespaces")
}

fn plain(effort: &Effort) -> io::Result<Figures> {
    let reference = Plugins::new("reference", Suite::reference(), field(effort));
    let ours = Plugins::new("bulkhead", Suite::ours(), field(effort));
    let served = Plugins::new("bulkhead, daemon", Suite::ours(), field(effort));
    let served = Managed::new(served)?;
    let acknowledged = Floor::new("floor", field(effort), Deletion::Acknowledged);
    let announced = Floor::new("floor, announced", field(effort), Deletion::Announced);
    let bare = Floor::new("floor", field(effort), Deletion::Announced);
    let durable = Durable::new("floor, started and durable", bare, Suite::ours().bridge());
    let contestants: Vec<&dyn Contestant> = vec![
        &reference,
        &ours,
        &served,
        &durable,
        &acknowledged,
        &announced,
    ];
    Ok(Race::new(contestants).run(effort))
}

/// `None` on a kernel that cannot limit bandwidth.
fn chain(effort: &Effort) -> io::Result<Option<Chain>> {
    for feature in [Feature::Tbf, Feature::Ifb] {
        if !feature.is_present().map_err(io::Error::other)? {
            eprintln!("chain: left out, kernel lacks {feature}");
            return Ok(None);
        }
    }
    let asking = || field(effort).asking(two_ports_and_limits);
    let reference = Plugins::new("reference", Suite::reference(), asking())
        .then("portmap")
        .declaring(&["portMappings"])
        .then("bandwidth")
        .declaring(&["bandwidth"])
        .then("firewall")
        .then("tuning");
    let ours =
        Plugins::new("bulkhead", Suite::ours(), asking()).declaring(&["portMappings", "bandwidth"]);
    let plain = Plugins::new("bulkhead, plain", Suite::ours(), field(effort));
    let race = Race::new(vec![&reference, &ours, &plain]);
    let _proven = prove_ports_and_limits(&[&reference, &ours]);
    Ok(Some(Chain {
        figures: race.run(effort),
        iptables: iptables()?,
    }))
}

/// Which of its two backends the machine has selected.
fn iptables() -> io::Result<String> {
    let output = Command::new("iptables").arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn command_line(words: &[&str]) -> String {
    if words.is_empty() {
        "make bench".to_owned()
    } else {
        format!("make bench BENCH_ARGS=\"{}\"", words.join(" "))
    }
}
