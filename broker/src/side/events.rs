//! `GET /events?topics=…`: server-sent events for pages that watch.
//!
//! ```text
//!  overview      snapshot, then the figures once a second        one look at the shards for all watchers
//!  log           snapshot, then lines as they are written
//!  channel:NAME  the channel when it changes, once a second at most
//! ```
//! Any stream also gets `draining`, `skipped` (too many events in a second), `lagged` (it read too slowly; its topic's
//! snapshot follows) and a comment every 15 s.

use super::admin::{Admin, error};
use super::channels::{self, Fault};
use super::door::Seat;
use super::feed::{Event, Feed, LogTail, event};
use super::limits::{STREAMS_MAX, TOPICS_MAX, WATCHED_CHANNELS_MAX};
use super::shared::Shared;
use super::status::Status;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use broker_core::id::Identity;
use codec::aws::ChannelName;
use codec::http::{decode, pairs};
use futures_core::Stream;
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, interval_at};

/// What streams are fed from.
pub(super) struct Hub {
    overview: Feed,
    log: Arc<LogTail>,
    /// Of the process as a whole.
    notices: Feed,
    channels: Shared<BTreeMap<Identity, Watched>>,
    places: Arc<Semaphore>,
}

/// A channel that somebody watches, or did within the last second.
struct Watched {
    feed: Arc<Feed>,
    /// What was sent last, without what changes with time alone.
    sent: Option<Value>,
    at: Instant,
}

/// What a stream may be about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Topic {
    Overview,
    Log,
    Channel(Identity),
    Notices,
}

impl Hub {
    pub(super) fn new(log: Arc<LogTail>) -> Self {
        Self {
            overview: Feed::of_states(),
            log,
            notices: Feed::of_states(),
            channels: Shared::default(),
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    /// How many streams are open.
    pub(super) fn streams(&self) -> usize {
        STREAMS_MAX - self.places.available_permits()
    }

    /// The feed of a channel; `None` when too many others are watched.
    fn watch(&self, channel: &Identity) -> Option<Arc<Feed>> {
        let mut channels = self.channels.lock();
        channels.retain(|_, watched| watched.is_watched());
        if channels.len() >= WATCHED_CHANNELS_MAX && !channels.contains_key(channel) {
            return None;
        }
        let watched = channels.entry(channel.clone()).or_insert_with(|| Watched {
            feed: Arc::new(Feed::of_states()),
            sent: None,
            at: Instant::now(),
        });
        Some(Arc::clone(&watched.feed))
    }

    fn watched(&self) -> Vec<Identity> {
        let mut channels = self.channels.lock();
        channels.retain(|_, watched| watched.is_watched());
        channels.keys().cloned().collect()
    }

    /// Sends a channel's document if it has changed.
    fn update(&self, channel: &Identity, document: &Value) {
        let mut channels = self.channels.lock();
        let Some(watched) = channels.get_mut(channel) else {
            return;
        };
        let steady = without_ages(document);
        if watched.sent.as_ref() != Some(&steady) || watched.at.elapsed() > REFRESH {
            watched.feed.send("channel", || document.clone());
            (watched.sent, watched.at) = (Some(steady), Instant::now());
        }
    }
}

impl Watched {
    /// The hub has one way to the feed, each stream another.
    fn is_watched(&self) -> bool {
        Arc::strong_count(&self.feed) > 1
    }
}

/// Feeds the streams for as long as the process runs: looks at what is watched, once a second.
pub(super) async fn feed(admin: Admin) {
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drains = false;
    loop {
        every.tick().await;
        let (hub, status) = (&admin.hub, admin.status.status());
        hub.log.tick(Instant::now());
        if status == Status::Draining && !drains {
            drains = true;
            hub.notices.send("draining", || value!({}));
        }
        if hub.overview.is_watched() {
            let figures = admin.overview.now(status).await;
            hub.overview.send("overview", || figures);
        }
        for channel in hub.watched() {
            let document = channel_event(&admin, &channel).await;
            hub.update(&channel, &document);
        }
    }
}

pub(super) async fn events(
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
    let (to, events) = mpsc::channel(EVENTS_IN_HAND);
    for topic in topics {
        let kept = match &topic {
            Topic::Channel(channel) => match admin.hub.watch(channel) {
                Some(feed) => Some(feed),
                None => return full("16 channels are watched: close a page, or try again"),
            },
            Topic::Overview | Topic::Log | Topic::Notices => None,
        };
        tokio::spawn(forward(admin.clone(), topic, kept, to.clone()));
    }
    tokio::spawn(beat(to));
    seat.becomes_a_stream();
    let events = Events {
        events,
        _place: place,
    };
    let kind = HeaderValue::from_static("text/event-stream");
    let mut response = Body::from_stream(events).into_response();
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

/// Forwards a topic to a stream: the state first, then events, until the stream ends.
async fn forward(
    admin: Admin,
    topic: Topic,
    kept: Option<Arc<Feed>>,
    to: mpsc::Sender<io::Result<Bytes>>,
) {
    let send = async |event: Event| to.send(Ok(event)).await.is_ok();
    loop {
        let (first, mut from) = begin(&admin, &topic, kept.as_deref()).await;
        if let Some(first) = first
            && !send(first).await
        {
            return;
        }
        let missed = loop {
            let next = tokio::select! {
                () = to.closed() => return,
                next = from.recv() => next,
            };
            match next {
                Ok(event) => {
                    if !send(event).await {
                        return;
                    }
                }
                Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(missed)) => break missed,
            }
        };
        if !send(event("lagged", &value!({ "missed": missed }))).await {
            return;
        }
    }
}

/// The state of a topic, and what comes after it.
async fn begin(
    admin: &Admin,
    topic: &Topic,
    kept: Option<&Feed>,
) -> (Option<Event>, broadcast::Receiver<Event>) {
    let hub = &admin.hub;
    match topic {
        Topic::Notices => {
            let from = hub.notices.subscribe();
            let drains = admin.status.status() == Status::Draining;
            let first = drains.then(|| event("draining", &value!({})));
            (first, from)
        }
        Topic::Overview => {
            let from = hub.overview.subscribe();
            let mut state = admin.overview.document(admin.status.status()).await;
            name(&mut state, "overview");
            (Some(event("snapshot", &state)), from)
        }
        Topic::Log => {
            let (lines, from) = hub.log.subscribe();
            let state = value!({ "topic": "log", "lines": lines });
            (Some(event("snapshot", &state)), from)
        }
        Topic::Channel(channel) => {
            let from = kept.map_or_else(|| Feed::of_states().subscribe(), Feed::subscribe);
            let state = channel_event(admin, channel).await;
            (Some(event("channel", &state)), from)
        }
    }
}

fn name(state: &mut Value, topic: &str) {
    if let Some(state) = state.as_object_mut() {
        state.insert("topic".into(), topic.into());
    }
}

/// A channel's document, or why there is none.
async fn channel_event(admin: &Admin, channel: &Identity) -> Value {
    let name = channel.name();
    match channels::document(admin, channel).await {
        Ok(document) => value!({ "name": name, "channel": document, "error": null }),
        Err((code, text)) => {
            value!({ "name": name, "channel": null, "error": text, "status": code.as_u16() })
        }
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

/// A comment now and then: a connection whose other end left is noticed, and proxies keep the stream open.
async fn beat(to: mpsc::Sender<io::Result<Bytes>>) {
    let mut every = interval_at(tokio::time::Instant::now() + BEAT_EVERY, BEAT_EVERY);
    loop {
        tokio::select! {
            () = to.closed() => return,
            _ = every.tick() => {}
        }
        if to.send(Ok(Bytes::from_static(b": \n\n"))).await.is_err() {
            return;
        }
    }
}

/// The body of a stream; its place is free when the connection drops it.
struct Events {
    events: mpsc::Receiver<io::Result<Bytes>>,
    _place: OwnedSemaphorePermit,
}

impl Stream for Events {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(context)
    }
}

/// Events between the feeds and a connection: what a stalled one holds, beside one of each topic.
const EVENTS_IN_HAND: usize = 4;
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// How long a channel's ages may be old on a page.
const REFRESH: Duration = Duration::from_secs(10);
const BAD_TOPICS: Fault = (
    StatusCode::BAD_REQUEST,
    "topics: allowed up to 8 of overview, log and channel:NAME, each once, separated by commas",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Identity {
        Identity::new("r", "a", name)
    }

    #[test]
    fn sixteen_channels_are_watched_and_those_of_closed_pages_make_room() {
        let hub = Hub::new(Arc::default());
        let name = |number: usize| channel(&format!("c{number}"));
        let mut feeds: Vec<_> = (0..WATCHED_CHANNELS_MAX)
            .map(|number| hub.watch(&name(number)).unwrap())
            .collect();
        assert!(hub.watch(&channel("more")).is_none());
        assert!(hub.watch(&name(3)).is_some(), "it is watched already");
        feeds.remove(5);
        assert!(hub.watch(&channel("more")).is_some());
        assert_eq!(hub.watched().len(), WATCHED_CHANNELS_MAX - 1);
    }

    #[test]
    fn a_channel_is_sent_when_it_changes() {
        let hub = Hub::new(Arc::default());
        let one = channel("one");
        let feed = hub.watch(&one).unwrap();
        let mut from = feed.subscribe();
        let state = |viewers: u32, age: f64| {
            value!({ "viewers": [viewers], "master": { "lastFrameAgeSeconds": age },
                     "pending": [{ "ageSeconds": age }] })
        };
        hub.update(&one, &state(1, 0.5));
        hub.update(&one, &state(1, 1.5));
        hub.update(&one, &state(2, 2.5));
        let mut sent = 0;
        while from.try_recv().is_ok() {
            sent += 1;
        }
        assert_eq!(sent, 2);
    }
}
