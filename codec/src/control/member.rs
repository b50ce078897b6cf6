//! Members of a JSON object with their types, read from simd-json's tape.
//!
//! # Theory of operation
//! simd-json turns a body into a flat list of nodes; a container's head says how many nodes follow it:
//! ```text
//!  {"Tags":[{"Key":"k"}],"A":1}
//!  Object(10) "Tags" Array Object "Key" "k" "A" 1        a value is its head and the nodes that belong to it:
//!                    └───────── value ────┘              a slice; its neighbour begins where the slice ends
//! ```
//! Walking is slicing, so no depth of nesting costs stack, and skipping an unknown value costs nothing.

use super::error::ApiError;
use simd_json::{Node, StaticNode, Tape};

/// A whole body, parsed. Exists for one call.
pub(super) struct Body<'b>(Tape<'b>);

impl<'b> Body<'b> {
    /// Parses a body, changing it in place.
    pub(super) fn parse(body: &'b mut [u8]) -> Result<Self, ApiError> {
        match simd_json::to_tape(body) {
            Ok(tape) => Ok(Self(tape)),
            // simd-json's own words tell of its inside, and its position counts from a block's start.
            Err(_) => Err(ApiError::serialization(
                "The request body is not valid JSON.",
            )),
        }
    }

    /// The object that the body has to be.
    pub(super) fn object<'t>(&'t self) -> Result<Object<'t, 'b>, ApiError> {
        let whole = Value { nodes: &self.0.0 };
        whole
            .object()
            .ok_or_else(|| ApiError::serialization("The request body must be a JSON object."))
    }
}

/// A JSON object: its keys and values in the order of the text.
#[derive(Clone, Copy)]
pub(super) struct Object<'t, 'b> {
    nodes: &'t [Node<'b>],
}

impl<'t, 'b> Object<'t, 'b> {
    /// The members of these names, each possibly absent (also when `null`); others are ignored.
    ///
    /// # Errors
    /// A name that occurs twice.
    pub(super) fn members<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[Member<'t, 'b>; N], ApiError> {
        let mut found = names.map(|name| Found {
            seen: false,
            member: Member { name, value: None },
        });
        let mut rest = self.nodes;
        while let Some((Node::String(key), after_key)) = rest.split_first() {
            let Some((value, after)) = Value::first(after_key) else {
                break;
            };
            rest = after;
            let Some(slot) = found.iter_mut().find(|slot| slot.member.name == *key) else {
                continue;
            };
            if slot.seen {
                return Err(ApiError::serialization(format!(
                    "{} is given twice.",
                    slot.member.name
                )));
            }
            slot.seen = true;
            slot.member.value = Some(value).filter(|value| !value.is_null());
        }
        Ok(found.map(|slot| slot.member))
    }
}

/// A member by name, absent or of any type.
#[derive(Clone, Copy)]
pub(super) struct Member<'t, 'b> {
    name: &'static str,
    value: Option<Value<'t, 'b>>,
}

impl<'t, 'b> Member<'t, 'b> {
    /// The member's string.
    pub(super) fn text(self) -> Result<Option<&'b str>, ApiError> {
        self.typed("a string", Value::text)
    }

    /// The member's integer. `60.0` and `6e1` are not integers: no client writes them.
    pub(super) fn integer(self) -> Result<Option<i64>, ApiError> {
        self.typed("an integer", Value::integer)
    }

    /// The member's object.
    pub(super) fn object(self) -> Result<Option<Object<'t, 'b>>, ApiError> {
        self.typed("an object", Value::object)
    }

    /// The member's list of strings.
    pub(super) fn texts(self) -> Result<Option<Vec<&'b str>>, ApiError> {
        self.typed("a list of strings", |value| {
            value.items()?.map(Value::text).collect()
        })
    }

    /// The member's list of objects.
    pub(super) fn objects(self) -> Result<Option<Vec<Object<'t, 'b>>>, ApiError> {
        self.typed("a list of objects", |value| {
            value.items()?.map(Value::object).collect()
        })
    }

    fn typed<T>(
        self,
        what: &str,
        read: impl Fn(Value<'t, 'b>) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.value else {
            return Ok(None);
        };
        let typed = read(value)
            .ok_or_else(|| ApiError::serialization(format!("{} must be {what}.", self.name)))?;
        Ok(Some(typed))
    }
}

struct Found<'t, 'b> {
    seen: bool,
    member: Member<'t, 'b>,
}

/// Any JSON value: the node that heads it, and all that belong to it.
#[derive(Clone, Copy)]
struct Value<'t, 'b> {
    nodes: &'t [Node<'b>],
}

impl<'t, 'b> Value<'t, 'b> {
    /// Splits the first value off a list of nodes.
    fn first(nodes: &'t [Node<'b>]) -> Option<(Self, &'t [Node<'b>])> {
        let below = match nodes.first()? {
            Node::Object { count, .. } | Node::Array { count, .. } => *count,
            Node::String(_) | Node::Static(_) => 0,
        };
        let (own, rest) = nodes.split_at_checked(below + 1)?;
        Some((Self { nodes: own }, rest))
    }

    fn is_null(self) -> bool {
        matches!(self.nodes, [Node::Static(StaticNode::Null)])
    }

    fn text(self) -> Option<&'b str> {
        match self.nodes {
            [Node::String(text)] => Some(text),
            [..] => None,
        }
    }

    fn integer(self) -> Option<i64> {
        match self.nodes {
            [Node::Static(StaticNode::I64(integer))] => Some(*integer),
            // Every integer of ours is small; one beyond i64 is out of each range all the same.
            [Node::Static(StaticNode::U64(integer))] => {
                Some(i64::try_from(*integer).unwrap_or(i64::MAX))
            }
            [..] => None,
        }
    }

    fn object(self) -> Option<Object<'t, 'b>> {
        match self.nodes {
            [Node::Object { .. }, nodes @ ..] => Some(Object { nodes }),
            [..] => None,
        }
    }

    fn items(self) -> Option<impl Iterator<Item = Self>> {
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
