//! One event stream: its topics, its position in each, and what it writes.
//!
//! A stream holds one event at a time, which its feed and all others have too, and hands it on piece by piece. One
//! whose peer does not read stops there: it costs what it holds, which [`Seat`] counts, and finds out later what it has
//! missed.

use crate::limits::EVENT_PIECE_BYTES;
use crate::side::admin::door::Seat;
use crate::side::channels::pages as channels;
use crate::side::feed::{End, Event, Next, Position, event, fitting};
use crate::side::pages::Admin;
use crate::side::status::Status;
use axum::body::Bytes;
use broker_core::id::Identity;
use futures_core::Stream;
use serde_json::{Value, json as value};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, interval_at};

/// What a stream may be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::side) enum Topic {
    /// Figures of the service.
    Overview,
    /// Lines of the log.
    Log,
    /// Requests that were refused.
    Refusals,
    /// Viewers whose session did not go well.
    Troubled,
    /// One channel.
    Channel(Identity),
    /// Of the process as a whole; every stream has it.
    Notices,
}

/// A topic of a stream.
pub(in crate::side) struct Watch {
    pub(in crate::side) topic: Topic,
    pub(in crate::side) position: Position,
    /// Whether its state was sent.
    pub(in crate::side) begun: bool,
}

/// Where the pieces of events go.
type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// The body of a stream; its place is free when the connection drops it.
pub(in crate::side) struct Body {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    _place: OwnedSemaphorePermit,
}

impl Body {
    /// Starts a stream of these topics.
    pub(in crate::side) fn start(
        admin: Admin,
        watches: Vec<Watch>,
        seat: Seat,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let (to, pieces) = mpsc::channel(1);
        tokio::spawn(run(admin, watches, seat, to));
        Self {
            pieces,
            _place: place,
        }
    }
}

impl Stream for Body {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_recv(context)
    }
}

/// Writes events until the connection ends. A comment now and then shows that it has not, also to proxies.
async fn run(admin: Admin, mut watches: Vec<Watch>, seat: Seat, to: Pieces) {
    let mut bell = admin.hub.listen();
    let mut beat = interval_at(Instant::now() + BEAT_EVERY, BEAT_EVERY);
    loop {
        bell.mark_unchanged();
        // One event of each topic in turn: none waits for another's flood.
        let mut more = true;
        while more {
            more = false;
            for watch in &mut watches {
                let Some(event) = next(&admin, watch).await else {
                    continue;
                };
                more = true;
                if !send(&to, &seat, event).await {
                    return;
                }
            }
        }
        let written = tokio::select! {
            () = to.closed() => false,
            rung = bell.changed() => rung.is_ok(),
            _ = beat.tick() => to.send(Ok(Bytes::from_static(b": \n\n"))).await.is_ok(),
        };
        if !written {
            return;
        }
    }
}

/// Writes one event; false when the client is gone.
async fn send(to: &Pieces, seat: &Seat, mut event: Event) -> bool {
    let _unread = seat.holds(event.len());
    while !event.is_empty() {
        let piece = event.split_to(event.len().min(EVENT_PIECE_BYTES));
        if to.send(Ok(piece)).await.is_err() {
            return false;
        }
    }
    true
}

/// What a stream gets next of a topic: its state first, and again when it has missed something.
async fn next(admin: &Admin, watch: &mut Watch) -> Option<Event> {
    if !std::mem::replace(&mut watch.begun, true)
        && let Some(state) = state(admin, &watch.topic, &mut watch.position).await
    {
        return Some(state);
    }
    match watch.position.next() {
        Next::Nothing => None,
        Next::Event(event) => Some(event),
        Next::Lagged(missed) => {
            watch.begun = false;
            Some(event("lagged", &value!({ "missed": missed })))
        }
    }
}

/// The state of a topic; the position is where it ends.
async fn state(admin: &Admin, topic: &Topic, position: &mut Position) -> Option<Event> {
    position.move_to_end();
    Some(match topic {
        Topic::Notices => {
            let drains = admin.status.status() == Status::Draining;
            return drains.then(|| event("draining", &value!({})));
        }
        Topic::Overview => {
            let mut state = admin.overview.document(admin.status.status()).await;
            state["topic"] = "overview".into();
            event("snapshot", &state)
        }
        Topic::Log => {
            let lines = admin.hub.log_lines(position);
            let state = value!({ "topic": "log", "lines": lines });
            fitting("snapshot", state, "/lines", End::Last)
        }
        Topic::Refusals => {
            let mut state = admin.refusals.state(admin.hub.refusals());
            position.move_to_end();
            state["topic"] = "refusals".into();
            fitting("snapshot", state, "/refusals", End::First)
        }
        Topic::Troubled => {
            let sessions = admin.troubled.json();
            event(
                "snapshot",
                &value!({ "topic": "troubled", "sessions": sessions }),
            )
        }
        Topic::Channel(channel) => channel_event(channel_state(admin, channel).await),
    })
}

/// A channel's document under its name, or why there is none.
pub(in crate::side) async fn channel_state(admin: &Admin, channel: &Identity) -> Value {
    let name = channel.name();
    match channels::document(admin, channel).await {
        Ok(document) => value!({ "name": name, "channel": document, "error": null }),
        Err((code, text)) => {
            value!({ "name": name, "channel": null, "error": text, "status": code.as_u16() })
        }
    }
}

/// The event of a channel's state. Of thousands of viewers it has the first.
pub(in crate::side) fn channel_event(state: Value) -> Event {
    fitting("channel", state, "/channel/viewers", End::First)
}

const BEAT_EVERY: Duration = Duration::from_secs(15);
