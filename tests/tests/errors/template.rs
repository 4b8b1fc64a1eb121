//! A message as its source has it: words, and holes for what is known only when it happens.

use proc_macro2::{TokenStream, TokenTree};
use syn::{LitStr, Macro};

/// A message with holes, each with a name in braces: `bridge {bridge} is down`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Template(String);

/// Methods that only turn a value into text.
const MUTE: &[&str] = &[
    "self",
    "display",
    "to_string",
    "as_str",
    "join",
    "first",
    "len",
    "trim_end",
    "verb",
    "parent",
    "unwrap_or",
    "clone",
    "crate",
];

impl Template {
    /// A message that is words alone.
    pub(crate) fn plain(text: &str) -> Self {
        Self(squeezed(text))
    }

    /// What `format!` and thiserror make of `format` and the arguments after it.
    pub(crate) fn of_format(format: &str, arguments: &[TokenStream]) -> Self {
        let mut text = String::new();
        let mut unnamed = arguments.iter();
        let mut rest = format;
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                text.push_str(brace);
                rest = after;
                continue;
            }
            let end = rest.find('}').unwrap_or(rest.len());
            let hole = rest[..end].split(':').next().unwrap_or_default().trim();
            rest = rest.get(end + 1..).unwrap_or_default();
            let name = if hole.is_empty() {
                unnamed.next().map_or_else(String::new, name_of)
            } else {
                hole.to_owned()
            };
            text.extend(["{", name.as_str(), "}"]);
        }
        text.push_str(rest);
        Self(squeezed(&text))
    }

    /// This message where `frame` has `{text}`.
    pub(crate) fn within(&self, frame: &str) -> Self {
        Self(frame.replace("{text}", &self.0))
    }

    /// The message, to be compared: what its holes are called says nothing.
    pub(crate) fn key(&self) -> String {
        let mut key = String::new();
        let mut depth = 0;
        for c in self.0.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        key.push_str("{}");
                    }
                }
                c if depth == 0 => key.push(c),
                _ => {}
            }
        }
        key
    }

    /// Whether it only passes on what others say.
    pub(crate) fn has_words(&self) -> bool {
        self.key().contains(char::is_alphabetic)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text of `format!` and its kin.
pub(crate) fn formatted(mac: &Macro) -> Option<Template> {
    let name = mac.path.segments.last()?.ident.to_string();
    matches!(name.as_str(), "format" | "format_args" | "concat")
        .then(|| format_of(&mac.tokens))
        .flatten()
}

/// A format string and its arguments.
pub(crate) fn format_of(tokens: &TokenStream) -> Option<Template> {
    let mut arguments: Vec<Vec<TokenTree>> = vec![Vec::new()];
    for token in tokens.clone() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => arguments.push(Vec::new()),
            _ => arguments.last_mut()?.push(token),
        }
    }
    let arguments: Vec<TokenStream> = arguments.into_iter().map(TokenStream::from_iter).collect();
    let (format, rest) = arguments.split_first()?;
    let format: LitStr = syn::parse2(format.clone()).ok()?;
    Some(Template::of_format(&format.value(), rest))
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What an argument is about: the last name in it that is no mere conversion.
fn name_of(argument: &TokenStream) -> String {
    let mut name = String::new();
    for token in argument.clone() {
        let text = match token {
            TokenTree::Ident(ident) => ident.to_string(),
            TokenTree::Literal(literal) => literal.to_string(),
            TokenTree::Punct(punct) if punct.as_char() == '=' => break,
            TokenTree::Punct(_) | TokenTree::Group(_) => continue,
        };
        if !MUTE.contains(&text.as_str()) {
            name = text;
        }
    }
    name
}
