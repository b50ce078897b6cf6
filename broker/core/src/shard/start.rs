//! The initial state of a shard.

use crate::auth::{Authenticator, Nonces, SessionKeys};
use crate::shard::dev::StartDev;
use crate::shard::directory::slots::SlotOrders;
use crate::{id::ShardId, journal::Journal, placement::Placement, presence::Audience};
use crate::{
    readiness::Readiness, record::Records, registry::Store, settings::Settings, time::Wall,
};
use std::sync::Arc;

/// The initial state of a shard.
pub struct Start {
    /// The configuration; its listeners hold their actual ports.
    pub settings: Arc<Settings>,
    /// Which shard it is.
    pub id: ShardId,
    /// The placement of channels.
    pub placement: Placement,
    /// Seeds of its hash tables and of its generator of request ids and versions.
    pub seeds: [u64; 4],
    /// The channels of an earlier life whose home this is.
    pub records: Records,
    /// A time that creation times of new channels must exceed: the latest of an earlier life, on whatever shard.
    pub newest: Wall,
    /// The store that makes changes durable.
    pub store: Box<dyn Store>,
    /// The journal of what operators read.
    pub journal: Box<dyn Journal>,
    /// The keys that signatures are checked with.
    pub keys: StartKeys,
    /// Client connections that it may have: its part of those that the process has descriptors for.
    pub connections: usize,
    /// Alexa calls that may wait on its channels: [`Settings::waiting_calls_of_shard`] in a server, fewer in a test of
    /// what happens then.
    ///
    /// [`Settings::waiting_calls_of_shard`]: crate::settings::Settings::waiting_calls_of_shard
    pub waiting_calls: usize,
    /// Devices that may wait on its channels: [`wake_polls_per_shard`] in a server.
    ///
    /// [`wake_polls_per_shard`]: crate::limits::wake_polls_per_shard
    pub wake_polls: usize,
    /// The parts that it has under `--dev` only.
    pub dev: StartDev,
    /// The orders about slots, where slots go from one node to another. Records come with them.
    pub slot_orders: Option<Box<dyn SlotOrders>>,
    /// Whether the process is ready for clients.
    pub readiness: Readiness,
    /// Readers of the states of channels that a hook watches.
    pub audience: Box<dyn Audience>,
    /// The epoch of presence: greater than that of every earlier process. Where slots go from one node to another, each
    /// comes with its own.
    pub epoch: u64,
}

/// The keys that a shard checks signatures with.
pub struct StartKeys {
    /// Checks signatures; `None` where none is required.
    pub authenticator: Option<Authenticator>,
    /// The keys that temporary credentials are sealed with.
    pub session_keys: Arc<SessionKeys>,
    /// Nonces of session keys.
    pub nonces: Nonces,
}
