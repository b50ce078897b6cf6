//! The connections: their sessions, the bytes that wait for their sockets, their deadlines, and their questions to
//! other shards.
//!
//! Invariants (in `sockets/sessions.rs`; debug builds check them between two inputs): an entry of the wheel is that of
//! a session or channel that is there; the gauges count exactly the sessions of the table; a session is charged for the
//! bytes that it holds; connections that are behind are in the backlog with the bytes that wait for them; whatever
//! waits for a turn, an owner or another shard is listed or counted for that once; a client on a link is listed by its
//! owner, or is to be closed.
//!
//! Only this file and `sockets/` change the tables. Steps call the operations of [`Sockets`], which keep them in step,
//! and read sessions; of an HTTP connection or an open WebSocket they change the protocol's state itself
//! ([`Sockets::http`], [`Sockets::web_socket`]), and [`Sockets::charge`] follows where bytes are kept or freed.

mod bounds;
pub(crate) mod outboxes;
mod requests;
mod sessions;
pub(crate) mod unconfirmed;

use crate::cluster::leads::Leads;
use crate::id::{Account, ChannelKey, Key, SLOTS_MAX, SessionKey, ShardId};
use crate::limits::{
    CLOSES_PER_TURN, DRAIN_STEP_MS, FRESH_REQUESTS_PER_TURN, HELD_READ_MS, REQUESTS_PER_VISIT,
    spare_outboxes,
};
use crate::machine::{Output, Shown};
use crate::session::{http::OnwardCount, outbox::Spares};
use crate::shard::shares::{Admitted, ShareQuestions, Shares};
use crate::time::{Moment, Now};
use crate::work_units;
use crate::{address_shares::Origin, event::CONNECTION_ROLES, journal::EndReason};
use crate::{placement::Placement, readiness::Readiness, session::Session, settings::Settings};
use crate::{shard::Letter, timer_wheel::Wheel};
use ahash::RandomState;
use bounds::{AllMessageBounds, Bounds};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::marker::PhantomData;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use unconfirmed::Unconfirmed;

/// The connections of a shard.
pub(crate) struct Sockets {
    settings: Arc<Settings>,
    rules: Bounds,
    messages: AllMessageBounds,
    sessions: Table<SessionKey, Session>,
    /// The outputs for the edge, the newest last. Not a `VecDeque`: its push is not inlined, so that an output is read
    /// from memory, and a core waits until it has stored the message before it.
    outputs: Vec<Output<Letter>>,
    /// Outputs that the edge takes at present, the oldest last.
    leaving: Vec<Output<Letter>>,
    /// Deadlines of sessions, and of channels: one list, so that what is due first is done first.
    wheel: Wheel<Timer>,
    scratch: Scratch,
    /// Connections that do not take what waits for them.
    backlog: Backlog,
    unconfirmed: Unconfirmed,
    requests: Requests,
    shards: ShardLinks,
    ends: DueEnds,
    census: Census,
    /// The places of WebSockets and clients on links.
    admitted: Admitted,
    leads: Leads,
    /// The end of the last jump of the clock ([`crate::clock_jump`]).
    leap: Now,
    standstill: Standstill,
}

/// Memory that is used again.
struct Scratch {
    spares: Spares,
    /// Lent out while bytes of a WebSocket are taken in; boxed, since it moves each time.
    parser: Option<Box<codec::signal::Parser>>,
}

/// Requests on HTTP connections that are not answered yet.
#[derive(Default)]
struct Requests {
    /// The bytes that connections hold of them.
    held: RequestBytes,
    turns: WorkTurns,
    /// Sessions that wait for a node that has their channel, or were answered meanwhile and are leaving: at most
    /// [`OWNER_WAITERS_MAX`](crate::limits::OWNER_WAITERS_MAX).
    without_owner: BTreeSet<SessionKey>,
    /// Sessions for other nodes, wherever they are.
    onward: OnwardCount,
    /// Whether the first request for an endpoint through a proxy that nobody named is still to be told of.
    unadvertised: bool,
    /// The names and certificates that connections to the credentials provider began with, and when; nothing of others.
    shown: BTreeMap<SessionKey, (Arc<Shown>, Now)>,
}

/// Which shard this is, and what its connections wait for from the others.
struct ShardLinks {
    id: ShardId,
    placement: Placement,
    /// Whether the process is ready for clients.
    readiness: Readiness,
    /// Questions under way to each other shard.
    asking: Vec<ShareQuestions>,
    /// Connections here whose Alexa call waits on another shard.
    offers_out: usize,
}

/// When connections end that the shard ends by itself.
struct DueEnds {
    drain: Option<Drain>,
    /// The place of the last connection that is closed without notice in the spread of their ends: a fraction of 2³².
    spread: u32,
    /// Connections that are too many for one turn.
    closings: Closings,
    /// When the last connection that an operator recalled is closed: the next one follows at a distance.
    recalled: Now,
}

/// The last time for which the shard did not run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Standstill {
    pub(crate) since: Now,
    pub(crate) until: Now,
    /// By then all is read that came meanwhile.
    pub(crate) read_by: Now,
}

/// The number of connections of each kind.
#[derive(Default)]
struct Census {
    /// All sessions, by [`ConnectionRole`](crate::event::ConnectionRole).
    places: [u64; CONNECTION_ROLES],
    /// Connections that were admitted as WebSockets and are not gone.
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

    /// The configured bounds in the form in which the codec takes them.
    #[inline]
    pub(crate) fn rules(&self) -> &Bounds {
        &self.rules
    }

    /// The bounds of messages.
    #[inline]
    pub(crate) fn message_bounds(&self) -> &AllMessageBounds {
        &self.messages
    }

    /// From here on these are the settings. Connections keep the bounds of their messages.
    pub(crate) fn adopt(&mut self, settings: Arc<Settings>) {
        self.rules = Bounds::of(&settings);
        self.messages.replace(&settings);
        self.settings = settings;
    }

    /// The number of this shard.
    pub(crate) fn shard(&self) -> ShardId {
        self.shards.id
    }

    /// The placement of channels on nodes and shards.
    pub(crate) fn placement(&self) -> &Placement {
        &self.shards.placement
    }

    /// Whether the process is ready for clients.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.shards.readiness
    }

    /// From when on a wait for a peer counts: not before the end of a jump of the clock, in which no peer is read.
    #[inline]
    pub(crate) fn waits_from(&self, at: Moment) -> Now {
        at.now.max(self.leap)
    }

    /// The shard did not run.
    pub(crate) fn stood_still(&mut self, since: Now, until: Now) {
        self.standstill = Standstill {
            since,
            until,
            read_by: until.after(HELD_READ_MS),
        };
    }

    /// The last time for which the shard did not run.
    pub(crate) fn standstill(&self) -> Standstill {
        self.standstill
    }

    /// The clock jumps: no peer is read until then.
    pub(crate) fn leap(&mut self, until: Now) {
        self.leap = until;
    }
}

// Tables by generational key: a key kept after its slot was freed finds nothing.
//
// Slots come in chunks of fixed size, so a growing table never copies what it holds and never doubles its memory.

/// Values of one kind under generational keys. Bounded by `capacity`.
#[derive(Debug)]
pub(crate) struct Table<K, T> {
    chunks: Vec<Box<[Slot<T>]>>,
    free: Vec<u32>,
    live: usize,
    capacity: usize,
    key: PhantomData<K>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<K: Key, T> Table<K, T> {
    /// An empty table for at most `capacity` values.
    #[must_use]
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            live: 0,
            capacity: capacity.min(SLOTS_MAX),
            key: PhantomData,
        }
    }

    /// The number of values.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Whether one more fits.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.live < self.capacity
    }

    /// Inserts a value; returns it when the table is full.
    ///
    /// # Errors
    /// The value itself.
    pub(crate) fn insert(&mut self, value: T) -> Result<K, T> {
        if !self.has_room() {
            return Err(value);
        }
        let Some(number) = self.free.pop().or_else(|| self.grow()) else {
            return Err(value);
        };
        let Some(slot) = self.slot_mut(number as usize) else {
            return Err(value);
        };
        let key = K::new(number, slot.generation);
        slot.value = Some(value);
        self.live += 1;
        Ok(key)
    }

    /// Puts a value in although the table is full: for a connection that comes back. The slots still bound it.
    fn insert_anyway(&mut self, value: T) -> Result<K, T> {
        let capacity = std::mem::replace(&mut self.capacity, SLOTS_MAX);
        let result = self.insert(value);
        self.capacity = capacity;
        result
    }

    /// Takes a value out and retires its key.
    pub(crate) fn remove(&mut self, key: K) -> Option<T> {
        let slot = self.slot_mut(key.slot())?;
        if slot.generation != key.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1) & 0x00ff_ffff;
        self.free
            .push(u32::try_from(key.slot()).unwrap_or_default());
        self.live -= 1;
        Some(value)
    }

    /// The value of a key.
    #[must_use]
    pub(crate) fn get(&self, key: K) -> Option<&T> {
        let slot = self
            .chunks
            .get(key.slot() / CHUNK)?
            .get(key.slot() % CHUNK)?;
        slot.value
            .as_ref()
            .filter(|_| slot.generation == key.generation())
    }

    /// The value of a key, to be changed.
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let slot = self.slot_mut(key.slot())?;
        if slot.generation == key.generation() {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// The number of slots that were ever used: the end for [`Table::at`].
    #[must_use]
    pub(crate) fn slots(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// The key in a slot, if it is taken: for walks over the whole table in pieces.
    #[must_use]
    pub(crate) fn at(&self, number: usize) -> Option<K> {
        let slot = self.chunks.get(number / CHUNK)?.get(number % CHUNK)?;
        slot.value.as_ref()?;
        Some(K::new(u32::try_from(number).ok()?, slot.generation))
    }

    fn slot_mut(&mut self, number: usize) -> Option<&mut Slot<T>> {
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }

    fn grow(&mut self) -> Option<u32> {
        let first = u32::try_from(self.slots())
            .ok()
            .filter(|first| (*first as usize) + CHUNK <= SLOTS_MAX)?;
        self.chunks.push(
            (0..CHUNK)
                .map(|_| Slot {
                    generation: 0,
                    value: None,
                })
                .collect(),
        );
        let last = first + u32::try_from(CHUNK).ok()?;
        self.free.extend((first..last).rev());
        self.free.pop()
    }
}

const CHUNK: usize = 64;

// The entries of the wheel.

/// An entry of the wheel: the key of a session or of a channel, in one word.
#[derive(Clone, Copy, Debug)]
struct Timer(u64);

/// The owner of an entry.
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

/// The bit above a packed key.
const OF_CHANNEL: u64 = 1 << 48;

// Which requests are answered now and which wait: a bounded number per connection at once, and of all connections at
// one moment. Those that wait are answered in the order of their connections' arrival, by ticks that are due at once.

/// The remainder of a turn, and the connections that wait for the next one. One per shard.
#[derive(Debug, Default)]
struct WorkTurns {
    /// The moment of the turn: all inputs of one turn have the same.
    at: Moment,
    /// Heads and bodies answered at that moment as they arrived.
    pub(crate) fresh: u32,
    /// The work after which those that arrive at that moment wait.
    fresh_until: u64,
    /// The work after which those wait that are looked at now.
    until: u64,
    /// Heads and bodies answered since the start.
    taken: u64,
    /// Connections with bytes that may hold whole requests, each once; some of them may be gone.
    pub(crate) waiting: VecDeque<SessionKey>,
    /// Connections whose call was answered, or whose answers were taken: the request behind is next. Empty between two
    /// inputs.
    pub(crate) answered: VecDeque<SessionKey>,
}

impl WorkTurns {
    /// The number of heads and bodies of a connection that may be answered as they arrive, after this much work.
    pub(crate) fn visit(&mut self, done: u64, at: Moment) -> u32 {
        if self.at != at {
            (self.at, self.fresh, self.fresh_until) = (at, 0, done + work_units::RECEIVES);
        }
        self.until = self.fresh_until;
        REQUESTS_PER_VISIT.min(FRESH_REQUESTS_PER_TURN.saturating_sub(self.fresh))
    }

    /// Requests that wait are answered from here on, after this much work.
    pub(crate) fn begin_tick(&mut self, done: u64) {
        self.until = done + work_units::TICK;
    }

    /// The number of connections that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The connection that waits longest: it waits no more.
    pub(crate) fn next_waiting(&mut self) -> Option<SessionKey> {
        self.waiting.pop_front()
    }

    /// Heads and bodies answered since the start.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the next request waits, by a shard that has done this work.
    pub(crate) fn is_over(&self, done: u64) -> bool {
        done >= self.until
    }

    /// One more head or body is answered.
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

/// The bytes that connections hold, by address and connection.
#[derive(Debug, Default)]
struct RequestBytes {
    /// By the address they come from.
    pub(crate) shares: Shares<Origin, SessionKey>,
    /// The sum.
    pub(crate) bytes: usize,
    /// By connection: only those that hold something.
    charges: BTreeMap<SessionKey, usize>,
    /// Connections that had to make room for others' requests.
    pub(crate) refused: u64,
}

impl RequestBytes {
    /// Checks that the sum and the shares are those of the charges. Returns the number of charges.
    ///
    /// # Panics
    /// When they are not.
    pub(crate) fn invariants(&self) -> usize {
        let sum: usize = self.charges.values().sum();
        assert_eq!(sum, self.bytes, "the sum of the charges");
        assert_eq!(sum, self.shares.bytes(), "the shares of the charges");
        self.charges.len()
    }
}

// Slow readers: the bytes that wait for them, and which of them makes room.
//
// A socket that takes everything at once never comes here: its outbox is empty after each turn. Only when the edge
// had to copy bytes aside ([`crate::machine::Machine::launched`]) a connection is *behind*, until its outbox is empty
// again. Connections that are behind may hold three quarters of a shard's bytes of outboxes; beyond it the slowest is
// closed: of the account with most, and of the channel with most in it, the one with most. So the last quarter is
// always there for peers that read.

/// A connection that is behind: its channel, and the bytes that wait for it.
type SlowConnection = (ChannelKey, u32, SessionKey);

/// The bytes that wait for connections that are behind, and for those that were closed for it.
#[derive(Debug, Default)]
struct Backlog {
    pub(crate) bytes: usize,
    /// The channels of connections that are behind, and the bytes that wait in each.
    channels: BTreeMap<ChannelKey, (Account, usize)>,
    /// The connections of these channels that are behind, by the bytes that wait for them.
    sessions: BTreeSet<SlowConnection>,
    shares: Shares,
    /// Bytes of connections that were cut off and are not gone.
    pub(crate) cut: usize,
}

impl Backlog {
    /// A connection of a channel is behind: its bytes are counted with those of the channel and its account.
    pub(crate) fn admit(&mut self, channel: ChannelKey, account: Account) {
        self.channels.entry(channel).or_insert((account, 0));
    }

    /// A connection of a channel that had `before` bytes waiting has `after`.
    pub(crate) fn change(
        &mut self,
        channel: Option<ChannelKey>,
        session: SessionKey,
        (before, after): (u32, u32),
    ) {
        let bytes = |bytes: u32| bytes as usize;
        self.bytes = (self.bytes + bytes(after)).saturating_sub(bytes(before));
        let Some(channel) = channel else { return };
        let Some((account, waiting)) = self.channels.get_mut(&channel) else {
            return;
        };
        self.sessions.remove(&(channel, before, session));
        if after > 0 {
            self.sessions.insert((channel, after, session));
        }
        let held = *waiting;
        *waiting = (held + bytes(after)).saturating_sub(bytes(before));
        self.shares.change(*account, channel, held, *waiting);
        if *waiting == 0 {
            self.channels.remove(&channel);
        }
    }

    /// The connection with most, of the channel with most in the account with most.
    pub(crate) fn slowest(&self) -> Option<SessionKey> {
        let channel = self.shares.largest()?;
        let (_, _, session) = self.sessions.range(all_of(channel)).next_back()?;
        Some(*session)
    }

    /// A channel ends; its connections do not yet.
    pub(crate) fn withdraw(&mut self, channel: ChannelKey) {
        if let Some((account, waiting)) = self.channels.remove(&channel) {
            self.shares.change(account, channel, waiting, 0);
            while let Some(slow) = self.sessions.range(all_of(channel)).next().copied() {
                self.sessions.remove(&slow);
            }
        }
    }

    /// Whether bytes are counted for a channel.
    pub(crate) fn has(&self, channel: ChannelKey) -> bool {
        self.channels.contains_key(&channel)
    }

    /// Whether a connection of a channel is behind with this number of bytes.
    pub(crate) fn lists(&self, channel: ChannelKey, bytes: u32, session: SessionKey) -> bool {
        self.sessions.contains(&(channel, bytes, session))
    }

    /// Checks that each channel has the bytes of its connections, and each account those of its channels. Returns all
    /// bytes that are behind and the number of connections in channels.
    ///
    /// # Panics
    /// When they have not.
    pub(crate) fn invariants(&self) -> (usize, usize) {
        let mut sum = 0;
        for (channel, (_, bytes)) in &self.channels {
            let slow = self.sessions.range(all_of(*channel));
            let theirs: usize = slow.map(|(_, bytes, _)| *bytes as usize).sum();
            assert_eq!(theirs, *bytes, "the bytes of {channel:?} that are behind");
            sum += bytes;
        }
        assert_eq!(sum, self.shares.bytes(), "the shares of those behind");
        assert!(sum <= self.bytes, "channels are behind with more than all");
        (self.bytes, self.sessions.len())
    }
}

/// The entries of one channel among all connections that are behind.
fn all_of(channel: ChannelKey) -> RangeInclusive<SlowConnection> {
    let (first, last) = (SessionKey::unpack(0), SessionKey::unpack(u64::MAX));
    (channel, 0, first)..=(channel, u32::MAX, last)
}

// The progress of a drain, and of the end of connections that are too many for one turn.

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    /// Since when clients are sent away.
    began: Now,
    ends: Now,
    next: Now,
    told: usize,
    closed: usize,
    calls_ended: bool,
    over: bool,
}

/// One step of a drain: what it does to the sessions in these places, at most [`CLOSES_PER_TURN`] of each kind.
#[derive(Debug)]
pub(crate) struct DrainStep {
    /// Sessions that get GO_AWAY.
    pub(crate) told: Range<usize>,
    /// Sessions that are closed.
    pub(crate) closed: Range<usize>,
    /// Whether waiting calls are answered: once.
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

    /// When its next step is due.
    pub(crate) fn next(&self) -> Option<Now> {
        (!self.over).then_some(self.next)
    }

    /// The next step, if it is due, of a walk over this number of places.
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

    /// Ends it when its time is over, or earlier when nothing is left to wait for. True once.
    pub(crate) fn end(&mut self, empty: bool, now: Now) -> bool {
        let ends = !self.over && (empty || now >= self.ends);
        self.over |= ends;
        ends
    }

    /// The number of `places` that a walk between two `quarters` of the span should have seen by `now`.
    fn share(&self, places: usize, quarters: (u64, u64), now: Now) -> usize {
        let span = self.ends.since(self.began).max(1);
        let (begin, end) = (span * quarters.0 / 4, (span * quarters.1 / 4).max(1));
        let passed = now.since(self.began).saturating_sub(begin).min(end - begin);
        usize::try_from(places as u64 * passed / (end - begin).max(1)).unwrap_or(places)
    }
}

/// The connections that are closed in the turns that follow, and the part of a turn for them. At most all open
/// WebSockets.
#[derive(Debug, Default)]
struct Closings {
    /// The moment of the turn: all inputs of one turn have the same.
    at: Moment,
    /// Connections closed in it.
    closed: usize,
    /// Open WebSockets, those of masters first, so that the viewers that come back find them; and why they end.
    waiting: BTreeMap<(bool, SessionKey), EndReason>,
}

impl Closings {
    /// A turn begins.
    fn begin_turn(&mut self, at: Moment) {
        (self.at, self.closed) = (at, 0);
    }

    /// Whether the turn of `at` has room for one more.
    pub(crate) fn has_room(&mut self, at: Moment) -> bool {
        if self.at != at {
            self.begin_turn(at);
        }
        self.closed < CLOSES_PER_TURN
    }

    /// One more is closed in this turn.
    pub(crate) fn count(&mut self) {
        self.closed += 1;
    }

    /// A connection waits for a turn with room, unless it does already: a viewer's or a master's.
    pub(crate) fn wait(&mut self, is_viewer: bool, session: SessionKey, reason: EndReason) {
        self.waiting.entry((is_viewer, session)).or_insert(reason);
    }

    /// A connection is not open any more.
    pub(crate) fn forget(&mut self, is_viewer: bool, session: SessionKey) {
        self.waiting.remove(&(is_viewer, session));
    }

    /// Whether any waits.
    pub(crate) fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next one, if the turn of `at` has room.
    pub(crate) fn next(&mut self, at: Moment) -> Option<(SessionKey, EndReason)> {
        if !self.has_room(at) {
            return None;
        }
        let ((_, session), reason) = self.waiting.pop_first()?;
        self.count();
        Some((session, reason))
    }

    /// Sessions that wait, and whether each is a viewer's.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (bool, SessionKey)> {
        self.waiting.keys().copied()
    }
}

/// Time for the answers of waiting calls to reach their callers.
const LAST_CALL_MS: u64 = 500;

#[cfg(test)]
mod tables_tests {
    use super::*;
    use crate::id::SessionKey;

    #[test]
    fn a_retired_key_finds_nothing() {
        let mut table: Table<SessionKey, &str> = Table::new(10);
        let first = table.insert("a").unwrap();
        assert_eq!((table.get(first), table.len()), (Some(&"a"), 1));
        assert_eq!(table.remove(first), Some("a"));
        let second = table.insert("b").unwrap();
        assert_eq!((first.slot(), table.get(first)), (second.slot(), None));
        assert_eq!(table.get_mut(second), Some(&mut "b"));
    }

    #[test]
    fn a_full_table_gives_the_value_back() {
        let mut table: Table<SessionKey, u32> = Table::new(100);
        let keys: Vec<_> = (0..100).map(|n| table.insert(n).unwrap()).collect();
        assert_eq!(table.insert(100), Err(100));
        assert!(table.insert_anyway(100).is_ok());
        assert_eq!(table.remove(keys[3]), Some(3));
        assert!(!table.has_room(), "the extra one still counts");
        let all: Vec<u32> = (0..table.slots())
            .filter_map(|n| table.at(n))
            .filter_map(|key| table.get(key).copied())
            .collect();
        assert_eq!(all.len(), 100);
    }
}

#[cfg(test)]
mod backlog_tests {
    use super::*;

    #[test]
    fn a_channel_that_ends_takes_its_own_slow_connections_along() {
        let mut backlog = Backlog::default();
        let channel = |number| ChannelKey::new(number, 0);
        for number in 1..=3 {
            backlog.admit(channel(number), Account(7));
            for (slot, bytes) in [(10 * number, 100 * number), (10 * number + 1, 5)] {
                let session = SessionKey::new(slot, 0xff_ffff);
                backlog.change(Some(channel(number)), session, (0, bytes));
            }
        }
        backlog.withdraw(channel(2));
        let left = backlog.sessions.iter().map(|(_, bytes, _)| *bytes);
        assert_eq!(left.collect::<Vec<_>>(), [5, 100, 5, 300]);
        assert_eq!(backlog.slowest(), Some(SessionKey::new(30, 0xff_ffff)));
        backlog.withdraw(channel(3));
        assert_eq!(backlog.slowest(), Some(SessionKey::new(10, 0xff_ffff)));
        assert_eq!(backlog.invariants().1, 2, "the entries of one channel");
    }

    #[test]
    #[should_panic(expected = "that are behind")]
    fn a_channel_with_more_than_its_connections_is_noticed() {
        let mut backlog = Backlog::default();
        backlog
            .channels
            .insert(ChannelKey::new(1, 0), (Account(7), 5));
        backlog.invariants();
    }

    #[test]
    #[should_panic(expected = "the shares of those behind")]
    fn an_account_with_more_than_its_channels_is_noticed() {
        let mut backlog = Backlog::default();
        (backlog.shares).change(Account(7), ChannelKey::new(1, 0), 0, 5);
        backlog.invariants();
    }
}
