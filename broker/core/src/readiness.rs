//! Whether the process is ready for clients: set by its main thread, and read by shards once for each probe of a load
//! balancer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One per process.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    /// Listeners accept, and no end is near.
    serves: AtomicBool,
    /// The registry takes no changes.
    store_failed: AtomicBool,
    /// It is to take no new channels.
    store_nearly_full: AtomicBool,
}

impl Readiness {
    /// Whether clients are welcome: also while the registry takes no changes, since messages are relayed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.serves.load(Ordering::Relaxed)
    }

    /// Sets whether the process serves: neither starts nor ends.
    pub fn set_serves(&self, serves: bool) {
        self.0.serves.store(serves, Ordering::Relaxed);
    }

    /// Sets whether the registry's store fails. True when it was otherwise before.
    pub fn set_store_failed(&self, failed: bool) -> bool {
        self.0.store_failed.swap(failed, Ordering::Relaxed) != failed
    }

    /// Sets whether the registry's store has room for what is there alone.
    pub fn set_store_nearly_full(&self, full: bool) {
        self.0.store_nearly_full.store(full, Ordering::Relaxed);
    }

    /// Whether the registry's store has room for what is there alone. The process is ready for clients all the same.
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
