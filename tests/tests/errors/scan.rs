//! Every error text of some source files, found where it becomes an error.

use std::collections::BTreeSet;

use syn::visit::Visit;

use crate::template::Template;
use crate::visitor::Visitor;

/// A text that becomes an error, and where.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Found {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) template: Template,
    /// The name of the code it is given there, if it is given one.
    pub(crate) code: Option<String>,
}

/// Where a text becomes an error: an argument of a call.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    pub(crate) callee: Callee,
    /// Which argument is the text.
    pub(crate) argument: usize,
    /// The whole message, with `{text}` where the argument goes.
    pub(crate) frame: &'static str,
    /// The name of the code it is given.
    pub(crate) code: Option<String>,
    /// What the paths of the files begin with in which the callee is this one.
    pub(crate) within: String,
    pub(crate) takes: Takes,
}

/// What else than a text goes into a sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Takes {
    /// Nothing: what cannot be followed to a text is told.
    Texts,
    /// Values of any kind.
    Anything,
}

/// What is called.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Callee {
    /// `function(...)` or a closure.
    Function(String),
    /// `Type::function(...)`.
    Associated(String, String),
    /// `.method(...)`.
    Method(String),
    /// `Type { field: ... }`, or a variant; the field is the argument.
    Field(String, String),
    /// `name!(...)`.
    Macro(String),
}

/// All that was learned from some files.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) found: BTreeSet<Found>,
    /// Errors whose words are elsewhere, of nothing but holes or written by hand: file, and which.
    pub(crate) wordless: BTreeSet<(String, String)>,
    /// What could not be followed to a text: file, and the expression.
    pub(crate) unseen: BTreeSet<(String, String)>,
    /// A function or closure that passes a parameter on to a sink is a sink itself.
    pub(crate) forwarders: Vec<Sink>,
}

impl Scan {
    /// Reads `files`, each a path and its text.
    pub(crate) fn of(files: &[(String, String)], sinks: &[Sink]) -> Self {
        let parsed: Vec<_> = files
            .iter()
            .map(|(path, text)| {
                let file = syn::parse_file(text);
                (path, file.unwrap_or_else(|error| panic!("{path}: {error}")))
            })
            .collect();
        let mut forwarders = Vec::new();
        loop {
            let mut scan = Self::default();
            let known: Vec<_> = sinks.iter().chain(&forwarders).cloned().collect();
            for (path, file) in &parsed {
                Visitor::new(path, &file.items, &known, &mut scan).visit_file(file);
            }
            if scan.forwarders.len() == forwarders.len() {
                return scan;
            }
            forwarders = scan.forwarders;
        }
    }
}
