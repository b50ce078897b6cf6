//! Repeats offers that a master received but did not answer to the master's next connection; see
//! [`crate::channel::unanswered`].

use crate::channel::unanswered::{Candidate, Offer};
use crate::channel::{Channel, Towards};
use crate::id::{CallerId, ChannelKey, SessionKey};
use crate::session::Session;
use crate::session::outbox::DeliveryMark;
use crate::session::outbox::Offers;
use crate::session::web_socket::{Role, WebSocket, viewer_of};
use crate::shard::flight_recorder::{NotedMessage, Passage};
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Directory, Sockets};
use crate::time::Now;
use codec::signal::Action;

/// Remembers the offers that a master has confirmed, and candidates that may belong to them.
pub(crate) fn remember(
    shard: &mut State,
    (channel, master): (ChannelKey, SessionKey),
    offers: Offers,
) {
    let (sockets, directory, cx, ..) = shard.parts();
    // One that lost its slot meanwhile may have gone without an answer.
    let now_master = directory.master_of(channel).filter(|now| *now != master);
    let then = now_master.map(|by| (by, sockets.repeats_at(by, cx.at.now)));
    for (launch, frame) in offers {
        let order = launch.order;
        if launch.action == Action::IceCandidate {
            let viewer = viewer_of(&Role::Master, &frame, launch.sender_bytes).to_owned();
            let is_senders = |offer: &Offer| sockets.is_sender(offer, launch.from);
            directory.offers_change(channel, |offers| {
                offers.followed(&viewer, Candidate { order, frame }, is_senders);
            });
            continue;
        }
        let mut of = None;
        directory.offers_change(channel, |offers| {
            if offers.expire(cx.at.now) {
                cx.todo.push(Todo::Deliver(channel, Role::Master));
            }
            of = offers.confirmed(order, &frame, then, |from| sockets.caller_of(from));
        });
        if let Some(viewer) = of {
            directory.drop_older(cx, channel, &viewer, order);
        }
    }
    cx.todo.push(Todo::Arm(channel));
}

impl Sockets {
    /// Returns when a new master connection receives the offers of its predecessor: only after it has been open for a
    /// while, so that a program that crashes on an offer does not receive it on every start.
    pub(crate) fn repeats_at(&self, master: SessionKey, now: Now) -> Now {
        let opened = self
            .session(master)
            .and_then(Session::open)
            .map(WebSocket::opened);
        let after_ms = self.settings().signaling.repeat_offers_ms;
        opened.unwrap_or(now).after(after_ms).max(now)
    }

    /// Whether the viewer that sent an offer is still waiting for its answer, either on the connection that sent the
    /// offer or on a newer one of the same caller that has not sent an offer.
    fn awaits_answer(&self, offer: &Offer, viewer: SessionKey) -> bool {
        let now = self.session(viewer).and_then(Session::open);
        let is_newer = now.is_some_and(|it| it.tally.offered_ms().is_none());
        viewer == offer.from || is_newer && self.caller_of(viewer) == offer.caller
    }

    /// Whether a candidate from this connection belongs to an offer: the connection either sent the offer or is open
    /// and has the same caller.
    fn is_sender(&self, offer: &Offer, from: Option<SessionKey>) -> bool {
        let is_open = |from| self.session(from).and_then(Session::open).is_some();
        from.is_some_and(|from| {
            from == offer.from || is_open(from) && self.caller_of(from) == offer.caller
        })
    }

    /// Returns the caller of a viewer's connection, if that caller is counted individually.
    fn caller_of(&self, viewer: SessionKey) -> Option<CallerId> {
        self.session(viewer).and_then(Session::open)?.caller
    }
}

impl Directory {
    /// Returns the connection that holds the master's slot.
    fn master_of(&self, channel: ChannelKey) -> Option<SessionKey> {
        self.channel(channel)
            .and_then(Channel::live)?
            .members
            .master()
    }
}

/// Repeats to a channel's master the offers that are due, each with its candidates, followed by their viewers' other
/// messages.
pub(crate) fn repeat(shard: &mut State, channel: ChannelKey) {
    let (sockets, directory, cx, ..) = shard.parts();
    let live = directory.channel(channel).and_then(Channel::live);
    let Some(master) = live.and_then(|live| live.members.to_master()) else {
        return; // while a former connection holds the slot, they stay due
    };
    let mut due = Vec::new();
    directory.offers_change(channel, |offers| {
        while let Some(offer) = offers.take_due(cx.at.now) {
            due.push(offer);
        }
    });
    for (offer, frame) in due {
        let live = directory.channel(channel).and_then(Channel::live);
        let Some(live) = live else { return };
        let viewer = live.members.viewer(&offer.viewer);
        let waits = viewer.is_some_and(|viewer| sockets.awaits_answer(&offer, viewer));
        if !waits || frame.is_empty() {
            continue;
        }
        let candidates = offer.candidates.iter();
        let candidates = candidates.map(|one| (Action::IceCandidate, one.order, &*one.frame));
        let first = (Action::SdpOffer, offer.order, &*frame);
        for (action, order, frame) in std::iter::once(first).chain(candidates) {
            let launch = DeliveryMark {
                action,
                expires: offer.expires,
                order,
                sender_bytes: u16::try_from(offer.viewer.len()).unwrap_or(u16::MAX),
                from: Some(offer.from),
                first: false,
                follows: false,
                call: false,
                counted: false,
                accepted_us: None,
            };
            let write = |out: &mut Vec<u8>| out.extend_from_slice(frame);
            sockets.push_copy(cx, master, launch, frame.len(), write);
            let passed = NotedMessage {
                action: Some(action),
                towards: Towards::Master,
                passage: Passage::Repeated,
                bytes: frame.len(),
                candidates: None,
            };
            cx.telemetry
                .note()
                .went(cx.at, channel, passed, &offer.viewer, Some(master));
        }
    }
    cx.todo.push(Todo::Deliver(channel, Role::Master));
    cx.todo.push(Todo::Arm(channel));
}
