//! Fixtures for tests and benchmarks: a shard that checks no signatures, stores nothing and logs nothing. Only
//! available with the feature `testing`, which no released program enables.

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
    /// Creates a shard that checks no signatures, stores nothing and logs nothing.
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
    /// Creates the keys of a shard that checks no signatures. The nonces are not secret.
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
    /// Returns the readiness of a process that serves clients.
    #[must_use]
    pub fn ready() -> Self {
        let readiness = Self::default();
        readiness.set_serves(true);
        readiness
    }
}

impl Hook {
    /// Creates a hook that receives the states of all channels and has no secret.
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

/// A catalog for tests, whose shards run one at a time.
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

/// A store that keeps no records, so channels live only as long as the process.
#[derive(Debug, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn submit(&mut self, _of: ChannelKey, _change: Change<'_>) -> Result<Submitted, StoreError> {
        Ok(Submitted::Kept)
    }
}

/// A journal that drops all entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct SilentJournal;

impl Journal for SilentJournal {
    fn note(&mut self, _entry: Entry) {}
}
