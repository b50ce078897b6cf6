//! Faults that affect messages. They act either after a message has been routed but before it enters the recipient's
//! outbox, or when the recipient of a pending message connects. Also contains the code that corrupts messages.

use crate::channel::{Route, Towards, pending::Message};
use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::session::outbox::DeliveryMark;
use crate::session::web_socket::{Role, viewer_of};
use crate::shard::Directory;
use crate::shard::context::Context;
use crate::shard::dev::faults::{Corruption, DeliveryAct, FaultAct, FaultSubject, MessageAct};
use crate::shard::dev::injected::{HeldMessage, Later};
use crate::shard::dev::observations::CopySource;
use crate::shard::dev::state::{Fate, Interposer};
use crate::shard::flight_recorder::{NOBODY, Passage};
use crate::shard::road::delivery::{InTransit, mark_of_kept};
use crate::shard::road::unsent::{end_kept, push_kept};
use crate::shard::road::{delivery, service_messages, unsent};
use crate::shard::state::State;
use crate::shard::todo::{Deferred, Membership, Todo};
use crate::{journal::Unaccepted, limits::FAULT_REORDER_MS};
use codec::signal::{Delivery, status_response};
use std::collections::VecDeque;

/// Applies faults to a routed message, and passes a copy of the message to tests. Returns `true` if a fault has taken
/// over the message.
pub(crate) fn on_message(shard: &mut State, transit: &InTransit<'_>, route: Route) -> bool {
    let Some((own, sockets, directory, cx)) = shard.interposed() else {
        return false;
    };
    let name = name_of(directory, transit.channel);
    own.observe(|it| it.on_message(sockets, name, transit, cx.at));
    let (action, sender) = (transit.launch.action, transit.delivery.sender);
    let subject = FaultSubject::of_client(name, sender, action);
    let picked = (own.faults).pick(FaultAct::on_message, &subject, cx.at.now);
    let Some((act, rule)) = picked else {
        return on_route(shard, transit, route);
    };
    let mut copy = |fate| own.copy(transit, name, fate, cx.at);
    match act {
        MessageAct::Drop => {
            copy(Fate::Dropped);
            transit.end(cx, Outcome::Withdrawn);
        }
        MessageAct::Expire => {
            copy(Fate::Expired);
            transit.end(cx, Outcome::Expired);
        }
        MessageAct::Status {
            error_type,
            status_code,
            description,
        } => {
            copy(Fate::Refused);
            let kind = Kind::Known(action);
            cx.telemetry
                .count_unaccepted(kind, Unaccepted::FaultInjected);
            if let Some(id) = service_messages::answerable(shard, transit.status_of()) {
                (shard.sockets).push_control(&mut shard.cx, transit.from, |out| {
                    status_response(out, id, &error_type, status_code, &description);
                });
            }
        }
        MessageAct::Delay(ms) => {
            copy(Fate::of(route));
            let (held, until) = (HeldMessage::of(transit, None), cx.at.now.after(ms));
            let held = own.faults.held.hold(held, until, &rule.counts);
            cx.telemetry.count_kept(usize::from(held));
            return held;
        }
        MessageAct::Misdirect(viewer) => return misdirect(shard, transit, &viewer),
        MessageAct::Session(act) => {
            if !on_route(shard, transit, route) {
                delivery::hand_on(shard, route, transit);
            }
            leave(&mut shard.cx, Later::Act(transit.from, act));
        }
    }
    true
}

/// Defers interposer work until the shard has done all other work deferred by the current step.
pub(crate) fn leave(cx: &mut Context, later: Later) {
    cx.todo.push(Todo::Interposed(Box::new(later)));
}

/// Forwards a message with a different viewer as its sender or recipient. Returns `true` if the message was taken over.
fn misdirect(shard: &mut State, transit: &InTransit<'_>, viewer: &str) -> bool {
    let (sender, recipient) = match transit.delivery.sender {
        Some(_) => (Some(viewer), transit.recipient),
        None => (None, viewer),
    };
    let (from, asked) = ((transit.from, sender), (transit.launch.action, recipient));
    let accepted = shard
        .directory
        .accept(transit.channel, from, asked, shard.cx.at.now);
    let Some((route, mark, waited)) = accepted else {
        return false;
    };
    let transit = InTransit {
        launch: DeliveryMark {
            order: mark.order,
            follows: mark.follows,
            sender_bytes: mark.sender_bytes,
            ..transit.launch
        },
        delivery: Delivery {
            sender,
            ..transit.delivery
        },
        recipient,
        ..*transit
    };
    if !on_route(shard, &transit, route) {
        delivery::hand_on(shard, route, &transit);
    }
    delivery::follow(&mut shard.cx, transit.channel, waited);
    true
}

/// Applies delivery faults to a message. Returns `true` if a fault has taken over the message.
fn on_route(shard: &mut State, transit: &InTransit<'_>, route: Route) -> bool {
    let Some((own, _, directory, cx)) = shard.interposed() else {
        return false;
    };
    let name = name_of(directory, transit.channel);
    let Route::To(to) = route else {
        own.copy(transit, name, Fate::of(route), cx.at);
        return false;
    };
    let recipient = match transit.delivery.sender {
        Some(_) => None,
        None => Some(transit.recipient),
    };
    let subject = FaultSubject::of_client(name, recipient, transit.launch.action);
    let picked = (own.faults).pick(FaultAct::on_delivery, &subject, cx.at.now);
    let fate = match picked {
        Some((DeliveryAct::Drop, _)) => Fate::Dropped,
        Some(_) | None => Fate::Delivered,
    };
    own.copy(transit, name, fate, cx.at);
    let now = cx.at.now;
    let mut then = None;
    if let Some((act, rule)) = picked {
        let mut hold = |until, behind| {
            let message = HeldMessage::of(transit, behind);
            let held = own.faults.held.hold(message, until, &rule.counts);
            cx.telemetry.count_kept(usize::from(held));
            held
        };
        match act {
            DeliveryAct::Drop => {
                transit.end(cx, Outcome::Withdrawn);
                return true;
            }
            DeliveryAct::Delay(ms) if hold(now.after(ms), None) => return true,
            DeliveryAct::Reorder if hold(now.after(FAULT_REORDER_MS), Some(to)) => return true,
            DeliveryAct::Delay(_) | DeliveryAct::Reorder => {} // there was no room
            DeliveryAct::Duplicate => {
                delivery::deliver(shard, to, transit);
                leave(&mut shard.cx, Later::SendAgain(transit.deferred(), to));
                return true;
            }
            DeliveryAct::Corrupt(part) => {
                deliver_corrupted(shard, transit, to, part);
                return true;
            }
            DeliveryAct::Session(act) => then = Some(Later::Act(to, act)),
        }
    }
    // An earlier message may have been delayed until after this one.
    let behind = own.faults.held.take_behind(to).map(Later::Message);
    if behind.is_none() && then.is_none() {
        return false;
    }
    delivery::deliver(shard, to, transit);
    for later in then.into_iter().chain(behind) {
        leave(&mut shard.cx, later);
    }
    true
}

pub(crate) fn name_of(directory: &Directory, channel: ChannelKey) -> &str {
    let channel = directory.channel(channel);
    channel.map_or("", |channel| channel.record.arn.name())
}

/// Forwards a delayed message to its recipient's current connection or, if there is none, makes it pending.
pub(crate) fn release(shard: &mut State, held: &Deferred) {
    let (_, directory, cx, _) = shard.parts();
    cx.telemetry.count_unkept();
    let by = held.launch.from.unwrap_or(held.from);
    let asked = (held.launch.action, &*held.recipient);
    let accepted = directory.accept(held.channel, (by, held.sender.as_deref()), asked, cx.at.now);
    let mut transit = held.transit();
    let Some((route, mark, waited)) = accepted else {
        return transit.end(cx, Outcome::Withdrawn);
    };
    transit.launch.accepted_us = None; // an injected delay says nothing about the broker
    // Wherever the message is stored now, it must come after the messages accepted in the meantime.
    (transit.launch.order, transit.launch.follows) = (mark.order, mark.follows);
    delivery::hand_on(shard, route, &transit);
    delivery::follow(&mut shard.cx, held.channel, waited);
}

/// Withdraws a channel's messages that faults have delayed.
pub(crate) fn withdraw_held(own: &mut Interposer, cx: &mut Context, channel: ChannelKey) {
    while let Some(held) = own.faults.held.take_of(channel) {
        let kind = Kind::Known(held.message.launch.action);
        cx.telemetry.count_kept_ended(kind, Outcome::Withdrawn);
    }
}

// Pending messages whose recipient has connected. Delivery faults affect these as well.

/// Moves a role's pending messages to the outbox of its current connection, except those that faults drop or delay.
pub(crate) fn deliver_pending(shard: &mut State, channel: ChannelKey, role: Role) {
    let Some(recipient) = unsent::current(shard, channel, role) else {
        return;
    };
    let Some(mut own) = shard.interposer.take() else {
        return;
    };
    let groups = shard.directory.take_kept(&mut shard.cx, &recipient);
    let (to, role) = (recipient.session, &recipient.role);
    let name = Box::<str>::from(name_of(&shard.directory, channel));
    let now = shard.cx.at.now;
    let (mut behind, mut acts, mut last) = (VecDeque::new(), Vec::new(), None);
    for (rank, messages) in groups {
        last = Some(rank);
        let mut going = VecDeque::with_capacity(messages.len());
        for mut message in messages {
            let subject = FaultSubject::of_client(&name, role.client_id(), message.action);
            match (own.faults).pick(FaultAct::on_delivery, &subject, now) {
                None => {}
                Some((DeliveryAct::Drop, _)) => {
                    drop_kept(&mut own, &mut shard.cx, &name, role, &message);
                    continue;
                }
                Some((DeliveryAct::Duplicate, _)) => {
                    let (launch, frame) = (mark_of_kept(&message), message.frame.clone());
                    going.push_back(message);
                    let run = (rank, std::mem::take(&mut going));
                    push_kept(shard, &recipient, run);
                    let write = |out: &mut Vec<u8>| out.extend_from_slice(&frame);
                    (shard.sockets).push_copy(&mut shard.cx, to, launch, frame.len(), write);
                    continue;
                }
                Some((DeliveryAct::Reorder, rule)) => {
                    behind.push_back((message, rule));
                    continue;
                }
                Some((DeliveryAct::Delay(ms), rule)) => {
                    let held = HeldMessage::of_kept(&message, &recipient, None);
                    if (own.faults.held).hold(held, now.after(ms), &rule.counts) {
                        continue;
                    }
                }
                Some((DeliveryAct::Corrupt(part), _)) => spoil(&mut message.frame, part),
                Some((DeliveryAct::Session(act), _)) => acts.push(act),
            }
            going.push_back(message);
            going.extend(behind.pop_front().map(|(message, _)| message));
        }
        push_kept(shard, &recipient, (rank, going));
    }
    // No message follows those to be reordered, so they wait for the next one to arrive, up to a time limit.
    let until = now.after(FAULT_REORDER_MS);
    behind.retain(|(message, rule)| {
        let held = HeldMessage::of_kept(message, &recipient, Some(to));
        !own.faults.held.hold(held, until, &rule.counts)
    });
    shard.interposer = Some(own);
    let unheld = behind.into_iter().map(|(message, _)| message).collect();
    if let Some(rank) = last {
        push_kept(shard, &recipient, (rank, unheld));
    }
    end_kept(shard, &recipient);
    for act in acts {
        leave(&mut shard.cx, Later::Act(to, act));
    }
}

/// Drops a pending message because of a fault, and passes a copy of the message to tests.
fn drop_kept(own: &mut Interposer, cx: &mut Context, name: &str, role: &Role, message: &Message) {
    let kind = Kind::Known(message.action);
    cx.telemetry.count_kept_ended(kind, Outcome::Withdrawn);
    let copy = CopySource {
        towards: Some(Towards::to(role)),
        viewer: viewer_of(role, &message.frame, message.sender_bytes),
        action: Some(message.action),
        payload: Delivery::payload_of(&message.frame),
        fate: Fate::Dropped,
    };
    own.take_copy(&copy, name, cx.at);
}

impl HeldMessage {
    /// Copies a routed message so that it can be delayed. The caller must count the copy as pending.
    fn of(transit: &InTransit<'_>, behind: Option<SessionKey>) -> Self {
        let message = Deferred {
            correlation_id: None,
            ..transit.deferred()
        };
        Self { message, behind }
    }

    /// Copies a pending message so that it can be delayed although its recipient has connected. The message still
    /// counts as pending.
    fn of_kept(message: &Message, to: &Membership, behind: Option<SessionKey>) -> Self {
        let viewer = viewer_of(&to.role, &message.frame, message.sender_bytes);
        let message = Deferred {
            from: SessionKey::unpack(NOBODY),
            channel: to.channel,
            sender: (to.role == Role::Master).then(|| viewer.into()),
            launch: mark_of_kept(message),
            payload: Delivery::payload_of(&message.frame).into(),
            recipient: to.role.client_id().unwrap_or_default().into(),
            correlation_id: None,
        };
        Self { message, behind }
    }
}

// Messages with one part corrupted.
//
// Corrupting a frame changes neither its length nor the offsets of its payload and sender id. A message taken back from
// an outbox can therefore become pending and be sent again like any other.

/// Appends a message to its recipient's outbox with one part corrupted. If the outbox is full, the original is
/// delivered as usual.
fn deliver_corrupted(shard: &mut State, transit: &InTransit<'_>, to: SessionKey, part: Corruption) {
    let (sockets, _, cx, _) = shard.parts();
    let bytes = transit.delivery.frame_bytes();
    let room = (bytes, cx.telemetry.outbox_bytes());
    let write = |out: &mut Vec<u8>| {
        let begin = out.len();
        transit.delivery.write(out);
        spoil(out.get_mut(begin..).unwrap_or_default(), part);
    };
    let Ok((queued, _)) = sockets.push_message(to, transit.launch, room, write) else {
        return delivery::deliver(shard, to, transit);
    };
    let passed = transit.passed(Passage::Relayed, bytes);
    cx.note(transit.channel).relayed(passed, transit.from, to);
    cx.telemetry.count_queued(queued);
}

/// Corrupts one part of a frame written by [`Delivery::write`].
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
