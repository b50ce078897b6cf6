//! The signed form of a query string, and the parts of the signature in a presigned URL. The signed form consists of
//! sorted pairs, either encoded as AWS prescribes (*strict*) or as received (*raw*). Most queries arrive in strict
//! encoding. In that case, both forms are identical, nothing is copied, and a single verification suffices.

use crate::sigv4::escape::{decode, encode};
use crate::sigv4::header::{Parts, Signed};
use crate::sigv4::{ALGORITHM, QUERY_PARAMETERS_MAX};
use crate::sigv4::{refusal::Malformed, stamp::Stamp};
use memchr::memchr;
use std::cmp::Ordering;

/// The query parameters of the protocol, sorted by name. Names are case-sensitive, except `X-Amz-ChannelARN` and
/// `X-Amz-ClientId`, whose case varies between SDKs.
///
/// Source: AWS, "Authenticating Requests: Using Query Parameters"; KVS WebRTC guide, "ConnectAsViewer".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `X-Amz-Algorithm`.
    Algorithm,
    /// `X-Amz-ChannelARN`.
    ChannelArn,
    /// `X-Amz-ClientId`.
    ClientId,
    /// `X-Amz-Credential`.
    Credential,
    /// `X-Amz-Date`.
    Date,
    /// `X-Amz-Expires`.
    Expires,
    /// `X-Amz-Security-Token`.
    SecurityToken,
    /// `X-Amz-Signature`.
    Signature,
    /// `X-Amz-SignedHeaders`.
    SignedHeaders,
}

impl Parameter {
    /// The number of parameters.
    pub const COUNT: usize = 9;

    /// Returns the name as spelled in the protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Algorithm => "X-Amz-Algorithm",
            Self::ChannelArn => "X-Amz-ChannelARN",
            Self::ClientId => "X-Amz-ClientId",
            Self::Credential => "X-Amz-Credential",
            Self::Date => "X-Amz-Date",
            Self::Expires => "X-Amz-Expires",
            Self::SecurityToken => "X-Amz-Security-Token",
            Self::Signature => "X-Amz-Signature",
            Self::SignedHeaders => "X-Amz-SignedHeaders",
        }
    }

    /// Returns the parameter with this name, which must already be decoded. Returns `None` if the protocol does not
    /// define it.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        let mut any_case = [Self::ChannelArn, Self::ClientId].into_iter();
        Some(match name.strip_prefix(b"X-Amz-").unwrap_or_default() {
            b"Algorithm" => Self::Algorithm,
            b"ChannelARN" => Self::ChannelArn,
            b"ClientId" => Self::ClientId,
            b"Credential" => Self::Credential,
            b"Date" => Self::Date,
            b"Expires" => Self::Expires,
            b"Security-Token" => Self::SecurityToken,
            b"Signature" => Self::Signature,
            b"SignedHeaders" => Self::SignedHeaders,
            _ => return any_case.find(|it| name.eq_ignore_ascii_case(it.name().as_bytes())),
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct QueryPairs {
    pairs: Vec<Pair>,
    is_strict: bool,
    /// The pairs in strict encoding, concatenated. Empty before [`Self::encode`] is called, and if the query arrived in
    /// strict encoding.
    strict: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProtocolParameters {
    /// Ranges of the decoded values. The first occurrence of a duplicated parameter counts.
    values: [Option<(usize, usize)>; Parameter::COUNT],
    pub(crate) twice: Option<Parameter>,
    pub(crate) fault: Option<Malformed>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    raw: PairSpan,
    decoded: PairSpan,
    strict: PairSpan,
    is_signature: bool,
}

#[derive(Clone, Copy, Debug)]
struct PairSpan {
    start: usize,
    name_end: usize,
    value: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Strict,
    Raw,
}

impl ProtocolParameters {
    pub(crate) fn value<'a>(&self, parameter: Parameter, decoded: &'a [u8]) -> Option<&'a [u8]> {
        let (start, end) = self.values.get(parameter as usize).copied().flatten()?;
        decoded.get(start..end)
    }
}

impl QueryPairs {
    /// Splits a query into pairs and writes the decoded names and values to `decoded`. Empty pairs are skipped.
    pub(crate) fn read(&mut self, query: &str, decoded: &mut Vec<u8>) -> ProtocolParameters {
        self.pairs.clear();
        self.strict.clear();
        decoded.clear();
        let query = query.as_bytes();
        let mut found = ProtocolParameters::default();
        self.is_strict = true;
        let mut start = 0;
        while let Some(rest) = query.get(start..).filter(|rest| !rest.is_empty()) {
            let length = memchr(b'&', rest).unwrap_or(rest.len());
            let text = rest.get(..length).unwrap_or_default();
            if self.pairs.len() >= QUERY_PARAMETERS_MAX && !text.is_empty() {
                found.fault = Some(Malformed::TooMany);
                return found;
            }
            if !text.is_empty() {
                let strict = self.take(text, start, &mut found, decoded);
                self.is_strict &= strict.unwrap_or_else(|fault| {
                    found.fault = found.fault.or(Some(fault));
                    false
                });
            }
            start += length + 1;
        }
        found
    }

    fn take(
        &mut self,
        text: &[u8],
        start: usize,
        found: &mut ProtocolParameters,
        decoded: &mut Vec<u8>,
    ) -> Result<bool, Malformed> {
        let equals = memchr(b'=', text);
        let name_end = equals.unwrap_or(text.len());
        let value_start = equals.map_or(text.len(), |equals| equals + 1);
        let (name, value) = (text.get(..name_end), text.get(value_start..));
        let (name, value) = (name.unwrap_or_default(), value.unwrap_or_default());
        let known = Parameter::of(name);
        let decoded_start = decoded.len();
        let name_is_strict = if known.is_some() {
            decoded.extend_from_slice(name);
            true
        } else {
            decode(decoded, name)?
        };
        let decoded_value = decoded.len();
        let value_is_strict = decode(decoded, value)?;
        if let Some(known) = known
            && let Some(slot) = found.values.get_mut(known as usize)
        {
            match slot {
                Some(_) => found.twice = found.twice.or(Some(known)),
                None => *slot = Some((decoded_value, decoded.len())),
            }
        } else if !name_is_strict
            && Parameter::of(
                decoded
                    .get(decoded_start..decoded_value)
                    .unwrap_or_default(),
            )
            .is_some()
        {
            return Err(Malformed::Disguised);
        }
        let raw = PairSpan {
            start,
            name_end: start + name_end,
            value: start + value_start,
            end: start + text.len(),
        };
        self.pairs.push(Pair {
            raw,
            decoded: PairSpan {
                start: decoded_start,
                name_end: decoded_value,
                value: decoded_value,
                end: decoded.len(),
            },
            strict: raw,
            is_signature: known == Some(Parameter::Signature),
        });
        Ok(name_is_strict && value_is_strict && equals.is_some())
    }

    /// Converts every pair to strict encoding, unless the query arrived in it. [`Self::read`] must have succeeded, and
    /// `decoded` must not have changed since then.
    pub(crate) fn encode(&mut self, decoded: &[u8]) {
        if self.is_strict {
            return;
        }
        for pair in &mut self.pairs {
            let start = self.strict.len();
            encode(&mut self.strict, pair.decoded.name(decoded));
            let name_end = self.strict.len();
            self.strict.push(b'=');
            let value = self.strict.len();
            encode(&mut self.strict, pair.decoded.value(decoded));
            let end = self.strict.len();
            pair.strict = PairSpan {
                start,
                name_end,
                value,
                end,
            };
        }
    }

    pub(crate) const fn differs_raw(&self) -> bool {
        !self.is_strict
    }

    /// Appends the canonical query, without the signature. `query` must be the text that was passed to `read` and
    /// `encode`.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        query: &str,
        encoding: Encoding,
        signed_in_query: bool,
    ) {
        let strict = encoding == Encoding::Strict && !self.is_strict;
        let text = if strict {
            self.strict.as_slice()
        } else {
            query.as_bytes()
        };
        let span = |pair: &Pair| if strict { pair.strict } else { pair.raw };
        self.pairs
            .sort_unstable_by(|one, other| span(one).order(span(other), text));
        let mut first = true;
        for pair in &self.pairs {
            if pair.is_signature && signed_in_query {
                continue;
            }
            if !first {
                out.push(b'&');
            }
            first = false;
            out.extend_from_slice(span(pair).of(text));
        }
    }
}

impl PairSpan {
    fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    fn name(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.name_end).unwrap_or_default()
    }

    fn value(self, text: &[u8]) -> &[u8] {
        text.get(self.value..self.end).unwrap_or_default()
    }

    fn order(self, other: Self, text: &[u8]) -> Ordering {
        let names = self.name(text).cmp(other.name(text));
        names.then_with(|| self.value(text).cmp(other.value(text)))
    }
}

pub(crate) fn is_signed(found: &ProtocolParameters, decoded: &[u8]) -> bool {
    let mut pieces = [
        Parameter::Algorithm,
        Parameter::Credential,
        Parameter::Signature,
    ]
    .into_iter();
    pieces.any(|parameter| found.value(parameter, decoded).is_some())
}

pub(crate) fn read<'a>(
    found: &ProtocolParameters,
    decoded: &'a [u8],
    expires_s_max: u32,
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
    let credential = part(Parameter::Credential)?;
    let is_encoded = |three: &[u8]| three.eq_ignore_ascii_case(b"%2f");
    if !credential.contains(&b'/') && credential.windows(3).any(is_encoded) {
        return Err(Malformed::EncodedTwice);
    }
    Ok(Parts {
        credential,
        signature: part(Parameter::Signature)?,
        signed: Stamp::parse(part(Parameter::Date)?).ok_or(Malformed::Date)?,
        signed_headers: part(Parameter::SignedHeaders)?,
        token: found.value(Parameter::SecurityToken, decoded),
        carrier: Signed::Query {
            expires_s: expires(part(Parameter::Expires)?, expires_s_max)
                .ok_or(Malformed::Expires(expires_s_max))?,
        },
    })
}

/// Parses a decimal number from 1 to `most`. Rejects numbers with more digits than `most`, even if they begin with
/// zeros.
fn expires(text: &[u8], most: u32) -> Option<u32> {
    if text.is_empty() || text.len() > most.ilog10() as usize + 1 {
        return None;
    }
    let seconds = text.iter().try_fold(0, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some(number * 10 + digit)
    })?;
    (1..=most).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(query: &str, encoding: Encoding) -> String {
        let mut parsed = QueryPairs::default();
        let mut decoded = Vec::new();
        let found = parsed.read(query, &mut decoded);
        assert_eq!(found.fault, None, "{query}");
        parsed.encode(&decoded);
        let mut out = Vec::new();
        parsed.write(&mut out, query, encoding, true);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn both_forms_are_sorted_by_name_then_value() {
        for (query, strict, raw) in [
            ("", "", ""),
            ("b=2&a=1", "a=1&b=2", "a=1&b=2"),
            ("&&b=2&&a=1&", "a=1&b=2", "a=1&b=2"),
            ("a-b=1&a=2&a=10", "a=10&a=2&a-b=1", "a=10&a=2&a-b=1"),
            ("b&a=:", "a=%3A&b=", "a=:&b"),
            ("a=%3a%7E+*", "a=%3A~%2B%2A", "a=%3a%7E+*"),
            ("z=1&%C3%A9=2&~=3", "%C3%A9=2&z=1&~=3", "%C3%A9=2&z=1&~=3"),
            ("é=1", "%C3%A9=1", "é=1"),
            ("a==&=b", "=b&a=%3D", "=b&a=="),
            ("a=%FF", "a=%FF", "a=%FF"),
            ("a=%252F", "a=%252F", "a=%252F"),
            ("c=3&X-Amz-Signature=ab&a=1", "a=1&c=3", "a=1&c=3"),
        ] {
            assert_eq!(canonical(query, Encoding::Strict), strict, "{query}");
            assert_eq!(canonical(query, Encoding::Raw), raw, "{query}");
            let mut parsed = QueryPairs::default();
            parsed.read(query, &mut Vec::new());
            assert_eq!(parsed.differs_raw(), strict != raw, "{query}");
        }
    }

    #[test]
    fn faults_are_found() {
        for (query, fault) in [
            ("a=%", Malformed::Percent),
            ("a=%4", Malformed::Percent),
            ("%4g=1", Malformed::Percent),
            ("a=1&X-Amz-Client%49d=v", Malformed::Disguised),
            ("x-amz-client%49d=v", Malformed::Disguised),
            ("x-amz-client%49d=v", Malformed::Disguised),
            ("%58-Amz-Date=1", Malformed::Disguised),
            ("X-Amz%2DSecurity%2DToken=1", Malformed::Disguised),
        ] {
            assert_eq!(read(query).fault, Some(fault), "{query}");
        }
        for harmless in ["X-Amz-Other%49=1", "x-amz-d%61te=1", &"%41".repeat(100)] {
            assert_eq!(read(harmless).fault, None, "{harmless}");
        }
        let many = "a&".repeat(QUERY_PARAMETERS_MAX);
        assert_eq!(read(&many).fault, None);
        assert_eq!(read(&format!("{many}a")).fault, Some(Malformed::TooMany));
    }

    #[test]
    fn duplicate_parameters_are_found() {
        let (mut query, mut decoded) = (QueryPairs::default(), Vec::new());
        let found = query.read("X-Amz-Date=%31&X-Amz-Date=2&b&b", &mut decoded);
        assert_eq!(found.twice, Some(Parameter::Date));
        assert_eq!(found.value(Parameter::Date, &decoded), Some(&b"1"[..]));
        assert_eq!(read("x-amz-date=1&X-Amz-Date=2&b&b").twice, None);
        let two_spellings = read("X-Amz-channelARN=1&X-Amz-ChannelARN=2");
        assert_eq!(two_spellings.twice, Some(Parameter::ChannelArn));
        let found = query.read("", &mut decoded);
        assert_eq!(found.value(Parameter::Date, &decoded), None);
    }

    fn read(query: &str) -> ProtocolParameters {
        QueryPairs::default().read(query, &mut Vec::new())
    }

    #[test]
    fn every_parameter_has_its_name() {
        #[rustfmt::skip] // a list
        let all = [
            Parameter::Algorithm, Parameter::ChannelArn, Parameter::ClientId, Parameter::Credential, Parameter::Date,
            Parameter::Expires, Parameter::SecurityToken, Parameter::Signature, Parameter::SignedHeaders,
        ];
        assert_eq!(all.len(), Parameter::COUNT);
        for (place, parameter) in all.into_iter().enumerate() {
            assert_eq!(Parameter::of(parameter.name().as_bytes()), Some(parameter));
            assert_eq!(parameter as usize, place);
        }
    }
}

#[cfg(test)]
mod presigned_tests {
    use super::*;
    use crate::sigv4::{EXPIRES_S_MAX, PLAYER_EXPIRES_S_MAX};

    #[test]
    fn lives_are_one_second_to_seven_days_and_a_year_for_players() {
        for (text, seconds) in [
            ("1", Some(1)),
            ("31536000", Some(31_536_000)),
            ("31536001", None),
        ] {
            assert_eq!(expires(text.as_bytes(), PLAYER_EXPIRES_S_MAX), seconds);
        }
        let expires = |text| expires(text, EXPIRES_S_MAX);
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
