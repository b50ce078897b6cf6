//! Connections: their sessions, the bytes queued for their sockets, their deadlines, and their queries to other shards.
//!
//! Invariants (`Sockets::invariants`, checked between inputs in debug builds):
//!
//! * Each entry of the timer wheel belongs to an existing session or channel.
//! * The gauges count exactly the sessions in the table.
//! * A session is charged for the bytes that it holds.
//! * The backlog contains each connection that has fallen behind, with its number of queued bytes.
//! * Each wait for a turn, for a channel's owner or for another shard is listed or counted exactly once.
//! * Each forwarded client is listed under the node that owns its channel, or is due to be closed.
//!
//! Only this file and the files in `sockets/` modify the tables. Other code may read sessions, but modifies them only
//! through the methods of [`Sockets`], which keep the tables consistent. The fields `requests`, `turns`, `shards`,
//! `ends` and `unconfirmed` have their own methods and may be used directly. The protocol state of an HTTP connection
//! or an open WebSocket may also be modified ([`Sockets::http`], [`Sockets::web_socket`]). Code that thereby stores or
//! frees bytes must then call [`Sockets::charge`].

mod backlog;
mod bounds;
mod drain;
mod ends;
pub(crate) mod outboxes;
mod queries;
mod requests;
mod sessions;
mod table;
pub(crate) mod unconfirmed;

use crate::cluster::leads::Leads;
use crate::event::CONNECTION_ROLES;
use crate::id::{ChannelKey, SessionKey, ShardId};
use crate::limits::{HELD_READ_MS, spare_outboxes};
use crate::machine::Output;
use crate::session::{Session, outbox::Spares};
use crate::shard::shares::ShardLinks;
use crate::shard::{Letter, admitted::Admitted};
use crate::time::{Moment, Now};
use crate::{placement::Placement, readiness::Readiness, settings::Settings, timer_wheel::Wheel};
use ahash::RandomState;
use backlog::Backlog;
use bounds::{AllMessageBounds, Bounds};
pub(crate) use drain::Drain;
use drain::DueEnds;
pub(crate) use requests::Step;
use requests::{Requests, WorkTurns};
use std::sync::Arc;
pub(crate) use table::Table;
use unconfirmed::Unconfirmed;

/// A shard's connections.
pub(crate) struct Sockets {
    settings: Arc<Settings>,
    rules: Bounds,
    messages: AllMessageBounds,
    sessions: Table<SessionKey, Session>,
    /// Outputs for the edge, newest last. This is a `Vec` because pushing to a `VecDeque` is not inlined: the output
    /// would be written to memory and read back immediately, which stalls the CPU.
    outputs: Vec<Output<Letter>>,
    /// Outputs that the edge is currently draining, oldest last.
    leaving: Vec<Output<Letter>>,
    /// Deadlines of sessions and channels, in a single wheel so that they are handled in order.
    wheel: Wheel<Timer>,
    scratch: Scratch,
    /// Connections that have fallen behind.
    backlog: Backlog,
    pub(crate) unconfirmed: Unconfirmed,
    pub(crate) requests: Requests,
    pub(crate) turns: WorkTurns,
    pub(crate) shards: ShardLinks,
    pub(crate) ends: DueEnds,
    /// Number of sessions per [`ConnectionRole`](crate::event::ConnectionRole).
    census: [u64; CONNECTION_ROLES],
    /// Number of existing connections that were admitted as WebSockets.
    web_sockets: usize,
    /// Admitted WebSockets and forwarded clients.
    pub(crate) admitted: Admitted,
    pub(crate) leads: Leads,
    /// When the last clock jump ends (see [`crate::clock_jump`]).
    leap: Now,
    standstill: Standstill,
}

/// Buffers reused between inputs.
struct Scratch {
    spares: Spares,
    /// The shard's parser. `None` while the shard processes a WebSocket's bytes with it. Boxed, because it is moved out
    /// and back each time.
    parser: Option<Box<codec::signal::Parser>>,
}

/// The last period during which the shard was not running.
#[derive(Clone, Copy, Default)]
pub(crate) struct Standstill {
    pub(crate) since: Now,
    pub(crate) until: Now,
    /// The time by which all bytes that arrived during this period will have been read.
    pub(crate) read_by: Now,
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
            requests: Requests::new(settings.unadvertised().is_some()),
            turns: WorkTurns::default(),
            shards: ShardLinks::new(id, placement, readiness),
            ends: DueEnds::default(),
            census: [0; CONNECTION_ROLES],
            web_sockets: 0,
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

    /// Returns the configured limits in the codec's representation.
    #[inline]
    pub(crate) fn rules(&self) -> &Bounds {
        &self.rules
    }

    #[inline]
    pub(crate) fn message_bounds(&self) -> &AllMessageBounds {
        &self.messages
    }

    /// Replaces the settings. Connections that are already admitted keep their message limits.
    pub(crate) fn adopt(&mut self, settings: Arc<Settings>) {
        self.rules = Bounds::of(&settings);
        self.messages.replace(&settings);
        self.settings = settings;
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.shards.id
    }

    /// Returns the placement of channels on nodes and shards.
    pub(crate) fn placement(&self) -> &Placement {
        &self.shards.placement
    }

    /// Returns whether the process is ready to serve clients.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.shards.readiness
    }

    /// Returns the time from which to wait for a peer. This is now or, during a clock jump, the end of the jump,
    /// because nothing is read from peers until then.
    #[inline]
    pub(crate) fn waits_from(&self, at: Moment) -> Now {
        at.now.max(self.leap)
    }

    /// Records that the shard was not running during this period.
    pub(crate) fn stood_still(&mut self, since: Now, until: Now) {
        self.standstill = Standstill {
            since,
            until,
            read_by: until.after(HELD_READ_MS),
        };
    }

    /// Returns the last period during which the shard was not running.
    pub(crate) fn standstill(&self) -> Standstill {
        self.standstill
    }

    /// Handles a clock jump. Nothing is read from peers before `until`.
    pub(crate) fn leap(&mut self, until: Now) {
        self.leap = until;
    }
}

// Entries of the timer wheel.

/// A timer wheel entry: the key of a session or channel, packed into a single word.
#[derive(Clone, Copy, Debug)]
struct Timer(u64);

/// The session or channel to which a timer belongs.
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

/// The bit that distinguishes a packed channel key from a packed session key.
const OF_CHANNEL: u64 = 1 << 48;
