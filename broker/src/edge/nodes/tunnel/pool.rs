//! Which connections to other nodes are kept for calls: how many there may be, and which of them wait. No socket.
//!
//! A node has as many as there were calls to it at once, up to a bound. They are taken the newest first: those that
//! nobody needs any more come to their end ([`KEPT_IDLE_MS`](crate::edge::limits::KEPT_IDLE_MS)).

use crate::edge::limits::{KEPT_PER_NODE_MAX, KEPT_PER_SHARD_MAX};
use broker_core::id::NodeId;

/// The connections of one shard that are kept, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    nodes: Vec<Node>,
    /// Those of all nodes, the ones with a call included.
    len: usize,
    /// Those that wait for a call.
    resting: usize,
}

/// Those to one node.
#[derive(Debug, Default)]
struct Node {
    /// Those that wait for a call, the newest last.
    resting: Vec<u32>,
    /// All of them.
    len: usize,
}

impl Pool {
    /// One more is to be kept, if there may be one more: its first call is under way.
    pub(crate) fn begins(&mut self, node: NodeId) -> bool {
        while self.nodes.len() <= node.index() {
            self.nodes.push(Node::default());
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

    fn node(&mut self, node: NodeId) -> &mut Node {
        let node = self.nodes.get_mut(node.index());
        node.expect("connections are kept to nodes that a call went to")
    }
}

#[cfg(test)]
mod tests {

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
