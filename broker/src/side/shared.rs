//! Values shared by threads that are no shards: the main thread, the log thread, the side thread.

use std::sync::{Arc, MutexGuard, PoisonError};

#[expect(
    clippy::disallowed_types,
    reason = "held for moments, by threads that nobody's messages wait for, and by shards for a page under --lan"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// A value that several of these threads use; a clone is another way to the same.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// The value, for a moment. It is consistent after each use, so a thread that panicked spoils nothing.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
