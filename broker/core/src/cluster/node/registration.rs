//! The registration: a key under a lease, which says that this process is there.
//!
//! The registration that the view shows counts: of several attempts without a known outcome that is the one that was
//! made, with its lease.

use crate::cluster::etcd::view::View;
use crate::cluster::message::{Compare, Transaction};
use crate::cluster::types::{
    Key, Kinship, LeaseId, Owner, Registration, Revision, RosterState, Value,
};
use crate::time::Now;

/// The state of one process's registration.
#[derive(Debug)]
pub(in crate::cluster) struct Registering {
    me: Owner,
    /// A lease for the next attempt.
    granted: Option<LeaseId>,
    /// A lease that no longer exists, whatever the view shows.
    gone: Option<LeaseId>,
    /// The roster had this node while it was registered.
    joined: bool,
    /// The newest registration of this process that was noticed.
    noticed: Revision,
    /// Since when another machine's registration under this name is in the way.
    foreign_since: Option<Now>,
}

/// The right of this process to its node's name, by the roster and the registrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Place {
    /// It may register, or is registered.
    Own,
    /// Another machine's registration has the name; it may lapse.
    Occupied,
    /// Another machine has the name.
    Taken,
    /// The node was removed.
    Removed,
}

impl Registering {
    /// Of a process that did not register.
    #[must_use]
    pub(in crate::cluster) fn new(me: Owner) -> Self {
        Self {
            me,
            granted: None,
            gone: None,
            joined: false,
            noticed: Revision(0),
            foreign_since: None,
        }
    }

    /// The registration of this process, as far as is known.
    #[must_use]
    pub(in crate::cluster) fn current(&self, view: &View) -> Option<Registration> {
        view.registered(self.me)
            .filter(|registration| self.gone != Some(registration.lease))
    }

    /// Whether the view shows a registration of this process that was not noticed before, however it came there: the
    /// reply to its transaction may be lost.
    pub(in crate::cluster) fn notices(&mut self, view: &View) -> bool {
        let newest = self
            .current(view)
            .map_or(self.noticed, |registration| registration.revision);
        let is_new = newest > self.noticed;
        self.noticed = newest;
        is_new
    }

    /// A lease was granted.
    pub(in crate::cluster) fn granted(&mut self, lease: LeaseId) {
        self.granted = Some(lease);
    }

    /// A lease that can be used for the next attempt.
    #[must_use]
    pub(in crate::cluster) fn has_lease(&self) -> bool {
        self.granted.is_some()
    }

    /// A lease no longer exists.
    pub(in crate::cluster) fn lease_gone(&mut self, lease: LeaseId) {
        self.gone = Some(lease);
    }

    /// Returns this process's right to its name. Another machine's registration has `patience_ms` to lapse, unless this
    /// process had joined before.
    ///
    /// One of another cluster, such as of a node with another secret, does not take the name from a process that had
    /// joined and whose peers answer it (`is_answered`): it registers over it.
    pub(in crate::cluster) fn place(
        &mut self,
        view: &View,
        is_answered: bool,
        patience_ms: u64,
        now: Now,
    ) -> Place {
        let is_member = view.roster(self.me.node).is_some();
        if self.joined && !is_member {
            return Place::Removed;
        }
        let foreign = view.written(self.me.node).filter(|registration| {
            let is_stranger = registration.kinship != Kinship::Peer;
            registration.incarnation.directory != self.me.incarnation.directory
                && !(is_stranger && self.joined && is_answered)
        });
        if foreign.is_none() {
            self.foreign_since = None;
            self.joined |= is_member && view.registered(self.me).is_some();
            return Place::Own;
        }
        let since = *self.foreign_since.get_or_insert(now);
        let is_peer = |registration: Registration| registration.kinship == Kinship::Peer;
        if (self.joined && foreign.is_some_and(is_peer)) || now.since(since) >= patience_ms {
            Place::Taken
        } else {
            Place::Occupied
        }
    }

    /// The next attempt: under the lease that was granted, if the registration and the roster are as the view has them.
    pub(in crate::cluster) fn attempt(
        &mut self,
        view: &View,
        is_stopping: bool,
    ) -> Option<Transaction> {
        let lease = self.granted.take()?;
        let registration = Key::Registration(self.me.node);
        let roster = Key::Roster(self.me.node);
        let at = |key, at| Compare { key, at };
        let incarnation = self.me.incarnation;
        let own = Value::Registration {
            incarnation,
            lease,
            kinship: Kinship::Peer,
        };
        let mut puts = vec![(registration, own)];
        // Also if the roster has it already: the addresses there are those of the process that is registered.
        if !is_stopping {
            puts.push((roster, Value::Roster(RosterState::Here)));
        }
        Some(Transaction {
            compares: vec![
                at(registration, view.registration_at(self.me.node)),
                at(roster, view.roster_at(self.me.node)),
            ],
            puts,
            reads: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::types::{Change, Incarnation, NodeId};

    const ME: Owner = Owner {
        node: NodeId(0),
        incarnation: Incarnation {
            directory: 1,
            start: 1,
        },
    };

    /// Applies what a transaction puts, as of a revision.
    fn made(view: &mut View, transaction: &Transaction, revision: u64) {
        let put = |&(key, value): &(Key, Value)| Change {
            revision: Revision(revision),
            key,
            value: Some(value),
        };
        let changes: Vec<Change> = transaction.puts.iter().map(put).collect();
        view.apply_changes(&changes, Now(0));
    }

    /// The keys that a registration under this lease puts.
    fn put_by(registering: &mut Registering, view: &mut View, lease: u64) -> Vec<Key> {
        registering.granted(LeaseId(lease));
        let attempt = registering.attempt(view, false).unwrap();
        made(view, &attempt, lease + 1);
        assert_eq!(registering.place(view, true, 0, Now(0)), Place::Own);
        attempt.puts.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn each_registration_writes_the_addresses_of_its_process_too() {
        let mut view = View::new(1, Revision(0), None);
        let mut registering = Registering::new(ME);
        let both = [Key::Registration(ME.node), Key::Roster(ME.node)];
        for lease in 1..4 {
            assert_eq!(put_by(&mut registering, &mut view, lease), both);
        }
        registering.granted(LeaseId(9));
        let attempt = registering.attempt(&view, true).unwrap();
        assert_eq!(attempt.puts.len(), 1, "a node that drains stays away");
    }

    #[test]
    fn a_stranger_takes_no_name_from_a_process_whose_peers_answer() {
        let mut view = View::new(1, Revision(0), None);
        let mut registering = Registering::new(ME);
        put_by(&mut registering, &mut view, 1);
        let other = |kinship| Transaction {
            puts: vec![(
                Key::Registration(ME.node),
                Value::Registration {
                    incarnation: Incarnation {
                        directory: 2,
                        start: 1,
                    },
                    lease: LeaseId(7),
                    kinship,
                },
            )],
            ..Transaction::default()
        };
        made(&mut view, &other(Kinship::Unproven), 8);
        assert_eq!(registering.place(&view, true, 100, Now(0)), Place::Own);
        assert_eq!(
            registering.place(&view, false, 100, Now(0)),
            Place::Occupied
        );
        assert_eq!(registering.place(&view, false, 100, Now(100)), Place::Taken);
        made(&mut view, &other(Kinship::Peer), 9);
        assert_eq!(registering.place(&view, true, 100, Now(0)), Place::Taken);
    }
}
