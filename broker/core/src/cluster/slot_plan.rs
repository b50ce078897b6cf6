//! Selects the slots that a node claims. The selection depends only on the view, so nodes with the same view agree on
//! it.

use crate::cluster::limits::{
    FALLBACK_MS, FALLBACK_SPREAD_MS, FIRST_CLAIM_MS, FIRST_FALLBACK_MS, GRACE_MS, RESTARTED_MS,
    Spans,
};
use crate::cluster::message::{ClaimReason, Taking};
use crate::cluster::types::{
    Epoch, Incarnation, NodeId, NodeKey, Owner, RosterState, Slot, SlotRecord, grown,
};
use crate::cluster::{etcd_view::View, liveness::Silence};
use crate::time::Now;

/// Decides which slots this node may claim, and when. Each process has one instance.
#[derive(Debug)]
pub struct Plan {
    me: Owner,
    started: Now,
    spans: Spans,
    prospects: Vec<Prospect>,
    /// For each node, when it was last seen claiming a slot that had never had an owner.
    first_taken: Vec<Option<Now>>,
    random: fastrand::Rng,
}

#[derive(Clone, Copy, Debug, Default)]
struct Prospect {
    epoch: Epoch,
    /// When this node first saw that another process had succeeded the owner's process.
    followed: Option<Now>,
    /// When the slot became free for any node to claim.
    free: Option<Now>,
    /// How long this node waits for the node selected by hashing to claim the slot.
    fallback_ms: u64,
    /// The former owner and the reason for the claim, once this node may claim the slot.
    taking: Option<Taking>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Protected,
    /// The slot is free, but the node selected by hashing takes precedence.
    Free,
    /// This node owned the slot before it restarted.
    Own,
    /// The slot becomes free once the owner's successor has had time to claim it.
    Followed,
}

impl Plan {
    /// Creates the plan of a process that started at `started`. `seed` seeds the plan's random choices.
    #[must_use]
    pub fn new(me: Owner, slots: u16, spans: Spans, started: Now, seed: u64) -> Self {
        Self {
            me,
            started,
            spans,
            prospects: vec![Prospect::default(); usize::from(slots)],
            first_taken: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Adopts the time spans of the lease that etcd has granted.
    pub fn set_spans(&mut self, spans: Spans) {
        self.spans = spans;
    }

    /// Handles a pause of the process. From then on, a slot can be claimed only after it has been found free again.
    pub fn gap(&mut self) {
        for prospect in &mut self.prospects {
            (prospect.free, prospect.followed) = (None, None);
        }
    }

    /// Records that `node` has claimed a slot that had never had an owner.
    pub fn first_taken(&mut self, node: NodeId, now: Now) {
        if let Some(place) = grown(&mut self.first_taken, node) {
            *place = Some(now);
        }
    }

    /// Removes and returns the former owner of a claimed slot and the reason for the claim. Returns `None` if the slot
    /// was not claimed.
    pub fn take(&mut self, slot: Slot) -> Option<Taking> {
        self.prospects.get_mut(slot.index())?.taking.take()
    }

    /// Returns `true` if this node may claim `slot` at `now`.
    pub fn may_claim(
        &mut self,
        slot: Slot,
        view: &View,
        (silence, candidates): (&Silence, &Candidates),
        now: Now,
    ) -> bool {
        let record = view.slot(slot);
        if record.owner == Some(self.me) {
            return false;
        }
        let Some(mut prospect) = self.prospects.get(slot.index()).copied() else {
            return false;
        };
        if prospect.epoch != record.epoch {
            prospect = Prospect {
                epoch: record.epoch,
                ..Prospect::default()
            };
        }
        // If this node is cut off, it must not claim slots that another node owned.
        let is_mine = record.owner.is_some_and(|owner| owner.node == self.me.node);
        let is_kept = candidates.is_cut_off && !is_mine;
        let turn = match self.turn(slot, record, view, silence, now) {
            Turn::Free | Turn::Followed if is_kept => Turn::Protected,
            turn @ (Turn::Free | Turn::Followed | Turn::Own | Turn::Protected) => turn,
        };
        let may = match turn {
            Turn::Own => true,
            Turn::Protected => {
                prospect.free = None;
                if let Some(owner) = record.owner.filter(|owner| followed(*owner, view, silence)) {
                    debug_assert!(owner != self.me, "own slots are no prospects");
                    prospect.followed.get_or_insert(now);
                }
                false
            }
            Turn::Free => {
                let mut since = self.freed(&mut prospect, now);
                let mut fallback_ms = prospect.fallback_ms;
                let named = candidates.named(slot, record, view);
                if record.epoch == Epoch::default() {
                    let last = named.and_then(|node| self.first_taken.get(node.index()).copied());
                    since = since.max(last.flatten().unwrap_or_default());
                    fallback_ms += FIRST_FALLBACK_MS;
                }
                now.since(since) >= fallback_ms || named == Some(self.me.node)
            }
            Turn::Followed => {
                self.freed(&mut prospect, now);
                let since = *prospect.followed.get_or_insert(now);
                now.since(since) >= RESTARTED_MS
            }
        };
        if may {
            let (from, reason) = (
                record.owner.map(|owner| owner.node),
                reason(record, turn, view),
            );
            prospect.taking = Some(Taking { from, reason });
        }
        if let Some(place) = self.prospects.get_mut(slot.index()) {
            *place = prospect;
        }
        may
    }

    /// Returns `true` if the registration of `owner` is absent or belongs to another process. In that case, the owner's
    /// slots may be claimed unless they are still served.
    #[must_use]
    pub fn is_deregistered(&self, owner: Owner, view: &View) -> bool {
        match view.registration(owner.node) {
            Some(registration) => registration.incarnation != owner.incarnation,
            None => view.absent_ms(owner.node) >= self.spans.absence_ms(),
        }
    }

    /// Returns `true` if this process has been running for at least `span_ms`.
    #[must_use]
    pub fn runs_for(&self, span_ms: u64, now: Now) -> bool {
        now.since(self.started) >= span_ms
    }

    fn freed(&mut self, prospect: &mut Prospect, now: Now) -> Now {
        if prospect.free.is_none() {
            prospect.fallback_ms = FALLBACK_MS + self.random.u64(0..=FALLBACK_SPREAD_MS);
        }
        *prospect.free.get_or_insert(now)
    }

    fn turn(
        &self,
        slot: Slot,
        record: SlotRecord,
        view: &View,
        silence: &Silence,
        now: Now,
    ) -> Turn {
        let Some(owner) = record.owner else {
            let since = view.first_registration().map_or(0, |at| now.since(at));
            let is_first = record.epoch == Epoch::default();
            let has_begun = self.first_taken.iter().any(Option::is_some);
            let is_due = !is_first || since >= FIRST_CLAIM_MS || has_begun;
            return if is_due { Turn::Free } else { Turn::Protected };
        };
        let is_mine = owner.node == self.me.node;
        if is_mine && owner.incarnation.directory == self.me.incarnation.directory {
            return Turn::Own;
        }
        let is_out_of_grace = self.runs_for(GRACE_MS, now)
            || is_mine
            || silence.ever_answered(owner.node)
            || view.roster(owner.node) != Some(RosterState::Here);
        if !self.is_deregistered(owner, view) || !is_out_of_grace {
            return Turn::Protected;
        }
        let silent = if is_mine {
            now.since(self.started) >= self.spans.lease_ms()
        } else {
            silence.is_silent(owner.node, slot, record.epoch, now)
        };
        match (silent, !is_mine && followed(owner, view, silence)) {
            (false, _) => Turn::Protected,
            (true, true) => Turn::Followed,
            (true, false) => Turn::Free,
        }
    }
}

pub(crate) fn reason(record: SlotRecord, turn: Turn, view: &View) -> ClaimReason {
    match (turn, record.owner) {
        (Turn::Own, _) => ClaimReason::Restarted,
        (Turn::Followed, _) => ClaimReason::NotReclaimed,
        (Turn::Free | Turn::Protected, None) if record.epoch == Epoch::default() => {
            ClaimReason::NeverOwned
        }
        (Turn::Free | Turn::Protected, None) => ClaimReason::GivenUp,
        (Turn::Free | Turn::Protected, Some(owner)) => match view.registration(owner.node) {
            Some(_) => ClaimReason::Replaced,
            None => ClaimReason::Silent,
        },
    }
}

/// Returns `true` if another process has succeeded the owner and will reclaim the slot at once.
///
/// A successor with a different directory, for example on a replaced host, has no priority and waits like any other
/// node.
fn followed(owner: Owner, view: &View, silence: &Silence) -> bool {
    let follows = |other: Incarnation| {
        other != owner.incarnation && other.directory == owner.incarnation.directory
    };
    let registered = view.registration(owner.node);
    registered.is_some_and(|registration| follows(registration.incarnation))
        || silence
            .word(owner.node)
            .is_some_and(|word| follows(word.incarnation))
}

/// Returns the node that rendezvous hashing selects for a slot. When a node joins or leaves, the selection changes for
/// only a few slots.
#[must_use]
pub fn named(
    slot: Slot,
    nodes: impl Iterator<Item = NodeId>,
    key: impl Fn(NodeId) -> NodeKey,
) -> Option<NodeId> {
    nodes.max_by_key(|&node| {
        let key = key(node);
        (mixed(mixed(slot.0.into()) ^ key.0), key)
    })
}

fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Plans slot transfers after which the shares of all `nodes` differ by at most one slot.
///
/// Nodes with the same view and the same order of `nodes` compute the same list. Each slot occurs at most once, and no
/// node both transfers and receives slots. Slots whose owner is not in `nodes` are not moved.
#[must_use]
pub fn rebalance(view: &View, nodes: &[NodeId]) -> Vec<(Slot, NodeId, NodeId)> {
    let mut counts = vec![0usize; nodes.len()];
    let place = |node: NodeId| nodes.iter().position(|&other| other == node);
    let numbered = (0u16..).zip(view.slots());
    let owned: Vec<(Slot, usize)> = numbered
        .filter_map(|(number, record)| Some((Slot(number), place(record.owner?.node)?)))
        .collect();
    for &(_, owner) in &owned {
        counts[owner] += 1;
    }
    let Some(part) = owned.len().checked_div(nodes.len()) else {
        return Vec::new();
    };
    // Each node below its equal share receives what it lacks. The other nodes divide the remaining surplus.
    let lacks =
        |(index, &count): (usize, &usize)| std::iter::repeat_n(index, part.saturating_sub(count));
    let lacking: Vec<usize> = counts.iter().enumerate().flat_map(lacks).collect();
    let fitting = |(index, &count): (usize, &usize)| (count <= part).then_some(index);
    let one_more: Vec<usize> = counts.iter().enumerate().filter_map(fitting).collect();
    let surplus = |most: usize| {
        let mut seen = vec![0usize; nodes.len()];
        let mut surplus = Vec::new();
        for &(slot, owner) in &owned {
            seen[owner] += 1;
            if seen[owner] > most {
                surplus.push((slot, owner));
            }
        }
        surplus
    };
    let must = surplus(part + 1);
    let may = surplus(part)
        .into_iter()
        .filter(|given| !must.contains(given));
    let rest = lacking.len().saturating_sub(must.len());
    let givers = must.iter().copied().chain(may.take(rest));
    givers
        .zip(lacking.iter().chain(&one_more))
        .map(|((slot, giver), &taker)| (slot, nodes[giver], nodes[taker]))
        .collect()
}

// The candidates for owning slots, as one node sees them at a given moment.
//
// A node that does not answer is never selected, because clients could not reach its slots. If other nodes are
// registered but none of them answers, a node claims only its own slots. Either it has another secret, or it cannot
// reach the others.

/// The nodes that may be given slots. Determined anew for each decision.
#[derive(Debug)]
pub struct Candidates {
    /// The candidates, sorted by number.
    pub(crate) nodes: Vec<NodeId>,
    /// Whether other nodes are registered, whether or not they are peers, but none of them answers this node.
    pub(crate) is_cut_off: bool,
}

impl Candidates {
    /// Determines the candidates from the perspective of `me`. A candidate must be registered and present, and must
    /// answer.
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

    /// Returns the node that rendezvous hashing selects for a slot.
    ///
    /// The former owner is excluded, because its next process reclaims the slot at once. If that process has a new data
    /// directory, it waits until the selected node has had time to claim the slot.
    pub(crate) fn named(&self, slot: Slot, record: SlotRecord, view: &View) -> Option<NodeId> {
        let owner = record.owner.map(|owner| owner.node);
        let others = self.nodes.iter().copied();
        named(slot, others.filter(|node| owner != Some(*node)), |node| {
            view.key(node)
        })
    }
}

#[cfg(test)]
mod plan_tests {
    use super::*;
    use crate::cluster::types::{Revision, fixtures::incarnation};

    fn number_of(node: NodeId) -> NodeKey {
        NodeKey(node.0.into())
    }

    /// Each process numbers the nodes in its own way, starting with its own node.
    #[test]
    fn hashing_goes_by_what_all_nodes_have_in_common() {
        let keys = [11, 7, 5].map(NodeKey);
        let others = [2, 0, 1];
        for number in 0..4096 {
            let nodes = || (0..3).map(NodeId);
            let one = named(Slot(number), nodes(), |node| keys[node.index()]);
            let other = named(Slot(number), nodes(), |node| keys[others[node.index()]]);
            let found = one.unwrap().index();
            assert_eq!(found, others[other.unwrap().index()], "slot {number}");
        }
    }

    #[test]
    fn hashing_moves_only_the_slots_of_the_node_that_leaves() {
        let nodes = [NodeId(0), NodeId(1), NodeId(2)];
        for number in 0..4096 {
            let before = named(Slot(number), nodes.into_iter(), number_of);
            let after = named(Slot(number), nodes.into_iter().take(2), number_of);
            let fine = before == after || before == Some(NodeId(2));
            assert!(fine, "slot {number}");
        }
    }

    #[test]
    fn slots_spread_over_all_nodes() {
        let mut counts = [0u32; 5];
        for number in 0..4096 {
            let node = named(Slot(number), (0..5).map(NodeId), number_of).unwrap();
            counts[node.index()] += 1;
        }
        let fine = counts.iter().all(|count| (700..950).contains(count));
        assert!(fine, "{counts:?}");
    }

    #[test]
    fn rebalancing_leaves_equal_parts_with_the_fewest_moves() {
        for (counts, moved) in [
            (vec![9, 0, 0], 6),
            (vec![5, 3, 3], 1),
            (vec![4, 4, 3], 0),
            (vec![0, 1, 9, 2], 6),
            (vec![7, 7, 1], 4),
            (vec![1, 0], 0),
        ] {
            let slots: u16 = counts.iter().sum();
            let mut view = View::new(slots, Revision(0), None);
            let owners = (0u16..)
                .zip(&counts)
                .flat_map(|(node, &count)| std::iter::repeat_n(NodeId(node), usize::from(count)));
            for (number, node) in (0u16..).zip(owners) {
                let incarnation = incarnation(1, 1);
                let record = SlotRecord {
                    epoch: Revision(1),
                    owner: Some(Owner { node, incarnation }),
                    ..SlotRecord::default()
                };
                view.learn(Slot(number), record);
            }
            let nodes: Vec<NodeId> = (0u16..)
                .zip(&counts)
                .map(|(node, _)| NodeId(node))
                .collect();
            let moves = rebalance(&view, &nodes);
            assert_eq!(moves.len(), moved, "{counts:?}: {moves:?}");
            let mut after = counts.clone();
            for (_, giver, taker) in moves {
                after[giver.index()] -= 1;
                after[taker.index()] += 1;
            }
            let least = after.iter().min().unwrap();
            let fine = after.iter().all(|count| count - least <= 1);
            assert!(fine, "{counts:?} became {after:?}");
        }
    }
}

#[cfg(test)]
pub(crate) mod candidates_tests {
    use super::*;
    use crate::cluster::limits::Spans;
    use crate::cluster::types::fixtures::{answer, change, incarnation, registration};
    use crate::cluster::types::{Address, Key, Kinship, Revision, Value};

    const ME: NodeId = NodeId(0);
    const SPANS: Spans = Spans::of_lease(10_000);

    /// Returns the view of a node that is registered together with other nodes. `others` contains their relations to
    /// the cluster.
    pub(crate) fn view(others: &[Kinship]) -> View {
        let mut view = View::new(1, Revision(0), None);
        for (number, kinship) in (0u16..).zip([&[Kinship::Peer], others].concat()) {
            let incarnation = incarnation(number.into(), 1);
            let registration = registration(incarnation, kinship);
            let roster = Value::Roster(RosterState::Here, Address(number.into()));
            let node = NodeId(number);
            for (key, value) in [
                (Key::Registration(node), registration),
                (Key::Roster(node), roster),
            ] {
                let change = change(2, key, value);
                view.apply_changes(&[change], Now(0));
            }
        }
        view
    }

    pub(crate) fn answers(silence: &mut Silence, node: u16, asked: u64) {
        let answer = answer(incarnation(node.into(), 1), asked);
        silence.answers(NodeId(node), &answer, Now(asked));
    }

    fn found(view: &View, silence: &Silence, now: u64) -> (Vec<u16>, bool) {
        let candidates = Candidates::of(ME, view, silence, Now(now));
        let nodes = candidates.nodes.iter().map(|node| node.0);
        (nodes.collect(), candidates.is_cut_off)
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
