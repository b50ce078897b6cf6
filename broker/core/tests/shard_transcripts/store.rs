//! A store that reports changes when the transcript says so.

use broker_core::id::ChannelKey;
use broker_core::registry::{Change, Store, StoreError, Submitted};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Changes that the stores of all shards were given and have not reported.
#[derive(Clone)]
pub(crate) struct Changes {
    wait: Arc<AtomicBool>,
    waiting: Receiver<(usize, ChannelKey)>,
    taken: Sender<(usize, ChannelKey)>,
}

impl Default for Changes {
    fn default() -> Self {
        let (taken, waiting) = unbounded();
        Self {
            wait: Arc::default(),
            waiting,
            taken,
        }
    }
}

impl Changes {
    /// From here on changes wait.
    pub(crate) fn wait(&self) {
        self.wait.store(true, Ordering::Relaxed);
    }

    /// The oldest that waits: its shard and channel.
    pub(crate) fn next(&self) -> Option<(usize, ChannelKey)> {
        self.waiting.try_recv().ok()
    }
}

/// The store of one shard.
pub(crate) struct SlowStore {
    shard: usize,
    changes: Changes,
}

impl SlowStore {
    pub(crate) fn new(shard: u16, changes: &Changes) -> Self {
        Self {
            shard: usize::from(shard),
            changes: changes.clone(),
        }
    }
}

impl Store for SlowStore {
    fn submit(&mut self, of: ChannelKey, _change: Change<'_>) -> Result<Submitted, StoreError> {
        if !self.changes.wait.load(Ordering::Relaxed) {
            return Ok(Submitted::Kept);
        }
        let taken = self.changes.taken.send((self.shard, of));
        taken.expect("the script has the other end");
        Ok(Submitted::Later)
    }
}
