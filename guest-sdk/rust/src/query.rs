//! Queries of requests, for handlers that read them into a buffer of their own.

use std::borrow::Cow;

/// Returns the first value of a parameter of a query, decoded; nothing is allocated for one that needs no decoding.
/// Pairs that are badly encoded are skipped.
///
/// ```
/// assert_eq!(weir::query::value("room=1&name=b%C3%B6b+x", "name").as_deref(), Some("böb x"));
/// assert_eq!(weir::query::value("room=1", "name"), None);
/// ```
pub fn value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').filter(|pair| !pair.contains(';')).find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(key, true)? == name).then(|| unescape(value, true))?
    })
}

/// Decodes `%20`, and `+` if `plus` says so; nothing if a per cent sign is not followed by two hexadecimal digits. Bytes
/// that are not UTF-8 become U+FFFD.
pub(crate) fn unescape(text: &str, plus: bool) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|c| c == b'%' || plus && c == b'+') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(c) = bytes.next() {
        decoded.push(match c {
            b'+' if plus => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            _ => c,
        });
    }
    Some(Cow::Owned(match String::from_utf8(decoded) {
        Ok(text) => text,
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    }))
}

pub(crate) fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_the_other_sdks_read_it() {
        for (query, want) in [
            ("name=ann", Some("ann")),
            ("a=b&name=ann+b%C3%A9%21&name=later", Some("ann bé!")),
            ("name=", Some("")),
            ("name", Some("")),
            ("n%61me=x", Some("x")),
            ("names=x&xname=y", None),
            ("", None),
            ("name=100%&x", None),
            ("name=%zz&name=good", Some("good")),
            ("name=a;b&name=c", Some("c")),
            ("name=%ff", Some("\u{fffd}")),
        ] {
            assert_eq!(value(query, "name").as_deref(), want, "{query}");
        }
    }

    #[test]
    fn a_part_of_the_path_keeps_its_plus() {
        assert_eq!(unescape("a+b%20c", false).as_deref(), Some("a+b c"));
        assert_eq!(unescape("a%2", false), None);
    }
}
