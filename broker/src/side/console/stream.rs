//! Event stream: its topics, its position in each, and its output.
//!
//! A stream holds one event, whose bytes it shares with the feed and all other streams, and sends it in pieces. If the
//! peer stops reading, the stream stalls. It then holds only this event, which [`Seat`] counts, and reports missed
//! events later.

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

/// Response body of a stream. Frees the stream's slot on drop.
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

/// Writes events until the connection closes. Periodic comments keep the connection open, also through proxies.
async fn run(sources: Sources, mut watches: Vec<Watch>, seat: Seat, to: Pieces) {
    let mut bell = sources.hub.bell.listen();
    let mut beat = interval_at(Instant::now() + BEAT_EVERY, BEAT_EVERY);
    loop {
        bell.mark_unchanged();
        // One event per topic in turn, so that a flood of one topic does not delay the others.
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

/// Returns the next event of a topic. The first event, and the first after missed events, is the current state of the
/// topic.
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
