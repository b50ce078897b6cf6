//! Recent sessions that failed or were degraded, for the overview.
//!
//! The log thread detects failed sessions in the entries that it writes anyway, so a successful session costs nothing.
//! Takeovers and short master connections count only if they are repeated. Shortly after a failure, its reason is read
//! from the recorder's trace, for a limited number of channels per second.
//!
//! A superseded connection that stays open is reported as the persistent problem `displaced`. No log entry shows that
//! it is still open, so shards are polled for as long as they report any.

use crate::edge::turn::calendar;
use crate::limits::{
    REPEATS_WATCHED_MAX, TROUBLED_KEPT_MAX, TROUBLED_PER_CHANNEL_MAX, TROUBLED_SHOWN_MAX,
    TROUBLED_TRACED_PER_SECOND,
};
use crate::side::admin::http::rfc3339;
use crate::side::console::Overview;
use crate::side::problems::{Incident, Kind, Problems};
use crate::side::shared_state::Shared;
use crate::side::trace::hints::{
    CANDIDATES_MS, Hint, HintKind, NO_MASTER_CANDIDATES, SLOW_MS, Span, unaccepted,
};
use crate::side::trace::{Traces, is_done};
use broker_core::id::Account;
use broker_core::journal::{
    ConnectionEnd, EndReason, Entry, Superseded, Unaccepted, UnacceptedMessage,
};
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

/// Recent sessions that failed or were degraded, added by the log thread and read by the admin listener.
#[derive(Debug, Default)]
pub struct Troubled(Shared<Ring>);

#[derive(Debug, Default)]
struct Ring {
    rows: VecDeque<Row>,
    next: u64,
    version: u64,
    takeovers: Repeats,
    /// Channels whose master disconnected soon after connecting.
    short_ends: Repeats,
    /// The displaced connections found by the last check, from oldest to newest.
    displaced: Vec<DisplacedLine>,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    number: u64,
    at: Wall,
    trouble: Trouble,
    channel: Option<Box<str>>,
    account: Account,
    role: Role,
    client_id: Option<Box<str>>,
    remote: SocketAddr,
    /// A description in one sentence. Used unless a hint from the trace fits better.
    says: String,
    count: usize,
    /// How the connection ended. If there were several connections, this is the end of the last one.
    end: Option<ConnectionEnd>,
    reason: Option<Unaccepted>,
    /// Hints from the trace of the connection. Empty until the trace has been read, or if the shard has already
    /// overwritten the connection's events.
    hints: Vec<Hint>,
    looks: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Trouble {
    Unanswered,
    /// The answer to the viewer was late.
    Slow,
    /// The viewer received an answer and sent candidates, but the master did not send any.
    NoCandidates,
    /// The broker closed the connection because of the client's behavior.
    CutOff,
    Unaccepted,
    Twin,
    Flapping,
}

impl Trouble {
    /// Returns the kind of problem that the end of a connection indicates, if any, and a sentence that describes it.
    fn of(end: &ConnectionEnd) -> Option<(Self, String)> {
        let cut_off = matches!(
            end.reason,
            EndReason::SlowConsumer
                | EndReason::ProtocolError(_)
                | EndReason::Unsupported
                | EndReason::SupersededStuck
                | EndReason::SlowMessage
                | EndReason::Flood
        );
        if cut_off {
            let says = format!("the broker closed it: {}", end.reason.says());
            return Some((Self::CutOff, says));
        }
        let offered = end.offered_ms.filter(|_| end.role == Role::Viewer)?;
        let left = end.duration_ms as f64;
        let Some(answered) = end.answered_ms.map(f64::from) else {
            let span = Span(left - f64::from(offered));
            let says = format!("it left {span} after its offer, without an answer");
            return Some((Self::Unanswered, says));
        };
        let took = answered - f64::from(offered);
        // The viewer sent an offer and candidates, and received nothing but the answer.
        let has_none = end.messages_in > 1 && end.messages_out == 1;
        if took >= SLOW_MS {
            let says = format!("the answer came {} after the offer", Span(took));
            Some((Self::Slow, says))
        } else if has_none && left - answered >= CANDIDATES_MS {
            Some((Self::NoCandidates, NO_MASTER_CANDIDATES.into()))
        } else {
            None
        }
    }
    fn remedy(self, reason: Option<Unaccepted>) -> &'static str {
        match (self, reason) {
            (Self::Unanswered, _) => {
                "Check whether the camera is connected, and whether it answers offers."
            }
            (Self::Slow, _) => "Check the load and the network of the camera.",
            (Self::NoCandidates, _) => {
                "Let the camera send its candidates, or put them into its answer."
            }
            (Self::Unaccepted, Some(Unaccepted::NoRoom)) => {
                "Connect the camera that these messages wait for, or raise [limits] pending_bytes_per_channel."
            }
            (Self::CutOff | Self::Unaccepted, _) => "Correct what the client sends.",
            (Self::Twin, _) => {
                "Give each device a channel of its own, and each viewer a client id of its own."
            }
            (Self::Flapping, _) => "Read the log of the camera: it leaves by itself.",
        }
    }
}

impl Row {
    fn new(
        at: Wall,
        trouble: Trouble,
        channel: Option<&str>,
        remote: SocketAddr,
        says: String,
    ) -> Self {
        Self {
            number: 0,
            at,
            trouble,
            channel: channel.map(Box::from),
            account: Account(0),
            role: Role::Master,
            client_id: None,
            remote,
            says,
            count: 1,
            end: None,
            reason: None,
            hints: Vec::new(),
            looks: 0,
        }
    }

    fn says(&self) -> &str {
        let fits = |hint: &&Hint| match self.trouble {
            Trouble::NoCandidates => hint.kind == HintKind::NoCandidates,
            Trouble::Unanswered | Trouble::Slow => hint.kind != HintKind::SignalingDone,
            Trouble::CutOff | Trouble::Unaccepted | Trouble::Twin | Trouble::Flapping => false,
        };
        (self.hints.iter().find(fits)).map_or(&self.says, |hint| &hint.says)
    }

    /// Records the row as a problem. Ignores a viewer that disconnects soon after its offer, because a person may have
    /// pressed *Stop* on `/try`. Late answers, and cameras that close each connection themselves, are recorded as mild
    /// problems.
    pub(crate) fn tell(&self, problems: &Problems) {
        let end = self
            .end
            .as_ref()
            .filter(|end| end.reason == EndReason::PeerClosed);
        let waited =
            |end: &ConnectionEnd| end.duration_ms - u64::from(end.offered_ms.unwrap_or_default());
        if self.trouble == Trouble::Unanswered && end.is_some_and(|end| waited(end) < PATIENCE_MS) {
            return;
        }
        problems.lock().session(&Incident {
            channel: self.channel.as_deref(),
            channel_account: Some(self.account),
            role: Some(self.role),
            client_id: self.client_id.as_deref(),
            remote: Some(self.remote),
            account: Some(self.account),
            is_mild: self.trouble == Trouble::Slow
                || (self.trouble == Trouble::Flapping && end.is_some()),
            kind: Kind::Session,
            check: self.trouble.into(),
            at: self.at,
            says: self.says().into(),
            remedy: self.trouble.remedy(self.reason),
            ..Incident::default()
        });
    }

    fn json(&self) -> Value {
        let trouble: &str = self.trouble.into();
        let hints: Vec<&str> = self.hints.iter().map(|hint| &*hint.says).collect();
        let end = self.end.as_ref();
        value!({
            "at": rfc3339(self.at),
            "channel": self.channel,
            "clientId": self.client_id,
            "remote": self.remote.to_string(),
            "trouble": trouble,
            "says": self.says(),
            "hints": hints,
            "count": self.count,
            "reason": end.map(|end| end.reason.to_string()),
            "durationMs": end.map(|end| end.duration_ms),
            "offerMs": end.and_then(|end| end.offered_ms),
            "answerMs": end.and_then(|end| end.answered_ms),
        })
    }
}

impl Troubled {
    /// Processes an entry that has been logged. Returns the row that it creates or updates. Missing candidates are
    /// found only when the trace is checked.
    pub(crate) fn note(&self, entry: &Entry) -> Option<Row> {
        let mut ring = self.0.lock();
        let version = ring.version;
        match entry {
            Entry::ConnectionEnd(end) => ring.ended(calendar(), end),
            Entry::Unaccepted(message) => ring.count(calendar(), message),
            Entry::Superseded(superseded) => ring.taken_over(calendar(), superseded),
            Entry::Refused(_)
            | Entry::Suppressed { .. }
            | Entry::EndsSuppressed { .. }
            | Entry::Audit(_)
            | Entry::Forbidden(_)
            | Entry::NodeTrouble { .. }
            | Entry::StoreTrouble { .. } => {}
        }
        let newest = ring.rows.back().filter(|_| ring.version != version);
        newest
            .filter(|row| row.trouble != Trouble::NoCandidates)
            .cloned()
    }

    pub(crate) fn displaced(&self) -> Vec<DisplacedLine> {
        self.0.lock().displaced.clone()
    }

    /// Erases the rows for which `fits` returns `true`, given their time and text, and returns how many were erased.
    /// Also erases sequences of repeated events. For these, `fits` is given the time of the last event and the client
    /// id.
    pub(crate) fn forget(&self, fits: impl Fn(Wall, &str) -> bool) -> usize {
        let ring = &mut *self.0.lock();
        let before = ring.rows.len();
        ring.rows
            .retain(|row| !fits(row.at, &row.json().to_string()));
        for Repeats(places) in [&mut ring.takeovers, &mut ring.short_ends] {
            places.retain(|it| !fits(it.last, it.client_id.as_deref().unwrap_or_default()));
        }
        let gone = before - ring.rows.len();
        ring.version += u64::from(gone > 0);
        gone
    }

    pub(crate) fn version(&self) -> u64 {
        self.0.lock().version
    }

    pub(crate) fn json(&self) -> Value {
        let ring = self.0.lock();
        let newest = ring.rows.iter().rev().take(TROUBLED_SHOWN_MAX);
        let standing = ring.displaced.iter().map(displaced_json);
        standing.chain(newest.map(Row::json)).collect()
    }
}

impl Ring {
    /// Processes the end of a connection, which may itself indicate a problem. A master's short connections count as a
    /// problem only if they are repeated and the master's takeovers are not already a problem.
    fn ended(&mut self, at: Wall, end: &ConnectionEnd) {
        let channel = end.channel.as_deref();
        if let Some((trouble, says)) = Trouble::of(end) {
            let mut row = Row::new(at, trouble, channel, end.remote, says);
            (row.account, row.role) = (end.account, end.role);
            (row.client_id, row.end) = (end.client_id.clone(), Some(end.clone()));
            self.push(row);
        } else if let Some(channel) = channel
            && end.role == Role::Master
            && end.duration_ms <= SHORT_MS
            && !self.takeovers.knows(channel, None, at)
            && let Some(repeated) = self.short_ends.count(channel, None, at)
        {
            let says = format!("the master connects and leaves within 10 s, {repeated}");
            let mut row = Row::new(at, Trouble::Flapping, Some(channel), end.remote, says);
            row.account = end.account;
            (row.count, row.end) = (repeated.count, Some(end.clone()));
            self.renew(row);
        }
    }

    /// Counts a message that was not accepted. The row for its connection and reason becomes the newest row.
    fn count(&mut self, at: Wall, message: &UnacceptedMessage) {
        let (channel, reason) = (&message.channel, message.reason);
        let known = self.take(|row| {
            let same = row.remote == message.remote && row.channel.as_ref() == Some(channel);
            same && row.reason == Some(reason)
        });
        let says = |count| unaccepted(count, reason, message.bytes, message.most);
        let Some(mut row) = known else {
            let (remote, says) = (message.remote, says(1));
            let mut row = Row::new(at, Trouble::Unaccepted, Some(channel), remote, says);
            (row.account, row.role) = (message.account, message.role);
            (row.client_id, row.reason) = (message.client_id.clone(), Some(reason));
            return self.push(row);
        };
        row.count += 1;
        (row.at, row.says) = (at, says(row.count));
        self.rows.push_back(row);
        self.version += 1;
    }

    fn taken_over(&mut self, at: Wall, superseded: &Superseded) {
        let (channel, client_id) = (&superseded.channel, &superseded.client_id);
        let repeated = self.takeovers.count(channel, client_id.as_deref(), at);
        let Some(repeated) = repeated else { return };
        let (older, newer) = (superseded.remote.ip(), superseded.by.ip());
        let from = if older == newer {
            format!("both from {newer}")
        } else {
            format!("from {newer} and {older}")
        };
        let says = format!(
            "connections {from} take each other's place, {repeated}: two devices or processes"
        );
        let mut row = Row::new(at, Trouble::Twin, Some(channel), superseded.by, says);
        (row.account, row.role) = (superseded.account, superseded.role);
        (row.client_id, row.count) = (client_id.clone(), repeated.count);
        self.renew(row);
    }

    /// Adds a row as the newest one, replacing any existing row for the same problem.
    fn renew(&mut self, row: Row) {
        let key = |row: &Row| (row.trouble, row.channel.clone(), row.client_id.clone());
        let own = key(&row);
        self.take(|other| key(other) == own);
        self.push(row);
    }

    fn take(&mut self, fits: impl Fn(&Row) -> bool) -> Option<Row> {
        let place = self.rows.iter().rposition(fits)?;
        self.rows.remove(place)
    }

    fn push(&mut self, mut row: Row) {
        let same = |other: &&Row| other.channel == row.channel;
        if self.rows.iter().filter(same).count() >= TROUBLED_PER_CHANNEL_MAX {
            let oldest = self.rows.iter().position(|other| same(&other));
            oldest.and_then(|place| self.rows.remove(place));
        } else if self.rows.len() >= TROUBLED_KEPT_MAX {
            self.rows.pop_front();
        }
        row.number = self.next;
        self.rows.push_back(row);
        self.next += 1;
        self.version += 1;
    }

    /// Returns the rows whose traces should be checked now. The newest come first, since the events of older sessions
    /// may have been overwritten.
    fn take_due(&mut self, now: Wall) -> Vec<Row> {
        let is_due = |row: &&mut Row| {
            let due = LOOKS_MS.get(row.looks);
            due.is_some_and(|due| now.0.saturating_sub(row.at.0) >= *due)
        };
        let due = self.rows.iter_mut().rev().filter(is_due);
        let due = due.take(TROUBLED_TRACED_PER_SECOND).map(|row| {
            row.looks += 1;
            row.clone()
        });
        due.collect()
    }

    /// Sets the displaced connections. If there are more than [`TROUBLED_SHOWN_MAX`], only the oldest are stored.
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

    /// Adds the hints from a trace to its row. Returns the row if it has changed. If the row reports missing candidates
    /// although the answer contained candidates, the row is removed.
    fn explain(&mut self, number: u64, hints: Vec<Hint>) -> Option<Row> {
        let place = self.rows.iter().position(|row| row.number == number)?;
        let lacks = hints.iter().any(|hint| hint.kind == HintKind::NoCandidates);
        let has_any = is_done(&hints) && !lacks;
        let row = self.rows.get_mut(place);
        let row = row.filter(|row| row.hints != hints)?;
        self.version += 1;
        if row.trouble == Trouble::NoCandidates && has_any {
            self.rows.remove(place);
            return None;
        }
        row.hints = hints;
        Some(row.clone())
    }
}

pub(crate) fn displaced_says(line: &DisplacedLine) -> String {
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
    format!(
        "{newer} took the place of {older} as {place}; that connection stays and receives nothing; {cause}"
    )
}

fn displaced_json(line: &DisplacedLine) -> Value {
    value!({
        "at": rfc3339(line.since),
        "channel": line.arn.name(),
        "clientId": line.client_id,
        "remote": line.remote.to_string(),
        "by": line.by.to_string(),
        "trouble": "displaced",
        "standing": true,
        "sends": line.sends,
        "says": displaced_says(line),
        "hints": [],
        "count": 1,
        "reason": null,
        "durationMs": null,
        "offerMs": null,
        "answerMs": null,
    })
}

/// Checks the traces that are due, and looks for displaced connections. Runs for the lifetime of the process.
pub(crate) async fn explain(
    troubled: Arc<Troubled>,
    problems: Arc<Problems>,
    overview: Arc<Overview>,
    traces: Traces,
) {
    let mut every = interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        every.tick().await;
        let superseded = overview.history.lock().superseded();
        let stands = superseded > 0 || !troubled.0.lock().displaced.is_empty();
        // If a shard does not respond, the list of displaced connections does not change.
        if stands
            && tick % DISPLACED_EVERY_S == 0
            && let Some(replies) = traces.inspector.shards.ask_all(Question::Displaced).await
        {
            let mut displaced = Vec::new();
            for (_, reply) in replies {
                if let Reply::Displaced(lines) = reply {
                    displaced.extend(lines);
                }
            }
            troubled.0.lock().stand(displaced);
        }
        let due = troubled.0.lock().take_due(calendar());
        for row in due {
            let (Some(name), Some(client_id)) = (&row.channel, &row.client_id) else {
                continue;
            };
            let identity = traces.inspector.own(name);
            if let Some(hints) = traces.hints(&identity, client_id, row.remote).await {
                let explained = troubled.0.lock().explain(row.number, hints);
                match explained.filter(|row| row.looks == 1) {
                    Some(row) if row.trouble == Trouble::NoCandidates => row.tell(&problems),
                    Some(row) => {
                        problems
                            .lock()
                            .explain(row.trouble.into(), row.account, name, row.says())
                    }
                    None => {}
                }
            }
        }
    }
}

/// Time in milliseconds for which a viewer must have waited for an answer before its disconnect counts as a problem. A
/// viewer that disconnects earlier is assumed to have changed its mind.
const PATIENCE_MS: u64 = 2_000;

/// Interval between checks for displaced connections, in seconds. Each check posts a message to every shard.
const DISPLACED_EVERY_S: u64 = 5;

/// Times at which the trace of a connection is checked, in milliseconds after the connection ended. The first check is
/// early, before the recorded events can be overwritten. The second check finds late answers.
const LOOKS_MS: [u64; 2] = [500, 15_000];

// Events that count as a problem only if they are repeated.

/// A sequence of events of one client: a viewer, or the master if the client id is `None`. Each event occurs within
/// [`PAUSE_MS`] of the previous one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Repeated {
    channel: Box<str>,
    client_id: Option<Box<str>>,
    count: usize,
    first: Wall,
    last: Wall,
}

impl Repeated {
    fn goes_on(&self, channel: &str, client_id: Option<&str>, at: Wall) -> bool {
        let is_soon = at.0.saturating_sub(self.last.0) <= PAUSE_MS;
        self.is_of(channel, client_id) && is_soon
    }

    fn is_of(&self, channel: &str, client_id: Option<&str>) -> bool {
        &*self.channel == channel && self.client_id.as_deref() == client_id
    }
}

/// Formats the events, such as `7 times in 35 s`.
impl fmt::Display for Repeated {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.last.0.saturating_sub(self.first.0).div_ceil(1000);
        write!(to, "{} times in {seconds} s", self.count)
    }
}

/// Sequences of repeated events, in the order in which they were last updated. If there are more than
/// [`REPEATS_WATCHED_MAX`], the least recently updated one is evicted.
#[derive(Debug, Default)]
struct Repeats(VecDeque<Repeated>);

impl Repeats {
    /// Counts an event. Returns the sequence once it is long enough to count as a problem.
    fn count(&mut self, channel: &str, client_id: Option<&str>, at: Wall) -> Option<Repeated> {
        let known = self.0.iter().position(|it| it.is_of(channel, client_id));
        let known = known.and_then(|known| self.0.remove(known));
        let going_on = known.filter(|it| it.goes_on(channel, client_id, at));
        let mut repeated = going_on.unwrap_or_else(|| Repeated {
            channel: channel.into(),
            client_id: client_id.map(Box::from),
            count: 0,
            first: at,
            last: at,
        });
        repeated.count += 1;
        repeated.last = at;
        if self.0.len() >= REPEATS_WATCHED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(repeated.clone());
        (repeated.count >= TROUBLE).then_some(repeated)
    }

    fn knows(&self, channel: &str, client_id: Option<&str>, at: Wall) -> bool {
        let is_known = |it: &Repeated| it.count >= TROUBLE && it.goes_on(channel, client_id, at);
        self.0.iter().any(is_known)
    }
}

const TROUBLE: usize = 3;

/// Maximum time between two events of a sequence, in milliseconds. Clients wait up to half a minute before
/// reconnecting.
const PAUSE_MS: u64 = 60_000;

#[cfg(test)]
mod repeats_tests {
    use super::*;

    #[test]
    fn the_third_within_a_minute_each_is_trouble() {
        let mut repeats = Repeats::default();
        let mut count = |ms| {
            let repeated = repeats.count("c", None, Wall(ms));
            repeated.map(|repeated| repeated.to_string())
        };
        assert_eq!((count(0), count(PAUSE_MS)), (None, None));
        assert_eq!(count(60_500).as_deref(), Some("3 times in 61 s"));
        assert_eq!(count(60_500 + PAUSE_MS + 1), None);
        let other = repeats.count("c", Some("v"), Wall(200_000));
        assert_eq!(other, None, "another place");
    }

    #[test]
    fn a_storm_of_names_makes_room_for_itself_alone() {
        let mut repeats = Repeats::default();
        for number in 0..2 * REPEATS_WATCHED_MAX {
            let name = format!("c{number}");
            let _ = repeats.count(&name, None, Wall(0));
        }
        assert_eq!(repeats.0.len(), REPEATS_WATCHED_MAX);
    }
}

#[cfg(test)]
mod tests;
