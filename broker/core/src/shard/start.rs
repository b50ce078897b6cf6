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

/// The initial state of a shard.
pub struct Start {
    /// The configuration, in which the listeners contain their actual ports.
    pub settings: Arc<Settings>,
    /// The shard's id.
    pub id: ShardId,
    /// The placement of channels.
    pub placement: Placement,
    /// Seeds of the hash tables and of the generator of request ids and versions.
    pub seeds: [u64; 4],
    /// The channels of a previous process that are homed on this shard.
    pub records: Records,
    /// Latest creation time of any channel in a previous process, on any shard. New channels must have later ones.
    pub newest: Wall,
    /// Records of all shards in the process.
    pub catalog: Arc<dyn SharedCatalog>,
    /// The store that makes changes durable.
    pub store: Box<dyn Store>,
    /// The journal, which is read by operators.
    pub journal: Box<dyn Journal>,
    /// The keys used to check signatures.
    pub keys: StartKeys,
    /// Maximum number of client connections: this shard's share of the number for which the process has file
    /// descriptors.
    pub connections: usize,
    /// Maximum number of Alexa calls waiting on the shard's channels: [`Settings::waiting_calls_of_shard`] on a server,
    /// fewer when testing the limit.
    ///
    /// [`Settings::waiting_calls_of_shard`]: crate::settings::Settings::waiting_calls_of_shard
    pub waiting_calls: usize,
    /// Maximum number of devices waiting on the shard's channels: [`wake_polls_per_shard`] on a server.
    ///
    /// [`wake_polls_per_shard`]: crate::limits::wake_polls_per_shard
    pub wake_polls: usize,
    /// Parts used with `--dev` only.
    pub dev: StartDev,
    /// The source of slot orders, if slots move between nodes. In this case, records arrive with the orders.
    pub slot_orders: Option<Box<dyn SlotOrders>>,
    /// Whether the process is ready to serve clients.
    pub readiness: Readiness,
    /// Receives the presence of channels that are watched by a hook.
    pub audience: Box<dyn Audience>,
    /// The presence epoch, greater than that of every earlier process. If slots move between nodes, each slot has its
    /// own epoch.
    pub epoch: u64,
}

/// The keys that a shard uses to check signatures.
pub struct StartKeys {
    /// Checks signatures; `None` if no signatures are required.
    pub authenticator: Option<Authenticator>,
    /// The keys that seal temporary credentials.
    pub session_keys: Arc<SessionKeys>,
    /// Nonces used with the session keys.
    pub nonces: Nonces,
}
