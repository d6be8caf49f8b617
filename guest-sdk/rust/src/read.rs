//! Reading results of any length from the host.

use crate::error::{check, Result};

/// Appends what a host function writes to `out`, and returns how long that is. Nothing is allocated when `out` has the
/// capacity, which a caller that keeps its buffer sees to.
pub(crate) fn append(function: &'static str, out: &mut Vec<u8>, read: impl Fn(&mut [u8]) -> i32) -> Result<usize> {
    let start = out.len();
    // A guess, so that most results take one call and none costs the clearing of a large buffer.
    let mut room = (out.capacity() - start).clamp(64, 1024);
    loop {
        out.resize(start + room, 0);
        let result = check(function, read(&mut out[start..]));
        let len = *result.as_ref().unwrap_or(&0) as usize;
        if len <= room {
            out.truncate(start + len);
            return result.map(|_| len);
        }
        room = len;
    }
}

/// Appends text in the same way. What is not UTF-8, as a request may hold, becomes U+FFFD.
pub(crate) fn append_text(function: &'static str, out: &mut String, read: impl Fn(&mut [u8]) -> i32) -> Result<usize> {
    let start = out.len();
    let mut bytes = std::mem::take(out).into_bytes();
    let result = append(function, &mut bytes, read);
    *out = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    };
    result.map(|_| out.len() - start)
}

/// Reads a text into a new string.
pub(crate) fn text(function: &'static str, read: impl Fn(&mut [u8]) -> i32) -> Result<String> {
    let mut text = String::new();
    append_text(function, &mut text, read)?;
    Ok(text)
}
