//! Asking a person before something that cannot be undone.

use std::env;
use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use crate::failure::Failure;

/// Whether somebody is asked.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Confirm {
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

impl Confirm {
    /// Says what will happen, and goes on only if `word` is typed.
    ///
    /// # Errors
    /// Something else was typed; nobody is there to type.
    pub(crate) fn ask(self, consequences: &str, word: &str) -> Result<(), Failure> {
        // Who does not see it has said `--yes`, or is refused below.
        let _ = writeln!(io::stderr(), "{consequences}");
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::NobodyToAsk);
        }
        let _ = write!(io::stderr(), "Type {word} to go on: ");
        typed(&mut io::stdin().lock(), word)
    }
}

fn typed(input: &mut impl BufRead, word: &str) -> Result<(), Failure> {
    let mut line = String::new();
    let read = input.read_line(&mut line);
    if read.is_ok() && line.trim() == word {
        Ok(())
    } else {
        Err(Failure::Declined)
    }
}

/// Who runs the command, for the audit: the login's user if `sudo` says so.
pub(crate) fn operator() -> String {
    let uid = rustix::process::getuid().as_raw();
    let name = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|variable| env::var(variable).ok())
        .filter(|name| !name.is_empty());
    match name {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself_is_a_yes() {
        for (line, is_yes) in [
            ("node-1\n", true),
            ("  node-1 ", true),
            ("node-2\n", false),
            ("y\n", false),
            ("", false),
        ] {
            let answer = typed(&mut line.as_bytes(), "node-1");
            assert_eq!(answer.is_ok(), is_yes, "{line:?}");
        }
    }
}
