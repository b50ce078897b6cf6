//! Slot maps. [`SlotMap`] tells the shards which slot a channel belongs to and which node owns a slot, [`FixedMap`]
//! contains fixed owners from a file, and [`SlotSet`] is a set of slots.

use crate::cluster::limits::{NODES_MAX, SLOTS};
use crate::cluster::types::{NodeId, Slot};
use crate::{id::Identity, time::Now};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use std::hash::Hasher;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

/// Slot owners as one node knows them. Each process has one instance. The shards read it, and only the cluster driver
/// writes it.
#[derive(Debug)]
pub struct SlotMap {
    /// The key of the hash that maps channels to slots; not set until it has been read from etcd.
    key: OnceLock<[u64; 2]>,
    own: NodeId,
    names: Box<[OnceLock<Box<str>>]>,
    owners: Box<[AtomicU16]>,
    /// For each slot, whether its owner received it in a transfer from the previous owner.
    given: Box<[AtomicBool]>,
    /// For each slot, whether this node used to own it.
    left: Box<[AtomicBool]>,
    /// The presence epoch of each slot; 0 if this node does not serve the slot.
    presence: Box<[AtomicU64]>,
    presence_changes: AtomicU64,
    changes: AtomicU64,
    /// The time until which this node may admit clients to its slots, by the clock of its shards.
    valid_until: AtomicU64,
    /// Whether channels outside this node's slots can be reported as nonexistent.
    knows_absence: AtomicBool,
    /// The number of registered nodes, including this one. At least 1.
    nodes: AtomicU16,
    is_fixed: bool,
}

impl SlotMap {
    /// Creates a map with fixed owners. `own` is this node's index in `names`, and `key` is the same on every node.
    #[must_use]
    pub fn new(key: &[u8; 16], own: NodeId, names: Vec<Box<str>>) -> Self {
        let map = Self::empty(own, true);
        for (node, name) in (0..).zip(names) {
            map.name_node(NodeId(node), name);
        }
        map.set_key(key);
        map.set_valid_until(FOR_EVER);
        map
    }

    /// Creates an empty map, in which no slot has an owner and no client is admitted.
    #[must_use]
    pub fn unknown(own: NodeId) -> Self {
        Self::empty(own, false)
    }

    fn empty(own: NodeId, is_fixed: bool) -> Self {
        let owners = (0..SLOTS).map(|_| AtomicU16::new(NOBODY));
        Self {
            key: OnceLock::new(),
            own,
            names: (0..NODES_MAX).map(|_| OnceLock::new()).collect(),
            owners: owners.collect(),
            given: (0..SLOTS).map(|_| AtomicBool::new(false)).collect(),
            left: (0..SLOTS).map(|_| AtomicBool::new(false)).collect(),
            presence: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            presence_changes: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            valid_until: AtomicU64::new(0),
            knows_absence: AtomicBool::new(is_fixed),
            nodes: AtomicU16::new(1),
            is_fixed,
        }
    }

    /// Sets the hash key. The key never changes, so further calls are ignored.
    pub fn set_key(&self, key: &[u8; 16]) {
        self.key.get_or_init(|| numbers(key));
    }

    /// Sets the name of a node. The name never changes, so further calls are ignored.
    pub fn name_node(&self, node: NodeId, name: Box<str>) {
        if let Some(place) = self.names.get(node.index()) {
            place.get_or_init(|| name);
        }
    }

    /// Sets the owner of `slot`; `None` if no node serves it.
    pub fn assign(&self, slot: Slot, node: Option<NodeId>) {
        let place = slot.index();
        if let (Some(owner), Some(left)) = (self.owners.get(place), self.left.get(place)) {
            let former = owner.swap(node.map_or(NOBODY, |node| node.0), Ordering::AcqRel);
            let is_own = node == Some(self.own);
            if is_own || former == self.own.0 {
                left.store(!is_own, Ordering::Release);
            }
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Sets whether `slot` passes to its current or next owner by a transfer rather than by a claim.
    pub fn set_given(&self, slot: Slot, is_given: bool) {
        if let Some(given) = self.given.get(slot.index()) {
            given.store(is_given, Ordering::Release);
        }
    }

    /// Returns `true` if a slot's owner received it in a transfer from the previous owner.
    #[must_use]
    pub fn is_given(&self, slot: Slot) -> bool {
        let given = self.given.get(slot.index());
        given.is_some_and(|given| given.load(Ordering::Acquire))
    }

    /// Returns `true` if this node used to own the slot.
    #[must_use]
    pub fn has_left(&self, slot: Slot) -> bool {
        let left = self.left.get(slot.index());
        left.is_some_and(|left| left.load(Ordering::Acquire))
    }

    /// Returns the number of slot owner changes so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Sets the presence epoch under which this node serves a slot; 0 if the node does not serve it.
    pub fn set_presence(&self, slot: Slot, epoch: u64) {
        if let Some(presence) = self.presence.get(slot.index()) {
            presence.store(epoch, Ordering::Release);
            self.presence_changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns the presence epoch of a slot; 0 if this node does not serve the slot.
    #[must_use]
    pub fn presence(&self, slot: Slot) -> u64 {
        let presence = self.presence.get(slot.index());
        presence.map_or(0, |presence| presence.load(Ordering::Acquire))
    }

    /// Returns the number of presence epoch changes so far.
    #[must_use]
    pub fn presence_changes(&self) -> u64 {
        self.presence_changes.load(Ordering::Acquire)
    }

    /// Returns the served slots in ascending order, as ranges of consecutive slots with the same presence epoch.
    #[must_use]
    pub fn presences(&self) -> Vec<(Slot, Slot, u64)> {
        let mut runs: Vec<(Slot, Slot, u64)> = Vec::new();
        for slot in (0..SLOTS).map(Slot) {
            match (self.presence(slot), runs.last_mut()) {
                (0, _) => {}
                (epoch, Some((_, last, of))) if *of == epoch && last.0 + 1 == slot.0 => {
                    *last = slot
                }
                (epoch, _) => runs.push((slot, slot, epoch)),
            }
        }
        runs
    }

    /// Sets the time until which this node may admit clients to its slots.
    pub fn set_valid_until(&self, until: Now) {
        self.valid_until.store(until.0, Ordering::Release);
    }

    /// Sets whether channels outside this node's slots can be reported as nonexistent.
    pub fn set_knows_absence(&self, knows: bool) {
        self.knows_absence.store(knows, Ordering::Release);
    }

    /// Returns `true` if channels outside this node's slots can be reported as nonexistent.
    #[must_use]
    pub fn knows_absence(&self) -> bool {
        self.knows_absence.load(Ordering::Acquire)
    }

    /// Sets the number of registered nodes.
    pub fn set_nodes(&self, nodes: u16) {
        self.nodes.store(nodes.max(1), Ordering::Release);
    }

    /// Returns the number of registered nodes, including this one. The number is at least 1.
    #[must_use]
    pub fn nodes(&self) -> u16 {
        self.nodes.load(Ordering::Acquire)
    }

    /// Returns the node that owns a channel at `now`. Returns `None` if no node does, or if this node owns the channel
    /// but may not serve its slots.
    #[must_use]
    pub fn owner(&self, identity: &Identity, now: Now) -> Option<NodeId> {
        let owner = self.owners.get(self.slot(identity)?.index())?;
        let node = Some(owner.load(Ordering::Acquire)).filter(|node| *node != NOBODY)?;
        let node = NodeId(node);
        (node != self.own || self.is_valid(now)).then_some(node)
    }

    /// Returns `true` if this node may admit clients to its slots at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Now) -> bool {
        now < Now(self.valid_until.load(Ordering::Acquire))
    }

    /// Returns the slots that this node serves at `now`. Every shard has loaded the channels of these slots.
    #[must_use]
    pub fn served(&self, now: Now) -> SlotSet {
        let mut served = SlotSet::default();
        let own = Some(self.own).filter(|_| self.is_valid(now));
        let slots = (0..SLOTS).map(Slot);
        slots
            .filter(|slot| own.is_some() && self.owner_of(*slot) == own)
            .for_each(|slot| served.insert(slot));
        served
    }

    /// Returns `true` if any slot has an owner.
    #[must_use]
    pub fn has_owners(&self) -> bool {
        let has_one = |owner: &AtomicU16| owner.load(Ordering::Relaxed) != NOBODY;
        self.key.get().is_some() && self.owners.iter().any(has_one)
    }

    /// Returns the owner of a slot, if known.
    #[must_use]
    pub fn owner_of(&self, slot: Slot) -> Option<NodeId> {
        let owner = self.owners.get(slot.index())?.load(Ordering::Acquire);
        (owner != NOBODY).then_some(NodeId(owner))
    }

    /// Returns the other nodes that own slots.
    #[must_use]
    pub fn others(&self) -> Vec<NodeId> {
        let owners = (0..SLOTS).filter_map(|slot| self.owner_of(Slot(slot)));
        let others: BTreeSet<NodeId> = owners.filter(|node| *node != self.own).collect();
        others.into_iter().collect()
    }

    /// Returns `true` if the owners of slots are fixed.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Returns the number of this node.
    #[must_use]
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// Returns the name of a node, or an empty string if the name is unknown.
    #[must_use]
    pub fn name(&self, node: NodeId) -> &str {
        let name = self.names.get(node.index()).and_then(OnceLock::get);
        name.map_or("", |name| name)
    }

    /// Returns the slot of a channel, or `None` while the hash key is unknown.
    #[must_use]
    pub fn slot(&self, identity: &Identity) -> Option<Slot> {
        Some(hash(*self.key.get()?, identity))
    }
}

/// Returns a channel's slot, derived from the SipHash-2-4 of `region:account:name` under the cluster's key. The key
/// prevents outsiders from targeting a particular slot.
#[must_use]
pub fn slot_of(key: &[u8; 16], identity: &Identity) -> Slot {
    hash(numbers(key), identity)
}

#[expect(
    deprecated,
    reason = "the hash of hash maps may change between versions of Rust; this one is SipHash-2-4 forever"
)]
fn hash([low, high]: [u64; 2], identity: &Identity) -> Slot {
    let mut hasher = std::hash::SipHasher::new_with_keys(low, high);
    hasher.write(identity.tenant().as_bytes());
    hasher.write(identity.name().as_bytes());
    let place = hasher.finish() % u64::from(SLOTS);
    Slot(u16::try_from(place).unwrap_or(0))
}

/// Marks a slot that has no owner. Not a valid node number.
const NOBODY: u16 = u16::MAX;
const _: () = assert!(NODES_MAX < NOBODY as usize);

const FOR_EVER: Now = Now(u64::MAX);

fn numbers(key: &[u8; 16]) -> [u64; 2] {
    let (low, high) = key.split_at(8);
    let number = |half: &[u8]| u64::from_le_bytes(half.try_into().unwrap_or_default());
    [number(low), number(high)]
}

// Fixed slot owners, from a file that the operator provides.
//
// ```text
// # node  inner address     slots
// n1      10.0.0.1:7443     0-1365
// n2      10.0.0.2:7443     1366-2730
// n3      10.0.0.3:7443     2731-4095
// ```

/// The nodes of a cluster and the slots that they own. Every slot has exactly one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedMap {
    /// Name of each node and its address for inter-node connections, indexed by [`NodeId`].
    pub nodes: Vec<(Box<str>, SocketAddr)>,
    owners: Vec<NodeId>,
}

impl FixedMap {
    /// Parses a slot map file.
    ///
    /// # Errors
    /// Returns a message that names the line or the slot, and states what was expected.
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
                "slot {slot}: expected one node for each of the slots 0-4095"
            ));
        }
        let owners = owners.into_iter().flatten().collect();
        Ok(Self { nodes, owners })
    }

    /// Returns the node with this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<NodeId> {
        let place = self.nodes.iter().position(|(known, _)| **known == *name)?;
        Some(NodeId(u16::try_from(place).ok()?))
    }

    /// Creates the map for the node `own`, with the cluster's hash key.
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
        return Err(
            "expected a name, an address and slots, such as n1 10.0.0.1:7443 0-2047".into(),
        );
    };
    let name = crate::settings::value::node(name)?;
    let address = crate::settings::value::socket(address)?;
    if nodes.len() >= NODES_MAX {
        return Err(format!("expected {NODES_MAX} nodes at most"));
    }
    let is_known = |(known, at): &(Box<str>, _)| **known == *name || *at == address;
    if nodes.iter().any(is_known) {
        return Err("expected each name and each address once".into());
    }
    let node = NodeId(u16::try_from(nodes.len()).unwrap_or(u16::MAX));
    for range in slots.split(',') {
        let (first, last) = bounds(range).ok_or("expected slots of 0 to 4095, such as 0-99,200")?;
        for slot in first..=last {
            match owners.get_mut(usize::from(slot)) {
                Some(owner @ None) => *owner = Some(node),
                Some(Some(_)) | None => return Err(format!("slot {slot}: expected one node")),
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

/// A set of slots, stored as one bit per slot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "&[u8]")]
pub struct SlotSet([u64; WORDS]);

impl Default for SlotSet {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl SlotSet {
    /// Returns the set of all slots.
    #[must_use]
    pub fn all() -> Self {
        Self([u64::MAX; WORDS])
    }

    /// Adds a slot.
    pub fn insert(&mut self, slot: Slot) {
        let (word, bit) = (slot.index() / BITS, slot.index() % BITS);
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Returns `true` if the set contains a slot.
    #[must_use]
    pub fn has(&self, slot: Slot) -> bool {
        let (word, bit) = (slot.index() / BITS, slot.index() % BITS);
        self.0.get(word).is_some_and(|word| word & (1 << bit) != 0)
    }

    /// Adds all slots from another set.
    pub fn add(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// Removes the slots that another set does not contain.
    pub fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// Returns the lowest slot that is not in the set.
    #[must_use]
    pub fn first_missing(&self) -> Option<Slot> {
        (0..SLOTS).map(Slot).find(|slot| !self.has(*slot))
    }
}

impl Serialize for SlotSet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0.map(u64::to_le_bytes).as_flattened())
    }
}

impl TryFrom<&[u8]> for SlotSet {
    type Error = &'static str;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        let (words, rest) = bytes.as_chunks();
        match (<&[_; WORDS]>::try_from(words), rest) {
            (Ok(words), []) => Ok(Self(words.map(u64::from_le_bytes))),
            (_, _) => Err("a set has a bit for each slot"),
        }
    }
}

const BITS: usize = 64;
const WORDS: usize = SLOTS as usize / BITS;
const _: () = assert!(WORDS * BITS == SLOTS as usize);

#[cfg(test)]
mod slot_map_tests {
    use super::*;

    fn map() -> SlotMap {
        let key = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        SlotMap::new(&key, NodeId(0), vec!["n1".into(), "n2".into()])
    }

    /// Source: the test vectors by the authors of SipHash (`vectors.h` in the reference implementation). Key and input
    /// are 00 01 02 …; the input has 15 bytes, as in the appendix of the paper, which gives the result
    /// a129ca6149be45e5.
    #[test]
    #[expect(deprecated, reason = "as above")]
    fn the_hash_is_siphash_2_4() {
        let key = *map().key.get().unwrap();
        let mut hasher = std::hash::SipHasher::new_with_keys(key[0], key[1]);
        hasher.write(&(0..15).collect::<Vec<u8>>());
        assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn slots_spread_and_stay() {
        let map = map();
        let mut seen = vec![0u32; usize::from(SLOTS)];
        for number in 0..40_960 {
            let identity = Identity::new("r", "1", &format!("channel{number}"));
            seen[map.slot(&identity).unwrap().index()] += 1;
        }
        assert!(seen.iter().all(|&count| count < 40));
        assert!(seen.iter().filter(|&&count| count == 0).count() < 10);
        // This value must never change. A version that computed another slot would lose every channel.
        let fixed = Identity::new("us-west-2", "123456789012", "cam.1");
        assert_eq!(map.slot(&fixed), Some(Slot(FIXED)));
        let key = std::array::from_fn(|byte| u8::try_from(byte).unwrap());
        assert_eq!(slot_of(&key, &fixed), Slot(FIXED));
    }

    #[test]
    fn a_slot_has_the_owner_it_was_assigned() {
        let map = map();
        let identity = Identity::new("r", "1", "cam");
        let slot = map.slot(&identity).unwrap();
        assert_eq!(map.owner(&identity, Now(0)), None);
        map.assign(slot, Some(NodeId(1)));
        assert_eq!(map.owner(&identity, Now(0)), Some(NodeId(1)));
        assert_eq!((map.name(NodeId(1)), map.name(NodeId(7))), ("n2", ""));
        map.assign(slot, None);
        assert_eq!(map.owner(&identity, Now(0)), None);
        map.assign(Slot(SLOTS), Some(NodeId(1)));
    }

    #[test]
    fn the_others_are_those_that_have_a_slot() {
        let map = SlotMap::unknown(NodeId(0));
        assert_eq!((map.others(), map.owner_of(Slot(1))), (Vec::new(), None));
        for (slot, node) in [(1, 2), (2, 1), (3, 0), (4, 2)] {
            map.assign(Slot(slot), Some(NodeId(node)));
        }
        assert_eq!(map.others(), [NodeId(1), NodeId(2)]);
        assert_eq!(map.owner_of(Slot(1)), Some(NodeId(2)));
    }

    #[test]
    fn own_slots_are_served_as_long_as_the_node_may() {
        let map = SlotMap::unknown(NodeId(0));
        let identity = Identity::new("r", "1", "cam");
        assert_eq!(map.slot(&identity), None, "the key is not known");
        map.set_key(&[7; 16]);
        let slot = map.slot(&identity).unwrap();
        assert!(!map.has_owners());
        map.assign(slot, Some(NodeId(0)));
        assert!(map.has_owners());
        assert_eq!(map.owner(&identity, Now(0)), None);
        map.set_valid_until(Now(10));
        assert_eq!(map.owner(&identity, Now(9)), Some(NodeId(0)));
        assert_eq!(map.owner(&identity, Now(10)), None);
        map.assign(slot, Some(NodeId(1)));
        let found = map.owner(&identity, Now(10));
        assert_eq!(found, Some(NodeId(1)), "others are asked");
    }

    /// Computed with another implementation of the hash.
    const FIXED: u16 = 87;
}

#[cfg(test)]
mod fixed_map_tests {
    use super::*;

    #[test]
    fn every_slot_has_the_node_of_its_line() {
        let text = "# two nodes\nn1 127.0.0.1:1 0-99,101-4095\n\n n2\t[::1]:2 100 # one\n";
        let map = FixedMap::parse(text).unwrap();
        let found = (map.node("n1"), map.node("n2"));
        assert_eq!(found, (Some(NodeId(0)), Some(NodeId(1))));
        assert_eq!(map.node("n3"), None);
        assert_eq!((map.owners[99], map.owners[100]), (NodeId(0), NodeId(1)));
        assert_eq!(map.nodes[1], ("n2".into(), "[::1]:2".parse().unwrap()));
        assert_eq!(map.slot_map(&[0; 16], NodeId(1)).own(), NodeId(1));
    }

    #[test]
    fn a_wrong_map_is_refused_with_its_line() {
        let n1 = "n1 127.0.0.1:1 0-4095\n";
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            ("", "slot 0: expected one node for each"),
            ("n1 127.0.0.1:1 0-4094", "slot 4095: expected one node for each"),
            ("n1 127.0.0.1:1", "line 1: expected a name, an address and slots"),
            ("n1 127.0.0.1:1 0-1 2-3", "line 1: expected a name"),
            ("N1 127.0.0.1:1 0-1", "line 1: expected 1 to 63 of the characters"),
            ("n1 127.0.0.1 0-1", "line 1: expected ADDR:PORT"),
            ("n1 127.0.0.1:1 0-4096", "line 1: expected slots"),
            ("n1 127.0.0.1:1 5-4", "line 1: expected slots"),
            ("n1 127.0.0.1:1 0-1,1", "line 1: slot 1: expected one node"),
            ("n1 127.0.0.1:1 0\nn1 127.0.0.1:2 1", "line 2: expected each name"),
            ("n1 127.0.0.1:1 0\nn2 127.0.0.1:1 1", "line 2: expected each name"),
        ];
        for (text, rule) in cases {
            let refused = FixedMap::parse(text).unwrap_err();
            assert!(refused.starts_with(rule), "{text}: {refused}");
        }
        let two = format!("{n1}n2 127.0.0.1:2 7");
        let found = FixedMap::parse(&two);
        assert_eq!(found, Err("line 2: slot 7: expected one node".into()));
    }
}

#[cfg(test)]
mod slot_set_tests {
    use super::*;
    use crate::wire;

    const SET_BYTES: usize = SLOTS as usize / 8;

    #[test]
    fn a_set_has_what_was_added_and_what_both_have() {
        let (mut even, mut small) = (SlotSet::default(), SlotSet::default());
        for number in 0..SLOTS {
            if number % 2 == 0 {
                even.insert(Slot(number));
            }
            if number < 100 {
                small.insert(Slot(number));
            }
        }
        assert_eq!(even.first_missing(), Some(Slot(1)));
        let mut both = even.clone();
        both.keep(&small);
        let mut any = even.clone();
        any.add(&small);
        for number in 0..SLOTS {
            let (is_even, is_small) = (number % 2 == 0, number < 100);
            assert_eq!(both.has(Slot(number)), is_even && is_small);
            assert_eq!(any.has(Slot(number)), is_even || is_small);
        }
        assert_eq!(wire::read(&wire::write(&any), SET_BYTES + 2), Some(any));
        assert_eq!(SlotSet::all().first_missing(), None);
    }

    #[test]
    fn bytes_of_another_length_are_no_set() {
        for length in [0, 1, SET_BYTES - 1, SET_BYTES + 1] {
            let bytes = wire::write(&vec![0_u8; length]);
            assert_eq!(wire::read::<SlotSet>(&bytes, bytes.len()), None);
        }
    }
}
