//! Readiness of the process, set by the main thread and read by shards for probes of load balancers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Readiness flags of the process, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// Whether listeners accept connections and the process is not about to shut down.
    serves: AtomicBool,
    /// Whether the registry accepts no changes.
    store_failed: AtomicBool,
    /// Whether the registry should accept no more channels.
    store_nearly_full: AtomicBool,
}

impl Readiness {
    /// Whether the process is ready for clients. Remains true while the registry accepts no changes, since messages are
    /// still relayed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.serves.load(Ordering::Relaxed)
    }

    /// Sets whether the process serves clients; `false` while it starts or shuts down.
    pub fn set_serves(&self, serves: bool) {
        self.0.serves.store(serves, Ordering::Relaxed);
    }

    /// Sets whether the registry's store is failing. Returns `true` if that changed.
    pub fn set_store_failed(&self, failed: bool) -> bool {
        self.0.store_failed.swap(failed, Ordering::Relaxed) != failed
    }

    /// Sets whether the registry's store is nearly full and reserves its capacity for existing channels.
    pub fn set_store_nearly_full(&self, full: bool) {
        self.0.store_nearly_full.store(full, Ordering::Relaxed);
    }

    /// Whether the registry's store is nearly full. The process is still ready.
    #[must_use]
    pub fn store_nearly_full(&self) -> bool {
        self.0.store_nearly_full.load(Ordering::Relaxed)
    }

    /// Whether the registry's store is failing.
    #[must_use]
    pub fn store_failed(&self) -> bool {
        self.0.store_failed.load(Ordering::Relaxed)
    }
}
