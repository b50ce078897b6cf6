//! Which node owns which slots, as an operator wrote it down: for a cluster whose owners do not change.
//!
//! ```text
//! # node  inner address     slots
//! n1      10.0.0.1:7443     0-1365
//! n2      10.0.0.2:7443     1366-2730
//! n3      10.0.0.3:7443     2731-4095
//! ```

use crate::cluster::limits::{NODES_MAX, SLOTS};
use crate::cluster::maps::slot_map::SlotMap;
use crate::cluster::types::{NodeId, Slot};
use std::net::SocketAddr;

/// The nodes of a cluster and what each owns. Every slot has one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedMap {
    /// Name and inner address of each node, by [`NodeId`].
    pub nodes: Vec<(Box<str>, SocketAddr)>,
    owners: Vec<NodeId>,
}

impl FixedMap {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The error says what is allowed, and in which line or for which slot.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut nodes: Vec<(Box<str>, SocketAddr)> = Vec::new();
        let mut owners = vec![None; usize::from(SLOTS)];
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                let fault = |rule| format!("line {}: {rule}", number + 1);
                read_line(line, &mut nodes, &mut owners).map_err(fault)?;
            }
        }
        if let Some(slot) = owners.iter().position(Option::is_none) {
            return Err(format!(
                "slot {slot}: allowed one node for each of the slots 0-4095"
            ));
        }
        let owners = owners.into_iter().flatten().collect();
        Ok(Self { nodes, owners })
    }

    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<NodeId> {
        let place = self.nodes.iter().position(|(known, _)| **known == *name)?;
        Some(NodeId(u16::try_from(place).ok()?))
    }

    /// The map as the node `own` uses it, with the cluster's key of the hash.
    #[must_use]
    pub fn slot_map(&self, key: &[u8; 16], own: NodeId) -> SlotMap {
        let names = self.nodes.iter().map(|(name, _)| name.clone()).collect();
        let map = SlotMap::new(key, own, names);
        for (slot, owner) in (0..).zip(&self.owners) {
            map.assign(Slot(slot), Some(*owner));
        }
        map
    }
}

fn read_line(
    line: &str,
    nodes: &mut Vec<(Box<str>, SocketAddr)>,
    owners: &mut [Option<NodeId>],
) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, address, slots] = words[..] else {
        return Err("allowed a name, an address and slots, such as n1 10.0.0.1:7443 0-2047".into());
    };
    let name = crate::settings::value::node(name)?;
    let address = crate::settings::value::socket(address)?;
    if nodes.len() >= NODES_MAX {
        return Err(format!("allowed {NODES_MAX} nodes at most"));
    }
    if nodes
        .iter()
        .any(|(known, at)| **known == *name || *at == address)
    {
        return Err("allowed each name and each address once".into());
    }
    let node = NodeId(u16::try_from(nodes.len()).unwrap_or(u16::MAX));
    for range in slots.split(',') {
        let (first, last) = bounds(range).ok_or("allowed slots of 0 to 4095, such as 0-99,200")?;
        for slot in first..=last {
            match owners.get_mut(usize::from(slot)) {
                Some(owner @ None) => *owner = Some(node),
                Some(Some(_)) | None => return Err(format!("slot {slot}: allowed one node")),
            }
        }
    }
    nodes.push((name.into(), address));
    Ok(())
}

fn bounds(range: &str) -> Option<(u16, u16)> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < SLOTS).then_some((first, last))
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn every_slot_has_the_node_of_its_line() {
        let text = "# two nodes\nn1 127.0.0.1:1 0-99,101-4095\n\n n2\t[::1]:2 100 # one\n";
        let map = FixedMap::parse(text).unwrap();
        assert_eq!(
            (map.node("n1"), map.node("n2")),
            (Some(NodeId(0)), Some(NodeId(1)))
        );
        assert_eq!(map.node("n3"), None);
        assert_eq!((map.owners[99], map.owners[100]), (NodeId(0), NodeId(1)));
        assert_eq!(map.nodes[1], ("n2".into(), "[::1]:2".parse().unwrap()));
        assert_eq!(map.slot_map(&[0; 16], NodeId(1)).own(), NodeId(1));
    }

    #[test]
    fn a_wrong_map_is_refused_with_its_line() {
        let n1 = "n1 127.0.0.1:1 0-4095\n";
        for (text, rule) in [
            ("", "slot 0: allowed one node for each"),
            (
                "n1 127.0.0.1:1 0-4094",
                "slot 4095: allowed one node for each",
            ),
            (
                "n1 127.0.0.1:1",
                "line 1: allowed a name, an address and slots",
            ),
            ("n1 127.0.0.1:1 0-1 2-3", "line 1: allowed a name"),
            (
                "N1 127.0.0.1:1 0-1",
                "line 1: allowed 1 to 63 of the characters",
            ),
            ("n1 127.0.0.1 0-1", "line 1: allowed ADDR:PORT"),
            ("n1 127.0.0.1:1 0-4096", "line 1: allowed slots"),
            ("n1 127.0.0.1:1 5-4", "line 1: allowed slots"),
            ("n1 127.0.0.1:1 0-1,1", "line 1: slot 1: allowed one node"),
            (
                "n1 127.0.0.1:1 0\nn1 127.0.0.1:2 1",
                "line 2: allowed each name",
            ),
            (
                "n1 127.0.0.1:1 0\nn2 127.0.0.1:1 1",
                "line 2: allowed each name",
            ),
        ] {
            let refused = FixedMap::parse(text).unwrap_err();
            assert!(refused.starts_with(rule), "{text}: {refused}");
        }
        let two = format!("{n1}n2 127.0.0.1:2 7");
        assert_eq!(
            FixedMap::parse(&two),
            Err("line 2: slot 7: allowed one node".into())
        );
    }
}
