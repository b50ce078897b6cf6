//! Fuzz entry point for request heads. Checks that no input causes a panic, and that byte-by-byte parsing gives the
//! same result as parsing everything at once.

use crate::http::{Body, Head, HeadError, HeadLimits, HeadScanner, decode, pairs, upgrade};
use crate::ws::valid_key;

/// Parses `data` as a request head, both at once and byte by byte.
///
/// # Panics
/// Panics if the two results differ.
pub fn fuzz(data: &[u8]) {
    let limits = HeadLimits {
        head_bytes: 2048,
        header_lines: 16,
    };
    let whole = HeadScanner::new().end(data, &limits);
    let mut scanner = HeadScanner::new();
    let mut pieces = Ok(None);
    for upto in 0..=data.len() {
        pieces = scanner.end(data.get(..upto).unwrap_or_default(), &limits);
        if pieces != Ok(None) {
            break;
        }
    }
    assert_eq!(
        whole, pieces,
        "the verdict depends on how the bytes arrived"
    );
    let Ok(Some(end)) = whole else { return };
    let head_bytes = data.get(..end).unwrap_or_default();
    let Ok(head) = Head::parse(head_bytes, &limits) else {
        return;
    };
    assert!(head.target().len() < end && head.headers().count() <= limits.header_lines);
    assert!(head.path().starts_with('/') || head.path() == "*");
    let framing = (
        head.header("content-length"),
        head.header("transfer-encoding"),
    );
    match head.body() {
        Ok(Body::Length(bytes)) => assert!(bytes > 0 && framing.1.is_none()),
        Ok(Body::None) => assert!(framing.1.is_none()),
        Err(HeadError::LengthRequired) => assert!(framing.0.is_none()),
        Err(HeadError::Malformed(_)) => assert!(framing.0.is_some()),
        Err(
            error @ (HeadError::TooLarge
            | HeadError::TooManyHeaders
            | HeadError::Proxied
            | HeadError::UnsupportedVersion),
        ) => {
            panic!("{error:?} is no verdict on a body")
        }
    }
    let _ = (
        head.keep_alive(),
        head.expects_continue(),
        upgrade(&head, valid_key),
    );
    for (name, value) in pairs(head.query().unwrap_or_default()) {
        let _ = (decode(name), decode(value));
    }
}
