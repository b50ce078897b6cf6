//! The invariants of the parts, checked in debug builds.

use crate::session::Session;
use crate::shard::Shard;

impl Shard {
    /// Checks that each part keeps its promise: after every input, when all that it left is worked off. The connections
    /// of a shard with many are checked less often, so that the time for it stays the same.
    #[inline]
    pub(crate) fn check(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.books.invariants();
        self.directory.invariants();
        self.gate.invariants();
        self.directory.polls().invariants();
        let polls = self.directory.polls().sessions();
        for session in polls.take(PLACES_CHECKED_PER_INPUT) {
            let session = self.sockets.session(session);
            let waits = session.is_some_and(Session::awaits_wake);
            assert!(waits, "a device has an answer and waits");
        }
        self.inputs += 1;
        let places = self.sockets.places();
        let between = places.div_ceil(PLACES_CHECKED_PER_INPUT).max(1);
        if self.inputs.is_multiple_of(between) {
            self.sockets.invariants();
        }
    }
}

/// Places of sessions that an input of a debug build may cost a look at, on average.
const PLACES_CHECKED_PER_INPUT: usize = 128;
