//! The nodes that slots may go to, as one node sees them at one moment.
//!
//! A node that does not answer is named for nothing: clients would not reach what it took. A node that no other one
//! answers, while others are registered, takes nothing that is not its own: it has another secret, or no way to them.

use crate::cluster::etcd::view::View;
use crate::cluster::node::silence::Silence;
use crate::cluster::slots::plan::named;
use crate::cluster::types::{NodeId, RosterState, Slot, SlotRecord};
use crate::time::Now;

/// The candidates for slots. Made for each decision.
#[derive(Debug)]
pub struct Candidates {
    nodes: Vec<NodeId>,
    is_cut_off: bool,
}

impl Candidates {
    /// The candidates as `me` sees them: the registered nodes that are here, without those that do not answer it.
    #[must_use]
    pub fn of(me: NodeId, view: &View, silence: &Silence, now: Now) -> Self {
        let mut others = view.nodes().filter(|node| *node != me);
        let has_answer = others.any(|node| silence.reaches(node, now));
        let mut others = view.nodes().filter(|node| *node != me);
        let is_cut_off = !has_answer && others.any(|node| view.written(node).is_some());
        let is_candidate = |node: &NodeId| {
            let is_there =
                view.registration(*node).is_some() && view.roster(*node) == Some(RosterState::Here);
            is_there && (*node == me || !silence.is_unheard(*node, now))
        };
        Self {
            nodes: view.nodes().filter(is_candidate).collect(),
            is_cut_off,
        }
    }

    /// The candidates, in the order of their numbers.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// Whether no other node answers this one, while others are registered, as peers or not.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// The node that rendezvous hashing names for a slot.
    ///
    /// The node that owned the slot is left out: its next process claims it at once, or on an empty directory late.
    pub(crate) fn named(&self, slot: Slot, record: SlotRecord, view: &View) -> Option<NodeId> {
        let owner = record.owner.map(|owner| owner.node);
        let others = self.nodes.iter().copied();
        named(slot, others.filter(|node| owner != Some(*node)), |node| {
            view.key(node)
        })
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::cluster::message::Answer;
    use crate::cluster::spans::Spans;
    use crate::cluster::types::{
        Address, Change, Incarnation, Key, Kinship, LeaseId, Revision, Value,
    };
    use std::sync::Arc;

    const ME: NodeId = NodeId(0);
    const SPANS: Spans = Spans::of_lease(10_000);

    /// The view of a node that is registered beside these.
    fn view(others: &[Kinship]) -> View {
        let mut view = View::new(1, Revision(0), None);
        for (number, kinship) in (0u16..).zip([&[Kinship::Peer], others].concat()) {
            let incarnation = Incarnation {
                directory: number.into(),
                start: 1,
            };
            let registration = Value::Registration {
                incarnation,
                lease: LeaseId(1),
                kinship,
            };
            let roster = Value::Roster(RosterState::Here, Address(number.into()));
            let node = NodeId(number);
            for (key, value) in [
                (Key::Registration(node), registration),
                (Key::Roster(node), roster),
            ] {
                let change = Change {
                    revision: Revision(2),
                    key,
                    value: Some(value),
                };
                view.apply_changes(&[change], Now(0));
            }
        }
        view
    }

    fn answers(silence: &mut Silence, node: u16, asked: u64) {
        let incarnation = Incarnation {
            directory: node.into(),
            start: 1,
        };
        let answer = Answer {
            asked: Now(asked),
            asker: incarnation,
            incarnation,
            has_etcd: true,
            stopping: false,
            serves: Arc::from([]),
            changes: Vec::new(),
            newest: Revision(2),
        };
        silence.answers(NodeId(node), &answer, Now(asked));
    }

    fn found(view: &View, silence: &Silence, now: u64) -> (Vec<u16>, bool) {
        let candidates = Candidates::of(ME, view, silence, Now(now));
        let nodes = candidates.nodes().iter().map(|node| node.0);
        (nodes.collect(), candidates.is_cut_off())
    }

    #[test]
    fn a_node_that_does_not_answer_is_left_out_after_the_reach_of_an_answer() {
        let view = view(&[Kinship::Peer, Kinship::Peer]);
        let mut silence = Silence::new(1, SPANS);
        assert_eq!(found(&view, &silence, 0), (vec![0, 1, 2], true));
        silence.asks(NodeId(1), Now(0));
        silence.asks(NodeId(2), Now(0));
        answers(&mut silence, 1, 7_000);
        assert_eq!(found(&view, &silence, 7_999), (vec![0, 1, 2], false));
        assert_eq!(found(&view, &silence, 8_000), (vec![0, 1], false));
        assert_eq!(found(&view, &silence, 15_000), (vec![0], true));
    }

    #[test]
    fn a_stranger_is_no_candidate_and_no_peer_that_answers() {
        for kinship in [Kinship::Unproven, Kinship::OtherVersion(9)] {
            let silence = Silence::new(1, SPANS);
            assert_eq!(found(&view(&[kinship]), &silence, 0), (vec![0], true));
        }
        let silence = Silence::new(1, SPANS);
        assert_eq!(found(&view(&[]), &silence, 0), (vec![0], false));
    }
}
