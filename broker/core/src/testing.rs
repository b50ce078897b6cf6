//! Fixtures of tests and benchmarks: a shard that checks no signature, stores nothing and logs nothing. Only with the
//! feature `testing`, which no product enables.

use crate::auth::{Nonces, SessionKeys};
use crate::catalog::{Catalog, SharedCatalog};
use crate::id::{ChannelKey, ShardId};
use crate::journal::{Entry, Journal};
use crate::limits::{waiting_calls_per_shard, wake_polls_per_shard};
use crate::registry::{Change, Store, StoreError, Submitted};
use crate::settings::{Hook, Settings};
use crate::shard::{Start, StartKeys};
use crate::time::Wall;
use crate::{placement::Placement, presence::Nobody, readiness::Readiness, record::Records};
use std::path::PathBuf;
use std::sync::Arc;

impl Start {
    /// A shard that checks no signature, stores nothing and logs nothing.
    #[must_use]
    pub fn bare(
        settings: Arc<Settings>,
        id: ShardId,
        placement: Placement,
        seeds: [u64; 4],
    ) -> Self {
        let shards = usize::from(placement.shards());
        Self {
            connections: settings.connections_per_shard(),
            settings,
            id,
            placement,
            seeds,
            records: Records::default(),
            newest: Wall::default(),
            catalog: Arc::new(TestCatalog::default()),
            store: Box::new(MemoryStore),
            journal: Box::new(SilentJournal),
            keys: StartKeys::bare(id, Arc::new(SessionKeys::new(&[0; 32], None))),
            waiting_calls: waiting_calls_per_shard(shards),
            wake_polls: wake_polls_per_shard(shards),
            dev: Default::default(),
            slot_orders: None,
            readiness: Readiness::ready(),
            audience: Box::new(Nobody),
            epoch: 1,
        }
    }
}

impl StartKeys {
    /// Keys of a shard that checks no signature, with nonces that are not secret.
    #[must_use]
    pub fn bare(id: ShardId, session_keys: Arc<SessionKeys>) -> Self {
        Self {
            authenticator: None,
            session_keys,
            nonces: Nonces::new(&[0; 32], id.0),
        }
    }
}

impl Readiness {
    /// Readiness of a serving process.
    #[must_use]
    pub fn ready() -> Self {
        let readiness = Self::default();
        readiness.set_serves(true);
        readiness
    }
}

impl Hook {
    /// A hook for the states of all channels, without a secret.
    #[must_use]
    pub fn bare(name: &str) -> Self {
        Self {
            name: name.into(),
            url: "http://127.0.0.1".into(),
            wakes: false,
            problems: false,
            presence: true,
            channels: None,
            tag: None,
            secret_file: PathBuf::new(),
            client: None,
            ca: None,
            timeout_ms: 0,
            retry_ms: 0,
            include_remote: false,
            include_client_id: false,
            allow_plain: false,
        }
    }
}

/// The catalog of shards that run one after the other.
#[derive(Debug, Default)]
#[expect(
    clippy::disallowed_types,
    reason = "shards of tests may run on several threads"
)]
pub struct TestCatalog(std::sync::Mutex<Catalog>);

impl SharedCatalog for TestCatalog {
    fn with(&self, step: &mut dyn FnMut(&mut Catalog)) {
        step(&mut self.0.lock().expect("no step panics"));
    }
}

/// A store that keeps no records: channels live as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn submit(&mut self, _of: ChannelKey, _change: Change<'_>) -> Result<Submitted, StoreError> {
        Ok(Submitted::Kept)
    }
}

/// A journal that drops everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct SilentJournal;

impl Journal for SilentJournal {
    fn note(&mut self, _entry: Entry) {}
}
