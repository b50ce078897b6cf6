//! The initial state of a shard.

use crate::auth::{Authenticator, Nonces, SessionKeys};
use crate::id::ShardId;
use crate::journal::{Journal, Silence};
use crate::limits::waiting_calls_per_shard;
use crate::placement::Placement;
use crate::readiness::Readiness;
use crate::record::Records;
use crate::registry::{MemoryStore, Store};
use crate::settings::Settings;
use crate::shard::dev::account_use::AccountUse;
use crate::shard::dev::capture::Capture;
use crate::shard::nodes::slots::SlotOrders;
use crate::time::Wall;
use codec::http::HeadLimits;
use std::sync::Arc;

/// What a shard is made of.
pub struct Start {
    /// The configuration; its listeners hold their actual ports.
    pub settings: Arc<Settings>,
    /// Which shard it is.
    pub id: ShardId,
    /// Where channels live.
    pub placement: Placement,
    /// Seeds of its hash tables and of its generator of request ids and versions.
    pub seeds: [u64; 4],
    /// The channels of an earlier life whose home this is.
    pub records: Records,
    /// A time that creation times of new channels must exceed: the latest of an earlier life, on whatever shard.
    pub newest: Wall,
    /// Where changes are made durable.
    pub store: Box<dyn Store>,
    /// Where it notes what operators read.
    pub journal: Box<dyn Journal>,
    /// What signatures are checked with.
    pub keys: StartKeys,
    /// Client connections that it may have: its part of those that the process has descriptors for.
    pub connections: usize,
    /// Alexa calls that may wait on its channels: [`waiting_calls_per_shard`] in a server, fewer in a test of what
    /// happens then.
    pub waiting_calls: usize,
    /// What it has under `--dev` only.
    pub dev: StartDev,
    /// Where slots go from one node to another: what is to be done about them. Records come with them.
    pub slot_orders: Option<Box<dyn SlotOrders>>,
    /// Whether the process is ready for clients.
    pub readiness: Readiness,
}

/// What a shard checks signatures with.
pub struct StartKeys {
    /// Checks signatures; `None` where none is required.
    pub authenticator: Option<Authenticator>,
    /// What temporary credentials are sealed with.
    pub session_keys: Arc<SessionKeys>,
    /// Their nonces.
    pub nonces: Nonces,
}

/// What a shard has under `--dev` only.
#[derive(Default)]
pub struct StartDev {
    /// Where copies of messages go.
    pub copies: Option<Box<dyn Capture>>,
    /// What all shards use of the server's account.
    pub account_use: Option<Arc<AccountUse>>,
}

impl Start {
    /// A shard that checks no signature, keeps nothing and notes nothing: what tests and benches begin with.
    #[must_use]
    pub fn bare(
        settings: Arc<Settings>,
        id: ShardId,
        placement: Placement,
        seeds: [u64; 4],
    ) -> Self {
        let waiting_calls = waiting_calls_per_shard(usize::from(placement.shards()));
        Self {
            connections: settings.connections_per_shard(),
            settings,
            id,
            placement,
            seeds,
            records: Records::default(),
            newest: Wall::default(),
            store: Box::new(MemoryStore),
            journal: Box::new(Silence),
            keys: StartKeys::bare(id, Arc::new(SessionKeys::new(&[0; 32], None))),
            waiting_calls,
            dev: StartDev::default(),
            slot_orders: None,
            readiness: Readiness::ready(),
        }
    }
}

impl StartKeys {
    /// Those of a shard that checks no signature, with nonces for tests.
    #[must_use]
    pub fn bare(id: ShardId, session_keys: Arc<SessionKeys>) -> Self {
        Self {
            authenticator: None,
            session_keys,
            nonces: Nonces::new(&[0; 32], id.0),
        }
    }
}

/// Where a page of the admin listener says why a request was refused, up to its id; `None` but in development.
fn why_url(settings: &Settings) -> Option<Box<str>> {
    let url = settings.admin_url("localhost")?;
    settings.dev.then(|| format!("{url}/#/why/").into())
}

/// The configured bounds in the form in which the codec takes them.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) head: HeadLimits,
    pub(super) frames: codec::ws::FrameRules,
    pub(super) messages: codec::signal::MessageRules,
    pub(super) calls: codec::control::BodyRules,
    /// This shard's part of `limits.request_bytes`.
    pub(super) request_bytes: usize,
    pub(super) origins: crate::shard::connect::origins::Origins,
    /// Bytes that wait for the connections of this shard.
    pub(super) outbox_bytes: usize,
    /// In development, the page of refusals, up to their id.
    pub(super) why_url: Option<Box<str>>,
}

impl Bounds {
    pub(super) fn of(settings: &Settings) -> Self {
        let limits = &settings.limits;
        let strict = settings.strict();
        Self {
            head: HeadLimits {
                head_bytes: limits.head_bytes,
                header_lines: limits.header_lines,
            },
            frames: codec::ws::FrameRules {
                message_bytes: limits.message_bytes,
                fragments: crate::limits::FRAGMENTS_PER_MESSAGE_MAX,
            },
            messages: codec::signal::MessageRules {
                payload_bytes: limits.payload_bytes,
                url_safe: !strict,
                master_offers: settings.options.master_offers,
            },
            calls: codec::control::BodyRules { strict },
            request_bytes: settings.request_bytes_per_shard(),
            origins: crate::shard::connect::origins::Origins::of(settings),
            outbox_bytes: settings.outbox_bytes_of_shard(),
            why_url: why_url(settings),
        }
    }
}
