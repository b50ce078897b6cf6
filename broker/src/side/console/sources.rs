//! The current state of each topic: a stream begins with it, and starts from it again when it has missed something.

use crate::side::admin::answer::Fault;
use crate::side::channels::channel;
use crate::side::console::hub::{Hub, channel_event};
use crate::side::console::overview::Overview;
use crate::side::console::topic::Topic;
use crate::side::feed::{End, Event, Position, event, fitting};
use crate::side::inspect::inspector::Inspector;
use crate::side::refusals::Refusals;
use crate::side::status::{Status, StatusBoard};
use crate::side::trace::troubled::Troubled;
use broker_core::id::Identity;
use serde_json::{Value, json as value};
use std::sync::Arc;

/// The sources of the topics' states; a clone is another way to the same.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) hub: Arc<Hub>,
    pub(crate) status: StatusBoard,
    pub(crate) overview: Arc<Overview>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) troubled: Arc<Troubled>,
    pub(crate) inspector: Inspector,
}

impl Sources {
    /// The state of a topic; the position is where it ends.
    pub(crate) async fn state(&self, topic: &Topic, position: &mut Position) -> Option<Event> {
        position.move_to_end();
        Some(match topic {
            Topic::Notices => {
                let drains = self.status.status() == Status::Draining;
                return drains.then(|| event("draining", &value!({})));
            }
            Topic::Overview => {
                let mut state = self.overview.document().await;
                state["topic"] = "overview".into();
                event("snapshot", &state)
            }
            Topic::Log => {
                let lines = self.hub.log_lines(position);
                let state = value!({ "topic": "log", "lines": lines });
                fitting("snapshot", state, "/lines", End::Last)
            }
            Topic::Refusals => {
                let mut state = self.refusals.state(self.hub.refusals());
                position.move_to_end();
                state["topic"] = "refusals".into();
                fitting("snapshot", state, "/refusals", End::First)
            }
            Topic::Troubled => {
                let sessions = self.troubled.json();
                event(
                    "snapshot",
                    &value!({ "topic": "troubled", "sessions": sessions }),
                )
            }
            Topic::Channel(channel) => channel_event(self.channel_state(channel).await),
            Topic::Presence => event("resync", &value!({ "read": "/presence" })),
            Topic::PresenceOf(channel) => match self.presence_of(channel).await {
                Ok(state) => event("presence", &state),
                Err(Fault(code, text)) => event(
                    "absent",
                    &value!({ "name": channel.name(), "error": text, "status": code.as_u16() }),
                ),
            },
        })
    }

    /// The presence of a channel, whichever node has it.
    pub(crate) async fn presence_of(&self, channel: &Identity) -> Result<Value, Fault> {
        let mut document = channel::document(&self.inspector, channel).await?;
        Ok(document["presence"].take())
    }

    /// A channel's document under its name, or why there is none.
    pub(crate) async fn channel_state(&self, channel: &Identity) -> Value {
        let name = channel.name();
        match channel::document(&self.inspector, channel).await {
            Ok(document) => value!({ "name": name, "channel": document, "error": null }),
            Err(Fault(code, text)) => {
                value!({ "name": name, "channel": null, "error": text, "status": code.as_u16() })
            }
        }
    }
}
