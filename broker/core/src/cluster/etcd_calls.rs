//! The calls to etcd that are in flight, and the watch. If a call times out, its outcome is unknown. Such a call is not
//! retried. Instead, the state is read again.

use crate::cluster::limits::{CALL_MS, READ_EVERY_MS};
use crate::cluster::message::{Call, CallId, WatchId};
use crate::cluster::types::{Epoch, Key, LeaseId, Revision, Slot, Value};
use crate::time::Now;

#[derive(Debug, Default)]
pub(crate) struct EtcdCalls {
    pub(crate) next: u64,
    pub(crate) under_way: Vec<UnderWay>,
    pub(crate) watch: Watch,
    pub(crate) watches: u32,
    /// Whether part of the state is unknown, so that a full read is needed.
    pub(crate) wanted: bool,
    last_read: Option<Now>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    pub(crate) id: CallId,
    pub(crate) sent: Now,
    /// The highest revision that was known when the call was sent. A linearizable reply is never older.
    pub(crate) known: Revision,
    pub(crate) purpose: Purpose,
    /// The puts of a transaction, applied to the view after the transaction commits; empty for other calls.
    pub(crate) puts: Vec<(Key, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Grant,
    Register,
    KeepAlive(LeaseId),
    Read,
    Progress,
    Claim,
    Transfer(Slot, Epoch),
    /// Assigns a new epoch to a slot after a transfer with an unknown outcome.
    Retake(Slot, Epoch),
    /// Writes a record without an owner for a slot.
    Vacate,
    /// Marks this node as away in the roster.
    Away,
    Revoke,
    Write(Slot, u32),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    #[default]
    Closed,
    Open {
        id: WatchId,
        /// When the watch was opened, or last reported progress.
        progress: Now,
    },
}

impl EtcdCalls {
    pub(crate) fn send(&mut self, why: Purpose, call: &Call, known: Revision, now: Now) -> CallId {
        let id = self.number();
        let puts = match call {
            Call::Transaction(transaction) => transaction.puts.clone(),
            Call::Grant | Call::KeepAlive(_) | Call::Revoke(_) | Call::Read => Vec::new(),
            Call::Watch { .. } | Call::Progress(_) => Vec::new(),
        };
        if why == Purpose::Read {
            self.wanted = false;
        }
        self.under_way.push(UnderWay {
            id,
            sent: now,
            known,
            purpose: why,
            puts,
        });
        id
    }

    /// Returns a new call id for a watch. A watch is a call without a reply.
    pub(crate) fn number(&mut self) -> CallId {
        let id = CallId(self.next);
        self.next += 1;
        id
    }

    /// Removes the call to which a reply belongs. Returns `None` if the call has timed out.
    pub(crate) fn replied(&mut self, id: CallId) -> Option<UnderWay> {
        let place = self.under_way.iter().position(|call| call.id == id)?;
        Some(self.under_way.remove(place))
    }

    /// Removes and returns the calls that have timed out. Their outcome is unknown.
    pub(crate) fn overdue(&mut self, now: Now) -> Vec<UnderWay> {
        let is_over = |call: &mut UnderWay| now.since(call.sent) >= CALL_MS;
        self.under_way.extract_if(.., is_over).collect()
    }

    #[must_use]
    pub(crate) fn awaits(&self, purpose: &Purpose) -> bool {
        self.under_way.iter().any(|call| call.purpose == *purpose)
    }

    pub(crate) fn want_read(&mut self) {
        self.wanted = true;
    }

    pub(crate) fn was_read(&mut self, now: Now) {
        self.last_read = Some(now);
    }

    /// Returns `true` if the known state is being refreshed and decisions must not be based on it.
    #[must_use]
    pub(crate) fn is_unsure(&self) -> bool {
        self.wanted || self.last_read.is_none()
    }

    #[must_use]
    pub(crate) fn read_is_due(&self, now: Now) -> bool {
        let is_old = self
            .last_read
            .is_none_or(|at| now.since(at) >= READ_EVERY_MS);
        let is_due = self.wanted || is_old || self.watch == Watch::Closed;
        is_due && !self.awaits(&Purpose::Read)
    }

    /// Opens a watch that starts at `complete`. Does nothing if a watch is already open.
    pub(crate) fn open_watch(&mut self, complete: Revision, now: Now) -> Option<Call> {
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

    #[must_use]
    pub(crate) fn watch(&self) -> Option<WatchId> {
        match self.watch {
            Watch::Open { id, .. } => Some(id),
            Watch::Closed => None,
        }
    }

    pub(crate) fn progressed(&mut self, now: Now) {
        if let Watch::Open { progress, .. } = &mut self.watch {
            *progress = now;
        }
    }

    /// Closes a watch that has been silent for too long, because it may have failed without an error.
    pub(crate) fn end_blind_watch(&mut self, now: Now) {
        if let Watch::Open { progress, .. } = self.watch
            && now.since(progress) > CALL_MS
        {
            self.close_watch();
            self.wanted = true;
        }
    }

    /// Handles a pause of the process. The watch may still deliver old changes and report progress too early, so the
    /// next watch starts at the revision of a full read.
    pub(crate) fn gap(&mut self) {
        self.close_watch();
        self.under_way.retain(|call| call.purpose != Purpose::Read);
        self.wanted = true;
    }

    pub(crate) fn close_watch(&mut self) {
        self.watch = Watch::Closed;
        self.under_way
            .retain(|call| call.purpose != Purpose::Progress);
    }
}
