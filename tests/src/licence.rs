//! Licence expressions (SPDX 2.3, annex D) over a list of allowed licences.

/// Whether someone who may use only the `allowed` licences may use what is under `expression`:
/// identifiers, `AND`, `OR`, `WITH` and parentheses, and `/`, which old manifests mean as `OR`.
/// A licence with an exception is allowed when it is without: exceptions only ever permit more.
/// What does not parse is not allowed.
#[must_use]
pub fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let verdict = any(&mut words, allowed);
    verdict == Some(true) && words.peek().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words, allowed: &[String]) -> Option<bool> {
    let mut verdict = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        verdict |= all(words, allowed)?;
    }
    Some(verdict)
}

fn all(words: &mut Words, allowed: &[String]) -> Option<bool> {
    let mut verdict = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        verdict &= one(words, allowed)?;
    }
    Some(verdict)
}

fn one(words: &mut Words, allowed: &[String]) -> Option<bool> {
    match words.next()? {
        "(" => {
            let verdict = any(words, allowed)?;
            words.next_if_eq(&")").map(|_| verdict)
        }
        ")" | "AND" | "OR" | "WITH" => None,
        licence => {
            if words.next_if_eq(&"WITH").is_some() {
                words.next()?;
            }
            Some(allowed.iter().any(|name| name == licence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(expression: &str) -> bool {
        is_allowed(expression, &["MIT".to_owned(), "Apache-2.0".to_owned()])
    }

    #[test]
    fn one_alternative_is_enough_and_every_part_is_needed() {
        assert!(allows("MIT"));
        assert!(allows("GPL-2.0-only OR MIT"));
        assert!(allows("Unlicense/MIT"));
        assert!(allows("(GPL-2.0-only OR MIT) AND Apache-2.0"));
        assert!(allows("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only"));
        assert!(!allows("MIT AND GPL-2.0-only"));
        assert!(!allows("GPL-2.0-only OR MIT AND GPL-3.0-only"));
        assert!(!allows("GPL-2.0-only"));
    }

    #[test]
    fn what_does_not_parse_is_not_allowed() {
        for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT Apache-2.0", "OR MIT"] {
            assert!(!allows(broken), "{broken:?}");
        }
    }
}
