//! Readiness of the process for clients: set by its main thread, and read by shards once per probe of a load balancer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Readiness flags. One per process.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// Whether listeners accept, and no shutdown is near.
    serves: AtomicBool,
    /// Whether the registry accepts no changes.
    store_failed: AtomicBool,
    /// Whether the registry should accept no more channels.
    store_nearly_full: AtomicBool,
}

impl Readiness {
    /// Whether clients are welcome: also while the registry accepts no changes, since messages are relayed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.serves.load(Ordering::Relaxed)
    }

    /// Sets whether the process serves: it neither starts nor shuts down.
    pub fn set_serves(&self, serves: bool) {
        self.0.serves.store(serves, Ordering::Relaxed);
    }

    /// Sets whether the registry's store fails. True if that changed.
    pub fn set_store_failed(&self, failed: bool) -> bool {
        self.0.store_failed.swap(failed, Ordering::Relaxed) != failed
    }

    /// Sets whether the registry's store is nearly full: has room for existing channels only.
    pub fn set_store_nearly_full(&self, full: bool) {
        self.0.store_nearly_full.store(full, Ordering::Relaxed);
    }

    /// Whether the registry's store is nearly full. The process is ready for clients nevertheless.
    #[must_use]
    pub fn store_nearly_full(&self) -> bool {
        self.0.store_nearly_full.load(Ordering::Relaxed)
    }

    /// Whether the registry's store fails.
    #[must_use]
    pub fn store_failed(&self) -> bool {
        self.0.store_failed.load(Ordering::Relaxed)
    }
}
