//! The readiness of the process. The main thread sets it, and shards read it to answer the probes of load balancers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The readiness flags of the process, which all clones share.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// Whether listeners accept connections and no shutdown is about to begin.
    serves: AtomicBool,
    /// Whether the registry accepts no changes.
    store_failed: AtomicBool,
    /// Whether the store has so little space that the registry should accept no more channels.
    store_nearly_full: AtomicBool,
}

impl Readiness {
    /// Returns `true` if the process is ready to serve clients. A process whose registry accepts no changes is still
    /// ready, because it continues to relay messages.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.serves.load(Ordering::Relaxed)
    }

    /// Sets whether the process serves clients. A process that is starting or shutting down does not.
    pub fn set_serves(&self, serves: bool) {
        self.0.serves.store(serves, Ordering::Relaxed);
    }

    /// Sets whether the registry's store is failing. Returns `true` if the value has changed.
    pub fn set_store_failed(&self, failed: bool) -> bool {
        self.0.store_failed.swap(failed, Ordering::Relaxed) != failed
    }

    /// Sets whether the registry's store is nearly full. If so, the remaining space is reserved for existing channels.
    pub fn set_store_nearly_full(&self, full: bool) {
        self.0.store_nearly_full.store(full, Ordering::Relaxed);
    }

    /// Returns `true` if the registry's store is nearly full. The process is still ready.
    #[must_use]
    pub fn store_nearly_full(&self) -> bool {
        self.0.store_nearly_full.load(Ordering::Relaxed)
    }

    /// Returns `true` if the registry's store is failing.
    #[must_use]
    pub fn store_failed(&self) -> bool {
        self.0.store_failed.load(Ordering::Relaxed)
    }
}
