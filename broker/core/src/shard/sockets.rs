//! Connections: their sessions, the bytes queued for their sockets, their deadlines, and their queries to other shards.
//!
//! Invariants (in `sockets/sessions.rs`; checked between inputs in debug builds): a wheel entry belongs to an existing
//! session or channel; the gauges count exactly the sessions in the table; a session is charged for the bytes it holds;
//! connections that have fallen behind are in the backlog with their queued bytes; anything waiting for a turn, an
//! owner or another shard is listed or counted once; a client on a link is listed by its owner or is due to be closed.
//!
//! Only this file and `sockets/` modify the tables. Steps call the methods of [`Sockets`], which keep the tables
//! consistent, and read sessions. Directly, they modify only the protocol state of an HTTP connection or an open
//! WebSocket ([`Sockets::http`], [`Sockets::web_socket`]), and then call [`Sockets::charge`] if bytes were stored or
//! freed.

mod backlog;
mod bounds;
pub(crate) mod outboxes;
mod requests;
mod sessions;
mod table;
pub(crate) mod unconfirmed;

use crate::cluster::leads::Leads;
use crate::id::{ChannelKey, SessionKey, ShardId};
use crate::limits::{
    CLOSES_PER_TURN, DRAIN_STEP_MS, FRESH_REQUESTS_PER_TURN, HELD_READ_MS, REQUESTS_PER_VISIT,
    spare_outboxes,
};
use crate::machine::{Output, Shown};
use crate::session::{http::OnwardCount, outbox::Spares};
use crate::shard::admitted::Admitted;
use crate::shard::shares::{ShareQuestions, Shares};
use crate::time::{Moment, Now};
use crate::work_units;
use crate::{address_shares::Origin, event::CONNECTION_ROLES, journal::EndReason};
use crate::{placement::Placement, readiness::Readiness, session::Session, settings::Settings};
use crate::{shard::Letter, timer_wheel::Wheel};
use ahash::RandomState;
use backlog::Backlog;
use bounds::{AllMessageBounds, Bounds};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
pub(crate) use table::Table;
use unconfirmed::Unconfirmed;

/// The connections of a shard.
pub(crate) struct Sockets {
    settings: Arc<Settings>,
    rules: Bounds,
    messages: AllMessageBounds,
    sessions: Table<SessionKey, Session>,
    /// Outputs for the edge, newest last. Not a `VecDeque`, whose push is not inlined: outputs would be read back from
    /// memory, stalling the core until the store completes.
    outputs: Vec<Output<Letter>>,
    /// Outputs that the edge is taking, oldest last.
    leaving: Vec<Output<Letter>>,
    /// Deadlines of sessions and channels, in a single wheel so that they are handled in order.
    wheel: Wheel<Timer>,
    scratch: Scratch,
    /// Connections that have fallen behind.
    backlog: Backlog,
    unconfirmed: Unconfirmed,
    requests: Requests,
    shards: ShardLinks,
    ends: DueEnds,
    census: Census,
    /// WebSockets and clients on links that have been admitted.
    admitted: Admitted,
    leads: Leads,
    /// End of the last clock jump ([`crate::clock_jump`]).
    leap: Now,
    standstill: Standstill,
}

/// Memory that is reused between inputs.
struct Scratch {
    spares: Spares,
    /// The shard's parser; `None` while it is borrowed to process a WebSocket's bytes. Boxed because it is moved each
    /// time.
    parser: Option<Box<codec::signal::Parser>>,
}

/// Unanswered requests on HTTP connections.
#[derive(Default)]
struct Requests {
    /// Bytes of unanswered requests, held by connections.
    held: RequestBytes,
    turns: WorkTurns,
    /// Sessions that are waiting for their channel to have an owner, or that were answered while waiting and are now
    /// closing: at most [`OWNER_WAITERS_MAX`](crate::limits::OWNER_WAITERS_MAX).
    without_owner: BTreeSet<SessionKey>,
    /// Number of sessions with a request that another node has yet to answer.
    onward: OnwardCount,
    /// Whether the first endpoint request through an unconfigured proxy has yet to be logged.
    unadvertised: bool,
    /// Server names and certificates of connections to the credentials provider, and when each connection began; no
    /// other connections are included.
    shown: BTreeMap<SessionKey, (Arc<Shown>, Now)>,
}

/// The id of this shard, and its connections' queries to other shards.
struct ShardLinks {
    id: ShardId,
    placement: Placement,
    /// Whether the process is ready to serve clients.
    readiness: Readiness,
    /// Queries in flight to each of the other shards.
    asking: Vec<ShareQuestions>,
    /// Number of connections on this shard whose Alexa call is pending on another.
    offers_out: usize,
}

/// Schedule of connections that the shard itself is going to close.
struct DueEnds {
    drain: Option<Drain>,
    /// Position of the last connection closed without notice within the spread of closes, as a fraction of 2³².
    spread: u32,
    /// Connections that could not be closed yet because of the limit per turn.
    closings: Closings,
    /// When the last connection recalled by an operator is closed; the next one follows after an interval.
    recalled: Now,
}

/// The last period during which the shard did not run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Standstill {
    pub(crate) since: Now,
    pub(crate) until: Now,
    /// When all bytes received during the period will have been read.
    pub(crate) read_by: Now,
}

/// Number of connections by kind.
#[derive(Default)]
struct Census {
    /// Number of sessions by [`ConnectionRole`](crate::event::ConnectionRole).
    places: [u64; CONNECTION_ROLES],
    /// Number of connections that were admitted as WebSockets and still exist.
    web_sockets: usize,
}

impl Sockets {
    pub(crate) fn new(
        settings: Arc<Settings>,
        id: ShardId,
        placement: Placement,
        readiness: Readiness,
        connections: usize,
        hasher: RandomState,
    ) -> Self {
        Self {
            rules: Bounds::of(&settings),
            messages: AllMessageBounds::of(&settings),
            sessions: Table::new(settings.connections_per_shard()),
            outputs: Vec::new(),
            leaving: Vec::new(),
            wheel: Wheel::default(),
            scratch: Scratch {
                spares: Spares::of(spare_outboxes(settings.shards)),
                parser: None,
            },
            backlog: Backlog::default(),
            unconfirmed: Unconfirmed::default(),
            requests: Requests {
                unadvertised: settings.unadvertised().is_some(),
                ..Requests::default()
            },
            shards: ShardLinks {
                id,
                asking: (0..placement.shards())
                    .map(|_| ShareQuestions::among(placement.shards().into()))
                    .collect(),
                placement,
                readiness,
                offers_out: 0,
            },
            ends: DueEnds {
                drain: None,
                spread: 0,
                closings: Closings::default(),
                recalled: Now(0),
            },
            census: Census::default(),
            admitted: Admitted::among(connections, hasher),
            leads: Leads::default(),
            leap: Now(0),
            standstill: Standstill::default(),
            settings,
        }
    }

    #[inline]
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the configured limits in the form used by the codec.
    #[inline]
    pub(crate) fn rules(&self) -> &Bounds {
        &self.rules
    }

    /// Returns the limits on messages.
    #[inline]
    pub(crate) fn message_bounds(&self) -> &AllMessageBounds {
        &self.messages
    }

    /// Replaces the settings. Connections keep the message limits with which they were admitted.
    pub(crate) fn adopt(&mut self, settings: Arc<Settings>) {
        self.rules = Bounds::of(&settings);
        self.messages.replace(&settings);
        self.settings = settings;
    }

    /// Returns this shard's id.
    pub(crate) fn shard(&self) -> ShardId {
        self.shards.id
    }

    /// Returns the placement of channels on nodes and shards.
    pub(crate) fn placement(&self) -> &Placement {
        &self.shards.placement
    }

    /// Returns the readiness of the process to serve clients.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.shards.readiness
    }

    /// Returns when waiting for a peer begins: not before the end of a clock jump, during which no peer is read.
    #[inline]
    pub(crate) fn waits_from(&self, at: Moment) -> Now {
        at.now.max(self.leap)
    }

    /// Records a period during which the shard did not run.
    pub(crate) fn stood_still(&mut self, since: Now, until: Now) {
        self.standstill = Standstill {
            since,
            until,
            read_by: until.after(HELD_READ_MS),
        };
    }

    /// Returns the last period during which the shard did not run.
    pub(crate) fn standstill(&self) -> Standstill {
        self.standstill
    }

    /// Handles a clock jump: no peer is read until `until`.
    pub(crate) fn leap(&mut self, until: Now) {
        self.leap = until;
    }
}

// The entries of the wheel.

/// A wheel entry: the key of a session or channel, packed into one word.
#[derive(Clone, Copy, Debug)]
struct Timer(u64);

/// The session or channel that an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Session(SessionKey),
    Channel(ChannelKey),
}

impl Timer {
    pub(crate) fn session(key: SessionKey) -> Self {
        Self(key.pack())
    }

    pub(crate) fn channel(key: ChannelKey) -> Self {
        Self(key.pack() | OF_CHANNEL)
    }

    pub(crate) fn owner(self) -> Owner {
        if self.0 & OF_CHANNEL == 0 {
            Owner::Session(SessionKey::unpack(self.0))
        } else {
            Owner::Channel(ChannelKey::unpack(self.0))
        }
    }
}

/// Bit that marks a packed channel key.
const OF_CHANNEL: u64 = 1 << 48;

// Which requests are answered now and which wait: a bounded number per connection at once, and of all connections at
// one moment. Those that wait are answered in the order of their connections' arrival, by ticks that are due at once.

/// The remaining work budget of a turn, and the connections waiting for the next turn. Each shard has its own.
#[derive(Debug, Default)]
struct WorkTurns {
    /// The time of the turn, shared by all its inputs.
    at: Moment,
    /// Number of heads and bodies that were answered on arrival in this turn.
    pub(crate) fresh: u32,
    /// Amount of work after which newly arriving requests must wait.
    fresh_until: u64,
    /// Amount of work after which the requests currently being processed must wait.
    until: u64,
    /// Number of heads and bodies answered since startup.
    taken: u64,
    /// Connections with buffered bytes that may contain complete requests, without duplicates; some of the connections
    /// may be gone.
    pub(crate) waiting: VecDeque<SessionKey>,
    /// Connections whose call has been answered or whose peer has read its responses, so that their next request is
    /// due. Empty between inputs.
    pub(crate) answered: VecDeque<SessionKey>,
}

impl WorkTurns {
    /// Returns how many of a connection's heads and bodies may be answered on arrival. `done`: the work done by the
    /// shard so far.
    pub(crate) fn visit(&mut self, done: u64, at: Moment) -> u32 {
        if self.at != at {
            (self.at, self.fresh, self.fresh_until) = (at, 0, done + work_units::RECEIVES);
        }
        self.until = self.fresh_until;
        REQUESTS_PER_VISIT.min(FRESH_REQUESTS_PER_TURN.saturating_sub(self.fresh))
    }

    /// Starts answering waiting requests. `done`: the work done by the shard so far.
    pub(crate) fn begin_tick(&mut self, done: u64) {
        self.until = done + work_units::TICK;
    }

    /// Returns the number of waiting connections.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Removes the connection that has been waiting longest.
    pub(crate) fn next_waiting(&mut self) -> Option<SessionKey> {
        self.waiting.pop_front()
    }

    /// Returns the number of heads and bodies answered since startup.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the next request must wait, given the work done by the shard so far.
    pub(crate) fn is_over(&self, done: u64) -> bool {
        done >= self.until
    }

    /// Counts a head or body that was answered.
    pub(crate) fn take(&mut self) {
        self.taken += 1;
    }
}

// The bytes that HTTP connections hold of unfinished requests, requests that wait, and answers that are not taken, and
// WebSockets of unfinished messages: charged to the address they come from, out of one budget.
//
// No address has a fixed share while there is room. When there is none, the address that holds most pays, and of its
// connections the one that holds most: with a 503 where a request is awaited, with its end otherwise. So an address
// that holds less than an equal part of the budget is served, whatever others hold.

/// Bytes of requests held by connections, by address and connection.
#[derive(Debug, Default)]
struct RequestBytes {
    /// Bytes by client address.
    pub(crate) shares: Shares<Origin, SessionKey>,
    /// Total number of bytes.
    pub(crate) bytes: usize,
    /// Bytes by connection, not including connections that hold none.
    charges: BTreeMap<SessionKey, usize>,
    /// Number of connections refused or closed to free memory for other connections' requests.
    pub(crate) refused: u64,
}

impl RequestBytes {
    /// Checks that the total and the shares match the charges, and returns the number of charges.
    ///
    /// # Panics
    /// Panics if the total or the shares do not match.
    pub(crate) fn invariants(&self) -> usize {
        let sum: usize = self.charges.values().sum();
        assert_eq!(sum, self.bytes, "the sum of the charges");
        assert_eq!(sum, self.shares.bytes(), "the shares of the charges");
        self.charges.len()
    }
}

// The progress of a drain, and of the end of connections that are too many for one turn.

/// A drain in progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// When the drain began.
    began: Now,
    ends: Now,
    next: Now,
    told: usize,
    closed: usize,
    calls_ended: bool,
    over: bool,
}

/// A step of a drain: the table positions of the sessions it acts on, at most [`CLOSES_PER_TURN`] of each kind.
#[derive(Debug)]
pub(crate) struct DrainStep {
    /// Table positions of the sessions to send GO_AWAY to.
    pub(crate) told: Range<usize>,
    /// Table positions of the sessions to close.
    pub(crate) closed: Range<usize>,
    /// Whether to answer pending calls, which happens once.
    pub(crate) ends_calls: bool,
}

impl Drain {
    pub(crate) fn begin(began: Now, ends: Now) -> Self {
        Self {
            began,
            ends,
            next: began,
            told: 0,
            closed: 0,
            calls_ended: false,
            over: false,
        }
    }

    /// Returns when the next step is due.
    pub(crate) fn next(&self) -> Option<Now> {
        (!self.over).then_some(self.next)
    }

    /// Returns the next step, if due, of a walk over this many table positions.
    pub(crate) fn step(&mut self, places: usize, now: Now) -> Option<DrainStep> {
        if self.over || self.next > now {
            return None;
        }
        let (told, closed) = (
            self.share(places, (0, 2), now),
            self.share(places, (2, 3), now),
        );
        let span = self.ends.since(self.began);
        let last_call = Now(self.ends.0.saturating_sub(LAST_CALL_MS.min(span / 10)));
        let (most_told, most_closed) = (self.told + CLOSES_PER_TURN, self.closed + CLOSES_PER_TURN);
        let is_behind = told > most_told || closed > most_closed;
        let (told, closed) = (told.min(most_told), closed.min(most_closed));
        let step = DrainStep {
            told: self.told..told,
            closed: self.closed..closed,
            ends_calls: now >= last_call && !self.calls_ended,
        };
        (self.told, self.closed) = (self.told.max(told), self.closed.max(closed));
        self.calls_ended |= step.ends_calls;
        let pause_ms = if is_behind { 0 } else { DRAIN_STEP_MS };
        self.next = Now(now.0 + pause_ms);
        Some(step)
    }

    /// Ends the drain when its time is up, or earlier if `empty`. Returns `true` exactly once.
    pub(crate) fn end(&mut self, empty: bool, now: Now) -> bool {
        let ends = !self.over && (empty || now >= self.ends);
        self.over |= ends;
        ends
    }

    /// Returns how many of `places` a walk between two `quarters` of the drain's duration should have visited by `now`.
    fn share(&self, places: usize, quarters: (u64, u64), now: Now) -> usize {
        let span = self.ends.since(self.began).max(1);
        let (begin, end) = (span * quarters.0 / 4, (span * quarters.1 / 4).max(1));
        let passed = now.since(self.began).saturating_sub(begin).min(end - begin);
        usize::try_from(places as u64 * passed / (end - begin).max(1)).unwrap_or(places)
    }
}

/// Connections to be closed in subsequent turns, at most all open WebSockets, and the number closed in the current
/// turn.
#[derive(Debug, Default)]
struct Closings {
    /// The time of the turn, shared by all its inputs.
    at: Moment,
    /// Number of connections closed in the turn.
    closed: usize,
    /// Open WebSockets and their close reasons, masters first, so that reconnecting viewers find them.
    waiting: BTreeMap<(bool, SessionKey), EndReason>,
}

impl Closings {
    /// Starts a new turn.
    fn begin_turn(&mut self, at: Moment) {
        (self.at, self.closed) = (at, 0);
    }

    /// Whether another connection may be closed within the budget of the turn at `at`.
    pub(crate) fn has_room(&mut self, at: Moment) -> bool {
        if self.at != at {
            self.begin_turn(at);
        }
        self.closed < CLOSES_PER_TURN
    }

    /// Counts a connection closed in this turn.
    pub(crate) fn count(&mut self) {
        self.closed += 1;
    }

    /// Queues a viewer's or a master's connection for closing, unless it is already queued.
    pub(crate) fn wait(&mut self, is_viewer: bool, session: SessionKey, reason: EndReason) {
        self.waiting.entry((is_viewer, session)).or_insert(reason);
    }

    /// Removes a connection that is no longer open from the queue.
    pub(crate) fn forget(&mut self, is_viewer: bool, session: SessionKey) {
        self.waiting.remove(&(is_viewer, session));
    }

    /// Whether any connection is queued.
    pub(crate) fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns the next connection to close, if the budget of the turn at `at` permits.
    pub(crate) fn next(&mut self, at: Moment) -> Option<(SessionKey, EndReason)> {
        if !self.has_room(at) {
            return None;
        }
        let ((_, session), reason) = self.waiting.pop_first()?;
        self.count();
        Some((session, reason))
    }

    /// Returns the queued sessions, and whether each is a viewer's.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (bool, SessionKey)> {
        self.waiting.keys().copied()
    }
}

/// Time allowed for the answers of pending calls to reach their callers, in milliseconds.
const LAST_CALL_MS: u64 = 500;
