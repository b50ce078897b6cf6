//! `GET /events?topics=…`: server-sent events for pages that watch.
//!
//! ```text
//!  overview      snapshot, then the figures once a second        one look at the shards for all watchers
//!  refusals      snapshot, then refusals as they are noted
//!  troubled      snapshot, then all of them when one is added or explained, once a second at most
//!  log           snapshot, then lines as they are written
//!  channel:NAME  the channel when it changes, once a second at most
//! ```
//! Any stream also gets `draining`, `skipped` (too many events in a second), `lagged` (it read too slowly; its topic's
//! snapshot follows) and a comment every 15 s.

use super::stream;
use super::stream::{Topic, Watch};
use crate::limits::{STREAMS_MAX, TOPICS_MAX, WATCHED_CHANNELS_MAX};
use crate::side::admin::door::Seat;
use crate::side::channels::pages::Fault;
use crate::side::feed::{Bell, Feed, Position};
use crate::side::log::tail::LogTail;
use crate::side::pages::{Admin, error};
use crate::side::shared::Shared;
use crate::side::status::Status;
use axum::body;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker_core::id::Identity;
use codec::aws::ChannelName;
use codec::http::{decode, pairs};
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};

/// What streams are fed from.
pub(in crate::side) struct Hub {
    /// Rung by every feed.
    bell: Bell,
    overview: Arc<Feed>,
    log: Arc<LogTail>,
    refusals: Arc<Feed>,
    troubled: Arc<Feed>,
    /// Of the process as a whole.
    notices: Arc<Feed>,
    channels: Shared<BTreeMap<Identity, Watched>>,
    places: Arc<Semaphore>,
}

/// A channel that is watched, or was within the last second.
struct Watched {
    feed: Arc<Feed>,
    /// What was sent last, without what changes with time alone.
    sent: Option<Value>,
    at: Instant,
}

impl Hub {
    pub(in crate::side) fn new(log: Arc<LogTail>) -> Self {
        let bell = log.bell().clone();
        Self {
            overview: Feed::of_states(&bell),
            log,
            refusals: Feed::of_events(&bell),
            troubled: Feed::of_states(&bell),
            notices: Feed::of_states(&bell),
            channels: Shared::default(),
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
            bell,
        }
    }

    /// How many streams are open.
    pub(in crate::side) fn streams(&self) -> usize {
        STREAMS_MAX - self.places.available_permits()
    }

    /// What streams wait for.
    pub(in crate::side) fn listen(&self) -> watch::Receiver<()> {
        self.bell.listen()
    }

    /// Where refusals are sent.
    pub(in crate::side) fn refusals(&self) -> &Feed {
        &self.refusals
    }

    /// The lines that are kept, with a position behind them.
    pub(in crate::side) fn log_lines(&self, position: &mut Position) -> Vec<Value> {
        self.log.kept(position)
    }

    /// A topic of a stream; `None` when it is a channel, and too many others are watched.
    fn watch(&self, topic: Topic) -> Option<Watch> {
        let position = match &topic {
            Topic::Overview => self.overview.watch(),
            Topic::Log => self.log.watch(),
            Topic::Refusals => self.refusals.watch(),
            Topic::Troubled => self.troubled.watch(),
            Topic::Channel(channel) => self.watch_channel(channel)?,
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
            feed: Feed::of_states(&self.bell),
            sent: None,
            at: Instant::now(),
        });
        Some(watched.feed.watch())
    }

    fn watched(&self) -> Vec<Identity> {
        let mut channels = self.channels.lock();
        channels.retain(|_, watched| watched.feed.is_watched());
        channels.keys().cloned().collect()
    }

    /// Sends a channel's state if it has changed.
    fn update(&self, channel: &Identity, state: Value) {
        let mut channels = self.channels.lock();
        let Some(watched) = channels.get_mut(channel) else {
            return;
        };
        let steady = without_ages(&state);
        if watched.sent.as_ref() != Some(&steady) || watched.at.elapsed() > REFRESH {
            watched.feed.send_event(|| stream::channel_event(state));
            (watched.sent, watched.at) = (Some(steady), Instant::now());
        }
    }
}

/// Feeds the streams for as long as the process runs: looks at what is watched, once a second.
pub(in crate::side) async fn feed(admin: Admin) {
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut drains, mut troubled) = (false, 0);
    loop {
        every.tick().await;
        let (hub, status) = (&admin.hub, admin.status.status());
        let now = Instant::now();
        hub.log.tick(now);
        hub.refusals.tick(now);
        if status == Status::Draining && !drains {
            drains = true;
            hub.notices.send("draining", || value!({}));
        }
        let version = admin.troubled.version();
        if std::mem::replace(&mut troubled, version) != version {
            let sessions = || value!({ "sessions": admin.troubled.json() });
            hub.troubled.send("troubled", sessions);
        }
        if hub.overview.is_watched() {
            let figures = admin.overview.now(status).await;
            hub.overview.send("overview", || figures);
        }
        for channel in hub.watched() {
            let state = stream::channel_state(&admin, &channel).await;
            hub.update(&channel, state);
        }
    }
}

/// Feeds them refusals as they are noted.
pub(in crate::side) async fn feed_refusals(admin: Admin) {
    loop {
        admin.refusals.noted().await;
        admin.refusals.publish(&admin.hub.refusals);
    }
}

pub(in crate::side) async fn events(
    State(admin): State<Admin>,
    ConnectInfo(seat): ConnectInfo<Seat>,
    RawQuery(query): RawQuery,
) -> Response {
    let topics = match admin.topics(query.as_deref().unwrap_or_default()) {
        Ok(topics) => topics,
        Err((code, text)) => return error(code, text),
    };
    let Ok(place) = Arc::clone(&admin.hub.places).try_acquire_owned() else {
        return full("32 event streams are open: close one, or try again");
    };
    let watches = topics.into_iter().map(|topic| admin.hub.watch(topic));
    let Some(watches) = watches.collect() else {
        return full("16 channels are watched: close a page, or try again");
    };
    seat.becomes_a_stream();
    let events = stream::Body::start(admin, watches, seat, place);
    let kind = HeaderValue::from_static("text/event-stream");
    let mut response = body::Body::from_stream(events).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn full(text: &str) -> Response {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, text);
    let seconds = HeaderValue::from_static("5");
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

impl Admin {
    /// The topics of a query, and what every stream has.
    fn topics(&self, query: &str) -> Result<Vec<Topic>, Fault> {
        let list = pairs(query).find(|(name, _)| *name == "topics");
        let list = decode(list.map_or("", |(_, list)| list)).map_err(|_| BAD_TOPICS)?;
        let mut topics = vec![Topic::Notices];
        for name in list.split(',') {
            let topic = match name {
                "overview" => Topic::Overview,
                "log" => Topic::Log,
                "refusals" => Topic::Refusals,
                "troubled" => Topic::Troubled,
                _ => match name.strip_prefix("channel:") {
                    Some(name) if ChannelName::parse(name).is_ok() => {
                        Topic::Channel(self.identity(name, query)?)
                    }
                    Some(_) | None => return Err(BAD_TOPICS),
                },
            };
            if topics.contains(&topic) || topics.len() > TOPICS_MAX {
                return Err(BAD_TOPICS);
            }
            topics.push(topic);
        }
        Ok(topics)
    }
}

/// A document without the ages in it, which change while nothing happens.
fn without_ages(document: &Value) -> Value {
    match document {
        Value::Object(members) => {
            let lasting = members
                .iter()
                .filter(|(name, _)| !name.ends_with("AgeSeconds"));
            let lasting = lasting.filter(|(name, _)| *name != "ageSeconds");
            let lasting = lasting.map(|(name, value)| (name.clone(), without_ages(value)));
            Value::Object(lasting.collect())
        }
        Value::Array(items) => items.iter().map(without_ages).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => document.clone(),
    }
}

/// How long a channel's ages may be old on a page.
const REFRESH: Duration = Duration::from_secs(10);
const BAD_TOPICS: Fault = (
    StatusCode::BAD_REQUEST,
    "topics: allowed up to 8 of overview, troubled, refusals, log and channel:NAME, each once, separated by \
     commas",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::feed::Next;

    fn channel(name: &str) -> Identity {
        Identity::new("r", "a", name)
    }

    #[test]
    fn sixteen_channels_are_watched_and_those_of_closed_pages_make_room() {
        let hub = Hub::new(Arc::default());
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
    fn a_channel_is_sent_when_it_changes() {
        let hub = Hub::new(Arc::default());
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
