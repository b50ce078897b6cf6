//! From JSON text to statements. serde_json reads the text and knows where it stands; what may stand there is said here.

use super::action::Actions;
use super::error::PolicyError;
use super::pattern::Pattern;
use super::statement::{Condition, Statement};
use super::{ENTRIES_MAX, Effect, PATTERN_BYTES_MAX, STATEMENTS_MAX};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads a document.
pub(super) fn document(text: &str) -> Result<Vec<Statement>, PolicyError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let statements = (&mut json).deserialize_map(Document)?;
    json.end()?;
    Ok(statements)
}

/// The document: an object.
struct Document;

/// `Statement`: one or a list.
struct Statements<'a>(&'a mut Vec<Statement>);

/// One statement: an object.
struct OneStatement;

/// `Condition`: operators, each with the one key.
struct Conditions<'a>(&'a mut Vec<Condition>);

/// What an operator holds: the key with its values.
struct Operator;

/// A string that a function takes in.
struct Text<'a, F>(&'a str, F);

/// A string or a list of strings, each of which a function takes in.
struct Texts<'a, F>(&'a str, F);

impl<'de> Visitor<'de> for Document {
    type Value = Vec<Statement>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a policy document: an object with Statement")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut seen = Seen::default();
        let mut statements = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            match seen.note(&name, DOCUMENT_MEMBERS).map_err(Error::custom)? {
                "Version" => map.next_value_seed(Text("Version", |text: &str| match text {
                    "2012-10-17" | "2008-10-17" => Ok(()),
                    _ => Err(format!(
                        "Version {}: allowed \"2012-10-17\", \"2008-10-17\"",
                        excerpt(text)
                    )),
                }))?,
                "Id" => map.next_value_seed(Text("Id", |_: &str| Ok(())))?,
                _ => map.next_value_seed(Statements(&mut statements))?, // the one that is left
            }
        }
        if statements.is_empty() {
            return Err(Error::custom(
                "the document needs Statement, with at least one statement",
            ));
        }
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
        self.0.push(OneStatement.visit_map(map)?);
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<(), S::Error> {
        while let Some(statement) = list.next_element_seed(OneStatement)? {
            if self.0.len() == STATEMENTS_MAX {
                return Err(Error::custom(format!(
                    "allowed at most {STATEMENTS_MAX} statements"
                )));
            }
            self.0.push(statement);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for OneStatement {
    type Value = Statement;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Statement, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneStatement {
    type Value = Statement;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a statement: an object with Effect, Action and Resource")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Statement, M::Error> {
        let mut seen = Seen::default();
        let (mut effect, mut actions) = (None, None::<Actions>);
        let (mut resources, mut conditions) = (Vec::new(), Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            match seen.note(&name, STATEMENT_MEMBERS).map_err(Error::custom)? {
                "Sid" => map.next_value_seed(Text("Sid", |_: &str| Ok(())))?,
                "Effect" => map.next_value_seed(Text("Effect", |text: &str| {
                    effect = Some(read_effect(text)?);
                    Ok(())
                }))?,
                "Action" => map.next_value_seed(Texts("Action", |text: &str| {
                    let meant = Actions::of_pattern(bounded(text)?)?;
                    actions = Some(actions.unwrap_or_default().union(meant));
                    Ok(())
                }))?,
                "Resource" => map.next_value_seed(Texts("Resource", |text: &str| {
                    resources.push(read_resource(text)?);
                    Ok(())
                }))?,
                _ => map.next_value_seed(Conditions(&mut conditions))?, // the one that is left
            }
        }
        let (Some(effect), Some(actions), false) = (effect, actions, resources.is_empty()) else {
            let needed = [
                ("Effect", effect.is_none()),
                ("Action", actions.is_none()),
                ("Resource", resources.is_empty()),
            ];
            let missing = needed.iter().filter(|(_, missing)| *missing);
            let names: Vec<_> = missing.map(|(name, _)| *name).collect();
            return Err(Error::custom(format!(
                "the statement lacks {}",
                names.join(", ")
            )));
        };
        Ok(Statement {
            effect,
            actions,
            resources,
            conditions,
        })
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
        while let Some(operator) = map.next_key::<String>()? {
            let equals = operator.eq_ignore_ascii_case("StringEquals");
            if !equals && !operator.eq_ignore_ascii_case("StringLike") {
                return Err(Error::custom(format!(
                    "condition operator {}: not evaluated here, allowed StringEquals, StringLike",
                    excerpt(&operator)
                )));
            }
            if self.0.iter().any(|other| other.is_equality() == equals) {
                return Err(Error::custom("Condition: allowed each operator once"));
            }
            let values = map.next_value_seed(Operator)?;
            self.0.push(if equals {
                Condition::Equals(values.into_iter().map(String::into_boxed_str).collect())
            } else {
                Condition::Like(values.iter().map(|value| Pattern::new(value)).collect())
            });
        }
        if self.0.is_empty() {
            return Err(Error::custom(
                "Condition: allowed StringEquals, StringLike, at least one",
            ));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Operator {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Operator {
    type Value = Vec<String>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "an object with {CLIENT_ID}")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut values = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if !key.eq_ignore_ascii_case(CLIENT_ID) {
                return Err(Error::custom(format!(
                    "condition key {}: not evaluated here, allowed {CLIENT_ID}",
                    excerpt(&key)
                )));
            }
            if !values.is_empty() {
                return Err(Error::custom(format!(
                    "condition key {CLIENT_ID}: allowed once"
                )));
            }
            map.next_value_seed(Texts(CLIENT_ID, |text: &str| {
                values.push(free_of_variables(bounded(text)?)?.to_owned());
                Ok(())
            }))?;
        }
        if values.is_empty() {
            return Err(Error::custom(format!(
                "the condition operator needs {CLIENT_ID}"
            )));
        }
        Ok(values)
    }
}

impl<'de, F: FnMut(&str) -> Result<(), String>> DeserializeSeed<'de> for Text<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_str(self)
    }
}

impl<F: FnMut(&str) -> Result<(), String>> Visitor<'_> for Text<'_, F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: a string", self.0)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        (self.1)(text).map_err(Error::custom)
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
        write!(out, "{}: a string or a list of strings", self.0)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        (self.1)(text).map_err(Error::custom)
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<(), S::Error> {
        let mut entries = 0;
        while let Some(()) = list.next_element_seed(Text(self.0, &mut self.1))? {
            entries += 1;
            if entries > ENTRIES_MAX {
                return Err(Error::custom(format!(
                    "{}: allowed at most {ENTRIES_MAX} entries",
                    self.0
                )));
            }
        }
        if entries == 0 {
            return Err(Error::custom(format!(
                "{}: allowed a list that is not empty",
                self.0
            )));
        }
        Ok(())
    }
}

/// The members that an object had so far.
#[derive(Default)]
struct Seen(Vec<&'static str>);

impl Seen {
    /// The known member of a name, if it is one and stands there for the first time.
    fn note(&mut self, name: &str, known: &[&'static str]) -> Result<&'static str, String> {
        let Some(&member) = known.iter().find(|member| **member == name) else {
            let why = if UNEVALUATED.contains(&name) {
                "not evaluated here"
            } else {
                "unknown member"
            };
            return Err(format!(
                "{}: {why}, allowed {}",
                excerpt(name),
                known.join(", ")
            ));
        };
        if self.0.contains(&member) {
            return Err(format!("{member}: allowed once"));
        }
        self.0.push(member);
        Ok(member)
    }
}

fn read_effect(text: &str) -> Result<Effect, String> {
    match text {
        "Allow" => Ok(Effect::Allow),
        "Deny" => Ok(Effect::Deny),
        _ => Err(format!(
            "Effect {}: allowed \"Allow\", \"Deny\"",
            excerpt(text)
        )),
    }
}

fn read_resource(text: &str) -> Result<Pattern, String> {
    let text = free_of_variables(bounded(text)?)?;
    if text != "*" && !text.starts_with("arn:") {
        return Err(format!(
            "resource {}: allowed \"*\" or an ARN such as \
             \"arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/*\", with * and ? anywhere",
            excerpt(text)
        ));
    }
    Ok(Pattern::new(text))
}

/// A denial with a variable that nobody fills in would deny nothing, so such a text does not load.
fn free_of_variables(text: &str) -> Result<&str, String> {
    if text.contains("${") {
        return Err(format!(
            "{}: variables are not evaluated here",
            excerpt(text)
        ));
    }
    Ok(text)
}

fn bounded(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.len() > PATTERN_BYTES_MAX {
        return Err(format!(
            "{}: allowed 1 to {PATTERN_BYTES_MAX} bytes",
            excerpt(text)
        ));
    }
    Ok(text)
}

/// A text in quotes, cut off when long.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

const DOCUMENT_MEMBERS: &[&str] = &["Version", "Id", "Statement"];

const STATEMENT_MEMBERS: &[&str] = &["Sid", "Effect", "Action", "Resource", "Condition"];

/// Members that IAM has and that change who may do what, so they are told apart from misspelt ones.
const UNEVALUATED: &[&str] = &["NotAction", "NotResource", "Principal", "NotPrincipal"];

/// The one condition key. Ours: AWS has none for a client id.
const CLIENT_ID: &str = "kinesisvideo:ClientId";

const EXCERPT_CHARS_MAX: usize = 80;
