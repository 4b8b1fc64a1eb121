//! Colour, where a person looks.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};

/// Whether colours are used.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Colour {
    /// Whether to use colours.
    #[arg(
        long = "color",
        alias = "colour",
        value_enum,
        default_value_t,
        value_name = "WHEN"
    )]
    when: When,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum When {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How text is coloured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Paint {
    Plain,
    Coloured,
}

impl Colour {
    pub(crate) fn paint(self) -> Paint {
        let is_wanted = match self.when {
            When::Always => true,
            When::Never => false,
            // https://no-color.org: present and not empty.
            When::Auto => {
                let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                io::stdout().is_terminal() && !no_color
            }
        };
        if is_wanted {
            Paint::Coloured
        } else {
            Paint::Plain
        }
    }
}

impl Paint {
    /// `text` in a colour of the 256 that terminals have (ECMA-48 SGR 38;5).
    pub(crate) fn text(self, colour: u8, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\u{1b}[38;5;{colour}m{text}\u{1b}[0m"),
        }
    }
}
