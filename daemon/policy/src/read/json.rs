//! JSON (RFC 8259) with lines: what `kubectl -o json` prints, one value or several after each other. YAML
//! would read most of it, but neither tabs before a key nor characters written as two escapes.

use super::node::{Entry, MAX_DEPTH, MAX_VALUES, Node, Value};
use super::syntax::{Fault, SyntaxError};

/// The values of `text`, in order.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, SyntaxError> {
    parse_within(text, MAX_VALUES)
}

fn parse_within(text: &str, most: usize) -> Result<Vec<Node>, SyntaxError> {
    let mut reader = Reader {
        left: most,
        rest: text,
        line: 1,
        depth: 0,
    };
    let mut values = Vec::new();
    loop {
        reader.space();
        if reader.rest.is_empty() {
            return Ok(values);
        }
        values.push(reader.value()?);
    }
}

struct Reader<'t> {
    rest: &'t str,
    line: u32,
    depth: usize,
    /// How many more values there may be.
    left: usize,
}

impl<'t> Reader<'t> {
    fn value(&mut self) -> Result<Node, SyntaxError> {
        self.space();
        let line = self.line;
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| self.fault(Fault::Values))?;
        let value = match self.rest.bytes().next() {
            Some(b'{') => self.nested(Self::map)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Value::Text(self.text()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { line, value })
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Value, SyntaxError>,
    ) -> Result<Value, SyntaxError> {
        if self.depth == MAX_DEPTH {
            return Err(self.fault(Fault::Depth));
        }
        self.depth += 1;
        self.skip(1);
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn map(&mut self) -> Result<Value, SyntaxError> {
        let mut entries = Vec::new();
        if self.is_next('}') {
            return Ok(Value::Map(entries));
        }
        loop {
            self.space();
            let line = self.line;
            if !self.rest.starts_with('"') {
                return Err(self.expected("a key in double quotes"));
            }
            let key = self.text()?;
            if !self.is_next(':') {
                return Err(self.expected("':' after a key"));
            }
            let node = self.value()?;
            entries.push(Entry { line, key, node });
            if self.is_next('}') {
                return Ok(Value::Map(entries));
            }
            if !self.is_next(',') {
                return Err(self.expected("',' or '}' after a value"));
            }
        }
    }

    fn list(&mut self) -> Result<Value, SyntaxError> {
        let mut items = Vec::new();
        if self.is_next(']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.is_next(']') {
                return Ok(Value::List(items));
            }
            if !self.is_next(',') {
                return Err(self.expected("',' or ']' after a value"));
            }
        }
    }

    /// A string, from its opening quote to its closing one.
    fn text(&mut self) -> Result<String, SyntaxError> {
        self.skip(1);
        let mut text = String::new();
        loop {
            let plain = self.rest.find(['"', '\\', '\n']).unwrap_or(self.rest.len());
            text.push_str(&self.rest[..plain]);
            self.skip(plain);
            match self.rest.bytes().next() {
                Some(b'"') => {
                    self.skip(1);
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.skip(1);
                    text.push(self.escaped()?);
                }
                _ => return Err(self.expected("'\"' at the end of a string")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, SyntaxError> {
        const EXPECTED: &str = "one of \" \\ / b f n r t u after '\\'";
        let kind = self
            .rest
            .chars()
            .next()
            .ok_or_else(|| self.expected(EXPECTED))?;
        self.skip(kind.len_utf8());
        Ok(match kind {
            '"' | '\\' | '/' => kind,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.unit()?;
                let second = if matches!(first, 0xd800..=0xdbff) && self.rest.starts_with("\\u") {
                    self.skip(2);
                    Some(self.unit()?)
                } else {
                    None
                };
                let units = [Some(first), second].into_iter().flatten();
                let mut decoded = char::decode_utf16(units);
                match (decoded.next(), decoded.next()) {
                    (Some(Ok(c)), None) => c,
                    _ => return Err(self.expected("a character: surrogates come in pairs")),
                }
            }
            _ => return Err(self.expected(EXPECTED)),
        })
    }

    fn unit(&mut self) -> Result<u16, SyntaxError> {
        let digits = self.rest.get(..4).filter(|digits| {
            let mut bytes = digits.bytes();
            bytes.all(|b| b.is_ascii_hexdigit())
        });
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.expected("four hexadecimal digits after '\\u'"))?;
        self.skip(4);
        Ok(unit)
    }

    fn number(&mut self) -> Result<Value, SyntaxError> {
        let is_of_number = |c: char| matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
        let end = self
            .rest
            .find(|c| !is_of_number(c))
            .unwrap_or(self.rest.len());
        let text = &self.rest[..end];
        if text.parse::<f64>().is_err() {
            return Err(self.expected("a number"));
        }
        self.skip(end);
        Ok(Value::Number(text.to_owned()))
    }

    fn word(&mut self) -> Result<Value, SyntaxError> {
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ];
        for (word, value) in words {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.expected("a value"))
    }

    /// Whether `c` is what comes next; then it is behind us.
    fn is_next(&mut self, c: char) -> bool {
        self.space();
        let is = self.rest.starts_with(c);
        if is {
            self.skip(c.len_utf8());
        }
        is
    }

    fn space(&mut self) {
        let end = self.rest.find(|c| !matches!(c, ' ' | '\t' | '\r' | '\n'));
        self.skip(end.unwrap_or(self.rest.len()));
    }

    fn skip(&mut self, bytes: usize) {
        let (behind, rest): (&'t str, &'t str) = self.rest.split_at(bytes);
        let lines = behind.bytes().filter(|b| *b == b'\n').count();
        self.line = self
            .line
            .saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.rest = rest;
    }

    fn expected(&self, expected: &'static str) -> SyntaxError {
        self.fault(Fault::Json(expected))
    }

    fn fault(&self, fault: Fault) -> SyntaxError {
        SyntaxError {
            line: self.line,
            fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines_and_several_may_follow_each_other() {
        let values = parse("{\n\t\"a\": [1,\n  true, null]\n}\n{}\n").unwrap();
        assert_eq!(values.len(), 2);
        let list = values[0].get("a").and_then(Node::list).unwrap();
        assert_eq!(
            list.iter().map(|item| item.line).collect::<Vec<_>>(),
            [2, 3, 3]
        );
        assert_eq!(values[1].line, 5);
    }

    #[test]
    fn escapes_are_undone() {
        let text = |json: &str| parse(json).map(|values| values[0].text().unwrap().to_owned());
        assert_eq!(
            text(r#""\"\\\/\n\t\u00e9\ud83d\ude00""#).unwrap(),
            "\"\\/\n\té😀"
        );
        for broken in [
            r#""\ud83d""#,
            r#""\udc00""#,
            r#""\x""#,
            r#""\u12""#,
            "\"a",
            "\"a\nb\"",
        ] {
            assert!(text(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_with_its_line() {
        for (broken, line) in [
            ("{\n\"a\" 1}", 2),
            ("[1\n2]", 2),
            ("{a: 1}", 1),
            ("{\"a\": 1,}", 1),
            ("[1, 2", 1),
            ("\n\nnul", 3),
            ("-", 1),
        ] {
            assert_eq!(parse(broken).unwrap_err().line, line, "{broken}");
        }
    }

    #[test]
    fn there_are_no_more_values_than_there_may_be() {
        assert!(parse_within("[1, {\"a\": 2}] 3", 5).is_ok());
        let error = parse_within("[1, {\"a\":\n2}] 3", 3).unwrap_err();
        assert_eq!((error.line, error.fault), (2, Fault::Values));
    }

    #[test]
    fn a_value_is_no_deeper_than_it_may_be() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            parse(&nested(MAX_DEPTH + 1)).unwrap_err().fault,
            Fault::Depth
        );
        assert_eq!(
            parse(&"[".repeat(1_000_000)).unwrap_err().fault,
            Fault::Depth
        );
    }
}
