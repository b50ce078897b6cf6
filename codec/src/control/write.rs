//! Members and numbers of response bodies, appended to a caller's buffer without white space.

/// Appends `before` (`{` or `,`), the member's name (a literal of ours, nothing to escape) and the colon.
pub(crate) fn member(out: &mut Vec<u8>, before: u8, name: &'static str) {
    out.push(before);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a whole number.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// Appends milliseconds since the epoch as seconds with three decimals, `1767323075.123`: the timestamp form of AWS's
/// JSON protocols, which botocore and the JavaScript SDK read as a number.
pub(crate) fn epoch_seconds(out: &mut Vec<u8>, ms: u64) {
    out.extend_from_slice(format!("{}.{:03}", ms / 1000, ms % 1000).as_bytes());
}

#[cfg(test)]
mod tests {

    use super::*;

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
}
