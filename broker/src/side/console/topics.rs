//! The topics of event streams, each with its feed and initial state. Every watched channel has its own feed.

use crate::limits::{STREAMS_MAX, WATCHED_CHANNELS_MAX};
use crate::side::admin::http::Fault;
use crate::side::channels::presence::{Teller, gist};
use crate::side::feed::{Bell, End, Event, Feed, FeedKind, Position, event, fitting};
use crate::side::log::tail::LogTail;
use crate::side::shared_state::{Shared, Status, StatusBoard};
use crate::side::trace::failed_sessions::Troubled;
use crate::side::{channels::channel, console::Overview, inspector::Inspector, refusals::Refusals};
use broker_core::id::Identity;
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) struct Hub {
    /// The bell, which a feed rings to wake the streams that are waiting for events.
    pub(crate) bell: Bell,
    pub(crate) overview: Arc<Feed>,
    log: Arc<LogTail>,
    pub(crate) refusals: Arc<Feed>,
    pub(crate) troubled: Arc<Feed>,
    pub(crate) notices: Arc<Feed>,
    pub(crate) presence: Arc<Feed>,
    teller: Teller,
    /// The channels that streams watch by name, each with its state at the last poll.
    named: Shared<Vec<(Weak<Identity>, Value)>>,
    channels: Shared<BTreeMap<Identity, Watched>>,
    places: Arc<Semaphore>,
}

/// A channel that is being watched or was watched within the last second.
struct Watched {
    feed: Arc<Feed>,
    /// The last state sent, without values that change just because time passes.
    sent: Option<Value>,
    at: Instant,
}

impl Hub {
    pub(crate) fn new(log: Arc<LogTail>, teller: Teller) -> Self {
        let bell = log.bell().clone();
        Self {
            overview: Feed::of(FeedKind::States, &bell),
            log,
            refusals: Feed::of(FeedKind::Events, &bell),
            troubled: Feed::of(FeedKind::States, &bell),
            notices: Feed::of(FeedKind::States, &bell),
            presence: Feed::of(FeedKind::StatesOfChannels, &bell),
            teller,
            named: Shared::default(),
            channels: Shared::default(),
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
            bell,
        }
    }

    /// Starts a new second for the rate limits. Also tells the shards whether any stream reads presence, since shards
    /// report presence only while it is read.
    pub(crate) fn tick(&self, now: Instant) {
        self.log.tick(now);
        self.refusals.tick(now);
        self.teller.set_read(self.presence.is_watched());
    }

    /// Reserves a slot for a stream. Returns `None` if all slots are taken.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    pub(crate) fn streams(&self) -> usize {
        STREAMS_MAX - self.places.available_permits()
    }

    /// Subscribes a stream to a topic. Returns `None` if the topic is a channel and too many channels are already
    /// watched.
    pub(crate) fn watch(&self, topic: Topic) -> Option<Watch> {
        let position = match &topic {
            Topic::Overview => self.overview.watch(),
            Topic::Log => self.log.watch(),
            Topic::Refusals => self.refusals.watch(),
            Topic::Troubled => self.troubled.watch(),
            Topic::Channel(channel) => self.watch_channel(channel)?,
            Topic::Presence => self.watch_presence(None),
            Topic::PresenceOf(channel) => self.watch_presence(Some(self.name(channel)?)),
            Topic::Notices => self.notices.watch(),
        };
        Some(Watch {
            topic,
            position,
            begun: false,
        })
    }

    fn watch_channel(&self, channel: &Identity) -> Option<Position> {
        let mut channels = self.channels.lock();
        channels.retain(|_, watched| watched.feed.is_watched());
        if channels.len() >= WATCHED_CHANNELS_MAX && !channels.contains_key(channel) {
            return None;
        }
        let watched = channels.entry(channel.clone()).or_insert_with(|| Watched {
            feed: Feed::of(FeedKind::States, &self.bell),
            sent: None,
            at: Instant::now(),
        });
        Some(watched.feed.watch())
    }

    fn name(&self, channel: &Identity) -> Option<Arc<Identity>> {
        let mut named = self.named.lock();
        named.retain(|(channel, _)| channel.strong_count() > 0);
        let known = named.iter().filter_map(|(known, _)| known.upgrade());
        let known = known.into_iter().find(|known| **known == *channel);
        if known.is_some() || named.len() >= WATCHED_CHANNELS_MAX {
            return known;
        }
        let channel = Arc::new(channel.clone());
        named.push((Arc::downgrade(&channel), Value::Null));
        Some(channel)
    }

    fn watch_presence(&self, only: Option<Arc<Identity>>) -> Position {
        let position = self.presence.watch_only(only);
        self.teller.set_read(true);
        position
    }

    pub(crate) fn named(&self) -> Vec<Arc<Identity>> {
        let named = self.named.lock();
        named
            .iter()
            .filter_map(|(channel, _)| channel.upgrade())
            .collect()
    }

    /// Publishes the presence of a channel that is served by another node, if it has changed.
    pub(crate) fn update_presence(&self, channel: &Identity, state: &Value) {
        let mut named = self.named.lock();
        let is_it = |known: &Weak<Identity>| known.upgrade().is_some_and(|it| *it == *channel);
        let Some((_, sent)) = named.iter_mut().find(|(known, _)| is_it(known)) else {
            return;
        };
        let gist = gist(state);
        if std::mem::replace(sent, gist.clone()) != gist {
            self.presence
                .send_state(channel.clone(), || event("presence", state));
        }
    }

    pub(crate) fn watched(&self) -> Vec<Identity> {
        let mut channels = self.channels.lock();
        channels.retain(|_, watched| watched.feed.is_watched());
        channels.keys().cloned().collect()
    }

    /// Publishes the state of a channel, if it has changed.
    pub(crate) fn update(&self, channel: &Identity, state: Value) {
        let mut channels = self.channels.lock();
        let Some(watched) = channels.get_mut(channel) else {
            return;
        };
        let steady = without_ages(&state);
        if watched.sent.as_ref() != Some(&steady) || watched.at.elapsed() > REFRESH {
            watched.feed.send_event(|| channel_event(state));
            (watched.sent, watched.at) = (Some(steady), Instant::now());
        }
    }
}

/// Formats the event for a channel's state. If the channel has too many viewers for one event, includes only the first
/// of them.
fn channel_event(state: Value) -> Event {
    fitting("channel", state, "/channel/viewers", End::First)
}

/// Returns a copy of a document without the members that change even when nothing happens: ages and sequence numbers.
fn without_ages(document: &Value) -> Value {
    match document {
        Value::Object(members) => {
            let lasting = members
                .iter()
                .filter(|(name, _)| !name.ends_with("AgeSeconds"));
            let lasting = lasting.filter(|(name, _)| *name != "ageSeconds" && *name != "sequence");
            let lasting = lasting.map(|(name, value)| (name.clone(), without_ages(value)));
            Value::Object(lasting.collect())
        }
        Value::Array(items) => items.iter().map(without_ages).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => document.clone(),
    }
}

/// Interval at which a channel's state is sent even if it has not changed, to update its ages.
const REFRESH: Duration = Duration::from_secs(10);

// The topics of streams, and a stream's position in a topic.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Overview,
    Log,
    Refusals,
    Troubled,
    Channel(Identity),
    Presence,
    PresenceOf(Identity),
    /// Notices that concern the whole process. Every stream receives them.
    Notices,
}

pub(crate) struct Watch {
    pub(crate) topic: Topic,
    pub(crate) position: Position,
    pub(crate) begun: bool,
}

// The current state of each topic. A stream starts with it, and sends it again after events were missed.

/// The data sources of the topics. Clones share them.
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
                let lines = self.hub.log.kept(position);
                let state = value!({ "topic": "log", "lines": lines });
                fitting("snapshot", state, "/lines", End::Last)
            }
            Topic::Refusals => {
                let mut state = self.refusals.state(&self.hub.refusals);
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

    /// Fetches a channel's presence from the node that serves the channel.
    pub(crate) async fn presence_of(&self, channel: &Identity) -> Result<Value, Fault> {
        let mut document = channel::document(&self.inspector, channel).await?;
        Ok(document["presence"].take())
    }

    /// Returns the state of a channel: its name, region and account, and its document. If there is no document, the
    /// state contains the reason instead.
    pub(crate) async fn channel_state(&self, channel: &Identity) -> Value {
        let mut state = match channel::document(&self.inspector, channel).await {
            Ok(document) => value!({ "channel": document, "error": null }),
            Err(Fault(code, text)) => {
                value!({ "channel": null, "error": text, "status": code.as_u16() })
            }
        };
        state["name"] = channel.name().into();
        state["region"] = channel.region().into();
        state["account"] = channel.account().into();
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::channels::presence::Readers;
    use crate::side::feed::Next;

    fn channel(name: &str) -> Identity {
        Identity::new("r", "a", name)
    }

    #[test]
    fn sixteen_channels_are_watched_and_those_of_closed_pages_make_room() {
        let hub = Hub::new(Arc::default(), Readers::new(None).teller());
        let name = |number: usize| channel(&format!("c{number}"));
        let mut watches: Vec<_> = (0..WATCHED_CHANNELS_MAX)
            .map(|number| hub.watch_channel(&name(number)).unwrap())
            .collect();
        assert!(hub.watch_channel(&channel("more")).is_none());
        let known = hub.watch_channel(&name(3));
        assert!(known.is_some(), "it is watched already");
        watches.remove(5);
        assert!(hub.watch_channel(&channel("more")).is_some());
        assert_eq!(hub.watched().len(), WATCHED_CHANNELS_MAX - 1);
    }

    #[test]
    fn states_are_told_only_while_somebody_reads() {
        let teller = Readers::new(None).teller();
        let hub = Hub::new(Arc::default(), teller.clone());
        let audience = teller.of_shard(None);
        assert!(!audience.is_read());
        let watch = hub.watch(Topic::PresenceOf(channel("one")));
        hub.tick(Instant::now());
        assert!(audience.is_read() && watch.is_some());
        assert_eq!(*hub.named()[0], channel("one"));
        drop(watch);
        hub.tick(Instant::now());
        assert!(!audience.is_read() && hub.named().is_empty());
    }

    #[test]
    fn a_channel_is_sent_when_it_changes() {
        let hub = Hub::new(Arc::default(), Readers::new(None).teller());
        let one = channel("one");
        let mut from = hub.watch_channel(&one).unwrap();
        let state = |viewers: u32, age: f64| {
            value!({ "viewers": [viewers], "master": { "lastFrameAgeSeconds": age },
                     "pending": [{ "ageSeconds": age }] })
        };
        let mut is_sent = |viewers, age| {
            hub.update(&one, state(viewers, age));
            from.next() != Next::Nothing
        };
        assert!(is_sent(1, 0.5) && !is_sent(1, 1.5) && is_sent(2, 2.5));
    }
}
