//! The conditions of a statement, and how a request is evaluated against them. A condition consists of an operator, a
//! key and values.
//!
//! ```text
//! operator 2 | key | values
//! ```
//! The values are encoded as a list, like the resources of a statement. A condition is met, is not met, or depends on
//! an unknown value. Source: IAM User Guide, "Condition operators", "Single-valued vs. multivalued context keys",
//! "Conditions with multiple context keys or values".

pub use crate::policy::context::{Context, Key, KeyName, ShortText, VALUE_BYTES_MAX, Value};
use crate::policy::operator::{self, ARN_PARTS, Comparison, Operator, Quantifier, RequiredOrder};
use crate::policy::pattern::{MANY, ONE, PatternText};
use crate::policy::variable::{self, Expanded, ExpansionRoom, Place, expand, has_markers};
use crate::policy::{context::Values, list::List};
use data_encoding::BASE64;
use std::net::IpAddr;
use std::str;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'p> {
    pub(crate) operator: Operator,
    pub(crate) key: Key<'p>,
    /// The values of the condition. There is at least one value, and a value may be empty.
    pub(crate) values: List<'p>,
}

impl<'p> Condition<'p> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend(self.operator.bytes());
        self.key.write(out);
        self.values.write(out)
    }

    /// Reads a condition. Returns the condition and the remaining bytes, or `None` if the bytes were not written by
    /// [`Self::write`].
    pub(crate) fn read(bytes: &'p [u8]) -> Option<(Self, &'p [u8])> {
        let (&operator, rest) = bytes.split_first_chunk()?;
        let operator = Operator::of_bytes(operator)?;
        let (key, rest) = Key::read(rest)?;
        let (values, rest) = List::read(rest)?;
        let condition = Self {
            operator,
            key,
            values,
        };
        Some((condition, rest))
    }

    pub(crate) fn holds(&self, values: &Values<'_>, work: &mut ConditionWork) -> Match {
        work.steps += 1;
        let first = values.value(self.key, 0);
        if matches!(first, Value::Unknown) {
            return Match::Open;
        }
        let is_absent = matches!(first, Value::Absent);
        let operator = self.operator;
        let negated = operator.is_negated();
        if operator.comparison() == Comparison::Presence {
            let wanted = |value: &[u8]| value.eq_ignore_ascii_case(b"true") == is_absent;
            return self.values.entries().any(wanted).into();
        }
        if is_absent {
            return Match::from(match operator.quantifier {
                Quantifier::None => operator.if_exists || negated,
                Quantifier::All => true,
                Quantifier::Any => operator.if_exists,
            });
        }
        let behind = (1..).map_while(|nth| {
            let value = self
                .key
                .has_several()
                .then(|| values.value(self.key, nth))?;
            (!matches!(value, Value::Absent)).then_some(value)
        });
        let several = std::iter::once(first).chain(behind);
        let matches = several.map(|value| self.matches(&value, values, work));
        match (operator.quantifier, negated) {
            (Quantifier::None, false) | (Quantifier::Any, false) => Match::any(matches),
            (Quantifier::None, true) => Match::any(matches).not(),
            (Quantifier::Any, true) => Match::any(matches.map(Match::not)),
            (Quantifier::All, false) => Match::all(matches),
            (Quantifier::All, true) => Match::all(matches.map(Match::not)),
        }
    }

    fn matches(&self, value: &Value<'_>, values: &Values<'_>, work: &mut ConditionWork) -> Match {
        let mut room = ShortText::new();
        let compared = Compared::new(self.operator.comparison(), value, &mut room);
        Match::any(self.values.entries().map(|entry| {
            work.steps += 1;
            if work.is_over() {
                return Match::Yes; // further values cannot change the result
            }
            compared.matches(entry, values, work)
        }))
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "it is on the stack while one value is compared"
)]
enum Compared<'v> {
    Other,
    Text(&'v str),
    TextInAnyCase(&'v str),
    Pattern(PatternText<'v>),
    Arn(&'v str),
    Number(RequiredOrder, i128),
    Date(RequiredOrder, i128),
    Flag(bool),
    Bytes(&'v str),
    Address(IpAddr),
}

impl<'v> Compared<'v> {
    pub(crate) fn new(
        comparison: Comparison,
        value: &'v Value<'_>,
        room: &'v mut ShortText,
    ) -> Self {
        let or_other = |compared: Option<Self>| compared.unwrap_or(Self::Other);
        match (comparison, value) {
            (Comparison::Number(order), Value::Number(number)) => {
                Self::Number(order, operator::scaled(*number))
            }
            (Comparison::Date(order), Value::Number(seconds) | Value::Date(seconds)) => {
                Self::Date(order, operator::scaled(*seconds))
            }
            (Comparison::Flag, Value::Flag(flag)) => Self::Flag(*flag),
            (Comparison::Address, Value::Address(address)) => Self::Address(*address),
            (comparison, value) => {
                let Some(text) = value.text(room) else {
                    return Self::Other;
                };
                match comparison {
                    Comparison::Text => Self::Text(text),
                    Comparison::TextInAnyCase => Self::TextInAnyCase(text),
                    Comparison::Pattern => Self::Pattern(PatternText::new(text)),
                    Comparison::Arn => Self::Arn(text),
                    Comparison::Bytes => Self::Bytes(text),
                    Comparison::Number(order) => {
                        or_other(operator::number(text).map(|number| Self::Number(order, number)))
                    }
                    Comparison::Date(order) => {
                        or_other(operator::date(text).map(|date| Self::Date(order, date)))
                    }
                    Comparison::Flag => or_other(operator::flag(text).map(Self::Flag)),
                    Comparison::Address => or_other(text.parse().ok().map(Self::Address)),
                    Comparison::Presence => Self::Other,
                }
            }
        }
    }

    pub(crate) fn matches(
        &self,
        entry: &[u8],
        values: &Values<'_>,
        work: &mut ConditionWork,
    ) -> Match {
        let is = |literal: &dyn Fn(&str) -> bool| str::from_utf8(entry).is_ok_and(literal).into();
        match self {
            Self::Other => Match::No,
            Self::Text(text) => with_text(entry, values, work, |entry, _| entry == text.as_bytes()),
            Self::TextInAnyCase(text) => with_text(entry, values, work, |entry, steps| {
                is_same_in_any_case(entry, text, steps)
            }),
            Self::Pattern(text) => with_pattern(entry, text, values, work),
            Self::Arn(text) => with_arn(entry, text, values, work),
            Self::Number(order, number) => {
                is(&|entry| order.holds(*number, operator::number(entry)))
            }
            Self::Date(order, date) => is(&|entry| order.holds(*date, operator::date(entry))),
            Self::Flag(flag) => is(&|entry| operator::flag(entry) == Some(*flag)),
            Self::Bytes(text) => {
                work.steps += text.len().div_ceil(16) as u64;
                is_encoded(text, entry).into()
            }
            Self::Address(address) => is(&|entry| is_in_network(*address, entry)),
        }
    }
}

fn with_text(
    entry: &[u8],
    values: &Values<'_>,
    work: &mut ConditionWork,
    is_same: impl Fn(&[u8], &mut u64) -> bool,
) -> Match {
    if !has_markers(entry) {
        return is_same(entry, &mut work.steps).into();
    }
    let (scratch, steps) = work.scratch();
    match expand(entry, Place::Text, values, scratch, steps) {
        Expanded::Text(entry) => is_same(entry, steps).into(),
        Expanded::TooLong | Expanded::WithoutValue => Match::No,
        Expanded::Unknown => Match::Open,
    }
}

fn with_pattern(
    entry: &[u8],
    text: &PatternText<'_>,
    values: &Values<'_>,
    work: &mut ConditionWork,
) -> Match {
    let counts_characters = !text.is_ascii();
    let steps_max = work.steps_max;
    if !has_markers(entry) {
        if counts_characters && entry.contains(&b'?') {
            let steps = &mut work.steps;
            return by_characters::<b'*', b'?'>(entry, text.bytes(), steps, steps_max).into();
        }
        return text.matches(entry, &mut work.steps).into();
    }
    let (scratch, steps) = work.scratch();
    match expand(entry, Place::Pattern, values, scratch, steps) {
        Expanded::Text(entry) if counts_characters && entry.contains(&ONE) => {
            by_characters::<MANY, ONE>(entry, text.bytes(), steps, steps_max).into()
        }
        Expanded::Text(entry) => text.matches_expanded(entry, steps).into(),
        Expanded::TooLong | Expanded::WithoutValue => Match::No,
        Expanded::Unknown => Match::Open,
    }
}

/// Compares each of an ARN's six parts with the corresponding pattern. The last part may contain colons. A policy value
/// that is `*` or starts with a variable is compared as a plain text pattern.
fn with_arn(entry: &[u8], text: &str, values: &Values<'_>, work: &mut ConditionWork) -> Match {
    if entry == b"*" || variable::is_first(entry) {
        return with_pattern(entry, &PatternText::new(text), values, work);
    }
    let (mut entry, mut text) = (entry, text);
    let mut all = Match::Yes;
    for _ in 1..ARN_PARTS {
        let parts = variable::split_part(entry).zip(text.split_once(':'));
        let Some(((pattern, patterns), (part, parts))) = parts else {
            return Match::No;
        };
        all = all.min(with_pattern(pattern, &PatternText::new(part), values, work));
        if all == Match::No {
            return all;
        }
        (entry, text) = (patterns, parts);
    }
    all.min(with_pattern(entry, &PatternText::new(text), values, work))
}

/// Matches text that contains multi-byte characters against a pattern with single-character wildcards. After a
/// mismatch, tries again from the last [`MANY`], one byte further into the text. Gives up at the work limit.
fn by_characters<const MANY: u8, const ONE: u8>(
    pattern: &[u8],
    text: &[u8],
    steps: &mut u64,
    steps_max: u64,
) -> bool {
    let is_inside = |place: usize| text.get(place).is_some_and(|byte| byte & 0xC0 == 0x80);
    let (mut at, mut place) = (0, 0);
    // The position after the last [`MANY`] in the pattern, and the position in the text where the next attempt starts.
    let mut again = None;
    while *steps <= steps_max {
        *steps += 1;
        match (pattern.get(at), text.get(place)) {
            (Some(wanted), _) if *wanted == MANY => {
                at += 1;
                again = Some((at, place));
                continue;
            }
            (Some(wanted), Some(_)) if *wanted == ONE && !is_inside(place) => {
                at += 1;
                place += 1;
                while is_inside(place) {
                    place += 1;
                }
                continue;
            }
            (Some(wanted), Some(byte)) if wanted == byte => {
                (at, place) = (at + 1, place + 1);
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        let Some((behind, from)) = again.filter(|(_, from)| *from < text.len()) else {
            return false;
        };
        (at, place) = (behind, from + 1);
        again = Some((at, place));
    }
    false
}

fn is_same_in_any_case(entry: &[u8], text: &str, steps: &mut u64) -> bool {
    *steps += entry.len().div_ceil(16) as u64;
    str::from_utf8(entry).is_ok_and(|entry| lower(entry).eq(lower(text)))
}

fn lower(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

fn is_in_network(address: IpAddr, network: &str) -> bool {
    let Some((base, bits)) = operator::network(network) else {
        return false;
    };
    match (base, address.to_canonical()) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let differ = base.to_bits() ^ address.to_bits();
            differ.checked_shr(u32::BITS - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let differ = base.to_bits() ^ address.to_bits();
            differ.checked_shr(u128::BITS - bits).unwrap_or(0) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn is_encoded(text: &str, base64: &[u8]) -> bool {
    let (bytes, encoded) = (text.as_bytes().chunks(3), base64.chunks(4));
    bytes.len() == encoded.len()
        && bytes.zip(encoded).all(|(bytes, encoded)| {
            let mut written = [0; 4];
            BASE64.encode_mut(bytes, &mut written);
            written == encoded
        })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Match {
    No,
    Open,
    Yes,
}

impl From<bool> for Match {
    fn from(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

impl Match {
    pub(crate) const fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Open => Self::Open,
            Self::Yes => Self::No,
        }
    }

    pub(crate) fn any(several: impl IntoIterator<Item = Self>) -> Self {
        let mut best = Self::No;
        for one in several {
            best = best.max(one);
            if best == Self::Yes {
                break;
            }
        }
        best
    }

    pub(crate) fn all(several: impl IntoIterator<Item = Self>) -> Self {
        Self::any(several.into_iter().map(Self::not)).not()
    }
}

/// The work spent on a document's conditions, and a buffer for expanding variables.
pub(crate) struct ConditionWork {
    pub(crate) steps: u64,
    steps_max: u64,
    /// The number of the condition that failed in the last statement. The client id condition has number 0, and all
    /// others are numbered from 1.
    pub(crate) failed: Option<u16>,
    scratch: Option<ExpansionRoom>,
}

impl ConditionWork {
    pub(crate) const fn new(bytes: usize) -> Self {
        Self {
            steps: 0,
            steps_max: STEPS_FREE + bytes as u64 * STEPS_PER_BYTE,
            failed: None,
            scratch: None,
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.steps > self.steps_max
    }

    pub(crate) fn scratch(&mut self) -> (&mut ExpansionRoom, &mut u64) {
        let scratch = self.scratch.get_or_insert([0; size_of::<ExpansionRoom>()]);
        (scratch, &mut self.steps)
    }
}

/// Number of steps that the conditions of any document may take, regardless of its length.
const STEPS_FREE: u64 = 16 * 1024;

/// Number of additional steps permitted per byte of the document.
///
/// Each value of a request is compared with each value of the policy, and a request may have up to 50 tag keys. Without
/// this limit, a document of 2,048 characters could take milliseconds to evaluate. Comparing all 50 keys with ten
/// patterns that have a `*` in the middle takes a third of [`STEPS_FREE`].
const STEPS_PER_BYTE: u64 = 8;

#[cfg(test)]
mod compare_tests {
    use super::*;

    #[test]
    fn addresses_are_compared_with_networks() {
        for (network, address, wanted) in [
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.6", false),
            ("0.0.0.0/0", "9.9.9.9", true),
            ("203.0.113.7/24", "203.0.113.9", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
            ("::/0", "10.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ] {
            let address = address.parse().unwrap();
            let found = is_in_network(address, network);
            assert_eq!(found, wanted, "{network} {address}");
        }
    }

    #[test]
    fn a_wildcard_for_one_character_takes_all_its_bytes() {
        for (pattern, text, wanted) in [
            ("?", "\u{e9}", true),
            ("??", "\u{e9}", false),
            ("*c?", "abc\u{e9}", true),
            ("*b?d", "ab\u{e9}b\u{e9}d", true),
            ("*b?d", "ab\u{e9}b\u{e9}", false),
            ("*\u{e9}?", "\u{e9}\u{e9}\u{e9}", true),
        ] {
            let (pattern, text_bytes) = (pattern.as_bytes(), text.as_bytes());
            let matches = by_characters::<b'*', b'?'>(pattern, text_bytes, &mut 0, 100);
            assert_eq!(matches, wanted, "{text}");
        }
    }

    #[test]
    fn bytes_are_compared_with_base64() {
        for (text, base64, wanted) in [
            ("abc", "YWJj", true),
            ("abcd", "YWJjZA==", true),
            ("", "", true),
            ("abd", "YWJj", false),
            ("abc", "YWJjZA==", false),
        ] {
            assert_eq!(is_encoded(text, base64.as_bytes()), wanted, "{text}");
        }
    }
}
