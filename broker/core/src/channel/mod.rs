//! One channel: its master, its viewers, pending messages, and the Alexa calls that wait.
//!
//! A pure state machine over session keys. It says *where* a message goes; its caller moves the bytes. No socket, no
//! session state and no other channel appears here.

pub(crate) mod calls;
pub(crate) mod members;
pub(crate) mod pending;
mod rare;
pub(crate) mod rates;
pub(crate) mod route;
mod viewers;

use crate::id::{CallerId, TimerId};
use crate::record::Record;
use crate::settings::Quotas;
use crate::time::Now;
use calls::Calls;
use members::Members;
use pending::Pending;
pub use pending::Towards;
use rates::{Metered, Rates};

/// A channel on its home shard. What only a channel in use needs is boxed: most of a million channels are idle.
#[derive(Debug)]
pub(crate) struct Channel {
    /// The channel's record.
    pub record: Record,
    /// Its state.
    pub state: Life,
    /// The hooks that watch it, by their bits: see [`crate::settings::Hook`].
    pub hooks: u16,
    /// Its owner wants its viewers notified of the master.
    pub tells_viewers: bool,
    /// Its place in the shard's timer wheel.
    pub timer: TimerId,
    /// Connections that were admitted and are not gone: its members, and those that are ending.
    pub connections: u32,
    live: Option<Box<Live>>,
    /// Its rates, while any of them is used up in part.
    rates: Option<Box<Rates>>,
}

/// The states of a channel. A change that is not durable yet shows only in these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Not durable yet: its name is taken, and callers do not see it.
    Creating,
    /// In use.
    Active,
    /// Its end is not durable yet: no client may connect any more.
    Deleting,
}

// Bytes of each of a million channels, and of each in use, before their names and the tables around them.
const _: () = assert!(size_of::<Channel>() <= 104 && size_of::<Live>() <= 104);

/// The state of a channel in use.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The connected members.
    pub members: Members,
    /// Messages for members who are not connected.
    pub pending: Pending,
    /// Alexa calls without an answer.
    pub calls: Calls,
    order: u64,
}

impl Live {
    /// The next place in the channel's order of acceptance.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// When the next kept message or waiting call expires, or a slot was held for too long.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<Now> {
        let (pending, calls) = (self.pending.next_expiry(), self.calls.next_expiry());
        let held = self.members.next_overdue();
        [pending, calls, held].into_iter().flatten().min()
    }
}

impl Channel {
    /// A channel without connections.
    #[must_use]
    pub(crate) fn new(record: Record, state: Life) -> Self {
        Self {
            record,
            state,
            hooks: 0,
            tells_viewers: false,
            timer: TimerId::default(),
            connections: 0,
            live: None,
            rates: None,
        }
    }

    /// Whether one more of this is within the channel's rate, and within the part of its caller, if that has one.
    #[must_use]
    pub(crate) fn may(
        &self,
        what: Metered,
        caller: Option<CallerId>,
        quotas: &Quotas,
        now: Now,
    ) -> bool {
        let rates = self.rates.as_deref();
        rates.is_none_or(|rates| rates.has(what, caller, quotas, now))
    }

    /// Counts one of this; false, and nothing counted, when it is over that.
    pub(crate) fn count(
        &mut self,
        what: Metered,
        caller: Option<CallerId>,
        quotas: &Quotas,
        now: Now,
    ) -> bool {
        if what.rate(quotas).is_none() {
            return true;
        }
        let rates = self.rates.get_or_insert_default();
        rates.take(what, caller, quotas, now)
    }

    /// When something of it is due: what is kept or waits, or rates that can be forgotten.
    pub(crate) fn next_due(&mut self, quotas: &Quotas, now: Now) -> Option<Now> {
        let live = self.live.as_deref().and_then(Live::next_expiry);
        let rates = self
            .rates
            .as_deref_mut()
            .map(|rates| rates.settle(quotas, now));
        if rates == Some(None) {
            self.rates = None;
        }
        live.into_iter().chain(rates.flatten()).min()
    }

    /// The state that it has while in use.
    #[must_use]
    pub(crate) fn live(&self) -> Option<&Live> {
        self.live.as_deref()
    }

    /// The same, to be changed.
    pub(crate) fn live_mut(&mut self) -> Option<&mut Live> {
        self.live.as_deref_mut()
    }

    /// The same; the channel is in use from here on.
    pub(crate) fn wake(&mut self) -> &mut Live {
        self.live.get_or_insert_default()
    }

    /// Gives back what an unused channel does not need.
    pub(crate) fn rest(&mut self) {
        let unused = |live: &Live| {
            live.members.is_empty() && live.pending.is_empty() && live.calls.is_empty()
        };
        if self.live.as_deref().is_some_and(unused) {
            self.live = None;
        }
    }

    /// The end of the time that messages accepted at `now` are kept.
    #[must_use]
    pub(crate) fn expiry(&self, now: Now) -> Now {
        now.after(u64::from(self.record.ttl_seconds) * 1000)
    }
}
