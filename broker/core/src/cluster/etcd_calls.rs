//! Calls to etcd that are in flight, and the watch. If a call times out, its outcome is unknown. The node then reads
//! the state again instead of retrying the call.

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
    /// Whether part of the state is unknown and a full read is needed.
    pub(crate) wanted: bool,
    pub(crate) last_read: Option<Now>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    pub(crate) id: CallId,
    pub(crate) sent: Now,
    /// The highest revision known when the call was sent. A linearizable reply is never older.
    pub(crate) known: Revision,
    pub(crate) purpose: Purpose,
    /// The puts of a transaction, which are applied to the view after it commits. Empty for other calls.
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
    /// Assigns a new epoch to a slot whose transfer had an unknown outcome.
    Retake(Slot, Epoch),
    /// Writes a slot record without an owner.
    Vacate,
    /// Lists this node as away in the roster.
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

    /// Returns the next call id. A watch takes one too, although etcd never replies to it.
    pub(crate) fn number(&mut self) -> CallId {
        let id = CallId(self.next);
        self.next += 1;
        id
    }

    /// Removes and returns the call to which a reply belongs. Returns `None` if the call has timed out.
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

    /// Returns `true` if the state must be read again before decisions can be based on it.
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

    /// Handles a pause of the process. The open watch may still deliver old changes and report progress too early. It
    /// is therefore closed, and the next one starts at the revision of a full read.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::limits::READ_EVERY_MS;

    #[test]
    fn the_state_is_read_again_after_a_while_and_without_a_watch() {
        let open = Watch::Open {
            id: WatchId(1),
            progress: Now(0),
        };
        let is_due = |watch, wanted, now| {
            let calls = EtcdCalls {
                last_read: Some(Now(0)),
                watch,
                wanted,
                ..EtcdCalls::default()
            };
            calls.read_is_due(Now(now))
        };
        assert!(!is_due(open, false, READ_EVERY_MS - 1));
        assert!(is_due(open, false, READ_EVERY_MS));
        assert!(is_due(Watch::Closed, false, 1));
        assert!(is_due(open, true, 1));
        assert!(EtcdCalls::default().read_is_due(Now(0)));
    }
}
