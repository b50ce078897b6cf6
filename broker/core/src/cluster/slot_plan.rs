//! Selects the slots that a node claims. The selection depends only on the view, so nodes with the same view agree on
//! it.

use crate::cluster::limits::{
    FALLBACK_MS, FALLBACK_SPREAD_MS, FIRST_CLAIM_MS, FIRST_FALLBACK_MS, GRACE_MS, RESTARTED_MS,
    Spans,
};
use crate::cluster::message::ClaimReason;
use crate::cluster::types::{
    Epoch, Incarnation, NodeId, NodeKey, Owner, RosterState, Slot, SlotRecord, grown,
};
use crate::cluster::{etcd_view::View, liveness::Silence};
use crate::time::Now;
use std::collections::BTreeMap;

/// Decides which slots this node may claim, and when. Each process has one instance.
#[derive(Debug)]
pub struct Plan {
    me: Owner,
    started: Now,
    spans: Spans,
    /// The former owners whose slots this node does not own, as of the last decision.
    prospects: BTreeMap<Former, Prospect>,
    /// For each node, when it was last seen claiming a slot.
    claimed: Vec<Option<Now>>,
    random: fastrand::Rng,
}

/// The former owner of slots that may be claimed. The conditions for a claim are the same for all of its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Former {
    /// The slots have never had an owner.
    NeverOwned,
    /// The owner was unable to serve the slots and has given them up.
    GivenUp,
    Process(Owner),
}

/// The state of the conditions for claiming a former owner's slots.
#[derive(Clone, Copy, Debug, Default)]
struct Prospect {
    /// When this node first saw that another process had succeeded the owner's process.
    followed: Option<Now>,
    /// The time from which the nodes that hashing selects may claim the slots, except the slots that the owner reports
    /// as served. `None` while they must not be claimed.
    free: Option<Now>,
    /// How long this node waits for the node selected by hashing to claim a slot.
    fallback_ms: u64,
}

impl Plan {
    /// Creates the plan of a process that started at `started`. `seed` seeds the plan's random choices.
    #[must_use]
    pub fn new(me: Owner, spans: Spans, started: Now, seed: u64) -> Self {
        Self {
            me,
            started,
            spans,
            prospects: BTreeMap::new(),
            claimed: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Adopts the time spans of the lease that etcd has granted.
    pub fn set_spans(&mut self, spans: Spans) {
        self.spans = spans;
    }

    /// Handles a pause of the process. From then on, a slot can be claimed only after it has been found free again.
    pub fn gap(&mut self) {
        self.prospects.clear();
    }

    /// Records that `node` has claimed a slot.
    pub fn claimed(&mut self, node: NodeId, now: Now) {
        if let Some(place) = grown(&mut self.claimed, node) {
            *place = Some(now);
        }
    }

    /// Returns the slots that this node may claim at `now`.
    pub fn claimable(&mut self, view: &View, silence: &Silence, now: Now) -> Vec<Slot> {
        let candidates = Candidates::of(self.me.node, view, silence, now);
        let mut prospects = BTreeMap::new();
        let mut claimable = Vec::new();
        for (number, &record) in (0u16..).zip(view.slots()) {
            if record.owner == Some(self.me) {
                continue;
            }
            let (slot, former) = (Slot(number), Former::of(record));
            let prospect: Prospect = *prospects.entry(former).or_insert_with(|| {
                // If this node is cut off, it must not claim slots that another node owned.
                let is_kept = candidates.is_cut_off && former.node() != Some(self.me.node);
                self.prospect(former, is_kept, view, silence, now)
            });
            let silent = silence.silent_since(slot, record.epoch);
            let Some(free) = prospect.free.filter(|free| silent.max(*free) <= now) else {
                continue;
            };
            let named = candidates.named(slot, record, view);
            let progress = named.and_then(|node| self.claimed.get(node.index()).copied().flatten());
            let since = free.max(silent).max(progress.unwrap_or_default());
            if named == Some(self.me.node) || now.since(since) >= prospect.fallback_ms {
                claimable.push(slot);
            }
        }
        self.prospects = prospects;
        claimable
    }

    /// Returns `true` if this process has been running for at least `span_ms`.
    #[must_use]
    pub fn runs_for(&self, span_ms: u64, now: Now) -> bool {
        now.since(self.started) >= span_ms
    }

    /// Returns why this node could claim a slot whose record was `former`.
    pub(crate) fn reason(&self, former: SlotRecord, view: &View, silence: &Silence) -> ClaimReason {
        match Former::of(former) {
            Former::NeverOwned => ClaimReason::NeverOwned,
            Former::GivenUp => ClaimReason::GivenUp,
            Former::Process(owner) if owner == self.me => ClaimReason::Kept,
            Former::Process(owner) if self.succeeds(owner) => ClaimReason::Restarted,
            Former::Process(owner) if followed(owner, view, silence) => ClaimReason::NotReclaimed,
            Former::Process(owner) => match view.registration(owner.node) {
                Some(_) => ClaimReason::Replaced,
                None => ClaimReason::Silent,
            },
        }
    }

    /// Returns the conditions for claiming the slots of `former`, updated from the previous decision.
    fn prospect(
        &mut self,
        former: Former,
        is_kept: bool,
        view: &View,
        silence: &Silence,
        now: Now,
    ) -> Prospect {
        let earlier = self.prospects.get(&former).copied();
        let mut prospect = earlier.unwrap_or_default();
        let is_followed = match former {
            Former::Process(owner) => !self.succeeds(owner) && followed(owner, view, silence),
            Former::NeverOwned | Former::GivenUp => false,
        };
        if is_followed {
            prospect.followed.get_or_insert(now);
        }
        if is_kept || !self.is_free(former, view, silence, now) {
            prospect.free = None;
            return prospect;
        }
        if prospect.free.is_none() {
            prospect.fallback_ms = match former {
                Former::Process(owner) if self.succeeds(owner) => 0,
                Former::Process(_) | Former::GivenUp => self.fallback_ms(),
                Former::NeverOwned => self.fallback_ms() + FIRST_FALLBACK_MS,
            };
        }
        let free = *prospect.free.get_or_insert(now);
        let followed = prospect.followed.filter(|_| is_followed);
        prospect.free = followed
            .map(|since| since.after(RESTARTED_MS))
            .max(Some(free));
        prospect
    }

    /// Returns `true` if the slots of `former` may be claimed, except slots that the owner reports as served.
    fn is_free(&self, former: Former, view: &View, silence: &Silence, now: Now) -> bool {
        let owner = match former {
            Former::NeverOwned => {
                let since = view.first_registration().map_or(0, |at| now.since(at));
                return since >= FIRST_CLAIM_MS || self.claimed.iter().any(Option::is_some);
            }
            Former::GivenUp => return true,
            Former::Process(owner) => owner,
        };
        if self.succeeds(owner) {
            return true;
        }
        let lease_ms = self.spans.lease_ms();
        let is_mine = owner.node == self.me.node;
        let is_deregistered = match view.registration(owner.node) {
            Some(registration) => registration.incarnation != owner.incarnation,
            None => view.absent_ms(owner.node) >= self.spans.absence_ms(),
        };
        let is_out_of_grace = self.runs_for(GRACE_MS, now)
            || is_mine
            || silence.ever_answered(owner.node)
            || view.roster(owner.node) != Some(RosterState::Here);
        let is_queried = match is_mine {
            true => self.runs_for(lease_ms, now),
            false => silence.asked_for(owner.node, now, lease_ms),
        };
        is_deregistered && is_out_of_grace && is_queried
    }

    /// Returns `true` if `owner` was an earlier process of this node with the same data directory.
    fn succeeds(&self, owner: Owner) -> bool {
        owner.node == self.me.node && owner.incarnation.directory == self.me.incarnation.directory
    }

    fn fallback_ms(&mut self) -> u64 {
        FALLBACK_MS + self.random.u64(0..=FALLBACK_SPREAD_MS)
    }
}

impl Former {
    fn of(record: SlotRecord) -> Self {
        match record.owner {
            Some(owner) => Self::Process(owner),
            None if record.epoch == Epoch::default() => Self::NeverOwned,
            None => Self::GivenUp,
        }
    }

    fn node(self) -> Option<NodeId> {
        match self {
            Self::Process(owner) => Some(owner.node),
            Self::NeverOwned | Self::GivenUp => None,
        }
    }
}

/// Returns `true` if another process has succeeded the owner and will reclaim the slot at once.
///
/// A successor that uses a different directory, for example on a replacement host, has no priority and waits like any
/// other node.
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
    /// Whether other nodes (peers or not) are registered, but none of them answers this node.
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
    use crate::cluster::message::Held;
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

    fn owner(node: u16, directory: u32) -> Owner {
        Owner {
            node: NodeId(node),
            incarnation: incarnation(directory, 1),
        }
    }

    /// Returns the view of a cluster with one slot, which `owner` owns.
    fn view_of_slot(others: &[Kinship], owner: Owner) -> (View, Slot, Revision) {
        let (mut view, slot, epoch) = (view(others), Slot(0), Revision(5));
        let record = SlotRecord {
            epoch,
            owner: Some(owner),
            ..SlotRecord::default()
        };
        view.learn(slot, record);
        (view, slot, epoch)
    }

    #[test]
    fn slots_of_another_directory_of_this_node_are_claimed_after_a_lease() {
        let (view, slot, _) = view_of_slot(&[], owner(0, 5));
        let mut plan = Plan::new(owner(0, 0), SPANS, Now(0), 1);
        let silence = Silence::new(1, SPANS);
        let mut is_claimable = |now| plan.claimable(&view, &silence, Now(now)) == [slot];
        let first = [8_000, 9_999, 10_000, 11_500]
            .into_iter()
            .find(|now| is_claimable(*now));
        assert_eq!(first, Some(11_500));
    }

    #[test]
    fn the_wait_for_a_successor_begins_again_after_a_pause() {
        for (paused, claimed) in [(false, 65_000), (true, 69_999)] {
            let former = Owner {
                node: NodeId(1),
                incarnation: incarnation(1, 0),
            };
            let (view, slot, _) = view_of_slot(&[Kinship::Peer], former);
            let mut plan = Plan::new(owner(0, 0), SPANS, Now(0), 1);
            let mut silence = Silence::new(1, SPANS);
            silence.asks(NodeId(1), Now(40_000));
            let mut is_claimable = |now| {
                answers(&mut silence, 1, now - 1_000);
                if paused && now == 64_999 {
                    plan.gap();
                }
                plan.claimable(&view, &silence, Now(now)) == [slot]
            };
            let first = [60_000, 64_999, 65_000, 69_998, 69_999];
            assert_eq!(
                first.into_iter().find(|now| is_claimable(*now)),
                Some(claimed)
            );
        }
    }

    #[test]
    fn a_slot_is_claimed_once_its_owner_was_queried_for_a_lease_and_serves_it_no_more() {
        let (view, slot, epoch) = view_of_slot(&[Kinship::Peer], owner(1, 7));
        let mut plan = Plan::new(owner(0, 0), SPANS, Now(0), 1);
        let mut silence = Silence::new(1, SPANS);
        let mut is_claimable = |silence: &Silence, now| {
            let claimable = plan.claimable(&view, silence, Now(now));
            claimable == [slot]
        };
        answers(&mut silence, 1, 59_000);
        assert!(!is_claimable(&silence, 60_000), "never queried");
        silence.asks(NodeId(1), Now(60_000));
        answers(&mut silence, 1, 69_000);
        assert!(!is_claimable(&silence, 69_999));
        assert!(is_claimable(&silence, 70_000));
        silence.serves(&[Held { slot, epoch }], Now(70_000));
        answers(&mut silence, 1, 79_000);
        assert!(!is_claimable(&silence, 79_999));
        assert!(is_claimable(&silence, 80_000));
    }
}
