//! The connections: their sessions, the bytes that wait for their sockets, their deadlines, and their questions to
//! other shards.
//!
//! Invariants (`invariants.rs`, which debug builds check between two inputs): an entry of the wheel is that of a
//! session or channel that is there; the gauges count exactly the sessions of the table; a session is charged for the
//! bytes that it holds; connections that are behind are in the backlog with the bytes that wait for them; whatever
//! waits for a turn, an owner or another shard is listed or counted for that once; a tunnel is listed by its owner, or
//! is to be closed.
//!
//! Only this folder changes the tables. Steps call the operations of [`Sockets`], which keep them in step, and read
//! sessions; of an HTTP connection or an open WebSocket they change the protocol's state itself
//! ([`Sockets::http`], [`Sockets::web_socket`]), and [`Sockets::charge`] follows where bytes are kept or freed.

mod backlog;
mod bounds;
mod deadlines;
mod drains;
mod ends;
mod invariants;
pub(crate) mod outboxes;
mod questions;
mod request_bytes;
mod requests;
mod sessions;
pub(crate) mod tables;
pub(crate) mod timer;
mod turns;
mod weights;

use crate::cluster::maps::tunnels::Tunnels;
use crate::event::CONNECTION_ROLES;
use crate::id::{SessionKey, ShardId};
use crate::limits::{HELD_READ_MS, spare_outboxes};
use crate::machine::{Output, Shown};
use crate::placement::Placement;
use crate::readiness::Readiness;
use crate::session::Session;
use crate::session::http::OnwardCount;
use crate::session::outbox::Spares;
use crate::settings::Settings;
use crate::shard::Letter;
use crate::shard::dev::state::Dev;
use crate::shard::shares::admitted::Admitted;
use crate::shard::shares::asking::Asking;
use crate::time::{Moment, Now};
use crate::wheel::Wheel;
use ahash::RandomState;
use backlog::Backlog;
use bounds::Bounds;
use drains::{Closings, Drain};
use request_bytes::RequestBytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tables::Table;
use timer::Timer;
use turns::Turns;

/// The connections of a shard.
pub(crate) struct Sockets {
    settings: Arc<Settings>,
    rules: Bounds,
    sessions: Table<SessionKey, Session>,
    /// The outputs for the edge, oldest first.
    outputs: VecDeque<Output<Letter>>,
    /// Deadlines of sessions, and of channels: one list, so that what is due first is done first.
    wheel: Wheel<Timer>,
    scratch: Scratch,
    /// Connections that do not take what waits for them.
    backlog: Backlog,
    requests: Requests,
    shards: Shards,
    ends: Ends,
    census: Census,
    /// The places of WebSockets and tunnels.
    admitted: Admitted,
    tunnels: Tunnels,
    /// The end of the last jump of the clock ([`crate::leap`]).
    leap: Now,
    standstill: Standstill,
    /// The state of the test double.
    dev: Dev,
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
    turns: Turns,
    /// Those that wait for a node that has their channel, or were answered meanwhile and are leaving: at most
    /// [`OWNER_WAITERS_MAX`](crate::limits::OWNER_WAITERS_MAX).
    without_owner: BTreeSet<SessionKey>,
    /// Those for other nodes, wherever they are.
    onward: OnwardCount,
    /// The names and certificates that connections to the credentials provider began with; nothing of others.
    shown: BTreeMap<SessionKey, Arc<Shown>>,
}

/// Which shard this is, and what its connections wait for from the others.
struct Shards {
    id: ShardId,
    placement: Placement,
    /// Whether the process is ready for clients.
    readiness: Readiness,
    /// Questions under way to each other shard.
    asking: Vec<Asking>,
    /// Connections here whose Alexa call waits on another shard.
    offers_out: usize,
}

/// When connections end that the shard ends by itself.
struct Ends {
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
            sessions: Table::new(settings.connections_per_shard()),
            outputs: VecDeque::new(),
            wheel: Wheel::default(),
            scratch: Scratch {
                spares: Spares::of(spare_outboxes(settings.shards)),
                parser: None,
            },
            backlog: Backlog::default(),
            requests: Requests::default(),
            shards: Shards {
                id,
                asking: (0..placement.shards())
                    .map(|_| Asking::among(placement.shards().into()))
                    .collect(),
                placement,
                readiness,
                offers_out: 0,
            },
            ends: Ends {
                drain: None,
                spread: 0,
                closings: Closings::default(),
                recalled: Now(0),
            },
            census: Census::default(),
            admitted: Admitted::among(connections, hasher),
            tunnels: Tunnels::default(),
            dev: Dev::default(),
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

    /// The state of the test double.
    pub(crate) fn dev(&self) -> &Dev {
        &self.dev
    }

    /// The same, to be changed.
    pub(crate) fn dev_mut(&mut self) -> &mut Dev {
        &mut self.dev
    }

    /// The clock jumps: no peer is read until then.
    pub(crate) fn leap(&mut self, until: Now) {
        self.leap = until;
    }
}
