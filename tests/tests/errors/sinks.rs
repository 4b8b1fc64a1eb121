//! Where a text becomes an error. A constructor that is not here, and is called with a text by
//! something that is, is found by the scan itself.

use crate::scan::{Callee, Sink, Takes};

/// Files whose errors no operator meets, and why.
pub(crate) const UNMET: &[(&str, &str)] = &[
    (
        "plugins/nft/src/evaluate.rs",
        "the interpreter of rulesets runs in tests",
    ),
    (
        "plugins/nft/src/name.rs",
        "every name is made by us, which the callers state",
    ),
    ("plugins/plan/src/model.rs", "a world in memory"),
    (
        "plugins/attach/src/guard/recorded.rs",
        "what cannot be read in a record is of a release without the guard",
    ),
    (
        "ipam/src/store/stale.rs",
        "reasons for collecting, not errors",
    ),
];

/// Messages that every particular one below is said in.
pub(crate) const FRAMES: &[&str] = &[
    "missing, set it to {}",
    "{} is not {}",
    "{} is not supported: {}",
    "network {}: {}: {}",
    "network {}: {}: expected {}, found {}",
    "network {}: {}",
    "plugin {}: {}",
];

/// Errors of nothing but holes, or written by hand: what goes into them is scanned where it goes in.
pub(crate) const WORDLESS: &[(&str, &str)] = &[
    ("daemon/src/config/mod.rs", "{told}"),
    // Complaints about objects, which have rows each.
    ("daemon/src/identity/objects.rs", "{_}"),
    ("ipam/src/wire/admin/mod.rs", "{text}"),
    ("plugins/cni/src/error.rs", "{msg}{else}{details}"),
    ("plugins/cni/src/json/field.rs", "{path}: {fault}"),
    ("plugins/kernel/src/error.rs", "{what}"),
    // The kernel's own words.
    ("plugins/kernel/src/error.rs", "impl Error for Refusal"),
];

/// What goes into a sink and is another error's text, which has its own row.
pub(crate) const PASSED_ON: &[(&str, &str)] = &[
    // A file's name.
    ("daemon/src/remembered.rs", "path.display()"),
    ("plugins/attach/src/addressing.rs", "refused"),
    ("plugins/attach/src/status.rs", "Failure::from(e)"),
    ("plugins/attach/src/status.rs", "unavailable"),
    ("plugins/cni/src/call.rs", "own.display()"),
    ("plugins/cni/src/json/field.rs", "error.expected"),
];

/// Files in which what is no configuration is read, and the code of its errors.
pub(crate) const RECODED: &[(&str, &str)] = &[("plugins/cni/src/list/cache.rs", "DECODE_FAILURE")];

const CONFIG: Option<&str> = Some("INVALID_CONFIG");
const INVALID: &str = "{path}: {found} is not {text}";
const MISSING: &str = "{path}: missing, set it to {text}";
const PARSED: &str = "{found} is not {text}";
const KEY: &str = "network {network}: {key}: {text}";
const EXPECTED: &str = "network {network}: {key}: expected {text}, found {value}";

/// Every sink.
pub(crate) fn all() -> Vec<Sink> {
    let mut sinks = codes();
    sinks.extend(fields());
    sinks.extend(pools());
    sinks.extend(command());
    sinks
}

/// `CniError`, by constructor.
fn codes() -> Vec<Sink> {
    let of = |name: &str| Callee::Associated("CniError".to_owned(), name.to_owned());
    vec![
        text(of("new"), 1, "{text}", None),
        text(of("invalid_config"), 0, "{text}", CONFIG),
        text(of("try_again"), 0, "{text}", Some("TRY_AGAIN_LATER")),
        text(of("unavailable"), 0, "{text}", Some("UNAVAILABLE")),
        text(of("io"), 0, "{text}: {error}", Some("IO_FAILURE")),
        text(
            of("invalid_environment"),
            1,
            "{variable}: {text}",
            Some("INVALID_ENVIRONMENT"),
        ),
        Sink {
            within: "plugins/attach/".to_owned(),
            takes: Takes::Anything,
            ..text(method("and"), 0, "{error}; {text}", None)
        },
    ]
}

/// `FieldError` and what it is made from.
fn fields() -> Vec<Sink> {
    let unsupported = "{path}: {found} is not supported: {text}";
    vec![
        text(method("invalid"), 0, INVALID, CONFIG),
        text(method("parse_as"), 0, INVALID, CONFIG),
        text(method("optional_as"), 1, INVALID, CONFIG),
        text(
            method("unsupported"),
            0,
            unsupported,
            Some("UNSUPPORTED_FIELD"),
        ),
        text(method("required"), 1, MISSING, CONFIG),
        text(method("required_string"), 1, MISSING, CONFIG),
        text(
            Callee::Associated("ParseError".to_owned(), "new".to_owned()),
            0,
            PARSED,
            None,
        ),
        text(field("ParseError", "expected"), 0, PARSED, None),
        text(Callee::Macro("cni_name".to_owned()), 1, PARSED, None),
    ]
}

/// The configuration of pools; what the kernel is asked for.
fn pools() -> Vec<Sink> {
    let config = |callee, frame| Sink {
        within: "ipam/src/config/".to_owned(),
        ..text(callee, 0, frame, CONFIG)
    };
    vec![
        config(field("KeyError", "what"), KEY),
        config(method("error"), KEY),
        config(method("not"), EXPECTED),
        Sink {
            within: "plugins/kernel/".to_owned(),
            ..text(field("Netlink", "what"), 0, "{text}", None)
        },
    ]
}

/// What executables say themselves: on standard error, or of their command line.
fn command() -> Vec<Sink> {
    let line = |callee| Sink {
        within: "daemon/".to_owned(),
        takes: Takes::Anything,
        ..text(callee, 0, "{text}", None)
    };
    vec![
        text(Callee::Macro("eprintln".to_owned()), 0, "{text}", None),
        text(Callee::Macro("eprint".to_owned()), 0, "{text}", None),
        line(Callee::Function("Err".to_owned())),
        line(method("ok_or")),
        line(method("ok_or_else")),
        line(method("map_err")),
        Sink {
            within: "daemon/cli/src/failure.rs".to_owned(),
            ..line(method("push"))
        },
    ]
}

fn text(callee: Callee, argument: usize, frame: &'static str, code: Option<&str>) -> Sink {
    Sink {
        callee,
        argument,
        frame,
        code: code.map(str::to_owned),
        within: String::new(),
        takes: Takes::Texts,
    }
}

fn method(name: &str) -> Callee {
    Callee::Method(name.to_owned())
}

fn field(of: &str, name: &str) -> Callee {
    Callee::Field(of.to_owned(), name.to_owned())
}
