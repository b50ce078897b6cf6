//! A channel: its master, its viewers, pending messages and waiting calls.
//!
//! The channel is a pure state machine over session keys. It decides *where* a message goes, and the caller moves the
//! bytes. Sockets, session state and other channels are out of scope.

pub(crate) mod alexa_calls;
pub(crate) mod endpoint_requests;
pub(crate) mod members;
pub(crate) mod pending;
pub(crate) mod players;
mod rare;
pub(crate) mod rates;
pub(crate) mod unanswered;

use crate::id::{SessionKey, TimerId};
use crate::{record::Record, settings::Quotas, time::Now};
use alexa_calls::Calls;
use codec::signal::{Action, Role};
use endpoint_requests::EndpointRequests;
use members::Members;
use pending::Pending;
pub use pending::Towards;
use rates::{RateKey, Rates};
use std::sync::Arc;
pub use unanswered::AwaitedMaster;
use unanswered::Unanswered;

/// A channel on the shard that owns it. Most channels (up to a million) are idle, so the state of active channels is
/// boxed.
#[derive(Debug)]
pub(crate) struct Channel {
    pub record: Arc<Record>,
    pub state: Life,
    /// Bitmask of the hooks that watch the channel; see [`crate::settings::Hook`].
    pub hooks: u16,
    pub timer: TimerId,
    /// Number of admitted connections that have not ended, including those that are closing.
    pub connections: u32,
    pub endpoint_requests: Option<Box<EndpointRequests>>,
    live: Option<Box<Live>>,
    /// Rate limit buckets; `None` while all of them are full.
    rates: Option<Box<Rates>>,
}

/// The lifecycle of a channel. Changes that are not durable yet are visible only here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// The creation is not durable yet. The name is taken, but callers cannot see the channel.
    Creating,
    Active,
    /// The deletion is not durable yet. Clients can no longer connect.
    Deleting,
}

// Bounds the memory of a channel and of an active channel's live state, not counting names and tables.
const _: () = assert!(size_of::<Channel>() <= 112 && size_of::<Live>() <= 112);

#[derive(Debug, Default)]
pub(crate) struct Live {
    pub members: Members,
    pub pending: Pending,
    pub calls: Calls,
    pub unanswered: Unanswered,
    order: u64,
}

impl Live {
    pub(crate) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Returns the next deadline of a pending message, a waiting call, an unanswered offer, or a held or vacant slot.
    #[must_use]
    fn next_expiry(&self) -> Option<Now> {
        let (pending, calls) = (self.pending.next_expiry(), self.calls.next_expiry());
        let held = self.members.next_overdue();
        let offers = self.unanswered.next_due(self.members.to_master().is_some());
        [pending, calls, held, offers].into_iter().flatten().min()
    }
}

impl Channel {
    #[must_use]
    pub(crate) fn new(record: Record, state: Life) -> Self {
        Self {
            record: Arc::new(record),
            state,
            hooks: 0,
            timer: TimerId::default(),
            connections: 0,
            endpoint_requests: None,
            live: None,
            rates: None,
        }
    }

    /// Returns `true` if the channel's rate limits and the caller's share of them allow another event.
    #[must_use]
    pub(crate) fn may(&self, key: RateKey, quotas: &Quotas, now: Now) -> bool {
        let rates = self.rates.as_deref();
        rates.is_none_or(|rates| rates.has(key, quotas, now))
    }

    /// Counts an event. If a rate limit is exceeded, returns `false` and does not count the event.
    pub(crate) fn count(&mut self, key: RateKey, quotas: &Quotas, now: Now) -> bool {
        if key.what.rate(quotas).is_none() {
            return true;
        }
        let rates = self.rates.get_or_insert_default();
        rates.take(key, quotas, now)
    }

    /// Returns when the channel's live state or rate limits must be checked again. Drops rate limit buckets that have
    /// refilled.
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

    #[must_use]
    pub(crate) fn live(&self) -> Option<&Live> {
        self.live.as_deref()
    }

    pub(crate) fn live_mut(&mut self) -> Option<&mut Live> {
        self.live.as_deref_mut()
    }

    /// Returns the live state, creating it if the channel is idle.
    pub(crate) fn wake(&mut self) -> &mut Live {
        self.live.get_or_insert_default()
    }

    /// Frees the live state of an idle channel. The state assigns numbers to messages, and connections may return
    /// numbered messages, so it is kept while the channel has connections.
    pub(crate) fn rest(&mut self) {
        let unused = |live: &Live| {
            let waits_for_nobody = live.pending.is_empty() && live.calls.is_empty();
            live.members.is_empty() && waits_for_nobody && live.unanswered.is_idle()
        };
        if self.connections == 0 && self.live.as_deref().is_some_and(unused) {
            self.live = None;
        }
    }

    #[must_use]
    pub(crate) fn expiry(&self, now: Now) -> Now {
        now.after(u64::from(self.record.ttl_seconds) * 1000)
    }
}

// Message routing; see codec/PROTOCOL.md, ROUTE.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    To(SessionKey),
    /// Queue the message, because the recipient is not connected.
    Keep(Towards),
    /// The message answers a call, or contains a candidate for a player's call.
    AnswersCall,
    /// Drop the message, because its call has ended, or because it is a candidate for an Alexa call (Alexa has no
    /// trickle ICE).
    ForCall,
}

impl Live {
    /// Returns the destination of a message. `viewer` is the sender's id if a viewer sent the message; otherwise, it is
    /// the id of the recipient that the master named.
    ///
    /// A waiting call takes precedence over viewers (ALEXA-2). Offers that a master may not send have already been
    /// rejected.
    #[inline]
    #[must_use]
    pub(crate) fn route(&self, from: Role, action: Action, viewer: &str) -> Route {
        match from {
            Role::Viewer => self
                .members
                .to_master()
                .filter(|_| self.unanswered.is_empty() || !self.unanswered.holds(viewer))
                .map_or(Route::Keep(Towards::Master), Route::To),
            Role::Master => {
                if !self.calls.is_empty()
                    && let Some(call) = self.calls.of(viewer)
                {
                    match action {
                        Action::SdpAnswer => return Route::AnswersCall,
                        Action::IceCandidate if call.player.is_some() => {
                            return Route::AnswersCall;
                        }
                        Action::IceCandidate => return Route::ForCall,
                        Action::SdpOffer => {}
                    }
                }
                self.members
                    .to_viewer(viewer)
                    .map_or(Route::Keep(Towards::Viewer), Route::To)
            }
        }
    }
}

#[cfg(test)]
mod route_tests {
    use super::*;
    use crate::channel::alexa_calls::Waiting;
    use crate::id::{self, CallRef, ShardId};
    use crate::time::Now;

    fn key(slot: u32) -> SessionKey {
        SessionKey::new(slot, 0)
    }

    #[test]
    fn the_table_of_routes() {
        let mut live = Live::default();
        let routes = |live: &Live| {
            [
                live.route(Role::Viewer, Action::SdpOffer, "v1"),
                live.route(Role::Master, Action::SdpAnswer, "v1"),
                live.route(Role::Master, Action::SdpAnswer, "alexa"),
                live.route(Role::Master, Action::IceCandidate, "alexa"),
            ]
        };
        let (to_master, to_viewer) = (Route::Keep(Towards::Master), Route::Keep(Towards::Viewer));
        assert_eq!(routes(&live), [to_master, to_viewer, to_viewer, to_viewer]);
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        live.members
            .join(id::Role::Master, key(1), (10, &hasher), Now(0))
            .unwrap();
        live.members
            .join(id::Role::Viewer("v1".into()), key(2), (10, &hasher), Now(0))
            .unwrap();
        live.members
            .join(
                id::Role::Viewer("alexa".into()),
                key(3),
                (10, &hasher),
                Now(0),
            )
            .unwrap();
        let found = routes(&live);
        assert_eq!(found, [key(1), key(2), key(3), key(3)].map(Route::To));
        let caller = CallRef {
            shard: ShardId(0),
            session: key(9),
            serial: 0,
            account: crate::id::Account(0),
            change: false,
        };
        let (sender, frame) = ("alexa".into(), Box::default());
        live.calls.add(Waiting {
            caller,
            sender,
            expires: Now(1),
            order: 1,
            frame,
            given: Some(key(1)),
            had: Vec::new(),
            delivered: true,
            player: None,
        });
        assert_eq!(routes(&live)[2..], [Route::AnswersCall, Route::ForCall]);
        let found = live.route(Role::Viewer, Action::SdpOffer, "v2");
        assert_eq!(found, Route::To(key(1)), "a viewer reaches the master only");
    }
}
