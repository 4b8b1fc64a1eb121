//! Pieces of a drawing (SVG 1.1).

use std::fmt::Write;

/// A rectangle at a point, of a size; nothing if it has none.
pub(crate) fn rect(
    body: &mut String,
    style: &str,
    (x, y): (f64, f64),
    (width, height): (f64, f64),
) {
    if width > 0.0 && height > 0.0 {
        // Writing to a string does not fail.
        let _ = writeln!(
            body,
            "<rect {style} x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }
}

/// A line of text that begins at a point.
pub(crate) fn text(body: &mut String, class: &str, x: f64, y: f64, said: &str) {
    let _ = writeln!(
        body,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" xml:space=\"preserve\">{}</text>",
        escaped(said)
    );
}

/// As character data and in an attribute (XML 1.0 §2.4); what is no character of XML (§2.2) is replaced.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
