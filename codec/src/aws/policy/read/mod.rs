//! From JSON text to statements. serde_json reads the text and knows the position; what is allowed there is in
//! `rules.rs`.

mod conditions;
mod principals;
mod scalars;

use crate::aws::policy::action::Actions;
use crate::aws::policy::condition::variable::{Allowance, Place, write_text};
use crate::aws::policy::effect::Effect;
use crate::aws::policy::error::PolicyError;
use crate::aws::policy::limits::STATEMENTS_MAX;
use crate::aws::policy::list::{List, begin_entry};
use crate::aws::policy::rules::{self, DOCUMENT_MEMBERS, Grammar, IGNORED, Members, bounded};
use crate::aws::policy::statement::Statement;
use conditions::{Conditions, Found};
use principals::Principals;
use scalars::{Reading, Text, Texts};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads a document that may have this number of variables, and returns its statements, one behind the other. The first
/// `forgiven` faults are skipped: the statements are then of no use, but the error is the next fault.
pub(crate) fn document(
    text: &str,
    grammar: Grammar,
    variables_max: usize,
    forgiven: usize,
) -> Result<Vec<u8>, PolicyError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let variables = has_variables(text).then_some(variables_max);
    let reading = Reading::new(grammar, forgiven, Allowance::new(variables));
    let statements = (&mut json).deserialize_map(Document(&reading))?;
    json.end()?;
    Ok(statements)
}

/// Whether the document is of a version that has variables, which may stand behind its statements. Not looked for where
/// no text can have one.
fn has_variables(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Versioned<'a> {
        #[serde(borrow, rename = "Version")]
        version: std::borrow::Cow<'a, str>,
    }
    let may_have_one = text.contains("${") || text.contains("\\u");
    let versioned = || serde_json::from_str::<Versioned<'_>>(text).ok();
    may_have_one && versioned().is_some_and(|it| it.version == rules::VERSION_WITH_VARIABLES)
}

/// The document: an object.
struct Document<'a>(&'a Reading);

/// `Statement`: one or a list.
struct Statements<'a>(&'a Reading, &'a mut Vec<u8>);

/// One statement: an object.
struct OneStatement<'a>(&'a Reading, &'a mut Vec<u8>);

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Vec<u8>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a policy document: an object with Statement")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut seen = Members::default();
        let mut statements = Vec::new();
        let string = |name| self.0.strings(name);
        while let Some(name) = map.next_key::<String>()? {
            match self.0.or(seen.note(&name, DOCUMENT_MEMBERS), IGNORED)? {
                IGNORED => drop(map.next_value::<IgnoredAny>()?),
                "Version" => map.next_value_seed(Text(string("Version"), rules::version))?,
                "Id" => map.next_value_seed(Text(string("Id"), |_: &str| Ok(())))?,
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

/// The members of a statement that were read so far. One that is missing or wrong has no value: such a statement is
/// skipped, never used.
#[derive(Default)]
struct Draft {
    effect: Option<Effect>,
    actions: Option<Actions>,
    /// Of a trust document its principals.
    resources: Vec<u8>,
    expands_resources: bool,
    found: Found,
}

impl Draft {
    /// Reads the patterns of actions.
    fn actions<'de, M: MapAccess<'de>>(
        &mut self,
        reading: &Reading,
        name: &str,
        map: &mut M,
    ) -> Result<(), M::Error> {
        map.next_value_seed(Texts(reading.strings(name), |text: &str| {
            let meant = Actions::of_pattern(bounded(text)?)?;
            self.actions = Some(self.actions.unwrap_or_default().union(meant));
            Ok(())
        }))
    }

    /// Reads the patterns of resources.
    fn resources<'de, M: MapAccess<'de>>(
        &mut self,
        reading: &Reading,
        name: &str,
        map: &mut M,
    ) -> Result<(), M::Error> {
        map.next_value_seed(Texts(reading.strings(name), |text: &str| {
            let pattern = rules::resource(text)?;
            if !self.resources.is_empty() {
                begin_entry(&mut self.resources);
            }
            let (out, place) = (&mut self.resources, Place::Resource);
            self.expands_resources |= write_text(out, pattern, place, &reading.allowance)?;
            Ok(())
        }))
    }
}

impl<'de> Visitor<'de> for OneStatement<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a statement: an object with Effect, Action and Resource")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let reading = self.0;
        let (mut seen, mut draft) = (Members::default(), Draft::default());
        while let Some(name) = map.next_key::<String>()? {
            match reading.or(seen.note(&name, reading.grammar.members()), IGNORED)? {
                IGNORED => drop(map.next_value::<IgnoredAny>()?),
                "Sid" => map.next_value_seed(Text(reading.strings("Sid"), |_: &str| Ok(())))?,
                "Effect" => {
                    map.next_value_seed(Text(reading.strings("Effect"), |text: &str| {
                        draft.effect = Some(rules::effect(text)?);
                        Ok(())
                    }))?;
                }
                name @ ("Action" | "NotAction") => draft.actions(reading, name, &mut map)?,
                name @ ("Resource" | "NotResource") => draft.resources(reading, name, &mut map)?,
                "Principal" | "NotPrincipal" => {
                    map.next_value_seed(Principals(reading, &mut draft.resources))?;
                }
                _ => map.next_value_seed(Conditions(reading, &mut draft.found))?, // the one that is left
            }
        }
        reading.or(seen.require_statement(reading.grammar), ())?;
        let actions = draft.actions.unwrap_or_default();
        let statement = Statement {
            effect: draft.effect.unwrap_or(Effect::Deny),
            actions: if seen.has("NotAction") {
                actions.others()
            } else {
                actions
            },
            spares_resources: seen.has("NotResource") || seen.has("NotPrincipal"),
            expands_resources: draft.expands_resources,
            resources: List::new(&draft.resources),
            equals: List::new(&draft.found.equals),
            like: List::new(&draft.found.like),
            conditions: List::new(&draft.found.others),
        };
        if reading.grammar == Grammar::Trust {
            reading.or(statement.check_trust(), ())?;
        }
        statement.write(self.1).map_err(Error::custom)
    }
}
