//! The matrix as a drawing: SVG 1.1, alone or in a page of HTML. One file that needs no other, on light and
//! on dark ground.

use std::fmt::Write;

use bulkhead_policy::Decision;
use bulkhead_policy::matrix::{Matrix, Sheet};

use crate::svg::{escaped, text};

const MARGIN: f64 = 24.0;
const CELL: f64 = 18.0;
const LINE: f64 = 20.0;
/// The width of a character of 13 px.
const CHARACTER: f64 = 7.9;

/// Allowed and denied are told apart by shape as well as by colour (P. Tol, "Colour Schemes", vibrant).
const STYLE: &str = "<style>
text{font-family:ui-monospace,monospace;font-size:13px;fill:#1a1a1a}
.title{font-size:20px;font-weight:bold}.name{font-weight:bold}.dim{fill:#595959}
.ground{fill:#fff}.allow{fill:#0077bb}.deny{fill:none;stroke:#cc3311;stroke-width:2}.self{fill:#bbbbbb}
@media (prefers-color-scheme:dark){text{fill:#f2f2f2}.dim{fill:#b3b3b3}.ground{fill:#1a1a1a}.allow{fill:#33bbee}.deny{stroke:#ee7733}.self{fill:#595959}}
</style>
";

pub(super) fn svg(matrix: &Matrix) -> String {
    let mut body = String::new();
    let names: Vec<String> = matrix.ends.iter().map(ToString::to_string).collect();
    let longest = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let gutter = as_length(longest) * CHARACTER + 12.0;
    let side = as_length(names.len()) * CELL;
    let width = (2.0 * MARGIN + gutter + side + 0.7 * gutter).max(600.0);
    let mut y = MARGIN + LINE;
    text(&mut body, "title", MARGIN, y, &title(matrix));
    y += LINE;
    text(
        &mut body,
        "dim",
        MARGIN,
        y,
        "from the left, to the top; filled is allowed, a cross is denied",
    );
    for sheet in matrix.sheets() {
        y += 1.5 * LINE;
        text(&mut body, "name", MARGIN, y, &matrix.heading(&sheet));
        y = grid(&mut body, &names, &sheet, (gutter, y));
    }
    y += MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{y:.0}\" viewBox=\"0 0 {width:.0} {y:.0}\" role=\"img\">
<title>Who can talk to whom</title>
{STYLE}<rect class=\"ground\" width=\"{width:.0}\" height=\"{y:.0}\"/>
{body}</svg>\n"
    )
}

pub(super) fn html(matrix: &Matrix) -> String {
    format!(
        "<!DOCTYPE html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"/><title>{}</title>
<style>body{{margin:0;background:#fff}}@media (prefers-color-scheme:dark){{body{{background:#1a1a1a}}}}</style></head>
<body>
{}</body>
</html>\n",
        escaped(&title(matrix)),
        svg(matrix)
    )
}

fn title(matrix: &Matrix) -> String {
    format!(
        "Who can talk to whom: {} of {} allowed",
        matrix.allowed(),
        matrix.asked()
    )
}

/// Draws one grid below `top`; where it ends.
fn grid(body: &mut String, names: &[String], sheet: &Sheet, (gutter, top): (f64, f64)) -> f64 {
    let left = MARGIN + gutter;
    let first = top + 0.7 * gutter + 6.0;
    for (nth, name) in names.iter().enumerate() {
        let x = left + (as_length(nth) + 0.7) * CELL;
        let y = first - 6.0;
        // Writing to a string does not fail.
        let _ = writeln!(
            body,
            "<text transform=\"translate({x:.1},{y:.1}) rotate(-45)\">{}</text>",
            escaped(name)
        );
    }
    for (row, (name, decisions)) in names.iter().zip(&sheet.decisions).enumerate() {
        let y = first + as_length(row) * CELL;
        text(body, "", MARGIN, y + 13.0, name);
        for (column, decision) in decisions.iter().enumerate() {
            let Some(decision) = decision else {
                continue;
            };
            let x = left + as_length(column) * CELL;
            let _ = writeln!(
                body,
                "<g><title>{} to {}: {decision}</title>{}</g>",
                escaped(name),
                escaped(&names[column]),
                sign(*decision, row == column, (x, y))
            );
        }
    }
    first + as_length(names.len()) * CELL
}

fn sign(decision: Decision, is_self: bool, (x, y): (f64, f64)) -> String {
    let inner = CELL - 4.0;
    match decision {
        Decision::Allow => format!(
            "<rect class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{inner:.1}\" height=\"{inner:.1}\"/>",
            if is_self { "self" } else { "allow" },
            x + 2.0,
            y + 2.0
        ),
        Decision::Deny => format!(
            "<path class=\"deny\" d=\"M{:.1} {:.1}l{:.1} {:.1}m0 -{:.1}l-{:.1} {:.1}\"/>",
            x + 4.0,
            y + 4.0,
            inner - 4.0,
            inner - 4.0,
            inner - 4.0,
            inner - 4.0,
            inner - 4.0
        ),
    }
}

#[allow(clippy::cast_precision_loss)] // for drawing only
const fn as_length(count: usize) -> f64 {
    count as f64
}
