//! `Principal`: `"*"`, or an object of kinds, each with its names.

use crate::aws::policy::list::begin_entry;
use crate::aws::policy::read::scalars::{Reading, Texts};
use crate::aws::policy::rules::{EVERYBODY, PRINCIPAL_KINDS, excerpt, principal};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The principals of a statement, and where they are kept.
pub(crate) struct Principals<'a>(pub(crate) &'a Reading, pub(crate) &'a mut Vec<u8>);

impl Principals<'_> {
    fn keep(&mut self, entry: &str) {
        if !self.1.is_empty() {
            begin_entry(self.1);
        }
        self.1.extend(entry.bytes());
    }
}

impl<'de> DeserializeSeed<'de> for Principals<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
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
            "Principal {}: allowed \"*\" or an object with AWS, Service or Federated",
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
                    "Principal {}: allowed AWS, Service and Federated, each once",
                    excerpt(&name)
                )
            };
            let known = known.filter(|kind| !seen.contains(kind)).ok_or_else(rule);
            let Some(kind) = self.0.or(known.map(Some), None)? else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            seen.push(kind);
            map.next_value_seed(Texts(self.0.strings(kind), |text: &str| {
                let entry = principal(kind, text)?;
                self.keep(&entry);
                Ok(())
            }))?;
        }
        let some = if seen.is_empty() {
            Err("Principal: must have AWS, Service or Federated".to_owned())
        } else {
            Ok(())
        };
        self.0.or(some, ())
    }
}
