//! Signatures in a request header: `Authorization: AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.

use crate::sigv4::{refusal::Malformed, stamp::Stamp};
use crate::{http::Head, sigv4::ALGORITHM};

/// The parts of a signature.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) credential: &'a [u8],
    pub(crate) signed_headers: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) signed: Stamp,
    pub(crate) token: Option<&'a [u8]>,
    pub(crate) carrier: Signed,
}

/// The part of the request that carries the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    Header,
    Query {
        /// Value of `X-Amz-Expires`, the lifetime in seconds.
        expires_s: u32,
    },
}

pub(crate) fn read<'a>(head: &Head<'a>) -> Result<Option<Parts<'a>>, Malformed> {
    let Some(authorization) = single(head, "Authorization")? else {
        return Ok(None);
    };
    let (scheme, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
    if scheme != ALGORITHM {
        return Err(Malformed::Algorithm);
    }
    let [mut credential, mut signed_headers, mut signature] = [None; 3];
    let parts = rest.split(',').map(|part| part.trim_matches([' ', '\t']));
    for part in parts.filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or(Malformed::HeaderParts)?;
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(Malformed::HeaderParts),
        };
        if slot.replace(value).is_some() {
            return Err(Malformed::HeaderParts);
        }
    }
    let part = |value: Option<&'a str>, name| {
        let value = value.filter(|value| !value.is_empty());
        value.map(str::as_bytes).ok_or(Malformed::HeaderPart(name))
    };
    Ok(Some(Parts {
        credential: part(credential, "Credential")?,
        signed_headers: part(signed_headers, "SignedHeaders")?,
        signature: part(signature, "Signature")?,
        signed: moment(head)?,
        token: single(head, "X-Amz-Security-Token")?.map(str::as_bytes),
        carrier: Signed::Header,
    }))
}

fn moment(head: &Head<'_>) -> Result<Stamp, Malformed> {
    if let Some(date) = single(head, "X-Amz-Date")? {
        return Stamp::parse(date.as_bytes()).ok_or(Malformed::Date);
    }
    let date = single(head, "Date")?.ok_or(Malformed::HeaderDate)?;
    Stamp::parse_date_header(date.as_bytes()).ok_or(Malformed::Date)
}

fn single<'a>(head: &Head<'a>, name: &'static str) -> Result<Option<&'a str>, Malformed> {
    let mut values = head
        .headers()
        .filter(|(found, _)| found.eq_ignore_ascii_case(name));
    let value = values.next().map(|(_, value)| value);
    match values.next() {
        Some(_) => Err(Malformed::HeaderTwice(name)),
        None => Ok(value),
    }
}
