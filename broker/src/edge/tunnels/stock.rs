//! Which connections to other nodes wait, for upgrades and for calls: how many for each node, and which is next. No
//! socket.
//!
//! Those for upgrades were opened ahead, or came back. For a node as many wait as upgrades were answered by it in a
//! quarter of a second on connections that had none before: so for one to which nothing goes none is opened, and
//! neither for one whose connections come back. Those are taken first, and of each kind the newest: what nobody needs
//! any more comes to its end ([`AHEAD_IDLE_MS`](crate::edge::limits::AHEAD_IDLE_MS)) without being replaced.

use crate::edge::limits::{
    AHEAD_PER_NODE_MAX, AHEAD_PER_SHARD_MAX, AHEAD_PER_TURN, KEPT_PER_NODE_MAX, KEPT_PER_SHARD_MAX,
    RETURNED_PER_NODE_MAX,
};
use broker_core::{id::NodeId, time::Now};

/// The connections of one shard that wait for upgrades, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    nodes: Vec<Node>,
    /// Those of all nodes, the ones under way included.
    len: usize,
    /// Some node may have fewer than it is to have.
    short: bool,
}

/// Those to one node.
#[derive(Debug, Default)]
struct Node {
    /// Those that were opened ahead and wait for a client, the newest last.
    ready: Vec<u32>,
    /// Those that came back, the newest last.
    returned: Vec<u32>,
    /// Those that the node has not greeted.
    opening: usize,
    /// Upgrades that it answered since `since`, and in the span before.
    answered: [usize; 2],
    since: Now,
}

impl Stock {
    /// A node has answered an upgrade.
    pub(crate) fn answered(&mut self, node: NodeId, now: Now) {
        while self.nodes.len() <= node.index() {
            self.nodes.push(Node::default());
        }
        if let Some(node) = self.nodes.get_mut(node.index()) {
            node.roll(now);
            node.answered[0] += 1;
        }
        self.short = true;
    }

    /// The nodes to which connections are to be opened in this turn, each as often as it needs one.
    pub(crate) fn missing(&mut self, now: Now) -> Vec<NodeId> {
        let mut missing = Vec::new();
        if !self.short {
            return missing;
        }
        let room = AHEAD_PER_SHARD_MAX.saturating_sub(self.len);
        let most = room.min(AHEAD_PER_TURN);
        self.short = false;
        for (number, node) in (0..).zip(&mut self.nodes) {
            let wanted = node.wanted(now);
            let lacks = wanted.saturating_sub(node.len());
            let free = most - missing.len();
            self.short |= lacks > free;
            missing.extend(std::iter::repeat_n(NodeId(number), lacks.min(free)));
        }
        missing
    }

    /// One is being opened.
    pub(crate) fn opens(&mut self, node: NodeId) {
        self.len += 1;
        self.node(node).opening += 1;
    }

    /// One that was being opened waits for a client.
    pub(crate) fn is_ready(&mut self, node: NodeId, place: u32) {
        let node = self.node(node);
        node.opening -= 1;
        node.ready.push(place);
    }

    /// One that comes back waits for its next client. False where there is no room.
    pub(crate) fn returns(&mut self, node: NodeId, place: u32) -> bool {
        let Some(its) = self.nodes.get_mut(node.index()) else {
            return false; // it never answered
        };
        let has_room = its.returned.len() < RETURNED_PER_NODE_MAX;
        let has_room = has_room && self.len < AHEAD_PER_SHARD_MAX;
        if has_room {
            self.len += 1;
            its.returned.push(place);
        }
        has_room
    }

    /// One for a client.
    pub(crate) fn take(&mut self, node: NodeId) -> Option<u32> {
        let node = self.nodes.get_mut(node.index())?;
        let place = node.returned.pop().or_else(|| node.ready.pop())?;
        self.len -= 1;
        self.short = true;
        Some(place)
    }

    /// One is gone that nobody took.
    pub(crate) fn is_gone(&mut self, node: NodeId, place: u32) {
        self.len -= 1;
        let node = self.node(node);
        let before = node.len();
        node.ready.retain(|ready| *ready != place);
        node.returned.retain(|returned| *returned != place);
        if node.len() == before {
            node.opening -= 1;
        }
    }

    /// A node is not reached: no more are opened to it until it answers upgrades again. Those that wait, for their end.
    pub(crate) fn distrust(&mut self, node: NodeId) -> Vec<u32> {
        let Some(node) = self.nodes.get_mut(node.index()) else {
            return Vec::new();
        };
        node.answered = [0; 2];
        [&node.ready[..], &node.returned].concat()
    }

    /// One that makes room for another connection.
    pub(crate) fn spare(&self) -> Option<u32> {
        let mut nodes = self.nodes.iter();
        let first = |node: &Node| {
            node.ready
                .first()
                .or_else(|| node.returned.first())
                .copied()
        };
        nodes.find_map(first)
    }

    fn node(&mut self, node: NodeId) -> &mut Node {
        let node = self.nodes.get_mut(node.index());
        node.expect("connections are opened to nodes that have answered")
    }
}

impl Node {
    /// All of them.
    fn len(&self) -> usize {
        self.ready.len() + self.returned.len() + self.opening
    }

    /// The connections that it is to have.
    fn wanted(&mut self, now: Now) -> usize {
        self.roll(now);
        let [this, last] = self.answered;
        (this.max(last) / PARTS_OF_A_SPAN).min(AHEAD_PER_NODE_MAX)
    }

    /// Begins a span where one is over.
    fn roll(&mut self, now: Now) {
        let [this, _] = self.answered;
        match now.since(self.since) / SPAN_MS {
            0 => return,
            1 => self.answered = [0, this],
            _ => self.answered = [0; 2],
        }
        self.since = now;
    }
}

/// The time in which answered upgrades are counted, in milliseconds.
const SPAN_MS: u64 = 1_000;

/// A node has a connection for this part of those of a span.
const PARTS_OF_A_SPAN: usize = 4;

// Which connections to other nodes are kept for calls: how many there may be, and which of them wait. No socket.
//
// A node has as many as there were calls to it at once, up to a bound. They are taken the newest first: those that
// nobody needs any more come to their end ([`KEPT_IDLE_MS`](crate::edge::limits::KEPT_IDLE_MS)).

/// The connections of one shard that are kept, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    nodes: Vec<NodePool>,
    /// Those of all nodes, the ones with a call included.
    len: usize,
    /// Those that wait for a call.
    resting: usize,
}

/// Those to one node.
#[derive(Debug, Default)]
struct NodePool {
    /// Those that wait for a call, the newest last.
    resting: Vec<u32>,
    /// All of them.
    len: usize,
}

impl Pool {
    /// One more is to be kept, if there may be one more: its first call is under way.
    pub(crate) fn begins(&mut self, node: NodeId) -> bool {
        while self.nodes.len() <= node.index() {
            self.nodes.push(NodePool::default());
        }
        let Some(node) = self.nodes.get_mut(node.index()) else {
            return false;
        };
        let has_room = node.len < KEPT_PER_NODE_MAX && self.len < KEPT_PER_SHARD_MAX;
        node.len += usize::from(has_room);
        self.len += usize::from(has_room);
        has_room
    }

    /// One waits for its next call.
    pub(crate) fn rests(&mut self, node: NodeId, place: u32) {
        self.resting += 1;
        self.node(node).resting.push(place);
    }

    /// One for a call.
    pub(crate) fn take(&mut self, node: NodeId) -> Option<u32> {
        let place = self.nodes.get_mut(node.index())?.resting.pop()?;
        self.resting -= 1;
        Some(place)
    }

    /// One is gone that had a call, or is not kept after all.
    pub(crate) fn ends(&mut self, node: NodeId) {
        self.len -= 1;
        self.node(node).len -= 1;
    }

    /// One is gone that waited.
    pub(crate) fn is_gone(&mut self, node: NodeId, place: u32) {
        let its = self.node(node);
        let before = its.resting.len();
        its.resting.retain(|resting| *resting != place);
        let waited = before - its.resting.len();
        self.resting -= waited;
        self.ends(node);
    }

    /// Those to a node that wait: it is not reached, so that they are to end.
    pub(crate) fn distrust(&self, node: NodeId) -> Vec<u32> {
        let node = self.nodes.get(node.index());
        node.map(|node| node.resting.clone()).unwrap_or_default()
    }

    /// One that makes room for another connection.
    pub(crate) fn spare(&self) -> Option<u32> {
        let mut nodes = self.nodes.iter();
        nodes.find_map(|node| node.resting.first().copied())
    }

    /// The number of those that wait.
    pub(crate) fn resting(&self) -> usize {
        self.resting
    }

    /// Whether there is none, nor a call on one.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn node(&mut self, node: NodeId) -> &mut NodePool {
        let node = self.nodes.get_mut(node.index());
        node.expect("connections are kept to nodes that a call went to")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn answered(stock: &mut Stock, times: usize, at: Now) {
        for _ in 0..times {
            stock.answered(NODE, at);
        }
    }

    /// Opens what is missing, in as many turns as that takes.
    fn fill(stock: &mut Stock, now: Now) -> usize {
        let mut opened = 0;
        loop {
            let missing = stock.missing(now);
            if missing.is_empty() {
                return opened;
            }
            assert!(missing.len() <= AHEAD_PER_TURN);
            for node in missing {
                stock.opens(node);
                stock.is_ready(node, u32::try_from(opened).unwrap());
                opened += 1;
            }
        }
    }

    #[test]
    fn a_node_has_a_quarter_of_the_upgrades_of_a_second_up_to_the_bound() {
        for (upgrades, wanted) in [
            (0, 0),
            (3, 0),
            (4, 1),
            (40, 10),
            (4_000, AHEAD_PER_NODE_MAX),
        ] {
            let mut stock = Stock::default();
            answered(&mut stock, upgrades, Now(5_000));
            assert_eq!(fill(&mut stock, Now(5_000)), wanted, "{upgrades}");
            assert_eq!(stock.len, wanted);
        }
    }

    #[test]
    fn what_is_taken_is_replaced_while_the_node_is_used_and_not_later() {
        let mut stock = Stock::default();
        answered(&mut stock, 8, Now(5_000));
        assert_eq!(fill(&mut stock, Now(5_000)), 2);
        assert_eq!(stock.take(NODE), Some(1), "the newest");
        assert_eq!(stock.missing(Now(6_900)), [NODE]);
        assert_eq!(stock.take(NODE), Some(0));
        assert_eq!(stock.missing(Now(8_100)), []);
        assert_eq!((stock.take(NODE), stock.len), (None, 0));
        assert_eq!(stock.take(NodeId(7)), None, "a node that nothing went to");
    }

    #[test]
    fn what_comes_back_is_taken_first_and_spares_an_opening() {
        let mut stock = Stock::default();
        assert!(!stock.returns(NODE, 90), "a node that never answered");
        answered(&mut stock, 16, Now(5_000));
        assert_eq!(fill(&mut stock, Now(5_000)), 4);
        assert!(stock.returns(NODE, 90) && stock.returns(NODE, 91));
        assert_eq!((stock.take(NODE), stock.take(NODE)), (Some(91), Some(90)));
        assert_eq!((stock.take(NODE), stock.len), (Some(3), 3));
        // In place of that one none is opened.
        assert!(stock.returns(NODE, 92));
        assert_eq!(stock.missing(Now(5_001)), []);
        stock.is_gone(NODE, 92);
        answered(&mut stock, 1, Now(5_002));
        assert_eq!(stock.missing(Now(5_002)), [NODE]);
    }

    #[test]
    fn what_comes_back_has_a_bound_for_a_node_and_for_all() {
        let mut stock = Stock::default();
        for node in 0..8 {
            stock.answered(NodeId(node), Now(0));
        }
        let mut returns = |node| (0..200).filter(|place| stock.returns(node, *place)).count();
        assert_eq!(returns(NODE), RETURNED_PER_NODE_MAX);
        let all: usize = (2..8).map(|node| returns(NodeId(node))).sum();
        assert_eq!(all + RETURNED_PER_NODE_MAX, AHEAD_PER_SHARD_MAX);
        assert_eq!(stock.distrust(NODE).len(), RETURNED_PER_NODE_MAX);
        assert!(stock.spare().is_some());
    }

    #[test]
    fn a_node_that_is_not_reached_gets_none_until_it_answers() {
        let mut stock = Stock::default();
        answered(&mut stock, 8, Now(5_000));
        fill(&mut stock, Now(5_000));
        for place in stock.distrust(NODE) {
            stock.is_gone(NODE, place);
        }
        assert_eq!((stock.len, stock.take(NODE)), (0, None));
        assert_eq!(fill(&mut stock, Now(5_001)), 0);
        answered(&mut stock, 4, Now(5_002));
        assert_eq!(fill(&mut stock, Now(5_002)), 1);
    }

    #[test]
    fn all_nodes_together_have_the_bound_of_a_shard() {
        let mut stock = Stock::default();
        for node in 0..40 {
            for _ in 0..4_000 {
                stock.answered(NodeId(node), Now(0));
            }
        }
        assert_eq!(fill(&mut stock, Now(0)), AHEAD_PER_SHARD_MAX);
        assert!(stock.spare().is_some());
    }
}

#[cfg(test)]
mod pool_tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    /// As many as may begin.
    fn fill(pool: &mut Pool, node: NodeId) -> usize {
        (0..1_000).take_while(|_| pool.begins(node)).count()
    }

    #[test]
    fn a_node_has_no_more_than_its_bound_whether_they_wait_or_not() {
        let mut pool = Pool::default();
        assert_eq!(fill(&mut pool, NODE), KEPT_PER_NODE_MAX);
        pool.rests(NODE, 7);
        assert!(!pool.begins(NODE), "one that waits has its place");
        assert_eq!((pool.take(NODE), pool.take(NODE)), (Some(7), None));
        pool.ends(NODE);
        assert!(pool.begins(NODE) && !pool.begins(NODE));
    }

    #[test]
    fn all_nodes_together_have_the_bound_of_a_shard() {
        let mut pool = Pool::default();
        let begun: usize = (0..40).map(|node| fill(&mut pool, NodeId(node))).sum();
        assert_eq!(begun, KEPT_PER_SHARD_MAX);
        for _ in 0..KEPT_PER_NODE_MAX {
            pool.ends(NodeId(0));
        }
        assert_eq!(fill(&mut pool, NodeId(39)), KEPT_PER_NODE_MAX);
    }

    #[test]
    fn the_newest_is_taken_and_the_oldest_makes_room() {
        let mut pool = Pool::default();
        for place in [3, 5, 4] {
            assert!(pool.begins(NODE));
            pool.rests(NODE, place);
        }
        assert_eq!((pool.spare(), pool.resting()), (Some(3), 3));
        pool.is_gone(NODE, 3);
        assert_eq!(pool.take(NODE), Some(4));
        assert_eq!(pool.distrust(NODE), [5]);
        pool.is_gone(NODE, 5);
        assert_eq!((pool.resting(), pool.spare()), (0, None));
        pool.ends(NODE);
        assert!(pool.is_empty());
        assert_eq!(pool.take(NodeId(9)), None, "a node that no call went to");
        assert!(pool.distrust(NodeId(9)).is_empty());
    }
}
