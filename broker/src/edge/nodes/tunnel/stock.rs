//! Which connections wait for upgrades, opened ahead or come back: how many for each node, and which is next. No
//! socket.
//!
//! For a node as many wait as upgrades were answered by it in a quarter of a second on connections that had none
//! before: so for one to which nothing goes none is opened, and neither for one whose connections come back. Those are
//! taken first, and of each kind the newest: what nobody needs any more comes to its end
//! ([`AHEAD_IDLE_MS`](crate::edge::limits::AHEAD_IDLE_MS)) without being replaced.

use crate::edge::limits::{
    AHEAD_PER_NODE_MAX, AHEAD_PER_SHARD_MAX, AHEAD_PER_TURN, RETURNED_PER_NODE_MAX,
};
use broker_core::id::NodeId;
use broker_core::time::Now;

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
