//! The log of all shards, and its places for changes.

use broker_core::id::Account;
use broker_core::journal::{Entry, Journal};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

/// A shard's end of it.
pub(crate) struct Notes {
    pub(crate) to: Sender<Entry>,
    /// For changes, under way or noted.
    pub(crate) places: Arc<AtomicUsize>,
    /// What is noted is read at once, and gives its place back.
    pub(crate) is_read: bool,
}

impl Journal for Notes {
    fn note(&mut self, entry: Entry) {
        drop(self.to.send(entry)); // nobody reads what is noted after the script
    }

    fn keep_place(&mut self, _account: Account) -> bool {
        let one_less = |places: usize| places.checked_sub(1);
        let order = Ordering::SeqCst;
        self.places.fetch_update(order, order, one_less).is_ok()
    }

    fn note_kept(&mut self, account: Account, entry: Entry) {
        self.note(entry);
        if self.is_read {
            self.give_back(account);
        }
    }

    fn give_back(&mut self, _account: Account) {
        self.places.fetch_add(1, Ordering::SeqCst);
    }
}
