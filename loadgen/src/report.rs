//! Creates the document that describes a run. The engine then fills in the results.

use crate::result::{Document, EventArguments};
use crate::{edge::DriverMachine, options::Options};
use serde::Serialize;

/// Creates the document of a run before the run starts.
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

/// Converts the members of a value, such as the flags of a run, to a map for the document.
#[must_use]
pub fn members(value: &impl Serialize) -> EventArguments {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(members)) => members.into_iter().collect(),
        Ok(_) | Err(_) => EventArguments::new(),
    }
}
