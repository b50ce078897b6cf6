//! Calls of etcd under way, and the watch. A call without a reply in time has an unknown outcome: it is never repeated
//! blindly, but the state is read back.

use crate::cluster::limits::{CALL_MS, READ_EVERY_MS};
use crate::cluster::message::{Call, CallId, WatchId};
use crate::cluster::types::{Epoch, Key, LeaseId, Revision, Slot, Value};
use crate::time::Now;

/// The calls of one process, and its watch.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) next: u64,
    pub(crate) under_way: Vec<UnderWay>,
    pub(crate) watch: Watch,
    pub(crate) watches: u32,
    /// A read is wanted: something is unknown.
    pub(crate) wanted: bool,
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
pub(crate) enum Watch {
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

    /// The watch that is open.
    #[must_use]
    pub(crate) fn watch(&self) -> Option<WatchId> {
        match self.watch {
            Watch::Open { id, .. } => Some(id),
            Watch::Closed => None,
        }
    }

    /// The watch showed how far it is.
    pub(crate) fn progressed(&mut self, now: Now) {
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
    pub(crate) fn close_watch(&mut self) {
        self.watch = Watch::Closed;
        self.under_way
            .retain(|call| call.purpose != Purpose::Progress);
    }
}
