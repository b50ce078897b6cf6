//! The query form: a presigned URL carries the parts as query parameters.

use super::query::{Decoded, Found, Parameter};
use super::refusal::Malformed;
use super::stamp::Stamp;
use super::{ALGORITHM, EXPIRES_S_MAX};

/// The parts of a presigned request, decoded. They borrow from where they were decoded to.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) credential: &'a [u8],
    pub(super) signed_headers: &'a [u8],
    pub(super) signature: &'a [u8],
    pub(super) signed: Stamp,
    pub(super) expires: u32,
    pub(super) token: Option<&'a [u8]>,
}

/// Whether a query carries a signature, or a piece of one.
pub(super) fn is_signed(found: &Found<'_>) -> bool {
    [
        Parameter::Algorithm,
        Parameter::Credential,
        Parameter::Signature,
    ]
    .into_iter()
    .any(|parameter| found.value(parameter).is_some())
}

/// Reads the parts; `decoded` takes them decoded.
pub(super) fn read<'a>(
    found: &Found<'_>,
    decoded: &'a mut Vec<u8>,
) -> Result<Parts<'a>, Malformed> {
    decoded.clear();
    let mut ends = [0; PARTS.len()];
    for (end, parameter) in ends.iter_mut().zip(PARTS) {
        let value = found.value(parameter).unwrap_or_default();
        if value.is_empty() && parameter != Parameter::SecurityToken {
            return Err(Malformed::QueryPart(parameter.name()));
        }
        for byte in Decoded(value.as_bytes()) {
            decoded.push(byte?);
        }
        *end = decoded.len();
    }
    let decoded: &'a [u8] = decoded;
    let mut start = 0;
    let [
        algorithm,
        credential,
        signature,
        date,
        signed_headers,
        expires_text,
        token,
    ] = ends.map(|end| {
        decoded
            .get(std::mem::replace(&mut start, end)..end)
            .unwrap_or_default()
    });
    if algorithm != ALGORITHM.as_bytes() {
        return Err(Malformed::Algorithm);
    }
    Ok(Parts {
        credential,
        signed_headers,
        signature,
        signed: Stamp::parse(date).ok_or(Malformed::Date)?,
        expires: expires(expires_text).ok_or(Malformed::Expires)?,
        token: Some(token).filter(|token| !token.is_empty()),
    })
}

/// A decimal number from 1 to seven days.
fn expires(text: &[u8]) -> Option<u32> {
    if !(1..=6).contains(&text.len()) {
        return None;
    }
    let seconds = text.iter().try_fold(0, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(number * 10 + digit)
    })?;
    (1..=EXPIRES_S_MAX).contains(&seconds).then_some(seconds)
}

/// The parameters of a presigned URL, in the order in which an absent one is complained of.
const PARTS: [Parameter; 7] = [
    Parameter::Algorithm,
    Parameter::Credential,
    Parameter::Signature,
    Parameter::Date,
    Parameter::SignedHeaders,
    Parameter::Expires,
    Parameter::SecurityToken,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_one_second_to_seven_days() {
        for (text, seconds) in [("1", 1), ("299", 299), ("000299", 299), ("604800", 604_800)] {
            assert_eq!(expires(text.as_bytes()), Some(seconds), "{text}");
        }
        for text in [
            "", "0", "604801", "0000299", "-1", "+1", "1.5", "1e3", " 1", "x", "\u{663}",
        ] {
            assert_eq!(expires(text.as_bytes()), None, "{text}");
        }
    }
}
