//! `Condition`: operators, each with keys and their values.

use crate::aws::policy::condition::operator::{Comparison, Operator, Quantifier};
use crate::aws::policy::condition::variable::{Place, write_text};
use crate::aws::policy::condition::{Condition, Key, KeyName};
use crate::aws::policy::list::{List, begin_entry};
use crate::aws::policy::read::scalars::{Reading, Texts};
use crate::aws::policy::rules::{excerpt, value};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// `Condition`: an object of operators.
pub(crate) struct Conditions<'a>(pub(crate) &'a Reading, pub(crate) &'a mut Found);

/// The conditions of a statement.
#[derive(Default)]
pub(crate) struct Found {
    /// The operators, so that each comes once.
    operators: Vec<Operator>,
    /// Values of `StringEquals` on the client id.
    pub(crate) equals: Vec<u8>,
    /// Values of `StringLike` on it.
    pub(crate) like: Vec<u8>,
    /// The other conditions, one behind the other.
    pub(crate) others: Vec<u8>,
}

/// The value of an operator: an object of keys.
struct Keys<'a>(&'a Reading, Operator, &'a mut Found);

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
        let some = if any {
            Ok(())
        } else {
            Err("Condition: must have an operator such as StringEquals".to_owned())
        };
        self.0.or(some, ())
    }
}

impl Found {
    fn operator(&mut self, name: &str) -> Result<Operator, String> {
        let operator = Operator::parse(name)?;
        if self.operators.contains(&operator) {
            return Err("Condition: allowed each operator once".into());
        }
        self.operators.push(operator);
        Ok(operator)
    }

    /// Adds a condition.
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
                Ok(_) if is_again => Err(format!("condition key {name}: allowed once")),
                known => known.map(Some),
            };
            let Some(key) = self.0.or(known, None)? else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (mut values, mut expands, mut is_first) = (Vec::new(), false, true);
            map.next_value_seed(Texts(self.0.scalars(&name), |text: &str| {
                let place = self.1.place().unwrap_or(Place::Text);
                let text = value(text)?;
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
        let some = if any {
            Ok(())
        } else {
            let name = excerpt(self.1.name());
            Err(format!(
                "condition operator {name}: must have a condition key"
            ))
        };
        self.0.or(some, ())
    }
}
