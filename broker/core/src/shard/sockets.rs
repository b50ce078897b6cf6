//! Connections: their sessions, the bytes queued for their sockets, their deadlines, and their queries to other shards.
//!
//! Invariants (`Sockets::invariants`, checked between inputs in debug builds): a wheel entry belongs to an existing
//! session or channel; the gauges count exactly the sessions in the table; a session is charged for the bytes it holds;
//! connections that have fallen behind are in the backlog with their queued bytes; anything waiting for a turn, an
//! owner or another shard is listed or counted once; a client on a link is listed by its owner or is due to be closed.
//!
//! Only this file and `sockets/` modify the tables. Steps call the methods of [`Sockets`], which keep the tables
//! consistent, and read sessions. They directly use the parts that have their own methods (`requests`, `turns`,
//! `shards`, `ends`, `unconfirmed`), and modify the protocol state of an HTTP connection or an open WebSocket
//! ([`Sockets::http`], [`Sockets::web_socket`]); they then call [`Sockets::charge`] if bytes were stored or freed.

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
pub(crate) use requests::{Part, Step};
use requests::{Requests, WorkTurns};
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
    pub(crate) unconfirmed: Unconfirmed,
    pub(crate) requests: Requests,
    pub(crate) turns: WorkTurns,
    pub(crate) shards: ShardLinks,
    pub(crate) ends: DueEnds,
    census: Census,
    /// WebSockets and clients on links that have been admitted.
    pub(crate) admitted: Admitted,
    pub(crate) leads: Leads,
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
            requests: Requests::new(settings.unadvertised().is_some()),
            turns: WorkTurns::default(),
            shards: ShardLinks::new(id, placement, readiness),
            ends: DueEnds::default(),
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

// Entries of the timer wheel.

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
