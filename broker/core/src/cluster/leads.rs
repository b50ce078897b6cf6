//! Clients that this node forwards over links to the nodes that own their channels. The node closes a client when its
//! channel moves to another node, and closes all clients when it shuts down.
//!
//! An idle client does not notice that the owner of its channel has hung or crashed, so this node closes the client
//! when the slot map names another owner. If the former owner still responds, it has already closed the client itself.
//! An owner closes a slot's connections before a transfer. It also closes them if it resumes after a pause during which
//! others have claimed its slots. An owner that lost and regained a slot has therefore closed its earlier streams, so
//! comparing owner numbers is sufficient.
//!
//! Closed clients reconnect at once, so the node spreads the closes over time. It closes masters first, so that viewers
//! find them connected when they reconnect.

use crate::cluster::limits::{GIVEN_CLOSE_MS, LOST_CLOSE_MS};
use crate::cluster::slot_maps::SlotMap;
use crate::cluster::types::{NodeId, Slot};
use crate::time::Now;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A shard's clients that are served by other nodes, indexed by client number.
#[derive(Debug, Default)]
pub struct Leads {
    leads: BTreeMap<u32, Lead>,
    /// Clients whose slot still belongs to the node that they are forwarded to, by slot and owner.
    groups: BTreeMap<(Slot, NodeId), BTreeSet<(bool, u32)>>,
    /// Groups of clients waiting to be closed, oldest first.
    leaving: VecDeque<Leaving>,
    closing: BTreeSet<u32>,
    /// The slot map's count of owner changes at the last check.
    changes: u64,
}

/// The node to which a client is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Slot of the client's channel.
    pub slot: Slot,
    /// The node that serves the client.
    pub node: NodeId,
    /// Whether the client is the channel's master.
    pub is_master: bool,
}

/// The reason why a client is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The channel has moved to another node.
    Lost,
    /// This node is shutting down.
    Drain,
}

/// Clients that lost their owner at the same time, or all clients at shutdown.
#[derive(Debug)]
struct Leaving {
    cause: CloseCause,
    began: Now,
    span_ms: u64,
    places: Vec<u32>,
    closed: usize,
}

impl Leads {
    /// Adds a forwarded client. Its owner may already have lost the slot.
    pub fn enter(&mut self, place: u32, lead: Lead, map: &SlotMap, now: Now) {
        self.leave(place);
        self.leads.insert(place, lead);
        let group = self.groups.entry((lead.slot, lead.node)).or_default();
        group.insert((lead.is_master, place));
        if is_lost(map, lead.slot, lead.node) {
            self.look(map, now);
        }
    }

    /// Removes a client, if present.
    pub fn leave(&mut self, place: u32) {
        self.closing.remove(&place);
        if let Some(lead) = self.leads.remove(&place) {
            self.ungroup(lead, place);
        }
    }

    /// Removes a client from its owner's group. Returns `false` if it has already been scheduled to be closed.
    fn ungroup(&mut self, lead: Lead, place: u32) -> bool {
        let owner = (lead.slot, lead.node);
        let Some(group) = self.groups.get_mut(&owner) else {
            return false;
        };
        let is_listed = group.remove(&(lead.is_master, place));
        if group.is_empty() {
            self.groups.remove(&owner);
        }
        is_listed
    }

    /// If the slot map has changed, schedules the clients of moved channels to be closed. Takes time proportional to
    /// the number of slots in use.
    pub fn follow(&mut self, map: &SlotMap, now: Now) {
        if map.changes() != self.changes {
            self.look(map, now);
        }
    }

    fn look(&mut self, map: &SlotMap, now: Now) {
        self.changes = map.changes();
        for given in [true, false] {
            let is_one = |&(slot, node): &(Slot, NodeId)| {
                is_lost(map, slot, node) && map.is_given(slot) == given
            };
            let groups = std::mem::take(&mut self.groups).into_iter();
            let (lost, others): (BTreeMap<_, _>, _) = groups.partition(|(group, _)| is_one(group));
            self.groups = others;
            let lost = lost.into_values().flatten().collect();
            let span_ms = if given { GIVEN_CLOSE_MS } else { LOST_CLOSE_MS };
            self.close(CloseCause::Lost, lost, (now, span_ms));
        }
    }

    /// Schedules the clients of a failed link to be closed, as if the owner had lost its slots.
    pub fn lose(&mut self, places: &[u32], now: Now) {
        let mut lost = Vec::new();
        for &place in places {
            if let Some(&lead) = self.leads.get(&place)
                && self.ungroup(lead, place)
            {
                lost.push((lead.is_master, place));
            }
        }
        self.close(CloseCause::Lost, lost, (now, LOST_CLOSE_MS));
    }

    /// Schedules all clients to be closed over the next `span_ms`, at shutdown.
    pub fn leave_all(&mut self, span_ms: u64, now: Now) {
        let all = std::mem::take(&mut self.groups).into_values().flatten();
        self.close(CloseCause::Drain, all.collect(), (now, span_ms));
    }

    fn close(
        &mut self,
        cause: CloseCause,
        mut clients: Vec<(bool, u32)>,
        (began, span_ms): (Now, u64),
    ) {
        if clients.is_empty() {
            return;
        }
        clients.sort_unstable_by_key(|&(is_master, place)| (Reverse(is_master), place));
        self.leaving.push_back(Leaving {
            cause,
            began,
            span_ms,
            places: clients.into_iter().map(|(_, place)| place).collect(),
            closed: 0,
        });
    }

    /// Returns `true` if there are no clients.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leads.is_empty() && self.closing.is_empty()
    }

    /// Returns the next client to close at `now`, and why.
    pub fn next(&mut self, now: Now) -> Option<(u32, CloseCause)> {
        loop {
            let leaving = self
                .leaving
                .iter_mut()
                .find(|leaving| leaving.due() <= now)?;
            let (place, cause) = (leaving.places.get(leaving.closed).copied(), leaving.cause);
            leaving.closed += 1;
            self.leaving
                .retain(|leaving| leaving.closed < leaving.places.len());
            // If a client has ended, its number is either unused or has been assigned to another client.
            if let Some(place) = place.filter(|place| self.has_no_owner(*place)) {
                self.leads.remove(&place);
                self.closing.insert(place);
                return Some((place, cause));
            }
        }
    }

    fn has_no_owner(&self, place: u32) -> bool {
        let lead = self.leads.get(&place);
        lead.is_some_and(|lead| {
            let group = self.groups.get(&(lead.slot, lead.node));
            !group.is_some_and(|group| group.contains(&(lead.is_master, place)))
        })
    }

    /// Returns when the next client must be closed.
    #[must_use]
    pub fn next_due(&self) -> Option<Now> {
        self.leaving.iter().map(Leaving::due).min()
    }

    /// Checks that each client is either listed under its owner or scheduled to be closed.
    ///
    /// # Panics
    /// Panics if a client is neither listed nor scheduled.
    pub fn invariants(&self) {
        let mut listed = 0;
        for ((slot, node), group) in &self.groups {
            assert!(!group.is_empty(), "a group without clients");
            for (is_master, place) in group {
                let lead = Lead {
                    slot: *slot,
                    node: *node,
                    is_master: *is_master,
                };
                assert_eq!(self.leads.get(place), Some(&lead), "client {place}");
            }
            listed += group.len();
        }
        let closing = &mut self.closing.iter();
        assert!(
            closing.all(|place| !self.leads.contains_key(place)),
            "a client that is closed twice"
        );
        let leaving = self.leaving.iter();
        let leaving: usize = leaving.map(|it| it.places.len() - it.closed).sum();
        assert!(
            self.leads.len() <= listed + leaving,
            "a client that nobody would close"
        );
    }
}

impl Leaving {
    fn due(&self) -> Now {
        let all = self.places.len().max(1) as u64;
        self.began.after(self.span_ms * self.closed as u64 / all)
    }
}

fn is_lost(map: &SlotMap, slot: Slot, node: NodeId) -> bool {
    map.owner_of(slot).is_some_and(|owner| owner != node)
}
