//! A single event stream, with its topics, its position in each topic, and its output.
//!
//! A stream holds one event at a time and sends it in pieces. The event's bytes are shared with the feed and all other
//! streams. If the peer stops reading, the stream stalls and holds only this event, whose bytes [`Seat`] counts as
//! unread. When the peer reads again, the stream reports that events were missed.

use crate::limits::EVENT_PIECE_BYTES;
use crate::side::admin::connections::Seat;
use crate::side::console::topics::{Sources, Watch};
use crate::side::feed::{Event, Next, event};
use axum::body::Bytes;
use futures_core::Stream;
use serde_json::json as value;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, interval_at};

type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// The response body of a stream. Frees the stream's slot when dropped.
pub(crate) struct Body {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    _place: OwnedSemaphorePermit,
}

impl Body {
    pub(crate) fn start(
        sources: Sources,
        watches: Vec<Watch>,
        seat: Seat,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let (to, pieces) = mpsc::channel(1);
        tokio::spawn(run(sources, watches, seat, to));
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

/// Writes events until the connection is closed. Periodic comments keep the connection open, even through proxies.
async fn run(sources: Sources, mut watches: Vec<Watch>, seat: Seat, to: Pieces) {
    let mut bell = sources.hub.bell.listen();
    let mut beat = interval_at(Instant::now() + BEAT_EVERY, BEAT_EVERY);
    loop {
        bell.mark_unchanged();
        // Topics take turns, with one event each, so that a flood of events in one topic does not delay the others.
        let mut more = true;
        while more {
            more = false;
            for watch in &mut watches {
                let Some(event) = next(&sources, watch).await else {
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

/// Writes one event. Returns `false` if the client has disconnected.
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

/// Returns the next event of a topic, starting with the topic's current state. If events were missed, returns an event
/// that says so, and then the current state on the next call.
async fn next(sources: &Sources, watch: &mut Watch) -> Option<Event> {
    if !std::mem::replace(&mut watch.begun, true)
        && let Some(state) = sources.state(&watch.topic, &mut watch.position).await
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

const BEAT_EVERY: Duration = Duration::from_secs(15);
