//! Tracks answers from other nodes to detect nodes that do not answer.
//!
//! An answer is valid from the time its question was *sent*. Receiving a question proves nothing about the peer,
//! because old questions may linger in socket buffers. A claim, however, depends on which slots an owner reports as
//! served, and such a report is valid from the time it *arrives*. Both rules err on the safe side.

use crate::cluster::limits::{ANNOUNCED_GAP_MS, Spans};
use crate::cluster::message::{Answer, Held};
use crate::cluster::types::{Epoch, Incarnation, NodeId, Slot, grown};
use crate::{cluster::etcd_view::View, time::Now};

/// Peer liveness, inferred from the peers' answers. Each process has one instance.
#[derive(Debug)]
pub struct Silence {
    peers: Vec<Peer>,
    /// For each slot, the epoch and the arrival time of the last answer that reported the slot as served.
    served: Vec<Option<(Epoch, Now)>>,
    /// When the last pause ended. Questions sent before it do not count.
    gap: Now,
    spans: Spans,
}

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// When the current uninterrupted series of queries began.
    asked_since: Option<Now>,
    /// Send time of the latest question that has been answered.
    answered: Option<Now>,
    word: Option<Word>,
    /// Send time of the question that `word` answers. Answers to older questions do not replace `word`.
    word_asked: Now,
    /// Whether the peer is shutting down, or its host has refused the connection.
    is_gone: bool,
    /// Whether the peer's slots could be claimed when etcd last answered, because the peer was silent and its
    /// registration was absent.
    written_off: bool,
}

/// The status that a peer reported in its latest answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Incarnation of the peer.
    pub incarnation: Incarnation,
    /// Whether the peer could reach etcd.
    pub has_etcd: bool,
    /// Whether the peer was shutting down.
    pub stopping: bool,
}

impl Silence {
    /// Creates the initial state, in which no peer has answered.
    #[must_use]
    pub fn new(slots: u16, spans: Spans) -> Self {
        Self {
            peers: Vec::new(),
            served: vec![None; usize::from(slots)],
            gap: Now(0),
            spans,
        }
    }

    /// Adopts the time spans of the lease that etcd has granted.
    pub fn set_spans(&mut self, spans: Spans) {
        self.spans = spans;
    }

    /// Records that a question was sent to `peer`.
    pub fn asks(&mut self, peer: NodeId, now: Now) {
        if let Some(known) = grown(&mut self.peers, peer) {
            known.asked_since.get_or_insert(now);
        }
    }

    /// Records that the process was paused until `now`. This invalidates earlier questions and answers.
    pub fn gap(&mut self, now: Now) {
        self.gap = now;
        for peer in &mut self.peers {
            peer.asked_since = None;
            peer.answered = None;
        }
    }

    /// Records the slots that an answer reports as served, even if the answer is for another process with this node's
    /// name.
    pub fn serves(&mut self, serves: &[Held], now: Now) {
        for held in serves {
            if let Some(place) = self.served.get_mut(held.slot.index()) {
                *place = Some((held.epoch, now));
            }
        }
    }

    /// Processes an answer. Must be called after the slot changes in the answer have been applied.
    pub fn answers(&mut self, peer: NodeId, answer: &Answer, now: Now) {
        self.serves(&answer.serves, now);
        let gap = self.gap;
        let Some(known) = grown(&mut self.peers, peer) else {
            return;
        };
        if known.word_asked > answer.asked {
            return;
        }
        known.word_asked = answer.asked;
        known.word = Some(Word {
            incarnation: answer.incarnation,
            has_etcd: answer.has_etcd,
            stopping: answer.stopping,
        });
        known.is_gone = false;
        known.written_off = false;
        if answer.asked >= gap {
            known.answered = Some(answer.asked);
        }
    }

    /// Records that the peer is shutting down or that no process listens on its address.
    pub fn parts(&mut self, peer: NodeId) {
        if let Some(known) = grown(&mut self.peers, peer) {
            known.is_gone = true;
        }
    }

    /// Records whether the slots of `peer` could be claimed when etcd last answered.
    pub fn write_off(&mut self, peer: NodeId, written_off: bool) {
        if let Some(known) = grown(&mut self.peers, peer) {
            known.written_off = written_off;
        }
    }

    /// Returns `true` if `peer` has answered recently enough to be considered reachable.
    #[must_use]
    pub fn reaches(&self, peer: NodeId, now: Now) -> bool {
        self.answered_within(peer, self.spans.hearing_ms(), now)
    }

    /// Returns `true` if `peer` has answered a question that was sent less than `span_ms` ago.
    #[must_use]
    pub fn answered_within(&self, peer: NodeId, span_ms: u64, now: Now) -> bool {
        let answered = self.peer(peer).answered;
        answered.is_some_and(|asked| now.since(asked) < span_ms)
    }

    /// Returns `true` if every other registered node has answered recently.
    #[must_use]
    pub fn has_all_peers(&self, view: &View, me: NodeId, now: Now) -> bool {
        let others = view.nodes().filter(|node| *node != me);
        let mut registered = others.filter(|node| view.registration(*node).is_some());
        registered.all(|node| self.answered_within(node, ANNOUNCED_GAP_MS, now))
    }

    /// Returns `true` if a peer has recently reported that it can reach etcd, even if this process has been paused
    /// since.
    #[must_use]
    pub fn peers_have_etcd(&self, now: Now) -> bool {
        self.peers.iter().any(|peer| {
            let is_of_lately = now.since(peer.word_asked) < self.spans.hearing_ms();
            is_of_lately && peer.word.is_some_and(|word| word.has_etcd)
        })
    }

    /// Returns `true` if this node has queried `peer` for at least as long as an answer remains valid, but has no valid
    /// answer from it.
    #[must_use]
    pub fn is_unheard(&self, peer: NodeId, now: Now) -> bool {
        self.asked_for(peer, now, self.spans.hearing_ms()) && !self.reaches(peer, now)
    }

    /// Returns the send time of the latest question that any peer has answered.
    #[must_use]
    pub fn newest_answered(&self) -> Option<Now> {
        self.peers.iter().filter_map(|peer| peer.answered).max()
    }

    /// Returns `true` if `peer` has ever answered this process.
    #[must_use]
    pub fn ever_answered(&self, peer: NodeId) -> bool {
        self.peer(peer).word.is_some()
    }

    /// Returns the incarnation of `peer` that answered last, and the send time of the question that it answered.
    #[must_use]
    pub fn last(&self, peer: NodeId) -> Option<(Incarnation, Now)> {
        let known = self.peer(peer);
        known.word.map(|word| (word.incarnation, known.word_asked))
    }

    /// Returns the status in the latest answer of `peer`.
    #[must_use]
    pub fn word(&self, peer: NodeId) -> Option<Word> {
        self.peer(peer).word
    }

    /// Returns `true` if, according to its last answer, `peer` may be in a network partition that can claim slots.
    ///
    /// A peer cannot claim slots if it has left, if it could not reach etcd either, or if its own slots could be
    /// claimed when etcd last answered. A peer that has never answered is assumed to be able to claim slots.
    #[must_use]
    pub fn may_take(&self, peer: NodeId) -> bool {
        let known = self.peer(peer);
        !known.is_gone && !known.written_off && known.word.is_none_or(|word| word.has_etcd)
    }

    /// Returns when `slot` becomes silent at `epoch`: a full lease after the last answer that reported it as served at
    /// that epoch, or 0 if there was none.
    #[must_use]
    pub fn silent_since(&self, slot: Slot, epoch: Epoch) -> Now {
        let served = self.served.get(slot.index()).copied().flatten();
        let served = served.filter(|(of, _)| *of == epoch);
        served.map_or(Now(0), |(_, at)| at.after(self.spans.lease_ms()))
    }

    /// Returns `true` if this node has queried `peer` without interruption for `span_ms`.
    #[must_use]
    pub fn asked_for(&self, peer: NodeId, now: Now, span_ms: u64) -> bool {
        self.peer(peer)
            .asked_since
            .is_some_and(|since| now.since(since) >= span_ms)
    }

    /// Returns `true` if, at `as_of`, this node had queried `peer` for a full lease without an answer.
    #[must_use]
    pub fn is_gone(&self, peer: NodeId, as_of: Now) -> bool {
        let silence_ms = self.spans.lease_ms();
        let answered = self.peer(peer).answered;
        self.asked_for(peer, as_of, silence_ms)
            && answered.is_none_or(|asked| as_of.since(asked) >= silence_ms)
    }

    fn peer(&self, peer: NodeId) -> Peer {
        self.peers.get(peer.index()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::types::fixtures::{self, change, incarnation, registration};
    use crate::cluster::types::{Key, Kinship, Revision};
    use std::sync::Arc;

    const SPANS: Spans = Spans::of_lease(10_000);
    const PEER: NodeId = NodeId(1);
    const ASKER: Incarnation = incarnation(9, 1);
    const HELD: Held = Held {
        slot: Slot(0),
        epoch: Revision(5),
    };

    fn answer(asked: u64, serves: &[Held]) -> Answer {
        Answer {
            asker: ASKER,
            serves: Arc::from(serves),
            newest: Revision(5),
            ..fixtures::answer(incarnation(1, 1), asked)
        }
    }

    #[test]
    fn an_answer_reaches_as_far_as_its_question() {
        let mut silence = Silence::new(1, SPANS);
        silence.answers(PEER, &answer(1_000, &[]), Now(5_000));
        assert!(silence.reaches(PEER, Now(8_999)));
        assert!(!silence.reaches(PEER, Now(9_000)));
        silence.answers(PEER, &answer(500, &[]), Now(8_000));
        assert_eq!(silence.newest_answered(), Some(Now(1_000)));
    }

    #[test]
    fn a_registered_node_that_does_not_answer_is_missed() {
        let me = NodeId(0);
        let register = |node| {
            change(
                2,
                Key::Registration(node),
                registration(ASKER, Kinship::Peer),
            )
        };
        let mut view = View::new(1, Revision(0), None);
        let mut silence = Silence::new(1, SPANS);
        view.apply_changes(&[register(me), register(PEER)], Now(0));
        assert!(!silence.has_all_peers(&view, me, Now(1_000)));
        silence.answers(PEER, &answer(1_000, &[]), Now(1_000));
        assert!(silence.has_all_peers(&view, me, Now(1_000)));
        assert!(!silence.has_all_peers(&view, me, Now(1_000 + ANNOUNCED_GAP_MS)));
        view.apply_changes(&[register(NodeId(2))], Now(1_000));
        assert!(!silence.has_all_peers(&view, me, Now(1_000)), "one of two");
    }

    #[test]
    fn a_slot_is_silent_when_its_owner_was_asked_for_a_ttl() {
        let mut silence = Silence::new(1, SPANS);
        let is_silent = |silence: &Silence, now| {
            let is_asked = silence.asked_for(PEER, Now(now), SPANS.lease_ms());
            is_asked && silence.silent_since(Slot(0), HELD.epoch) <= Now(now)
        };
        assert!(!is_silent(&silence, 60_000), "never asked");
        silence.asks(PEER, Now(1_000));
        assert!(!is_silent(&silence, 10_999));
        assert!(is_silent(&silence, 11_000));
        silence.answers(PEER, &answer(3_000, &[HELD]), Now(4_000));
        assert!(!is_silent(&silence, 13_999));
        silence.answers(PEER, &answer(5_000, &[]), Now(6_000));
        assert!(is_silent(&silence, 14_000), "it answers without serving");
    }

    #[test]
    fn a_peer_is_gone_as_of_a_moment() {
        let mut silence = Silence::new(1, SPANS);
        silence.asks(PEER, Now(0));
        silence.answers(PEER, &answer(2_000, &[]), Now(2_100));
        assert!(!silence.is_gone(PEER, Now(11_900)));
        assert!(silence.is_gone(PEER, Now(12_000)));
        assert!(!silence.is_gone(NodeId(2), Now(60_000)), "never asked");
    }

    #[test]
    fn nothing_from_before_a_gap_counts() {
        let mut silence = Silence::new(1, SPANS);
        silence.asks(PEER, Now(0));
        silence.answers(PEER, &answer(0, &[]), Now(10));
        silence.gap(Now(4_000));
        silence.answers(PEER, &answer(3_000, &[]), Now(4_000));
        assert!(!silence.reaches(PEER, Now(4_000)));
        assert!(!silence.asked_for(PEER, Now(60_000), 10_000));
        assert!(silence.ever_answered(PEER));
    }

    #[test]
    fn a_peer_without_etcd_or_on_its_way_out_cannot_take() {
        let mut silence = Silence::new(1, SPANS);
        assert!(silence.may_take(PEER), "it never answered");
        silence.answers(PEER, &answer(0, &[]), Now(1));
        assert!(silence.may_take(PEER));
        silence.parts(PEER);
        assert!(!silence.may_take(PEER));
        let without = Answer {
            has_etcd: false,
            ..answer(2, &[])
        };
        silence.answers(PEER, &answer(1, &[]), Now(2));
        assert!(silence.may_take(PEER), "it answers again");
        silence.answers(PEER, &without, Now(3));
        assert!(!silence.may_take(PEER));
    }
}
