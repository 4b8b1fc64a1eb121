//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::DEFAULT_PATH;

/// What is said about the command line.
pub(crate) const USAGE: &str = "\
usage: bulkheadd [--config FILE]
       bulkheadd check-config [--config FILE]
       bulkheadd --version | --help

The node daemon of Bulkhead: it owns the state directory, serves the plugins and keeps what they made.
check-config reads the configuration, tells every mistake in it, and what is in force without one.
FILE is /etc/bulkhead/bulkheadd.toml unless it is given; without that file everything has its default.
";

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Command {
    /// Serve, until told to stop.
    Serve(PathBuf),
    /// Say what is wrong with a configuration.
    CheckConfig(PathBuf),
    /// Say which release this is.
    Version,
    /// Say how to call it.
    Help,
}

/// A command line that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum UsageError {
    /// An argument that means nothing.
    #[error("{0:?} is no argument")]
    Unknown(OsString),
    /// `--config` alone.
    #[error("--config needs a file")]
    NoFile,
}

/// Reads the arguments after the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut args = args.into_iter();
    let mut file = PathBuf::from(DEFAULT_PATH);
    let mut command: fn(PathBuf) -> Command = Command::Serve;
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("check-config") => command = Command::CheckConfig,
            Some("--config") => file = args.next().ok_or(UsageError::NoFile)?.into(),
            Some("--version" | "-V") => return Ok(Command::Version),
            Some("--help" | "-h") => return Ok(Command::Help),
            Some(text) if text.starts_with("--config=") => file = text["--config=".len()..].into(),
            _ => return Err(UsageError::Unknown(arg)),
        }
    }
    Ok(command(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_line_says_what_to_do() {
        assert_eq!(parsed(""), Ok(Command::Serve(DEFAULT_PATH.into())));
        assert_eq!(parsed("--config /x"), Ok(Command::Serve("/x".into())));
        let check = Ok(Command::CheckConfig("/x".into()));
        assert_eq!(parsed("check-config --config=/x"), check);
        assert_eq!(parsed("--version"), Ok(Command::Version));
        assert_eq!(parsed("--config"), Err(UsageError::NoFile));
        assert_eq!(parsed("serve"), Err(UsageError::Unknown("serve".into())));
    }
}
