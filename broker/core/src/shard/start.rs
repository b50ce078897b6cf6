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
    /// The configuration; its listeners hold their actual ports.
    pub settings: Arc<Settings>,
    /// The shard's id.
    pub id: ShardId,
    /// The placement of channels.
    pub placement: Placement,
    /// Seeds of the hash tables and of the generator of request ids and versions.
    pub seeds: [u64; 4],
    /// The channels of a previous process that are homed here.
    pub records: Records,
    /// Latest creation time in a previous process, on any shard; those of new channels must be later.
    pub newest: Wall,
    /// Records of all shards of the process.
    pub catalog: Arc<dyn SharedCatalog>,
    /// The store that makes changes durable.
    pub store: Box<dyn Store>,
    /// The journal that operators read.
    pub journal: Box<dyn Journal>,
    /// The keys used to check signatures.
    pub keys: StartKeys,
    /// Maximum number of client connections: this shard's share of those for which the process has descriptors.
    pub connections: usize,
    /// Maximum number of Alexa calls waiting on the shard's channels: [`Settings::waiting_calls_of_shard`] in a server,
    /// fewer in tests of the limit.
    ///
    /// [`Settings::waiting_calls_of_shard`]: crate::settings::Settings::waiting_calls_of_shard
    pub waiting_calls: usize,
    /// Maximum number of devices waiting on the shard's channels: [`wake_polls_per_shard`] in a server.
    ///
    /// [`wake_polls_per_shard`]: crate::limits::wake_polls_per_shard
    pub wake_polls: usize,
    /// Parts used with `--dev` only.
    pub dev: StartDev,
    /// The source of slot orders, if slots move between nodes. Orders then come with the records of their channels.
    pub slot_orders: Option<Box<dyn SlotOrders>>,
    /// Whether the process is ready for clients.
    pub readiness: Readiness,
    /// Readers of the presence of channels watched by a hook.
    pub audience: Box<dyn Audience>,
    /// The presence epoch: greater than that of every earlier process. If slots move between nodes, each slot has a
    /// separate epoch.
    pub epoch: u64,
}

/// The keys that a shard uses to check signatures.
pub struct StartKeys {
    /// Checks signatures; `None` if none is required.
    pub authenticator: Option<Authenticator>,
    /// The keys that seal temporary credentials.
    pub session_keys: Arc<SessionKeys>,
    /// Nonces of session keys.
    pub nonces: Nonces,
}
