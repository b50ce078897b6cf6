//! Rules that must hold of logs, stores and counters after every step.

use crate::sim::letters::Change;
use crate::sim::model::changes::Life;
use crate::sim::model::{Channel, ConnId};
use crate::sim::store::Verdict;
use crate::sim::wire::{Item, Placed};
use crate::sim::world::World;
use broker_core::event::{CONNECTION_ROLES, Outcome};
use broker_core::journal::{Entry, Unaccepted};
use broker_core::machine::Machine;

impl World {
    /// The log has the lines that it should have, and no other.
    pub(crate) fn noted_as_predicted(&mut self, shard: usize) {
        let mut wanted = std::mem::take(&mut self.model.out.notes);
        for mut entry in self.journals[shard].try_iter() {
            match &mut entry {
                Entry::Refused(refused) => {
                    let id = std::mem::take(&mut refused.request_id);
                    let says = self.id_says(&id).expect("the id of a refusal says why");
                    assert_eq!(usize::from(says.shard.0), shard, "{refused:?}");
                    let noted = (refused.at, refused.status, refused.check);
                    assert_eq!((says.at, says.status, says.check), noted);
                    let noted = (refused.what, refused.action);
                    assert_eq!((says.purpose.word(), says.purpose.action()), noted);
                }
                Entry::Audit(audit) => {
                    let id = std::mem::take(&mut audit.request_id);
                    let refused = !matches!(audit.outcome, "ok" | "unanswered");
                    assert_eq!(self.id_says(&id).is_some(), refused, "{audit:?}");
                    assert_eq!(id.len(), 36, "a request id");
                }
                Entry::Suppressed { refusals, counts } => {
                    let sum: u64 = counts.iter().map(|count| count.refusals).sum();
                    assert_eq!(sum, *refusals, "{counts:?}");
                    self.model.counted_untold(shard, sum);
                    continue;
                }
                Entry::ConnectionEnd(_)
                | Entry::EndsSuppressed { .. }
                | Entry::Unaccepted(_)
                | Entry::Superseded(_)
                | Entry::Forbidden(_)
                | Entry::NodeTrouble { .. }
                | Entry::StoreTrouble { .. } => {}
            }
            let same = |(note, or): &(Entry, _)| {
                let mut note = note.clone();
                if let (Entry::ConnectionEnd(note), Entry::ConnectionEnd(found)) =
                    (&mut note, &entry)
                    && *or == Some(found.reason)
                {
                    note.reason = found.reason;
                }
                note == entry
            };
            let Some(place) = wanted.iter().position(same) else {
                panic!("{entry:?} was noted, not {wanted:?}");
            };
            if let Entry::ConnectionEnd(end) = &entry {
                let counters = &mut self.model.shards[shard].counters;
                counters.connection_end(end.reason);
                counters.sessions.ended(end);
            }
            wanted.remove(place);
        }
        assert!(wanted.is_empty(), "not noted: {wanted:?}");
    }

    /// The store was given what it should have been, in order, and never two changes of a channel at a time.
    pub(crate) fn stored_as_predicted(&mut self, shard: usize) {
        for given in self.stores[shard].try_iter() {
            let submission = self.model.given(&given);
            let Verdict::Later(kept) = submission.verdict else {
                continue;
            };
            let mut under_way = self.changes[shard].iter();
            assert!(
                under_way.all(|change| change.key != given.key),
                "one change of a channel at a time"
            );
            self.changes[shard].push_back(Change {
                key: given.key,
                channel: submission.channel,
                number: submission.number,
                kept,
            });
        }
        assert!(self.model.out.submissions.is_empty(), "not stored");
    }

    /// The conservation law, the gauges and the bounds.
    pub(crate) fn books(&mut self, shard: usize) {
        let snapshot = self.shards[shard].snapshot();
        let limits = &self.model.settings.limits;
        let calls: usize = 64 * 6000;
        let most = limits.outbox_bytes + limits.pending_bytes_per_channel + calls + 4096;
        let (mut messages, mut control) = (0, 0);
        let conns: Vec<ConnId> = self.keys[shard].values().copied().collect();
        for conn in conns {
            let own = self.outbox_bytes(conn);
            assert!(own <= most, "connection {conn} has {own} bytes waiting");
            let of_messages = self.message_bytes(conn, own);
            let message = |placed: &&Placed| matches!(placed.item, Item::Message { .. });
            let begins = |items: &[Placed]| items.iter().find(message).map(|one| one.begin);
            self.sockets[conn].begins = (own > 0).then(|| begins(&self.items(conn))).flatten();
            self.sockets[conn].waits = (own, of_messages);
            messages += of_messages as u64;
            control += (own - of_messages) as u64;
        }
        let mut places = [0; CONNECTION_ROLES];
        for conn in self.model.conns.iter() {
            if conn.live && conn.shard == shard {
                places[conn.place] += 1;
            }
        }
        assert_eq!(snapshot.connections, places, "the connections' gauges");
        let channels = self.model.channels.iter();
        let channels = channels.filter(|one| one.alive && one.home == shard);
        let deleting = |one: &&Channel| one.life == Life::Deleting;
        let deleting = channels.clone().filter(deleting).count();
        assert_eq!(snapshot.deleting, deleting as u64, "channels that end");
        let bytes: u64 = channels.clone().map(Channel::record_bytes).sum();
        assert_eq!(snapshot.record_bytes, bytes, "bytes of records");
        assert_eq!(snapshot.channels, channels.count() as u64, "channels");
        let now = broker_core::time::Now(self.model.now);
        let forgotten = self.shards[shard].forgotten(now);
        assert_eq!(forgotten, 0, "sessions or channels without a deadline");
        let most = snapshot.connections.iter().sum::<u64>() + snapshot.channels;
        assert!(
            snapshot.timers <= most,
            "{} timer entries for {most} sessions and channels",
            snapshot.timers
        );
        let places = self.model.shards[shard].places.len();
        assert_eq!(snapshot.call_places, places as u64, "places of calls");
        self.letters_within_their_bounds(shard, snapshot.counters.waiting_calls);
        self.model.shards[shard].counters.outbox_bytes = messages;
        self.model.shards[shard].counters.control_bytes = control;
        let mut wanted = self.model.counters(shard);
        let mut found = snapshot.counters;
        assert_eq!(found.unaccounted(), 0, "the conservation law");
        assert_eq!(snapshot.doubtful, self.model.doubtful_of(shard), "doubts");
        assert!(found.pending_bytes <= self.model.settings.pending_bytes_of_shard() as u64);
        if self.model.haze_now {
            return;
        }
        if self.model.hazy {
            for counters in [&mut wanted, &mut found] {
                for kind in &mut counters.outcomes {
                    let sum: u64 = LOSSES.iter().map(|outcome| kind[outcome.index()]).sum();
                    for outcome in LOSSES {
                        kind[outcome.index()] = 0;
                    }
                    kind[0] += sum << 32;
                }
                counters.unaccepted[Unaccepted::NoRoom.index()] = 0;
            }
        }
        assert_eq!(found, wanted, "the counters of shard {shard}");
        for rule in &self.model.rules {
            assert!(rule.is_counted(), "the counts of {:?}", rule.shared);
        }
    }
}

/// Outcomes that a tick may give in either order.
const LOSSES: [Outcome; 5] = [
    Outcome::Expired,
    Outcome::Overwritten,
    Outcome::Withdrawn,
    Outcome::Overflow,
    Outcome::Evicted,
];
