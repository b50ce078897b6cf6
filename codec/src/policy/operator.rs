//! Condition operators: names, comparisons, and parsing of typed values.
//!
//! Source: IAM User Guide, "IAM JSON policy elements: Condition operators", "Single-valued vs. multivalued context
//! keys".

use crate::calendar;
use crate::policy::{rules::excerpt, variable::Place};
use data_encoding::BASE64;
use std::borrow::Cow;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Text,
    TextInAnyCase,
    Pattern,
    Number(RequiredOrder),
    Date(RequiredOrder),
    Flag,
    Bytes,
    Address,
    Arn,
    Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequiredOrder {
    Equal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl RequiredOrder {
    /// Compares `value`, from the request, with `limit`, from the policy. Returns `false` if `limit` is `None`, that
    /// is, if the policy's value is invalid.
    pub(crate) fn holds(self, value: i128, limit: Option<i128>) -> bool {
        let Some(limit) = limit else {
            return false;
        };
        let order = value.cmp(&limit);
        match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    None,
    All,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    number: u8,
    pub(crate) quantifier: Quantifier,
    pub(crate) if_exists: bool,
}

impl Operator {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (quantifier, name) = match text.split_once(':') {
            Some((set, name)) if set.eq_ignore_ascii_case("ForAllValues") => {
                (Quantifier::All, name)
            }
            Some((set, name)) if set.eq_ignore_ascii_case("ForAnyValue") => (Quantifier::Any, name),
            Some(_) | None => (Quantifier::None, text),
        };
        let suffix = name.len().checked_sub(IF_EXISTS.len());
        let suffix = suffix.and_then(|at| name.split_at_checked(at));
        let suffix = suffix.filter(|(_, suffix)| suffix.eq_ignore_ascii_case(IF_EXISTS));
        let name = suffix.map_or(name, |(name, _)| name);
        let place = OPERATORS
            .iter()
            .position(|(known, ..)| known.eq_ignore_ascii_case(name));
        let place = place.ok_or_else(|| {
            let names: Vec<_> = OPERATORS.iter().map(|(name, ..)| *name).collect();
            format!(
                "condition operator {}: unknown, must be one of {}, with {IF_EXISTS} behind it, or ForAllValues: or \
                 ForAnyValue: before it",
                excerpt(text),
                names.join(", ")
            )
        })?;
        let operator = Self {
            number: u8::try_from(place).unwrap_or(u8::MAX), // the table is short
            quantifier,
            if_exists: suffix.is_some(),
        };
        let is_bare = quantifier == Quantifier::None && !operator.if_exists;
        if operator.comparison() == Comparison::Presence && !is_bare {
            let text = excerpt(text);
            return Err(format!("condition operator {text}: Null must be alone"));
        }
        Ok(operator)
    }

    fn row(self) -> (&'static str, Comparison, bool) {
        let row = OPERATORS.get(usize::from(self.number)).copied();
        row.unwrap_or(("", Comparison::Presence, false))
    }

    pub(crate) fn name(self) -> &'static str {
        self.row().0
    }

    pub(crate) fn comparison(self) -> Comparison {
        self.row().1
    }

    pub(crate) fn is_negated(self) -> bool {
        self.row().2
    }

    /// Returns how variables in the policy's value are expanded, or `None` if the operator's values cannot contain
    /// variables.
    pub(crate) fn place(self) -> Option<Place> {
        match self.comparison() {
            Comparison::Text | Comparison::TextInAnyCase => Some(Place::Text),
            Comparison::Pattern | Comparison::Arn => Some(Place::Pattern),
            Comparison::Number(_)
            | Comparison::Date(_)
            | Comparison::Flag
            | Comparison::Bytes
            | Comparison::Address
            | Comparison::Presence => None,
        }
    }

    pub(crate) fn check(self, text: &str) -> Result<(), String> {
        let (is_valid, rule) = match self.comparison() {
            Comparison::Text | Comparison::TextInAnyCase | Comparison::Pattern => (true, ""),
            Comparison::Number(_) => (
                number(text).is_some(),
                "a number of up to 18 digits, with up to 9 behind a point",
            ),
            Comparison::Date(_) => (
                date(text).is_some(),
                "a date such as 2026-11-22T05:54:46Z, or seconds since 1970",
            ),
            Comparison::Flag | Comparison::Presence => (flag(text).is_some(), "true or false"),
            Comparison::Bytes => (BASE64.decode(text.as_bytes()).is_ok(), "base64"),
            Comparison::Address => (
                network(text).is_some(),
                "an address such as 203.0.113.7 or a network such as 203.0.113.0/24 or 2001:db8::/32",
            ),
            Comparison::Arn => (
                text == "*" || text.starts_with("${") || text.split(':').count() >= ARN_PARTS,
                "* or an ARN of six parts, with * and ? anywhere in each",
            ),
        };
        if is_valid {
            return Ok(());
        }
        let (name, text) = (self.name(), excerpt(text));
        Err(format!("value {text} of {name}: must be {rule}"))
    }

    pub(crate) fn kept(self, text: &str) -> Cow<'_, str> {
        let is_date = matches!(self.comparison(), Comparison::Date(_));
        let short = is_date.then(|| short_date(text)).flatten();
        short.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    pub(crate) const fn bytes(self) -> [u8; 2] {
        let quantifier = match self.quantifier {
            Quantifier::None => 0,
            Quantifier::All => 1,
            Quantifier::Any => 2,
        };
        let if_exists = if self.if_exists { 4 } else { 0 };
        [self.number, quantifier | if_exists]
    }

    /// Decodes an operator. Returns `None` if the bytes were not produced by [`Self::bytes`].
    pub(crate) fn of_bytes([number, mode]: [u8; 2]) -> Option<Self> {
        let quantifier = match mode & 3 {
            0 => Quantifier::None,
            1 => Quantifier::All,
            2 => Quantifier::Any,
            _ => return None,
        };
        let is_known = usize::from(number) < OPERATORS.len() && mode < 8;
        let operator = Self {
            number,
            quantifier,
            if_exists: mode & 4 != 0,
        };
        is_known.then_some(operator)
    }
}

pub(crate) const ARN_PARTS: usize = 6;

const IF_EXISTS: &str = "IfExists";

/// The operators, each with its comparison and whether the comparison is negated. Sealed session tokens contain indices
/// into this table, so operators are never reordered or removed; new ones are appended.
const OPERATORS: &[(&str, Comparison, bool)] = {
    use Comparison::{
        Address, Arn, Bytes, Date, Flag, Number, Pattern, Presence, Text, TextInAnyCase,
    };
    use RequiredOrder::{AtLeast, AtMost, Equal, Greater, Less};
    &[
        ("StringEquals", Text, false),
        ("StringNotEquals", Text, true),
        ("StringEqualsIgnoreCase", TextInAnyCase, false),
        ("StringNotEqualsIgnoreCase", TextInAnyCase, true),
        ("StringLike", Pattern, false),
        ("StringNotLike", Pattern, true),
        ("NumericEquals", Number(Equal), false),
        ("NumericNotEquals", Number(Equal), true),
        ("NumericLessThan", Number(Less), false),
        ("NumericLessThanEquals", Number(AtMost), false),
        ("NumericGreaterThan", Number(Greater), false),
        ("NumericGreaterThanEquals", Number(AtLeast), false),
        ("DateEquals", Date(Equal), false),
        ("DateNotEquals", Date(Equal), true),
        ("DateLessThan", Date(Less), false),
        ("DateLessThanEquals", Date(AtMost), false),
        ("DateGreaterThan", Date(Greater), false),
        ("DateGreaterThanEquals", Date(AtLeast), false),
        ("Bool", Flag, false),
        ("BinaryEquals", Bytes, false),
        ("IpAddress", Address, false),
        ("NotIpAddress", Address, true),
        ("ArnEquals", Arn, false),
        ("ArnNotEquals", Arn, true),
        ("ArnLike", Arn, false),
        ("ArnNotLike", Arn, true),
        ("Null", Presence, false),
    ]
};

// Values of typed operators: numbers, dates, booleans and networks. They are parsed once when a policy is loaded, to
// reject invalid values, and again for each comparison. Policies store their text because it is shorter than the parsed
// values.

pub(crate) fn number(text: &str) -> Option<i128> {
    if text.len() <= 18
        && let Some(whole) = digits_of(text)
    {
        return Some(scaled(whole));
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let read = |text: &str| digits_of(text).map(i128::from);
    let scale = 10_i128.pow(9 - u32::try_from(fraction.len()).ok()?);
    let value = read(whole)? * BILLION + read(fraction)? * scale;
    Some(if negative { -value } else { value })
}

pub(crate) fn scaled(number: u64) -> i128 {
    i128::from(number) * BILLION
}

/// Parses a time and returns it in nanoseconds since 1970 UTC. Accepts `2026`, `2026-11`, `2026-11-22`,
/// `2026-11-22T05:54Z`, `2026-11-22T05:54:46Z`, `2026-11-22T05:54:46.5+01:00`, and a number of seconds with at least
/// five digits.
///
/// Source: W3C Note "Date and Time Formats"; IAM User Guide, "Condition operators": *or in epoch (UNIX) time*.
pub(crate) fn date(text: &str) -> Option<i128> {
    let is_number = text.len() > 4
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number {
        return number(text);
    }
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = exact(parts.next()?, 4)?;
    let month = parts.next().map_or(Some(1), |month| exact(month, 2))?;
    let day = parts.next().map_or(Some(1), |day| exact(day, 2))?;
    let days = calendar::days(year, month, day);
    let is_date = parts.next().is_none() && calendar::civil(days) == (year, month, day);
    if !is_date || (time.is_some() && date.len() != 10) {
        return None;
    }
    let seconds = time.map_or(Some(0), self::time)?;
    Some(i128::from(days) * 86_400 * BILLION + seconds)
}

/// Converts a date to a number of seconds since 1970, which is faster to parse. Returns `None` if the number would have
/// a fraction or be longer than the date.
fn short_date(text: &str) -> Option<String> {
    let date = date(text).filter(|date| *date >= 0 && date % BILLION == 0)?;
    let seconds = (date / BILLION).to_string();
    (5..=text.len()).contains(&seconds.len()).then_some(seconds)
}

fn time(text: &str) -> Option<i128> {
    let at = text.find(['Z', 'z', '+', '-'])?;
    let (time, offset) = text.split_at_checked(at)?;
    let mut parts = time.split(':');
    let (hour, minute) = (exact(parts.next()?, 2)?, exact(parts.next()?, 2)?);
    let seconds = parts.next().unwrap_or("00");
    let whole = exact(seconds.get(..2)?, 2)?;
    let is_form = seconds.len() == 2 || seconds.get(2..3) == Some(".") && seconds.len() > 3;
    let is_time = parts.next().is_none() && hour < 24 && minute < 60 && whole < 61 && is_form;
    let seconds = number(seconds).filter(|_| is_time)?;
    let offset_minutes = if offset.eq_ignore_ascii_case("Z") {
        0
    } else {
        let (hours, minutes) = offset.get(1..)?.split_once(':')?;
        let (hours, minutes) = (exact(hours, 2)?, exact(minutes, 2)?);
        let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
        if offset.starts_with('-') {
            -minutes
        } else {
            minutes
        }
    };
    Some(i128::from(hour * 60 + minute - offset_minutes) * 60 * BILLION + seconds)
}

pub(crate) fn flag(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    text.eq_ignore_ascii_case("false").then_some(false)
}

pub(crate) fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) if bits.len() <= 3 => u32::try_from(digits_of(bits)?).ok()?,
        Some(_) => return None,
        None => most,
    };
    if bits > most {
        return None;
    }
    Some((address, bits))
}

fn exact(text: &str, digits: usize) -> Option<i64> {
    let number = digits_of(text).filter(|_| text.len() == digits)?;
    i64::try_from(number).ok()
}

fn digits_of(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

const BILLION: i128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_read_without_regard_to_case() {
        let operator = Operator::parse("forallvalues:stringnotlikeIFEXISTS").unwrap();
        assert!(operator.is_negated() && operator.if_exists);
        let found = (operator.quantifier, operator.comparison());
        assert_eq!(found, (Quantifier::All, Comparison::Pattern));
        #[rustfmt::skip] // a list
        let cases = [
            "", "IfExists", "StringMatches", "ForEach:StringEquals", "ForAllValues:", "EqualsString",
        ];
        for text in cases {
            let error = Operator::parse(text).unwrap_err();
            let fine = error.contains("must be one of StringEquals, StringNotEquals");
            assert!(fine, "{error}");
        }
        for text in ["NullIfExists", "ForAnyValue:Null"] {
            let fine = Operator::parse(text)
                .unwrap_err()
                .contains("Null must be alone");
            assert!(fine);
        }
    }

    /// The numbers are part of sealed session tokens.
    #[test]
    fn operators_keep_their_numbers_and_are_their_bytes() {
        for (name, number) in [
            ("StringEquals", 0),
            ("DateEquals", 12),
            ("IpAddress", 20),
            ("Null", 26),
        ] {
            assert_eq!(Operator::parse(name).unwrap().bytes(), [number, 0]);
        }
        #[rustfmt::skip] // a list
        let cases = ["ForAnyValue:StringLike", "BoolIfExists", "ForAllValues:ArnNotLikeIfExists"];
        for name in cases {
            let operator = Operator::parse(name).unwrap();
            assert_eq!(Operator::of_bytes(operator.bytes()), Some(operator));
        }
        for bytes in [[27, 0], [0, 3], [0, 8]] {
            assert_eq!(Operator::of_bytes(bytes), None);
        }
    }
}

#[cfg(test)]
mod literal_tests {
    use super::*;

    #[test]
    fn numbers_are_exact() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("-12", Some(-12 * BILLION)),
            ("0.5", Some(BILLION / 2)),
            ("1.000000001", Some(BILLION + 1)),
            (
                "999999999999999999",
                Some(999_999_999_999_999_999 * BILLION),
            ),
            ("1000000000000000000", None),
            ("1.0000000001", None),
            ("", None),
            ("-", None),
            ("1.", None),
            (".5", None),
            ("+1", None),
            ("1e3", None),
        ] {
            assert_eq!(number(text), wanted, "{text}");
        }
    }

    #[test]
    fn dates_are_moments() {
        for (text, seconds) in [
            ("1970", Some(0)),
            ("2026-11", Some(1_793_491_200)),
            ("2026-11-22", Some(1_795_305_600)),
            ("2026-11-22T05:54Z", Some(1_795_326_840)),
            ("2026-11-22T05:54:46Z", Some(1_795_326_886)),
            ("2026-11-22t06:54:46+01:00", Some(1_795_326_886)),
            ("2026-11-21T21:54:46-08:00", Some(1_795_326_886)),
            ("1795326886", Some(1_795_326_886)),
            ("2026-11-22T05:54:46", None),
            ("2026-13-01", None),
            ("2026-02-29", None),
            ("2026-11-22T24:00Z", None),
            ("2026-11T05:54Z", None),
            ("2026-11-22T05:54:46.Z", None),
            ("tomorrow", None),
            ("", None),
        ] {
            let wanted = seconds.map(|seconds: i128| seconds * BILLION);
            assert_eq!(date(text), wanted, "{text}");
        }
        let half = date("2026-11-22T05:54:46.5Z").unwrap();
        assert_eq!(half, 1_795_326_886 * BILLION + BILLION / 2);
    }

    #[test]
    fn networks_have_a_valid_length() {
        #[rustfmt::skip] // a list
        let cases = [
            "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0", "x", "", "10.0.0.0/0008",
        ];
        for text in cases {
            assert_eq!(network(text), None, "{text}");
        }
        assert_eq!(network("10.0.0.0/8").unwrap().1, 8);
        assert_eq!(network("::1").unwrap().1, 128);
    }
}
