//! Faults of messages, between their route and their recipient's outbox; messages that are sent spoiled.

use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::session::outbox::DeliveryMark;
use crate::shard::context::Context;
use crate::shard::dev::faults::{
    Corruption, DeliveryAct, FaultAct, FaultCounts, Faults, HeldMessage, MessageAct, SharedRule,
    Subject,
};
use crate::shard::dev::state::Fate;
use crate::shard::flight_recorder::{NOBODY, Passage};
use crate::shard::road::in_flight::InTransit;
use crate::shard::road::{delivery, service_messages};
use crate::shard::state::State;
use crate::shard::todo::{Own, Todo};
use crate::shard::{Directory, Sockets};
use crate::time::Now;
use crate::{channel::Route, journal::Unaccepted, limits::FAULT_REORDER_MS};
use codec::signal::{Delivery, Role};

/// Has faults act on a message that has its route; true when it is dealt with. Tests get a copy of it.
#[cold]
pub(crate) fn on_message(shard: &mut State, transit: &InTransit<'_>, route: Route) -> bool {
    let (sockets, directory, cx, ..) = shard.parts();
    let Some(faults) = sockets.dev().faults.as_deref() else {
        return false;
    };
    if faults.is_idle() {
        if sockets.dev().copies.is_some() {
            let name = name_of(directory, transit.channel);
            transit.copy(sockets, name, Fate::of(route), cx.at);
        }
        return false;
    }
    let name = name_of(directory, transit.channel);
    if let Some(rule) = rule_of(faults, name, transit, false, cx.at.now)
        && let FaultAct::Message(act) = &rule.act
    {
        let fate = match act {
            MessageAct::Drop => Fate::Dropped,
            MessageAct::Expire => Fate::Expired,
            MessageAct::Status { .. } => Fate::Refused,
            MessageAct::Delay(_) => Fate::of(route),
            MessageAct::Misdirect(viewer) => return misdirect(shard, transit, viewer),
            MessageAct::Session(act) => {
                let act = Own::Act(transit.from, act.clone());
                if !on_route(shard, transit, route) {
                    delivery::hand_on(shard, route, transit);
                }
                shard.cx.todo.push(Todo::Double(Box::new(act)));
                return true;
            }
        };
        transit.copy(sockets, name, fate, cx.at);
        let held_ms = on_arrival(sockets, cx, transit, act);
        let hold = |ms| {
            hold(
                sockets,
                cx,
                transit,
                cx.at.now.after(ms),
                None,
                &rule.counts,
            )
        };
        return held_ms.is_none_or(hold);
    }
    on_route(shard, transit, route)
}

/// Passes a message on as one of another viewer; true when it is dealt with.
fn misdirect(shard: &mut State, transit: &InTransit<'_>, viewer: &str) -> bool {
    let (sender, recipient) = match transit.delivery.sender {
        Some(_) => (Some(viewer), transit.recipient),
        None => (None, viewer),
    };
    let (from, asked) = ((transit.from, sender), (transit.launch.action, recipient));
    let accepted = shard
        .directory
        .accept(transit.channel, from, asked, shard.cx.at.now);
    let Some(accepted) = accepted else {
        return false;
    };
    let transit = InTransit {
        launch: DeliveryMark {
            order: accepted.order,
            follows: accepted.follows,
            sender_bytes: u16::try_from(sender.map_or(0, str::len)).unwrap_or(u16::MAX),
            ..transit.launch
        },
        delivery: Delivery {
            sender,
            ..transit.delivery
        },
        recipient,
        ..*transit
    };
    if !on_route(shard, &transit, accepted.route) {
        delivery::hand_on(shard, accepted.route, &transit);
    }
    delivery::follow(&mut shard.cx, transit.channel, accepted.releases);
    true
}

/// Has faults act on the delivery of a message; true when it is dealt with.
fn on_route(shard: &mut State, transit: &InTransit<'_>, route: Route) -> bool {
    let (sockets, directory, cx, ..) = shard.parts();
    let Some(faults) = sockets.dev().faults.as_deref() else {
        return false;
    };
    let name = name_of(directory, transit.channel);
    let Route::To(to) = route else {
        transit.copy(sockets, name, Fate::of(route), cx.at);
        return false;
    };
    let rule = rule_of(faults, name, transit, true, cx.at.now);
    let act = rule.as_deref().and_then(|rule| match &rule.act {
        FaultAct::Delivery(act) => Some((act, &rule.counts)),
        FaultAct::Connect(_) | FaultAct::Api(_) | FaultAct::Message(_) | FaultAct::Session(_) => {
            None
        }
    });
    let fate = match act {
        Some((DeliveryAct::Drop, _)) => Fate::Dropped,
        Some(_) | None => Fate::Delivered,
    };
    transit.copy(sockets, name, fate, cx.at);
    if let Some((act, counts)) = act
        && on_delivery(sockets, cx, transit, (to, act, counts))
    {
        return true;
    }
    // A held message that was to follow the next one for this recipient follows this one.
    let behind = sockets.dev_mut().faults.as_deref_mut();
    let behind = behind.and_then(|faults| faults.held.take_behind(to));
    let behind = behind.map(Own::Release);
    let acts = act.and_then(|(act, _)| act.on_session());
    let acts = acts.map(|act| Own::Act(to, act.clone()));
    if behind.is_none() && acts.is_none() {
        return false;
    }
    delivery::deliver(sockets, cx, to, transit);
    for own in acts.into_iter().chain(behind) {
        cx.todo.push(Todo::Double(Box::new(own)));
    }
    true
}

/// The name of a channel.
fn name_of(directory: &Directory, channel: ChannelKey) -> &str {
    let channel = directory.channel(channel);
    channel.map_or("", |channel| channel.record.arn.name())
}

/// The rule for a message when it arrives, or for its delivery: then its recipient is what it is about.
fn rule_of(
    faults: &Faults,
    name: &str,
    transit: &InTransit<'_>,
    delivery: bool,
    now: Now,
) -> Option<SharedRule> {
    if faults.rules.is_empty() {
        return None;
    }
    let sender = transit.delivery.sender;
    let (role, client_id) = match (delivery, sender) {
        (false, Some(id)) => (Role::Viewer, Some(id)),
        (false, None) | (true, Some(_)) => (Role::Master, None),
        (true, None) => (Role::Viewer, Some(transit.recipient)),
    };
    let subject = Subject {
        channel: Some(name),
        role: Some(role),
        client_id,
        operation: None,
        action: Some(transit.launch.action),
    };
    let kind = |act: &FaultAct| match act {
        FaultAct::Message(_) => !delivery,
        FaultAct::Delivery(_) => delivery,
        FaultAct::Connect(_) | FaultAct::Api(_) | FaultAct::Session(_) => false,
    };
    faults.pick(kind, &subject, now)
}

/// Ends a message, or returns for how many milliseconds it is held back.
fn on_arrival(
    sockets: &mut Sockets,
    cx: &mut Context,
    transit: &InTransit<'_>,
    act: &MessageAct,
) -> Option<u64> {
    match act {
        MessageAct::Drop => transit.end(cx, Outcome::Withdrawn),
        MessageAct::Expire => transit.end(cx, Outcome::Expired),
        MessageAct::Status {
            error_type,
            status_code,
            description,
        } => {
            let kind = Kind::Known(transit.launch.action);
            cx.telemetry
                .count_unaccepted(kind, Unaccepted::FaultInjected);
            let of = transit.status_of();
            service_messages::status_with(sockets, cx, of, |out, id| {
                codec::signal::status_response(out, id, error_type, *status_code, description);
            });
        }
        MessageAct::Delay(ms) => return Some(*ms),
        MessageAct::Misdirect(_) | MessageAct::Session(_) => {} // they go on
    }
    None
}

fn on_delivery(
    sockets: &mut Sockets,
    cx: &mut Context,
    transit: &InTransit<'_>,
    (to, act, counts): (SessionKey, &DeliveryAct, &FaultCounts),
) -> bool {
    match act {
        DeliveryAct::Drop => {
            transit.end(cx, Outcome::Withdrawn);
            true
        }
        DeliveryAct::Delay(ms) => hold(sockets, cx, transit, cx.at.now.after(*ms), None, counts),
        DeliveryAct::Reorder => {
            let until = cx.at.now.after(FAULT_REORDER_MS);
            hold(sockets, cx, transit, until, Some(to), counts)
        }
        DeliveryAct::Duplicate => {
            delivery::deliver(sockets, cx, to, transit);
            let again = Own::SendAgain(transit.deferred(), to);
            cx.todo.push(Todo::Double(Box::new(again)));
            true
        }
        DeliveryAct::Corrupt(part) => {
            deliver_corrupted(sockets, cx, transit, (to, *part));
            true
        }
        DeliveryAct::Session(_) => false, // it is sent as usual before
    }
}

/// Holds a message back, in the gauge of pending ones; false when there is no room: it goes on at once.
fn hold(
    sockets: &mut Sockets,
    cx: &mut Context,
    transit: &InTransit<'_>,
    until: Now,
    behind: Option<SessionKey>,
    counts: &FaultCounts,
) -> bool {
    let Some(faults) = sockets.dev_mut().faults.as_deref_mut() else {
        return false;
    };
    let message = HeldMessage {
        from: Some(transit.from),
        channel: transit.channel,
        viewer: transit.delivery.sender.map(Into::into),
        launch: transit.launch,
        payload: transit.delivery.payload.into(),
        recipient: transit.recipient.into(),
        behind,
    };
    let held = faults.held.hold(message, until, counts);
    cx.telemetry.count_kept(usize::from(held));
    held
}

/// A message that was held back goes on, wherever its recipient is by then.
pub(crate) fn release(shard: &mut State, message: HeldMessage) {
    shard.cx.telemetry.count_unkept();
    let from = (message.from).unwrap_or_else(|| SessionKey::unpack(NOBODY));
    let by = message.launch.from.unwrap_or(from);
    let by = (by, message.viewer.as_deref());
    let asked = (message.launch.action, &*message.recipient);
    let accepted = shard
        .directory
        .accept(message.channel, by, asked, shard.cx.at.now);
    let launch = DeliveryMark {
        accepted_us: None, // how long it took says nothing about the broker
        // It comes behind what was accepted meanwhile, wherever it is kept.
        order: accepted.map_or(message.launch.order, |accepted| accepted.order),
        follows: accepted.is_some_and(|accepted| accepted.follows),
        ..message.launch
    };
    let transit = InTransit {
        from,
        channel: message.channel,
        launch,
        delivery: Delivery {
            action: launch.action,
            payload: &message.payload,
            sender: message.viewer.as_deref(),
        },
        recipient: &message.recipient,
        correlation_id: None,
    };
    let Some(accepted) = accepted else {
        return transit.end(&mut shard.cx, Outcome::Withdrawn);
    };
    delivery::hand_on(shard, accepted.route, &transit);
    delivery::follow(&mut shard.cx, transit.channel, accepted.releases);
}

/// Sends a message once more; the copy counts nowhere, and is dropped where there is no room.
pub(crate) fn send_again(
    sockets: &mut Sockets,
    cx: &mut Context,
    to: SessionKey,
    transit: &InTransit<'_>,
) {
    let bytes = transit.delivery.frame_bytes();
    let write = |out: &mut Vec<u8>| transit.delivery.write(out);
    sockets.push_copy(cx, to, transit.launch, bytes, write);
}

impl Sockets {
    /// Messages of a channel that faults hold back are withdrawn.
    pub(crate) fn withdraw_held(&mut self, cx: &mut Context, channel: ChannelKey) {
        let Some(faults) = self.dev_mut().faults.as_deref_mut() else {
            return;
        };
        while let Some(message) = faults.held.take_of(channel) {
            let kind = Kind::Known(message.launch.action);
            cx.telemetry.count_kept_ended(kind, Outcome::Withdrawn);
        }
    }

    /// Sends once more what `write` writes, where there is room.
    pub(crate) fn push_copy(
        &mut self,
        cx: &mut Context,
        to: SessionKey,
        launch: DeliveryMark,
        bytes: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let launch = DeliveryMark {
            counted: false,
            accepted_us: None,
            ..launch
        };
        let room = (bytes, cx.telemetry.outbox_bytes());
        if let Ok((queued, _)) = self.push_message(to, launch, room, write) {
            cx.telemetry.count_copy_queued(queued);
        }
    }
}

// Messages that are sent with a part of them spoiled.
//
// A spoiled frame is as long as it was, and its payload and its sender's id are where they were: a message that comes
// back from an outbox is kept, and sent again, like any other.

/// Puts a spoiled message into its recipient's outbox. Where that has no room the message goes the usual way, as it is.
fn deliver_corrupted(
    sockets: &mut Sockets,
    cx: &mut Context,
    transit: &InTransit<'_>,
    (to, part): (SessionKey, Corruption),
) {
    let bytes = transit.delivery.frame_bytes();
    let room = (bytes, cx.telemetry.outbox_bytes());
    let write = |out: &mut Vec<u8>| {
        let begin = out.len();
        transit.delivery.write(out);
        spoil(out.get_mut(begin..).unwrap_or_default(), part);
    };
    let Ok((queued, _)) = sockets.push_message(to, transit.launch, room, write) else {
        return delivery::deliver(sockets, cx, to, transit);
    };
    let passed = transit.passed(Passage::Relayed, bytes);
    cx.telemetry
        .note()
        .relayed(cx.at, transit.channel, passed, transit.from, to);
    cx.telemetry.count_queued(queued);
}

/// Spoils a part of a frame that [`Delivery::write`] made.
pub(crate) fn spoil(frame: &mut [u8], part: Corruption) {
    let payload = Delivery::payload_range(frame);
    let payload = match part {
        Corruption::Payload | Corruption::Base64 => frame.get_mut(payload).unwrap_or_default(),
        Corruption::Message => {
            if let Some(end) = frame.last_mut() {
                *end = b']';
            }
            return;
        }
    };
    for byte in payload {
        match part {
            Corruption::Payload if *byte == b'=' => {}
            Corruption::Payload => *byte = b'A',
            Corruption::Base64 | Corruption::Message => *byte = b'!',
        }
    }
}

#[cfg(test)]
mod corrupt_tests {
    use super::*;
    use codec::signal::Action;

    #[test]
    fn a_part_of_a_frame_is_spoiled_and_the_rest_stays() {
        let frame = |payload: &str| {
            let mut out = Vec::new();
            Delivery {
                action: Action::SdpOffer,
                payload: payload.as_bytes(),
                sender: Some("phone-1"),
            }
            .write(&mut out);
            out
        };
        for (part, payload) in [
            (Corruption::Payload, "AAAAAA=="),
            (Corruption::Base64, "!!!!!!!!"),
        ] {
            let mut spoiled = frame("eyJhIg==");
            spoil(&mut spoiled, part);
            assert_eq!(spoiled, frame(payload), "{part:?}");
        }
        let mut spoiled = frame("eyJhIg==");
        spoil(&mut spoiled, Corruption::Message);
        let whole = frame("eyJhIg==");
        assert_eq!(
            spoiled.split_last().unwrap(),
            (&b']', whole.split_last().unwrap().1)
        );
    }
}
