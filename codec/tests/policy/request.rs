//! A request whose condition keys have texts, for our decision and for the oracle.

use codec::policy::{Action, Context, Decision, Key, KeyName, Policy, Request as Asked, Value};
use std::collections::BTreeMap;

/// A request to be decided.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) action: Action,
    pub(crate) resource: String,
    pub(crate) client_id: Option<String>,
    /// Values by key, in lower case.
    pub(crate) values: BTreeMap<String, Vec<String>>,
    /// The tags of the channel are known elsewhere.
    pub(crate) tags_are_elsewhere: bool,
    /// The values of this key, in lower case, are lost.
    pub(crate) lost: Option<&'static str>,
}

impl Request {
    pub(crate) fn new(action: Action, resource: &str) -> Self {
        Self {
            action,
            resource: resource.to_owned(),
            client_id: None,
            values: BTreeMap::new(),
            tags_are_elsewhere: false,
            lost: None,
        }
    }

    pub(crate) fn with(mut self, key: &str, values: &[&str]) -> Self {
        let values = values.iter().map(ToString::to_string).collect();
        self.values.insert(key.to_lowercase(), values);
        self
    }

    /// Our decision of a document.
    pub(crate) fn decide(&self, document: &str) -> Decision {
        let policy = Policy::parse(document).unwrap_or_else(|error| panic!("{document}\n{error}"));
        let mut steps = 0;
        let decision = self.decide_by(&policy, &mut steps);
        let sealed = Policy::of_bytes(policy.bytes()).expect("its own bytes");
        assert_eq!(sealed, policy);
        decision
    }

    pub(crate) fn decide_by(&self, policy: &Policy, steps: &mut u64) -> Decision {
        let request = Asked {
            action: self.action,
            resource: &self.resource,
            client_id: self.client_id.as_deref(),
            context: self,
        };
        policy.decide(&request, steps, &mut None)
    }
}

impl Context for Request {
    fn value(&self, key: Key<'_>, nth: usize) -> Value<'_> {
        if key.name == KeyName::ResourceTag && self.tags_are_elsewhere {
            return Value::Unknown;
        }
        let name = if key.name == KeyName::Claim {
            key.detail.to_owned()
        } else {
            format!("{}{}", key.name.as_str(), key.detail)
        };
        let name = name.to_lowercase();
        if self.lost == Some(&*name) {
            return Value::Lost;
        }
        let Some(text) = self.values.get(&name).and_then(|values| values.get(nth)) else {
            return Value::Absent;
        };
        match (key.name, text) {
            (KeyName::SourceIp, text) => Value::Address(text.parse().unwrap()),
            (KeyName::SecureTransport, text) => Value::Flag(text.parse().unwrap()),
            (KeyName::EpochTime, text) => Value::Number(text.parse().unwrap()),
            (_, text) => Value::Text(text),
        }
    }
}
