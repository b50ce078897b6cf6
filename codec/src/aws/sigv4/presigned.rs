//! The query form: a presigned URL carries the parts as query parameters.

use crate::aws::sigv4::query::{Parameter, ProtocolParameters};
use crate::aws::sigv4::refusal::Malformed;
use crate::aws::sigv4::stamp::Stamp;
use crate::aws::sigv4::{ALGORITHM, EXPIRES_S_MAX};

/// The parts of a presigned request, borrowed from where the query was decoded to.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) credential: &'a [u8],
    pub(crate) signed_headers: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) signed: Stamp,
    pub(crate) expires: u32,
    pub(crate) token: Option<&'a [u8]>,
}

/// Whether a query carries a signature, or a piece of one.
pub(crate) fn is_signed(found: &ProtocolParameters, decoded: &[u8]) -> bool {
    let mut pieces = [
        Parameter::Algorithm,
        Parameter::Credential,
        Parameter::Signature,
    ]
    .into_iter();
    pieces.any(|parameter| found.value(parameter, decoded).is_some())
}

/// Reads the parts out of the decoded query.
pub(crate) fn read<'a>(
    found: &ProtocolParameters,
    decoded: &'a [u8],
) -> Result<Parts<'a>, Malformed> {
    let value = |parameter| {
        found
            .value(parameter, decoded)
            .filter(|value| !value.is_empty())
    };
    let part = |parameter: Parameter| {
        value(parameter).ok_or_else(|| Malformed::QueryPart(parameter.name()))
    };
    if part(Parameter::Algorithm)? != ALGORITHM.as_bytes() {
        return Err(Malformed::Algorithm);
    }
    Ok(Parts {
        credential: part(Parameter::Credential)?,
        signature: part(Parameter::Signature)?,
        signed: Stamp::parse(part(Parameter::Date)?).ok_or(Malformed::Date)?,
        signed_headers: part(Parameter::SignedHeaders)?,
        expires: expires(part(Parameter::Expires)?).ok_or(Malformed::Expires)?,
        token: value(Parameter::SecurityToken),
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
