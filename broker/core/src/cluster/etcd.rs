//! etcd as one node sees it: the calls under way, their replies and the watch, and what they showed so far.
//!
//! The slots, registrations and members, as of the revisions that are known, are in
//! [`etcd_view`](crate::cluster::etcd_view).

use crate::cluster::limits::{CALL_MS, READ_EVERY_MS, Spans};
use crate::cluster::message::{Call, CallId, Output, Packed, Reply, WatchId};
use crate::cluster::types::{Change, Epoch, EtcdId, Key, LeaseId, Revision, Slot, Snapshot, Value};
use crate::{cluster::Cluster, time::Now};

// Calls of etcd under way, and the watch. A call without a reply in time has an unknown outcome: it is never repeated
// blindly, but the state is read back.

/// The calls of one process, and its watch.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    next: u64,
    under_way: Vec<UnderWay>,
    watch: Watch,
    watches: u32,
    /// A read is wanted: something is unknown.
    wanted: bool,
    last_read: Option<Now>,
}

/// A call without a reply so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// Its number.
    pub(crate) id: CallId,
    /// When it was sent.
    pub(crate) sent: Now,
    /// The highest revision that was known by then: a linearizable reply cannot show a lower one.
    pub(crate) known: Revision,
    /// Its purpose, which decides what its reply changes.
    pub(crate) purpose: Purpose,
    /// The puts of a transaction, in effect once it is made; none for other calls.
    pub(crate) puts: Vec<(Key, Value)>,
}

/// The purpose of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A lease for the next registration.
    Grant,
    /// The registration under a lease.
    Register,
    /// The registration's keepalive.
    KeepAlive(LeaseId),
    /// A read of the whole.
    Read,
    /// The progress of the watch.
    Progress,
    /// A claim of slots.
    Claim,
    /// A slot's transfer to another node.
    Transfer(Slot, Epoch),
    /// A slot's new epoch after a transfer without an outcome.
    Retake(Slot, Epoch),
    /// A slot's owner-less value.
    Vacate,
    /// This node's roster entry: away.
    Away,
    /// The end of the registration.
    Revoke,
    /// A record: the reply is for the shard that wrote.
    Write(Slot, u32),
}

/// The watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watch {
    #[default]
    Closed,
    Open {
        id: WatchId,
        /// When it last showed how far it is, or was opened.
        progress: Now,
    },
}

impl Calls {
    /// Numbers a call that is sent now.
    pub(crate) fn send(
        &mut self,
        purpose: Purpose,
        call: &Call,
        known: Revision,
        now: Now,
    ) -> CallId {
        let id = self.number();
        let puts = match call {
            Call::Transaction(transaction) => transaction.puts.clone(),
            Call::Grant | Call::KeepAlive(_) | Call::Revoke(_) | Call::Read => Vec::new(),
            Call::Watch { .. } | Call::Progress(_) => Vec::new(),
        };
        if purpose == Purpose::Read {
            self.wanted = false;
        }
        self.under_way.push(UnderWay {
            id,
            sent: now,
            known,
            purpose,
            puts,
        });
        id
    }

    /// A number for a call that has no reply: a watch.
    pub(crate) fn number(&mut self) -> CallId {
        let id = CallId(self.next);
        self.next += 1;
        id
    }

    /// The call that a reply is for; none when its outcome counts as unknown since.
    pub(crate) fn replied(&mut self, id: CallId) -> Option<UnderWay> {
        let place = self.under_way.iter().position(|call| call.id == id)?;
        Some(self.under_way.remove(place))
    }

    /// Calls whose time is over. Their outcome is unknown.
    pub(crate) fn overdue(&mut self, now: Now) -> Vec<UnderWay> {
        let is_over = |call: &mut UnderWay| now.since(call.sent) >= CALL_MS;
        self.under_way.extract_if(.., is_over).collect()
    }

    /// Whether a call for this purpose is under way.
    #[must_use]
    pub(crate) fn awaits(&self, purpose: &Purpose) -> bool {
        self.under_way.iter().any(|call| call.purpose == *purpose)
    }

    /// Something is unknown: the whole is to be read.
    pub(crate) fn want_read(&mut self) {
        self.wanted = true;
    }

    /// A read answered.
    pub(crate) fn was_read(&mut self, now: Now) {
        self.last_read = Some(now);
    }

    /// Whether what is known is being renewed, so that no decision should be based on it.
    #[must_use]
    pub(crate) fn is_unsure(&self) -> bool {
        self.wanted || self.last_read.is_none()
    }

    /// Whether a read is to be sent.
    #[must_use]
    pub(crate) fn read_is_due(&self, now: Now) -> bool {
        let is_old = self
            .last_read
            .is_none_or(|at| now.since(at) >= READ_EVERY_MS);
        let is_due = self.wanted || is_old || self.watch == Watch::Closed;
        is_due && !self.awaits(&Purpose::Read)
    }

    /// The next watch, from `complete` on, unless one is open.
    fn open_watch(&mut self, complete: Revision, now: Now) -> Option<Call> {
        if self.watch != Watch::Closed {
            return None;
        }
        self.watches += 1;
        let id = WatchId(self.watches);
        self.watch = Watch::Open { id, progress: now };
        Some(Call::Watch {
            watch: id,
            from: complete.next(),
        })
    }

    /// The watch that is open.
    #[must_use]
    pub(crate) fn watch(&self) -> Option<WatchId> {
        match self.watch {
            Watch::Open { id, .. } => Some(id),
            Watch::Closed => None,
        }
    }

    /// The watch showed how far it is.
    fn progressed(&mut self, now: Now) {
        if let Watch::Open { progress, .. } = &mut self.watch {
            *progress = now;
        }
    }

    /// Ends a watch that has shown nothing for too long: it may be dead without an error.
    pub(crate) fn end_blind_watch(&mut self, now: Now) {
        if let Watch::Open { progress, .. } = self.watch
            && now.since(progress) > CALL_MS
        {
            self.close_watch();
            self.wanted = true;
        }
    }

    /// The process was stopped. Its watch may still owe it changes and report progress before them, so the whole is
    /// read again and watched from there.
    pub(crate) fn gap(&mut self) {
        self.close_watch();
        self.under_way.retain(|call| call.purpose != Purpose::Read);
        self.wanted = true;
    }

    /// The watch has ended. Its progress is awaited no longer.
    fn close_watch(&mut self) {
        self.watch = Watch::Closed;
        self.under_way
            .retain(|call| call.purpose != Purpose::Progress);
    }
}

// The effects of etcd's replies and of its watch.

impl Cluster {
    pub(crate) fn replied(&mut self, id: CallId, reply: Reply, now: Now) {
        let Some(call) = self.calls.replied(id) else {
            return;
        };
        match reply {
            Reply::Granted(lease, lease_ms) => {
                self.set_spans(Spans::of_lease(lease_ms));
                self.registering.granted(lease, call.sent);
                self.register(now);
            }
            Reply::KeptAlive => {
                if let Purpose::KeepAlive(lease) = call.purpose {
                    self.registering.kept_alive(lease, call.sent);
                }
            }
            Reply::LeaseGone => {
                if let Purpose::KeepAlive(lease) = call.purpose {
                    self.registering.lease_gone(lease);
                    self.register(now);
                }
            }
            Reply::Snapshot(snapshot) => self.was_read(&call, &snapshot, now),
            Reply::Outcome {
                committed,
                revision,
                etcd,
                snapshot,
            } => {
                if self.is_other_history(&call, revision, etcd) {
                    // Nodes that notice nothing follow this history, and the slot's new owner is one of them.
                    if committed && matches!(call.purpose, Purpose::Transfer(..)) {
                        self.made(&call, revision, now);
                    }
                    return;
                }
                self.view.raise(revision);
                if let Some(snapshot) = snapshot {
                    self.was_read(&call, &snapshot, now);
                }
                self.concluded(&call, committed, revision, now);
            }
            Reply::Progress(revision) => self.progressed(&call, revision, now),
            Reply::Refused => self.refused(&call, now),
        }
    }

    /// A linearizable reply shows at least what was known when it was asked for; one that does not has another history.
    fn is_other_history(&mut self, call: &UnderWay, revision: Revision, etcd: EtcdId) -> bool {
        let is_other = revision < call.known || self.view.etcd().is_some_and(|known| known != etcd);
        if is_other {
            self.obstacles.other_history = true;
            self.authority.lose_etcd();
            self.calls.close_watch();
        }
        is_other
    }

    fn was_read(&mut self, call: &UnderWay, snapshot: &Snapshot, now: Now) {
        if self.is_other_history(call, snapshot.revision, snapshot.etcd) {
            return;
        }
        if self.view.contradicts(snapshot, call.known) {
            self.is_other_history(call, Revision(0), snapshot.etcd);
            return;
        }
        self.view.apply_snapshot(snapshot, now);
        self.authority.etcd_answers(call.sent);
        self.registering.was_read();
        self.calls.was_read(now);
        self.watch(now);
    }

    fn watch(&mut self, now: Now) {
        if let Some(watch) = self.calls.open_watch(self.view.complete(), now) {
            let id = self.calls.number();
            self.outputs.push_back(Output::Etcd(id, watch));
        }
    }

    fn progressed(&mut self, call: &UnderWay, revision: Revision, now: Now) {
        if call.purpose == Purpose::Progress && revision >= self.view.complete() {
            self.view.complete_to(revision);
            self.view.current_at(call.sent);
            self.authority.etcd_answers(call.sent);
            self.calls.progressed(now);
        }
    }

    fn concluded(&mut self, call: &UnderWay, committed: bool, revision: Revision, now: Now) {
        if committed {
            self.made(call, revision, now);
            return;
        }
        match call.purpose {
            Purpose::Transfer(slot, epoch) => self.resume(slot, epoch, Packed::Kept),
            Purpose::Claim => self.claims.failed(now),
            Purpose::Grant | Purpose::Register | Purpose::KeepAlive(_) | Purpose::Read => {}
            Purpose::Progress | Purpose::Retake(..) | Purpose::Vacate => {}
            Purpose::Away | Purpose::Revoke | Purpose::Write(..) => {}
        }
        self.calls.want_read();
        self.read(now);
    }

    /// A transaction was made: what it put is known.
    fn made(&mut self, call: &UnderWay, revision: Revision, now: Now) {
        if call.purpose == Purpose::Claim {
            self.claims.made();
        }
        let put = |&(key, value): &(Key, Value)| Change {
            revision,
            key,
            value: Some(value),
        };
        let changes: Vec<Change> = call.puts.iter().map(put).collect();
        self.view.apply_puts(&changes, now);
    }

    /// Nothing was changed.
    fn refused(&mut self, call: &UnderWay, now: Now) {
        match call.purpose {
            Purpose::Transfer(slot, epoch) => {
                self.transfers.rest(now);
                self.resume(slot, epoch, Packed::Kept);
            }
            Purpose::Write(slot, number) => {
                self.outputs.push_back(Output::WriteRefused(slot, number));
            }
            Purpose::Read => self.calls.want_read(),
            Purpose::Claim => self.claims.failed(now),
            Purpose::Grant | Purpose::Register => self.registering.refused(),
            Purpose::KeepAlive(_) | Purpose::Progress => {}
            Purpose::Retake(..) | Purpose::Vacate | Purpose::Away | Purpose::Revoke => {}
        }
    }

    pub(crate) fn changed(&mut self, watch: WatchId, changes: &[Change], now: Now) {
        if self.calls.watch() == Some(watch) && !self.obstacles.other_history {
            self.view.apply_changes(changes, now);
            let is_gone =
                |change: &Change| matches!(change.key, Key::Slot(_)) && change.value.is_none();
            if changes.iter().any(is_gone) {
                // Nobody deletes one: the whole shows what else is missing.
                self.calls.want_read();
                self.read(now);
            }
        }
    }

    /// The event that ended the watch may also have changed etcd's history, so the next watch begins with a read.
    pub(crate) fn watch_ended(&mut self, watch: WatchId, now: Now) {
        if self.calls.watch() == Some(watch) && !self.obstacles.other_history {
            self.calls.close_watch();
            self.calls.want_read();
            self.read(now);
        }
    }
}
