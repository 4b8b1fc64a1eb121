//! docs/errors.md: its rows.

use crate::template::Template;

/// One error: its text, its codes, what to do.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) line: usize,
    pub(crate) text: Template,
    /// `7`, `exit 4`.
    pub(crate) codes: Vec<String>,
    pub(crate) remedy: String,
}

/// The heading of the tables of errors, and of the table of codes.
const ERRORS: [&str; 3] = ["text", "code", "remedy"];
const CODES: [&str; 2] = ["code", "meaning"];

/// Every row of every table of errors.
pub(crate) fn rows(document: &str) -> Vec<Row> {
    tables(document, &ERRORS)
        .into_iter()
        .map(|(line, cells)| {
            let [text, codes, remedy] = &cells[..] else {
                panic!("docs/errors.md:{line}: not three cells: {cells:?}");
            };
            Row {
                line,
                text: Template::plain(unquoted(text)),
                codes: codes
                    .split(',')
                    .map(|code| code.trim().to_owned())
                    .collect(),
                remedy: remedy.clone(),
            }
        })
        .collect()
}

/// The codes that the table of codes explains.
pub(crate) fn codes(document: &str) -> Vec<String> {
    let rows = tables(document, &CODES).into_iter();
    rows.filter_map(|(_, cells)| cells.into_iter().next())
        .collect()
}

/// A row as it is to be written.
pub(crate) fn row(text: &Template, code: &str) -> String {
    let text = text.as_str().replace('|', "\\|");
    let quote = if text.contains('`') { "``" } else { "`" };
    let blank = if quote == "``" { " " } else { "" };
    format!("| {quote}{blank}{text}{blank}{quote} | {code} | WHAT TO DO |")
}

/// The rows, with their line numbers, of every table that begins with these cells.
fn tables(document: &str, heading: &[&str]) -> Vec<(usize, Vec<String>)> {
    let mut rows = Vec::new();
    let mut inside = false;
    for (line, text) in (1..).zip(document.lines()) {
        let cells = cells(text);
        if cells.is_empty() {
            inside = false;
        } else if cells == heading {
            inside = true;
        } else if inside && cells.iter().any(|cell| !cell.starts_with("---")) {
            rows.push((line, cells));
        }
    }
    rows
}

/// A table's line, cut at the bars that are not escaped.
fn cells(line: &str) -> Vec<String> {
    let Some(inner) = line
        .strip_prefix('|')
        .and_then(|rest| rest.strip_suffix('|'))
    else {
        return Vec::new();
    };
    let inner = inner.replace("\\|", "\u{0}");
    let cells = inner.split('|');
    cells
        .map(|cell| cell.trim().replace('\u{0}', "|"))
        .collect()
}

/// The inside of a code span.
fn unquoted(cell: &str) -> &str {
    cell.trim_start_matches('`').trim_end_matches('`').trim()
}
