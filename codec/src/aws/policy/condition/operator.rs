//! Condition operators: their names, and how each compares.
//!
//! Source: IAM User Guide, "IAM JSON policy elements: Condition operators", "Single-valued vs. multivalued context
//! keys".

use crate::aws::policy::condition::literal;
use crate::aws::policy::condition::variable::Place;
use crate::aws::policy::rules::excerpt;
use data_encoding::BASE64;
use std::borrow::Cow;

/// The way in which an operator compares a value of the request with one of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Byte by byte.
    Text,
    /// Without regard to case.
    TextInAnyCase,
    /// With a pattern.
    Pattern,
    /// As a number.
    Number(Order),
    /// As a moment.
    Date(Order),
    /// As yes or no.
    Flag,
    /// With bytes in base64.
    Bytes,
    /// With a network.
    Address,
    /// With an ARN, part by part.
    Arn,
    /// With nothing: whether there is a value.
    Presence,
}

/// The order that the request's value and the policy's must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Equal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Order {
    /// Whether a request's value lies so to a policy's, if that is one.
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

/// The values of a request that have to match, where it has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    /// One has to match.
    None,
    /// `ForAllValues`.
    All,
    /// `ForAnyValue`.
    Any,
}

/// An operator of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    /// Its place in [`OPERATORS`].
    number: u8,
    pub(crate) quantifier: Quantifier,
    /// A request without the key passes.
    pub(crate) if_exists: bool,
}

impl Operator {
    /// Reads an operator with its prefix and suffix, without regard to case.
    ///
    /// # Errors
    /// There is none of this name; the message lists those that there are.
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
            number: u8::try_from(place).unwrap_or(u8::MAX), // there are few
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

    pub(crate) fn comparison(self) -> Comparison {
        let known = OPERATORS.get(usize::from(self.number));
        known.map_or(Comparison::Presence, |(_, comparison, _)| *comparison)
    }

    /// Whether it holds where its comparison does not.
    pub(crate) fn is_negated(self) -> bool {
        OPERATORS
            .get(usize::from(self.number))
            .is_some_and(|(.., negated)| *negated)
    }

    /// The kind of text that a value of the policy is; `None` where it has no variables.
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

    /// Checks a value of the policy.
    ///
    /// # Errors
    /// The values that are allowed.
    pub(crate) fn check(self, text: &str) -> Result<(), String> {
        let (is_valid, rule) = match self.comparison() {
            Comparison::Text | Comparison::TextInAnyCase | Comparison::Pattern => (true, ""),
            Comparison::Number(_) => (
                literal::number(text).is_some(),
                "a number of up to 18 digits, with up to 9 behind a point",
            ),
            Comparison::Date(_) => (
                literal::date(text).is_some(),
                "a date such as 2026-11-22T05:54:46Z, or seconds since 1970",
            ),
            Comparison::Flag | Comparison::Presence => {
                (literal::flag(text).is_some(), "true or false")
            }
            Comparison::Bytes => (BASE64.decode(text.as_bytes()).is_ok(), "base64"),
            Comparison::Address => (
                literal::network(text).is_some(),
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

    /// A value that was checked, as a policy keeps it.
    pub(crate) fn kept(self, text: &str) -> Cow<'_, str> {
        let is_date = matches!(self.comparison(), Comparison::Date(_));
        let short = is_date.then(|| literal::short_date(text)).flatten();
        short.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    pub(crate) fn name(self) -> &'static str {
        let known = OPERATORS.get(usize::from(self.number));
        known.map_or("", |(name, ..)| *name)
    }

    /// The bytes of an operator.
    pub(crate) const fn bytes(self) -> [u8; 2] {
        let quantifier = match self.quantifier {
            Quantifier::None => 0,
            Quantifier::All => 1,
            Quantifier::Any => 2,
        };
        let if_exists = if self.if_exists { 4 } else { 0 };
        [self.number, quantifier | if_exists]
    }

    /// The operator of these bytes; `None` when they are none of [`Self::bytes`].
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

/// Parts of an ARN.
pub(crate) const ARN_PARTS: usize = 6;

const IF_EXISTS: &str = "IfExists";

/// The operators with what they compare, and whether they hold where that does not. Part of sealed session tokens: an
/// operator keeps its place, and another one comes last.
const OPERATORS: &[(&str, Comparison, bool)] = &[
    ("StringEquals", Comparison::Text, false),
    ("StringNotEquals", Comparison::Text, true),
    ("StringEqualsIgnoreCase", Comparison::TextInAnyCase, false),
    ("StringNotEqualsIgnoreCase", Comparison::TextInAnyCase, true),
    ("StringLike", Comparison::Pattern, false),
    ("StringNotLike", Comparison::Pattern, true),
    ("NumericEquals", Comparison::Number(Order::Equal), false),
    ("NumericNotEquals", Comparison::Number(Order::Equal), true),
    ("NumericLessThan", Comparison::Number(Order::Less), false),
    (
        "NumericLessThanEquals",
        Comparison::Number(Order::AtMost),
        false,
    ),
    (
        "NumericGreaterThan",
        Comparison::Number(Order::Greater),
        false,
    ),
    (
        "NumericGreaterThanEquals",
        Comparison::Number(Order::AtLeast),
        false,
    ),
    ("DateEquals", Comparison::Date(Order::Equal), false),
    ("DateNotEquals", Comparison::Date(Order::Equal), true),
    ("DateLessThan", Comparison::Date(Order::Less), false),
    ("DateLessThanEquals", Comparison::Date(Order::AtMost), false),
    ("DateGreaterThan", Comparison::Date(Order::Greater), false),
    (
        "DateGreaterThanEquals",
        Comparison::Date(Order::AtLeast),
        false,
    ),
    ("Bool", Comparison::Flag, false),
    ("BinaryEquals", Comparison::Bytes, false),
    ("IpAddress", Comparison::Address, false),
    ("NotIpAddress", Comparison::Address, true),
    ("ArnEquals", Comparison::Arn, false),
    ("ArnNotEquals", Comparison::Arn, true),
    ("ArnLike", Comparison::Arn, false),
    ("ArnNotLike", Comparison::Arn, true),
    ("Null", Comparison::Presence, false),
];

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn operators_are_read_without_regard_to_case() {
        let operator = Operator::parse("forallvalues:stringnotlikeIFEXISTS").unwrap();
        assert!(operator.is_negated() && operator.if_exists);
        assert_eq!(
            (operator.quantifier, operator.comparison()),
            (Quantifier::All, Comparison::Pattern)
        );
        for text in [
            "",
            "IfExists",
            "StringMatches",
            "ForEach:StringEquals",
            "ForAllValues:",
            "EqualsString",
        ] {
            let error = Operator::parse(text).unwrap_err();
            assert!(
                error.contains("must be one of StringEquals, StringNotEquals"),
                "{error}"
            );
        }
        for text in ["NullIfExists", "ForAnyValue:Null"] {
            assert!(
                Operator::parse(text)
                    .unwrap_err()
                    .contains("Null must be alone")
            );
        }
    }

    /// Sealed session tokens hold the numbers.
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
        for name in [
            "ForAnyValue:StringLike",
            "BoolIfExists",
            "ForAllValues:ArnNotLikeIfExists",
        ] {
            let operator = Operator::parse(name).unwrap();
            assert_eq!(Operator::of_bytes(operator.bytes()), Some(operator));
        }
        for bytes in [[27, 0], [0, 3], [0, 8]] {
            assert_eq!(Operator::of_bytes(bytes), None);
        }
    }
}
