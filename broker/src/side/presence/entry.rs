//! A state as it is shown: as `channel.presence` has it, with addresses and client ids, which operators see anyway.

use crate::hooks::event::Shown;
use crate::side::feed::{Event, event};
use broker_core::presence::Presence;
use serde_json::Value;

/// A state that was read.
pub(crate) fn entry(presence: &Presence, node: Option<&str>) -> Value {
    crate::hooks::event::state(node, presence, Shown::ALL).into()
}

/// The event of a state that a shard told, with what has changed.
pub(crate) fn told(presence: &Presence, node: Option<&str>) -> Event {
    let told = crate::hooks::event::changed(node, presence, Shown::ALL);
    event("presence", &told.into())
}

/// The gist of a state: its members, without its number and its times.
pub(crate) fn gist(entry: &Value) -> Value {
    let waiting = entry["waiting"].as_array().into_iter().flatten();
    let waiting = waiting.map(|one| [&one["clientId"], &one["action"]]);
    let waiting: Vec<_> = waiting.collect();
    serde_json::json!([
        entry["node"],
        entry["epoch"],
        entry["master"]["remote"],
        entry["viewers"],
        waiting,
        entry["waitingMore"],
    ])
}
