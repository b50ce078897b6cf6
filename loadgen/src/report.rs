//! The description of a run, as the document that the engine fills.

use crate::result::{Document, EventArguments};
use crate::{edge::DriverMachine, options::Options};
use serde::Serialize;

/// The document of a run that has not begun.
#[must_use]
pub fn document(options: &Options, machine: &DriverMachine) -> Document {
    let mut versions = EventArguments::from([("loadgen".into(), env!("CARGO_PKG_VERSION").into())]);
    if let Some(version) = &options.service_version {
        versions.insert("service".into(), version.as_str().into());
    }
    Document {
        machine: members(machine),
        versions,
        ..Document::new(
            options.mode.name(),
            &options.targets.join(","),
            members(options),
            String::new(),
        )
    }
}

/// The members of a value as a document lists them: flags by their names, say.
#[must_use]
pub fn members(value: &impl Serialize) -> EventArguments {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(members)) => members.into_iter().collect(),
        Ok(_) | Err(_) => EventArguments::new(),
    }
}
