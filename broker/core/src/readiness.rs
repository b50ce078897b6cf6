//! The readiness of the process. The main thread sets it, and shards read it to answer load balancer probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The readiness flags of the process, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// Whether the listeners accept connections and no shutdown is imminent.
    serves: AtomicBool,
    /// Whether the registry refuses changes.
    store_failed: AtomicBool,
    /// Whether the store has so little space left that the registry should accept no more channels.
    store_nearly_full: AtomicBool,
}

impl Readiness {
    /// Returns `true` if the process is ready for clients. It remains ready while its registry refuses changes, because
    /// it still relays messages.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.serves.load(Ordering::Relaxed)
    }

    /// Sets whether the process serves clients. It does not while it is starting or shutting down.
    pub fn set_serves(&self, serves: bool) {
        self.0.serves.store(serves, Ordering::Relaxed);
    }

    /// Sets whether the registry's store is failing. Returns `true` if this changed the value.
    pub fn set_store_failed(&self, failed: bool) -> bool {
        self.0.store_failed.swap(failed, Ordering::Relaxed) != failed
    }

    /// Sets whether the registry's store is nearly full. The space left is then reserved for existing channels.
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
