//! Values on simd-json's tape, for messages and API bodies alike.
//!
//! # Theory of operation
//! simd-json turns a text into a flat list of nodes; a container's head says how many nodes follow it:
//! ```text
//!  {"Tags":[{"Key":"k"}],"A":1}
//!  Object(10) "Tags" Array Object "Key" "k" "A" 1        a value is its head and the nodes that belong to it:
//!                    └───────── value ────┘              a slice; its neighbour begins where the slice ends
//! ```
//! Walking is slicing, so no depth of nesting costs stack, and skipping an unknown value costs nothing.

use simd_json::{Node, StaticNode};

/// Any JSON value: the node that heads it, and all that belong to it.
#[derive(Clone, Copy)]
pub(crate) struct Value<'t, 'b> {
    nodes: &'t [Node<'b>],
}

/// A JSON object: its keys and values in the order of the text.
#[derive(Clone, Copy)]
pub(crate) struct Object<'t, 'b> {
    nodes: &'t [Node<'b>],
}

impl<'t, 'b> Value<'t, 'b> {
    /// The value that a whole tape is.
    pub(crate) fn of(nodes: &'t [Node<'b>]) -> Self {
        Self { nodes }
    }

    /// Splits the first value off a list of nodes.
    #[inline]
    fn first(nodes: &'t [Node<'b>]) -> Option<(Self, &'t [Node<'b>])> {
        let below = match nodes.first()? {
            Node::Object { count, .. } | Node::Array { count, .. } => *count,
            Node::String(_) | Node::Static(_) => 0,
        };
        let (own, rest) = nodes.split_at_checked(below + 1)?;
        Some((Self { nodes: own }, rest))
    }

    pub(crate) fn is_null(self) -> bool {
        matches!(self.nodes, [Node::Static(StaticNode::Null)])
    }

    pub(crate) fn text(self) -> Option<&'b str> {
        match self.nodes {
            [Node::String(text)] => Some(text),
            [..] => None,
        }
    }

    /// The value of an integer. `60.0` and `6e1` are not integers: no client writes them.
    pub(crate) fn integer(self) -> Option<i64> {
        match self.nodes {
            [Node::Static(StaticNode::I64(integer))] => Some(*integer),
            // Every integer of ours is small; one beyond i64 is out of each range all the same.
            [Node::Static(StaticNode::U64(integer))] => {
                Some(i64::try_from(*integer).unwrap_or(i64::MAX))
            }
            [..] => None,
        }
    }

    pub(crate) fn object(self) -> Option<Object<'t, 'b>> {
        match self.nodes {
            [Node::Object { .. }, nodes @ ..] => Some(Object { nodes }),
            [..] => None,
        }
    }

    /// The entries of a list.
    pub(crate) fn items(self) -> Option<impl Iterator<Item = Self>> {
        let [Node::Array { .. }, nodes @ ..] = self.nodes else {
            return None;
        };
        let mut rest = nodes;
        Some(std::iter::from_fn(move || {
            let (value, after) = Value::first(rest)?;
            rest = after;
            Some(value)
        }))
    }
}

impl<'t, 'b> Object<'t, 'b> {
    /// Each key with its value.
    #[inline]
    pub(crate) fn entries(self) -> impl Iterator<Item = (&'b str, Value<'t, 'b>)> {
        let mut rest = self.nodes;
        std::iter::from_fn(move || {
            let (Node::String(key), after) = rest.split_first()? else {
                return None;
            };
            let (value, after) = Value::first(after)?;
            rest = after;
            Some((*key, value))
        })
    }
}
