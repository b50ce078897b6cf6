//! Bounds that no step may exceed, and the state at the end.

use crate::sim::letters::{Post, Tag};
use crate::sim::world::World;
use broker_core::event::CONNECTION_ROLES;
use broker_core::machine::Machine;

impl World {
    /// No mailbox holds more letters that must not be refused than its reserve has places for.
    pub(crate) fn letters_within_their_bounds(&self, shard: usize, waiting_calls: u64) {
        let most = self.model.waiting_most;
        let places = |shard: usize| self.model.shards[shard].places.len();
        assert!(waiting_calls <= most as u64, "{waiting_calls} calls wait");
        assert!(places(shard) <= 2 * most, "more places than there are");
        let (mut answers, mut withdraws, mut overs) = (0, 0, 0);
        for post in &self.mail[shard] {
            match post {
                Post::Letter(_, Tag::Answer(..)) => answers += 1,
                Post::Letter(_, Tag::Withdraw(_)) => withdraws += 1,
                Post::Letter(_, Tag::Over(_)) => overs += 1,
                Post::Letter(..) | Post::Handover(..) => {}
            }
        }
        assert!(overs <= places(shard), "a place for each word of the end");
        assert!(withdraws <= places(shard), "a place for each withdrawal");
        let all: usize = (0..self.shards.len()).map(places).sum();
        assert!(answers <= all, "a place for each answer");
    }

    /// At the very end: nobody is there, nothing is left.
    pub(crate) fn at_rest(&self) {
        for (number, shard) in self.shards.iter().enumerate() {
            let snapshot = shard.snapshot();
            let counters = &snapshot.counters;
            assert_eq!(snapshot.connections, [0; CONNECTION_ROLES]);
            let gauges = [
                counters.pending_messages,
                counters.pending_bytes,
                counters.outbox_messages,
                counters.outbox_bytes,
                counters.control_bytes,
                counters.waiting_calls,
                counters.written_messages,
                counters.unconfirmed_bytes,
            ];
            assert_eq!(gauges, [0; 8], "gauges of shard {number} at the end");
            assert_eq!(counters.unaccounted(), 0);
            let model = &self.model.shards[number];
            assert!(model.asks_nobody(), "no question is open");
            assert_eq!(
                (model.offers_out, model.places.len()),
                (0, 0),
                "no call waits"
            );
            assert_eq!(model.audits_kept, 0, "no place of the log is kept");
            assert_eq!(self.model.changes(number), 0, "no change is under way");
        }
    }
}
