//! Reads the notes that shards have of a channel.

use crate::limits::{SUGGESTING_EVENTS_MAX, TRACE_EVENTS_MAX};
use crate::side::inspect::inspector::Inspector;
use crate::side::trace::hints::{Hint, hints};
use crate::side::trace::story::{Reading, Story};
use broker_core::id::Identity;
use broker_core::shard::{Question, Reply, TraceStep};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The traces of channels. A clone is another way to the same.
#[derive(Clone)]
pub(crate) struct Traces {
    pub(crate) inspector: Inspector,
    /// One trace is read at a time: see [`TRACE_EVENTS_MAX`].
    turn: Arc<Mutex<()>>,
}

/// The suggestion of one viewer's trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Suggestion {
    pub(crate) hints: Vec<Hint>,
    /// Its offer was kept, and went to no master.
    pub(crate) kept: bool,
}

/// Why there is nothing to show.
pub(crate) enum Unread {
    /// The shard does not answer.
    Silent,
    /// There is no such channel.
    Absent,
}

impl Traces {
    pub(crate) fn new(inspector: Inspector) -> Self {
        Self {
            inspector,
            turn: Arc::default(),
        }
    }

    /// Makes something of the notes of a channel of this node, before the next trace is read.
    pub(crate) async fn read<T>(
        &self,
        identity: &Identity,
        make: impl FnOnce(Reading) -> T,
    ) -> Result<T, Unread> {
        let _one = self.turn.lock().await;
        self.newest(identity, TRACE_EVENTS_MAX).await.map(make)
    }

    /// The suggestion of the trace of a viewer's connection that was at this address; `None` when its notes are gone.
    pub(crate) async fn suggestion(
        &self,
        identity: &Identity,
        client_id: &str,
        remote: SocketAddr,
    ) -> Option<Suggestion> {
        let _one = self.turn.lock().await;
        let reading = self.newest(identity, SUGGESTING_EVENTS_MAX).await;
        let story = Story::of(reading.ok()?);
        let mut newest = story.viewers.iter().rev();
        let one = newest.find(|one| {
            let from = one.peer.as_ref().map(|peer| peer.remote);
            from == Some(remote) && one.client_id.as_deref() == Some(client_id)
        });
        one.map(|one| Suggestion {
            hints: hints(&one.facts),
            kept: one.facts.offer.is_some() && one.facts.arrived.is_none(),
        })
    }

    /// Reads the notes of a channel, step by step, the newest first, up to this many events.
    async fn newest(&self, identity: &Identity, most: usize) -> Result<Reading, Unread> {
        let mut reading = Reading::default();
        let mut from = None;
        loop {
            let question = Question::Trace {
                identity: identity.clone(),
                from,
                limit: most - reading.events.len(),
            };
            let step = match self
                .inspector
                .shards
                .ask_home(identity.clone(), question)
                .await
            {
                None => return Err(Unread::Silent),
                Some((_, Reply::Trace(Some(step)))) => *step,
                Some(_) => return Err(Unread::Absent),
            };
            let TraceStep {
                read,
                since_us,
                connected,
                events,
                next,
            } = step;
            if from.is_none() {
                (reading.read, reading.connected) = (read, connected);
            }
            reading.since_us = since_us;
            reading.events.extend(events);
            reading.cut = next.is_some();
            from = next;
            if next.is_none() || reading.events.len() >= most {
                return Ok(reading);
            }
        }
    }
}
