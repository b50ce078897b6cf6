//! A store that tells of changes when the transcript says so.

use broker::id::ChannelKey;
use broker::registry::{Change, Store, StoreError, Submitted};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// What the stores of all shards were given and have not told of.
#[derive(Clone, Default)]
pub(crate) struct Changes(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waits: bool,
    waiting: VecDeque<(usize, ChannelKey)>,
}

impl Changes {
    /// From here on changes wait.
    pub(crate) fn wait(&self) {
        self.0.lock().expect("one thread").waits = true;
    }

    /// The oldest that waits: its shard and channel.
    pub(crate) fn next(&self) -> Option<(usize, ChannelKey)> {
        self.0.lock().expect("one thread").waiting.pop_front()
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
        let mut state = self.changes.0.lock().expect("one thread");
        if !state.waits {
            return Ok(Submitted::Kept);
        }
        assert!(
            !state.waiting.contains(&(self.shard, of)),
            "one change of a channel at a time"
        );
        state.waiting.push_back((self.shard, of));
        Ok(Submitted::Later)
    }
}
