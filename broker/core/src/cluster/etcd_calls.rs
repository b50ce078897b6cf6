//! etcd calls in flight and the watch. The outcome of a call that timed out is unknown, so the state is read back
//! instead of retrying the call.

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
    /// Whether a part of the state is unknown and a full read is needed.
    pub(crate) wanted: bool,
    last_read: Option<Now>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    pub(crate) id: CallId,
    pub(crate) sent: Now,
    /// Highest revision known at the send time; a linearizable reply is never older.
    pub(crate) known: Revision,
    pub(crate) purpose: Purpose,
    /// Puts of a transaction, applied after the commit; empty for other calls.
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
    /// Assign a new epoch to a slot after a transfer with an unknown outcome.
    Retake(Slot, Epoch),
    /// Write a slot's record without an owner.
    Vacate,
    /// Mark this node as away in the roster.
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
        /// When the watch was opened or last reported its progress.
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

    /// Returns a number for a call without a reply, that is, a watch.
    pub(crate) fn number(&mut self) -> CallId {
        let id = CallId(self.next);
        self.next += 1;
        id
    }

    /// Removes the call that a reply answers; `None` if the call has timed out.
    pub(crate) fn replied(&mut self, id: CallId) -> Option<UnderWay> {
        let place = self.under_way.iter().position(|call| call.id == id)?;
        Some(self.under_way.remove(place))
    }

    /// Removes the calls that have timed out, whose outcome is unknown.
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

    /// Whether the known state is being refreshed and must not be the basis of a decision.
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

    /// Opens a watch that starts at `complete`, unless a watch is open.
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

    /// Ends a silent watch, which may have failed without an error.
    pub(crate) fn end_blind_watch(&mut self, now: Now) {
        if let Watch::Open { progress, .. } = self.watch
            && now.since(progress) > CALL_MS
        {
            self.close_watch();
            self.wanted = true;
        }
    }

    /// Handles a pause of the process. The watch may still deliver old changes and premature progress reports, so the
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
