//! Parses strings and lists of strings in a document. Errors can be skipped.

use crate::policy::{limits::ENTRIES_MAX, rules::Grammar, variable::Allowance};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use std::cell::Cell;
use std::fmt;

pub(crate) struct Reading {
    pub(crate) grammar: Grammar,
    forgiven: Cell<usize>,
    pub(crate) allowance: Allowance,
}

impl Reading {
    pub(crate) const fn new(grammar: Grammar, forgiven: usize, allowance: Allowance) -> Self {
        Self {
            grammar,
            forgiven: Cell::new(forgiven),
            allowance,
        }
    }

    /// Returns the value if the check succeeded. If the check failed and its error is to be skipped, returns `instead`.
    pub(crate) fn or<T, E: Error>(&self, checked: Result<T, String>, instead: T) -> Result<T, E> {
        let rule = match checked {
            Ok(value) => return Ok(value),
            Err(rule) => rule,
        };
        let left = self.forgiven.get().checked_sub(1);
        let left = left.ok_or_else(|| E::custom(rule))?;
        self.forgiven.set(left);
        Ok(instead)
    }

    pub(crate) const fn strings<'a>(&'a self, name: &'a str) -> Scalars<'a> {
        Scalars {
            reading: self,
            name,
            any: false,
        }
    }

    pub(crate) const fn scalars<'a>(&'a self, name: &'a str) -> Scalars<'a> {
        Scalars {
            reading: self,
            name,
            any: true,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Scalars<'a> {
    reading: &'a Reading,
    name: &'a str,
    any: bool,
}

pub(crate) struct ScalarText<'a, F>(pub(crate) Scalars<'a>, pub(crate) F);

pub(crate) struct Texts<'a, F>(pub(crate) Scalars<'a>, pub(crate) F);

impl<'de, F: FnMut(&str) -> Result<(), String>> DeserializeSeed<'de> for ScalarText<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

/// Visitor methods for scalars other than strings. They report an error, which can be skipped, unless any scalar is
/// permitted.
macro_rules! no_strings {
    ($($visit:ident $kind:ty: $unexpected:ident),+) => {
        $(fn $visit<E: Error>(mut self, value: $kind) -> Result<(), E> {
            if self.0.any {
                let taken = (self.1)(&value.to_string());
                return self.0.reading.or(taken, ());
            }
            let found = Unexpected::$unexpected(value);
            let rule = <serde::de::value::Error as Error>::invalid_type(found, &self);
            self.0.reading.or(Err(rule.to_string()), ())
        })+
        fn visit_unit<E: Error>(self) -> Result<(), E> {
            let rule = <serde::de::value::Error as Error>::invalid_type(Unexpected::Other("null"), &self);
            self.0.reading.or(Err(rule.to_string()), ())
        }
    };
}

impl<F: FnMut(&str) -> Result<(), String>> Visitor<'_> for ScalarText<'_, F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: a string", self.0.name)
    }

    no_strings!(visit_bool bool: Bool, visit_u64 u64: Unsigned, visit_i64 i64: Signed, visit_f64 f64: Float);

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        let taken = (self.1)(text);
        self.0.reading.or(taken, ())
    }
}

impl<'de, F: FnMut(&str) -> Result<(), String>> DeserializeSeed<'de> for Texts<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&str) -> Result<(), String>> Visitor<'de> for Texts<'_, F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: a string or a list of strings", self.0.name)
    }

    no_strings!(visit_bool bool: Bool, visit_u64 u64: Unsigned, visit_i64 i64: Signed, visit_f64 f64: Float);

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        let taken = (self.1)(text);
        self.0.reading.or(taken, ())
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<(), S::Error> {
        let mut entries = 0;
        while let Some(()) = list.next_element_seed(ScalarText(self.0, &mut self.1))? {
            entries += 1;
            if entries > ENTRIES_MAX {
                return Err(Error::custom(format!(
                    "{}: expected at most {ENTRIES_MAX} entries",
                    self.0.name
                )));
            }
        }
        let some = if entries == 0 {
            Err(format!(
                "{}: expected a list that is not empty",
                self.0.name
            ))
        } else {
            Ok(())
        };
        self.0.reading.or(some, ())
    }
}
