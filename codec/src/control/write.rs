//! JSON text into a caller's buffer, without white space.

/// Appends `before` (`{` or `,`), the member's name (a literal of ours, nothing to escape) and the colon.
pub(super) fn member(out: &mut Vec<u8>, before: u8, name: &'static str) {
    out.push(before);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a string value, escaped where RFC 8259 section 7 demands it and nowhere else: the C SDK never unescapes.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        let (clean, odd) = rest.split_at(at);
        out.extend_from_slice(clean);
        let Some((&byte, after)) = odd.split_first() else {
            break;
        };
        escape(out, byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends a whole number.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// Appends milliseconds since the epoch as seconds with three decimals, `1767323075.123`: the timestamp form of AWS's
/// JSON protocols, which botocore and the JavaScript SDK read as a number.
pub(super) fn epoch_seconds(out: &mut Vec<u8>, ms: u64) {
    out.extend_from_slice(format!("{}.{:03}", ms / 1000, ms % 1000).as_bytes());
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_have_three_decimals() {
        for (ms, seconds) in [
            (0, "0.000"),
            (7, "0.007"),
            (1_767_323_075_123, "1767323075.123"),
            (1_000, "1.000"),
            (10_050, "10.050"),
        ] {
            assert_eq!(written(|out| epoch_seconds(out, ms)), seconds);
        }
        assert_eq!(
            written(|out| epoch_seconds(out, u64::MAX)),
            "18446744073709551.615"
        );
    }

    proptest! {
        #[test]
        fn any_text_reads_back(any in ".*|[\\x00-\\x7f]*") {
            let json = written(|out| text(out, &any));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), any);
        }
    }
}
