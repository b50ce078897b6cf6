//! Names of nodes, and the numbers that the core uses instead. A number is valid only within one process, so messages
//! and keys in etcd contain names.

use crate::limits::NAME_BYTES_MAX;
use broker_core::cluster::limits::NODES_MAX;
use broker_core::cluster::types::{Address, NodeId, NodeKey};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// The name of a node or a cluster. Consists of at most [`NAME_BYTES_MAX`] letters, digits, `-` and `.`, so it fits
/// into a key and a host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "&str")]
pub struct Name(Arc<str>);

impl Name {
    /// Creates a name. Returns `None` if `text` is empty, too long or contains other characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        let is_one = !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(fits);
        is_one.then(|| Self(text.into()))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the node's key in its cluster, which is the same on all nodes and in all versions.
    pub(crate) fn key(&self) -> NodeKey {
        NodeKey(hash(&self.0))
    }
}

pub(crate) fn address(text: &str) -> Address {
    Address(hash(text))
}

fn hash(text: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}

impl TryFrom<&str> for Name {
    type Error = &'static str;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::new(text).ok_or("not a valid name of a node")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Escapes and truncates text from etcd for the log or a terminal, since a foreign program may have written it.
pub(crate) fn shown(text: &str) -> String {
    let mut rest = text.chars();
    let begin: String = rest.by_ref().take(SHOWN_CHARS).collect();
    let dots = if rest.next().is_some() { "…" } else { "" };
    format!("{}{dots}", begin.escape_debug())
}

/// Maximum number of characters shown of text from etcd. No name that this program writes is that long.
const SHOWN_CHARS: usize = 200;

/// The nodes known to this process. The table never shrinks, and has at most [`NODES_MAX`] entries.
#[derive(Debug)]
pub(crate) struct Names {
    names: Vec<Name>,
    numbers: HashMap<Name, NodeId>,
}

/// The error returned if there are more nodes than a cluster may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "this process has seen {NODES_MAX} names of nodes, which is its limit: remove those that are gone (`heliograph \
     cluster remove`), then restart this node"
)]
pub(crate) struct TooManyNodes;

impl Names {
    /// Creates a table that contains only the node `me`, as number 0.
    pub(crate) fn new(me: Name) -> Self {
        let mut names = Self {
            names: Vec::new(),
            numbers: HashMap::new(),
        };
        names.push(me);
        names
    }

    /// Returns the number of a node. Assigns one if the node is new.
    pub(crate) fn number(&mut self, name: &Name) -> Result<NodeId, TooManyNodes> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(number);
        }
        if self.names.len() >= NODES_MAX {
            return Err(TooManyNodes);
        }
        Ok(self.push(name.clone()))
    }

    pub(crate) fn name(&self, node: NodeId) -> Option<&Name> {
        self.names.get(node.index())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (NodeId, &Name)> {
        let numbers = (0..).map(NodeId);
        numbers.zip(&self.names)
    }

    fn push(&mut self, name: Name) -> NodeId {
        let number = NodeId(u16::try_from(self.names.len()).unwrap_or(u16::MAX));
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for fine in ["n1", "a", "node-1.example", &"x".repeat(63)] {
            assert_eq!(
                Name::new(fine).map(|name| name.to_string()),
                Some(fine.into())
            );
        }
        for wrong in ["", "a/b", "a b", "ä", &"x".repeat(64), "a\n"] {
            assert_eq!(Name::new(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_key_of_a_name_never_changes() {
        for (name, key) in [
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(Name::new(name).unwrap().key(), NodeKey(key));
        }
    }

    #[test]
    fn texts_of_others_are_escaped_and_cut() {
        assert_eq!(shown("cam 1"), "cam 1");
        assert_eq!(shown("a\n\u{1b}[2J"), "a\\n\\u{1b}[2J");
        assert_eq!(shown(&"ä".repeat(200)), "ä".repeat(200));
        assert_eq!(shown(&"ä".repeat(201)), format!("{}…", "ä".repeat(200)));
    }

    #[test]
    fn a_name_keeps_its_number_and_numbers_end() {
        let name = |number: usize| Name::new(&format!("n{number}")).unwrap();
        let mut names = Names::new(name(0));
        for number in 0..NODES_MAX {
            let given = names.number(&name(number)).unwrap();
            assert_eq!(given.index(), number);
            assert_eq!(names.name(given), Some(&name(number)));
        }
        assert_eq!(names.number(&name(NODES_MAX)), Err(TooManyNodes));
        assert_eq!(names.number(&name(7)), Ok(NodeId(7)));
        assert_eq!(names.name(NodeId(u16::MAX)), None);
    }
}
