//! docs/errors.md lists every error that an operator can meet, with its code and what to do. The
//! texts are read out of the sources: an error that is added without a row fails here, and so does a
//! row whose error is gone.

mod document;
mod follow;
mod scan;
mod sinks;
mod template;
mod visitor;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bulkhead_tests::workspace::root;
use document::Row;
use scan::{Found, Scan};
use sinks::{FRAMES, PASSED_ON, RECODED, UNMET, WORDLESS};

/// Where executables are built from.
const DIRS: [&str; 3] = ["plugins", "ipam", "daemon"];

/// Directories in them that nothing is built from that is installed.
const ASIDE: [&str; 3] = ["tests", "examples", "target"];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every source file: its path below the root, and its text.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut files = Vec::new();
    let mut dirs: Vec<_> = DIRS.map(|dir| root.join(dir)).into();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the repository") {
            let path = entry.expect("can be listed").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !ASIDE.contains(&name.as_ref()) {
                dirs.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let below = path.strip_prefix(&root).expect("below the root");
                let below = below.display().to_string();
                files.push((below.clone(), read(&below)));
            }
        }
    }
    files.sort();
    files
}

fn scan() -> Scan {
    let mut files = sources();
    assert!(files.len() > 50, "the sources were not found");
    files.retain(|(path, _)| !UNMET.iter().any(|(unmet, _)| path == unmet));
    Scan::of(&files, &sinks::all())
}

fn is_frame(found: &Found) -> bool {
    FRAMES.contains(&found.template.key().as_str())
}

/// Every error, but for frames.
fn errors() -> Vec<Found> {
    let mut errors: Vec<Found> = scan().found.into_iter().collect();
    errors.retain(|error| !is_frame(error));
    for error in &mut errors {
        if let Some((_, code)) = RECODED.iter().find(|(file, _)| error.file == *file) {
            error.code = error.code.as_ref().map(|_| (*code).to_owned());
        }
    }
    errors
}

fn rows() -> Vec<Row> {
    let rows = document::rows(&read("docs/errors.md"));
    assert!(rows.len() > 100, "the tables were not found");
    rows
}

/// The names of the codes and their numbers, as plugins/cni has them.
fn numbers() -> BTreeMap<String, String> {
    let source = read("plugins/cni/src/error.rs");
    let constants = source.lines().filter_map(|line| {
        let (name, number) = line
            .trim()
            .strip_prefix("pub const ")?
            .split_once(": Self = Self(")?;
        Some((name.to_owned(), number.trim_end_matches(");").to_owned()))
    });
    let numbers: BTreeMap<_, _> = constants.collect();
    assert!(numbers.len() > 10, "{numbers:?}");
    numbers
}

#[test]
fn every_error_has_a_row() {
    let rows: BTreeSet<String> = rows().iter().map(|row| row.text.key()).collect();
    let numbers = numbers();
    let mut missing = BTreeMap::new();
    for error in errors() {
        if !rows.contains(&error.template.key()) {
            let code = error.code.as_ref().and_then(|name| numbers.get(name));
            let row = document::row(&error.template, code.map_or("CODE", String::as_str));
            missing.insert(
                error.template.key(),
                format!("{}:{}\n{row}", error.file, error.line),
            );
        }
    }
    let missing: Vec<_> = missing.into_values().collect();
    assert!(
        missing.is_empty(),
        "not in docs/errors.md; add these rows and say what an operator does:\n\n{}\n",
        missing.join("\n\n")
    );
}

#[test]
fn every_row_is_of_an_error_that_there_is() {
    let errors: BTreeSet<String> = errors().iter().map(|error| error.template.key()).collect();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for row in rows() {
        let key = row.text.key();
        if !errors.contains(&key) {
            wrong.push(format!(
                "{}: no source has it: {}",
                row.line,
                row.text.as_str()
            ));
        }
        if !seen.insert(key) {
            wrong.push(format!(
                "{}: a second time: {}",
                row.line,
                row.text.as_str()
            ));
        }
    }
    assert!(wrong.is_empty(), "docs/errors.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_row_has_a_known_code_and_a_remedy() {
    let known = document::codes(&read("docs/errors.md"));
    for row in rows() {
        let (line, text) = (row.line, row.text.as_str());
        assert!(
            !row.remedy.is_empty() && row.remedy != "WHAT TO DO",
            "docs/errors.md:{line}: no remedy: {text}"
        );
        for code in &row.codes {
            assert!(
                known.contains(code),
                "docs/errors.md:{line}: code {code:?}: {text}"
            );
        }
    }
}

#[test]
fn a_row_has_the_code_that_the_source_gives() {
    let numbers = numbers();
    let rows: BTreeMap<String, Row> = rows()
        .into_iter()
        .map(|row| (row.text.key(), row))
        .collect();
    for error in errors() {
        let (Some(name), Some(row)) = (&error.code, rows.get(&error.template.key())) else {
            continue;
        };
        let number = numbers
            .get(name)
            .unwrap_or_else(|| panic!("no code {name}"));
        assert!(
            row.codes.contains(number),
            "docs/errors.md:{}: {}:{} gives code {number}",
            row.line,
            error.file,
            error.line
        );
    }
}

#[test]
fn the_table_of_codes_is_that_of_the_source() {
    let documented = document::codes(&read("docs/errors.md"));
    let documented: BTreeSet<_> = documented
        .iter()
        .filter(|code| !code.contains("exit"))
        .collect();
    let numbers = numbers();
    assert_eq!(
        documented,
        numbers.values().collect(),
        "left: docs/errors.md"
    );
}

#[test]
fn nothing_is_said_that_cannot_be_followed_to_its_text() {
    let scan = scan();
    let listed = |list: &[(&str, &str)]| -> BTreeSet<(String, String)> {
        let owned = |(file, text): &(&str, &str)| ((*file).to_owned(), (*text).to_owned());
        list.iter().map(owned).collect()
    };
    assert_eq!(
        scan.unseen,
        listed(PASSED_ON),
        "left: goes into an error and is no text, nor a variable that was bound to one; \
         right: PASSED_ON"
    );
    assert_eq!(
        scan.wordless,
        listed(WORDLESS),
        "left: `#[error]` without words"
    );
}

#[test]
fn what_is_excepted_is_there() {
    for (path, _) in UNMET {
        read(path);
    }
    let keys: BTreeSet<String> = scan()
        .found
        .iter()
        .map(|found| found.template.key())
        .collect();
    for frame in FRAMES {
        assert!(keys.contains(*frame), "{frame}");
    }
}

/// A source with an error in each way in which one is made.
const SAMPLE: &str = r#"
    #[derive(thiserror::Error)]
    enum Conflict {
        #[error("bridge {0} is down, {}", .1.display())]
        Down(IfName, PathBuf),
        #[error(transparent)]
        Other(#[from] Other),
        #[error("{what}")]
        Wordless { what: String },
    }
    const EXPECTED: &str = "a constant";
    impl CniError {
        fn missing(names: &[&str]) -> Self {
            Self::new(Code::DRIFT, format!("{} missing", names.join(",")))
        }
    }
    fn drift(text: String) -> CniError { CniError::new(Code::DRIFT, text) }
    impl Field {
        fn checked(&self, text: &str) -> CniError { CniError::try_again(text) }
    }
    fn outer(text: &str) -> CniError { drift(text.to_owned()) }
    fn made(field: &Field, x: u32) -> Result<(), CniError> {
        let bound = format!("bound {x:>5} {{}}");
        let decode = |text: String| CniError::new(Code::DECODE_FAILURE, text);
        drift(bound);
        outer("at the second hand");
        decode("by a closure".into());
        field.invalid(EXPECTED);
        field.invalid(if x == 1 { "one way" } else { "the other" });
        field.required("key", "a required thing");
        vec![CniError::unavailable("in a macro")];
        other().map_err(|error| CniError::unavailable(error.to_string()));
        field.checked("by a method");
        super::drift("of a module".to_owned());
        other().map_err(CniError::unavailable);
        CniError::try_again(hidden(x))
    }
    #[cfg(test)]
    mod tests { fn f() { CniError::try_again("of a test") } }
    #[test]
    fn test() { CniError::try_again("of a test") }
"#;

#[test]
fn an_error_is_seen_however_it_is_made() {
    let files = [("sample.rs".to_owned(), SAMPLE.to_owned())];
    let scan = Scan::of(&files, &sinks::all());
    let found: BTreeSet<(&str, Option<&str>)> = scan
        .found
        .iter()
        .map(|found| (found.template.as_str(), found.code.as_deref()))
        .collect();
    let invalid = Some("INVALID_CONFIG");
    let expected = [
        ("bridge {0} is down, {1}", None),
        ("{names} missing", Some("DRIFT")),
        ("bound {x} {}", Some("DRIFT")),
        ("at the second hand", Some("DRIFT")),
        ("by a closure", Some("DECODE_FAILURE")),
        ("{path}: {found} is not a constant", invalid),
        ("{path}: {found} is not one way", invalid),
        ("{path}: {found} is not the other", invalid),
        ("{path}: missing, set it to a required thing", invalid),
        ("in a macro", Some("UNAVAILABLE")),
        ("by a method", Some("TRY_AGAIN_LATER")),
        ("of a module", Some("DRIFT")),
    ];
    assert_eq!(found, BTreeSet::from(expected));
    let unseen: Vec<_> = scan.unseen.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(unseen, ["CniError::unavailable", "hidden(x)"]);
    let wordless: Vec<_> = scan
        .wordless
        .iter()
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(wordless, ["{what}"]);
}

#[test]
fn a_row_is_read_as_it_is_written() {
    let text = template::Template::of_format("`{a}` is {} | {{x}}", &[]);
    let document = format!(
        "| text | code | remedy |\n|---|---|---|\n{}\n\n| not | a | row |\n",
        document::row(&text, "7, exit 4")
    );
    let rows = document::rows(&document);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].text.key(), text.key());
    assert_eq!(rows[0].codes, ["7", "exit 4"]);
    assert_eq!(rows[0].remedy, "WHAT TO DO");
}
