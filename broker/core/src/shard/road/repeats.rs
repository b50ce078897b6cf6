//! Sends an offer again, to the next master, if the previous master received it but did not answer. See
//! [`crate::channel::unanswered`].

use crate::channel::Towards;
use crate::channel::unanswered::{Candidate, Offer};
use crate::id::{CallerId, ChannelKey, SessionKey};
use crate::session::Session;
use crate::session::outbox::{DeliveryMark, Offers};
use crate::session::web_socket::{Role, WebSocket, viewer_of};
use crate::shard::Sockets;
use crate::shard::flight_recorder::{NotedMessage, Passage};
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::time::Now;
use codec::signal::Action;

/// Stores the offers that a master has received on this connection, with the candidates that may belong to them.
pub(crate) fn remember(shard: &mut State, channel: ChannelKey, master: SessionKey, offers: Offers) {
    let (sockets, directory, cx, ..) = shard.parts();
    // A connection that has lost the master slot may have left without answering.
    let now_master = (directory
        .live(channel)
        .and_then(|live| live.members.master()))
    .filter(|now| *now != master);
    let then = now_master.map(|by| (by, repeats_at(sockets, by, cx.at.now)));
    for (launch, frame) in offers {
        let order = launch.order;
        if launch.action == Action::IceCandidate {
            let viewer = viewer_of(&Role::Master, &frame, launch.sender_bytes).to_owned();
            let is_open = |from| sockets.session(from).and_then(Session::open).is_some();
            let is_senders = |offer: &Offer| {
                launch.from.is_some_and(|from| {
                    from == offer.from || is_open(from) && caller_of(sockets, from) == offer.caller
                })
            };
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
            of = offers.confirmed(order, &frame, then, |from| caller_of(sockets, from));
        });
        if let Some(viewer) = of {
            directory.drop_older(cx, channel, &viewer, order);
        }
    }
    cx.todo.push(Todo::Arm(channel));
}

/// Sends the unanswered offers that are due to a channel's current master. Each offer is followed by its candidates,
/// and then by the same viewer's other messages.
pub(crate) fn repeat(shard: &mut State, channel: ChannelKey) {
    let (sockets, directory, cx, ..) = shard.parts();
    let live = directory.live(channel);
    let Some(master) = live.and_then(|live| live.members.to_master()) else {
        return; // offers stay due while a former connection holds the slot
    };
    let mut due = Vec::new();
    directory.offers_change(channel, |offers| {
        while let Some(offer) = offers.take_due(cx.at.now) {
            due.push(offer);
        }
    });
    for (offer, frame) in due {
        let live = directory.live(channel);
        let Some(live) = live else { return };
        let viewer = live.members.viewer(&offer.viewer);
        let waits = viewer.is_some_and(|viewer| awaits_answer(sockets, &offer, viewer));
        if !waits || frame.is_empty() {
            continue;
        }
        let candidates = offer.candidates.iter();
        let candidates = candidates.map(|one| (Action::IceCandidate, one.order, &*one.frame));
        let first = (Action::SdpOffer, offer.order, &*frame);
        for (action, order, frame) in std::iter::once(first).chain(candidates) {
            let launch = DeliveryMark {
                from: Some(offer.from),
                ..DeliveryMark::new(action, order, offer.expires, offer.viewer.len())
            };
            let write = |out: &mut Vec<u8>| out.extend_from_slice(frame);
            sockets.push_copy(cx, master, launch, frame.len(), write);
            let passed = NotedMessage::new(
                Some(action),
                Towards::Master,
                Passage::Repeated,
                frame.len(),
            );
            cx.note(channel).went(passed, &offer.viewer, Some(master));
        }
    }
    cx.todo.push(Todo::Deliver(channel, Role::Master));
    cx.todo.push(Todo::Arm(channel));
}

/// Returns when a new master is sent the offers that its predecessor did not answer. By then, it must have been
/// connected for a while. Otherwise, a program that crashes on an offer would receive that offer again each time it
/// starts.
pub(crate) fn repeats_at(sockets: &Sockets, master: SessionKey, now: Now) -> Now {
    let opened = sockets
        .session(master)
        .and_then(Session::open)
        .map(WebSocket::opened);
    let after_ms = sockets.settings().signaling.repeat_offers_ms;
    opened.unwrap_or(now).after(after_ms).max(now)
}

/// Returns whether a viewer is still waiting for the answer to its offer. It may be using the connection that sent the
/// offer, or a newer connection that has the same caller and has not sent an offer itself.
fn awaits_answer(sockets: &Sockets, offer: &Offer, viewer: SessionKey) -> bool {
    let now = sockets.session(viewer).and_then(Session::open);
    let is_newer = now.is_some_and(|it| it.tally.offered_ms().is_none());
    viewer == offer.from || is_newer && caller_of(sockets, viewer) == offer.caller
}

/// Returns the caller of a viewer's connection if that caller is counted individually.
fn caller_of(sockets: &Sockets, viewer: SessionKey) -> Option<CallerId> {
    sockets.session(viewer).and_then(Session::open)?.caller
}
