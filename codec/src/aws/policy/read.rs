//! From JSON text to statements. serde_json reads the text and knows the position; what is allowed there is in
//! `rules.rs`.

use super::action::Actions;
use super::error::PolicyError;
use super::pattern;
use super::rules::{
    self, CLIENT_ID, DOCUMENT_MEMBERS, IGNORED, Members, STATEMENT_MEMBERS, bounded, excerpt,
    free_of_variables,
};
use super::statement::{List, Statement, begin_entry};
use super::{ENTRIES_MAX, Effect, STATEMENTS_MAX};
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};
use std::cell::Cell;
use std::fmt;

/// Reads a document and returns its statements, one behind the other. The first `forgiven` faults are skipped: the
/// statements are then of no use, but the error is the next fault.
pub(super) fn document(text: &str, forgiven: usize) -> Result<Vec<u8>, PolicyError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let forgive = Forgive(Cell::new(forgiven));
    let statements = (&mut json).deserialize_map(Document(&forgive))?;
    json.end()?;
    Ok(statements)
}

/// The number of faults that are still skipped.
struct Forgive(Cell<usize>);

impl Forgive {
    /// Returns the checked value, or `instead` when it is a fault that is skipped.
    fn or<T, E: Error>(&self, checked: Result<T, String>, instead: T) -> Result<T, E> {
        let rule = match checked {
            Ok(value) => return Ok(value),
            Err(rule) => rule,
        };
        let left = self.0.get().checked_sub(1);
        let left = left.ok_or_else(|| E::custom(rule))?;
        self.0.set(left);
        Ok(instead)
    }
}

/// The document: an object.
struct Document<'f>(&'f Forgive);

/// `Statement`: one or a list.
struct Statements<'a>(&'a Forgive, &'a mut Vec<u8>);

/// One statement: an object.
struct OneStatement<'a>(&'a Forgive, &'a mut Vec<u8>);

/// `Condition`: operators, each with the one key.
struct Conditions<'a>(&'a Forgive, &'a mut Values);

/// Values of the operators of a condition.
#[derive(Default)]
struct Values {
    equals: Option<Vec<u8>>,
    like: Option<Vec<u8>>,
}

/// The value of an operator: the key with its values, each of which is passed to a function that appends it to a list.
struct Operator<'f>(&'f Forgive, fn(&mut Vec<u8>, &str));

/// A string that is passed to a function.
struct Text<'a, F>(&'a Forgive, &'a str, F);

/// A string or a list of strings, each of which is passed to a function.
struct Texts<'a, F>(&'a Forgive, &'a str, F);

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Vec<u8>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a policy document: an object with Statement")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut seen = Members::default();
        let mut statements = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            match self.0.or(seen.note(&name, DOCUMENT_MEMBERS), IGNORED)? {
                IGNORED => drop(map.next_value::<IgnoredAny>()?),
                "Version" => map.next_value_seed(Text(self.0, "Version", rules::version))?,
                "Id" => map.next_value_seed(Text(self.0, "Id", |_: &str| Ok(())))?,
                _ => map.next_value_seed(Statements(self.0, &mut statements))?, // the one that is left
            }
        }
        let some = if statements.is_empty() {
            Err("the document needs Statement, with at least one statement".to_owned())
        } else {
            Ok(())
        };
        self.0.or(some, ())?;
        Ok(statements)
    }
}

impl<'de> DeserializeSeed<'de> for Statements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Statements<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Statement: an object or a list of objects")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
        OneStatement(self.0, self.1).visit_map(map)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        let mut statements = 0;
        while let Some(()) = list.next_element_seed(OneStatement(self.0, self.1))? {
            statements += 1;
            if statements > STATEMENTS_MAX {
                return Err(Error::custom(format!(
                    "allowed at most {STATEMENTS_MAX} statements"
                )));
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for OneStatement<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneStatement<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a statement: an object with Effect, Action and Resource")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let forgive = self.0;
        let mut seen = Members::default();
        let (mut effect, mut actions) = (None, None::<Actions>);
        let (mut resources, mut values) = (Vec::new(), Values::default());
        while let Some(name) = map.next_key::<String>()? {
            match forgive.or(seen.note(&name, STATEMENT_MEMBERS), IGNORED)? {
                IGNORED => drop(map.next_value::<IgnoredAny>()?),
                "Sid" => map.next_value_seed(Text(forgive, "Sid", |_: &str| Ok(())))?,
                "Effect" => map.next_value_seed(Text(forgive, "Effect", |text: &str| {
                    effect = Some(rules::effect(text)?);
                    Ok(())
                }))?,
                "Action" => map.next_value_seed(Texts(forgive, "Action", |text: &str| {
                    let meant = Actions::of_pattern(bounded(text)?)?;
                    actions = Some(actions.unwrap_or_default().union(meant));
                    Ok(())
                }))?,
                "Resource" => map.next_value_seed(Texts(forgive, "Resource", |text: &str| {
                    let pattern = rules::resource(text)?;
                    begin_entry(&mut resources);
                    pattern::push(&mut resources, pattern);
                    Ok(())
                }))?,
                _ => map.next_value_seed(Conditions(forgive, &mut values))?, // the one that is left
            }
        }
        forgive.or(seen.require(&["Effect", "Action", "Resource"]), ())?;
        // A missing or wrong element has no value: such a statement is skipped, never used.
        let (effect, actions) = (effect.unwrap_or(Effect::Deny), actions.unwrap_or_default());
        let statement = Statement {
            effect,
            actions,
            resources: List::new(&resources),
            equals: List::new(values.equals.as_deref().unwrap_or_default()),
            like: List::new(values.like.as_deref().unwrap_or_default()),
        };
        statement.write(self.1).map_err(Error::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Conditions<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Conditions<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Condition: an object of operators")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut any = false;
        while let Some(operator) = map.next_key::<String>()? {
            any = true;
            let known = self.0.or(self.1.operator(&operator).map(Some), None)?;
            let Some((values, push)) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            *values = Some(map.next_value_seed(Operator(self.0, push))?);
        }
        let some = if any {
            Ok(())
        } else {
            Err("Condition: allowed StringEquals, StringLike, at least one".to_owned())
        };
        self.0.or(some, ())
    }
}

/// The list for the values of an operator, and the function that appends one.
type Place<'v> = (&'v mut Option<Vec<u8>>, fn(&mut Vec<u8>, &str));

impl Values {
    fn operator(&mut self, name: &str) -> Result<Place<'_>, String> {
        let place: Place<'_> = if name.eq_ignore_ascii_case("StringEquals") {
            (&mut self.equals, |list, value| list.extend(value.bytes()))
        } else if name.eq_ignore_ascii_case("StringLike") {
            (&mut self.like, pattern::push)
        } else {
            return Err(format!(
                "condition operator {}: not evaluated here, allowed StringEquals, StringLike",
                excerpt(name)
            ));
        };
        if place.0.is_some() {
            return Err("Condition: allowed each operator once".into());
        }
        Ok(place)
    }
}

impl<'de> DeserializeSeed<'de> for Operator<'_> {
    type Value = Vec<u8>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Operator<'_> {
    type Value = Vec<u8>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an object with {CLIENT_ID}")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let (mut values, mut keys) = (Vec::new(), 0);
        while let Some(key) = map.next_key::<String>()? {
            keys += 1;
            let known = if !key.eq_ignore_ascii_case(CLIENT_ID) {
                let key = excerpt(&key);
                Err(format!(
                    "condition key {key}: not evaluated here, allowed {CLIENT_ID}"
                ))
            } else if !values.is_empty() {
                Err(format!("condition key {CLIENT_ID}: allowed once"))
            } else {
                Ok(true)
            };
            if !self.0.or(known, false)? {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            map.next_value_seed(Texts(self.0, CLIENT_ID, |text: &str| {
                let value = free_of_variables(bounded(text)?)?;
                begin_entry(&mut values);
                (self.1)(&mut values, value);
                Ok(())
            }))?;
        }
        let some = if keys > 0 {
            Ok(())
        } else {
            Err(format!("the condition operator needs {CLIENT_ID}"))
        };
        self.0.or(some, ())?;
        Ok(values)
    }
}

impl<'de, F: FnMut(&str) -> Result<(), String>> DeserializeSeed<'de> for Text<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

/// Visits of scalars that are not strings: faults that can be skipped like others, since the scalar was read whole.
macro_rules! no_strings {
    ($($visit:ident $kind:ty: $unexpected:ident),+) => {
        $(fn $visit<E: Error>(self, value: $kind) -> Result<(), E> {
            let found = Unexpected::$unexpected(value);
            let rule = <serde::de::value::Error as Error>::invalid_type(found, &self);
            self.0.or(Err(rule.to_string()), ())
        })+
        fn visit_unit<E: Error>(self) -> Result<(), E> {
            let rule = <serde::de::value::Error as Error>::invalid_type(Unexpected::Other("null"), &self);
            self.0.or(Err(rule.to_string()), ())
        }
    };
}

impl<F: FnMut(&str) -> Result<(), String>> Visitor<'_> for Text<'_, F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: a string", self.1)
    }

    no_strings!(visit_bool bool: Bool, visit_u64 u64: Unsigned, visit_i64 i64: Signed, visit_f64 f64: Float);

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        let taken = (self.2)(text);
        self.0.or(taken, ())
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
        write!(out, "{}: a string or a list of strings", self.1)
    }

    no_strings!(visit_bool bool: Bool, visit_u64 u64: Unsigned, visit_i64 i64: Signed, visit_f64 f64: Float);

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        let taken = (self.2)(text);
        self.0.or(taken, ())
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<(), S::Error> {
        let mut entries = 0;
        while let Some(()) = list.next_element_seed(Text(self.0, self.1, &mut self.2))? {
            entries += 1;
            if entries > ENTRIES_MAX {
                return Err(Error::custom(format!(
                    "{}: allowed at most {ENTRIES_MAX} entries",
                    self.1
                )));
            }
        }
        let some = if entries == 0 {
            Err(format!("{}: allowed a list that is not empty", self.1))
        } else {
            Ok(())
        };
        self.0.or(some, ())
    }
}
