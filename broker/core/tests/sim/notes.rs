//! The log of the simulation: read at once.

use broker_core::id::Account;
use broker_core::journal::{Entry, Journal};
use std::sync::mpsc::Sender;

/// The journal in which a shard notes entries for operators.
pub(crate) struct Notes {
    to: Sender<Entry>,
    /// For changes under way.
    places: usize,
}

impl Notes {
    /// A journal with this many places for changes in flight.
    pub(crate) fn new(to: Sender<Entry>, places: usize) -> Self {
        Self { to, places }
    }
}

impl Journal for Notes {
    fn note(&mut self, entry: Entry) {
        self.to.send(entry).expect("the world has the other end");
    }

    fn keep_place(&mut self, _account: Account) -> bool {
        let left = self.places.checked_sub(1);
        self.places = left.unwrap_or_default();
        left.is_some()
    }

    fn note_kept(&mut self, account: Account, entry: Entry) {
        self.note(entry); // and it is read at once
        self.give_back(account);
    }

    fn give_back(&mut self, _account: Account) {
        self.places += 1;
    }
}
