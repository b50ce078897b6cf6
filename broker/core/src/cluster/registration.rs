//! Registration of this process. A registration is an etcd key, attached to a lease, that shows that the process is
//! alive. This module also detects whether another live process uses this node's name.
//!
//! The registration in the view is authoritative. If several attempts had unknown outcomes, the view shows which one
//! was committed, and with which lease.

use crate::cluster::message::{Heard, Transaction, at};
use crate::cluster::types::{
    Address, Incarnation, Key, Kinship, LeaseId, Owner, Registration, Revision, RosterState, Value,
};
use crate::cluster::{etcd_view::View, limits::Spans};
use crate::time::Now;

#[derive(Debug)]
pub(crate) struct Registering {
    me: Owner,
    address: Address,
    pub(crate) namesake: Namesake,
    pub(crate) granted: Option<LeaseId>,
    /// The current lease, and when its last acknowledged keepalive (or the request that granted it) was sent.
    pub(crate) kept: Option<(LeaseId, Now)>,
    /// A lease that has expired, even if the view still shows it.
    pub(crate) gone: Option<LeaseId>,
    /// Whether etcd has refused a registration since the last read. If etcd's storage is full, it refuses claims as
    /// well.
    pub(crate) refused: bool,
    /// Whether the roster has ever listed this node while the node was registered.
    joined: bool,
    /// The revision of this process's newest registration in the view.
    noticed: Revision,
    /// When another process with this node's name started to block the registration.
    foreign_since: Option<Now>,
}

/// Whether this process may use its node's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Own,
    /// Another process has used the name, and may have exited.
    Occupied,
    Taken,
    Removed,
}

impl Registering {
    #[must_use]
    pub(crate) fn new(me: Owner, address: Address, now: Now) -> Self {
        Self {
            me,
            address,
            namesake: Namesake::new(me.incarnation, now),
            granted: None,
            kept: None,
            gone: None,
            refused: false,
            joined: false,
            noticed: Revision(0),
            foreign_since: None,
        }
    }

    #[must_use]
    pub(crate) fn current(&self, view: &View) -> Option<Registration> {
        view.registered(self.me)
            .filter(|registration| self.gone != Some(registration.lease))
    }

    /// Returns `true` if the view shows a registration of this process for the first time. The reply to the transaction
    /// that wrote it may have been lost.
    pub(crate) fn notices(&mut self, view: &View) -> bool {
        let newest = self
            .current(view)
            .map_or(self.noticed, |registration| registration.revision);
        let is_new = newest > self.noticed;
        self.noticed = newest;
        is_new
    }

    pub(crate) fn granted(&mut self, lease: LeaseId, asked: Now) {
        self.granted = Some(lease);
        self.kept = Some((lease, asked));
    }

    /// Returns when the last acknowledged keepalive of the registration's lease (or the request that granted it) was
    /// sent; `None` if the process is not registered.
    #[must_use]
    pub(crate) fn kept_since(&self, view: &View) -> Option<Now> {
        let current = self.current(view)?;
        let (lease, asked) = self.kept?;
        (lease == current.lease).then_some(asked)
    }

    /// Determines whether this process may use the name of its node.
    ///
    /// If two processes have joined, the one that registered later stays and the other one exits. A starting process
    /// already listens on its address. It owns the name at once if its predecessor used the same address, and either
    /// used the same directory or has no registration. Otherwise, the predecessor may still be alive. The starting
    /// process then exits, or waits until neither etcd nor any node has heard from the predecessor for a lease.
    pub(crate) fn place(&mut self, view: &View, answered: bool, spans: Spans, now: Now) -> Place {
        let is_member = view.roster(self.me.node).is_some();
        if self.joined && !is_member {
            return Place::Removed;
        }
        let other = view.written(self.me.node);
        let other = other.filter(|other| other.incarnation != self.me.incarnation);
        let Some(other) = other else {
            self.foreign_since = None;
            self.joined |= is_member && view.registered(self.me).is_some();
            return self.unregistered(view, spans, now);
        };
        if self.joined {
            if other.kinship == Kinship::Peer {
                return Place::Taken;
            }
            if answered {
                return Place::Own;
            }
        } else if self.is_restart(view, other) {
            return Place::Own;
        }
        let since = *self.foreign_since.get_or_insert(now);
        let patience_ms = 2 * spans.lease_ms() + spans.absence_ms();
        if self.namesake.lives || now.since(since) >= patience_ms {
            Place::Taken
        } else {
            Place::Occupied
        }
    }

    /// Determines whether this process may use the name when no other process is registered under it.
    fn unregistered(&self, view: &View, spans: Spans, now: Now) -> Place {
        let node = self.me.node;
        let was_here = view.roster(node) == Some(RosterState::Here);
        if self.joined || !was_here || self.is_at_home(view) {
            return Place::Own;
        }
        if self.namesake.lives {
            return Place::Taken;
        }
        let mut others = view.nodes().filter(|other| *other != node);
        let has_peers = others.any(|other| view.registration(other).is_some());
        // If the other process were alive, it would have registered again within this time.
        let is_absent = view.absent_ms(node) >= spans.absence_ms();
        let silence_ms = spans.lease_ms();
        if is_absent && self.namesake.is_silent(has_peers, silence_ms, now) {
            Place::Own
        } else {
            Place::Occupied
        }
    }

    /// Returns `true` if the other process was this one's predecessor. The predecessor used the same address and the
    /// same directory, which is locked while in use.
    fn is_restart(&self, view: &View, other: Registration) -> bool {
        other.incarnation.directory == self.me.incarnation.directory && self.is_at_home(view)
    }

    /// Returns `true` if the roster contains this process's address, or contains no address for the node.
    fn is_at_home(&self, view: &View) -> bool {
        let address = view.address(self.me.node);
        address.is_none_or(|address| address == self.address)
    }

    /// Returns the next transaction that registers this process with the granted lease. The transaction succeeds only
    /// if the registration and the roster entry are still as shown in the view.
    pub(crate) fn attempt(&mut self, view: &View, is_stopping: bool) -> Option<Transaction> {
        let lease = self.granted.take()?;
        let registration = Key::Registration(self.me.node);
        let roster = Key::Roster(self.me.node);

        let incarnation = self.me.incarnation;
        let own = Value::Registration {
            incarnation,
            lease,
            kinship: Kinship::Peer,
        };
        let mut puts = vec![(registration, own)];
        // Written even if the roster already lists the node, because the entry must have the address of the registered
        // process.
        if !is_stopping {
            puts.push((roster, Value::Roster(RosterState::Here, self.address)));
        }
        Some(Transaction {
            compares: vec![
                at(registration, view.at(registration)),
                at(roster, view.at(roster)),
            ],
            puts,
            reads: true,
        })
    }
}

// Detects whether another process with this node's name is alive, for example one that uses a copy of its data
// directory. The other nodes report this.
//
// etcd alone cannot tell: a registration outlives its process by a lease, and while etcd is down, a process may outlive
// its registration.

/// Evidence that other processes have used this node's name since this process started.
#[derive(Debug)]
pub(crate) struct Namesake {
    me: Incarnation,
    started: Now,
    /// The latest time at which another process with this node's name may have answered.
    sign: Now,
    /// Send time of the latest query that another node has answered.
    replied: Option<Now>,
    /// Whether another process is known to have answered since this process started.
    lives: bool,
}

impl Namesake {
    fn new(me: Incarnation, now: Now) -> Self {
        Self {
            me,
            started: now,
            sign: now,
            replied: None,
            lives: false,
        }
    }

    /// Records which process last answered a node under this node's name, as reported in the reply to a query sent at
    /// `asked`. `is_peer` is `true` if the query was sent to another node.
    pub(crate) fn found(&mut self, is_peer: bool, asked: Now, heard: Option<Heard>, now: Now) {
        if is_peer {
            self.replied = self.replied.max(Some(asked));
        }
        let Some(heard) = heard.filter(|heard| heard.incarnation != self.me) else {
            return;
        };
        // The reply was in flight for an unknown part of the time since `asked`, so this is the latest possible time.
        let latest = Now(now.0.saturating_sub(heard.ago_ms));
        self.sign = self.sign.max(latest);
        self.lives |= self.started.after(heard.ago_ms) <= asked;
    }

    /// Returns `true` if no other process has answered for `silence_ms`. If other nodes exist, at least one of them
    /// must have reported this within that time.
    pub(crate) fn is_silent(&self, has_peers: bool, silence_ms: u64, now: Now) -> bool {
        let replied = self
            .replied
            .is_some_and(|asked| now.since(asked) < silence_ms);
        !self.lives && now.since(self.sign) >= silence_ms && (replied || !has_peers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::types::fixtures::{change, incarnation};
    use crate::cluster::types::{Change, NodeId};

    const ME: Owner = Owner {
        node: NodeId(0),
        incarnation: incarnation(1, 1),
    };

    const HOME: Address = Address(1);
    const SPANS: Spans = Spans::of_lease(10_000);
    const PATIENCE_MS: u64 = 22_000;

    /// Applies the puts of a transaction at a revision.
    fn made(view: &mut View, transaction: &Transaction, revision: u64) {
        let put = |&(key, value): &(Key, Value)| change(revision, key, value);
        let changes: Vec<Change> = transaction.puts.iter().map(put).collect();
        view.apply_changes(&changes, Now(0));
    }

    /// Returns the keys that are written by a registration under this lease.
    fn put_by(registering: &mut Registering, view: &mut View, lease: u64) -> Vec<Key> {
        registering.granted(LeaseId(lease), Now(0));
        let attempt = registering.attempt(view, false).unwrap();
        made(view, &attempt, lease + 1);
        assert_eq!(registering.place(view, true, SPANS, Now(0)), Place::Own);
        attempt.puts.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn each_registration_writes_the_addresses_of_its_process_too() {
        let mut view = View::new(1, Revision(0), None);
        let mut registering = Registering::new(ME, HOME, Now(0));
        let both = [Key::Registration(ME.node), Key::Roster(ME.node)];
        for lease in 1..4 {
            assert_eq!(put_by(&mut registering, &mut view, lease), both);
        }
        registering.granted(LeaseId(9), Now(0));
        let attempt = registering.attempt(&view, true).unwrap();
        assert_eq!(attempt.puts.len(), 1, "a node that drains stays away");
    }

    #[test]
    fn a_stranger_takes_no_name_from_a_process_whose_peers_answer() {
        let mut view = View::new(1, Revision(0), None);
        let mut registering = Registering::new(ME, HOME, Now(0));
        put_by(&mut registering, &mut view, 1);
        let other = |kinship| Transaction {
            puts: vec![(
                Key::Registration(ME.node),
                Value::Registration {
                    incarnation: incarnation(2, 1),
                    lease: LeaseId(7),
                    kinship,
                },
            )],
            ..Transaction::default()
        };
        made(&mut view, &other(Kinship::Unproven), 8);
        assert_eq!(registering.place(&view, true, SPANS, Now(0)), Place::Own);
        let found = registering.place(&view, false, SPANS, Now(0));
        assert_eq!(found, Place::Occupied);
        let late = Now(PATIENCE_MS);
        assert_eq!(registering.place(&view, false, SPANS, late), Place::Taken);
        made(&mut view, &other(Kinship::Peer), 9);
        assert_eq!(registering.place(&view, true, SPANS, Now(0)), Place::Taken);
    }

    /// Returns a view in which another process with this directory and address has, or used to have, this node's name.
    fn occupied(directory: u32, at: Address, is_registered: bool) -> View {
        let mut view = View::new(1, Revision(0), None);
        let incarnation = Incarnation {
            directory,
            start: 8,
        };
        let registration = Value::Registration {
            incarnation,
            lease: LeaseId(7),
            kinship: Kinship::Peer,
        };
        let roster = Value::Roster(RosterState::Here, at);
        for (key, value) in [
            (Key::Roster(ME.node), Some(roster)),
            (
                Key::Registration(ME.node),
                is_registered.then_some(registration),
            ),
        ] {
            let change = Change {
                revision: Revision(2),
                key,
                value,
            };
            view.apply_changes(&[change], Now(0));
        }
        view.renew_currency(Now(0));
        view
    }

    #[test]
    fn only_a_restart_in_place_has_the_name_at_once() {
        let away = Address(2);
        for (directory, at, is_registered, expected) in [
            (1, HOME, true, Place::Own),
            (1, HOME, false, Place::Own),
            (2, HOME, false, Place::Own),
            (2, HOME, true, Place::Occupied),
            (1, away, true, Place::Occupied),
            (1, away, false, Place::Occupied),
            (2, away, false, Place::Occupied),
        ] {
            let view = occupied(directory, at, is_registered);
            let mut registering = Registering::new(ME, HOME, Now(0));
            let place = registering.place(&view, false, SPANS, Now(0));
            assert_eq!(place, expected, "{directory} at {at:?}, {is_registered}");
            let incarnation = incarnation(1, 8);
            let ago_ms = 0;
            let heard = Heard {
                incarnation,
                ago_ms,
            };
            registering
                .namesake
                .found(true, Now(1), Some(heard), Now(1));
            let place = registering.place(&view, false, SPANS, Now(1));
            let ends = expected == Place::Occupied;
            assert_eq!(place == Place::Taken, ends, "{place:?}");
        }
    }

    #[test]
    fn a_lease_without_an_answer_gives_the_name_to_a_start_elsewhere() {
        let mut view = occupied(1, Address(2), false);
        let mut registering = Registering::new(ME, HOME, Now(0));
        let mut place = |view: &View, now| registering.place(view, false, SPANS, Now(now));
        assert_eq!(place(&view, 10_000), Place::Occupied, "the view is old");
        view.current_at(Now(2_000));
        assert_eq!(place(&view, 9_999), Place::Occupied);
        assert_eq!(place(&view, 10_000), Place::Own);
    }
}

#[cfg(test)]
mod namesake_tests {
    use super::*;
    use crate::cluster::types::fixtures::incarnation;

    const ME: Incarnation = incarnation(1, 2);
    const LEASE_MS: u64 = 10_000;

    fn heard(start: u64, ago_ms: u64) -> Option<Heard> {
        let incarnation = Incarnation { start, ..ME };
        Some(Heard {
            incarnation,
            ago_ms,
        })
    }

    #[test]
    fn one_that_answered_after_the_start_lives() {
        for (started, asked, ago_ms, lives) in [
            (5_000, 7_000, 1_000, true),
            (5_000, 7_000, 2_000, true),
            (5_000, 7_000, 2_001, false),
            (5_000, 7_000, u64::MAX, false),
        ] {
            let mut namesake = Namesake::new(ME, Now(started));
            namesake.found(true, Now(asked), heard(1, ago_ms), Now(asked + 10));
            assert_eq!(namesake.lives, lives, "{ago_ms} ms ago");
        }
        let mut namesake = Namesake::new(ME, Now(5_000));
        namesake.found(true, Now(7_000), heard(ME.start, 0), Now(7_010));
        assert!(!namesake.lives, "it is this process itself");
    }

    #[test]
    fn it_is_silent_when_nobody_heard_it_for_a_lease() {
        let mut namesake = Namesake::new(ME, Now(0));
        assert!(!namesake.is_silent(false, LEASE_MS, Now(9_999)));
        assert!(namesake.is_silent(false, LEASE_MS, Now(10_000)));
        let fine = !namesake.is_silent(true, LEASE_MS, Now(60_000));
        assert!(fine, "none said so");
        namesake.found(true, Now(1_000), heard(1, 2_000), Now(3_000));
        assert!(!namesake.is_silent(true, LEASE_MS, Now(10_999)));
        let fine = !namesake.is_silent(true, LEASE_MS, Now(11_000));
        assert!(fine, "of before");
        namesake.found(true, Now(10_500), heard(1, 11_500), Now(10_600));
        assert!(namesake.is_silent(true, LEASE_MS, Now(11_000)));
        namesake.found(false, Now(20_400), None, Now(20_400));
        assert!(!namesake.is_silent(true, LEASE_MS, Now(20_500)), "no peer");
    }
}
