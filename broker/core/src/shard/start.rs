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

/// The initial state from which a shard is created.
pub struct Start {
    /// The configuration, including the actual ports of the listeners.
    pub settings: Arc<Settings>,
    /// The shard's id.
    pub id: ShardId,
    /// Determines which shard of which node owns a channel.
    pub placement: Placement,
    /// Seeds for the hash tables, and for the generator of request ids and channel versions.
    pub seeds: [u64; 4],
    /// The records of the channels that this shard owns, left by the previous process.
    pub records: Records,
    /// Creation time of the newest channel of the previous process, on any shard. New channels are given later times.
    pub newest: Wall,
    /// The records of all shards in the process.
    pub catalog: Arc<dyn SharedCatalog>,
    /// The store that makes changes durable.
    pub store: Box<dyn Store>,
    /// Receives log lines and audit entries for operators.
    pub journal: Box<dyn Journal>,
    /// The authenticator, and the keys with which temporary credentials are issued.
    pub keys: StartKeys,
    /// Maximum number of client connections: this shard's share of the connections for which the process has file
    /// descriptors.
    pub connections: usize,
    /// Maximum number of Alexa calls that may be pending on the shard's channels. Servers use
    /// [`Settings::waiting_calls_of_shard`]; tests of the limit use a lower number.
    ///
    /// [`Settings::waiting_calls_of_shard`]: crate::settings::Settings::waiting_calls_of_shard
    pub waiting_calls: usize,
    /// Maximum number of devices that may wait on the shard's channels. Servers use [`wake_polls_per_shard`].
    ///
    /// [`wake_polls_per_shard`]: crate::limits::wake_polls_per_shard
    pub wake_polls: usize,
    /// The part of the initial state that exists only with `--dev`.
    pub dev: StartDev,
    /// Where slot orders come from; `None` if slots do not move between nodes. If they do, records arrive along with
    /// the orders.
    pub slot_orders: Option<Box<dyn SlotOrders>>,
    /// Whether the process is ready to serve clients.
    pub readiness: Readiness,
    /// Receives the presence on channels that a hook watches.
    pub audience: Box<dyn Audience>,
    /// The presence epoch of channels that do not belong to a slot, which must be greater than in any earlier process.
    /// If slots move between nodes, each slot has an epoch of its own.
    pub epoch: u64,
}

/// The keys and the authenticator of a shard.
pub struct StartKeys {
    /// Checks signatures; `None` if requests need not be signed.
    pub authenticator: Option<Authenticator>,
    /// The keys with which temporary credentials are sealed.
    pub session_keys: Arc<SessionKeys>,
    /// The source of nonces for sealing temporary credentials.
    pub nonces: Nonces,
}
