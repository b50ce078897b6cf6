//! Splits request bodies of type `application/x-www-form-urlencoded`, and decodes and validates their parameters.
//!
//! Source: WHATWG URL Standard, section 5.1, "application/x-www-form-urlencoded parsing". Unlike the standard, this
//! parser rejects invalid UTF-8 and invalid percent-encoding, since two parsers might disagree about what was signed.

use crate::http::{self, QueryError};
use crate::sts::error::{Error, ErrorKind, shown};
use crate::sts::request::FormRules;
use crate::sts::{DURATION_S_DEFAULT, DURATION_S_MAX, PARAMETERS_MAX, POLICY_CHARS_MAX};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The decoded parameters of a body in their original order. Their names are unique.
pub(crate) struct FormParameters(Vec<(String, String)>);

impl FormParameters {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Error> {
        let body = std::str::from_utf8(body).map_err(|_| malformed("is not UTF-8"))?;
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in http::pairs(body) {
            if parameters.len() == PARAMETERS_MAX {
                return Err(malformed("has more than 256 parameters"));
            }
            parameters.push((decode(name)?, decode(value)?));
        }
        let mut names: Vec<&str> = parameters.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        let mut pairs = names.iter().zip(names.iter().skip(1));
        if let Some((twice, _)) = pairs.find(|(one, next)| one == next) {
            let name = shown(twice);
            return Err(malformed(&format!("gives parameter {name} twice")));
        }
        Ok(Self(parameters))
    }

    /// Removes a list and returns its entries, ordered by number. A list is sent as the parameters
    /// `NAME.member.1.MEMBER`, `NAME.member.2.MEMBER` and so on. Each returned entry contains the values of `members`;
    /// an empty string in `members` means the entry itself. SDKs may send an empty list as a parameter with an empty
    /// value.
    pub(crate) fn take_list<const N: usize>(
        &mut self,
        list: &str,
        members: [&str; N],
    ) -> Vec<[Option<String>; N]> {
        let mut entries: BTreeMap<u16, [Option<String>; N]> = BTreeMap::new();
        self.0.retain_mut(|(name, value)| {
            if name == list && value.is_empty() {
                return false;
            }
            let rest = name.strip_prefix(list);
            let Some(rest) = rest.and_then(|rest| rest.strip_prefix(".member.")) else {
                return true;
            };
            let (number, member) = rest.split_once('.').unwrap_or((rest, ""));
            let is_number = (1..=3).contains(&number.len())
                && !number.starts_with('0')
                && number.bytes().all(|byte| byte.is_ascii_digit());
            let place = members.iter().position(|known| *known == member);
            let (Some(place), Ok(number), true) = (place, number.parse(), is_number) else {
                return true;
            };
            let entry = entries
                .entry(number)
                .or_insert_with(|| std::array::from_fn(|_| None));
            if let Some(room) = entry.get_mut(place) {
                *room = Some(std::mem::take(value));
            }
            false
        });
        entries.into_values().collect()
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(position).1)
    }

    pub(crate) fn left(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Decodes a name or value once. A `+` becomes a space, and `%2B` becomes a plus sign.
fn decode(text: &str) -> Result<String, Error> {
    let text = text.replace('+', " ");
    match http::decode(&text) {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(QueryError::Percent) => Err(malformed("has a malformed percent-encoding")),
        Err(QueryError::Utf8) => Err(malformed("is not UTF-8")),
    }
}

fn malformed(what: &str) -> Error {
    Error::new(
        ErrorKind::InvalidQueryParameter,
        format!("The request body {what}."),
    )
}

/// The characters permitted in a parameter, and the pattern by which the service model describes them.
pub(crate) struct FormLetters {
    pub(crate) more: &'static str,
    pub(crate) pattern: &'static str,
}

/// The characters permitted in names. Source: model, shapes `userNameType`, `roleSessionNameType`,
/// `sourceIdentityType`.
pub(crate) const NAMES: FormLetters = FormLetters {
    more: "+=,.@-",
    pattern: "[\\w+=,.@-]*",
};

/// The characters permitted in external ids: `[\w+=,.@:\/-]*`. Source: model, shape `externalIdType`.
pub(crate) const EXTERNAL_IDS: FormLetters = FormLetters {
    more: "+=,.@:/-",
    pattern: "[\\w+=,.@:\\/-]*",
};

/// Validates the length and characters of a text. `member` is the parameter's name in the service model.
pub(crate) fn checked_text(
    member: &str,
    text: Option<&str>,
    chars: RangeInclusive<usize>,
    letters: &FormLetters,
) -> Result<Box<str>, Error> {
    let Some(text) = text else {
        let value = format!("Value null at '{member}'");
        return Err(invalid(&value, "not be null"));
    };
    let value = format!("Value at '{member}'");
    checked_length(&value, text, chars)?;
    let legal =
        |char: char| char.is_ascii_alphanumeric() || char == '_' || letters.more.contains(char);
    if text.chars().all(legal) {
        return Ok(text.into());
    }
    let broken = format!("satisfy regular expression pattern: {}", letters.pattern);
    Err(invalid(&value, &broken))
}

pub(crate) fn checked_length(
    value: &str,
    text: &str,
    chars: RangeInclusive<usize>,
) -> Result<(), Error> {
    let length = text.chars().count();
    let broken = if length < *chars.start() {
        format!("have length greater than or equal to {}", chars.start())
    } else if length > *chars.end() {
        format!("have length less than or equal to {}", chars.end())
    } else {
        return Ok(());
    };
    Err(invalid(value, &broken))
}

/// Validates `Policy`, which must have 1 to 2,048 characters, each of them a tab, a line break, or U+0020 to U+00FF.
/// Source: model, shape `sessionPolicyDocumentType`.
pub(crate) fn checked_policy(policy: &str) -> Result<Box<str>, Error> {
    checked_length("Value at 'policy'", policy, 1..=POLICY_CHARS_MAX)?;
    let legal = |char: char| matches!(char, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    if policy.chars().all(legal) {
        return Ok(policy.into());
    }
    let broken = "satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+";
    Err(invalid("Value at 'policy'", broken))
}

pub(crate) fn checked_duration(
    duration: Option<&str>,
    rules: &FormRules,
) -> Result<Option<u32>, Error> {
    let Some(text) = duration else {
        return Ok(None);
    };
    let least = if rules.strict {
        DURATION_S_MIN_STRICT
    } else {
        DURATION_S_MIN
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid("Value at 'durationSeconds'", "be a whole number"));
    }
    // A number that has too many digits exceeds every limit.
    let seconds: u32 = text.parse().unwrap_or(u32::MAX);
    let value = format!("Value '{}' at 'durationSeconds'", shown(text));
    let broken = if seconds < least {
        format!("have value greater than or equal to {least}")
    } else if seconds > DURATION_S_MAX {
        format!("have value less than or equal to {DURATION_S_MAX}")
    } else {
        return Ok(Some(seconds));
    };
    Err(invalid(&value, &broken))
}

/// Creates an error for a value that violates a constraint. Uses AWS's wording, since tools search the message for the
/// limit. Reports only one violation.
pub(crate) fn invalid(value: &str, must: &str) -> Error {
    let message = format!(
        "1 validation error detected: {value} failed to satisfy constraint: Member must {must}"
    );
    Error::new(ErrorKind::ValidationError, message)
}

/// Minimum lifetime of a token in seconds. Long enough to set up the credentials by hand.
const DURATION_S_MIN: u32 = 60;

/// Minimum lifetime of a token under strict rules, in seconds. Source: model, shape `durationSecondsType`.
const DURATION_S_MIN_STRICT: u32 = 900;

const _: () = assert!(DURATION_S_MIN < DURATION_S_MIN_STRICT);
const _: () =
    assert!(DURATION_S_MIN_STRICT < DURATION_S_DEFAULT && DURATION_S_DEFAULT < DURATION_S_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Vec<(String, String)>, String> {
        FormParameters::parse(body)
            .map(|form| form.0)
            .map_err(|error| error.message.into_owned())
    }

    #[test]
    fn parameters_are_decoded_once() {
        let pairs = read(b"a=1+2&b=%2B%252B&&%63=%c3%a9=%26&d&=e").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| (&**a, &**b)).collect();
        let expected = [
            ("a", "1 2"),
            ("b", "+%2B"),
            ("c", "é=&"),
            ("d", ""),
            ("", "e"),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(read(b""), Ok(vec![]));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (body, message) in [
            (&b"a=%"[..], "has a malformed percent-encoding."),
            (b"a=%4", "has a malformed percent-encoding."),
            (b"%zz=", "has a malformed percent-encoding."),
            (b"a=%ff", "is not UTF-8."),
            (b"a=\xff", "is not UTF-8."),
            (b"a=1&%61=1", "gives parameter a twice."),
            (b"<=1&<=2", "gives parameter (unprintable) twice."),
        ] {
            let expected = format!("The request body {message}");
            assert_eq!(read(body), Err(expected), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn lists_are_taken_in_their_order() {
        let body = b"T.member.10.K=c&T.member.2.K=b&T.member.2.V=w&T.member.1.V=v&T.member.01.K=x&\
                     T.member.1.X=y&T=1&L=&L.member.1=z&L.member.0=q";
        let mut form = FormParameters::parse(body).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let found = form.take_list("T", ["K", "V"]);
        let wanted = [[None, text("v")], [text("b"), text("w")], [text("c"), None]];
        assert_eq!(found, wanted);
        assert_eq!(form.take_list("L", [""]), [[text("z")]]);
        let left: Vec<_> = form.left().map(|(name, _)| name).collect();
        assert_eq!(left, ["T.member.01.K", "T.member.1.X", "T", "L.member.0"]);
    }

    #[test]
    fn parameters_are_counted() {
        let body = |count: usize| {
            let names: Vec<_> = (0..count).map(|name| format!("{name}=")).collect();
            names.join("&").into_bytes()
        };
        assert_eq!(read(&body(256)).unwrap().len(), 256);
        let error = read(&body(257)).unwrap_err();
        assert_eq!(error, "The request body has more than 256 parameters.");
    }
}
