//! `make bench`: see [`bulkhead_tests::bench`]. Prints the report; `--write` puts it into
//! docs/performance.md as well.

use std::process::ExitCode;

use bulkhead_tests::bench::{
    Contestant, Deletion, Effort, Field, Floor, Plugins, Report, run, smallest_peak_kib,
};
use bulkhead_tests::{Suite, workspace};

const USAGE: &str = "bench [--write] [--quick] [--rounds N] [--without-ours]";

struct Options {
    write: bool,
    with_ours: bool,
    effort: Effort,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some(options) = options(&words) else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    bench(&options, &words)
}

fn options(words: &[&str]) -> Option<Options> {
    let mut options = Options {
        write: false,
        with_ours: true,
        effort: Effort {
            rounds: 15,
            batch: 32,
            beside: vec![0, 250, 1000],
            singles: 100,
        },
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--write" => options.write = true,
            "--without-ours" => options.with_ours = false,
            "--quick" => {
                options.effort.rounds = 2;
                options.effort.beside = vec![0, 100];
                options.effort.singles = 20;
            }
            "--rounds" => options.effort.rounds = words.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

fn bench(options: &Options, words: &[&str]) -> ExitCode {
    let effort = &options.effort;
    let most = effort.beside.iter().copied().max().unwrap_or_default();
    let field = || Field::new(effort.batch, most.max(1)).expect("root may make namespaces");
    let reference = Plugins::new("reference", Suite::reference(), field());
    let ours = options
        .with_ours
        .then(|| Plugins::new("bulkhead", Suite::ours(), field()));
    let acknowledged = Floor::new("floor", field(), Deletion::Acknowledged);
    let announced = Floor::new("floor, announced", field(), Deletion::Announced);
    let mut contestants: Vec<&dyn Contestant> = vec![&reference];
    contestants.extend(ours.iter().map(|ours| ours as &dyn Contestant));
    contestants.extend([&acknowledged as &dyn Contestant, &announced]);
    let figures = match run(&contestants, effort) {
        Ok(figures) => figures,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = Report {
        names: contestants.iter().map(|c| c.name().to_owned()).collect(),
        figures,
        command: command_line(words),
        smallest_peak_kib: smallest_peak_kib(),
        reference: 0,
    };
    print!("{report}");
    if options.write {
        let path = workspace::root().join("docs/performance.md");
        if let Err(error) = std::fs::write(&path, report.to_string()) {
            eprintln!("bench: write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn command_line(words: &[&str]) -> String {
    if words.is_empty() {
        "make bench".to_owned()
    } else {
        format!("make bench BENCH_ARGS=\"{}\"", words.join(" "))
    }
}
