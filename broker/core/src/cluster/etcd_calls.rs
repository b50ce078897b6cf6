//! etcd calls in flight and the watch. The outcome of a call that timed out is unknown, so the call is never blindly
//! retried; the state is read back instead.

use crate::cluster::limits::{CALL_MS, READ_EVERY_MS};
use crate::cluster::message::{Call, CallId, WatchId};
use crate::cluster::types::{Epoch, Key, LeaseId, Revision, Slot, Value};
use crate::time::Now;

/// The etcd calls and the watch of a process.
#[derive(Debug, Default)]
pub(crate) struct EtcdCalls {
    pub(crate) next: u64,
    pub(crate) under_way: Vec<UnderWay>,
    pub(crate) watch: Watch,
    pub(crate) watches: u32,
    /// Whether a full read is needed because part of the state is unknown.
    pub(crate) wanted: bool,
    last_read: Option<Now>,
}

/// A call in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// Number that identifies the call.
    pub(crate) id: CallId,
    /// Time at which the call was sent.
    pub(crate) sent: Now,
    /// Highest revision known when the call was sent, below which a linearizable reply cannot be.
    pub(crate) known: Revision,
    /// Purpose of the call, which determines how the reply is handled.
    pub(crate) purpose: Purpose,
    /// The puts of a transaction, which are applied once it is committed; empty for other calls.
    pub(crate) puts: Vec<(Key, Value)>,
}

/// The purpose of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Request a lease for the next registration.
    Grant,
    /// Register under a lease.
    Register,
    /// Renew the lease of the registration.
    KeepAlive(LeaseId),
    /// Read all slots, registrations and members.
    Read,
    /// Request a progress report for the watch.
    Progress,
    /// Claim slots.
    Claim,
    /// Transfer a slot to another node.
    Transfer(Slot, Epoch),
    /// Assign a new epoch to a slot after a transfer with an unknown outcome.
    Retake(Slot, Epoch),
    /// Write a slot's value with no owner.
    Vacate,
    /// Mark this node as away in the roster.
    Away,
    /// Revoke the registration.
    Revoke,
    /// Write a record; the reply is forwarded to the shard that requested the write.
    Write(Slot, u32),
}

/// State of the watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    #[default]
    Closed,
    Open {
        id: WatchId,
        /// Time at which the watch was opened or last reported its progress.
        progress: Now,
    },
}

impl EtcdCalls {
    /// Assigns the call a number and records it.
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

    /// Returns a number for a call without a reply, that is, for a watch.
    pub(crate) fn number(&mut self) -> CallId {
        let id = CallId(self.next);
        self.next += 1;
        id
    }

    /// Removes and returns the call to which a reply belongs; `None` if the call has already timed out.
    pub(crate) fn replied(&mut self, id: CallId) -> Option<UnderWay> {
        let place = self.under_way.iter().position(|call| call.id == id)?;
        Some(self.under_way.remove(place))
    }

    /// Removes and returns the calls that have timed out. Their outcome is unknown.
    pub(crate) fn overdue(&mut self, now: Now) -> Vec<UnderWay> {
        let is_over = |call: &mut UnderWay| now.since(call.sent) >= CALL_MS;
        self.under_way.extract_if(.., is_over).collect()
    }

    /// Whether a call with the given purpose is in flight.
    #[must_use]
    pub(crate) fn awaits(&self, purpose: &Purpose) -> bool {
        self.under_way.iter().any(|call| call.purpose == *purpose)
    }

    /// Requests a full read because part of the state is unknown.
    pub(crate) fn want_read(&mut self) {
        self.wanted = true;
    }

    /// Records that a read was completed.
    pub(crate) fn was_read(&mut self, now: Now) {
        self.last_read = Some(now);
    }

    /// Whether the known state is being refreshed, so that no decision should be based on it.
    #[must_use]
    pub(crate) fn is_unsure(&self) -> bool {
        self.wanted || self.last_read.is_none()
    }

    /// Whether a full read is due.
    #[must_use]
    pub(crate) fn read_is_due(&self, now: Now) -> bool {
        let is_old = self
            .last_read
            .is_none_or(|at| now.since(at) >= READ_EVERY_MS);
        let is_due = self.wanted || is_old || self.watch == Watch::Closed;
        is_due && !self.awaits(&Purpose::Read)
    }

    /// Opens a new watch that starts at `complete`, unless one is already open.
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

    /// Returns the open watch.
    #[must_use]
    pub(crate) fn watch(&self) -> Option<WatchId> {
        match self.watch {
            Watch::Open { id, .. } => Some(id),
            Watch::Closed => None,
        }
    }

    /// Records that the watch reported its progress.
    pub(crate) fn progressed(&mut self, now: Now) {
        if let Watch::Open { progress, .. } = &mut self.watch {
            *progress = now;
        }
    }

    /// Ends a watch that has been silent for too long, since it may have died without an error.
    pub(crate) fn end_blind_watch(&mut self, now: Now) {
        if let Watch::Open { progress, .. } = self.watch
            && now.since(progress) > CALL_MS
        {
            self.close_watch();
            self.wanted = true;
        }
    }

    /// Handles a pause of the process. The watch may still deliver old changes and premature progress reports, so
    /// everything is read again and a new watch starts at the revision of that read.
    pub(crate) fn gap(&mut self) {
        self.close_watch();
        self.under_way.retain(|call| call.purpose != Purpose::Read);
        self.wanted = true;
    }

    /// Handles the end of the watch, after which no progress report is expected.
    pub(crate) fn close_watch(&mut self) {
        self.watch = Watch::Closed;
        self.under_way
            .retain(|call| call.purpose != Purpose::Progress);
    }
}
