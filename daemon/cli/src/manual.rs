//! Completion scripts and manual pages, from the same definition that reads the command line.

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_ipam::FileError;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::failure::{Failure, Outcome, at};

/// Commands for the administrator (man-pages(7), "Sections of the manual pages").
const SECTION: &str = "8";

/// What every help text ends with is the exit codes; pages have a section for them (man-pages(7)).
const EXTRA: &str = ".SH EXTRA";
const EXIT_STATUS: &str = ".SH \"EXIT STATUS\"";

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Where the pages are written.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Outcome {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    let script = String::from_utf8(script).expect("scripts are generated as text");
    Ok(script).into()
}

pub(crate) fn man(args: &ManArgs, command: Command) -> Outcome {
    let written = write_pages(&args.dir, command);
    written
        .map(|()| String::new())
        .map_err(Failure::from)
        .into()
}

fn write_pages(dir: &Path, command: Command) -> Result<(), FileError> {
    fs::create_dir_all(dir).map_err(at("create", dir))?;
    for page in pages(command) {
        let path = dir.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text).map_err(at("write", &path))?;
        let text = String::from_utf8_lossy(&text).replace(EXTRA, EXIT_STATUS);
        fs::write(&path, text).map_err(at("write", &path))?;
    }
    Ok(())
}

/// A page for the command and for each one below it.
fn pages(command: Command) -> Vec<Man> {
    let mut command = command.disable_help_subcommand(true);
    // Gives those below the options they share and their names in full.
    command.build();
    let mut commands = vec![command];
    let mut nth = 0;
    while nth < commands.len() {
        let below: Vec<_> = commands[nth].get_subcommands().cloned().collect();
        commands.extend(below);
        nth += 1;
    }
    let source = concat!("bulkhead ", env!("CARGO_PKG_VERSION"));
    let page = |command| {
        let page = Man::new(command).section(SECTION);
        page.source(source).manual("Bulkhead")
    };
    commands.into_iter().map(page).collect()
}
