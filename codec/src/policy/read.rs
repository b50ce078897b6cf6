//! Parses policy documents. serde_json parses the text and tracks positions; `policy/rules.rs` defines the permitted
//! members and values.

use crate::policy::PolicyError;
use crate::policy::condition::{Condition, Key, KeyName};
use crate::policy::list::{List, begin_entry};
use crate::policy::operator::{Comparison, Operator, Quantifier};
use crate::policy::rules::{
    self, DOCUMENT_MEMBERS, EVERYBODY, Effect, Grammar, IGNORED, Members, PRINCIPAL_KINDS, bounded,
    excerpt, principal,
};
use crate::policy::scalars::Reading;
use crate::policy::variable::{Allowance, Place, write_text};
use crate::policy::{action::Actions, limits::STATEMENTS_MAX, statement::Statement};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Parses a document with at most `variables_max` variables. Skips the first `forgiven` errors and returns the next
/// one. If any error was skipped, the returned statements must not be used.
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

/// Returns whether the document's version supports variables. This takes a separate pass, because the version may
/// follow the statements.
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

struct Document<'a>(&'a Reading);

struct Statements<'a>(&'a Reading, &'a mut Vec<u8>);

struct OneStatement<'a>(&'a Reading, &'a mut Vec<u8>);

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
                "Version" => map.next_value_seed(self.0.string("Version", &mut rules::version))?,
                "Id" => map.next_value_seed(self.0.string("Id", &mut |_| Ok(())))?,
                _ => map.next_value_seed(Any(Statements(self.0, &mut statements)))?, // the remaining member
            }
        }
        let rule = "the document needs Statement, with at least one statement".to_owned();
        self.0.require(!statements.is_empty(), rule)?;
        Ok(statements)
    }
}

/// Reads a value of any type with a visitor.
struct Any<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Any<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self.0)
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
        while let Some(()) = list.next_element_seed(Any(OneStatement(self.0, self.1)))? {
            statements += 1;
            if statements > STATEMENTS_MAX {
                return Err(Error::custom(format!(
                    "expected at most {STATEMENTS_MAX} statements"
                )));
            }
        }
        Ok(())
    }
}

/// A statement that is being parsed. If members are missing or invalid, the statement is discarded.
#[derive(Default)]
struct PolicyDraft {
    effect: Option<Effect>,
    actions: Option<Actions>,
    resources: Vec<u8>,
    expands_resources: bool,
    found: FoundConditions,
}

impl<'de> Visitor<'de> for OneStatement<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a statement: an object with Effect, Action and Resource")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let reading = self.0;
        let (mut seen, mut draft) = (Members::default(), PolicyDraft::default());
        while let Some(name) = map.next_key::<String>()? {
            match reading.or(seen.note(&name, reading.grammar.members()), IGNORED)? {
                IGNORED => drop(map.next_value::<IgnoredAny>()?),
                "Sid" => map.next_value_seed(reading.string("Sid", &mut |_| Ok(())))?,
                "Effect" => map.next_value_seed(reading.string("Effect", &mut |text| {
                    draft.effect = Some(rules::effect(text)?);
                    Ok(())
                }))?,
                name @ ("Action" | "NotAction") => {
                    map.next_value_seed(reading.strings(name, &mut |text| {
                        let meant = Actions::of_pattern(bounded(text)?)?;
                        draft.actions = Some(draft.actions.unwrap_or_default().union(meant));
                        Ok(())
                    }))?;
                }
                name @ ("Resource" | "NotResource") => {
                    map.next_value_seed(reading.strings(name, &mut |text| {
                        let pattern = rules::resource(text)?;
                        if !draft.resources.is_empty() {
                            begin_entry(&mut draft.resources);
                        }
                        let (out, place) = (&mut draft.resources, Place::Resource);
                        draft.expands_resources |=
                            write_text(out, pattern, place, &reading.allowance)?;
                        Ok(())
                    }))?;
                }
                "Principal" | "NotPrincipal" => {
                    map.next_value_seed(Any(Principals(reading, &mut draft.resources)))?;
                }
                _ => map.next_value_seed(Conditions(reading, &mut draft.found))?, // the remaining member
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

struct Conditions<'a>(pub(crate) &'a Reading, pub(crate) &'a mut FoundConditions);

#[derive(Default)]
struct FoundConditions {
    operators: Vec<Operator>,
    pub(crate) equals: Vec<u8>,
    pub(crate) like: Vec<u8>,
    pub(crate) others: Vec<u8>,
}

struct Keys<'a>(&'a Reading, Operator, &'a mut FoundConditions);

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
        while let Some(name) = map.next_key::<String>()? {
            any = true;
            let known = self.1.operator(&name).map(Some);
            match self.0.or(known, None)? {
                Some(operator) => map.next_value_seed(Keys(self.0, operator, &mut *self.1))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let rule = "Condition: must have an operator such as StringEquals".to_owned();
        self.0.require(any, rule)
    }
}

impl FoundConditions {
    fn operator(&mut self, name: &str) -> Result<Operator, String> {
        let operator = Operator::parse(name)?;
        if self.operators.contains(&operator) {
            return Err("Condition: expected each operator once".into());
        }
        self.operators.push(operator);
        Ok(operator)
    }

    fn add(&mut self, condition: &Condition<'_>, expands: bool) -> Result<(), String> {
        let operator = condition.operator;
        let is_plain = condition.key.name == KeyName::ClientId
            && operator.quantifier == Quantifier::None
            && !operator.if_exists
            && !operator.is_negated()
            && !expands
            && condition.values.entries().all(|value| !value.is_empty());
        let comparison = operator.comparison();
        if is_plain && comparison == Comparison::Text {
            self.equals.extend(condition.values.bytes());
        } else if is_plain && comparison == Comparison::Pattern {
            self.like.extend(condition.values.bytes());
        } else {
            condition.write(&mut self.others)?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: an object of condition keys", self.1.name())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let (mut seen, mut any) = (Vec::<String>::new(), false);
        while let Some(name) = map.next_key::<String>()? {
            any = true;
            let is_again = seen.iter().any(|known| known.eq_ignore_ascii_case(&name));
            let known = match Key::parse(&name) {
                Ok(_) if is_again => Err(format!("condition key {name}: expected once")),
                known => known.map(Some),
            };
            let Some(key) = self.0.or(known, None)? else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (mut values, mut expands, mut is_first) = (Vec::new(), false, true);
            map.next_value_seed(self.0.scalars(&name, &mut |text| {
                let place = self.1.place().unwrap_or(Place::Text);
                let text = if text.is_empty() {
                    text
                } else {
                    bounded(text)?
                };
                self.1.check(text)?;
                let text = &*self.1.kept(text);
                if !std::mem::take(&mut is_first) {
                    begin_entry(&mut values);
                }
                expands |= write_text(&mut values, text, place, &self.0.allowance)?;
                Ok(())
            }))?;
            let condition = Condition {
                operator: self.1,
                key,
                values: List::new(&values),
            };
            self.0.or(self.2.add(&condition, expands), ())?;
            seen.push(name);
        }
        let name = excerpt(self.1.name());
        let rule = format!("condition operator {name}: must have a condition key");
        self.0.require(any, rule)
    }
}

struct Principals<'a>(pub(crate) &'a Reading, pub(crate) &'a mut Vec<u8>);

impl Principals<'_> {
    fn keep(&mut self, entry: &str) {
        if !self.1.is_empty() {
            begin_entry(self.1);
        }
        self.1.extend(entry.bytes());
    }
}

impl<'de> Visitor<'de> for Principals<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Principal: \"*\" or an object with AWS, Service or Federated")
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        if text == "*" {
            self.keep(EVERYBODY);
            return Ok(());
        }
        let rule = format!(
            "Principal {}: expected \"*\" or an object with AWS, Service or Federated",
            excerpt(text)
        );
        self.0.or(Err(rule), ())
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        let mut seen: Vec<&str> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let known = PRINCIPAL_KINDS.iter().copied().find(|kind| **kind == name);
            let rule = || {
                format!(
                    "Principal {}: expected AWS, Service and Federated, each once",
                    excerpt(&name)
                )
            };
            let known = known.filter(|kind| !seen.contains(kind)).ok_or_else(rule);
            let Some(kind) = self.0.or(known.map(Some), None)? else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            seen.push(kind);
            map.next_value_seed(self.0.strings(kind, &mut |text| {
                let entry = principal(kind, text)?;
                self.keep(&entry);
                Ok(())
            }))?;
        }
        let rule = "Principal: must have AWS, Service or Federated".to_owned();
        self.0.require(!seen.is_empty(), rule)
    }
}
