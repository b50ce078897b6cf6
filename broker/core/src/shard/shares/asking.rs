//! Questions of one shard to another that have no answer yet.

use crate::id::{Account, CallRef};
use crate::limits::{calls_per_pair, changes_per_pair};
use crate::shard::shares::places::Places;

/// Questions under way to another shard.
pub(crate) struct Asking {
    all: Places<Account>,
    changes: Places<Account>,
}

impl Asking {
    /// None, among this many shards.
    pub(crate) fn among(shards: usize) -> Self {
        Self {
            all: Places::of(calls_per_pair(shards)),
            changes: Places::of(changes_per_pair(shards)),
        }
    }

    /// Takes places for one more. False when its account has its share.
    pub(crate) fn begin(&mut self, caller: CallRef) -> bool {
        let account = caller.account;
        if caller.change && !self.changes.take(account) {
            return false;
        }
        let may = self.all.take(account);
        if !may && caller.change {
            self.changes.give_back(account);
        }
        may
    }

    /// One is answered, or found no room.
    pub(crate) fn end(&mut self, caller: CallRef) {
        self.all.give_back(caller.account);
        if caller.change {
            self.changes.give_back(caller.account);
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
