//! One condition of a statement: an operator, a key and values, and whether a request meets it.
//!
//! ```text
//! operator 2 | key | values
//! ```
//! The values are a list, as those of a statement. A condition is met, is not met, or depends on a value that is not
//! known here. Source: IAM User Guide, "Condition operators", "Single-valued vs. multivalued context keys",
//! "Conditions with multiple context keys or values".

mod compare;
pub(crate) mod context;
pub(crate) mod key;
mod literal;
pub(crate) mod operator;
pub(crate) mod variable;
pub(crate) mod work;

use crate::aws::policy::list::List;
use compare::Compared;
use context::Values;
pub use context::{Context, ShortText, VALUE_BYTES_MAX, Value};
pub use key::{Key, KeyName};
use operator::{Comparison, Operator, Quantifier};
use work::{Match, Work};

/// A condition of a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'p> {
    pub(crate) operator: Operator,
    pub(crate) key: Key<'p>,
    /// One at least; they may be empty.
    pub(crate) values: List<'p>,
}

impl<'p> Condition<'p> {
    /// Appends the condition.
    ///
    /// # Errors
    /// Its values are too long.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend(self.operator.bytes());
        self.key.write(out);
        self.values.write(out)
    }

    /// The first condition of these bytes, and what is behind it; `None` when they are none of [`Self::write`].
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

    /// Whether a request meets it.
    pub(crate) fn holds(&self, values: &Values<'_>, work: &mut Work) -> Match {
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

    /// Whether a value of the request is one of the policy's.
    fn matches(&self, value: &Value<'_>, values: &Values<'_>, work: &mut Work) -> Match {
        let mut room = ShortText::new();
        let compared = Compared::new(self.operator.comparison(), value, &mut room);
        Match::any(self.values.entries().map(|entry| {
            work.steps += 1;
            if work.is_over() {
                return Match::Yes; // it decides nothing any more
            }
            compared.matches(entry, values, work)
        }))
    }
}
