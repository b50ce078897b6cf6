//! The query string as it is signed: its pairs encoded as AWS prescribes (strict) or as they came (raw), sorted.
//!
//! Most URLs arrive encoded as prescribed. Then strict and raw are the same text, nothing is copied, and there is one
//! attempt to verify.

use super::QUERY_PARAMETERS_MAX;
use super::key::value;
use super::refusal::Malformed;
use memchr::memchr;
use std::cmp::Ordering;

/// The parameters that the protocol knows, in the order of their names. Names are case-sensitive.
///
/// Source: AWS, "Authenticating Requests: Using Query Parameters"; KVS WebRTC guide, "ConnectAsViewer".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Algorithm,
    ChannelArn,
    ClientId,
    Credential,
    Date,
    Expires,
    SecurityToken,
    Signature,
    SignedHeaders,
}

impl Parameter {
    const COUNT: usize = 9;

    pub(super) const fn name(self) -> &'static str {
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

    fn of(name: &[u8]) -> Option<Self> {
        Some(match name.strip_prefix(b"X-Amz-")? {
            b"Algorithm" => Self::Algorithm,
            b"ChannelARN" => Self::ChannelArn,
            b"ClientId" => Self::ClientId,
            b"Credential" => Self::Credential,
            b"Date" => Self::Date,
            b"Expires" => Self::Expires,
            b"Security-Token" => Self::SecurityToken,
            b"Signature" => Self::Signature,
            b"SignedHeaders" => Self::SignedHeaders,
            _ => return None,
        })
    }

    /// The parameter of this name whose encoding hides it from whoever does not decode names.
    fn of_encoded(name: &[u8]) -> Option<Self> {
        if name.len() > 3 * NAME_BYTES_MAX || memchr(b'%', name).is_none() {
            return None;
        }
        let mut decoded = [0; 3 * NAME_BYTES_MAX];
        let mut length = 0;
        for (slot, byte) in decoded.iter_mut().zip(Decoded(name)) {
            *slot = byte.ok()?;
            length += 1;
        }
        Self::of(decoded.get(..length)?)
    }
}

/// The longest name, `X-Amz-Security-Token`, in bytes.
const NAME_BYTES_MAX: usize = 20;

/// The pairs of one request's query. Its memory is used again for the next request.
#[derive(Debug, Default)]
pub(super) struct Query {
    pairs: Vec<Pair>,
    /// The pairs encoded strictly, one behind the other; empty if the query came so.
    strict: Vec<u8>,
}

/// What a query holds besides its pairs in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// The protocol's parameters as they stand, undecoded; the first of each.
    values: [Option<&'a str>; Parameter::COUNT],
    /// The first parameter of the protocol that stands twice.
    pub(super) twice: Option<Parameter>,
    /// What keeps the query from being canonical.
    pub(super) fault: Option<Malformed>,
}

/// One pair in both forms.
#[derive(Clone, Copy, Debug)]
struct Pair {
    raw: Span,
    strict: Span,
    is_signature: bool,
}

/// `name=value` in a text. Without a value, the name's end is the pair's.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    name_end: usize,
    end: usize,
}

/// Which of the two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Strict,
    Raw,
}

impl<'a> Found<'a> {
    /// The value of a parameter, undecoded.
    pub(super) fn value(&self, parameter: Parameter) -> Option<&'a str> {
        self.values.get(parameter as usize).copied().flatten()
    }
}

impl Query {
    /// Takes the pairs of a query in. Empty pairs are left out.
    pub(super) fn read<'a>(&mut self, query: &'a str) -> Found<'a> {
        self.pairs.clear();
        self.strict.clear();
        let mut found = Found {
            values: [None; Parameter::COUNT],
            twice: None,
            fault: None,
        };
        let mut canonical = true;
        let mut start = 0;
        while start < query.len() {
            let rest = query.get(start..).unwrap_or_default();
            let length = memchr(b'&', rest.as_bytes()).unwrap_or(rest.len());
            let text = rest.get(..length).unwrap_or_default();
            if !text.is_empty() {
                canonical &= self.take(text, start, &mut found);
            }
            start += length + 1;
        }
        if !canonical && found.fault.is_none() {
            self.encode(query.as_bytes());
        }
        found
    }

    /// Takes one pair in; says whether it is encoded strictly.
    fn take<'a>(&mut self, text: &'a str, start: usize, found: &mut Found<'a>) -> bool {
        if self.pairs.len() >= QUERY_PARAMETERS_MAX {
            found.fault = Some(Malformed::TooMany);
            return false;
        }
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let known = Parameter::of(name.as_bytes());
        if let Some(known) = known
            && let Some(slot) = found.values.get_mut(known as usize)
        {
            match slot {
                Some(_) => found.twice = found.twice.or(Some(known)),
                None => *slot = Some(value),
            }
        } else if Parameter::of_encoded(name.as_bytes()).is_some() {
            found.fault = found.fault.or(Some(Malformed::Disguised));
        }
        let span = Span {
            start,
            name_end: start + name.len(),
            end: start + text.len(),
        };
        self.pairs.push(Pair {
            raw: span,
            strict: span,
            is_signature: known == Some(Parameter::Signature),
        });
        match (is_strict(name.as_bytes()), is_strict(value.as_bytes())) {
            (Ok(name_is), Ok(value_is)) => name_is && value_is && name.len() < text.len(),
            (Err(fault), _) | (_, Err(fault)) => {
                found.fault = found.fault.or(Some(fault));
                false
            }
        }
    }

    /// Writes every pair in the strict encoding. The query has no fault.
    fn encode(&mut self, query: &[u8]) {
        for pair in &mut self.pairs {
            let start = self.strict.len();
            encode(&mut self.strict, pair.raw.name(query));
            let name_end = self.strict.len();
            self.strict.push(b'=');
            encode(&mut self.strict, pair.raw.value(query));
            pair.strict = Span {
                start,
                name_end,
                end: self.strict.len(),
            };
        }
    }

    /// Whether the raw form is another text than the strict one.
    pub(super) const fn differs_raw(&self) -> bool {
        !self.strict.is_empty()
    }

    /// Appends the canonical query: the pairs sorted by name, then by value, joined by `&`. `query` is the text that was
    /// read. The signature is left out if the query carries it.
    pub(super) fn write(
        &mut self,
        out: &mut Vec<u8>,
        query: &str,
        encoding: Encoding,
        signed_in_query: bool,
    ) {
        let strict = encoding == Encoding::Strict && !self.strict.is_empty();
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

impl Span {
    fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    fn name(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.name_end).unwrap_or_default()
    }

    fn value(self, text: &[u8]) -> &[u8] {
        text.get(self.name_end + 1..self.end).unwrap_or_default()
    }

    fn order(self, other: Self, text: &[u8]) -> Ordering {
        let names = self.name(text).cmp(other.name(text));
        names.then_with(|| self.value(text).cmp(other.value(text)))
    }
}

/// Whether decoding once and encoding again changes nothing.
fn is_strict(text: &[u8]) -> Result<bool, Malformed> {
    let mut strict = true;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if is_unreserved(byte) {
            continue;
        }
        if byte != b'%' {
            strict = false;
            continue;
        }
        let ([high, low], after) = after.split_first_chunk().ok_or(Malformed::Percent)?;
        let (high_digit, low_digit) = (value(*high), value(*low));
        let (Some(high_digit), Some(low_digit)) = (high_digit, low_digit) else {
            return Err(Malformed::Percent);
        };
        strict &= !high.is_ascii_lowercase()
            && !low.is_ascii_lowercase()
            && !is_unreserved(high_digit << 4 | low_digit);
        rest = after;
    }
    Ok(strict)
}

/// Appends a part decoded once and encoded again. It has no malformed escape.
fn encode(out: &mut Vec<u8>, text: &[u8]) {
    for byte in Decoded(text).map_while(Result::ok) {
        push_encoded(out, byte);
    }
}

/// Appends a byte, with `%` and two upper-case digits unless it is unreserved.
///
/// Source: AWS, "Create a signed AWS API request", `UriEncode`.
pub(super) fn push_encoded(out: &mut Vec<u8>, byte: u8) {
    if is_unreserved(byte) {
        out.push(byte);
        return;
    }
    let digit = |number: u8| {
        if number < 10 {
            b'0' + number
        } else {
            b'A' + number - 10
        }
    };
    out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
}

/// The bytes of a percent-encoded text, decoded once; `+` is a plus. Ends behind the first malformed escape.
pub(super) struct Decoded<'a>(pub(super) &'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = Result<u8, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&byte, after) = self.0.split_first()?;
        self.0 = after;
        if byte != b'%' {
            return Some(Ok(byte));
        }
        let decoded = after.split_first_chunk().and_then(|([high, low], after)| {
            self.0 = after;
            Some(value(*high)? << 4 | value(*low)?)
        });
        if decoded.is_none() {
            self.0 = &[];
        }
        Some(decoded.ok_or(Malformed::Percent))
    }
}

/// Whether a byte stands unencoded: `A-Za-z0-9-_.~`.
pub(super) fn is_unreserved(byte: u8) -> bool {
    UNRESERVED
        .get(usize::from(byte))
        .is_some_and(|&unreserved| unreserved)
}

const UNRESERVED: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &mut [bool] = &mut table;
    let mut byte = 0u8;
    while let Some((entry, after)) = rest.split_first_mut() {
        *entry = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        byte = byte.wrapping_add(1);
        rest = after;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(query: &str, encoding: Encoding) -> String {
        let mut parsed = Query::default();
        let found = parsed.read(query);
        assert_eq!(found.fault, None, "{query}");
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
            let mut parsed = Query::default();
            parsed.read(query);
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
            ("%58-Amz-Date=1", Malformed::Disguised),
            ("X-Amz%2DSecurity%2DToken=1", Malformed::Disguised),
        ] {
            assert_eq!(Query::default().read(query).fault, Some(fault), "{query}");
        }
        for harmless in ["X-Amz-Other%49=1", "x-amz-client%49d=1", &"%41".repeat(100)] {
            assert_eq!(Query::default().read(harmless).fault, None, "{harmless}");
        }
        let many = "a&".repeat(QUERY_PARAMETERS_MAX);
        assert_eq!(Query::default().read(&many).fault, None);
        assert_eq!(
            Query::default().read(&format!("{many}a")).fault,
            Some(Malformed::TooMany)
        );
    }

    #[test]
    fn what_stands_twice_is_found_however_it_is_spelled() {
        let mut query = Query::default();
        let found = query.read("X-Amz-Date=1&X-Amz-Date=2&b&b");
        assert_eq!(
            (found.twice, found.value(Parameter::Date)),
            (Some(Parameter::Date), Some("1"))
        );
        assert_eq!(query.read("x-amz-date=1&X-Amz-Date=2&b&b").twice, None);
        assert_eq!(query.read("").value(Parameter::Date), None);
    }

    #[test]
    fn every_parameter_has_its_name() {
        let all = [
            Parameter::Algorithm,
            Parameter::ChannelArn,
            Parameter::ClientId,
            Parameter::Credential,
            Parameter::Date,
            Parameter::Expires,
            Parameter::SecurityToken,
            Parameter::Signature,
            Parameter::SignedHeaders,
        ];
        assert_eq!(all.len(), Parameter::COUNT);
        for (place, parameter) in all.into_iter().enumerate() {
            assert_eq!(Parameter::of(parameter.name().as_bytes()), Some(parameter));
            assert!(parameter as usize == place && parameter.name().len() <= NAME_BYTES_MAX);
        }
    }
}
