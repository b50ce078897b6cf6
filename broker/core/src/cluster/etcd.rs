//! How a node uses etcd: calls in flight, replies and the watch.
//!
//! Slots, registrations and members at known revisions are stored in [`etcd_view`](crate::cluster::etcd_view).

use crate::cluster::etcd_calls::{Purpose, UnderWay, Watch};
use crate::cluster::limits::Spans;
use crate::cluster::message::{Call, CallId, NodeOutput, Packed, Reply, WatchId};
use crate::cluster::types::{Change, EtcdId, Key, Revision, Snapshot};
use crate::{cluster::Cluster, time::Now};

// Handling of etcd's replies and of watch events.

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
                    self.registering.kept = Some((lease, call.sent));
                }
            }
            Reply::LeaseGone => {
                if let Purpose::KeepAlive(lease) = call.purpose {
                    self.registering.gone = Some(lease);
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
                    // Other nodes, including the slot's next owner, may not have noticed the new etcd history, and act
                    // on this commit.
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

    /// Returns `true` if a reply shows that etcd's history has changed. Without such a change, a linearizable reply is
    /// never older than the state known when the call was sent.
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
        self.registering.refused = false;
        self.calls.last_read = Some(now);
        self.watch(now);
    }

    /// Opens a watch of the changes that the view does not show yet. Does nothing if a watch is already open.
    fn watch(&mut self, now: Now) {
        if self.calls.watch().is_none() {
            self.calls.watches += 1;
            let watch = WatchId(self.calls.watches);
            self.calls.watch = Watch::Open {
                id: watch,
                progress: now,
            };
            let from = self.view.complete().next();
            let id = self.calls.number();
            let call = Call::Watch { watch, from };
            self.outputs.push_back(NodeOutput::Etcd(id, call));
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
        self.calls.wanted = true;
        self.read(now);
    }

    fn made(&mut self, call: &UnderWay, revision: Revision, now: Now) {
        if call.purpose == Purpose::Claim {
            self.claims.made();
        }
        // The watch may still deliver earlier changes.
        for &(key, value) in &call.puts {
            let put = Change {
                revision,
                key,
                value: Some(value),
            };
            self.view.apply(&put, now);
        }
    }

    /// Handles a call that etcd refused or that was never sent, and that therefore had no effect.
    fn refused(&mut self, call: &UnderWay, now: Now) {
        match call.purpose {
            Purpose::Transfer(slot, epoch) => {
                self.transfers.rest(now);
                self.resume(slot, epoch, Packed::Kept);
            }
            Purpose::Write(slot, number) => {
                self.outputs
                    .push_back(NodeOutput::WriteRefused(slot, number));
            }
            Purpose::Read => self.calls.wanted = true,
            Purpose::Claim => self.claims.failed(now),
            Purpose::Grant | Purpose::Register => self.registering.refused = true,
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
                // Nodes never delete slot keys, so something else deleted this one. A full read shows what else is
                // missing.
                self.calls.wanted = true;
                self.read(now);
            }
        }
    }

    /// Handles the end of the watch. Whatever ended it may also have changed etcd's history, so the node reads the
    /// state before it opens another watch.
    pub(crate) fn watch_ended(&mut self, watch: WatchId, now: Now) {
        if self.calls.watch() == Some(watch) && !self.obstacles.other_history {
            self.calls.close_watch();
            self.calls.wanted = true;
            self.read(now);
        }
    }
}
