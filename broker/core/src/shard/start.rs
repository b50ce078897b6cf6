//! The initial state of a shard.

use crate::auth::{Authenticator, Nonces, SessionKeys};
use crate::catalog::SharedCatalog;
use crate::shard::dev::StartDev;
use crate::shard::directory::slots::SlotOrders;
use crate::{id::ShardId, journal::Journal, placement::Placement, presence::Audience};
use crate::{
    readiness::Readiness, record::Records, registry::Store, settings::Settings, time::Wall,
};
use std::sync::Arc;

/// The state with which a shard is created.
pub struct Start {
    /// The configuration, including the ports to which the listeners are actually bound.
    pub settings: Arc<Settings>,
    /// The shard's id.
    pub id: ShardId,
    /// Determines which shard of which node owns a channel.
    pub placement: Placement,
    /// Seeds for the hash tables, and for the generator of request ids and channel versions.
    pub seeds: [u64; 4],
    /// Records of the channels that this shard owns, as stored by the previous process.
    pub records: Records,
    /// Creation time of the previous process's newest channel, on any shard. Every new channel gets a later time.
    pub newest: Wall,
    /// The records of all shards in the process.
    pub catalog: Arc<dyn SharedCatalog>,
    /// The store that makes changes durable.
    pub store: Box<dyn Store>,
    /// Receives log lines and audit entries for operators.
    pub journal: Box<dyn Journal>,
    /// The authenticator, and the keys for issuing temporary credentials.
    pub keys: StartKeys,
    /// Maximum number of client connections: this shard's share of the file descriptors that the process has for them.
    pub connections: usize,
    /// Maximum number of pending Alexa calls on the shard's channels. Servers use [`Settings::waiting_calls_of_shard`];
    /// tests use a lower number to reach the limit.
    ///
    /// [`Settings::waiting_calls_of_shard`]: crate::settings::Settings::waiting_calls_of_shard
    pub waiting_calls: usize,
    /// Maximum number of devices that may wait on the shard's channels. Servers use [`wake_polls_per_shard`].
    ///
    /// [`wake_polls_per_shard`]: crate::limits::wake_polls_per_shard
    pub wake_polls: usize,
    /// The part of the initial state that exists only with `--dev`.
    pub dev: StartDev,
    /// Source of slot orders, or `None` if slots do not move between nodes. If they do, records arrive with the orders.
    pub slot_orders: Option<Box<dyn SlotOrders>>,
    /// Whether the process is ready to serve clients.
    pub readiness: Readiness,
    /// Receives the presence of channels that a hook watches.
    pub audience: Box<dyn Audience>,
    /// Presence epoch of channels that do not belong to a slot. Must be greater than in any earlier process. If slots
    /// move between nodes, each slot has its own epoch.
    pub epoch: u64,
}

/// A shard's keys and authenticator.
pub struct StartKeys {
    /// Checks signatures, or `None` if requests need not be signed.
    pub authenticator: Option<Authenticator>,
    /// The keys that seal temporary credentials.
    pub session_keys: Arc<SessionKeys>,
    /// The source of nonces for sealing temporary credentials.
    pub nonces: Nonces,
}
