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

    /// Returns the value if the check succeeded. Returns `instead` if the check failed and its error is to be skipped.
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

    /// Returns an error that states `rule`, unless `holds` is set. The error can be skipped.
    pub(crate) fn require<E: Error>(&self, holds: bool, rule: String) -> Result<(), E> {
        self.or(if holds { Ok(()) } else { Err(rule) }, ())
    }

    /// Passes a string to `take`. `name` is the name of the member whose value is read.
    pub(crate) fn string<'a>(&'a self, name: &'a str, take: &'a mut Take<'a>) -> Texts<'a> {
        Texts {
            reading: self,
            name,
            is_list: false,
            any: false,
            take,
        }
    }

    /// Passes a string, or each string of a list, to `take`.
    pub(crate) fn strings<'a>(&'a self, name: &'a str, take: &'a mut Take<'a>) -> Texts<'a> {
        Texts {
            is_list: true,
            ..self.string(name, take)
        }
    }

    /// Passes a string, number or boolean, or each of them in a list, to `take` as text.
    pub(crate) fn scalars<'a>(&'a self, name: &'a str, take: &'a mut Take<'a>) -> Texts<'a> {
        Texts {
            any: true,
            ..self.strings(name, take)
        }
    }
}

/// Checks a text and stores it.
pub(crate) type Take<'a> = dyn FnMut(&str) -> Result<(), String> + 'a;

/// Reads texts, and reports errors that can be skipped.
pub(crate) struct Texts<'a> {
    reading: &'a Reading,
    name: &'a str,
    is_list: bool,
    any: bool,
    take: &'a mut Take<'a>,
}

impl Texts<'_> {
    /// Takes a scalar that is not a string. Reports an error unless any scalar is permitted.
    fn other<E: Error>(self, text: &str, found: Unexpected<'_>) -> Result<(), E> {
        let taken = if self.any {
            (self.take)(text)
        } else {
            let rule = <serde::de::value::Error as Error>::invalid_type(found, &self);
            Err(rule.to_string())
        };
        self.reading.or(taken, ())
    }
}

impl<'de> DeserializeSeed<'de> for Texts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.is_list {
            true => "a string or a list of strings",
            false => "a string",
        };
        write!(out, "{}: {what}", self.name)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.other(&value.to_string(), Unexpected::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.other(&value.to_string(), Unexpected::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.other(&value.to_string(), Unexpected::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.other(&value.to_string(), Unexpected::Float(value))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Texts { any: false, ..self }.other("", Unexpected::Other("null"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.reading.or((self.take)(text), ())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        if !self.is_list {
            return Err(Error::invalid_type(Unexpected::Seq, &self));
        }
        let Self {
            reading,
            name,
            any,
            take,
            ..
        } = self;
        let mut entries = 0;
        while let Some(()) = list.next_element_seed(Texts {
            reading,
            name,
            is_list: false,
            any,
            take: &mut *take,
        })? {
            entries += 1;
            if entries > ENTRIES_MAX {
                return Err(Error::custom(format!(
                    "{name}: expected at most {ENTRIES_MAX} entries"
                )));
            }
        }
        let rule = format!("{name}: expected a list that is not empty");
        reading.require(entries > 0, rule)
    }
}
