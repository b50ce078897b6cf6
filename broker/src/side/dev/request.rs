//! Parses the bodies and parameters of requests to `/dev`. Errors state the key and its permitted values.

use crate::terminal::nearest;
use broker_core::settings::value::duration;
use broker_core::shard::Glob;
use codec::http::{decode, pairs};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// A JSON object whose keys are removed as they are parsed.
#[derive(Debug)]
pub(crate) struct Body {
    /// Path of the object within the body, such as `do.refuse.`. Empty for the body itself.
    path: String,
    members: Map<String, Value>,
}

impl Body {
    /// Parses a request body, which must be a JSON object. An empty body counts as an empty object. For any other body,
    /// returns an error message for the client.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Ok(Self::of("", Map::new()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => Ok(Self::of("", members)),
            Ok(_) => Err("the body must be a JSON object".into()),
            Err(error) => Err(format!("the body is not JSON: {error}")),
        }
    }

    fn of(path: &str, members: Map<String, Value>) -> Self {
        Self {
            path: path.into(),
            members,
        }
    }

    /// Removes a key and returns its value. Null counts as absent.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.members.remove(key).filter(|value| !value.is_null())
    }

    /// Removes a key and parses its value with `read`. Fails if the value is not a string or if `read` rejects it.
    pub(crate) fn text<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => read(&text)
                .map(Some)
                .map_err(|rule| self.fault(key, &Value::String(text), &rule)),
            Some(other) => {
                // The error for a number or a list states the same rule as the error for an empty string.
                let rule = read("").err().unwrap_or_else(|| "must be a text".into());
                Err(self.fault(key, &other, &rule))
            }
        }
    }

    /// Removes a key and returns its value as a time span in milliseconds. Fails if the value is not a time span or is
    /// out of range.
    pub(crate) fn span(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, String> {
        self.text(key, |text| duration(text, range))
    }

    /// Removes a key and returns its value as an integer. Fails if the value is not an integer or is out of range.
    pub(crate) fn number(
        &mut self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, String> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let number = value.as_u64().filter(|number| range.contains(number));
        let rule = || format!("expected {} to {}", range.start(), range.end());
        number
            .map(Some)
            .ok_or_else(|| self.fault(key, &value, &rule()))
    }

    /// Removes a key and returns its value as an object, or an empty object if the key is absent. Fails if the value is
    /// not an object.
    pub(crate) fn object(&mut self, key: &str) -> Result<Self, String> {
        let path = format!("{}{key}.", self.path);
        match self.take(key) {
            None => Ok(Self::of(&path, Map::new())),
            Some(Value::Object(members)) => Ok(Self::of(&path, members)),
            Some(other) => Err(self.fault(key, &other, "must be an object")),
        }
    }

    /// Removes a key whose value is a choice, written either as a name or as an object whose only key is that name.
    /// Returns the name, and the value of the object's key as a body. If that value is not an object, the body contains
    /// it under the key "". Fails if there is no choice or more than one.
    pub(crate) fn choice(&mut self, key: &str, allowed: &str) -> Result<(String, Self), String> {
        let one = match self.take(key) {
            None => return Err(format!("{}{key}: missing; expected {allowed}", self.path)),
            Some(Value::String(name)) => Some((name, Value::Null)),
            Some(Value::Object(members)) if members.len() == 1 => members.into_iter().next(),
            Some(_) => None,
        };
        let Some((name, value)) = one else {
            return Err(format!("{}{key}: expected one of {allowed}", self.path));
        };
        let name = excerpt(&name);
        let path = format!("{}{key}.{name}", self.path);
        let body = match value {
            Value::Null | Value::Bool(true) => Self::of(&format!("{path}."), Map::new()),
            Value::Object(members) => Self::of(&format!("{path}."), members),
            other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Self::of(&path, Map::from_iter([(String::new(), other)]))
            }
        };
        Ok((name, body))
    }

    /// Checks that all keys have been removed. The error states the first unknown key and the permitted keys.
    pub(crate) fn end(self, allowed: &str) -> Result<(), String> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(key) => {
                let nearest = nearest(key, &allowed.split(", ").collect::<Vec<_>>());
                let key = excerpt(key);
                Err(format!(
                    "{}{key}: unknown key; expected {allowed}{nearest}",
                    self.path
                ))
            }
        }
    }

    pub(crate) fn fault(&self, key: &str, value: &Value, rule: &str) -> String {
        let shown = excerpt(&value.to_string());
        format!("{}{key} = {shown}: {rule}", self.path)
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS_MAX).collect()
}

const EXCERPT_CHARS_MAX: usize = 80;

// Parameters of requests to `/dev`.

#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses a query. If the query is invalid or has a parameter that is not in `allowed`, returns an error message
    /// for the client.
    pub(crate) fn parse(query: Option<&str>, allowed: &[&str]) -> Result<Self, String> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs(query.unwrap_or_default()) {
            let bad = |_| "the query is not percent-encoded UTF-8".to_owned();
            let (name, value) = (decode(name).map_err(bad)?, decode(value).map_err(bad)?);
            if !allowed.contains(&&*name) {
                let nearest = nearest(&name, allowed);
                let name = excerpt(&name);
                let allowed = allowed.join(", ");
                return Err(format!(
                    "{name}: unknown parameter; expected {allowed}{nearest}"
                ));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(format!("{name}: expected once"));
            }
            found.push((name.into(), value.into()));
        }
        Ok(Self(found))
    }

    /// Returns the value of a parameter. An empty value counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn glob(&self, name: &str) -> Option<Glob> {
        self.text(name).map(Glob::new)
    }

    /// Parses a parameter as an integer. Fails if it is not an integer or is out of range.
    pub(crate) fn number<T: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let rule = || format!("{name}: expected {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(rule)
    }

    /// Parses the `wait` parameter, which defaults to zero. Fails if the value is not a time span or exceeds
    /// [`WAIT_MAX`].
    pub(crate) fn wait(&self) -> Result<Duration, String> {
        let most = u64::try_from(WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
        let ms = self.text("wait").map(|text| duration(text, 0..=most));
        let ms = ms.transpose().map_err(|rule| format!("wait: {rule}"))?;
        Ok(Duration::from_millis(ms.unwrap_or_default()))
    }
}

/// Maximum time that a request may wait, a few seconds less than the deadline of a connection.
const WAIT_MAX: Duration = Duration::from_secs(25);

// Suggestions for misspelled names.

/// Lists the permitted names and, if one of them is similar to `written`, suggests it.
pub(crate) fn one_of(written: &str, names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    format!("expected {}{}", names.join(", "), nearest(written, &names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_key_and_what_is_allowed() {
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("[]", "the body must be a JSON object"),
            (r#"{"advance":5}"#, r#"advance = 5: expected a duration from "1ms" to "7d""#),
            (r#"{"advance":"8d"}"#, r#"advance = "8d": expected a duration from "1ms" to "7d""#),
            (r#"{"a":1}"#, "a: unknown key; expected advance"),
        ];
        for (text, fault) in cases {
            let read = Body::parse(text.as_bytes()).and_then(|mut body| {
                body.span("advance", 1..=7 * 86_400_000)?;
                body.end("advance")
            });
            assert_eq!(read, Err(fault.to_owned()), "{text}");
        }
        assert!(
            Body::parse(b"{")
                .unwrap_err()
                .starts_with("the body is not JSON: ")
        );
        assert!(Body::parse(b"").unwrap().end("nothing").is_ok());
    }

    #[test]
    fn a_long_value_is_shown_in_part() {
        let body = Body::parse(b"").unwrap();
        let value = Value::String("x".repeat(1000));
        assert!(body.fault("key", &value, "expected little").len() < 120);
        let long = "x".repeat(1000);
        let text = format!(r#"{{"do":{{"{long}":1}},"{long}":2}}"#);
        let mut body = Body::parse(text.as_bytes()).unwrap();
        let (name, how) = body.choice("do", "little").unwrap();
        assert!(name.len() < 120 && how.end("little").unwrap_err().len() < 120);
        assert!(body.end("little").unwrap_err().len() < 120);
    }
}

#[cfg(test)]
mod query_tests {
    use super::*;

    #[test]
    fn faults_name_the_parameter_and_what_is_allowed() {
        let allowed = ["limit", "wait"];
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("limt=1", "limt: unknown parameter; expected limit, wait; the nearest is limit"),
            ("limit=1&limit=2", "limit: expected once"),
            ("limit=0", "limit: expected 1 to 9"),
            ("limit=x", "limit: expected 1 to 9"),
            ("wait=26s", "wait: expected a duration from \"1ms\" to \"25s\", or \"off\""),
            ("wait=%FF", "the query is not percent-encoded UTF-8"),
        ];
        for (query, fault) in cases {
            let read = Parameters::parse(Some(query), &allowed).and_then(|parameters| {
                parameters.number("limit", 1..=9)?;
                parameters.wait()
            });
            assert_eq!(read, Err(fault.to_owned()), "{query}");
        }
        let parameters = Parameters::parse(Some("limit=&wait=5s"), &allowed).unwrap();
        assert_eq!(parameters.number("limit", 1..=9), Ok(None));
        assert_eq!(parameters.wait(), Ok(Duration::from_secs(5)));
        assert_eq!(
            Parameters::parse(None, &allowed).unwrap().text("wait"),
            None
        );
    }
}

#[cfg(test)]
mod nearest_tests {
    use super::*;

    #[test]
    fn a_name_is_near_up_to_a_quarter_of_its_edits() {
        let names = ["refuse", "throttle", "reconnectIce", "ThrottlingException"];
        for (written, found) in [
            ("refuze", "refuse"),
            ("trottle", "throttle"),
            ("reconnect_ice", "reconnectIce"),
            ("Throttling", "ThrottlingException"),
            ("ThrotlingExcepton", "ThrottlingException"),
        ] {
            assert_eq!(
                nearest(written, &names),
                format!("; the nearest is {found}")
            );
        }
        for written in ["", "x", "explode", &"refuse".repeat(1000)] {
            assert_eq!(nearest(written, &names), "", "{written}");
        }
    }
}
