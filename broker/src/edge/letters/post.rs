//! Letters between shards, and from the side thread to a shard.

use crate::devices::Devices;
use crate::edge::clock::Shift;
use crate::edge::letters::counts::EdgeCounts;
use crate::edge::nodes::lease::Lease;
use broker_core::id::ShardId;
use broker_core::machine::Machine;
use broker_core::time::Moment;
use crossbeam_channel::Sender;
use rustls::ServerConfig;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One letter in a shard's mailbox.
///
/// Post [`Post::Handover`] and [refusable](Machine::refusable) letters with `Mailbox::post`, everything else with
/// `Mailbox::post_always`.
pub enum Post<M: Machine> {
    /// A connection that belongs to the reader's shard. Dropping the letter closes the connection.
    Handover(Box<Handover<M>>),
    /// A letter of the machine, from another shard's machine or from the side thread (drain, reload).
    Letter(M::Letter),
    /// Answer with the counters between two turns. A receiver that is gone does no harm.
    Scrape(Sender<Scraped<M::Snapshot>>),
    /// Answer an operator's question, between two turns. A receiver that is gone does no harm. In a box, since it is
    /// rare and longer than all other letters, whose places in mailboxes are counted by the million.
    Inspect(Box<M::Question>, Sender<(ShardId, M::Reply)>),
    /// The clocks differ from the system's by this much from here on. Answered with the moment, once all that is due
    /// by it is done.
    Shift(Shift, Sender<(ShardId, Moment)>),
    /// Connections accepted from here on present this.
    Tls(Arc<ServerConfig>),
    /// Connections accepted from here on are asked for a certificate at the names of these devices.
    Devices(Option<Arc<Devices>>),
    /// End the listeners, cut off every connection, and end the shard when all descriptors are closed.
    Stop,
}

/// A connection on its way, with its session.
pub struct Handover<M: Machine> {
    /// The session, out of the machine that accepted it.
    pub parcel: M::Parcel,
    /// The connection, out of the edge that accepted it.
    pub connection: Travelling,
}

/// A connection with nothing armed and nothing in flight.
pub struct Travelling {
    pub(crate) socket: OwnedFd,
    /// The TLS state, established, with the bytes of an incomplete record.
    pub(crate) tls: Option<Box<crate::edge::tls::Tls>>,
    /// Received bytes that no machine has seen yet, as they came from the socket.
    pub(crate) unread: Vec<u8>,
    /// It goes back to another node when its WebSocket is over.
    pub(crate) lease: Option<Box<Lease>>,
}

/// A shard's answer to [`Post::Scrape`].
#[derive(Clone, Debug)]
pub struct Scraped<S> {
    /// The owner.
    pub shard: ShardId,
    /// The machine's counters.
    pub snapshot: S,
    /// The edge's counters.
    pub edge: EdgeCounts,
}
