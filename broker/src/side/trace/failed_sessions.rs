//! Sessions that did not go well: the last of them, for the overview.
//!
//! The log thread finds them among the lines that it writes anyway, so a session that goes well costs nothing.
//! Takeovers and short connections of masters are trouble when they are repeated. Why it went wrong is read
//! off the recorder's trace a little later, a bounded number of channels a second.
//!
//! A connection that lost its place to a newer one and stays is a *standing* trouble, `displaced`: no line says that it
//! is still there, so the shards are asked for as long as they count such connections.

use crate::edge::turn::calendar;
use crate::limits::{
    REPEATS_WATCHED_MAX, TROUBLED_KEPT_MAX, TROUBLED_PER_CHANNEL_MAX, TROUBLED_SHOWN_MAX,
    TROUBLED_TRACED_PER_SECOND,
};
use crate::side::admin::http::rfc3339;
use crate::side::console::Overview;
use crate::side::inspector::Shards;
use crate::side::shared_state::Shared;
use crate::side::trace::hints::{Hint, Lengths, NO_MASTER_CANDIDATES, Span};
use crate::side::trace::{Suggestion, Traces};
use broker_core::journal::{ConnectionEnd, EndReason, Entry, Superseded, UnacceptedMessage};
use broker_core::shard::{DisplacedLine, Question, Reply};
use broker_core::{event::SHORT_MS, time::Wall};
use codec::signal::Role;
use serde_json::{Value, json as value};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// The last troubled sessions. The log thread adds to it, the admin listener reads.
#[derive(Debug, Default)]
pub struct Troubled(Shared<Ring>);

#[derive(Debug, Default)]
struct Ring {
    /// The oldest first.
    rows: VecDeque<Row>,
    /// The number of the next row.
    next: u64,
    /// Grows with every change.
    version: u64,
    /// Places that were taken over lately.
    takeovers: Repeats,
    /// Channels whose master left soon after it had come.
    short_ends: Repeats,
    /// The connections that were displaced at the last look, the oldest first.
    displaced: Vec<DisplacedLine>,
}

#[derive(Clone, Debug)]
struct Row {
    number: u64,
    at: Wall,
    trouble: Trouble,
    source: Source,
    /// The suggestion of its trace; empty until that was read, and when its notes are gone.
    traced: Suggestion,
    /// The number of looks at its trace.
    looks: usize,
}

/// The source of a row.
#[derive(Clone, Debug)]
enum Source {
    /// The end of a connection.
    End(ConnectionEnd),
    /// The last of the messages that were not accepted from one connection for one reason, and how many of them the log
    /// has.
    Unaccepted(Box<UnacceptedMessage>, usize),
    /// The last of the takeovers of one place.
    Twin(Box<Superseded>, Repeated),
    /// The last end of a master's connections.
    Flapping(ConnectionEnd, Repeated),
}

/// The kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Trouble {
    /// It offered, and left without an answer.
    Unanswered,
    /// Its answer came late.
    Slow,
    /// It got an answer and sent candidates, and the master sent none.
    NoCandidates,
    /// The broker closed it for what it did, or did not do.
    CutOff,
    /// Messages of it were not accepted.
    Unaccepted,
    /// Connections of the same role and client id take each other's place, again and again.
    Twin,
    /// A master that connects and leaves, again and again.
    Flapping,
}

impl Trouble {
    fn of(end: &ConnectionEnd) -> Option<Self> {
        let cut_off = matches!(
            end.reason,
            EndReason::SlowConsumer
                | EndReason::ProtocolError(_)
                | EndReason::Unsupported
                | EndReason::SupersededStuck
                | EndReason::SlowMessage
                | EndReason::Flood
        );
        let took = end.answered_ms.unwrap_or_default();
        let took = took.saturating_sub(end.offered_ms.unwrap_or(took));
        let stayed = |answered: u32| end.duration_ms.saturating_sub(answered.into());
        match (end.offered_ms, end.answered_ms) {
            _ if cut_off => Some(Self::CutOff),
            _ if end.role == Role::Master => None,
            (Some(_), None) => Some(Self::Unanswered),
            (Some(_), Some(_)) if took >= SLOW_MS => Some(Self::Slow),
            // The offer and a candidate went out, the answer alone came back.
            (Some(_), Some(answered))
                if end.messages_in > 1
                    && end.messages_out == 1
                    && stayed(answered) >= CANDIDATES_MS =>
            {
                Some(Self::NoCandidates)
            }
            (_, _) => None,
        }
    }
}

impl Row {
    /// In one sentence.
    fn says(&self) -> String {
        match &self.source {
            Source::End(end) => self.says_of(end),
            Source::Unaccepted(message, count) => {
                let UnacceptedMessage { bytes, most, .. } = **message;
                let lengths = Lengths { bytes, most };
                Hint::Unaccepted(*count, message.reason, lengths).to_string()
            }
            Source::Twin(superseded, repeated) => {
                let (older, newer) = (superseded.remote.ip(), superseded.by.ip());
                let from = if older == newer {
                    format!("both from {newer}")
                } else {
                    format!("from {newer} and {older}")
                };
                format!(
                    "connections {from} take each other's place, {repeated}: two devices or processes"
                )
            }
            Source::Flapping(_, repeated) => {
                format!("the master connects and leaves within 10 s, {repeated}")
            }
        }
    }

    fn says_of(&self, end: &ConnectionEnd) -> String {
        let because = |hint: &&Hint| !matches!(hint, Hint::SignalingDone(..));
        let hint = self.traced.hints.iter().find(because);
        let ms = |ms: Option<u32>| f64::from(ms.unwrap_or_default());
        let offered = ms(end.offered_ms);
        match (self.trouble, hint) {
            (Trouble::CutOff, _) => format!("the broker closed it: {}", end.reason.says()),
            (Trouble::NoCandidates, _) => {
                let known = self.traced.hints.iter().find(|hint| is_lacking(hint));
                known.map_or_else(|| NO_MASTER_CANDIDATES.into(), Hint::to_string)
            }
            (_, Some(hint)) => hint.to_string(),
            (
                Trouble::Unanswered | Trouble::Unaccepted | Trouble::Twin | Trouble::Flapping,
                None,
            ) => {
                let lasted = u32::try_from(end.duration_ms).unwrap_or(u32::MAX);
                let span = Span(f64::from(lasted) - offered);
                if self.traced.kept {
                    format!("it left {span} after its offer, and no master had connected")
                } else {
                    format!("it left {span} after its offer, without an answer")
                }
            }
            (Trouble::Slow, None) => {
                let span = Span(ms(end.answered_ms) - offered);
                format!("the answer came {span} after the offer")
            }
        }
    }

    fn json(&self) -> Value {
        let trouble: &str = self.trouble.into();
        let hints: Vec<String> = self.traced.hints.iter().map(ToString::to_string).collect();
        let (channel, client_id, remote) = self.source.peer();
        let end = match &self.source {
            Source::End(end) | Source::Flapping(end, _) => Some(end),
            Source::Unaccepted(..) | Source::Twin(..) => None,
        };
        value!({
            "at": rfc3339(self.at),
            "channel": channel,
            "clientId": client_id,
            "remote": remote.to_string(),
            "trouble": trouble,
            "says": self.says(),
            "hints": hints,
            "count": self.source.count(),
            "reason": end.map(|end| end.reason.to_string()),
            "durationMs": end.map(|end| end.duration_ms),
            "offerMs": end.and_then(|end| end.offered_ms),
            "answerMs": end.and_then(|end| end.answered_ms),
        })
    }

    /// Whether its trace is to be looked at now.
    fn is_due(&self, now: Wall) -> bool {
        let age = now.0.saturating_sub(self.at.0);
        let due = LOOKS_MS.get(self.looks).copied();
        due.is_some_and(|due| age >= due)
    }
}

impl Source {
    /// Its channel, a viewer's client id, and its address.
    fn peer(&self) -> (Option<&str>, Option<&str>, SocketAddr) {
        match self {
            Self::End(end) => (end.channel.as_deref(), end.client_id.as_deref(), end.remote),
            Self::Unaccepted(message, _) => {
                let channel = Some(&*message.channel);
                (channel, message.client_id.as_deref(), message.remote)
            }
            Self::Twin(superseded, _) => {
                let channel = Some(&*superseded.channel);
                (channel, superseded.client_id.as_deref(), superseded.by)
            }
            Self::Flapping(end, _) => (end.channel.as_deref(), None, end.remote),
        }
    }

    /// The number of events that it stands for.
    fn count(&self) -> usize {
        match self {
            Self::End(_) => 1,
            Self::Unaccepted(_, count) => *count,
            Self::Twin(_, repeated) | Self::Flapping(_, repeated) => repeated.count(),
        }
    }

    /// Whether it is of the same kind, and of the same channel and client id.
    fn repeats(&self, other: &Self) -> bool {
        let same_kind = matches!(
            (self, other),
            (Self::Twin(..), Self::Twin(..)) | (Self::Flapping(..), Self::Flapping(..))
        );
        let (own, others) = (self.peer(), other.peer());
        same_kind && (own.0, own.1) == (others.0, others.1)
    }

    /// Counts a message with those of the same connection and reason; false when it is another's.
    fn counts(&mut self, message: &UnacceptedMessage) -> bool {
        let Self::Unaccepted(known, count) = self else {
            return false;
        };
        let same = known.remote == message.remote
            && known.channel == message.channel
            && known.reason == message.reason;
        if same {
            **known = message.clone();
            *count += 1;
        }
        same
    }
}

impl Troubled {
    /// Reads an entry that the log writes.
    pub(crate) fn note(&self, entry: &Entry) {
        match entry {
            Entry::ConnectionEnd(end) => {
                if let Some(trouble) = Trouble::of(end) {
                    let source = Source::End(end.clone());
                    self.0.lock().push(calendar(), trouble, source);
                } else if end.role == Role::Master && end.duration_ms <= SHORT_MS {
                    self.0.lock().short_end(calendar(), end);
                }
            }
            Entry::Unaccepted(message) => self.0.lock().count(calendar(), message),
            Entry::Superseded(superseded) => self.0.lock().taken_over(calendar(), superseded),
            Entry::Refused(_)
            | Entry::Suppressed { .. }
            | Entry::EndsSuppressed { .. }
            | Entry::Audit(_)
            | Entry::Forbidden(_)
            | Entry::NodeTrouble { .. }
            | Entry::StoreTrouble { .. } => {}
        }
    }

    /// Forgets rows by their time and text, and places by the time of their last event and their client id: the number
    /// of rows.
    pub(crate) fn forget(&self, fits: impl Fn(Wall, &str) -> bool) -> usize {
        let mut ring = self.0.lock();
        let before = ring.rows.len();
        ring.rows
            .retain(|row| !fits(row.at, &row.json().to_string()));
        let Ring {
            takeovers,
            short_ends,
            ..
        } = &mut *ring;
        for repeats in [takeovers, short_ends] {
            let is_meant = |(place, repeated): &(Place, Repeated)| {
                fits(
                    repeated.last,
                    place.client_id.as_deref().unwrap_or_default(),
                )
            };
            repeats.places.retain(|it| !is_meant(it));
        }
        let gone = before - ring.rows.len();
        ring.version += u64::from(gone > 0);
        gone
    }

    /// Another number than before when anything has changed.
    pub(crate) fn version(&self) -> u64 {
        self.0.lock().version
    }

    /// What lasts, then the newest of the rest, for pages.
    pub(crate) fn json(&self) -> Value {
        let ring = self.0.lock();
        let newest = ring.rows.iter().rev().take(TROUBLED_SHOWN_MAX);
        let standing = ring.displaced.iter().map(displaced_json);
        standing.chain(newest.map(Row::json)).collect()
    }
}

impl Ring {
    /// Adds a message that was not accepted to the row of its connection and reason, which becomes the newest.
    fn count(&mut self, at: Wall, message: &UnacceptedMessage) {
        let place = (self.rows.iter_mut()).rposition(|row| row.source.counts(message));
        let Some(mut row) = place.and_then(|place| self.rows.remove(place)) else {
            let source = Source::Unaccepted(Box::new(message.clone()), 1);
            return self.push(at, Trouble::Unaccepted, source);
        };
        row.at = at;
        self.rows.push_back(row);
        self.version += 1;
    }

    /// A connection lost its place to another one.
    fn taken_over(&mut self, at: Wall, superseded: &Superseded) {
        let place = Place::of(&superseded.channel, superseded.client_id.as_deref());
        if let Some(repeated) = self.takeovers.count(place, at) {
            let source = Source::Twin(Box::new(superseded.clone()), repeated);
            self.renew(at, Trouble::Twin, source);
        }
    }

    /// A master left soon after it had come. Of a place that is taken over again and again that is no other trouble.
    fn short_end(&mut self, at: Wall, end: &ConnectionEnd) {
        let Some(channel) = &end.channel else {
            return;
        };
        let place = Place::of(channel, None);
        if self.takeovers.knows(&place, at) {
            return;
        }
        if let Some(repeated) = self.short_ends.count(place, at) {
            let source = Source::Flapping(end.clone(), repeated);
            self.renew(at, Trouble::Flapping, source);
        }
    }

    /// Replaces the row that this one repeats, and becomes the newest.
    fn renew(&mut self, at: Wall, trouble: Trouble, source: Source) {
        let place = (self.rows.iter()).rposition(|row| row.source.repeats(&source));
        place.and_then(|place| self.rows.remove(place));
        self.push(at, trouble, source);
    }

    fn push(&mut self, at: Wall, trouble: Trouble, source: Source) {
        let (channel, ..) = source.peer();
        let same = |row: &&Row| row.source.peer().0 == channel;
        if self.rows.iter().filter(same).count() >= TROUBLED_PER_CHANNEL_MAX {
            let oldest = self.rows.iter().position(|row| same(&row));
            oldest.and_then(|place| self.rows.remove(place));
        } else if self.rows.len() >= TROUBLED_KEPT_MAX {
            self.rows.pop_front();
        }
        self.rows.push_back(Row {
            number: self.next,
            at,
            trouble,
            source,
            traced: Suggestion::default(),
            looks: 0,
        });
        self.next += 1;
        self.version += 1;
    }

    /// Those whose trace is to be looked at, the newest first: the notes of older ones may be gone.
    fn take_due(&mut self, now: Wall) -> Vec<Row> {
        let due = self.rows.iter_mut().rev().filter(|row| row.is_due(now));
        let due = due.take(TROUBLED_TRACED_PER_SECOND).map(|row| {
            row.looks += 1;
            row.clone()
        });
        due.collect()
    }

    /// The connections that are displaced now: the oldest [`TROUBLED_SHOWN_MAX`] of them.
    fn stand(&mut self, mut lines: Vec<DisplacedLine>) {
        lines.sort_by_key(|line| (line.since, line.session));
        lines.truncate(TROUBLED_SHOWN_MAX);
        let same = |one: &DisplacedLine, other: &DisplacedLine| {
            (&one.arn, one.session, one.by, one.sends)
                == (&other.arn, other.session, other.by, other.sends)
        };
        let before = &self.displaced;
        if lines.len() != before.len() || !lines.iter().zip(before).all(|(a, b)| same(a, b)) {
            self.version += 1;
            self.displaced = lines;
        }
    }

    /// The trace of a row was looked at. One whose answer contains the candidates is no trouble.
    fn explain(&mut self, number: u64, traced: Suggestion) {
        let Some(place) = self.rows.iter().position(|row| row.number == number) else {
            return;
        };
        let is_whole = matches!(traced.hints.last(), Some(Hint::SignalingDone(..)));
        let has_any = is_whole && !traced.hints.iter().any(is_lacking);
        let row = self.rows.get_mut(place).filter(|row| row.traced != traced);
        let Some(row) = row else { return };
        self.version += 1;
        if row.trouble == Trouble::NoCandidates && has_any {
            self.rows.remove(place);
        } else {
            row.traced = traced;
        }
    }
}

/// Whether a hint is that candidates are missing.
fn is_lacking(hint: &Hint) -> bool {
    matches!(hint, Hint::NoCandidates(_))
}

/// A displaced connection, with the members of [`Row::json`].
fn displaced_json(line: &DisplacedLine) -> Value {
    let place = if line.client_id.is_some() {
        "this client id"
    } else {
        "the channel's master"
    };
    let (older, newer) = (line.remote.ip(), line.by.ip());
    let cause = if line.sends {
        "it still sends: two devices or processes"
    } else {
        "it has sent nothing since: an old connection of the same device, or a second one"
    };
    let says = format!(
        "{newer} took the place of {older} as {place}; that connection stays and receives nothing; {cause}"
    );
    value!({
        "at": rfc3339(line.since),
        "channel": line.arn.name(),
        "clientId": line.client_id,
        "remote": line.remote.to_string(),
        "by": line.by.to_string(),
        "trouble": "displaced",
        "standing": true,
        "sends": line.sends,
        "says": says,
        "hints": [],
        "count": 1,
        "reason": null,
        "durationMs": null,
        "offerMs": null,
        "answerMs": null,
    })
}

/// Asks the shards for the displaced connections. A shard that does not answer leaves the list as it was.
async fn look_at_displaced(troubled: &Troubled, shards: &Shards) {
    let Some(replies) = shards.ask_all(Question::Displaced).await else {
        return;
    };
    let mut displaced = Vec::new();
    for (_, reply) in replies {
        if let Reply::Displaced(lines) = reply {
            displaced.extend(lines);
        }
    }
    troubled.0.lock().stand(displaced);
}

/// Looks at the traces of those that are due, and at displaced connections, for as long as the process runs.
pub(crate) async fn explain(troubled: Arc<Troubled>, overview: Arc<Overview>, traces: Traces) {
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        every.tick().await;
        let stands = overview.superseded() > 0 || !troubled.0.lock().displaced.is_empty();
        if stands && tick % DISPLACED_EVERY_S == 0 {
            look_at_displaced(&troubled, &traces.inspector.shards).await;
        }
        let due = troubled.0.lock().take_due(calendar());
        for row in due {
            let (Some(name), Some(client_id), remote) = row.source.peer() else {
                continue;
            };
            let identity = traces.inspector.own(name);
            let traced = traces.suggestion(&identity, client_id, remote).await;
            if let Some(traced) = traced {
                troubled.0.lock().explain(row.number, traced);
            }
        }
    }
}

/// Seconds between two looks at displaced connections: one letter to each shard.
const DISPLACED_EVERY_S: u64 = 5;

/// An answer that comes later than this after its offer is slow.
const SLOW_MS: u32 = 3_000;

/// Within which the first candidate follows an answer.
const CANDIDATES_MS: u64 = 2_000;

/// Milliseconds from the end to each look at its trace: soon, while its notes are there; and again for an answer that
/// came too late.
const LOOKS_MS: [u64; 2] = [500, 15_000];

// Events that are no trouble by themselves, only when they are repeated.

/// The channel and client id of an event; no client id is the master's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    channel: Box<str>,
    client_id: Option<Box<str>>,
}

impl Place {
    pub(crate) fn of(channel: &str, client_id: Option<&str>) -> Self {
        Self {
            channel: channel.into(),
            client_id: client_id.map(Box::from),
        }
    }
}

/// The events of one place that followed each other within [`PAUSE_MS`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Repeated {
    count: usize,
    first: Wall,
    last: Wall,
}

impl Repeated {
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn goes_on(&self, at: Wall) -> bool {
        at.0.saturating_sub(self.last.0) <= PAUSE_MS
    }
}

/// As in `7 times in 35 s`.
impl fmt::Display for Repeated {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.last.0.saturating_sub(self.first.0).div_ceil(1000);
        write!(to, "{} times in {seconds} s", self.count)
    }
}

/// The places of the last events: at most [`REPEATS_WATCHED_MAX`], the one whose last event is the oldest makes room.
#[derive(Debug, Default)]
struct Repeats {
    /// The one with the oldest event first.
    places: VecDeque<(Place, Repeated)>,
}

impl Repeats {
    /// Counts an event: those of its place so far, if they are as many as are trouble.
    pub(crate) fn count(&mut self, place: Place, at: Wall) -> Option<Repeated> {
        let known = self.places.iter().position(|(known, _)| *known == place);
        let known = known.and_then(|known| self.places.remove(known));
        let going_on = known.filter(|(_, repeated)| repeated.goes_on(at));
        let mut repeated = going_on.map_or(
            Repeated {
                count: 0,
                first: at,
                last: at,
            },
            |(_, repeated)| repeated,
        );
        repeated.count += 1;
        repeated.last = at;
        if self.places.len() >= REPEATS_WATCHED_MAX {
            self.places.pop_front();
        }
        self.places.push_back((place, repeated.clone()));
        (repeated.count >= TROUBLE).then_some(repeated)
    }

    /// Whether events of a place were trouble a moment ago.
    pub(crate) fn knows(&self, place: &Place, at: Wall) -> bool {
        let same = |(known, repeated): &(Place, Repeated)| {
            known == place && repeated.count >= TROUBLE && repeated.goes_on(at)
        };
        self.places.iter().any(same)
    }
}

/// As many events of one place are trouble.
const TROUBLE: usize = 3;

/// Between two events that belong together, in milliseconds at most: clients wait up to half a minute to connect again.
const PAUSE_MS: u64 = 60_000;

#[cfg(test)]
mod repeats_tests {
    use super::*;

    #[test]
    fn the_third_within_a_minute_each_is_trouble() {
        let mut repeats = Repeats::default();
        let place = || Place::of("c", None);
        let mut count = |ms| {
            repeats
                .count(place(), Wall(ms))
                .map(|repeated| repeated.to_string())
        };
        assert_eq!((count(0), count(PAUSE_MS)), (None, None));
        assert_eq!(count(60_500).as_deref(), Some("3 times in 61 s"));
        assert_eq!(count(60_500 + PAUSE_MS + 1), None);
        let other = repeats.count(Place::of("c", Some("v")), Wall(200_000));
        assert_eq!(other, None, "another place");
    }

    #[test]
    fn a_storm_of_names_makes_room_for_itself_alone() {
        let mut repeats = Repeats::default();
        for number in 0..2 * REPEATS_WATCHED_MAX {
            let name = format!("c{number}");
            let _ = repeats.count(Place::of(&name, None), Wall(0));
        }
        assert_eq!(repeats.places.len(), REPEATS_WATCHED_MAX);
    }
}

#[cfg(test)]
mod tests;
