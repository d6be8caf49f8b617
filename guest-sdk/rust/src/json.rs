//! Reading and writing small JSON messages, without a tree.
//!
//! ```
//! use weir::json::{Object, Value};
//!
//! let message = Value::parse(r#"{"type":"say","text":"hi"}"#).unwrap();
//! assert_eq!(message.get("text").unwrap().as_str().unwrap(), "hi");
//!
//! let mut line = String::new();
//! Object::new(&mut line).text("type", "say").number("members", 2).end();
//! assert_eq!(line, r#"{"type":"say","members":2}"#);
//! ```

use std::borrow::Cow;
use std::fmt::{Display, Write};

use crate::query::hex;

/// How deep arrays and objects may nest; deeper is not taken for JSON.
const MAX_DEPTH: usize = 32;

/// A JSON value, as the part of a document that stands for it. It is a plain value that copies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a str); // well-formed, without white space around it

impl<'a> Value<'a> {
    /// Reads a document, which is checked as a whole (RFC 8259); nothing if it is not JSON, or if its arrays and objects
    /// nest deeper than 32.
    pub fn parse(document: &'a str) -> Option<Value<'a>> {
        let mut reader = Reader { text: document, at: 0 };
        reader.space();
        let value = reader.value(MAX_DEPTH)?;
        reader.space();
        (reader.at == document.len()).then_some(value)
    }

    /// The part of the document: a string has its quotes, a number its digits.
    pub fn raw(self) -> &'a str {
        self.0
    }

    /// The value of a key of an object; the last one if the key is there more than once.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        let [value] = self.fields([key]);
        value
    }

    /// The values of several keys of an object, found in one pass; for each the last one if it is there more than once.
    ///
    /// ```
    /// # use weir::json::Value;
    /// let object = Value::parse(r#"{"x":1,"y":2}"#).unwrap();
    /// let [x, z] = object.fields(["x", "z"]);
    /// assert_eq!(x.unwrap().as_i64(), Some(1));
    /// assert_eq!(z, None);
    /// ```
    pub fn fields<const N: usize>(self, keys: [&str; N]) -> [Option<Value<'a>>; N] {
        let mut found = [None; N];
        let mut reader = self.inside('{');
        while let (Some(name), Some(value)) = (reader.skip(), reader.skip()) {
            if let Some(i) = keys.iter().position(|key| name.is(key)) {
                found[i] = Some(value);
            }
        }
        found
    }

    /// Whether it is a string with this text.
    fn is(self, text: &str) -> bool {
        let inside = &self.0[1..self.0.len() - 1];
        inside == text || inside.contains('\\') && unescape(inside) == text
    }

    /// The keys and values of an object, in the order of the document; nothing for another value.
    pub fn members(self) -> Members<'a> {
        Members(self.inside('{'))
    }

    /// The elements of an array, in the order of the document; nothing for another value.
    pub fn elements(self) -> Elements<'a> {
        Elements(self.inside('['))
    }

    /// A reader of what is behind the opening bracket; at the end for a value that does not begin with it.
    fn inside(self, open: char) -> Reader<'a> {
        let at = if self.0.starts_with(open) { 1 } else { self.0.len() };
        Reader { text: self.0, at }
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether it is an array.
    pub fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    /// Whether it is a number.
    pub fn is_number(self) -> bool {
        self.0.starts_with(|c: char| c == '-' || c.is_ascii_digit())
    }

    /// Whether it is null.
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The text of a string. It is borrowed unless it has escapes; half of a surrogate pair becomes U+FFFD.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(unescape(inside))
    }

    /// A number that is whole and fits.
    pub fn as_i64(self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// A number.
    pub fn as_f64(self) -> Option<f64> {
        self.0.parse().ok().filter(|_| self.is_number())
    }

    /// True or false.
    pub fn as_bool(self) -> Option<bool> {
        self.0.parse().ok()
    }
}

/// The iterator of [`Value::members`].
#[derive(Clone, Debug)]
pub struct Members<'a>(Reader<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.skip()?;
        let value = self.0.skip()?;
        Some((key.as_str()?, value))
    }
}

/// The iterator of [`Value::elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a>(Reader<'a>);

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.0.skip()
    }
}

/// What is left to read. It only ever stands at the border of a character.
#[derive(Clone, Debug)]
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Reads one byte, if it is `c`.
    fn is(&mut self, c: u8) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    /// Reads bytes for as long as they satisfy a condition, and returns whether there were any.
    fn while_(&mut self, condition: impl Fn(u8) -> bool) -> bool {
        let from = self.at;
        while self.peek().map_or(false, &condition) {
            self.at += 1;
        }
        self.at > from
    }

    fn space(&mut self) {
        self.while_(|c| matches!(c, b' ' | b'\n' | b'\r' | b'\t'));
    }

    /// Reads and checks a value.
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        let from = self.at;
        match self.peek()? {
            b'"' => self.string()?,
            b'{' => self.list(depth, b'}', |r| {
                r.string()?;
                r.space();
                r.is(b':').then(|| r.space())
            })?,
            b'[' => self.list(depth, b']', |_| Some(()))?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number()?,
        }
        Some(Value(&self.text[from..self.at]))
    }

    /// Reads what is between brackets; `head` reads what comes before a value.
    fn list(&mut self, depth: usize, close: u8, head: impl Fn(&mut Self) -> Option<()>) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.at += 1;
        self.space();
        if self.is(close) {
            return Some(());
        }
        loop {
            self.space();
            head(self)?;
            self.value(depth)?;
            self.space();
            if !self.is(b',') {
                return self.is(close).then_some(());
            }
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.text[self.at..].starts_with(word);
        found.then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        let digits = |r: &mut Self| r.while_(|c| c.is_ascii_digit()).then_some(());
        self.is(b'-');
        if !self.is(b'0') {
            digits(self)?;
        }
        if self.is(b'.') {
            digits(self)?;
        }
        if self.is(b'e') || self.is(b'E') {
            let _ = self.is(b'+') || self.is(b'-');
            digits(self)?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        if !self.is(b'"') {
            return None;
        }
        loop {
            self.while_(|c| c >= b' ' && c != b'"' && c != b'\\');
            if self.is(b'"') {
                return Some(());
            }
            if !self.is(b'\\') {
                return None; // a control character, or the end
            }
            match self.peek()? {
                b'u' => {
                    self.at += 1;
                    for _ in 0..4 {
                        hex(self.peek()?)?;
                        self.at += 1;
                    }
                }
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                _ => return None,
            }
        }
    }

    /// Reads the next value of a list that is well-formed, over the comma or the colon before it.
    fn skip(&mut self) -> Option<Value<'a>> {
        self.while_(|c| matches!(c, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':'));
        let from = self.at;
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' | b'[' => {
                let mut depth = 0;
                loop {
                    match self.peek()? {
                        b'"' => {
                            self.skip_string();
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                if !self.while_(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'+' | b'.')) {
                    return None; // the closing bracket
                }
            }
        }
        Some(Value(&self.text[from..self.at]))
    }

    fn skip_string(&mut self) {
        self.at += 1;
        loop {
            self.while_(|c| c != b'"' && c != b'\\');
            if !self.is(b'\\') {
                break;
            }
            self.at += 1;
        }
        self.at += 1;
    }
}

/// Replaces the escapes of a string that is well-formed.
fn unescape(text: &str) -> Cow<'_, str> {
    let mut rest = match text.find('\\') {
        Some(at) => text.split_at(at),
        None => return Cow::Borrowed(text),
    };
    let mut out = String::with_capacity(text.len());
    loop {
        out.push_str(rest.0);
        let mut escape = rest.1.chars();
        escape.next(); // the backslash
        out.push(match escape.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => code_point(&mut escape),
            Some(c) => c,
            None => return Cow::Owned(out),
        });
        let behind = escape.as_str();
        rest = behind.split_at(behind.find('\\').unwrap_or(behind.len()));
    }
}

/// Reads what is behind `\u`: one code unit, or the two of a surrogate pair.
fn code_point(escape: &mut std::str::Chars) -> char {
    fn unit(escape: &mut std::str::Chars) -> u32 {
        escape.take(4).fold(0, |code, digit| code << 4 | digit.to_digit(16).unwrap_or(0))
    }
    let code = unit(escape);
    if (0xd800..0xdc00).contains(&code) {
        if let Some(behind) = escape.as_str().strip_prefix("\\u") {
            let mut behind = behind.chars();
            let low = unit(&mut behind);
            if (0xdc00..0xe000).contains(&low) {
                *escape = behind;
                return char::from_u32(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)).unwrap_or('\u{fffd}');
            }
        }
    }
    char::from_u32(code).unwrap_or('\u{fffd}')
}

/// Appends a text as a JSON string, with its quotes.
pub fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0; // where what needs no escape begins
    for (at, c) in text.bytes().enumerate() {
        let escape = match c {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..=0x1f => "\\u00",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        out.push_str(escape);
        if escape.len() > 2 {
            out.push(if c < 0x10 { '0' } else { '1' });
            out.push(b"0123456789abcdef"[usize::from(c & 15)] as char);
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Writes an object into a string, in the order of the calls and without white space.
#[must_use = "an object is closed with end"]
pub struct Object<'a> {
    out: &'a mut String,
    comma: bool,
}

impl<'a> Object<'a> {
    /// Begins an object behind what the string holds.
    pub fn new(out: &'a mut String) -> Object<'a> {
        out.push('{');
        Object { out, comma: false }
    }

    fn key(&mut self, key: &str) -> &mut String {
        if std::mem::replace(&mut self.comma, true) {
            self.out.push(',');
        }
        quote(self.out, key);
        self.out.push(':');
        self.out
    }

    /// Adds a text.
    pub fn text(mut self, key: &str, text: &str) -> Object<'a> {
        quote(self.key(key), text);
        self
    }

    /// Adds a number. One that is not finite becomes null, as in JavaScript.
    pub fn number(mut self, key: &str, number: impl Number) -> Object<'a> {
        number.append(self.key(key));
        self
    }

    /// Adds true or false.
    pub fn boolean(mut self, key: &str, value: bool) -> Object<'a> {
        self.key(key).push_str(if value { "true" } else { "false" });
        self
    }

    /// Adds null.
    pub fn null(mut self, key: &str) -> Object<'a> {
        self.key(key).push_str("null");
        self
    }

    /// Adds a value as its document has it.
    pub fn value(mut self, key: &str, value: Value) -> Object<'a> {
        self.key(key).push_str(value.raw());
        self
    }

    /// Adds an object, whose members a function adds.
    pub fn object(mut self, key: &str, members: impl FnOnce(Object) -> Object) -> Object<'a> {
        members(Object::new(self.key(key))).end();
        self
    }

    /// Adds an array, whose elements a function adds.
    pub fn array(mut self, key: &str, elements: impl FnOnce(Array) -> Array) -> Object<'a> {
        elements(Array::new(self.key(key))).end();
        self
    }

    /// Ends the object.
    pub fn end(self) {
        self.out.push('}');
    }
}

/// Writes an array into a string, in the order of the calls and without white space.
#[must_use = "an array is closed with end"]
pub struct Array<'a> {
    out: &'a mut String,
    comma: bool,
}

impl<'a> Array<'a> {
    /// Begins an array behind what the string holds.
    pub fn new(out: &'a mut String) -> Array<'a> {
        out.push('[');
        Array { out, comma: false }
    }

    fn next(&mut self) -> &mut String {
        if std::mem::replace(&mut self.comma, true) {
            self.out.push(',');
        }
        self.out
    }

    /// Adds a text.
    pub fn text(mut self, text: &str) -> Array<'a> {
        quote(self.next(), text);
        self
    }

    /// Adds a number. One that is not finite becomes null, as in JavaScript.
    pub fn number(mut self, number: impl Number) -> Array<'a> {
        number.append(self.next());
        self
    }

    /// Adds a value as its document has it.
    pub fn value(mut self, value: Value) -> Array<'a> {
        self.next().push_str(value.raw());
        self
    }

    /// Adds an object, whose members a function adds.
    pub fn object(mut self, members: impl FnOnce(Object) -> Object) -> Array<'a> {
        members(Object::new(self.next())).end();
        self
    }

    /// Adds an array, whose elements a function adds.
    pub fn array(mut self, elements: impl FnOnce(Array) -> Array) -> Array<'a> {
        elements(Array::new(self.next())).end();
        self
    }

    /// Ends the array.
    pub fn end(self) {
        self.out.push(']');
    }
}

/// A number that can be written: Rust's own.
pub trait Number: Display + Copy {
    /// Whether JSON has a way to write it.
    #[doc(hidden)]
    fn finite(self) -> bool {
        true
    }

    #[doc(hidden)]
    fn append(self, out: &mut String) {
        if self.finite() {
            let _ = write!(out, "{self}"); // a string takes everything
        } else {
            out.push_str("null");
        }
    }
}

macro_rules! whole {
    ($($number:ty)*) => { $(impl Number for $number {})* };
}
whole!(i8 i16 i32 i64 isize u8 u16 u32 u64 usize);

impl Number for f32 {
    fn finite(self) -> bool {
        self.is_finite()
    }
}

impl Number for f64 {
    fn finite(self) -> bool {
        self.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = String::new();
        quote(&mut out, text);
        out
    }

    #[test]
    fn only_json_is_read() {
        for good in [
            "null",
            " true ",
            "0",
            "-0",
            "-12.5e+3",
            "1E2",
            r#""""#,
            "[]",
            "[ ]",
            "{}",
            "{ }",
            r#"[1,"a",{"b":[null]}]"#,
            r#" { "a" : 1 , "b" : "\"\\\/\b\f\n\r\t\u00e9" } "#,
            "\"\u{7f}é😀\"",
        ] {
            assert!(Value::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            " ",
            "nul",
            "truefalse",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "'a'",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\u{1}\"",
            "[",
            "[1",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "[]]",
            "{}{}",
            "\u{feff}1",
            "é",
        ] {
            assert_eq!(Value::parse(bad), None, "{bad}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Value::parse(&nested(32)).is_some());
        assert!(Value::parse(&nested(33)).is_none());
        assert!(Value::parse(&nested(1_000_000)).is_none());
    }

    #[test]
    fn members_come_in_order_and_the_last_of_a_key_counts() {
        let object = Value::parse(r#" {"a" :1, "b":{"a":[2,"]}"]}, "\u0061":"x\ty" ,"c":[] } "#).unwrap();
        let members: Vec<_> = object.members().map(|(key, value)| (key.into_owned(), value.raw())).collect();
        let want = [("a", "1"), ("b", r#"{"a":[2,"]}"]}"#), ("a", r#""x\ty""#), ("c", "[]")];
        assert_eq!(members, want.map(|(key, raw)| (key.to_string(), raw)));
        assert_eq!(object.get("a").unwrap().as_str().unwrap(), "x\ty");
        assert_eq!(object.get("d"), None);
        assert_eq!(object.elements().count(), 0, "an object has no elements");
        assert_eq!(
            Value::parse("[1, [2] ,null]").unwrap().elements().map(Value::raw).collect::<Vec<_>>(),
            ["1", "[2]", "null"]
        );
    }

    #[test]
    fn a_string_without_escapes_is_borrowed() {
        let value = Value::parse(r#""plain é""#).unwrap();
        assert!(matches!(value.as_str(), Some(Cow::Borrowed("plain é"))));
        for (text, want) in [
            (r#""a\"b\\c\/""#, "a\"b\\c/"),
            (r#""\ud83d\ude00\u00e9""#, "😀é"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ud83dx""#, "\u{fffd}x"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
            (r#""\ude00\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\u0000""#, "\0"),
        ] {
            assert_eq!(Value::parse(text).unwrap().as_str().unwrap(), want, "{text}");
        }
        assert_eq!(Value::parse("1").unwrap().as_str(), None);
    }

    #[test]
    fn numbers_are_read_if_they_fit() {
        let int = |text: &str| Value::parse(text).unwrap().as_i64();
        assert_eq!(int("9223372036854775807"), Some(i64::MAX));
        assert_eq!(int("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(int("9223372036854775808"), None);
        assert_eq!(int("1.5"), None);
        assert_eq!(int("\"1\""), None);
        assert_eq!(Value::parse("-2.5e1").unwrap().as_f64(), Some(-25.0));
        assert_eq!(Value::parse("null").unwrap().as_f64(), None);
        assert_eq!(Value::parse("true").unwrap().as_bool(), Some(true));
        assert!(Value::parse("null").unwrap().is_null());
    }

    #[test]
    fn what_is_written_is_what_javascript_writes() {
        assert_eq!(
            quoted("a\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}é\u{2028}😀"),
            "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\u{7f}é\u{2028}😀\""
        );
        let mut out = String::from("> ");
        Object::new(&mut out)
            .text("type", "x")
            .number("n", -5)
            .number("f", 1.5)
            .number("nan", f64::NAN)
            .boolean("b", true)
            .null("z")
            .value("raw", Value::parse(" [1, 2] ").unwrap())
            .object("o", |o| o.number("a", 1u8))
            .array("list", |a| a.text("q\"").number(2).value(Value::parse("null").unwrap()).object(|o| o))
            .end();
        assert_eq!(
            out,
            r#"> {"type":"x","n":-5,"f":1.5,"nan":null,"b":true,"z":null,"raw":[1, 2],"o":{"a":1},"list":["q\"",2,null,{}]}"#
        );
    }

    #[test]
    fn every_text_survives_writing_and_reading() {
        for start in (0..0x11_0000).step_by(64) {
            let text: String = (start..start + 64).filter_map(char::from_u32).collect();
            let written = quoted(&text);
            assert_eq!(Value::parse(&written).unwrap().as_str().unwrap(), text);
        }
    }
}
